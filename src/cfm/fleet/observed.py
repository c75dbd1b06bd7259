"""What was observed of each server: its file list, its disk, when, and what has happened since.  Pure.

A list that was not had is `Unknown`, never empty.  A list speaks for the moment at which it was asked
for: what our own tasks and deletes did later is put on top of it, and what was asked earlier than that
never undoes it.  Neighbours: `controller.decide.core` feeds the answers in; `plan.view` gets the result.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from cfm.model import (
    OLD_WORKER,
    Addr,
    Booked,
    DiskReport,
    DiskUsage,
    Known,
    Listing,
    Observed,
    ServerView,
    Unknown,
    WorkerFeatures,
)

AHEAD_MS = 10_000
"""How long `/df` may show a delete before its answer comes."""
HALVED = 2
"""An old worker's list that shrank by this factor is believed only when it is seen twice."""
HALVED_AGAIN_MS = 5_000
"""The least time between the two: a disk that is being mounted shows the same emptiness twice in a moment."""
NOBODY: frozenset[Addr] = frozenset()


@dataclass(slots=True)
class Question:
    """One kind of question to one server: at most one is under way, and a late need asks again."""

    in_flight: bool = False
    asked_ms: int = 0
    again: bool = False

    def begin(self, now_ms: int) -> bool:
        """Ask now?  False where a question is under way; it is then repeated after its answer."""
        if self.in_flight:
            self.again = True
            return False
        self.in_flight, self.asked_ms, self.again = True, now_ms, False
        return True

    def end(self) -> bool:
        """An answer came.  Returns True where the question must be asked again at once."""
        self.in_flight = False
        return self.again


BY_LIST, BY_DF, BY_COPY = "list", "df", "copy"


@dataclass(slots=True)
class Record:
    """All that is remembered of one server."""

    addr: Addr
    is_source: bool
    is_destination: bool
    files: Observed[frozenset[str]]
    disk: Observed[DiskUsage]
    lost_ms: int
    """Since when its list is unknown; its grace runs from here."""
    features: WorkerFeatures = OLD_WORKER
    told_disks: dict[str, str] = field(default_factory=dict)
    """The id of the disk that its last list, `/df` and answer about one copy came from, since it last said of
    itself on which disk it is: those may come before its next heartbeat, and from another disk."""
    disk_ids: frozenset[str] = frozenset()
    """Of all disks that it may be on, by all that."""
    last_list: frozenset[str] | None = None
    own_limit_percent: int | None = None
    last_chosen_ms: int = 0
    busy_until_ms: int = 0
    failed_deletes: int = 0
    """Deletes in a row that it did not carry out."""
    no_deletes_until_ms: int = 0
    never_answered: bool = True
    """No list came since our start, and none was asked for in vain."""
    halved_ms: int | None = None
    """Since when its list is half as long as it was, and not believed yet."""
    doubted: frozenset[str] = frozenset()
    """Names in `last_list` that only a list showed which was not believed: they may be there, too."""
    listing: Question = field(default_factory=Question)
    asking_disk: Question = field(default_factory=Question)
    added: dict[str, int] = field(default_factory=dict)
    """Names that came by our own doing, and when: they outlast an older list."""
    removed: dict[str, int] = field(default_factory=dict)
    landed: list[Booked] = field(default_factory=list)
    gone: list[Booked] = field(default_factory=list)
    expected_bytes: int | None = None
    """What would be used if nothing in `gone` had gone; None before the first `/df`."""
    ahead_since_ms: int | None = None
    """Since when `/df` shows less than that: deletes whose answer is still on its way, as a rule."""


@dataclass(frozen=True, slots=True)
class ListChange:
    """What a new list told: the names that are new on that server, and whether it was believed."""

    believed: bool
    appeared: frozenset[str] = frozenset()
    why: str = ""


@dataclass(frozen=True, slots=True)
class Likeness:
    """Two lists that were the same once: the names in which they differ now, and since when."""

    differ: frozenset[str] = frozenset()
    since_ms: int = 0


