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
from cfm.fleet.disk_account import APART_MS, DiskAccount, UnderWay
from cfm.fleet.holders import NO_NAMES, Holders
from cfm.fleet.record import BY_COPY, BY_DF, BY_LIST, Record
from cfm.fleet.same_disk import DiskSharing
from cfm.fleet.source_disks import SourceDisks
from cfm.model import (
    NOBODY,
    Addr,
    Booked,
    DiskBounds,
    DiskReport,
    Known,
    Listing,
    Names,
    ProbeSight,
    ServerView,
    Unknown,
    WorkerFeatures,
    bytes_over,
    sum_bytes,
)
from cfm.name_column import among
from cfm.revision import Revision

HALVED = 2
"""An old worker's list that shrank by this factor is believed only when it is seen twice."""
HALVED_AGAIN_MS = 5_000
"""The shortest time between the two.  A disk that is being mounted may show the same empty list twice in a
moment."""
SECOND_READING = Backoff(first_ms=APART_MS, longest_ms=300_000)
"""How soon a `/df` is asked for again on which something hangs."""
FORGOTTEN_MS = 600_000
"""How long the account of an address that does not answer keeps what happened to its disk."""
DELETE_PAUSE = Backoff(first_ms=10_000, longest_ms=600_000)
"""How long a server that refused a delete is asked for none."""


NOTHING_UNDER_WAY = UnderWay()


