"""The life of a server: bind, serve, stop.

Everything that can go wrong before the first request is a `StateError` with one clear sentence for the person
who started the program: a port in use, an address of another machine, or an aiohttp without its C parser.
(aiohttp's parser in plain Python accepts malformed requests that allow request smuggling.)
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
from collections.abc import AsyncIterator, Iterable
from functools import partial
from typing import Any, Final

from aiohttp import http_parser, web

from cfm.errors import StateError
from cfm.model import Addr
from cfm.security import EVERYBODY, Admission
from cfm.web.answers import PROGRAM, add_common_headers
from cfm.web.authentication import AccessPolicy, Authenticator
from cfm.web.connections import ConnectionLimiter
from cfm.web.handler import Handler
from cfm.web.limits import Limits, allow_many_files
from cfm.web.middleware import RequestMiddleware

STOPPING: Final = web.AppKey("stopping", asyncio.Event)
"""`request.app[STOPPING]` is set when the server is about to stop.  Held requests must then answer."""

_BACKLOG: Final = 1024
_AT_ONCE: Final = 16
"""How many new connections are accepted at a time, so that a flood of them does not hold up the others."""
_LINGER_S: Final = 2.0
"""How long the rest of a refused body is still read, so that the client can read the refusal."""


def check_parser() -> None:
    """Raise StateError where aiohttp has no C parser."""
    if http_parser.HttpRequestParser is http_parser.HttpRequestParserPy:
        raise StateError(
            "aiohttp is installed without its C parser, and only that refuses malformed requests reliably: "
            "reinstall aiohttp from a binary wheel, and unset AIOHTTP_NO_EXTENSIONS"
        )


class WebServer:
    """One application on one address."""

    def __init__(
        self,
        app: web.Application,
        addr: str,
        *,
        names: Iterable[str] = (),
        limits: Limits | None = None,
        program: str = "cfm",
        admission: Admission = EVERYBODY,
        access_policy: AccessPolicy | None = None,
    ) -> None:
        """`addr` is `HOST:PORT`.  `:PORT` means all addresses of the machine; port 0 means any free port.

        `names` are the host names by which clients know the server.  IP addresses, `localhost` and this
        machine's own name need not be listed.  `admission` and `access_policy` say who may do what.
        """
        check_parser()
        allow_many_files()
        self._app = app
        self._wanted_addr = addr
        self._limits = limits or Limits()
        self._admission = admission
        authenticator = (
            Authenticator(admission, access_policy or AccessPolicy()) if admission.is_guarded else None
        )
        self._middleware = RequestMiddleware(
            self._limits, [*names, split_addr(addr)[0], socket.gethostname()], authenticator, access_policy
        )
        self._stopping = asyncio.Event()
        self._runner: web.AppRunner | None = None
        self._limiter: ConnectionLimiter | None = None
        self._listeners: list[asyncio.Server] = []
        app.middlewares.insert(0, self._middleware.middleware())
        app.on_response_prepare.append(add_common_headers)
        app[PROGRAM] = program
        app[STOPPING] = self._stopping

    @property
    def addr(self) -> Addr:
        """The address that was asked for, with the port that is really bound."""
        host = self._wanted_addr.rpartition(":")[0]
        return Addr(f"{host}:{self.port}")

    @property
    def port(self) -> int:
        port: int = self._listeners[0].sockets[0].getsockname()[1]
        return port

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return 0 if self._limiter is None else self._limiter.connections

    @property
    def turned_away(self) -> int:
        """Connections that were closed because there were too many, or because no request came in time."""
        return 0 if self._limiter is None else self._limiter.turned_away

    async def start(self) -> None:
        """Bind and serve.

        Raises:
            StateError: the server cannot listen on the address.
        """
        sockets = await _bind(self._wanted_addr)
        try:
            await self._start_on(sockets)
        except BaseException:
            for sock in sockets:
                sock.close()
            raise

    async def _start_on(self, sockets: list[socket.socket]) -> None:
        runner = web.AppRunner(self._app, handler_cancellation=True, shutdown_timeout=self._limits.stop_s / 4)
        await runner.setup()
        assert runner.server is not None
        self._runner = runner
        loop = asyncio.get_running_loop()
        make_handler = partial(Handler, runner.server, loop=loop, **self._handler_options())
        tls = self._admission.tls
        self._limiter = ConnectionLimiter(make_handler, self._limits, tls.server if tls else None)
        for sock in sockets:
            self._listeners.append(await loop.create_server(self._limiter, sock=sock, backlog=_AT_ONCE))
            sock.listen(_BACKLOG)  # the length of the kernel's queue; asyncio set it to _AT_ONCE

    def _handler_options(self) -> dict[str, Any]:
        limits = self._limits
        return {
            "keepalive_timeout": limits.idle_s,
            "max_line_size": limits.head_line_bytes,
            "max_field_size": limits.head_line_bytes,
            "max_headers": limits.head_lines,
            "auto_decompress": False,
            "lingering_time": min(_LINGER_S, limits.body_s),
            "access_log": None,
            "guarded": self._admission.is_guarded,
        }

    async def stop(self) -> None:
        """Accept no new connections, let running requests finish within the limit, and close the rest."""
        self._stopping.set()
        for listener in self._listeners:
            listener.close()
        await self._middleware.finish_changes(self._limits.stop_s / 4)
        if self._limiter is not None:
            self._limiter.close()
        if self._runner is not None:
            await self._runner.cleanup()
        self._listeners.clear()


@contextlib.asynccontextmanager
async def serve(
    app: web.Application,
    addr: str,
    *,
    names: Iterable[str] = (),
    limits: Limits | None = None,
    program: str = "cfm",
    admission: Admission = EVERYBODY,
    access_policy: AccessPolicy | None = None,
) -> AsyncIterator[WebServer]:
    """A server that runs for as long as the block lasts; see `WebServer`."""
    server = WebServer(
        app,
        addr,
        names=names,
        limits=limits,
        program=program,
        admission=admission,
        access_policy=access_policy,
    )
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


def split_addr(addr: str) -> tuple[str, int]:
    """The host (without brackets; it may be empty) and the port of an address."""
    host, colon, port = addr.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise StateError(
            f"{addr!r} is not an address to listen on: write HOST:PORT, or :PORT for all addresses"
        )
    return host.strip("[]"), int(port)


async def _bind(addr: str) -> list[socket.socket]:
    host, port = split_addr(addr)
    try:
        if host:
            return [await _bind_host(host, port)]
        first = _bound(socket.AF_INET, ("0.0.0.0", port))  # noqa: S104 - `:PORT` says just this
    except OSError as error:
        raise StateError(f"cannot listen on {addr}: {_reason(error)}") from None
    return [first, *_bind_also_v6(first.getsockname()[1])]


async def _bind_host(host: str, port: int) -> socket.socket:
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, _, _, _, where = found[0]
    return _bound(family, where)


def _bind_also_v6(port: int) -> list[socket.socket]:
    """IPv6 has a socket of its own, so that IPv4 clients keep their plain addresses."""
    with contextlib.suppress(OSError):  # a machine without IPv6 is served on IPv4 only
        return [_bound(socket.AF_INET6, ("::", port))]
    return []


def _bound(family: int, where: Any) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(where)
        sock.listen(_BACKLOG)  # fails here at the latest where another program listens on the port
    except BaseException:
        sock.close()
        raise
    sock.setblocking(False)
    return sock


def _reason(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "the port is in use, perhaps by another instance of this program"
    if error.errno == errno.EADDRNOTAVAIL:
        return "this machine has no such address"
    if isinstance(error, socket.gaierror):
        return "the host name has no address"
    return os.strerror(error.errno) if error.errno else str(error)
