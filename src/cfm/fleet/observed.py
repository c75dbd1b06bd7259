"""What was observed of each server: its file list, its disk, when that was, and what has happened since.
Pure.

A list that did not come is `Unknown`, never empty.  A list shows the moment at which it was asked for.  What
our own tasks and deletes did after that moment is added to it.  A list that was asked for earlier never
undoes it.  The book counts in the node's `Revision` what may make something possible; an answer that only
repeats what is known is not counted.  Neighbours: `controller.decide` brings the answers; `plan.view` gets
the result.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from cfm.backoff import Backoff
from cfm.fleet.record import BY_COPY, BY_DF, BY_LIST, Record
from cfm.fleet.same_disk import NOBODY, DiskSharing
from cfm.model import (
    Addr,
    Booked,
    DiskReport,
    Known,
    Listing,
    ServerView,
    Unknown,
    WorkerFeatures,
    bytes_over,
)
from cfm.revision import Revision

AHEAD_MS = 10_000
"""How much earlier `/df` may show a delete than its answer comes."""
HALVED = 2
"""An old worker's list that shrank by this factor is believed only when it is seen twice."""
HALVED_AGAIN_MS = 5_000
"""The shortest time between the two.  A disk that is being mounted may show the same empty list twice in a
moment."""
DELETE_PAUSE = Backoff(first_ms=10_000, longest_ms=600_000)
"""For so long a server that refused a delete is asked for none."""


@dataclass(frozen=True, slots=True)
class ListChange:
    """The effect of a new list: whether it was believed, and which names are new on that server."""

    believed: bool
    appeared: frozenset[str] = frozenset()
    why: str = ""


