"""Who holds which file: asked for the few thousand files that matter, and remembered for these.

The lists of all servers may have ten million names together.  So nobody turns them around.  A name is looked
up in each list when somebody asks for it, and the answer is kept until a list changes.  A full plan finds out
for all files on its lists at once, beside the loop, and teaches the book.  Pure.  Neighbours: `observed`
says what changed; the view of the node and the books of the controller ask.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from cfm.model import Addr, Names
from cfm.name_column import Sought

NO_NAMES: Final[Names] = frozenset()
MOST_KEPT: Final = 50_000
"""Answers that are kept.  A plan lists some ten thousand files, and a few are in tasks and orders."""


class Holders:
    """File → the destinations that hold it, by lists that can be trusted.  A file that none holds is absent.

    It reads like a mapping, but nobody can list what it knows.
    """

    def __init__(self) -> None:
        self._lists: dict[Addr, Names] = {}
        self._known: dict[str, frozenset[Addr]] = {}
        self._names: Sought | None = None
        """The names that are known; None where others have come since."""
        self.gains = self.losses = 0
        """How often a file that somebody has asked for got a holder, and how often it may have lost one."""

    def __getitem__(self, name: str) -> frozenset[Addr]:
        if found := self._found(name):
            return found
        raise KeyError(name)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and bool(self._found(name))

    def get(self, name: str, otherwise: frozenset[Addr]) -> frozenset[Addr]:
        return self._found(name) or otherwise

    def _found(self, name: str) -> frozenset[Addr]:
        found = self._known.get(name)
        if found is None:
            if len(self._known) >= MOST_KEPT:
                self._known.clear()
                self.losses += 1
            found = frozenset(addr for addr, names in self._lists.items() if name in names)
            self._known[name], self._names = found, None
        return found

    def __bool__(self) -> bool:
        """Does any server hold anything?"""
        return any(self._lists.values())

    def __iter__(self) -> Iterator[str]:
        raise TypeError("nobody can list who holds what")

    def look_up(self, names: Iterable[str]) -> None:
        """Find out about many files at once: a fiftieth of what it takes one by one."""
        new = [name for name in names if name not in self._known]
        sought = Sought(new)
        holders: dict[str, list[Addr]] = {name: [] for name in new}
        for addr, there in self._lists.items() if new else ():
            for name in sought.among(there):
                holders[name].append(addr)
        if new:
            self._known |= {name: frozenset(addrs) for name, addrs in holders.items()}
            self._names = None

    # ── what changes ────────────────────────────────────────────────────────────────────────────────────

    def counts(self, addr: Addr) -> bool:
        """Is it a holder of anything?"""
        return bool(self._lists.get(addr))

    def hold(self, addr: Addr, names: Names) -> None:
        """A server holds these, and nothing else."""
        if names is not self._lists.get(addr, NO_NAMES):
            self._lists[addr] = names
            there = set(self._known_names().among(names))
            self._found_there(addr, there)
            for name in [name for name, found in self._known.items() if addr in found and name not in there]:
                self._known[name] -= {addr}
                self.losses += 1

    def _known_names(self) -> Sought:
        if self._names is None:
            self._names = Sought(self._known)
        return self._names

    def _found_there(self, addr: Addr, names: Iterable[str]) -> None:
        for name in names:
            if addr not in self._known[name]:
                self._known[name] |= {addr}
                self.gains += 1

    def came(self, addr: Addr, name: str, names: Names) -> None:
        """One file came to what a server holds, which is `names` now."""
        self._lists[addr] = names
        if name in self._known:
            self._known[name] |= {addr}
            self.gains += 1

    def went(self, addr: Addr, name: str, names: Names) -> None:
        """One file went from what a server holds."""
        self._lists[addr] = names
        if name in self._known:
            self._known[name] -= {addr}
            self.losses += 1

    def learn(self, found: Mapping[str, frozenset[Addr]], lists: Mapping[Addr, Names]) -> None:
        """A plan found out who holds these files by these lists.  What was known before is forgotten.

        Where a list is another one by now, it counts for itself.
        """
        old = {addr for addr, names in lists.items() if names is not self._lists.get(addr, NO_NAMES)}
        self._known = {name: there - old for name, there in found.items()} if old else dict(found)
        self._names = None
        self.losses += 1  # of what is forgotten nobody would count a loss
        for addr in [*old, *(addr for addr in self._lists if addr not in lists)]:
            self._found_there(addr, self._known_names().among(self._lists.get(addr, NO_NAMES)))
