"""Which version of its content each copy has, and which copies are stale.  Pure.

The version of a copy is the size and the mtime that cfm saw on the SAN when the copy began.  A copy that cfm
finds on a disk counts as the version that the SAN has then.  The placed files are looked at on the SAN in
turn, so that a file that was written anew is noticed: its copies are stale.  Only looks of cfm are compared
with each other.  Another machine may see the SAN with other mtimes.

Neighbours: `copying` and `deleting` tell what comes and goes, `core` brings the answers of the SAN, and
`plan.view` shows the policies and the guards what is stale.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice

from cfm.model import NOBODY, Addr, CopySeen, File, HolderBook, Known, Names, Now, OnSan, SanAnswer, Version
from cfm.name_column import among, in_order
from cfm.revision import Revision

LOOK_EVERY_MS = 30_000
LOOKS_AT_A_TIME = 600
"""The most placed files that are looked at together: the SAN is slow, and shared."""


@dataclass(slots=True)
class VersionBook:
    """The versions of all copies that are known, and of the files on the SAN that they were made from."""

    revision: Revision
    copies: dict[str, dict[Addr, Version]] = field(default_factory=dict)
    """File → server → the version of its copy."""
    on_san: dict[str, Version] = field(default_factory=dict)
    """Of files that have such copies: what the SAN showed last."""
    stale: dict[str, frozenset[Addr]] = field(default_factory=dict)
    """File → the servers whose copy is of another version than the SAN has."""
    changes: int = 0
    """How often that has changed."""
    _at: dict[Addr, set[str]] = field(default_factory=dict)
    """Server → the files whose copies there are known."""
    _looked_ms: int | None = None
    _last_server: Addr | None = None
    """The server whose files are being looked at in their turn."""
    _turn: Iterator[str] = field(default_factory=lambda: iter(()))
    """Those of its files that were not looked at yet."""

    # ── what comes and goes ─────────────────────────────────────────────────────────────────────────────

    def learnt(self, name: str, addr: Addr, version: Version) -> None:
        """The copy on that server is of this version."""
        self.copies.setdefault(name, {})[addr] = version
        self._at.setdefault(addr, set()).add(name)
        self._compare(name)

    def lost(self, name: str, addr: Addr) -> bool:
        """The server does not hold the file any more.  Returns True where the version was known."""
        known = self.copies.get(name, {}).pop(addr, None) is not None
        self._at.get(addr, set()).discard(name)
        if not self.copies.get(name):
            self.copies.pop(name, None)
            self.on_san.pop(name, None)
        self._compare(name)
        return known

    def not_listed(self, addr: Addr, names: Names) -> list[str]:
        """The copies that were known on that server, and that its list does not show."""
        known = self._at.get(addr, set())
        return sorted(known - among(known, names))

    def seen(self, name: str, found: OnSan) -> frozenset[Addr]:
        """The SAN showed this version.  Returns the servers whose copy has turned stale by it."""
        if name not in self.copies:
            return frozenset()
        before = self.stale.get(name, frozenset())
        self.on_san[name] = found.version
        self._compare(name)
        return self.stale.get(name, frozenset()) - before

    def _compare(self, name: str) -> None:
        current, copies = self.on_san.get(name), self.copies.get(name, {})
        stale = frozenset(
            addr
            for addr, version in copies.items()
            if current is not None and not version.is_same_as(current)
        )
        if stale != self.stale.get(name, frozenset()):
            self.changes += 1
            self.revision.dispatch += 1
            self.revision.plan += 1
            if stale:
                self.stale[name] = stale
            else:
                self.stale.pop(name, None)

    def everywhere(self, holders: HolderBook) -> frozenset[str]:
        """Files of which every copy is stale."""
        return frozenset(name for name, stale in self.stale.items() if holders.get(name, stale) <= stale)

    # ── the looks in turn ───────────────────────────────────────────────────────────────────────────────

    def is_due(self, every_ms: int, now: Now) -> bool:
        """Are placed files to be looked at now?"""
        due_ms = self.next_look_ms(every_ms)
        return due_ms is None or now.mono_ms >= due_ms

    def next_look_ms(self, every_ms: int) -> int | None:
        """When the next placed files are to be looked at."""
        return None if self._looked_ms is None else self._looked_ms + min(LOOK_EVERY_MS, every_ms)

    def take_turn(self, lists: Mapping[Addr, Names], on_san: Names, every_ms: int, now: Now) -> list[File]:
        """The placed files to be looked at now, so that each of them has its turn every `every_ms`.

        `lists`: what the destinations hold.  What the SAN does not have is not looked at.
        """
        self._looked_ms = now.mono_ms
        share = -(-sum(map(len, lists.values())) * min(LOOK_EVERY_MS, every_ms) // every_ms)
        names = islice(self._in_turn(lists, on_san), min(share, LOOKS_AT_A_TIME))
        return [File(name, 0, self._size_of(name)) for name in names]

    def _in_turn(self, lists: Mapping[Addr, Names], on_san: Names) -> Iterator[str]:
        """The files of one server after the other; where one has no more, those of the next one."""
        for _server in range(len(lists) + 1):
            while (name := next(self._turn, None)) is not None:
                yield name
            later = (addr for addr in lists if self._last_server is None or addr > self._last_server)
            server = min(later, default=None) or min(lists, default=None)
            if server is not None:
                self._turn = in_order(on_san & lists[server])
            self._last_server = server

    def _size_of(self, name: str) -> int:
        """Where two source folders hold the file, that of a known copy is the one to be looked at."""
        sizes = (version.size_bytes for version in self.copies.get(name, {}).values())
        return max(sizes, default=0)


def unknown_copies(
    book: VersionBook, holders: HolderBook, answers: Mapping[str, SanAnswer]
) -> Iterator[tuple[str, Addr, OnSan]]:
    """Copies of files that the SAN has just shown, and whose version nobody knows."""
    for name, found in answers.items():
        if isinstance(found, OnSan):
            known = book.copies.get(name, {})
            for addr in sorted(addr for addr in holders.get(name, NOBODY) if addr not in known):
                yield name, addr, found


def size_seen(seen: Known[CopySeen] | None) -> int | None:
    """The size that a server told of its copy; None where it told none."""
    return seen.value.size_bytes if seen is not None else None
