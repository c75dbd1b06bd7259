"""Requests to one source: sent, answered, received and stopped, over a socket of their own.

It speaks as much HTTP as `/content` needs: one request a connection, and an answer that states its length.
No redirects, no proxies, no encodings, and no connection to an address that cannot be a server's.  What comes
goes from the socket straight into the caller's buffer.  `http_download` asks for what it needs, and
`response` judges what the source answers.
"""

from __future__ import annotations

import contextlib
import ipaddress
import select
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Final
from urllib.parse import quote

from cfm.config import split_address
from cfm.security import Keys
from cfm.wire import TaskOffer
from cfm.worker.act.transfers.contract import TransferError
from cfm.worker.act.transfers.response import Head, InterruptionError
from cfm.worker.decide.offers import ip_objection

MOST_HEAD_BYTES: Final = 64 * 1024
_END_OF_HEAD: Final = b"\r\n\r\n"
_LOOK_S: Final = 1.0
"""`receive` returns after so long, even if nothing came."""


class SourceRequests:
    """The requests of one download, one at a time.  `stop` may be called from any thread."""

    def __init__(self, offer: TaskOffer, *, keys: Keys, connect_timeout_s: float, loopback_ok: bool) -> None:
        self.stopped = threading.Event()
        self._offer = offer
        self._keys = keys
        self._connect_timeout_s = connect_timeout_s
        self._loopback_ok = loopback_ok
        self._socket: socket.socket | None = None
        self._received = b""
        """What came with the head, and was not taken yet."""

    def stop(self) -> None:
        """End the request that runs, and all later ones.  A thread that waits for the network wakes up."""
        self.stopped.set()
        connection = self._socket
        if connection is not None:
            with contextlib.suppress(OSError):  # it is not connected, or not any more
                # Not the method of a TLS socket: that would make the other thread read without TLS.
                socket.socket.shutdown(connection, socket.SHUT_RDWR)

    @contextlib.contextmanager
    def ask(self, method: str, headers: Mapping[str, str], timeout_s: float) -> Iterator[Head]:
        """Ask for the content of the offered file.  The head of the answer must come within `timeout_s`.

        Raises:
            TransferError: it failed.
            InterruptionError: it failed in a way after which another attempt may succeed.
        """
        try:
            try:
                connection = self._connect()
                connection.sendall(self._request(method, headers))
                head = self._head(connection, time.monotonic() + timeout_s)
                connection.settimeout(_LOOK_S)
            except OSError as error:
                raise self._meaning(error) from error
            yield head
        finally:
            if self._socket is not None:
                self._socket.close()
            self._socket = None

    def receive(self, buffer: memoryview) -> int:
        """Put the next bytes of the answer into the buffer.  0: nothing came for a second.

        Raises:
            TransferError: it failed.
            InterruptionError: the source ended, or the connection broke.
        """
        if self._received:
            count = min(len(buffer), len(self._received))
            buffer[:count], self._received = self._received[:count], self._received[count:]
            return count
        assert self._socket is not None, "it is asked first"
        try:
            count = _fill(self._socket, buffer)
        except TimeoutError:
            return 0
        except OSError as error:
            raise self._meaning(error) from error
        if self.stopped.is_set():  # what comes from a connection that was shut down is no content
            raise TransferError("stopped")
        if not count:
            raise InterruptionError("the source ended before all bytes had come")
        return count

    def _meaning(self, error: OSError) -> TransferError | InterruptionError:
        """What an error of the network means."""
        if self.stopped.is_set():
            return TransferError("stopped")
        if isinstance(error, TimeoutError):
            return TransferError("the source is too slow, or silent")
        text = error.strerror or str(error)
        if isinstance(error, (ssl.SSLError, socket.gaierror)):
            return TransferError(text)
        return InterruptionError(text)

    def _connect(self) -> socket.socket:
        """A connection to the first address that answers, of those that the source's name stands for."""
        host, port = split_address(self._offer.source)
        trouble: OSError = ConnectionError(f"{host} has no address")
        for family, kind, protocol, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            why = ip_objection(ipaddress.ip_address(address[0]), loopback_ok=self._loopback_ok)
            if why is not None:  # checked like an address in the task itself
                raise TransferError(f"refused: {why}")
            connection = socket.socket(family, kind, protocol)
            connection.settimeout(self._connect_timeout_s)
            self._hold(connection)
            try:
                connection.connect(address)
            except OSError as error:
                connection.close()
                trouble = error
            else:
                return self._secured(connection, host)
        raise trouble

    def _secured(self, connection: socket.socket, host: str) -> socket.socket:
        """Mutual TLS, where it is configured: the source's authority and name are checked."""
        context = self._keys.context
        if context is None:
            return connection
        secured = context.wrap_socket(connection, server_hostname=host, do_handshake_on_connect=False)
        self._hold(secured)
        secured.do_handshake()
        return secured

    def _hold(self, connection: socket.socket) -> None:
        """From now on `stop` finds it.  One of both sides sees the other."""
        self._socket = connection
        if self.stopped.is_set():
            raise TransferError("stopped")

    def _request(self, method: str, headers: Mapping[str, str]) -> bytes:
        fields = {"Host": self._offer.source, "Accept-Encoding": "identity", **self._keys.headers, **headers}
        lines = [f"{method} /content/{quote(self._offer.file_name, safe='')} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in fields.items()]
        return "\r\n".join([*lines, "", ""]).encode("latin-1")

    def _head(self, connection: socket.socket, until_s: float) -> Head:
        """Read the head of the answer, and keep what comes with it."""
        self._received = b""
        while True:
            text, end, rest = self._received.partition(_END_OF_HEAD)
            if end:
                self._received = rest
                head = Head.read(text.decode("latin-1").split("\r\n"))
                if head.status // 100 != 1:  # else the real answer is still to come
                    return head
                continue
            if len(text) > MOST_HEAD_BYTES:
                raise TransferError("the source's answer begins with too many headers")
            left_s = until_s - time.monotonic()
            if left_s <= 0:  # bytes may be there all the time
                raise TimeoutError
            connection.settimeout(left_s)
            more = connection.recv(MOST_HEAD_BYTES)
            if not more:
                raise InterruptionError("the source sent no answer")
            self._received += more


def _fill(connection: socket.socket, buffer: memoryview) -> int:
    """Wait for bytes, and take those that are there: a TLS socket gives no more than 16 KiB at a time."""
    count = connection.recv_into(buffer)
    if 0 < count < len(buffer):
        poll = select.poll()
        poll.register(connection, select.POLLIN)
        with contextlib.suppress(OSError):  # the next call meets it again
            while count < len(buffer) and poll.poll(0):
                more = connection.recv_into(buffer[count:])
                if not more:
                    break
                count += more
    return count
