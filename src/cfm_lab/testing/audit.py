"""The check at the end of every run: compares the disks with the SAN, and with cfm's books and log.

It believes no program.  It is made when a node begins, and asked for problems when the node is at rest.  A
problem is a file that is there and should not be, a file that went without a reason, a file that was reported
as done and is not there, and a copy or delete that does not have exactly one log line.  A file that went too
early and came back cannot be seen at the end; so the record of the operating system, of what appeared and
vanished, is compared with the books too.

Neighbours: `cluster` has the disks, `folder_watch` has that record.  The fault tests and the benches end with
an audit.
"""

from __future__ import annotations

import hashlib
import re
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

import psycopg

from cfm_lab.testing.cluster import Cluster
from cfm_lab.testing.folder_watch import FolderWatch

_LINE: Final = re.compile(
    r" (?P<event>copied|deleted) file file=(?P<file>\S+) server=(?P<server>\S+)"
    r".* (?:task|order)=(?P<id>\d+)$"
)


class FileOnServer(NamedTuple):
    """A file on a server."""

    server: str
    name: str


class BookEntry(NamedTuple):
    """A row of cfm's books: a copy or a delete, with its status."""

    id: int
    what: str
    """`copied` or `deleted`."""
    status: str
    place: FileOnServer
    kind: str


