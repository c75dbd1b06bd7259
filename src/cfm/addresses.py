"""Hosts that stand for every address of the machine: what a server may listen on, and nobody can connect to.

Neighbours: `cli` and `worker.program` ask a program of this machine at the address that its settings name.
"""

from __future__ import annotations

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
