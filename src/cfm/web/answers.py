"""Answers in two forms: the exact form of the old endpoints, and the form of the new ones.

An old endpoint refuses with an empty body.  A new endpoint refuses with `application/problem+json`.  Pages
for people carry a content security policy: the browser runs and loads only what this server sent, whatever a
file name contains.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from aiohttp import web

from cfm import wire

READING_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
REFUSALS_IN_OLD_FORM: Final = frozenset({"tasks", "hb", "files", "df", "dashboard"})
"""First parts of the old endpoints' paths."""

_NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})
_PAGE_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)


class RefusedError(Exception):
    """A handler raises this to refuse a request: the answer has this `status`, in the form of its
    endpoint."""

    def __init__(self, status: int, detail: str = "", headers: Mapping[str, str] = _NO_HEADERS) -> None:
        super().__init__(f"{status} {detail}")
        self.status = status
        self.detail = detail
        self.headers = headers


def speaks_old(path: str) -> bool:
    """Does this path belong to an endpoint of the old wire format?"""
    first, _, rest = path.lstrip("/").partition("/")
    return first in REFUSALS_IN_OLD_FORM and not (first == "tasks" and rest == "next")


def refusal(path: str, refused: RefusedError) -> web.Response:
    """The answer to a refused request."""
    headers = {**refused.headers, **wire.reason_to_header(refused.detail)}
    if speaks_old(path):
        return empty(refused.status, headers)
    return problem(refused.status, refused.detail, headers=headers)


def empty(status: int = 200, headers: Mapping[str, str] = _NO_HEADERS) -> web.Response:
    """A status, and a body of no bytes."""
    return web.Response(status=status, headers=dict(headers))


def problem(status: int, detail: str = "", *, headers: Mapping[str, str] = _NO_HEADERS) -> web.Response:
    """An error of a new endpoint (RFC 9457)."""
    body = wire.HttpProblem(status, detail).to_json()
    return _answer(wire.to_json(body), wire.PROBLEM_JSON, status, headers)


def old_json(value: object, headers: Mapping[str, str] = _NO_HEADERS) -> web.Response:
    """Compact JSON, with the content type that the earlier programs send."""
    return _answer(wire.to_json(value), wire.OLD_JSON, 200, headers)


def old_json_bytes(body: bytes, headers: Mapping[str, str] = _NO_HEADERS) -> web.Response:
    """The same, made before."""
    return _answer(body, wire.OLD_JSON, 200, headers)


def old_text(body: bytes, headers: Mapping[str, str] = _NO_HEADERS, *, status: int = 200) -> web.Response:
    return _answer(body, wire.OLD_TEXT, status, headers)


def json_answer(
    value: object, *, status: int = 200, headers: Mapping[str, str] = _NO_HEADERS
) -> web.Response:
    return _answer(wire.to_json(value), "application/json", status, headers)


def html_page(page: str, *, status: int = 200) -> web.Response:
    """A page for people; its text must already be escaped."""
    return _answer(page.encode("utf-8", "replace"), "text/html; charset=utf-8", status, _NO_HEADERS)


def _answer(body: bytes, content_type: str, status: int, headers: Mapping[str, str]) -> web.Response:
    return web.Response(body=body, status=status, headers={**headers, "Content-Type": content_type})


async def add_common_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Add the headers of every answer.  This is a signal of aiohttp, called before the headers are sent."""
    response.headers["Server"] = request.app[PROGRAM]
    response.headers["X-Content-Type-Options"] = "nosniff"
    if response.content_type == "text/html":
        response.headers["Content-Security-Policy"] = _PAGE_POLICY
        response.headers["Referrer-Policy"] = "no-referrer"


PROGRAM: Final = web.AppKey("program", str)
"""The program's name in the `Server` header."""
