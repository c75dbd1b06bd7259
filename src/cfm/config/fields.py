"""The types of settings: each takes the text of the file, and says exactly what is wrong with it.

Each type also takes its own Python value, so that code can make settings without a file.  A refusal is a
`PydanticCustomError` of the type `settings`.  `load` adds file, line and key to it, and an example where the
refusal has no remedy of its own.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Final, TypeAlias
from urllib.parse import parse_qs, urlsplit

from pydantic import AfterValidator, BeforeValidator, TypeAdapter, ValidationError, ValidationInfo
from pydantic_core import PydanticCustomError

from cfm.addresses import is_wildcard, local_host, only_server
from cfm.config.problems import shown
from cfm.logs import LEVELS
from cfm.model import Addr

MOST_SECONDS: Final = 2**32 - 1
MOST_64_BITS: Final = 2**63 - 1


def refusal(text: str, remedy: str = "") -> PydanticCustomError:
    """An error for the operator.  Without a remedy, `load` adds "write for example …"."""
    return PydanticCustomError("settings", "{text}", {"text": text, "remedy": remedy})


def _one_text(value: object) -> str:
    if not isinstance(value, str):
        raise refusal("a list or section where one value is expected")
    if not value.isprintable():
        raise refusal(f"`{shown(value)}` has characters that cannot be printed")
    return value


# --- numbers and switches -------------------------------------------------------------------------

_DECIMAL = re.compile(r"-?(?:0|[1-9][0-9]{0,18})")


def whole(what: str, lowest: int, highest: int) -> BeforeValidator:
    """A decimal integer.  `what` names it in the message "101 is not a percentage from 1 to 100"."""

    def parse(value: object) -> int:
        if isinstance(value, int) and not isinstance(value, bool):
            number: int | None = value
        else:
            text = _one_text(value)
            number = int(text) if _DECIMAL.fullmatch(text) else None
        if number is None or not lowest <= number <= highest:
            raise refusal(f"{shown(str(value))} is not {what} {_range(lowest, highest)}")
        return number

    return BeforeValidator(parse)


def _range(lowest: int, highest: int) -> str:
    if highest in (MOST_SECONDS, MOST_64_BITS):
        return f"of at least {lowest}, in decimal digits"
    return f"from {lowest} to {highest}"


Percent: TypeAlias = Annotated[int, whole("a percentage", 1, 100)]
Seconds: TypeAlias = Annotated[int, whole("a number of seconds", 1, MOST_SECONDS)]
SecondsOrNone: TypeAlias = Annotated[int, whole("a number of seconds", 0, MOST_SECONDS)]
Minutes: TypeAlias = Annotated[int, whole("a number of minutes", 1, 60 * 24 * 366)]
Count: TypeAlias = Annotated[int, whole("a number", 1, 1_000_000)]
Streams: TypeAlias = Annotated[int, whole("a number", 1, 100)]
BitsPerSecond: TypeAlias = Annotated[int, whole("a number of bits per second", 1, MOST_64_BITS)]
Bytes: TypeAlias = Annotated[int, whole("a number of bytes", 1, MOST_64_BITS)]

Interval: TypeAlias = Annotated[SecondsOrNone, AfterValidator(lambda value: max(1, value))]
"""Old files may say 0, which means "without a pause".  We take it as one second, the shortest interval."""

_SWITCHES: Final = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


def _switch(value: object) -> bool:
    if isinstance(value, bool):
        return value
    text = _one_text(value)
    if text.lower() not in _SWITCHES:
        raise refusal(f"`{shown(text)}` is neither on nor off", "write `on` or `off`")
    return _SWITCHES[text.lower()]


Switch: TypeAlias = Annotated[bool, BeforeValidator(_switch)]


# --- words ----------------------------------------------------------------------------------------


def _level(value: object) -> str:
    text = _one_text(value).lower()
    if text not in LEVELS:
        near = difflib.get_close_matches(text, LEVELS, n=1)
        remedy = f"did you mean `{near[0]}`?" if near else f"write one of {', '.join(LEVELS)}"
        raise refusal(f"`{shown(text)}` is not a log level", remedy)
    return text


LogLevel: TypeAlias = Annotated[str, BeforeValidator(_level)]


def _prefix(value: object) -> str:
    text = _one_text(value)
    if not text:
        raise refusal("an empty prefix would make an ad of every file", "remove this line")
    return text


Prefix: TypeAlias = Annotated[str, BeforeValidator(_prefix)]


def _pattern(value: object) -> re.Pattern[str]:
    if isinstance(value, re.Pattern):
        return value
    text = _one_text(value)
    try:
        return re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        raise refusal(f"`{shown(text)}` is not a regular expression ({error})") from None


def _watched(value: object) -> str:
    """The server that reads from the SAN, or an old regular expression for it (see `addresses`)."""
    text = _one_text(value)
    if only_server(text) is None:
        _pattern(text)
    return text


WatchedServer: TypeAlias = Annotated[str, BeforeValidator(_watched)]
Pattern: TypeAlias = Annotated[re.Pattern[str], BeforeValidator(_pattern)]


# --- addresses ------------------------------------------------------------------------------------

_ADDRESS = re.compile(r"(?P<host>\[[^\[\]]*\]|[^:\[\]]*):(?P<port>[^:]*)")
_PORT = re.compile(r"[1-9][0-9]{0,4}")
_HOST_NAME = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9_](?:[A-Za-z0-9_-]|\.(?=[A-Za-z0-9_]))*\.?")


def split_address(address: str) -> tuple[str, int]:
    """Host and port of a valid address.  The host has no brackets; it is empty for `:8080`."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def same_host(host: str) -> str:
    """One spelling for each host: lower case, and IP addresses in their shortest form."""
    host = host.strip("[]").lower().removesuffix(".")
    try:
        number = ipaddress.ip_address(host)
    except ValueError:
        return host
    mapped = number.ipv4_mapped if isinstance(number, ipaddress.IPv6Address) else None
    return str(mapped or number)


