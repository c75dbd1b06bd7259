"""Credentials: optional shared tokens and mutual TLS between cfm, cfw and the command line.

`tokens` derives them, `files` reads them, `roster` tells whose they are, `credentials` puts each program's
together.  `cfm.web.authentication` stands at the door.  What an operator does with all this is in
`docs/security.md`.
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
from cfm.security.files import NO_KEYS, Keys, Tls, connect
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
    "controller_credentials",
    "person_keys",
    "status_of",
    "without_credentials",
    "worker_credentials",
]