@dataclass(frozen=True, slots=True)
class ListChange:
    """The effect of a new list: whether it was believed, and which names are new on that server."""

    believed: bool
    appeared: Names = frozenset()
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
        apart_ms: int = APART_MS,
    ) -> None:
        """`apart_ms`: how far apart two readings of a disk must be to prove a need; 0: one will do."""
        self.revision = revision or Revision()
        is_source, is_destination = set(sources), set(destinations)
        nothing = Unknown("not asked yet", now_ms)
        self.records: dict[Addr, Record] = {
            addr: Record(
                addr,
                addr in is_source,
                addr in is_destination,
                nothing,
                DiskAccount(nothing, apart_ms=apart_ms),
                now_ms,
            )
            for addr in dict.fromkeys((*sources, *destinations))
        }
        self.second_readings: dict[Addr, int] = {}
        """When a `/df` is asked for again, because something hangs on the last one."""
        self.holders = Holders()
        self.sharing = DiskSharing(self.records)
        self.source_disks = SourceDisks(destinations, self.revision)

    # ── disk ids ────────────────────────────────────────────────────────────────────────────────────────

    def introduced(self, addr: Addr, features: WorkerFeatures) -> None:
        """A heartbeat said what kind of worker it is, and on which disk."""
        record = self.records[addr]
        before = record.features
        if features.disk_id != before.disk_id:
            record.told_disks.clear()
            record.own_limit_percent = None  # it was the limit of another disk
        record.features = features
        self.source_disks.told_probe(addr, features.probe)
        if before != features and before != _restarted(features, before):
            self.revision.dispatch += 1
        self._on_disks(record)

    def is_elsewhere(self, addr: Addr) -> bool:
        """Does it say that it is on another disk than its last list, or its last `/df`?"""
        record = self.records[addr]
        known = {record.list_disk, record.account.disk_id} - {""}
        return bool(record.features.disk_id) and not known <= {record.features.disk_id}

    def told_clock(self, addr: Addr, clock_s: int | None, wall_s: int) -> None:
        """A heartbeat said what the server's clock shows (unix seconds), while ours showed `wall_s`."""
        self.records[addr].clock_off_s = 0 if clock_s is None else clock_s - wall_s

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

    def listed(self, addr: Addr, listing: Listing, asked_ms: int, awaited: Names = NO_NAMES) -> ListChange:
        """A complete list came.  When an old worker's list halves, it is believed once it has been seen
        twice.

        `awaited`: copies of ours of which nothing but a list can say that they have arrived.
        """
        record = self.records[addr]
        record.told_disks.pop(BY_COPY, None)
        self.told_disk(addr, BY_LIST, listing.disk_id)
        if listing.probe:
            self.source_disks.told_probe(addr, listing.probe)
        names = _with_what_happened_since(record, listing.names, asked_ms)
        if names is not record.last_list and names == record.last_list:
            names = record.last_list  # the same object: nobody looks anything up again
        before = record.last_list
        if before is not None and record.doubted:
            before = before - record.doubted
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
        appeared = frozenset(NO_NAMES if before is None or names is before else names - before)
        if isinstance(record.files, Unknown) or names is not record.last_list:
            self.revision.dispatch += 1
            self.revision.plan += not self._only_awaited(record, names, appeared, awaited)
        self._believe(record, names, listing, asked_ms)
        return ListChange(believed=True, appeared=appeared)

    def _only_awaited(self, record: Record, names: Names, appeared: Names, awaited: Names) -> bool:
        """Has nothing changed but that copies of ours have arrived?  What the last plan listed is still right
        then, unless another server has one of them: it is surplus."""
        return (
            isinstance(record.files, Known)
            and appeared <= awaited
            and len(names) == len(record.files.value) + len(appeared)
            and not any(self.holders.get(name, NOBODY) for name in appeared)
        )

    def _believe(self, record: Record, names: Names, listing: Listing, asked_ms: int) -> None:
        """From now on the server holds these names, and what else the list says is true."""
        record.halved_ms, record.doubted, record.never_answered = None, frozenset(), False
        record.files = Known(names, asked_ms)
        self.source_disks.listed(record.addr, record.files)
        self._hold(record, names)
        record.last_list = names
        self.revision.dispatch += record.account.not_listed(names, asked_ms)
        record.links, record.list_disk = listing.links, listing.disk_id
        if listing.probe != record.probe:
            record.probe, record.probe_since_ms = listing.probe, asked_ms
        record.probes = listing.probes
        self.revision.dispatch += self.sharing.compare(record)

    def lost(self, addr: Addr, why: str, now_ms: int) -> None:
        """Its list is not known any more.  What it held is still remembered in `last_list`."""
        record = self.records[addr]
        self.revision.dispatch += isinstance(record.files, Known) or record.never_answered
        record.never_answered = False
        if isinstance(record.files, Known):
            self.holders.hold(addr, NO_NAMES)
            record.lost_ms = now_ms
        record.files = Unknown(why, record.lost_ms)

    def arrived(self, addr: Addr, name: str, size_bytes: int, now_ms: int) -> None:
        """A worker of this project reported that a copy has arrived.

        `size_bytes`: how much more is used by it; nothing where it took the place of one of its size.
        """
        record = self.records[addr]
        record.added[name] = now_ms
        record.removed.pop(name, None)
        if size_bytes:
            self.landed(addr, name, size_bytes, now_ms)
        self._amend(record, name, came=True)
        self.revision.dispatch += 1
        if len(self.holders.get(name, NOBODY)) > 1:
            self.revision.plan += 1  # another copy turned up meanwhile: one of them is surplus

    def landed(self, addr: Addr, name: str, size_bytes: int, now_ms: int) -> None:
        """A worker says that a copy has arrived.  Its bytes count until a later `/df` has shown them."""
        for record in self._touched(addr):
            record.account.landed.append(Booked(now_ms, size_bytes, name))

    def copy_ended(self, addr: Addr, name: str, size_bytes: int, now_ms: int) -> None:
        """A copy ended without success.  What there may be of it counts until the next `/df`."""
        for record in self._touched(addr):
            record.account.ended.append(Booked(now_ms, size_bytes, name))

    def deleted(self, addr: Addr, name: str, size_bytes: int, now_ms: int) -> None:
        """The server carried out a delete of ours."""
        record = self.records[addr]
        record.removed[name] = now_ms
        record.added.pop(name, None)
        for one in self._touched(addr):
            one.account.gone.append(Booked(now_ms, size_bytes, name))
        self._amend(record, name, came=False)
        record.failed_deletes = 0
        self.revision.dispatch += 1

    def _touched(self, addr: Addr) -> list[Record]:
        """The records of a disk on which we have just done something: what its next reading shows is new."""
        records = [self.records[one] for one in self.addresses(addr)]
        for record in records:
            record.doubts = 0
        return records

    # ── what a server can do now ────────────────────────────────────────────────────────────────────────

    def chosen(self, addr: Addr, now_ms: int) -> None:
        """A copy from it, or to it, begins."""
        self.records[addr].last_chosen_ms = now_ms

    def asked_for_work(self, addr: Addr, at_ms: int) -> None:
        """A destination asked for work, or waits for it until then."""
        self.records[addr].asked_work_ms = at_ms

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

    def _amend(self, record: Record, name: str, *, came: bool) -> None:
        """One file came or went since the server was listed."""
        if record.last_list is None:
            return
        one = frozenset({name})
        record.last_list = record.last_list | one if came else record.last_list - one
        if isinstance(record.files, Known):
            record.files = Known(record.last_list, record.files.at_ms)
            if not self.source_disks.has_originals(record.addr):
                change = self.holders.came if came else self.holders.went
                change(record.addr, name, record.last_list)

    def _hold(self, record: Record, names: Names) -> None:
        """A server's new list.  Originals are no copies."""
        self.holders.hold(record.addr, NO_NAMES if self.source_disks.has_originals(record.addr) else names)

    # ── disks that are a source folder ──────────────────────────────────────────────────────────────────

    def sought(self, names: frozenset[str], sights: Mapping[str, ProbeSight], asked_ms: int) -> None:
        """The source folders were searched for these names."""
        self.source_disks.sought(names, sights, asked_ms)
        self._count_holders_anew()

    def indexed(self, folders: Mapping[str, Names]) -> None:
        """The names in these source folders are known."""
        self.source_disks.indexed(folders)
        self._count_holders_anew()

    def _count_holders_anew(self) -> None:
        for record in self.records.values():
            if isinstance(record.files, Known):
                counts = self.holders.counts(record.addr) or not record.files.value
                if counts == self.source_disks.has_originals(record.addr):
                    self._hold(record, record.files.value)

    # ── disks ───────────────────────────────────────────────────────────────────────────────────────────

    def measured(
        self,
        addr: Addr,
        report: DiskReport,
        asked_ms: int,
        under_way: UnderWay = NOTHING_UNDER_WAY,
        *,
        limit_percent: int = 100,
    ) -> None:
        """A `/df` came that was asked for at `asked_ms`.  What it shows need not be counted extra any more.

        `limit_percent`: the node's own limit.
        """
        record = self.records[addr]
        before = _what_decides(record, under_way.before_bytes, limit_percent)
        own_limit_percent = record.own_limit_percent
        self.told_disk(addr, BY_DF, report.disk_id)
        record.own_limit_percent = report.limit_percent
        record.account.read(report, asked_ms, under_way)
        self._ask_again(record, asked_ms, record.limit_percent(limit_percent))
        for other in self.sharing.others(addr):
            if isinstance(self.records[other].disk, Unknown):  # or it collects all that happens elsewhere
                self.records[other].account.forget(asked_ms - FORGOTTEN_MS)
        # Nothing is decided by the disk of a mere source, nor by one whose list is not known yet.
        decides = record.is_destination and isinstance(record.files, Known)
        if decides and before != _what_decides(record, under_way.coming_bytes, limit_percent):
            self.revision.dispatch += 1
        if own_limit_percent != record.own_limit_percent:
            self.revision.plan += 1

    def _ask_again(self, record: Record, asked_ms: int, limit_percent: int) -> None:
        """One reading proves nothing.  Where something hangs on it, another one is asked for soon, and later
        each time.  What we do there ourselves is a new doubt."""
        due_ms = self.second_readings.get(record.addr)
        if not (record.is_destination and record.account.is_doubted(limit_percent)):
            record.doubts = 0
            self.second_readings.pop(record.addr, None)
        elif due_ms is None or asked_ms >= due_ms or not record.doubts:
            record.doubts += 1
            next_ms = asked_ms + SECOND_READING.pause_ms(record.doubts)
            if due_ms is not None and asked_ms < due_ms:
                next_ms = min(due_ms, next_ms)
            self.second_readings[record.addr] = next_ms

    def disk_lost(self, addr: Addr, why: str, now_ms: int) -> None:
        record = self.records[addr]
        self.revision.dispatch += isinstance(record.disk, Known)
        since_ms = record.disk.since_ms if isinstance(record.disk, Unknown) else now_ms
        record.account.usage = Unknown(why, since_ms)
        self.second_readings.pop(addr, None)

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
                limit_percent=record.limit_percent(limit_percent),
                bounds=record.account.bounds,
                frees_late=record.account.frees_late,
                last_list=record.last_list,
                last_chosen_ms=record.last_chosen_ms,
                busy_until_ms=record.busy_until_ms,
                no_deletes_until_ms=record.no_deletes_until_ms,
                asked_work_ms=record.asked_work_ms,
                moving_disk=len(record.disk_ids) > 1,
                same_disk=self.sharing.others(addr),
                look_alikes=alike.get(addr, NOBODY),
                san=self.source_disks.check(addr),
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
            and not self.source_disks.has_originals(record.addr)
            and now_ms - record.lost_ms < grace_ms
        ]

    def doubt_ends_ms(self, now_ms: int, grace_ms: int) -> int | None:
        """When the files of the next doubtful destination will count as lost."""
        ends = (self.records[addr].lost_ms + grace_ms for addr in self.doubtful(now_ms, grace_ms))
        return min(ends, default=None)


