"""Finds out who sends a request, and whether the sender is allowed to make it.

Without credentials in the settings nothing is checked, as in the earlier programs.  With credentials, a
request needs valid ones; only the paths that `AccessPolicy` calls public do without.  A change is allowed
only to the roles that the policy names for it; a change without a row is allowed to nobody.  All of this is
checked before a request's body is read.

Browsers sign in with Basic authentication (any name; the token is the password).  A browser sends these
credentials by itself, on behalf of any page.  So they only allow to read, whoever's token it is.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from aiohttp import web

from cfm import wire
from cfm.security import Admission, Identity, Role
from cfm.security.roster import READER
from cfm.web.answers import READING_METHODS, RefusedError

IDENTITY: Final = web.RequestKey("identity", Identity)
"""`request[IDENTITY]` is the sender, where credentials are configured."""

_LONGEST_NAME: Final = 64

CHALLENGE: Final = {"WWW-Authenticate": 'Bearer realm="cfm", Basic realm="cfm"'}
_READERS: Final = frozenset({Role.CONTROLLER, Role.WORKER, Role.OPERATOR, Role.READER})
_NOBODY: Final[frozenset[Role]] = frozenset()


@dataclass(frozen=True, slots=True)
class AccessPolicy:
    """Who may use which endpoint of an application."""

    public: frozenset[str] = frozenset()
    """Paths that anybody may read, without credentials."""
    allowed: Mapping[tuple[str, str], frozenset[Role]] = field(default_factory=dict)
    """(method, route) → the roles that may use it.  A route without a row may be read by every role that
    reads, and changed by nobody."""
    headers: Mapping[str, frozenset[Role]] = field(default_factory=dict)
    """A header that has an effect on any path → the roles that may send it."""
    programs: frozenset[tuple[str, str]] = frozenset()
    """(method, route) that the other programs of the node use, by whatever name they know this server."""

    def is_for_programs(self, request: web.Request) -> bool:
        return (request.method, route_of(request)) in self.programs


class Authenticator:
    """Checks the requests to one server."""

    def __init__(self, admission: Admission, access_policy: AccessPolicy) -> None:
        self._admission = admission
        self._policy = access_policy

    def check(self, request: web.Request) -> None:
        """Return where the request is allowed.

        Raises:
            RefusedError: 401 without valid credentials; 403 where the sender's roles do not allow the
            request.
        """
        effects = [header for header in self._policy.headers if header in request.headers]
        route = route_of(request)
        reads = request.method in READING_METHODS
        if reads and route in self._policy.public and not effects:
            return
        who = self._identify(request)
        request[IDENTITY] = who
        if route is not None and not who.roles & self._allowed(request.method, route, reads=reads):
            raise RefusedError(403, "your credentials do not allow this request")
        for header in effects:
            if not who.roles & self._policy.headers[header]:
                raise RefusedError(403, f"your credentials do not allow you to send {header}")

    def _allowed(self, method: str, route: str, *, reads: bool) -> frozenset[Role]:
        found = self._policy.allowed.get(("GET" if method == "HEAD" else method, route))
        if found is not None:
            return found
        return _READERS if reads else _NOBODY

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


def asker_of(request: web.Request) -> str:
    """Who asks for a change, for log and history: `alice at 10.0.0.7`.

    The name is what the sender says of itself, and is not proven.  `operator` before it is proven by
    credentials.
    """
    name = request.headers.get(wire.USER, "")
    if not name or not name.isprintable() or len(name) > _LONGEST_NAME:
        name = "somebody"
    proven = "operator " if IDENTITY in request and Role.OPERATOR in request[IDENTITY].roles else ""
    return f"{proven}{name} at {request.remote}"


def may_speak_for(request: web.Request, worker: str) -> bool:
    """Is the sender that worker?  Without configured credentials the answer is always yes."""
    who = request.get(IDENTITY)
    return who is None or worker in who.addrs


def route_of(request: web.Request) -> str | None:
    """The route's pattern.  None where no route matches; aiohttp then answers 404 or 405."""
    resource = request.match_info.route.resource
    return None if resource is None else resource.canonical


def _octets(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _password(given: str) -> bytes:
    try:
        return base64.b64decode(_octets(given.strip()), validate=True).partition(b":")[2]
    except binascii.Error:
        return b""
