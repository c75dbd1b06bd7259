"""What is checked of every request before its handler runs, and how a refusal gets its form.

Other web sites must not be able to use an operator's browser.  So `Host` must be a name of this server (DNS
may make another site's name point here), and a change with an `Origin` must come from one of our own pages.
Another program of the node may know this server by a name that we have never heard, and is no browser: what
only programs use is open to it by any name.
Where credentials are configured, `authentication` checks them next.  Bodies are small; a body is read
completely, within a deadline, before the handler runs.  A change that has begun runs to its end, even if the
client closes the connection.  A request that only reads ends with its client, so that held requests do not
pile up.
"""

from __future__ import annotations

import asyncio
import errno
import re
from collections.abc import Iterable
from typing import Any, Final
from urllib.parse import urlsplit

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from cfm.web.answers import READING_METHODS, RefusedError, refusal
from cfm.web.authentication import AccessPolicy, Authenticator
from cfm.web.connections import LimitedConnection
from cfm.web.handler import Handler as ConnectionHandler
from cfm.web.limits import Limits

log = structlog.get_logger(__name__)

_CLOSE_AFTER: Final = frozenset({400, 401, 408, 413})
_DEAD_PEER: Final = frozenset({errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH})
_KEPT_HEADERS: Final = ("Allow", "Retry-After")
_OF_BROWSERS: Final = ("Accept-Language", "Origin", "Referer", "Cookie", "Sec-Fetch-Site", "Sec-Fetch-Mode")
_HOST: Final = re.compile(
    r"(?:(?P<ip>\[[0-9A-Fa-f:.]+\]|[0-9]{1,3}(?:\.[0-9]{1,3}){3})|(?P<name>[A-Za-z0-9._-]+))(?::[0-9]{1,5})?"
)


class RefusalListener:
    """Hears of each request without valid credentials."""

    def refused(self, request: web.Request) -> None:
        raise NotImplementedError


ON_UNAUTHORIZED: Final = web.AppKey("on_unauthorized", RefusalListener)
"""An application may have a listener here."""


