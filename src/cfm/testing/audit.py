"""The check at the end of every run: what lies on the disks, against the SAN and cfm's own books and log.

It believes no program.  Taken when a node begins and asked when it has come to rest, it names everything
that is there and should not be, that went and nobody says why, that was called done and is not there, and
each deed that was not told in exactly one line.  Neighbours: `cluster` has the disks; the fault tests and
the benches end with this.
"""

from __future__ import annotations

import re
import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from cfm.testing.cluster import Cluster

_LINE: Final = re.compile(
    r" (?P<event>copied|deleted) file file=(?P<file>\S+) server=(?P<server>\S+)"
    r".* (?:task|order)=(?P<id>\d+)$"
)


class Place(NamedTuple):
    """A file on a server."""

    server: str
    name: str


class Deed(NamedTuple):
    """A row of cfm's books: a copy or a delete, and how it stands."""

    id: int
    what: str
    """`copied` or `deleted`."""
    status: str
    place: Place
    kind: str


@dataclass
class Audit:
    """Made before the node begins; `problems` when it is at rest."""

    cluster: Cluster
    killed: bool = False
    """cfm was ended in the middle: the line of its very last deed may be missing, never doubled."""
    excused: set[Place] = field(default_factory=set)
    """Places at which the fault itself took files away, or put them back."""
    state: Path | None = None
    """cfm's books, where they are not in its folder."""
    begin: Mapping[str, frozenset[str]] = field(init=False)

    def __post_init__(self) -> None:
        self.begin = self._disks()

    def _disks(self) -> dict[str, frozenset[str]]:
        return {addr: frozenset(self.cluster.visible(addr)) for addr in self.cluster.destination_addrs}

    # ── asked at the end ────────────────────────────────────────────────────────────────────────────────

    def problems(self) -> list[str]:
        deeds = self.deeds()
        return [
            *self.cluster.problems(),
            *self._san(),
            *self._bystanders(),
            *self._unexplained(deeds),
            *self._lost(deeds),
            *self._lines(deeds),
        ]

    def deeds(self) -> list[Deed]:
        """cfm's books, by age; read beside a running cfm."""
        path = self.state or self.cluster.cfm.folder / "cfm.db"
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as db:
            tasks = db.execute("SELECT id, status, destination, file FROM tasks").fetchall()
            orders = db.execute("SELECT id, status, server, file, kind FROM delete_orders").fetchall()
        copied = [Deed(i, "copied", status, Place(*place), "") for i, status, *place in tasks]
        deleted = [Deed(i, "deleted", status, Place(s, f), kind) for i, status, s, f, kind in orders]
        return sorted([*copied, *deleted])

    def counted(self) -> Counter[str]:
        """How many deeds came to which end, for the report of a run."""
        return Counter(f"{deed.what} {deed.status}" for deed in self.deeds())

    # ── what may be wrong ───────────────────────────────────────────────────────────────────────────────

    def _san(self) -> Iterator[str]:
        for name in self.cluster.ranks:
            path = self.cluster.san / name
            if not path.exists() or path.read_bytes() != self.cluster.content(name):
                yield f"{name} on the SAN is not what it was"

    def _bystanders(self) -> Iterator[str]:
        """Ads and files that nobody graded: ours to leave alone."""
        now, known = self._disks(), set(self.cluster.ranks)
        for addr, names in self.begin.items():
            for name in sorted(names - known - now[addr]):
                if Place(addr, name) not in self.excused:
                    yield f"{name} on {addr} is gone, and was none of ours"

    def _unexplained(self, deeds: list[Deed]) -> Iterator[str]:
        """Each difference from the beginning has its row, and each acknowledged deed its effect."""
        now = self._disks()
        rows: dict[Place, list[Deed]] = {}
        for deed in deeds:
            rows.setdefault(deed.place, []).append(deed)
        begun = {Place(addr, name) for addr, names in self.begin.items() for name in names}
        there = {Place(addr, name) for addr, names in now.items() for name in names}
        for place in sorted((begun | there | set(rows)) - self.excused):
            yield from _judged(place, place in begun, place in there, rows.get(place, []))

    def _lost(self, deeds: list[Deed]) -> Iterator[str]:
        """A surplus copy goes only where another one stays.

        A task that cfm gave up may have landed all the same, when cfm or its worker was killed in the middle:
        its copy is one more that may be the one that stays.
        """
        holders: dict[str, set[str]] = {}
        for addr, names in self.begin.items():
            for name in names:
                holders.setdefault(name, set()).add(addr)
        for deed in deeds:
            held = holders.setdefault(deed.place.name, set())
            if deed.what == "copied":
                held.add(deed.place.server)
            elif deed.status == "confirmed":
                held.discard(deed.place.server)
                if deed.kind == "surplus" and not held and not self._excuses(deed.place.name):
                    yield f"{deed.place.name} on {deed.place.server} was deleted as surplus: the last copy"

    def _excuses(self, name: str) -> bool:
        return any(place.name == name for place in self.excused)

    def _lines(self, deeds: list[Deed]) -> Iterator[str]:
        lines = Counter((m["event"], int(m["id"])) for m in map(_LINE.search, self._log()) if m)
        done = {(d.what, d.id) for d in deeds if d.status in ("done", "confirmed")}
        for (event, number), times in lines.items():
            if times > 1:
                yield f"{event} {number} was told {times} times"
            if (event, number) not in done:
                yield f"{event} {number} was told and is not in the books"
        missing = sorted(done - lines.keys())
        if missing and not self.killed:
            yield f"nobody was told of {missing}"

    def _log(self) -> list[str]:
        return self.cluster.cfm.output().splitlines()


def _judged(place: Place, begun: bool, there: bool, rows: list[Deed]) -> Iterator[str]:
    ends = [deed for deed in rows if deed.status in ("done", "confirmed")]
    last = ends[-1] if ends else None
    copies = any(deed.what == "copied" for deed in rows)
    if there and not begun and not copies:
        yield f"{place.name} appeared on {place.server}, and nobody copied it"
    if there and last is not None and last.what == "deleted" and not _copied_after(last, rows):
        yield f"{place.name} on {place.server} was called deleted, and is there"
    if not there and last is not None and last.what == "copied":
        yield f"{place.name} on {place.server} was acknowledged, and is gone"
    if not there and begun and last is None:
        yield f"{place.name} went from {place.server}, and nobody says why"


def _copied_after(delete: Deed, rows: list[Deed]) -> bool:
    """A later copy whose `done` came too late to count may still have brought it."""
    return any(deed.what == "copied" and deed.id > delete.id for deed in rows)
