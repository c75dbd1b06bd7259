"""Asking a running cfm or cfw, with the credentials of the settings, and saying who asks.

Neighbours: every command that talks to a daemon uses this; `common` has what all commands share.
"""

from __future__ import annotations

import getpass
import http.client
import json
import ssl
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import quote

import typer

from cfm import wire
from cfm.cli.common import CFM_FILE, address_from, fail, settings_from
from cfm.config import CfmSettings, load_to_ask_cfm
from cfm.errors import CfmError, SettingsError
from cfm.model import Addr, host_of
from cfm.security import NO_KEYS, Keys, connect_here, person_keys

ASK_S: Final = 30.0
INSTALLED: Final = Path("/etc/cfm/cfm.yml")
"""Where the settings are if cfm was installed as a service, as docs/operations.md says."""
NO_SETTINGS: Final = (
    f"there is no cfm.yml here, and no {INSTALLED}: "
    "name a settings file with -c, or a running cfm with --addr HOST:PORT"
)
MOST_ROWS: Final = 200
"""So many rows a daemon sends at a time."""
_REFUSED = {
    401: "it needs credentials; set security.token_file in the settings file that -c names",
    403: "these credentials do not allow this; `cfm token operator` makes a token that does",
}
_OWN_WORDS: Final = frozenset({404, 409})
"""A name that is not known, and what is refused for a reason: the answer says all there is to say."""
LocalAddr = Annotated[
    str,
    typer.Option(
        "--addr",
        metavar="HOST:PORT",
        help="The cfm to ask, instead of the one in the settings file. Of several (with commas) the first"
        " that answers is asked.",
    ),
]