class RequestMiddleware:
    """The outermost middleware of a server."""

    def __init__(
        self,
        limits: Limits,
        names: Iterable[str] = (),
        authenticator: Authenticator | None = None,
        access_policy: AccessPolicy | None = None,
    ) -> None:
        self._limits = limits
        self._policy = access_policy or AccessPolicy()
        self._authenticator = authenticator
        self._names = frozenset({"localhost", *(name.lower().rstrip(".") for name in names)})
        self._changes: set[asyncio.Task[Any]] = set()

    async def finish_changes(self, within_s: float) -> None:
        """Wait for the changes that have begun, and cancel those that take longer."""
        if self._changes:
            _, unfinished = await asyncio.wait(set(self._changes), timeout=within_s)
            for change in unfinished:
                change.cancel()

    def middleware(self) -> Middleware:
        @web.middleware
        async def checked(request: web.Request, handler: Handler) -> web.StreamResponse:
            return await self.pass_through(request, handler)

        return checked

    async def pass_through(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        connection = LimitedConnection.of(request)
        if connection is None:  # it was closed before its request was checked
            raise ConnectionResetError
        connection.request_begins()
        try:
            return await self._answer(request, handler)
        finally:
            connection.request_ends()

    async def _answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            self._check(request)
            if self._authenticator is not None:
                self._authenticator.check(request)
            await self._read_body(request)
            return await self._carry_out(request, handler)
        except RefusedError as refused:
            if refused.status == 401 and (listener := request.app.get(ON_UNAUTHORIZED)) is not None:
                listener.refused(request)
            return _refuse(request, refused)
        except web.HTTPException as error:  # aiohttp's own: no such path, no such method
            headers = {name: error.headers[name] for name in _KEPT_HEADERS if name in error.headers}
            return _refuse(request, RefusedError(error.status, error.reason, headers))
        except ConnectionError:
            raise  # the client has gone: nobody would read an answer
        except Exception as error:
            if _reader_gone(request, error):
                raise ConnectionResetError from error
            log.exception("request failed", method=request.method, path=_for_log(request.raw_path))
            return _refuse(request, RefusedError(500, "internal error; the server's log says more"))

    def _check(self, request: web.Request) -> None:
        if not request.raw_path.startswith("/"):
            raise RefusedError(400, "the request target is not a path")
        hosts = request.headers.getall("Host", [])
        if len(hosts) != 1 or not self._may_be_meant(hosts[0], request):
            raise RefusedError(400, "this server does not have the name in the `Host` header")
        if request.method not in READING_METHODS:
            for origin in request.headers.getall("Origin", []):
                if not _same_site(origin, hosts[0]):
                    raise RefusedError(403, "a page of another site may not ask for a change")

    def _may_be_meant(self, host: str, request: web.Request) -> bool:
        match = _HOST.fullmatch(host)
        if match is None:
            return False
        if match["ip"] is not None or match["name"].lower().rstrip(".") in self._names:
            return True
        return self._policy.is_for_programs(request) and not may_be_browser(request)

    async def _read_body(self, request: web.Request) -> None:
        """Afterwards `await request.read()` gives the body at once."""
        if not request.can_read_body:
            return
        if "Content-Encoding" in request.headers:
            raise RefusedError(415, "compressed bodies are not accepted")
        most = self._limits.body_bytes
        if (request.content_length or 0) > most:
            raise RefusedError(413, f"at most {most} bytes")
        try:
            if request.content.is_eof():  # it came with the headers, as most do: no deadline is needed
                body = await request.read()
            else:
                async with asyncio.timeout(self._limits.body_s):
                    body = await request.read()
        except TimeoutError:
            raise RefusedError(408, "the body took too long to arrive") from None
        except web.RequestPayloadError:
            raise RefusedError(400, "the body is not well-formed") from None
        if len(body) > most:
            raise RefusedError(413, f"at most {most} bytes")

    async def _carry_out(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.method in READING_METHODS:
            return await handler(request)
        change, connection = asyncio.current_task(), request.protocol
        assert change is not None
        assert isinstance(connection, ConnectionHandler)
        self._changes.add(change)
        connection.changing = True
        try:
            return await handler(request)
        finally:
            connection.changing = False
            self._changes.discard(change)


def may_be_browser(request: web.Request) -> bool:
    """Does the request have anything that a browser always sends, and a program has no reason to send?

    A page cannot keep its browser from sending `Accept-Language`.  With each change there is an `Origin`.
    """
    return any(header in request.headers for header in _OF_BROWSERS)


def _reader_gone(request: web.Request, error: Exception) -> bool:
    """Did the kernel give up on a client that no longer reads?

    A disk may time out with the same error, but not after the first bytes of the answer were sent.
    """
    timed_out = isinstance(error, OSError) and error.errno in _DEAD_PEER
    return timed_out and request.writer.output_size > 0


def _refuse(request: web.Request, refused: RefusedError) -> web.StreamResponse:
    if request.writer.output_size > 0:  # part of an answer is already sent: all we can do is close
        raise ConnectionResetError
    if refused.status in _CLOSE_AFTER or refused.status == 403:
        log.info(
            "refused a request",
            client=request.remote,
            method=request.method,
            path=_for_log(request.raw_path),
            status=refused.status,
            why=refused.detail,
        )
    answer = refusal(request.path, refused)
    if refused.status in _CLOSE_AFTER:
        answer.force_close()
    return answer


def _same_site(origin: str, host: str) -> bool:
    try:
        return urlsplit(origin).netloc.lower() == host.lower()
    except ValueError:
        return False


def _for_log(path: str) -> str:
    """A path from outside, for the log: one line of plain characters."""
    return ascii(path[:200])[1:-1]
