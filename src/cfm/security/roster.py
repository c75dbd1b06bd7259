"""The credentials that a server accepts, and who owns each of them.

`tokens` makes the tokens.  `web.authentication` asks here for each request.  Where tokens are configured, the
token decides.  With TLS alone, the names in the client's certificate decide.
"""

from __future__ import annotations

import enum
import hashlib
import hmac
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from cfm.config.fields import same_host
from cfm.model import Addr, host_of
from cfm.security.tokens import Secret, WorkerPass


class Role(enum.Enum):
    CONTROLLER = "controller"
    """cfm, when it talks to its workers."""
    WORKER = "worker"
    """A worker, when it talks to cfm or to itself (`cfw release`)."""
    PEER = "peer"
    """A worker that reads files from another worker."""
    OPERATOR = "operator"
    READER = "reader"


@dataclass(frozen=True, slots=True)
class Identity:
    """Somebody with valid credentials."""

    roles: frozenset[Role]
    addrs: frozenset[Addr] = frozenset()
    """The workers that it may speak for."""


READER: Final = Identity(frozenset({Role.READER}))


def _one(role: Role, *addrs: Addr) -> Identity:
    return Identity(frozenset({role}), frozenset(addrs))


class TokenRoster:
    """Tokens and their owners.

    A token is looked up by a digest, with a key that is new in each process.  So the time of a look-up says
    nothing about how much of a guessed token was right.
    """

    def __init__(self, owners: Mapping[str, Identity]) -> None:
        self._key = secrets.token_bytes(32)
        self._owners = {self._digest(token.encode()): who for token, who in owners.items()}

    def owner(self, token: bytes) -> Identity | None:
        return self._owners.get(self._digest(token))

    def _digest(self, token: bytes) -> bytes:
        return hmac.digest(self._key, token, "sha256")


def controller_roster(held: Iterable[Secret], workers: Iterable[Addr]) -> TokenRoster:
    """The tokens that cfm accepts."""
    owners: dict[str, Identity] = {}
    addrs = tuple(workers)
    for secret in held:
        owners[secret.operator] = _one(Role.OPERATOR)
        owners[secret.reader] = READER
        owners |= {secret.worker(addr).report: _one(Role.WORKER, addr) for addr in addrs}
    return TokenRoster(owners)


def worker_roster(held: Iterable[WorkerPass]) -> TokenRoster:
    """The tokens that a worker accepts."""
    owners: dict[str, Identity] = {}
    for own in held:
        owners[own.order] = _one(Role.CONTROLLER)
        owners[own.report] = _one(Role.WORKER, own.addr)
        owners[own.content] = _one(Role.PEER)
        owners[own.reader] = READER
    return TokenRoster(owners)


class CertificateRoster(Protocol):
    """Says who owns a verified certificate.  `decoded` is what `ssl` says about it; `der` are its bytes."""

    def owner(self, decoded: Mapping[str, Any], der: bytes) -> Identity: ...


class ControllerCertificates:
    """The certificates that cfm accepts.

    A worker's certificate names the worker's host.  cfm's own certificate, and one with the common name
    `operator`, belong to the operator.  Every other certificate of the authority belongs to a reader.
    """

    def __init__(self, own_der: bytes, workers: Iterable[Addr]) -> None:
        self._own = hashlib.sha256(own_der).digest()
        self._workers = tuple(workers)

    def owner(self, decoded: Mapping[str, Any], der: bytes) -> Identity:
        names = names_in(decoded)
        addrs = frozenset(addr for addr in self._workers if same_host(host_of(addr)) in names)
        roles = {Role.READER}
        if addrs:
            roles.add(Role.WORKER)
        if hashlib.sha256(der).digest() == self._own or common_name(decoded) == "operator":
            roles.add(Role.OPERATOR)
        return Identity(frozenset(roles), addrs)


class WorkerCertificates:
    """The certificates that a worker accepts.

    A certificate for a host in `cfm_addr` belongs to cfm.  Every other certificate of the authority belongs
    to a reader that may also read files.
    """

    def __init__(self, own_der: bytes, own: Addr, every_cfm: Iterable[Addr]) -> None:
        self._own_der = hashlib.sha256(own_der).digest()
        self._own = own
        self._cfm = {same_host(host_of(cfm)) for cfm in every_cfm}

    def owner(self, decoded: Mapping[str, Any], der: bytes) -> Identity:
        roles = {Role.READER, Role.PEER}
        if self._cfm & names_in(decoded):
            roles.add(Role.CONTROLLER)
        if hashlib.sha256(der).digest() == self._own_der:
            roles.add(Role.WORKER)
        return Identity(frozenset(roles), frozenset({self._own}))


def names_in(decoded: Mapping[str, Any]) -> frozenset[str]:
    """The hosts that a certificate is for.  The common name does not count as a host (RFC 9525)."""
    kinds = ("DNS", "IP Address")
    return frozenset(same_host(name) for kind, name in decoded.get("subjectAltName", ()) if kind in kinds)


def common_name(decoded: Mapping[str, Any]) -> str:
    pairs = (pair for group in decoded.get("subject", ()) for pair in group)
    return next((str(value) for key, value in pairs if key == "commonName"), "")