class RefusedByDaemonError(CfmError):
    """It answered, and refused."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class SilentDaemonError(CfmError):
    """Nobody listens there, so nothing was asked."""


@dataclass(frozen=True, slots=True)
class AskedDaemon:
    """A running daemon, and what is shown to it.

    Its methods raise `CfmError` where it does not run, or refuses; the text says what to do.
    """

    addr: Addr
    keys: Keys = NO_KEYS
    name: str = "cfm"
    others: tuple[Addr, ...] = ()
    """Of several cfm the others, which are asked where the first one does not answer."""

    def get(self, *path: str, patience_s: float = ASK_S, **query: object) -> Any:
        """The JSON answer; each part of the path is quoted."""
        return self._ask("GET", path, query, patience_s)

    def post(self, *path: str, **query: object) -> Any:
        return self._ask("POST", path, query, ASK_S)

    def delete(self, *path: str) -> Any:
        return self._ask("DELETE", path, {}, ASK_S)

    def rows(self, *path: str, rows_in: str, limit: int, offset: int = 0) -> Any:
        """An answer with a list of rows, as many as are wanted, which comes in pages."""
        found = None
        for begin in range(offset, offset + limit, MOST_ROWS):
            page = self.get(*path, offset=begin, limit=min(MOST_ROWS, offset + limit - begin))
            found = found or page
            if found is not page:
                found[rows_in]["rows"] += page[rows_in]["rows"]
            if len(page[rows_in]["rows"]) < MOST_ROWS:
                break
        return found

    def _ask(self, method: str, path: tuple[str, ...], query: dict[str, object], patience_s: float) -> Any:
        target = "/" + "/".join(quote(part, safe="") for part in path)
        if query:
            target += "?" + "&".join(f"{key}={quote(str(value), safe='')}" for key, value in query.items())
        status, reason, body = self._sent(method, target, patience_s)
        return self._understood(status, reason, body)

    def _sent(self, method: str, target: str, patience_s: float) -> tuple[int, str, bytes]:
        *first, last = (self.addr, *self.others)
        for addr in first:
            with suppress(SilentDaemonError):
                return replace(self, addr=addr, others=()).sent_once(method, target, patience_s)
        return replace(self, addr=last, others=()).sent_once(method, target, patience_s)

    def sent_once(self, method: str, target: str, patience_s: float) -> tuple[int, str, bytes]:
        """Status, reason and body of one exchange."""
        connection = connect_here(self.addr, self.keys, patience_s)
        try:
            connection.request(method, target, headers={**self.keys.headers, wire.USER: _who_asks()})
            answer = connection.getresponse()
            told = {name.lower(): value for name, value in answer.getheaders()}
            return answer.status, wire.reason_in(told) or answer.reason, answer.read()
        except http.client.HTTPException as error:
            raise CfmError(f"{self.addr} does not answer as {self.name} does: does it use TLS?") from error
        except ssl.SSLError as error:
            raise CfmError(
                f"no TLS connection to {self.addr} ({error.reason or error}): "
                "see security.tls in docs/security.md"
            ) from error
        except ConnectionRefusedError as error:
            raise SilentDaemonError(
                f"no {self.name} answers at {self.addr} ({error.strerror}): is it running?"
            ) from error
        except OSError as error:
            raise CfmError(
                f"no {self.name} answers at {self.addr} ({error.strerror or error}): is it running?"
            ) from error
        finally:
            connection.close()

    def _understood(self, status: int, reason: str, body: bytes) -> Any:
        try:
            value = json.loads(body)
        except ValueError:
            value = {}
        detail = value.get("detail") if isinstance(value, dict) else ""
        if status < 400:
            return value
        words = f"{self.name} at {self.addr} answered {status}: {_REFUSED.get(status) or detail or reason}"
        raise RefusedByDaemonError(status, detail if detail and status in _OWN_WORDS else words)


def running_cfm(config: Path, addr: str) -> AskedDaemon:
    """The running cfm, by the command line or the settings.  Ends the program where these are wrong.

    With an address on the command line, settings are needed only where they hold credentials.  What is wrong
    elsewhere in the file does not matter: the running cfm has other settings, and says what it refuses.
    """
    config = _found(config)
    if addr and not config.exists():
        settings = CfmSettings()
    elif config == CFM_FILE and not config.exists():
        fail(SettingsError(NO_SETTINGS))
    else:
        settings = settings_from(config, load_to_ask_cfm)
    try:
        keys = person_keys(settings.security) if settings.security.configured else NO_KEYS
    except CfmError as error:
        fail(error)
    if not addr:
        return AskedDaemon(settings.listen_addr, keys)
    first, *others = [address_from(one) for one in addr.split(",")]
    return AskedDaemon(first, keys, others=tuple(others))


def _found(config: Path) -> Path:
    """The settings file; without one in the current folder, the one of an installed service."""
    is_elsewhere = config == CFM_FILE and not config.exists() and INSTALLED.exists()
    return INSTALLED if is_elsewhere else config


def refuse_server(cfm: AskedDaemon, name: str) -> None:
    """Raise `CfmError` where somebody asks about a server as if it were a file."""
    for addr in cfm.get("api", "v1", "search", q=name)["servers"]:
        if name in (addr, host_of(addr)):
            raise CfmError(f"{name} is a server, not a file: `cfm server {name}` shows it")


def history_of(cfm: AskedDaemon, about: str, limit: int) -> dict[str, Any]:
    """The last events about a file or a server, or of all, the newest first."""
    found: dict[str, Any] = {}
    events: list[Any] = []
    for page in _pages(cfm, about, limit):
        found = found or page
        events += page["events"]
    return {**found, "events": events}


def _pages(cfm: AskedDaemon, about: str, limit: int) -> Iterator[Any]:
    before = str(2**63 - 1)
    while limit > 0 and before is not None:
        page = cfm.get("api", "v1", "history", about=about, before=before, limit=min(MOST_ROWS, limit))
        yield page
        limit -= len(page["events"])
        before = page["before"]


def _who_asks() -> str:
    """The name of whoever runs this program, as the system knows it; for log and history, and no proof."""
    try:
        name = getpass.getuser()
    except (OSError, KeyError):
        return ""
    return name if name.isascii() and name.isprintable() else ""
