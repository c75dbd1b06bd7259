"""The built-in transfer: `GET /content/NAME` from a worker of ours, by libcurl in a thread.

It takes nothing on trust: no redirects, no proxies, no encodings, no address that cannot be a server's; the
length must be the one that cfm stated, the content tag may not change on the way, and the checksum of what
was *written* must be the one that the source computes.  An interruption is resumed where it broke off.
`response` judges the source's headers; here they are acted on.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

import pycurl
from xxhash import xxh3_128

from cfm import wire
from cfm.security import NO_KEYS, Keys
from cfm.threads import HungError, ThreadPool
from cfm.wire import TaskOffer
from cfm.worker.act.base_dir import TempFile
from cfm.worker.act.transfers.contract import Landing, Received, TransferError, Watch
from cfm.worker.act.transfers.response import Head, InterruptionError, Restart, judge_content, judge_digest
from cfm.worker.decide.offers import ip_objection

ABANDONED_THREAD_S: Final = 5.0
"""How long a cancelled transfer's thread is waited for; longer than that, its disk hangs."""
PROGRESS_EVERY_S: Final = 0.25
RESUMED_BYTES: Final = 1 << 20
"""An attempt that brought this much has earned the next ones anew."""
_FOREVER_S = 7 * 86_400.0
_BUFFER_BYTES = 512 * 1024

_INTERRUPTIONS = frozenset(
    {
        pycurl.E_COULDNT_CONNECT,
        pycurl.E_GOT_NOTHING,
        pycurl.E_PARTIAL_FILE,
        pycurl.E_RECV_ERROR,
        pycurl.E_SEND_ERROR,
    }
)


@dataclass(frozen=True, slots=True)
class BuiltinSettings:
    threads: int = 4
    """As many transfers as may run at a time, those that only verify included."""
    loopback_ok: bool = False
    """Whether sources on the loopback are of this node (a demo, a test)."""
    connect_timeout_s: float = 5.0
    stall_s: float = 30.0
    """After so long below `stall_bytes_per_s` the transfer is given up."""
    stall_bytes_per_s: int = 1024
    digest_timeout_s: int = 600
    """How long the source may compute its checksum."""
    pauses_s: tuple[float, ...] = (0.2, 1.0, 3.0)
    """Before each further attempt after an interruption."""
    keys: Keys = NO_KEYS
    """What the source wants to see."""


class BuiltinTransfer:
    """See the module's text."""

    def __init__(self, settings: BuiltinSettings) -> None:
        self._settings = settings
        self._pool = ThreadPool("transfer", settings.threads)

    def prepare(self) -> None:
        """Nothing: a thread is there at once."""

    async def fetch(self, offer: TaskOffer, landing: Landing, watch: Watch) -> Received:
        download = _Download(offer, landing, _InLoop(watch), self._settings)
        running = asyncio.ensure_future(self._pool.run(_FOREVER_S, download.run))
        try:
            return await asyncio.shield(running)
        except HungError as error:
            raise TransferError(str(error)) from error
        except asyncio.CancelledError:
            download.stop()
            await asyncio.wait({running}, timeout=ABANDONED_THREAD_S)
            running.cancel()
            raise

    async def close(self) -> None:
        self._pool.close()