def _address(value: object) -> Addr:
    text = _one_text(value)
    found = _ADDRESS.fullmatch(text)
    if "://" in text:
        raise refusal(f"`{shown(text)}` is a URL, not an address", "write HOST:PORT without http://")
    if not found:
        raise refusal(f"`{shown(text)}` is not an address with a port")
    if not _PORT.fullmatch(found["port"]) or int(found["port"]) > 65535:
        raise refusal(f"the port of `{shown(text)}` is not a number from 1 to 65535")
    if found["host"]:
        _check_host(found["host"], text)
    return Addr(text)


def parse_address(text: str) -> Addr:
    """An address that does not come from a settings file.

    Raises:
        ValueError: it is none; the text says why.
    """
    try:
        return _address(text)
    except PydanticCustomError as error:
        raise ValueError(error.message()) from None


def _check_host(host: str, text: str) -> None:
    if not _names_host(host):
        raise refusal(f"`{shown(text)}` names no host")


def _names_host(host: str) -> bool:
    try:
        if host.startswith("["):
            # A zone (`%eth0`) has a meaning on one machine only.
            return not ipaddress.IPv6Address(host.strip("[]")).scope_id
        if re.fullmatch(r"[0-9.]+", host):
            return str(ipaddress.IPv4Address(host)) == host
    except ValueError:
        return False
    return _HOST_NAME.fullmatch(host) is not None


def _peer(address: Addr) -> Addr:
    if address.startswith(":"):
        raise refusal(f"`{address}` does not say which server", f"write for example 127.0.0.1{address}")
    return address


def _host(value: object) -> str:
    text = _one_text(value)
    _check_host(f"[{text}]" if ":" in text else text, text)
    return text


def _on_this_machine(address: Addr) -> Addr:
    """Old files name a program of the same machine as `:8080`.  Nobody can connect to every address."""
    host, port = split_address(address)
    if not is_wildcard(host):
        return address
    here = local_host(host)
    return Addr(f"[{here}]:{port}" if ":" in here else f"{here}:{port}")


Address: TypeAlias = Annotated[Addr, BeforeValidator(_address)]
LocalOrPeerAddress: TypeAlias = Annotated[Address, AfterValidator(_on_this_machine)]
"""An address to connect to.  Without a host it is on this machine."""
PeerAddress: TypeAlias = Annotated[Address, AfterValidator(_peer)]
"""An address at which others reach a server; so it must have a host."""