@dataclass
class Audit:
    """Make it before the node begins; ask for `problems` when the node is at rest."""

    cluster: Cluster
    killed: bool = False
    """cfm was killed: the log line of its last copy or delete may be missing, but never comes twice."""
    excused: set[FileOnServer] = field(default_factory=set)
    """Places where the fault itself removed files, or put them back."""
    strays: set[FileOnServer] = field(default_factory=set)
    """Copies that the run itself put there at any time.  They count as copies, but no book has them."""
    state: Path | None = None
    """The file with cfm's books, if it is not in cfm's folder."""
    begin: Mapping[str, frozenset[str]] = field(init=False)
    _watch: FolderWatch = field(init=False)
    _foreign: Mapping[FileOnServer, str] = field(init=False)
    """File of other software → its digest at the beginning."""

    def __post_init__(self) -> None:
        shelves = {addr: self.cluster.shelf(addr) for addr in self.cluster.destination_addrs}
        self._watch = FolderWatch(shelves)
        self.begin = self._disks()
        foreign = [place for place in _places(self.begin) if place.name not in self.cluster.ranks]
        self._foreign = {place: _digest(self.cluster, place) for place in foreign}

    def _disks(self) -> dict[str, frozenset[str]]:
        return {addr: frozenset(self.cluster.visible(addr)) for addr in self.cluster.destination_addrs}

    def look(self) -> None:
        """Read the record of what happened on the disks.  A long run has to do this from time to time: the
        operating system keeps only some thousand changes."""
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

    def deeds(self) -> list[BookEntry]:
        """cfm's books, oldest first.  cfm may be running meanwhile."""
        self.look()
        tasks, orders = self._books()
        copied = [BookEntry(i, "copied", status, FileOnServer(*place), "") for i, status, *place in tasks]
        deleted = [
            BookEntry(i, "deleted", status, FileOnServer(s, f), kind) for i, status, s, f, kind in orders
        ]
        return sorted([*copied, *deleted])

    def _books(self) -> Sequence[list[tuple[Any, ...]]]:
        """The tasks, and the delete orders."""
        questions = (
            "SELECT id, status, destination, file FROM {}tasks",
            "SELECT id, status, server, file, kind FROM {}delete_orders",
        )
        if self.cluster.state_url:
            with psycopg.connect(self.cluster.state_url) as books:
                return [books.execute(question.format("cfm.").encode()).fetchall() for question in questions]
        path = self.state or self.cluster.cfm.folder / "cfm.db"
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as db:
            return [db.execute(question.format("")).fetchall() for question in questions]

    def counted(self) -> Counter[str]:
        """How many copies and deletes ended how, for the report of a run."""
        return Counter(f"{deed.what} {deed.status}" for deed in self.deeds())

    # ── what may be wrong ───────────────────────────────────────────────────────────────────────────────

    def _san(self) -> Iterator[str]:
        for name in self.cluster.ranks:
            path = self.cluster.san / name
            if not path.exists() or path.read_bytes() != self.cluster.content(name):
                yield f"{name} on the SAN is not what it was"

    def _bystanders(self) -> Iterator[str]:
        """Ads and files that are not graded must be left alone."""
        for place, digest in sorted(self._foreign.items()):
            if place in self.excused or place.name in self.cluster.ranks:  # it has been published since
                continue
            if not (self.cluster.shelf(place.server) / place.name).is_file():
                yield f"{place.name} on {place.server} is gone, and was none of ours"
            elif _digest(self.cluster, place) != digest:
                yield f"{place.name} on {place.server} was changed, and was none of ours"

    def _unexplained(self, deeds: list[BookEntry]) -> Iterator[str]:
        """Each difference from the beginning has its row in the books, and each finished row its effect."""
        now = self._disks()
        rows: dict[FileOnServer, list[BookEntry]] = {}
        for deed in deeds:
            rows.setdefault(deed.place, []).append(deed)
        begun, there = _places(self.begin) | self.strays, _places(now)
        late = self.strays & there  # these may have come after everything in the rows
        for place in sorted((begun | there | set(rows)) - self.excused - late):
            yield from _judged(place, place in begun, place in there, rows.get(place, []))

    def _lost(self, deeds: list[BookEntry]) -> Iterator[str]:
        """By the books, a surplus copy was deleted only where another one stayed.

        If cfm or a worker was killed, the file of a task may have arrived although the task did not end well.
        Such a copy counts as the one that stays, if it was really seen on the disk.  Where the run itself has
        put copies of a file, the books do not know all of them, so `_seen` judges that file instead.
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

    def _landed(self) -> Callable[[FileOnServer], bool]:
        """Was a file ever seen at a place?  Yes, too, if the watch has lost something."""
        seen = {FileOnServer(one.server, one.name) for one in self._watch.changes if one.there}
        seen |= _places(self._disks())
        return lambda place: place in seen or self._watch.blind_since is not None

    def _seen(self, deeds: list[BookEntry]) -> Iterator[str]:
        """At each moment of the operating system's record: a file that came was copied, a file that went was
        ordered to go, and a surplus copy that went left another copy behind."""
        copies = {deed.place for deed in deeds if deed.what == "copied"}
        orders: dict[FileOnServer, list[BookEntry]] = defaultdict(list)
        for deed in deeds:
            if deed.what == "deleted":
                orders[deed.place].append(deed)
        there = _places(self.begin)
        begun = there | self.strays
        went: Counter[FileOnServer] = Counter()
        for change in self._watch.changes[: self._watch.blind_since]:
            place = FileOnServer(change.server, change.name)
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

    def _lines(self, deeds: list[BookEntry]) -> Iterator[str]:
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
        return [line for daemon in self.cluster.cfms for line in daemon.output().splitlines()]


def _judged(place: FileOnServer, begun: bool, there: bool, rows: list[BookEntry]) -> Iterator[str]:
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


def _gone(place: FileOnServer, times: int, others: set[str], orders: list[BookEntry]) -> Iterator[str]:
    """A file went from a place, for the given number of times; `others` hold it at that moment."""
    if times > len(orders):
        yield f"{place.name} vanished from {place.server} {times} times, by {len(orders)} orders"
    elif not others and not any(order.kind == "space" for order in orders):
        yield f"{place.name} vanished from {place.server} as surplus when no other disk held it"


def _places(disks: Mapping[str, frozenset[str]]) -> set[FileOnServer]:
    return {FileOnServer(addr, name) for addr, names in disks.items() for name in names}


def _digest(cluster: Cluster, place: FileOnServer) -> str:
    return hashlib.sha256((cluster.shelf(place.server) / place.name).read_bytes()).hexdigest()


def _copied_after(delete: BookEntry, rows: list[BookEntry]) -> bool:
    """Was it copied again later?  That copy may have arrived although its `done` came too late to count."""
    return any(deed.what == "copied" and deed.id > delete.id for deed in rows)
