"""The tokens of each machine and each role, derived from the secret of a node.  Pure.

A node needs one secret, which cfm keeps.  From it HMAC derives a key for each worker, one key that all
workers share, and the tokens that are sent.  Nobody can compute the secret, or the key of another machine,
from what a machine is given:

    secret ── worker key of ADDR ─┬─ report: the worker's token at cfm, for its own tasks
           │                      └─ order:  cfm's token at that worker
           ├─ node key ───────────┬─ content: a worker's token at another, to read files
           │                      └─ reader: may read everything and change nothing
           └─ operator: may cancel tasks, confirm brakes, accept metadata, reload settings

A worker's *pass* contains its own key and the node key.  Neighbours: `files` reads secrets and passes from
disk, and `roster` knows who owns a token.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final, TypeAlias

from cfm.model import Addr

LEAST_SECRET_CHARS: Final = 16
_MOST_CHARS: Final = 1024
_KEY: Final = re.compile(r"[0-9a-f]{64}")


class TokenError(ValueError):
    """The text is not a token of ours.  The error says why, and never repeats the text."""


def _derived(key: bytes, purpose: str) -> bytes:
    return hmac.digest(key, purpose.encode(), "sha256")


@dataclass(frozen=True)
class WorkerPass:
    """What one worker holds."""

    addr: Addr
    key: bytes = field(repr=False)
    node_key: bytes = field(repr=False)

    @property
    def report(self) -> str:
        """The token that this worker shows to cfm."""
        return _derived(self.key, "report").hex()

    @property
    def order(self) -> str:
        """The token that cfm shows to this worker."""
        return _derived(self.key, "order").hex()

    @property
    def content(self) -> str:
        """The token that workers show to each other."""
        return _derived(self.node_key, "content").hex()

    @property
    def reader(self) -> str:
        return _derived(self.node_key, "reader").hex()

    @property
    def text(self) -> str:
        """The line for the worker's token file."""
        return f"worker:{self.addr}:{self.key.hex()}:{self.node_key.hex()}"


@dataclass(frozen=True)
class Secret:
    """What cfm holds."""

    _text: str = field(repr=False)

    @cached_property
    def _root(self) -> bytes:
        """The root of all keys, slow to compute on purpose (RFC 7914; 16 MiB, some 50 ms).

        The secret may be a phrase that a person chose.  Who breaks into a worker could try phrases until one
        gives this worker's key; so each try must be slow.
        """
        return hashlib.scrypt(self._text.encode(), salt=b"cfm node secret", n=2**14, r=8, p=1)

    def worker(self, addr: Addr) -> WorkerPass:
        return WorkerPass(addr, _derived(self._root, f"worker {addr}"), self._node_key)

    @property
    def _node_key(self) -> bytes:
        return _derived(self._root, "node")

    @property
    def operator(self) -> str:
        return _derived(self._root, "operator").hex()

    @property
    def reader(self) -> str:
        return _derived(self._node_key, "reader").hex()


@dataclass(frozen=True)
class PersonPass:
    """What the machine of an operator or a reader holds: a role and its token."""

    role: str
    token: str = field(repr=False)

    @property
    def text(self) -> str:
        return f"{self.role}:{self.token}"


Holding: TypeAlias = Secret | WorkerPass | PersonPass


def parse_holding(line: str) -> Holding:
    """One line of a token file.

    Raises:
        TokenError: the line is not a pass, and is too short or too long for a secret.
    """
    role, colon, rest = line.partition(":")
    if colon and role == "worker":
        return _worker_pass(rest)
    if colon and role in ("operator", "reader"):
        if not _KEY.fullmatch(rest):
            raise TokenError(f"its {role} pass is damaged")
        return PersonPass(role, rest)
    if not line.isprintable() or not LEAST_SECRET_CHARS <= len(line) <= _MOST_CHARS:
        raise TokenError(f"a secret has {LEAST_SECRET_CHARS} to {_MOST_CHARS} printable characters")
    return Secret(line)


def _worker_pass(text: str) -> WorkerPass:
    addr, key, node_key = (["", "", *text.rsplit(":", 2)])[-3:]
    if not addr or not _KEY.fullmatch(key) or not _KEY.fullmatch(node_key):
        raise TokenError("its worker pass is damaged")
    return WorkerPass(Addr(addr), bytes.fromhex(key), bytes.fromhex(node_key))