def _restarted(features: WorkerFeatures, before: WorkerFeatures) -> WorkerFeatures:
    """What a worker says after a restart if nothing else about it has changed."""
    return replace(features, boot_id=before.boot_id, disk_id=before.disk_id, probe=before.probe)


def _doubt(record: Record, before: Names | None, names: Names) -> None:
    """A list is not believed.  The files that only this list shows may be there all the same."""
    if before is not None:
        record.doubted, record.last_list = names - before, before | names


def _with_what_happened_since(record: Record, names: Names, asked_ms: int) -> Names:
    record.added = {name: at for name, at in record.added.items() if at >= asked_ms}
    record.removed = {name: at for name, at in record.removed.items() if at >= asked_ms}
    added = record.added.keys() - among(record.added, names)
    removed = among(record.removed, names)
    if added or removed:
        return (names | added) - removed
    return names


def _what_decides(record: Record, coming_bytes: int, limit_percent: int) -> tuple[object, ...] | None:
    """What decides about a disk: where it is as before, there is nothing new to decide.

    Bytes that were under way and are there now change nothing: they were counted already.  It only matters
    whether anything is still under way, as room that is made is not planned anew before.
    """
    account = record.account
    if not isinstance(account.usage, Known):
        return None
    bounds = account.bounds or DiskBounds(account.usage.value, account.usage.value)
    usage = bounds.fullest
    limit_percent = record.limit_percent(limit_percent)
    coming_bytes += sum_bytes(account.booked)
    return (
        limit_percent,
        usage.used_bytes + usage.avail_bytes,
        usage.used_bytes + coming_bytes,
        max(0, usage.avail_bytes - coming_bytes),
        bytes_over(usage.used_bytes, usage.avail_bytes, limit_percent),
        bounds.doubted_bytes(limit_percent),
        len(account.gone),
        account.frees_late,
        account.sizes,
        coming_bytes > 0,
    )
