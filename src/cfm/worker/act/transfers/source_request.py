"""Requests to one source, by libcurl: how they are set up, carried out and stopped.

No redirects, no proxies, no encodings, and no connection to an address that cannot be a server's.
`http_download` asks for what it needs, and `response` judges what the source answers.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Final
from urllib.parse import quote

import pycurl

from cfm.security import Keys
from cfm.wire import TaskOffer
from cfm.worker.act.transfers.contract import TransferError
from cfm.worker.act.transfers.response import Head, InterruptionError
from cfm.worker.decide.offers import ip_objection

_BUFFER_BYTES: Final = 512 * 1024
_INTERRUPTIONS: Final = frozenset(
    {
        pycurl.E_COULDNT_CONNECT,
        pycurl.E_GOT_NOTHING,
        pycurl.E_PARTIAL_FILE,
        pycurl.E_RECV_ERROR,
        pycurl.E_SEND_ERROR,
    }
)


class AnswerJudge:
    """Collects the header lines of an answer, and has them judged once.

    It keeps what went wrong in a callback, since an exception cannot pass through libcurl.
    """

    def __init__(self, judge: Callable[[Head], None]) -> None:
        self._judge = judge
        self._lines: list[str] = []
        self.accepted = False
        self.trouble: Exception | None = None

    def line(self, raw: bytes) -> int:
        """A callback of libcurl for each header line, and for the empty line after them."""
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


class SourceRequests:
    """The requests of one download, one at a time.  `stop` may be called from any thread."""

    def __init__(self, offer: TaskOffer, *, keys: Keys, connect_timeout_s: float, loopback_ok: bool) -> None:
        self.stopped = threading.Event()
        self._offer = offer
        self._keys = keys
        self._connect_timeout_s = connect_timeout_s
        self._loopback_ok = loopback_ok
        self._socket: socket.socket | None = None

    def stop(self) -> None:
        """End the request that runs, and all later ones.  A thread that waits for the network wakes up."""
        self.stopped.set()
        connection = self._socket
        if connection is not None:
            with contextlib.suppress(OSError):  # it is not connected, or not any more
                connection.shutdown(socket.SHUT_RDWR)

    @contextlib.contextmanager
    def open(self, judge: AnswerJudge, headers: list[str]) -> Iterator[pycurl.Curl]:
        """A request for the content of the offered file, ready to be carried out."""
        curl = pycurl.Curl()
        try:
            self._set_up(curl, judge)
            shown = (f"{name}: {value}" for name, value in self._keys.headers.items())
            curl.setopt(pycurl.HTTPHEADER, ["Accept-Encoding: identity", *shown, *headers])
            yield curl
        finally:
            curl.close()
            connection, self._socket = self._socket, None
            if connection is not None:
                connection.close()

    def perform(self, curl: pycurl.Curl, judge: AnswerJudge) -> None:
        """Carry the request out.

        Raises:
            TransferError: it failed.
            InterruptionError: it failed in a way after which another attempt may succeed.
            OSError: the disk failed in a callback.
        """
        try:
            curl.perform()
        except pycurl.error as error:
            code, text = error.args
            if self.stopped.is_set():
                raise TransferError("stopped") from error
            if judge.trouble is None:
                raise _curl_trouble(code, text) from error
        if judge.trouble is not None:
            raise judge.trouble
        if not judge.accepted:
            raise InterruptionError("the source sent no answer")

    def _set_up(self, curl: pycurl.Curl, judge: AnswerJudge) -> None:
        offer, keys = self._offer, self._keys
        for option, value in (
            (pycurl.URL, f"{keys.scheme}://{offer.source}/content/{quote(offer.file_name, safe='')}"),
            (pycurl.PROTOCOLS, pycurl.PROTO_HTTP if keys.tls is None else pycurl.PROTO_HTTPS),
            (pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1),
            (pycurl.PROXY, ""),
            (pycurl.FOLLOWLOCATION, 0),
            (pycurl.HTTP_CONTENT_DECODING, 0),
            (pycurl.NOSIGNAL, 1),
            (pycurl.BUFFERSIZE, _BUFFER_BYTES),
            (pycurl.CONNECTTIMEOUT_MS, int(self._connect_timeout_s * 1000)),
            (pycurl.NOPROGRESS, 0),
            *_tls_options(keys),
        ):
            curl.setopt(option, value)
        curl.unsetopt(pycurl.CAPATH)  # only the node's own authority counts
        curl.setopt(pycurl.XFERINFOFUNCTION, lambda *_counts: int(self.stopped.is_set()))
        curl.setopt(pycurl.OPENSOCKETFUNCTION, lambda _purpose, address: self._open_socket(judge, address))
        curl.setopt(pycurl.HEADERFUNCTION, judge.line)

    def _open_socket(
        self, judge: AnswerJudge, address: tuple[int, int, int, tuple[str, int]]
    ) -> socket.socket | int:
        """A callback of libcurl, which knows by now what a host name resolves to.

        That address is checked like an address in the task itself.
        """
        refused: int = pycurl.SOCKET_BAD
        family, kind, protocol, (host, *_) = address
        why = ip_objection(ipaddress.ip_address(host), loopback_ok=self._loopback_ok)
        if why is not None:
            judge.trouble = TransferError(f"refused: {why}")
            return refused
        if self._socket is not None:  # another address of the same name did not answer
            self._socket.close()
        self._socket = socket.socket(family, kind, protocol)
        if self.stopped.is_set():
            return refused
        return self._socket


def _tls_options(keys: Keys) -> list[tuple[int, int | str]]:
    """Mutual TLS: we show our certificate, and check the source's authority and name."""
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
