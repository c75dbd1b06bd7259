"""Credentials: optional shared tokens and mutual TLS between cfm, cfw and the command line.

`tokens` derives tokens from the node's secret.  `files` reads tokens and certificates.  `roster` says who
owns a credential.  `credentials` puts together what one program needs.  `cfm.web.authentication` checks each
request with it.  `docs/security.md` tells operators how to use all this.
"""

from cfm.security.credentials import (
    EVERYBODY,
    Admission,
    ControllerCredentials,
    WorkerCredentials,
    controller_credentials,
    person_keys,
    status_of,
    without_credentials,
    worker_credentials,
)
from cfm.security.files import NO_KEYS, Keys, Tls, connect, connect_here
from cfm.security.roster import Identity, Role

__all__ = [
    "EVERYBODY",
    "NO_KEYS",
    "Admission",
    "ControllerCredentials",
    "Identity",
    "Keys",
    "Role",
    "Tls",
    "WorkerCredentials",
    "connect",
    "connect_here",
    "controller_credentials",
    "person_keys",
    "status_of",
    "without_credentials",
    "worker_credentials",
]