class FleetBook:
    """The records of all servers, and who holds which file."""

    def __init__(
        self,
        sources: Iterable[Addr],
        destinations: Iterable[Addr],
        *,
        now_ms: int,
        revision: Revision | None = None,
    ) -> None:
        self.revision = revision or Revision()
        is_source, is_destination = set(sources), set(destinations)
        nothing = Unknown("not asked yet", now_ms)
        self.records: dict[Addr, Record] = {
            addr: Record(addr, addr in is_source, addr in is_destination, nothing, nothing, now_ms)
            for addr in dict.fromkeys((*sources, *destinations))
        }
        self.holders: dict[str, frozenset[Addr]] = {}
        self.sharing = DiskSharing(self.records)

    # ── disk ids ────────────────────────────────────────────────────────────────────────────────────────

    def introduced(self, addr: Addr, features: WorkerFeatures) -> None:
        """A heartbeat said what kind of worker it is, and on which disk."""
        record = self.records[addr]
        before = record.features
        if features.disk_id != before.disk_id:
            record.told_disks.clear()
            record.own_limit_percent = None  # it was the limit of another disk
        record.features = features
        if before != features and before != replace(features, boot_id=before.boot_id, disk_id=before.disk_id):
            self.revision.dispatch += 1
        self._on_disks(record)

    def told_disk(self, addr: Addr, by: str, disk_id: str) -> None:
        """An answer named this disk.  Where it is another one than before, both count until all answers
        agree."""
        record = self.records[addr]
        record.told_disks[by] = disk_id
        self._on_disks(record)

    def _on_disks(self, record: Record) -> None:
        if self.sharing.look_at_ids(record):
            self.revision.dispatch += 1

    # ── lists ───────────────────────────────────────────────────────────────────────────────────────────

    def listed(self, addr: Addr, listing: Listing, asked_ms: int) -> ListChange:
        """A complete list came.  When an old worker's list halves, it is believed once it has been seen
        twice."""
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
        if isinstance(record.files, Unknown) or names != record.last_list:
            self.revision.dispatch += 1
            self.revision.plan += 1
        self._hold(record, names)
        record.files = Known(names, asked_ms)
        record.last_list = names
        self.sharing.compare(record)
        return ListChange(believed=True, appeared=names - before if before is not None else frozenset())

    def lost(self, addr: Addr, why: str, now_ms: int) -> None:
        """Its list is not known any more.  What it held is still remembered in `last_list`."""
        record = self.records[addr]
        self.revision.dispatch += isinstance(record.files, Known) or record.never_answered
        record.never_answered = False
        if isinstance(record.files, Known):
            self._hold(record, frozenset())
            record.lost_ms = now_ms
        record.files = Unknown(why, record.lost_ms)

    def arrived(self, addr: Addr, name: str, size_bytes: int, now_ms: int) -> None:
        """A worker of this project reported that a copy has arrived."""
        record = self.records[addr]
        record.added[name] = now_ms
        record.removed.pop(name, None)
        self.landed(addr, size_bytes, now_ms)
        self._amend(record, add=frozenset({name}))
        self.revision.dispatch += 1
        if len(self.holders.get(name, NOBODY)) > 1:
            self.revision.plan += 1  # another copy turned up meanwhile: one of them is surplus

    def landed(self, addr: Addr, size_bytes: int, now_ms: int) -> None:
        """A copy ended, with or without success.  Its bytes count until a later `/df` has shown them."""
        for one in self.addresses(addr):
            self.records[one].landed.append(Booked(now_ms, size_bytes))

    def deleted(self, addr: Addr, name: str, size_bytes: int, now_ms: int) -> None:
        """The server carried out a delete of ours."""
        record = self.records[addr]
        record.removed[name] = now_ms
        record.added.pop(name, None)
        for one in self.addresses(addr):
            self.records[one].gone.append(Booked(now_ms, size_bytes))
        self._amend(record, remove=frozenset({name}))
        record.failed_deletes = 0
        self.revision.dispatch += 1

    # ── what a server can do now ────────────────────────────────────────────────────────────────────────

    def chosen(self, addr: Addr, now_ms: int) -> None:
        """A copy from it, or to it, begins."""
        self.records[addr].last_chosen_ms = now_ms

    def is_busy(self, addr: Addr, until_ms: int) -> None:
        """A source said that it serves others, and when it may be asked again."""
        self.records[addr].busy_until_ms = until_ms
        self.revision.dispatch += 1  # there is another moment at which something is possible

    def refused_delete(self, addr: Addr, now_ms: int) -> None:
        """It answered and did not delete: it is asked for no delete for a while, longer each time."""
        record = self.records[addr]
        if now_ms >= record.no_deletes_until_ms:
            record.failed_deletes += 1
            record.no_deletes_until_ms = now_ms + DELETE_PAUSE.pause_ms(record.failed_deletes)
            self.revision.dispatch += 1

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
        """Update the index of holders with a server's new list."""
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

    def measured(
        self,
        addr: Addr,
        report: DiskReport,
        asked_ms: int,
        hold_ms: int,
        *,
        coming_bytes: tuple[int, int] = (0, 0),
        limit_percent: int = 100,
    ) -> None:
        """A `/df` came that was asked for at `asked_ms`.  What it shows need not be counted extra any more.

        `coming_bytes`: what tasks still bring there, before this answer and after it.  `limit_percent`: the
        node's own limit.
        """
        record = self.records[addr]
        before = _what_decides(record, coming_bytes[0], limit_percent)
        own_limit_percent = record.own_limit_percent
        self.told_disk(addr, BY_DF, report.disk_id)
        _settle_gone(record, report.usage.used_bytes - report.arriving_bytes, asked_ms, hold_ms)
        record.landed = [booked for booked in record.landed if booked.at_ms > asked_ms]
        record.own_limit_percent = report.limit_percent
        record.disk = Known(report.usage, asked_ms)
        for other in self.addresses(addr) - {addr}:
            _forget_unasked(self.records[other], asked_ms, hold_ms)
        # Nothing is decided by the disk of a mere source, nor by one whose list is not known yet.
        decides = record.is_destination and isinstance(record.files, Known)
        if decides and before != _what_decides(record, coming_bytes[1], limit_percent):
            self.revision.dispatch += 1
        if own_limit_percent != record.own_limit_percent:
            self.revision.plan += 1

    def disk_lost(self, addr: Addr, why: str, now_ms: int) -> None:
        record = self.records[addr]
        self.revision.dispatch += isinstance(record.disk, Known)
        since_ms = record.disk.since_ms if isinstance(record.disk, Unknown) else now_ms
        record.disk = Unknown(why, since_ms)

    def addresses(self, addr: Addr) -> frozenset[Addr]:
        """All known addresses of the disk at `addr`.

        Each address has its own `/df`.  It has to show what happened to the disk through any of them.
        """
        return self.sharing.others(addr) | {addr}

    # ── for the planner ─────────────────────────────────────────────────────────────────────────────────

    def server_views(self, limit_percent: int, is_up: Mapping[Addr, bool]) -> dict[Addr, ServerView]:
        alike = self.sharing.look_alikes()
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
                same_disk=self.sharing.others(addr),
                look_alikes=alike.get(addr, NOBODY),
            )
            for addr, record in self.records.items()
        }

    def doubtful(self, now_ms: int, grace_ms: int) -> list[Addr]:
        """The destinations whose list is unknown, but not long enough for their files to count as lost."""
        return [
            record.addr
            for record in self.records.values()
            if record.is_destination
            and isinstance(record.files, Unknown)
            and now_ms - record.lost_ms < grace_ms
        ]

    def doubt_ends_ms(self, now_ms: int, grace_ms: int) -> int | None:
        """When the files of the next doubtful destination will count as lost."""
        ends = (self.records[addr].lost_ms + grace_ms for addr in self.doubtful(now_ms, grace_ms))
        return min(ends, default=None)


