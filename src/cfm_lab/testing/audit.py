"""The check at the end of every run: what lies on the disks, against the SAN and cfm's own books and log.

It believes no program.  Taken when a node begins and asked when it has come to rest, it names everything
that is there and should not be, that went and nobody says why, that was called done and is not there, and
each deed that was not told in exactly one line.  What went too early and came back is not on the disks any
more at the end; for that the kernel's own record of what appeared and vanished is held against the books.

Neighbours: `cluster` has the disks, and `folder_watch` has that record.  The fault tests and the benches end
with this check.
"""

from __future__ import annotations

import hashlib
import re
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from cfm_lab.testing.cluster import Cluster
from cfm_lab.testing.folder_watch import FolderWatch

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
    strays: set[Place] = field(default_factory=set)
    """Copies that the run itself laid there, at any time: they count as copies, and no book knows of them."""
    state: Path | None = None
    """cfm's books, where they are not in its folder."""
    begin: Mapping[str, frozenset[str]] = field(init=False)
    _watch: FolderWatch = field(init=False)
    _foreign: Mapping[Place, str] = field(init=False)
    """What the files of others looked like."""

    def __post_init__(self) -> None:
        shelves = {addr: self.cluster.shelf(addr) for addr in self.cluster.destination_addrs}
        self._watch = FolderWatch(shelves)
        self.begin = self._disks()
        foreign = [place for place in _places(self.begin) if place.name not in self.cluster.ranks]
        self._foreign = {place: _digest(self.cluster, place) for place in foreign}

    def _disks(self) -> dict[str, frozenset[str]]:
        return {addr: frozenset(self.cluster.visible(addr)) for addr in self.cluster.destination_addrs}

    def look(self) -> None:
        """Take note of what happened on the disks; now and then in a long run, as the kernel keeps some
        thousand changes."""
        self._watch.look()

    # ── asked at the end ────────────────────────────────────────────────────────────────────────────────

    def problems(self) -> list[str]:
        deeds = self.deeds()
        return [
            *self.cluster.problems(),
            *self._san(),
            *self._bystanders(),
            *self._unexplained(deeds),
            *self._lost(deeds),
            *self._seen(deeds),
            *self._lines(deeds),
        ]

    def deeds(self) -> list[Deed]:
        """cfm's books, by age; read beside a running cfm."""
        self.look()
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
        for place, digest in sorted(self._foreign.items()):
            if place in self.excused or place.name in self.cluster.ranks:  # it was published since
                continue
            if not (self.cluster.shelf(place.server) / place.name).is_file():
                yield f"{place.name} on {place.server} is gone, and was none of ours"
            elif _digest(self.cluster, place) != digest:
                yield f"{place.name} on {place.server} was changed, and was none of ours"

    def _unexplained(self, deeds: list[Deed]) -> Iterator[str]:
        """Each difference from the beginning has its row, and each acknowledged deed its effect."""
        now = self._disks()
        rows: dict[Place, list[Deed]] = {}
        for deed in deeds:
            rows.setdefault(deed.place, []).append(deed)
        begun, there = _places(self.begin) | self.strays, _places(now)
        late = self.strays & there  # they may have come after all that the rows tell
        for place in sorted((begun | there | set(rows)) - self.excused - late):
            yield from _judged(place, place in begun, place in there, rows.get(place, []))

    def _lost(self, deeds: list[Deed]) -> Iterator[str]:
        """By the books, a surplus copy goes only where another one stays.

        A task that did not end well may have landed all the same, when cfm or its worker was killed in the
        middle: its copy is one more that may be the one that stays, where it was really seen on the disk.
        Of files that strayed, the books do not know all copies: the kernel's record judges them (`_seen`).
        """
        strayed = {place.name for place in self.strays} if self._watch.blind_since is None else set[str]()
        holders: dict[str, set[str]] = defaultdict(set)
        for place in _places(self.begin):
            holders[place.name].add(place.server)
        landed = self._landed()
        for deed in deeds:
            held = holders[deed.place.name]
            if deed.what == "copied" and (deed.status == "done" or landed(deed.place)):
                held.add(deed.place.server)
            elif deed.what == "deleted" and deed.status == "confirmed":
                held.discard(deed.place.server)
                known = not self._excuses(deed.place.name) and deed.place.name not in strayed
                if deed.kind == "surplus" and not held and known:
                    yield f"{deed.place.name} on {deed.place.server} was deleted as surplus: the last copy"

    def _landed(self) -> Callable[[Place], bool]:
        """Was a file ever seen at a place?  Where a disk could not be watched any more, it may have been."""
        seen = {Place(one.server, one.name) for one in self._watch.changes if one.there}
        seen |= _places(self._disks())
        return lambda place: place in seen or self._watch.blind_since is not None

    def _seen(self, deeds: list[Deed]) -> Iterator[str]:
        """By the kernel's record, and for each moment of it: what came was sent, what went was ordered away,
        and what went as surplus left another copy behind."""
        copies = {deed.place for deed in deeds if deed.what == "copied"}
        orders: dict[Place, list[Deed]] = defaultdict(list)
        for deed in deeds:
            if deed.what == "deleted":
                orders[deed.place].append(deed)
        there = _places(self.begin)
        begun = there | self.strays
        went: Counter[Place] = Counter()
        for change in self._watch.changes[: self._watch.blind_since]:
            place = Place(change.server, change.name)
            (there.add if change.there else there.discard)(place)
            if self._excuses(place.name) or place in self._foreign:
                continue
            if change.there and place not in copies | begun:
                yield f"{place.name} appeared on {place.server} for a while, and nobody copied it"
            if not change.there:
                went[place] += 1
                others = {one.server for one in there if one.name == place.name}
                yield from _gone(place, went[place], others, orders[place])

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


def _gone(place: Place, times: int, others: set[str], orders: list[Deed]) -> Iterator[str]:
    """A file went from a place for the so manieth time: who holds it then, and what was ordered there."""
    if times > len(orders):
        yield f"{place.name} vanished from {place.server} {times} times, by {len(orders)} orders"
    elif not others and not any(order.kind == "space" for order in orders):
        yield f"{place.name} vanished from {place.server} as surplus when no other disk held it"


def _places(disks: Mapping[str, frozenset[str]]) -> set[Place]:
    return {Place(addr, name) for addr, names in disks.items() for name in names}


def _digest(cluster: Cluster, place: Place) -> str:
    return hashlib.sha256((cluster.shelf(place.server) / place.name).read_bytes()).hexdigest()


def _copied_after(delete: Deed, rows: list[Deed]) -> bool:
    """A later copy whose `done` came too late to count may still have brought it."""
    return any(deed.what == "copied" and deed.id > delete.id for deed in rows)