class _InLoop:
    """The watch, as the thread calls it."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._loop = asyncio.get_running_loop()
        self._told_s = 0.0

    def moved(self, total_bytes: int) -> None:
        now_s = time.monotonic()
        if now_s - self._told_s >= PROGRESS_EVERY_S:
            self._told_s = now_s
            self._call(lambda: self._watch.moved(total_bytes))

    def received(self, total_bytes: int) -> None:
        self._call(lambda: self._watch.moved(total_bytes))
        self._call(self._watch.received)

    def _call(self, call: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
            self._loop.call_soon_threadsafe(call)


class _Download:
    """One file, with all its attempts; `run` blocks, `stop` may be called from any thread."""

    def __init__(self, offer: TaskOffer, landing: Landing, watch: _InLoop, settings: BuiltinSettings) -> None:
        self._offer = offer
        self._landing = landing
        self._watch = watch
        self._settings = settings
        self._stopped = threading.Event()
        self._socket: socket.socket | None = None
        self._total = offer.size_bytes
        self._etag = ""
        self._have = 0
        self._hash = xxh3_128()

    def stop(self) -> None:
        """End it at once: what waits for the network is woken by the end of its connection."""
        self._stopped.set()
        connection = self._socket
        if connection is not None:
            with contextlib.suppress(OSError):  # not connected (any more)
                connection.shutdown(socket.SHUT_RDWR)

    def run(self) -> Received:
        try:
            with contextlib.closing(self._landing.create()) as file:
                self._attempts(lambda: self._get(file))
                self._watch.received(self._have)
                self._attempts(self._verify)
                file.sync()
        except OSError as error:
            raise TransferError(f"the disk: {error.strerror or error}") from error
        return Received(self._have, self._hash.digest())

    def _attempts(self, attempt: Callable[[], None]) -> None:
        """Try until it is done, with pauses; interruptions after which much had come do not count."""
        pauses_s = list(self._settings.pauses_s)
        while True:
            had = self._have
            try:
                return attempt()
            except InterruptionError as error:
                if self._have - had >= RESUMED_BYTES:
                    pauses_s = list(self._settings.pauses_s)
                if not pauses_s:
                    raise TransferError(str(error)) from error
                if self._stopped.wait(pauses_s.pop(0)):
                    raise TransferError("stopped") from error

    def _get(self, file: TempFile) -> None:
        """One attempt at what is still missing."""
        judge = _Judge(lambda head: self._begin(head, file))
        with self._curl(judge) as curl:
            curl.setopt(pycurl.WRITEFUNCTION, lambda data: self._write(judge, file, data))
            pace = _Pace(self._stall_bytes_per_s() * self._settings.stall_s, self._settings.stall_s)
            curl.setopt(pycurl.XFERINFOFUNCTION, lambda *_counts: self._look(judge, pace))
            curl.setopt(pycurl.MAX_RECV_SPEED_LARGE, self._most_bytes_per_s())
            self._perform(curl, judge)
        if self._have != self._total:
            raise InterruptionError("the source ended before all bytes had come")

    def _begin(self, head: Head, file: TempFile) -> None:
        """Judge what the source answers, before its first byte is written."""
        answer = judge_content(head, have=self._have, etag=self._etag, size_bytes=self._total)
        if answer is Restart.NEEDED and self._have:
            self._have, self._hash = 0, xxh3_128()
            file.truncate(0)
        if self._total is None:
            self._total = head.length
            if head.length is not None and not self._landing.has_room_for(head.length):
                raise TransferError(f"no room for {head.length} bytes")
        self._etag = head.etag

    def _write(self, judge: _Judge, file: TempFile, data: bytes) -> int:
        """libcurl's callback; anything but the data's length makes it give up."""
        if self._stopped.is_set() or not judge.accepted:
            return 0
        try:
            self._take(file, data)
        except (TransferError, OSError) as error:
            judge.trouble = error
            return 0
        return len(data)

    def _take(self, file: TempFile, data: bytes) -> None:
        if self._total is None or self._have + len(data) > self._total:
            raise TransferError("the source sends more bytes than it stated")
        file.write(data)
        self._hash.update(data)
        self._have += len(data)
        self._watch.moved(self._have)

    def _look(self, judge: _Judge, pace: _Pace) -> int:
        """libcurl's callback, once a second at least; anything but 0 makes it give up."""
        if judge.trouble is None and pace.stalled(self._have, time.monotonic()):
            judge.trouble = TransferError(f"stalled at {self._have} bytes")
        return int(self._stopped.is_set() or judge.trouble is not None)

    def _verify(self) -> None:
        """The source's checksum against that of the bytes written; the source is free meanwhile."""
        found: list[bytes] = []
        judge = _Judge(lambda head: found.append(judge_digest(head, self._etag, self._total)))
        with self._curl(judge, digest=True) as curl:
            curl.setopt(pycurl.NOBODY, 1)
            curl.setopt(pycurl.TIMEOUT, self._settings.digest_timeout_s)
            self._perform(curl, judge)
        if found != [self._hash.digest()]:
            raise TransferError("the checksum is not the source's")

    def _stall_bytes_per_s(self) -> int:
        """A task that may only be slow is not stalled at its own speed."""
        stall = self._settings.stall_bytes_per_s
        return min(stall, max(1, self._offer.copy_speed_bps // 32)) if self._offer.copy_speed_bps else stall

    def _most_bytes_per_s(self) -> int:
        """libcurl's 0 is no limit, as the task's is."""
        return max(1, self._offer.copy_speed_bps // 8) if self._offer.copy_speed_bps else 0

    def _perform(self, curl: pycurl.Curl, judge: _Judge) -> None:
        try:
            curl.perform()
        except pycurl.error as error:
            code, text = error.args
            if self._stopped.is_set():
                raise TransferError("stopped") from error
            if judge.trouble is None:
                raise _curl_trouble(code, text) from error
        if judge.trouble is not None:
            raise judge.trouble
        if not judge.accepted:
            raise InterruptionError("the source sent no answer")

    @contextlib.contextmanager
    def _curl(self, judge: _Judge, *, digest: bool = False) -> Iterator[pycurl.Curl]:
        curl = pycurl.Curl()
        try:
            self._set_up(curl, judge)
            curl.setopt(pycurl.HTTPHEADER, self._headers(digest=digest))
            yield curl
        finally:
            curl.close()
            connection, self._socket = self._socket, None
            if connection is not None:
                connection.close()

    def _set_up(self, curl: pycurl.Curl, judge: _Judge) -> None:
        offer, keys = self._offer, self._settings.keys
        for option, value in (
            (pycurl.URL, f"{keys.scheme}://{offer.source}/content/{quote(offer.file_name, safe='')}"),
            (pycurl.PROTOCOLS, pycurl.PROTO_HTTP if keys.tls is None else pycurl.PROTO_HTTPS),
            (pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1),
            (pycurl.PROXY, ""),
            (pycurl.FOLLOWLOCATION, 0),
            (pycurl.HTTP_CONTENT_DECODING, 0),
            (pycurl.NOSIGNAL, 1),
            (pycurl.BUFFERSIZE, _BUFFER_BYTES),
            (pycurl.CONNECTTIMEOUT_MS, int(self._settings.connect_timeout_s * 1000)),
            (pycurl.NOPROGRESS, 0),
            *_tls_options(keys),
        ):
            curl.setopt(option, value)
        curl.unsetopt(pycurl.CAPATH)  # no authority but the node's own
        curl.setopt(pycurl.XFERINFOFUNCTION, lambda *_counts: int(self._stopped.is_set()))
        curl.setopt(pycurl.OPENSOCKETFUNCTION, lambda _purpose, address: self._open_socket(judge, address))
        curl.setopt(pycurl.HEADERFUNCTION, judge.line)

    def _headers(self, *, digest: bool) -> list[str]:
        if digest:
            return [*self._common_headers(), "Want-Repr-Digest: xxh3-128=1"]
        headers = [*self._common_headers(), f"{wire.TASK}: {self._offer.id}"]
        if self._have and self._etag:
            headers += [f"Range: bytes={self._have}-", f"If-Range: {self._etag}"]
        return headers

    def _common_headers(self) -> list[str]:
        shown = self._settings.keys.headers
        return ["Accept-Encoding: identity", *(f"{name}: {value}" for name, value in shown.items())]

    def _open_socket(
        self, judge: _Judge, address: tuple[int, int, int, tuple[str, int]]
    ) -> socket.socket | int:
        """Here it is known what a host name stands for; checked like an address in the task itself."""
        refused: int = pycurl.SOCKET_BAD
        family, kind, protocol, (host, *_) = address
        why = ip_objection(ipaddress.ip_address(host), loopback_ok=self._settings.loopback_ok)
        if why is not None:
            judge.trouble = TransferError(f"refused: {why}")
            return refused
        if self._socket is not None:  # an earlier address of the same name did not answer
            self._socket.close()
        self._socket = socket.socket(family, kind, protocol)
        if self._stopped.is_set():
            return refused
        return self._socket


class _Pace:
    """Stalled is what brings less than `least_bytes` in `window_s`.  (libcurl's own check looks at an
    average of its, and notices seconds later.)"""

    def __init__(self, least_bytes: float, window_s: float) -> None:
        self._least_bytes = least_bytes
        self._window_s = window_s
        self._from: tuple[int, float] | None = None

    def stalled(self, have_bytes: int, now_s: float) -> bool:
        if self._from is None or have_bytes - self._from[0] >= self._least_bytes:
            self._from = (have_bytes, now_s)
        return now_s - self._from[1] >= self._window_s


class _Judge:
    """Collects the header lines of an answer, has them judged once, and keeps what went wrong in a
    callback, as nothing may be raised through libcurl."""

    def __init__(self, judge: Callable[[Head], None]) -> None:
        self._judge = judge
        self._lines: list[str] = []
        self.accepted = False
        self.trouble: Exception | None = None

    def line(self, raw: bytes) -> int:
        """libcurl's callback for each header line, and the empty one after them."""
        text = raw.decode("latin-1").rstrip("\r\n")
        if text.startswith("HTTP/"):
            self._lines = []
        if text:
            self._lines.append(text)
        elif not self.accepted:
            self._whole(Head.read(self._lines))
        return -1 if self.trouble else len(raw)

    def _whole(self, head: Head) -> None:
        if head.status // 100 == 1:  # the real answer is still to come
            return
        try:
            self._judge(head)
            self.accepted = True
        except (TransferError, InterruptionError, OSError) as error:
            self.trouble = error


def _tls_options(keys: Keys) -> list[tuple[int, int | str]]:
    """Mutual TLS: our certificate, and a look at the source's authority and name."""
    if keys.tls is None:
        return []
    return [
        (pycurl.SSLCERT, str(keys.tls.cert_file)),
        (pycurl.SSLKEY, str(keys.tls.key_file)),
        (pycurl.CAINFO, str(keys.tls.ca_file)),
        (pycurl.SSL_VERIFYPEER, 1),
        (pycurl.SSL_VERIFYHOST, 2),
        (pycurl.SSLVERSION, pycurl.SSLVERSION_TLSv1_2),
    ]


def _curl_trouble(code: int, text: str) -> Exception:
    if code in _INTERRUPTIONS:
        return InterruptionError(text)
    if code == pycurl.E_OPERATION_TIMEDOUT:
        return TransferError(f"the source is too slow, or silent: {text}")
    return TransferError(text)
