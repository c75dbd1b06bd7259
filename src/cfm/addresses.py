"""Hosts: those that stand for every address of the machine, and those that an expression stands for.

A server may listen on every address, and nobody can connect to that.  An old `watch_ip_string` is a regular
expression, and mostly stands for one server.  Neighbours: `cli` and `worker.program` ask a program of this
machine at the address that its settings name; `config` and `inputs.event_log` ask for the watched server.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

_LOOPBACK_OF: Final[Mapping[str, str]] = MappingProxyType(
    {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared, not bound
)


def is_wildcard(host: str) -> bool:
    """Does this host (without brackets) stand for all addresses of the machine?"""
    return host in _LOOPBACK_OF


def local_host(host: str) -> str:
    """The host by which a program on this machine reaches a server that listens on `host`."""
    return _LOOPBACK_OF.get(host, host)


_NAME: Final = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
_DIGITS: Final = re.compile(r"[0-9.]+")


def only_server(expression: str) -> str | None:
    """The one server that an old `watch_ip_string` stands for; None for a real regular expression.

    A plain address is that server and no other, although its dots mean any character in an expression and
    although `10.0.0.3` is found in `10.0.0.39` too.
    """
    text = expression.replace("\\.", ".")
    if _DIGITS.fullmatch(text) or ":" in text:
        try:
            ipaddress.ip_address(text)
        except ValueError:
            return None
        return text
    return text if _NAME.fullmatch(text) else None
