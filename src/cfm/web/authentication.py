"""Asks each request who sends it, and whether they may.

Without credentials in the settings there is no porter, and everything is as the earlier programs have it.
With them, nothing is answered without valid ones but what `Doors` lists as open, and nothing is changed but
by the roles that it names: a change that no row allows is allowed to nobody.  The bodies of strangers are
not even read.

Browsers sign in by Basic (any name, the token as password); what a browser sends by itself, on behalf of
whatever page, may only look, whoever's token it is.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from aiohttp import web

from cfm.security import Admission, Identity, Role
from cfm.security.roster import READER
from cfm.web.answers import READING_METHODS, RefusedError

IDENTITY: Final = web.RequestKey("identity", Identity)
"""`request[IDENTITY]` is who asks, where credentials are configured."""

CHALLENGE: Final = {"WWW-Authenticate": 'Bearer realm="cfm", Basic realm="cfm"'}
_LOOKING: Final = frozenset({Role.CONTROLLER, Role.WORKER, Role.OPERATOR, Role.READER})
_NOBODY: Final[frozenset[Role]] = frozenset()


@dataclass(frozen=True, slots=True)
class Doors:
    """What an application's endpoints ask of those who come."""

    open: frozenset[str] = frozenset()
    """Paths that anybody may read."""
    only: Mapping[tuple[str, str], frozenset[Role]] = field(default_factory=dict)
    """(method, route) → who may.  Reading what is not here is for all who may look, changing for nobody."""
    headers: Mapping[str, frozenset[Role]] = field(default_factory=dict)
    """Headers that have an effect of their own, whatever the path → who may send them."""


class Porter:
    """One server's."""

    def __init__(self, admission: Admission, doors: Doors) -> None:
        self._admission = admission
        self._doors = doors

    def check(self, request: web.Request) -> None:
        """Let the request pass.

        Raises:
            RefusedError: 401, without valid credentials; 403, where they do not reach so far.
        """
        effects = [header for header in self._doors.headers if header in request.headers]
        route = _route(request)
        reads = request.method in READING_METHODS
        if reads and route in self._doors.open and not effects:
            return
        who = self._identify(request)
        request[IDENTITY] = who
        if route is not None and not who.roles & self._allowed(request.method, route, reads=reads):
            raise RefusedError(403, "your credentials do not reach so far")
        for header in effects:
            if not who.roles & self._doors.headers[header]:
                raise RefusedError(403, f"{header} is not yours to send")

    def _allowed(self, method: str, route: str, *, reads: bool) -> frozenset[Role]:
        found = self._doors.only.get(("GET" if method == "HEAD" else method, route))
        if found is not None:
            return found
        return _LOOKING if reads else _NOBODY

    def _identify(self, request: web.Request) -> Identity:
        who = self._by_token(request) if self._admission.tokens else self._by_certificate(request)
        if who is None:
            raise RefusedError(401, "valid credentials are needed here: see docs/security.md", CHALLENGE)
        return who

    def _by_token(self, request: web.Request) -> Identity | None:
        tokens = self._admission.tokens
        fields = request.headers.getall("Authorization", [])
        if tokens is None or len(fields) != 1:
            return None
        scheme, _, given = fields[0].partition(" ")
        if scheme.lower() == "bearer":
            return tokens.owner(_octets(given.strip()))
        if scheme.lower() == "basic":
            return READER if tokens.owner(_password(given)) is not None else None
        return None

    def _by_certificate(self, request: web.Request) -> Identity | None:
        connection = request.get_extra_info("ssl_object")
        if self._admission.certificates is None or connection is None:
            return None
        der = connection.getpeercert(binary_form=True)
        return None if der is None else self._admission.certificates.owner(connection.getpeercert(), der)


def may_speak_for(request: web.Request, worker: str) -> bool:
    """Whether the sender is that worker; everybody is where no credentials are configured."""
    who = request.get(IDENTITY)
    return who is None or worker in who.addrs


def _route(request: web.Request) -> str | None:
    """The route's pattern; None where none matches (that is answered by 404 or 405)."""
    resource = request.match_info.route.resource
    return None if resource is None else resource.canonical


def _octets(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _password(given: str) -> bytes:
    try:
        return base64.b64decode(_octets(given.strip()), validate=True).partition(b":")[2]
    except binascii.Error:
        return b""
