"""The credentials of each program, made from its settings: whom it admits, and what it shows to others.

`cfm.controller.program`, `cfm.worker.program` and `cfm.cli` start here.  All other modules get values only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from cfm.config import CfmSettings, CfwSettings
from cfm.config.security import SecuritySettings
from cfm.errors import SettingsError
from cfm.model import Addr
from cfm.security.files import Keys, Tls, holdings, read_tls
from cfm.security.roster import (
    CertificateRoster,
    ControllerCertificates,
    TokenRoster,
    WorkerCertificates,
    controller_roster,
    worker_roster,
)
from cfm.security.tokens import PersonPass, Secret, WorkerPass

NO_CREDENTIALS: Final = (
    "anyone who reaches {addr} can delete files, as no credentials are configured; "
    "set security.token_file or security.tls (see docs/security.md)"
)


@dataclass(frozen=True)
class Admission:
    """Whom a server admits.  Without any of these it admits everybody."""

    tls: Tls | None = None
    tokens: TokenRoster | None = None
    certificates: CertificateRoster | None = None

    @property
    def is_guarded(self) -> bool:
        return self.tokens is not None or self.certificates is not None


EVERYBODY: Final = Admission()


@dataclass(frozen=True)
class ControllerCredentials:
    admission: Admission
    order_tokens: Mapping[Addr, str] = field(repr=False)
    """What cfm shows to each worker."""
    tls: Tls | None = None


@dataclass(frozen=True)
class WorkerCredentials:
    admission: Admission
    to_cfm: Keys
    to_peers: Keys


def controller_credentials(settings: CfmSettings) -> ControllerCredentials:
    """The credentials of cfm.  Raises `SettingsError` where the configured ones cannot be used."""
    tls = read_tls(settings.security.tls)
    workers = settings.servers.addresses
    held = holdings(settings.security)
    secrets = [one for one in held if isinstance(one, Secret)]
    if len(secrets) != len(held):
        raise _wrong_kind(settings.security, "a cfm needs the node's secret, of which passes are made")
    tokens = controller_roster(secrets, workers) if secrets else None
    certificates = ControllerCertificates(tls.own_der, workers) if tls else None
    order_tokens = {addr: secrets[0].worker(addr).order for addr in workers} if secrets else {}
    return ControllerCredentials(Admission(tls, tokens, certificates), order_tokens, tls)


def worker_credentials(settings: CfwSettings) -> WorkerCredentials:
    """The credentials of a worker.  Raises `SettingsError` where the configured ones cannot be used."""
    tls = read_tls(settings.security.tls)
    passes = _worker_passes(settings)
    tokens = worker_roster(passes) if passes else None
    certificates = WorkerCertificates(tls.own_der, settings.name, settings.cfm_addr) if tls else None
    own = passes[0] if passes else None
    return WorkerCredentials(
        Admission(tls, tokens, certificates),
        Keys(own.report if own else None, tls),
        Keys(own.content if own else None, tls),
    )


def _worker_passes(settings: CfwSettings) -> list[WorkerPass]:
    passes = []
    for held in holdings(settings.security):
        if isinstance(held, PersonPass):
            raise _wrong_kind(settings.security, f"an {held.role} pass is for a person's machine")
        own = held.worker(settings.name) if isinstance(held, Secret) else held
        if own.addr != settings.name:
            why = f"it is the pass of {own.addr}, and this worker is called {settings.name}"
            raise _wrong_kind(settings.security, why)
        passes.append(own)
    return passes


def person_keys(security: SecuritySettings) -> Keys:
    """What the command line shows to cfm: an operator's or reader's pass, or the token from cfm's secret."""
    tls = read_tls(security.tls)
    held = next(iter(holdings(security)), None)
    match held:
        case None:
            return Keys(None, tls)
        case Secret():
            return Keys(held.operator, tls)
        case PersonPass():
            return Keys(held.token, tls)
        case WorkerPass():
            raise _wrong_kind(security, "a worker's pass is not for the command line")


def without_credentials(security: SecuritySettings, addr: Addr) -> str | None:
    """The warning about a program without credentials; None where credentials are configured."""
    return None if security.configured else NO_CREDENTIALS.format(addr=addr)


def status_of(security: SecuritySettings, addr: Addr) -> dict[str, list[str]]:
    """What the status shows: which credentials are in use, and the warning where there are none."""
    said = without_credentials(security, addr)
    return {"credentials": kinds(security), "notes": [said] if said else []}


def kinds(security: SecuritySettings) -> list[str]:
    found = {"token": security.token_file, "tls": security.tls.cert_file}
    return [kind for kind, file in found.items() if file is not None]


def _wrong_kind(security: SecuritySettings, why: str) -> SettingsError:
    return SettingsError(f"security.token_file {security.token_file}: {why}")