class FleetBook:
    """The records of all servers, and who holds which file."""

    def __init__(self, sources: Iterable[Addr], destinations: Iterable[Addr], *, now_ms: int) -> None:
        is_source, is_destination = set(sources), set(destinations)
        nothing = Unknown("not asked yet", now_ms)
        self.records: dict[Addr, Record] = {
            addr: Record(addr, addr in is_source, addr in is_destination, nothing, nothing, now_ms)
            for addr in dict.fromkeys((*sources, *destinations))
        }
        self.holders: dict[str, frozenset[Addr]] = {}
        self._same_disk: dict[Addr, frozenset[Addr]] = {}
        """Servers that are one disk, by its id: all others that each one is."""
        self._doubles: dict[tuple[Addr, Addr], Likeness] = {}
        """Pairs of old workers that once showed one list on disks of one size."""

    # ── disk ids ────────────────────────────────────────────────────────────────────────────────────────

    def introduced(self, addr: Addr, features: WorkerFeatures) -> None:
        """A heartbeat said what the worker is, and on which disk."""
        record = self.records[addr]
        if features.disk_id != record.features.disk_id:
            record.told_disks.clear()
            record.own_limit_percent = None  # it was that of another disk
        record.features = features
        self._on_disks(record)

    def told_disk(self, addr: Addr, by: str, disk_id: str) -> bool:
        """An answer came from that disk.  Where it is another than before, both count until all agree.

        Returns True where that changes on which disks the server may be.
        """
        record = self.records[addr]
        record.told_disks[by] = disk_id
        return self._on_disks(record)

    def _on_disks(self, record: Record) -> bool:
        """Something was told of the disks that it may be on; is it news?"""
        disk_ids = frozenset({record.features.disk_id, *record.told_disks.values()} - {""})
        news = disk_ids != record.disk_ids
        if news:
            record.disk_ids = disk_ids
            self._same_disk = _same_disks(self.records.values())
        return news

    # ── lists ───────────────────────────────────────────────────────────────────────────────────────────

    def listed(self, addr: Addr, listing: Listing, asked_ms: int) -> ListChange:
        """A complete list came.  An old worker's list that halves is believed when it is seen twice."""
        record = self.records[addr]
        record.told_disks.pop(BY_COPY, None)
        self.told_disk(addr, BY_LIST, listing.disk_id)
        names = _with_what_happened_since(record, listing.names, asked_ms)
        before = None if record.last_list is None else record.last_list - record.doubted
        if isinstance(record.files, Unknown) and asked_ms < record.lost_ms:
            _doubt(record, before, names)
            return ListChange(believed=False, why="it was asked before the server was lost")
        halves = before is not None and HALVED * len(names) < len(before)
        since_ms = asked_ms if record.halved_ms is None else record.halved_ms
        seen_twice = record.features.ours or asked_ms - since_ms >= HALVED_AGAIN_MS
        if before is not None and halves and not seen_twice:
            record.halved_ms = since_ms
            _doubt(record, before, names)
            why = f"its list shrank from {len(before)} to {len(names)} files; asked again"
            self.lost(addr, why, asked_ms)
            return ListChange(believed=False, why=why)
        record.halved_ms, record.doubted, record.never_answered = None, frozenset(), False
        self._hold(record, names)
        record.files = Known(names, asked_ms)
        record.last_list = names
        self._compare(record)
        return ListChange(believed=True, appeared=names - before if before is not None else frozenset())

    def lost(self, addr: Addr, why: str, now_ms: int) -> None:
        """Its list is not known any more; what it held stays remembered as `last_list`."""
        record = self.records[addr]
        record.never_answered = False
        if isinstance(record.files, Known):
            self._hold(record, frozenset())
            record.lost_ms = now_ms
        record.files = Unknown(why, record.lost_ms)

    def arrived(self, addr: Addr, name: str, size_bytes: int, now_ms: int) -> None:
        """A copy of ours is there, by the word of a worker of ours."""
        record = self.records[addr]
        record.added[name] = now_ms
        record.removed.pop(name, None)
        self.landed(addr, size_bytes, now_ms)
        self._amend(record, add=frozenset({name}))

    def landed(self, addr: Addr, size_bytes: int, now_ms: int) -> None:
        """A copy ended, well or not: its bytes count until a `/df` that began later has shown them."""
        for one in self.addresses(addr):
            self.records[one].landed.append(Booked(now_ms, size_bytes))

    def deleted(self, addr: Addr, name: str, size_bytes: int, now_ms: int) -> None:
        """A delete of ours was carried out there."""
        record = self.records[addr]
        record.removed[name] = now_ms
        record.added.pop(name, None)
        for one in self.addresses(addr):
            self.records[one].gone.append(Booked(now_ms, size_bytes))
        self._amend(record, remove=frozenset({name}))

    def _amend(
        self, record: Record, add: frozenset[str] = frozenset(), remove: frozenset[str] = frozenset()
    ) -> None:
        if isinstance(record.files, Known):
            names = (record.files.value | add) - remove
            self._hold(record, names)
            record.files = Known(names, record.files.at_ms)
        if record.last_list is not None:
            record.last_list = (record.last_list | add) - remove

    def _hold(self, record: Record, names: frozenset[str]) -> None:
        """Bring the index of holders up to date with a server's new list."""
        before = record.files.value if isinstance(record.files, Known) else frozenset()
        for name in names - before:
            self.holders[name] = self.holders.get(name, NOBODY) | {record.addr}
        for name in before - names:
            rest = self.holders[name] - {record.addr}
            if rest:
                self.holders[name] = rest
            else:
                del self.holders[name]

    # ── disks ───────────────────────────────────────────────────────────────────────────────────────────

    def measured(self, addr: Addr, report: DiskReport, asked_ms: int, hold_ms: int) -> None:
        """A `/df` came that was asked for at `asked_ms`; what it shows leaves the books."""
        record = self.records[addr]
        self.told_disk(addr, BY_DF, report.disk_id)
        _settle_gone(record, report.usage.used_bytes - report.arriving_bytes, asked_ms, hold_ms)
        record.landed = [booked for booked in record.landed if booked.at_ms > asked_ms]
        record.own_limit_percent = report.limit_percent
        record.disk = Known(report.usage, asked_ms)
        for other in self.addresses(addr) - {addr}:
            _forget_unasked(self.records[other], asked_ms, hold_ms)

    def disk_lost(self, addr: Addr, why: str, now_ms: int) -> None:
        record = self.records[addr]
        since_ms = record.disk.since_ms if isinstance(record.disk, Unknown) else now_ms
        record.disk = Unknown(why, since_ms)

    def addresses(self, addr: Addr) -> frozenset[Addr]:
        """All known addresses of the disk at `addr`: each has its own `/df`, which must show what happened to
        the disk through any of them."""
        return self._same_disk.get(addr, NOBODY) | {addr}

    # ── for the planner ─────────────────────────────────────────────────────────────────────────────────

    def server_views(self, limit_percent: int, is_up: Mapping[Addr, bool]) -> dict[Addr, ServerView]:
        alike = self._look_alikes()
        return {
            addr: ServerView(
                addr=addr,
                is_source=record.is_source,
                is_destination=record.is_destination,
                up=is_up[addr],
                features=record.features,
                files=record.files,
                disk=record.disk,
                limit_percent=min(limit_percent, record.own_limit_percent or limit_percent),
                last_list=record.last_list,
                last_chosen_ms=record.last_chosen_ms,
                busy_until_ms=record.busy_until_ms,
                no_deletes_until_ms=record.no_deletes_until_ms,
                moving_disk=len(record.disk_ids) > 1,
                same_disk=self._same_disk.get(addr, NOBODY),
                look_alikes=alike.get(addr, NOBODY),
            )
            for addr, record in self.records.items()
        }

    def doubtful(self, now_ms: int, grace_ms: int) -> list[Addr]:
        """Destinations whose list is unknown, but not for so long that their files count as lost."""
        return [
            record.addr
            for record in self.records.values()
            if record.is_destination
            and isinstance(record.files, Unknown)
            and now_ms - record.lost_ms < grace_ms
        ]

    def doubt_ends_ms(self, now_ms: int, grace_ms: int) -> int | None:
        """When the next doubtful destination's files count as lost."""
        ends = (self.records[addr].lost_ms + grace_ms for addr in self.doubtful(now_ms, grace_ms))
        return min(ends, default=None)

    def _look_alikes(self) -> dict[Addr, frozenset[Addr]]:
        """Servers that may be one disk, as they showed the same list on disks of one size: a suspicion, which
        keeps a copy, and settles nothing else."""
        alike: dict[Addr, frozenset[Addr]] = {}
        for one, other in self._doubles:
            if not self._told_apart(one, other):
                alike[one] = alike.get(one, NOBODY) | {other}
                alike[other] = alike.get(other, NOBODY) | {one}
        return alike

    def _told_apart(self, one: Addr, other: Addr) -> bool:
        """Two ids, or two sizes, are two disks."""
        records = self.records[one], self.records[other]
        ids, others = (record.disk_ids for record in records)
        sizes = {record.disk.value.total_bytes for record in records if isinstance(record.disk, Known)}
        return len(sizes) > 1 or bool(ids and others and ids.isdisjoint(others))

    def _compare(self, record: Record) -> None:
        """Hold a new list against those of the others: is it the same disk under another address?

        A copy or a delete shows in one list before it shows in the other, so a suspicion does not end with
        the first difference: it ends when a name that differed still does after both were listed anew.
        """
        assert isinstance(record.files, Known)
        for other in self.records.values():
            if other is record or not isinstance(other.files, Known):
                continue
            alike = record.files.value == other.files.value
            if not (record.files.value if alike else self._doubles):
                continue  # as it is with most: nothing to be alike in, or none ever were
            pair = min(record.addr, other.addr), max(record.addr, other.addr)
            if self._told_apart(*pair):  # for good: that one of them loses its id later is no new suspicion
                self._doubles.pop(pair, None)
            elif alike:
                self._doubles[pair] = Likeness()
            elif (before := self._doubles.get(pair)) is not None:
                self._still_alike(pair, before, record.files, other.files)

    def _still_alike(
        self,
        pair: tuple[Addr, Addr],
        before: Likeness,
        new: Known[frozenset[str]],
        other: Known[frozenset[str]],
    ) -> None:
        """Two lists that were the same once are not now."""
        asked_ms = min(new.at_ms, other.at_ms)
        differ = new.value ^ other.value
        if not before.differ or (asked_ms > before.since_ms and not differ & before.differ):
            self._doubles[pair] = Likeness(differ, new.at_ms)
        elif asked_ms > before.since_ms:
            del self._doubles[pair]