def _doubt(record: Record, before: frozenset[str] | None, names: frozenset[str]) -> None:
    """A list is not believed.  The files that only this list shows may be there all the same."""
    if before is not None:
        record.doubted, record.last_list = names - before, before | names


def _with_what_happened_since(record: Record, names: frozenset[str], asked_ms: int) -> frozenset[str]:
    record.added = {name: at for name, at in record.added.items() if at >= asked_ms}
    record.removed = {name: at for name, at in record.removed.items() if at >= asked_ms}
    return names.union(record.added).difference(record.removed)


def _what_decides(record: Record, coming_bytes: int, limit_percent: int) -> tuple[int, ...] | None:
    """What decides about a disk: where it is as before, there is nothing new to decide.

    Bytes that were under way and are there now change nothing: they were counted already.  It only matters
    whether anything is still under way, as room that is made is not planned anew before.
    """
    if not isinstance(record.disk, Known):
        return None
    usage = record.disk.value
    limit_percent = min(limit_percent, record.own_limit_percent or limit_percent)
    coming_bytes += sum(booked.size_bytes for booked in record.landed)
    return (
        limit_percent,
        usage.used_bytes + usage.avail_bytes,
        usage.used_bytes + coming_bytes,
        max(0, usage.avail_bytes - coming_bytes),
        bytes_over(usage.used_bytes, usage.avail_bytes, limit_percent),
        len(record.gone),
        coming_bytes > 0,
    )


def _settle_gone(record: Record, settled_bytes: int, asked_ms: int, hold_ms: int) -> None:
    """Find out which deletes `/df` does not show yet.  An open file frees nothing until its viewer closes it.

    The freed bytes are counted since `/df` last showed all deletes, and not since the last `/df`, because
    that one may have shown a delete before its answer came.  `settled_bytes` are the used bytes without
    unfinished downloads.
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
    """Drop old entries of a silent address; otherwise it collects all that happens to its disk elsewhere."""
    if isinstance(record.disk, Unknown):
        record.landed = [booked for booked in record.landed if now_ms - booked.at_ms < hold_ms]
        record.gone = [booked for booked in record.gone if now_ms - booked.at_ms < hold_ms]


def _is_ahead(record: Record, freed_bytes: int, asked_ms: int) -> bool:
    """Is more free than our deletes explain, and for so short a time that an answer may still be coming?"""
    since_ms = record.ahead_since_ms if record.ahead_since_ms is not None else asked_ms
    record.ahead_since_ms = since_ms if freed_bytes > 0 and asked_ms - since_ms < AHEAD_MS else None
    return record.ahead_since_ms is not None
