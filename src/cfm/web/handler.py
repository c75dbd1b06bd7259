"""aiohttp's handler of one connection, with our own answer to bytes that are not an HTTP request.

What cannot be parsed never reaches the application or the `middleware`.  aiohttp would log a traceback each
time, and send part of the bytes back.  This handler logs one line, and repeats nothing in its answer.
"""

from __future__ import annotations

from typing import Any

import structlog
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong

from cfm.web.answers import problem
from cfm.web.authentication import CHALLENGE

log = structlog.get_logger(__name__)


class Handler(web.RequestHandler):
    __slots__ = ("_guarded", "changing")

    def __init__(self, *args: Any, guarded: bool = False, **kw: Any) -> None:
        """`guarded`: the server asks for credentials."""
        super().__init__(*args, **kw)
        self._guarded = guarded
        self.changing = False
        """A change has begun, and runs to its end: `middleware` says so."""

    def connection_lost(self, exc: BaseException | None) -> None:
        """aiohttp cancels whatever a client no longer waits for.  It forgets the task of a change instead.

        The change could as well run in a task of its own.  That took a tenth of the time of a report.
        """
        if self.changing:
            self._task_handler = None
        super().connection_lost(exc)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The answer to bytes that are not a request.  `middleware` handles all errors of real requests."""
        if isinstance(exc, ConnectionError):
            raise exc  # the connection is closed: nobody would read an answer
        if request.writer.output_size > 0:
            raise ConnectionResetError("part of an answer is already sent")
        self.log_exception("malformed request from %s: %s", request.remote, message, exc_info=exc)
        if self._guarded and isinstance(exc, LineTooLong):  # for example a token of a megabyte
            answer = problem(401, "a header is too long for valid credentials", headers=CHALLENGE)
        else:
            answer = problem(status, "not a well-formed request" if status < 500 else "")
        answer.force_close()
        return answer

    def log_exception(self, *args: Any, **kw: Any) -> None:
        error = kw.get("exc_info")
        text = ascii(args[0] % args[1:] if args else "")[1:200]
        if isinstance(error, HttpProcessingError | web.RequestPayloadError):
            log.info("malformed request", what=text)
        else:
            log.error("connection failed", what=text, exc_info=error)
