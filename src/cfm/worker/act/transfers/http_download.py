"""One file fetched over HTTP, with all its attempts.  It blocks, and runs in a thread of `builtin`.

It trusts nobody.  The length must be the one that cfm stated, the content tag must not change on the way,
and the checksum of what was *written* must be the one that the source computes.  After an interruption the
download resumes where it broke off.  `source_request` makes the requests, `response` judges their answers.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from xxhash import xxh3_128

from cfm import wire
from cfm.security import NO_KEYS, Keys
from cfm.wire import TaskOffer
from cfm.worker.act.base_dir import TempFile
from cfm.worker.act.transfers.contract import Landing, Received, TransferError
from cfm.worker.act.transfers.response import Head, InterruptionError, Restart, judge_content, judge_digest
from cfm.worker.act.transfers.source_request import SourceRequests
from cfm.worker.act.transfers.write_behind import WriteBehind, writing_behind

RESUMED_BYTES: Final = 1 << 20
"""After an attempt that brought this much, the pauses begin anew."""
CATCH_UP_S: Final = 0.1
LEAST_PIECE_BYTES: Final = 4096


@dataclass(frozen=True, slots=True)
class BuiltinSettings:
    threads: int = 4
    """How many transfers may run at a time, those that only verify included."""
    loopback_ok: bool = False
    """May a source be on the loopback?  (In a demo or a test it may.)"""
    connect_timeout_s: float = 5.0
    stall_s: float = 30.0
    """After so long below `stall_bytes_per_s` the transfer is given up."""
    stall_bytes_per_s: int = 1024
    digest_timeout_s: int = 600
    """How long the source may compute its checksum."""
    pauses_s: tuple[float, ...] = (0.2, 1.0, 3.0)
    """The pause before each further attempt after an interruption."""
    keys: Keys = NO_KEYS
    """The credentials that the source wants to see."""


class ProgressWatch(Protocol):
    """Who hears of the progress, from the download's thread."""

    def moved(self, total_bytes: int) -> None: ...

    def received(self, total_bytes: int) -> None: ...


class HttpDownload:
    """One file.  `run` blocks; `stop` may be called from any thread."""

    def __init__(
        self, offer: TaskOffer, landing: Landing, watch: ProgressWatch, settings: BuiltinSettings
    ) -> None:
        self._offer = offer
        self._landing = landing
        self._watch = watch
        self._settings = settings
        self._requests = SourceRequests(
            offer,
            keys=settings.keys,
            connect_timeout_s=settings.connect_timeout_s,
            loopback_ok=settings.loopback_ok,
        )
        self._total = offer.size_bytes
        self._etag = ""
        self._have = 0
        self._hash = xxh3_128()

    def stop(self) -> None:
        """End it at once."""
        self._requests.stop()

    def run(self) -> Received:
        try:
            with contextlib.closing(self._landing.create()) as file:
                self._attempts(lambda: self._get(file))
                self._watch.received(self._have)
                self._attempts(self._verify)
                file.sync()
        except OSError as error:
            raise TransferError(f"the disk: {error.strerror or error}", own_disk=True) from error
        return Received(self._have, self._hash.digest())

    def _attempts(self, attempt: Callable[[], None]) -> None:
        """Try until it is done, with pauses.  An interruption after which much had come does not count."""
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
                if self._requests.stopped.wait(pauses_s.pop(0)):
                    raise TransferError("stopped") from error

    def _get(self, file: TempFile) -> None:
        """Make one attempt to get what is still missing."""
        with self._requests.ask("GET", self._content_headers(), self._settings.stall_s) as head:
            size_bytes = self._begin(head, file)
            with writing_behind(file) as writer:
                self._receive(writer, size_bytes)

    def _receive(self, writer: WriteBehind, size_bytes: int) -> None:
        """Receive, hash and hand over to be written, as fast as the task allows."""
        now_s, speed_bps = time.monotonic(), self._offer.copy_speed_bps
        pace = _Pace(self._stall_bytes_per_s() * self._settings.stall_s, self._settings.stall_s)
        speed = Speed(speed_bps / 8, now_s) if speed_bps else None
        buffer = writer.buffer()
        while self._have < size_bytes:
            most = speed.piece_bytes if speed else len(buffer)
            count = self._requests.receive(buffer[: min(most, size_bytes - self._have)])
            now_s = time.monotonic()
            if pace.stalled(self._have + count, now_s):
                raise TransferError(f"stalled at {self._have + count} bytes")
            if not count:
                continue
            writer.write(buffer, count)
            self._hash.update(buffer[:count])
            self._have += count
            self._watch.moved(self._have)
            buffer = writer.buffer()
            if speed:
                self._requests.stopped.wait(speed.pause_s(count, now_s))

    def _content_headers(self) -> dict[str, str]:
        headers = {wire.TASK: str(self._offer.id)}
        if self._have and self._etag:
            headers |= {"Range": f"bytes={self._have}-", "If-Range": self._etag}
        return headers

    def _begin(self, head: Head, file: TempFile) -> int:
        """Judge the source's answer before its first byte is written.  Returns the whole file's size."""
        answer = judge_content(head, have=self._have, etag=self._etag, size_bytes=self._total)
        if answer is Restart.NEEDED and self._have:
            self._have, self._hash = 0, xxh3_128()
            file.truncate(0)
        if self._total is None:
            self._total = head.length
            if head.length is not None and not self._landing.has_room_for(head.length):
                raise TransferError(f"no room for {head.length} bytes")
        self._etag = head.etag
        assert self._total is not None, "an answer without a length was refused"
        return self._total

    def _verify(self) -> None:
        """Compare the source's checksum with that of the bytes written.  The source is free meanwhile."""
        wish = {"Want-Repr-Digest": "xxh3-128=1"}
        with self._requests.ask("HEAD", wish, self._settings.digest_timeout_s) as head:
            digest = judge_digest(head, self._etag, self._total)
        if digest != self._hash.digest():
            raise TransferError("the checksum is not the source's")

    def _stall_bytes_per_s(self) -> int:
        """A task that may only be slow is not stalled at its own speed."""
        stall, speed_bps = self._settings.stall_bytes_per_s, self._offer.copy_speed_bps
        return min(stall, max(1, speed_bps // 32)) if speed_bps else stall


class _Pace:
    """A transfer is stalled that brings less than `least_bytes` in `window_s`."""

    def __init__(self, least_bytes: float, window_s: float) -> None:
        self._least_bytes = least_bytes
        self._window_s = window_s
        self._from: tuple[int, float] | None = None

    def stalled(self, have_bytes: int, now_s: float) -> bool:
        if self._from is None or have_bytes - self._from[0] >= self._least_bytes:
            self._from = (have_bytes, now_s)
        return now_s - self._from[1] >= self._window_s


class Speed:
    """Says how long to wait after each piece, so that no more than `bytes_per_s` come.

    Time that the source lost is made up for, but no more than `CATCH_UP_S` of it.
    """

    def __init__(self, bytes_per_s: float, now_s: float) -> None:
        self._bytes_per_s = bytes_per_s
        self._due_s = now_s
        self.piece_bytes = max(LEAST_PIECE_BYTES, int(bytes_per_s * CATCH_UP_S))

    def pause_s(self, count: int, now_s: float) -> float:
        self._due_s = max(self._due_s, now_s - CATCH_UP_S) + count / self._bytes_per_s
        return max(0.0, self._due_s - now_s)
