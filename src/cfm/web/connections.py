"""Which connections may stay, and for how long.

A `Guard` stands between each connection's transport and aiohttp's handler for it, and passes everything
on.  What aiohttp does not do is done there: a deadline for the headers of a request that does not begin
anew with each byte, a bound on connections per address and in all, and an end for readers who do not
read.  When there are too many connections, one that has not brought a request gives way to the new one,
the longest waiting first: so ten thousand half-open requests cost a heartbeat nothing.

Where TLS is configured, the guard has it negotiated once the connection is admitted: a handshake counts
as part of the first request's headers, with their deadline and bound.

`gate` tells the guard when a request's headers are complete and when its answer is made.
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
    """New, or within the headers of a request."""
    BUSY = "busy"
    """A request is with its handler."""
    IDLE = "idle"
    """Kept for the next request; aiohttp closes it in time."""


class Door:
    """The book of a server's connections."""

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
        """Connections closed because there were too many, or because they brought no request in time."""
        self._most = connections_that_fit(limits.connections)
        self._loop = asyncio.get_running_loop()
        self._by_address: dict[str, dict[Guard, None]] = {}
        self._heads: dict[Guard, float] = {}  # since when; in that order
        self._idle: dict[Guard, None] = {}
        self._count = 0
        self._handshakes: set[asyncio.Task[None]] = set()
        self._sweep_timer: asyncio.TimerHandle | None = None

    def __call__(self) -> Guard:
        return Guard(self)

    @property
    def connections(self) -> int:
        return self._count

    def admit(self, guard: Guard) -> bool:
        """Enter a new connection, at the cost of one that brings no request where there are too many."""
        neighbours = self._by_address.get(guard.address, {})
        if len(neighbours) >= self.limits.connections_per_address and not self._turn_away(neighbours):
            return False
        if self._count >= self._most and not self._turn_away(self._heads, self._idle):
            return False
        self._by_address.setdefault(guard.address, {})[guard] = None
        self._count += 1
        self.head_begins(guard)
        return True

    def forget(self, guard: Guard) -> None:
        neighbours = self._by_address.get(guard.address, {})
        if guard not in neighbours:
            return
        del neighbours[guard]
        if not neighbours:
            del self._by_address[guard.address]
        self._heads.pop(guard, None)
        self._idle.pop(guard, None)
        self._count -= 1

    def head_begins(self, guard: Guard) -> None:
        self._idle.pop(guard, None)
        self._heads[guard] = self._loop.time()
        if self._sweep_timer is None:
            self._sweep_timer = self._loop.call_later(self.limits.head_s, self._sweep)

    def request_begins(self, guard: Guard) -> None:
        self._heads.pop(guard, None)
        self._idle.pop(guard, None)

    def request_ends(self, guard: Guard) -> None:
        if guard in self._by_address.get(guard.address, {}):
            self._idle[guard] = None

    def shake_hands(self, handshake: Coroutine[None, None, None]) -> None:
        """Carry out a TLS handshake; `close` ends it where it has not ended."""
        task = self._loop.create_task(handshake)
        self._handshakes.add(task)
        task.add_done_callback(self._handshakes.discard)

    def close(self) -> None:
        """No more deadlines: the server ends all connections itself, but for those without a handler."""
        if self._sweep_timer is not None:
            self._sweep_timer.cancel()
        for handshake in self._handshakes:
            handshake.cancel()

    def _turn_away(self, *groups: Iterable[Guard]) -> bool:
        """End one connection that brings no request: half-open ones first, the oldest of them first."""
        for phase in (Phase.HEAD, Phase.IDLE):
            for guard in itertools.chain(*groups):
                if guard.phase is phase and not guard.is_writing:
                    self._cut(guard)
                    return True
        return False

    def _cut(self, guard: Guard) -> None:
        self.turned_away += 1
        self.forget(guard)
        guard.abort()

    def _sweep(self) -> None:
        """End the overdue; one timer for all, set for the next that could be."""
        now = self._loop.time()
        for guard, since in list(self._heads.items()):
            if since + self.limits.head_s > now:
                break
            if guard.is_writing:  # the client already sends its next request: the time is ours
                self._heads.pop(guard)
                self._heads[guard] = now
            else:
                self._cut(guard)
        self._sweep_timer = None
        if self._heads:
            oldest = next(iter(self._heads.values()))
            self._sweep_timer = self._loop.call_at(oldest + self.limits.head_s, self._sweep)


class Guard(asyncio.Protocol):
    """One connection."""

    def __init__(self, door: Door) -> None:
        self.phase = Phase.HEAD
        self.address = ""
        self._door = door
        self._handler: asyncio.Protocol | None = None
        self._transport: asyncio.Transport | None = None
        self._stall_timer: asyncio.TimerHandle | None = None
        self._early = bytearray()

    @staticmethod
    def of(request: web.Request) -> Guard | None:
        """The guard of a request's connection; None where that is gone."""
        protocol = None if request.transport is None else request.transport.get_protocol()
        return protocol if isinstance(protocol, Guard) else None

    @property
    def is_writing(self) -> bool:
        return self._transport is not None and self._transport.get_write_buffer_size() > 0

    def request_begins(self) -> None:
        self.phase = Phase.BUSY
        self._door.request_begins(self)

    def request_ends(self) -> None:
        self.phase = Phase.IDLE
        self._door.request_ends(self)

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        peer = transport.get_extra_info("peername")
        self.address = peer[0] if isinstance(peer, tuple) else ""
        if not self._door.admit(self):
            self._door.turned_away += 1
            transport.abort()
            return
        self._set_dead_peer_timeout(transport)
        if self._door.tls is None:
            self._begin(transport)
        else:
            transport.pause_reading()
            self._door.shake_hands(self._encrypt(transport, self._door.tls))

    async def _encrypt(self, plain: asyncio.Transport, tls: ssl.SSLContext) -> None:
        """Begin on the encrypted connection, or end it where none comes about."""
        limits, inner = self._door.limits, None
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
        self._handler = self._door.make_handler()
        self._handler.connection_made(transport)
        if self._early:
            early, self._early = bytes(self._early), bytearray()
            self._handler.data_received(early)

    def data_received(self, data: bytes) -> None:
        if self._handler is None:
            self._early += data  # came with the end of the handshake
            return
        if self.phase is Phase.IDLE:
            self.phase = Phase.HEAD
            self._door.head_begins(self)
        self._handler.data_received(data)

    def eof_received(self) -> bool | None:
        return None if self._handler is None else self._handler.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._door.forget(self)
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
            socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(self._door.limits.dead_peer_s * 1000)
        )

    def _watch_reader(self) -> None:
        """Look again after a while at how much of what waits to be sent was taken."""
        if self._transport is not None:
            loop = asyncio.get_running_loop()
            waiting = self._transport.get_write_buffer_size()
            self._stall_timer = loop.call_later(self._door.limits.stall_s, self._judge_reader, waiting)

    def _judge_reader(self, waiting_before: int) -> None:
        limits = self._door.limits
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
    """In words, without OpenSSL's file names and line numbers."""
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.lower().replace("_", " ")
    return str(error) or type(error).__name__