def _one_or_more(value: object) -> object:
    """Old files name one address; that is a list of one."""
    if isinstance(value, (list, tuple)) and not value:
        raise refusal("an empty list")
    return tuple(value) if isinstance(value, (list, tuple)) else (value,)


CfmAddresses: TypeAlias = Annotated[tuple[LocalOrPeerAddress, ...], BeforeValidator(_one_or_more)]
"""Where a worker finds its cfm: one address, or those of several cfm of one node."""
HostName: TypeAlias = Annotated[str, BeforeValidator(_host)]


# --- paths ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the settings come from.  pydantic hands this to the validators as their context."""

    file: Path
    """Absolute.  Relative paths in the settings start from its folder."""
    notes: tuple[str, ...] = ()
    lines: Mapping[str, int] = field(default_factory=dict, compare=False)
    """The line of each key that the file sets, such as `remover.breaker_percent`."""


def _folder(info: ValidationInfo) -> Path:
    context: Origin | None = info.context
    return context.file.parent if context else Path.cwd()


def _path(value: object, info: ValidationInfo) -> Path:
    """An absolute path without doubled slashes.  Links stay: other programs know the path by this name."""
    text = _one_text(str(value) if isinstance(value, Path) else value)
    if not text:
        raise refusal("an empty path", "remove this line or name a folder")
    return _without_steps_up(_folder(info) / re.sub("/{2,}", "/", text))


def _without_steps_up(path: Path) -> Path:
    """The same folder without `..`: no worker takes a path with it.  Before a `..` links are followed."""
    found = Path(path.anchor)
    for part in path.parts[1:]:
        found = Path(os.path.realpath(found)).parent if part == ".." else found / part
    return found


FilePath: TypeAlias = Annotated[Path, BeforeValidator(_path)]
"""A file or folder.  A relative path starts from the folder of the settings file."""

_SQLITE = "sqlite:///"


def _state_url(value: object, info: ValidationInfo) -> str:
    text = _one_text(value)
    path = text.removeprefix(_SQLITE)
    if not text.startswith(_SQLITE) or path in ("", ":memory:") or path.endswith("/"):
        text = f"`{shown(text)}` is not the URL of an SQLite file"
        raise refusal(text, "write for example sqlite:///cfm.db, or sqlite:////var/lib/cfm.db")
    return f"{_SQLITE}{_path(path, info)}"


StateUrl: TypeAlias = Annotated[str, BeforeValidator(_state_url)]
"""An SQLite file."""

_POSTGRES: Final = ("postgresql://", "postgres://")


def is_postgres(url: str) -> bool:
    """Does a valid `state.url` name a PostgreSQL database?"""
    return url.startswith(_POSTGRES)


def _shared_state_url(value: object, info: ValidationInfo) -> str:
    text = _one_text(value)
    if not is_postgres(text):
        return _state_url(value, info)
    try:
        parts = urlsplit(text)
        has_password = parts.password is not None or "password" in parse_qs(parts.query)
    except ValueError as error:
        raise refusal(f"`{shown(text)}` is not a URL ({error})") from None
    if has_password:
        remedy = "write it into ~/.pgpass, or into a file that ?passfile=FILE names"
        raise refusal("a password, which everybody could read here", remedy)
    if not parts.path.strip("/"):
        remedy = "write for example postgresql://cfm@db1.example/cfm"
        raise refusal(f"`{shown(text)}` does not say which database", remedy)
    return text


SharedStateUrl: TypeAlias = Annotated[str, BeforeValidator(_shared_state_url)]
"""An SQLite file, or a PostgreSQL database."""
_TypeOfUrl: Final = TypeAdapter[str](SharedStateUrl)


def parse_state_url(text: str, folder: Path) -> str:
    """A URL that does not come from a settings file; a relative path starts from `folder`.

    Raises:
        ValueError: it is none; the text says why.
    """
    try:
        return _TypeOfUrl.validate_python(text, context=Origin(folder / "cfm.yml"))
    except ValidationError as error:
        facts = error.errors()[0]["ctx"]
        raise ValueError("; ".join(filter(None, (facts["text"], facts["remedy"])))) from None


def path_of_state(url: str) -> Path:
    """The SQLite file that a valid `state.url` names."""
    return Path(url.removeprefix(_SQLITE))
