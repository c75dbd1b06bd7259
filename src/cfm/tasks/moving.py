"""A whole state goes from one store to another, such as from SQLite to PostgreSQL, or back.

cfm does not run meanwhile: the state is held.  The new one begins at a much higher epoch, and the old one is
put aside under another name.  So if somebody starts a cfm on the old one after all, no worker obeys it.
Neighbours: `cli.state` shows what was done; both stores know how to give and take rows (see `rows`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from cfm.tasks.store import StateStore

EPOCHS_APART: Final = 1_000


@dataclass(frozen=True, slots=True)
class Moved:
    """What was copied."""

    rows: Mapping[str, int]
    """How many rows of each table."""
    epoch: int
    """From which the new state goes on."""
    old_name: str
    """Where the old state is now."""


def move(old: StateStore, new: StateStore, suffix: str) -> Moved:
    """Copy all of `old` into `new`, which is empty, and put `old` aside; `suffix` becomes part of its name.

    Raises:
        StateError: a cfm runs on one of them, or there is a state in `new` already; nothing was changed.
    """
    old.open()
    try:
        dump = old.dump()
        dump = replace(dump, epoch=dump.epoch + EPOCHS_APART)
        new.fill(dump)
        return Moved(
            {table: len(rows) for table, rows in dump.tables.items()}, dump.epoch, old.set_aside(suffix)
        )
    finally:
        old.close()
