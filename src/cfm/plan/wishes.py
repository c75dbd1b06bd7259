"""Wishes: what a policy may ask for, and what it hears.

A policy is a generator.  It yields one wish at a time, and `send` brings the answer: the wish was booked, or
the kernel refused it, for a reason that has a name.  A wish is only a value: nothing happens by it.
Neighbours: `policies` make wishes, `judge` answers them, `controller.decide.dispatch` turns those that were
booked into tasks and delete orders.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from typing import NamedTuple, TypeAlias

from cfm.model import Addr, DeleteKind, File, Way
from cfm.plan.refusals import Refusal


class Copy(NamedTuple):
    """Copy `file` from `source` to `destination`."""

    file: File
    source: Addr
    destination: Addr
    reason: str
    """Why, for people."""


class Place(NamedTuple):
    """Copy `file` in the first of these ways that may be."""

    file: File
    reason: str
    ways: Iterable[Way] = ()
    """The best first, drawn one by one, and only if nothing speaks against the file itself.  A policy that
    sees no way now names none: the answer tells what the file waits for."""


class Delete(NamedTuple):
    """Delete `file` on `server`."""

    file: File
    server: Addr
    kind: DeleteKind
    reason: str
    keeper: Addr | None = None
    """A surplus copy: the server whose copy stays."""


class MakeRoom(NamedTuple):
    """A bundle: delete all of these files on `server`, so that `file` finds room there; or delete none."""

    file: File
    """The wanted file."""
    server: Addr
    deletes: tuple[Delete, ...]


Wish: TypeAlias = Copy | Place | Delete | MakeRoom


class No(NamedTuple):
    """The answer to a wish that the kernel refused."""

    refusal: Refusal
    delete: Delete | None = None
    """The delete of a bundle that was refused; None where the whole bundle was."""


Answer: TypeAlias = No | None
"""What became of a wish: None where it was booked."""

Wishes: TypeAlias = Generator[Wish, Answer, None]