def _same_disks(records: Iterable[Record]) -> dict[Addr, frozenset[Addr]]:
    """Destinations that are one disk, by its id."""
    by_id: dict[str, set[Addr]] = {}
    for record in records:
        for disk_id in record.disk_ids if record.is_destination else ():
            by_id.setdefault(disk_id, set()).add(record.addr)
    twins: dict[Addr, set[Addr]] = {}
    for group in by_id.values():
        for addr in group if len(group) > 1 else ():
            twins.setdefault(addr, set()).update(group - {addr})
    return {addr: frozenset(others) for addr, others in twins.items()}


def _doubt(record: Record, before: frozenset[str] | None, names: frozenset[str]) -> None:
    """A list is not believed: what only it shows may be there all the same."""
    if before is not None:
        record.doubted, record.last_list = names - before, before | names


def _with_what_happened_since(record: Record, names: frozenset[str], asked_ms: int) -> frozenset[str]:
    record.added = {name: at for name, at in record.added.items() if at >= asked_ms}
    record.removed = {name: at for name, at in record.removed.items() if at >= asked_ms}
    return names.union(record.added).difference(record.removed)


def _settle_gone(record: Record, settled_bytes: int, asked_ms: int, hold_ms: int) -> None:
    """Which deletes does `/df` not show yet?  A file open for a viewer frees nothing until it is closed.

    What was freed is counted since the last time that nothing was missing, not since the last `/df`: that
    one may have shown a delete before its answer came.  `settled_bytes`: used, without unfinished downloads.
    """
    landed_bytes = sum(b.size_bytes for b in record.landed if b.at_ms <= asked_ms)
    before_bytes = settled_bytes if record.expected_bytes is None else record.expected_bytes
    freed_bytes = before_bytes + landed_bytes - settled_bytes
    kept = []
    for booked in record.gone:
        shown = booked.at_ms <= asked_ms and booked.size_bytes <= freed_bytes
        if shown:
            freed_bytes -= booked.size_bytes
        elif asked_ms - booked.at_ms < hold_ms:
            kept.append(booked)
    if not kept and not _is_ahead(record, freed_bytes, asked_ms):
        freed_bytes = 0
    record.gone, record.expected_bytes = kept, settled_bytes + freed_bytes


def _forget_unasked(record: Record, now_ms: int, hold_ms: int) -> None:
    """An address that is silent for long must not gather what goes on at its disk through another one."""
    if isinstance(record.disk, Unknown):
        record.landed = [booked for booked in record.landed if now_ms - booked.at_ms < hold_ms]
        record.gone = [booked for booked in record.gone if now_ms - booked.at_ms < hold_ms]


def _is_ahead(record: Record, freed_bytes: int, asked_ms: int) -> bool:
    """Was more freed than was told, and so lately that it may still be told?"""
    since_ms = record.ahead_since_ms if record.ahead_since_ms is not None else asked_ms
    record.ahead_since_ms = since_ms if freed_bytes > 0 and asked_ms - since_ms < AHEAD_MS else None
    return record.ahead_since_ms is not None
