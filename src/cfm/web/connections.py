"""Which connections may stay, and for how long.

A `LimitedConnection` stands between a connection's transport and aiohttp's handler, and passes everything on.
It adds what aiohttp does not do: a fixed deadline for the headers of a request, a limit on connections per
address and in total, and an end for clients that do not read their answer.  When there are too many
connections, a new one replaces one that has not sent a request, the longest waiting first.  So ten thousand
half-open requests do not hold up a heartbeat.

With TLS, the handshake starts when the connection has been admitted.  It counts as part of the first
request's headers, and has the same deadline and limits.

`middleware` tells the connection when a request's headers are complete, and when its answer is ready.
"""

from __future__ import annotations

import asyncio
import enum
import itertools
import socket
import ssl
from collections.abc import Callable, Coroutine, Iterable

import structlog
from aiohttp import web

from cfm.web.limits import Limits, connections_that_fit

log = structlog.get_logger(__name__)


class Phase(enum.Enum):
    HEAD = "head"
    """The connection is new, or the headers of a request are arriving."""
    BUSY = "busy"
    """A handler works on a request."""
    IDLE = "idle"
    """The connection waits for the next request; aiohttp closes it after a while."""


class ConnectionLimiter:
    """Knows all connections of a server, and keeps their number within the limits."""

    def __init__(
        self,
        make_handler: Callable[[], asyncio.Protocol],
        limits: Limits,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.make_handler = make_handler
        self.limits = limits
        self.tls = tls
        self.turned_away = 0
        """Connections that were closed because there were too many, or because no request came in time."""
        self._most = connections_that_fit(limits.connections)
        self._loop = asyncio.get_running_loop()
        self._by_address: dict[str, dict[LimitedConnection, None]] = {}
        self._heads: dict[LimitedConnection, float] = {}  # → since when; the oldest first
        self._idle: dict[LimitedConnection, None] = {}
        self._count = 0
        self._handshakes: set[asyncio.Task[None]] = set()
        self._sweep_timer: asyncio.TimerHandle | None = None

    def __call__(self) -> LimitedConnection:
        return LimitedConnection(self)

    @property
    def connections(self) -> int:
        return self._count

    def admit(self, connection: LimitedConnection) -> bool:
        """Count a new connection.  Where there are too many, one that has sent no request is closed for
        it."""
        neighbours = self._by_address.get(connection.address, {})
        if len(neighbours) >= self.limits.connections_per_address and not self._turn_away(neighbours):
            return False
        if self._count >= self._most and not self._turn_away(self._heads, self._idle):
            return False
        self._by_address.setdefault(connection.address, {})[connection] = None
        self._count += 1
        self.head_begins(connection)
        return True

    def forget(self, connection: LimitedConnection) -> None:
        neighbours = self._by_address.get(connection.address, {})
        if connection not in neighbours:
            return
        del neighbours[connection]
        if not neighbours:
            del self._by_address[connection.address]
        self._heads.pop(connection, None)
        self._idle.pop(connection, None)
        self._count -= 1

    def head_begins(self, connection: LimitedConnection) -> None:
        self._idle.pop(connection, None)
        self._heads[connection] = self._loop.time()
        if self._sweep_timer is None:
            self._sweep_timer = self._loop.call_later(self.limits.head_s, self._sweep)

    def request_begins(self, connection: LimitedConnection) -> None:
        self._heads.pop(connection, None)
        self._idle.pop(connection, None)

    def request_ends(self, connection: LimitedConnection) -> None:
        if connection in self._by_address.get(connection.address, {}):
            self._idle[connection] = None

    def shake_hands(self, handshake: Coroutine[None, None, None]) -> None:
        """Run a TLS handshake; `close` cancels it where it is still running."""
        task = self._loop.create_task(handshake)
        self._handshakes.add(task)
        task.add_done_callback(self._handshakes.discard)

    def close(self) -> None:
        """Stop the deadlines and the handshakes.  The server itself ends the connections that have a
        handler."""
        if self._sweep_timer is not None:
            self._sweep_timer.cancel()
        for handshake in self._handshakes:
            handshake.cancel()

    def _turn_away(self, *groups: Iterable[LimitedConnection]) -> bool:
        """Close one connection without a request: half-open ones first, and of these the oldest."""
        for phase in (Phase.HEAD, Phase.IDLE):
            for connection in itertools.chain(*groups):
                if connection.phase is phase and not connection.is_writing:
                    self._cut(connection)
                    return True
        return False

    def _cut(self, connection: LimitedConnection) -> None:
        self.turned_away += 1
        self.forget(connection)
        connection.abort()

    def _sweep(self) -> None:
        """Close the overdue connections, and set the one timer for the next that may become overdue."""
        now = self._loop.time()
        for connection, since in list(self._heads.items()):
            if since + self.limits.head_s > now:
                break
            if (
                connection.is_writing
            ):  # the client sends its next request while we still answer: not its delay
                self._heads.pop(connection)
                self._heads[connection] = now
            else:
                self._cut(connection)
        self._sweep_timer = None
        if self._heads:
            oldest = next(iter(self._heads.values()))
            self._sweep_timer = self._loop.call_at(oldest + self.limits.head_s, self._sweep)


class LimitedConnection(asyncio.Protocol):
    """One connection."""

    def __init__(self, limiter: ConnectionLimiter) -> None:
        self.phase = Phase.HEAD
        self.address = ""
        self._limiter = limiter
        self._handler: asyncio.Protocol | None = None
        self._transport: asyncio.Transport | None = None
        self._stall_timer: asyncio.TimerHandle | None = None
        self._early = bytearray()

    @staticmethod
    def of(request: web.Request) -> LimitedConnection | None:
        """The connection of a request; None where it is closed."""
        protocol = None if request.transport is None else request.transport.get_protocol()
        return protocol if isinstance(protocol, LimitedConnection) else None

    @property
    def is_writing(self) -> bool:
        return self._transport is not None and self._transport.get_write_buffer_size() > 0

    def request_begins(self) -> None:
        self.phase = Phase.BUSY
        self._limiter.request_begins(self)

    def request_ends(self) -> None:
        self.phase = Phase.IDLE
        self._limiter.request_ends(self)

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        peer = transport.get_extra_info("peername")
        self.address = peer[0] if isinstance(peer, tuple) else ""
        if not self._limiter.admit(self):
            self._limiter.turned_away += 1
            transport.abort()
            return
        self._set_dead_peer_timeout(transport)
        if self._limiter.tls is None:
            self._begin(transport)
        else:
            transport.pause_reading()
            self._limiter.shake_hands(self._encrypt(transport, self._limiter.tls))

    async def _encrypt(self, plain: asyncio.Transport, tls: ssl.SSLContext) -> None:
        """Start the encrypted connection, or close it where the handshake fails."""
        limits, inner = self._limiter.limits, None
        try:
            inner = await asyncio.get_running_loop().start_tls(
                plain,
                self,
                tls,
                server_side=True,
                ssl_handshake_timeout=limits.head_s,
                ssl_shutdown_timeout=limits.stop_s / 4,
            )
        except OSError as error:  # an SSLError is one
            log.info("no TLS connection", client=self.address, why=_tls_trouble(error))
        finally:
            if inner is None:
                plain.abort()
                self.connection_lost(None)
        if inner is not None and self._transport is not None:
            self._begin(inner)

    def _begin(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._handler = self._limiter.make_handler()
        self._handler.connection_made(transport)
        if self._early:
            early, self._early = bytes(self._early), bytearray()
            self._handler.data_received(early)

    def data_received(self, data: bytes) -> None:
        if self._handler is None:
            self._early += data  # it arrived together with the end of the handshake
            return
        if self.phase is Phase.IDLE:
            self.phase = Phase.HEAD
            self._limiter.head_begins(self)
        self._handler.data_received(data)

    def eof_received(self) -> bool | None:
        return None if self._handler is None else self._handler.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._limiter.forget(self)
        self._stop_stall_timer()
        self._transport = None
        if self._handler is not None:
            self._handler.connection_lost(exc)
            self._handler = None

    def pause_writing(self) -> None:
        self._watch_reader()
        if self._handler is not None:
            self._handler.pause_writing()

    def resume_writing(self) -> None:
        self._stop_stall_timer()
        if self._handler is not None:
            self._handler.resume_writing()

    def _set_dead_peer_timeout(self, transport: asyncio.Transport) -> None:
        transport.get_extra_info("socket").setsockopt(
            socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(self._limiter.limits.dead_peer_s * 1000)
        )

    def _watch_reader(self) -> None:
        """Check after a while how much of the waiting answer the client has read."""
        if self._transport is not None:
            loop = asyncio.get_running_loop()
            waiting = self._transport.get_write_buffer_size()
            self._stall_timer = loop.call_later(self._limiter.limits.stall_s, self._judge_reader, waiting)

    def _judge_reader(self, waiting_before: int) -> None:
        limits = self._limiter.limits
        if self._transport is None:
            return
        taken = waiting_before - self._transport.get_write_buffer_size()
        if 8 * taken < limits.stall_bps * limits.stall_s:
            self.abort()
        else:
            self._watch_reader()

    def _stop_stall_timer(self) -> None:
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None


def _tls_trouble(error: OSError) -> str:
    """The reason in words, without OpenSSL's file names and line numbers."""
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.lower().replace("_", " ")
    return str(error) or type(error).__name__
