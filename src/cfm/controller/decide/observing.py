"""What the controller sees of the node: heartbeats, lists, disks, single copies, servers that come and go.

Pure functions over the state.  What a sight means for a task is told to `copying`, and what it means for a
delete order to `deleting`.  Neighbours: `core` routes events here; `fleet.health` says who is up,
`fleet.observed` what each server holds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from cfm.controller.decide import coming_back, copying, deleting, old_workers, whose_disk
from cfm.controller.decide.events import (
    CopyAnswer,
    DiskAnswer,
    HeartbeatAnswer,
    ListAnswer,
    SendHeartbeat,
)
from cfm.controller.decide.looking import ask_disk, look_at
from cfm.controller.decide.state import NodeState, words
from cfm.controller.decide.versions import size_seen, unknown_copies
from cfm.fleet.disk_account import UnderWay
from cfm.fleet.record import BY_COPY
from cfm.model import (
    Addr,
    DiskReport,
    Failure,
    Known,
    Names,
    Now,
    OnSan,
    SanAnswer,
    Trouble,
    Unknown,
    Version,
    WorkerFeatures,
)
from cfm.plan.view import is_at_rest
from cfm.tasks.store import DropArrival, DropCopy, PutCopy

ALARMING = (Trouble.REFUSED, Trouble.BROKEN, Trouble.TIMEOUT)
"""Failures that say something about the server, and not about the question."""
FRESH_ENOUGH_MS = 1_000
"""A full look leaves out servers that were asked less than this ago."""


def send_heartbeats(state: NodeState, now: Now) -> None:
    for addr in state.health.take_due(now.mono_ms):
        state.out.effects.append(SendHeartbeat(addr))


def heartbeat(state: NodeState, event: HeartbeatAnswer, now: Now) -> None:
    if isinstance(event.answer, Failure):
        if state.health.missed(event.addr, words(event.answer), now.mono_ms):
            _went_down(state, event.addr, words(event.answer), now)
        return
    changed = _features(state, event.addr, event.answer, now)
    state.fleet.told_clock(event.addr, event.answer.clock_s, now.wall_s)
    whose_disk.seek(state, now)
    if state.health.answered(event.addr, now.mono_ms):
        state.say("server is up", server=event.addr, ours=event.answer.ours, version=event.answer.version)
        look_at(state, event.addr, now)
    elif changed:
        look_at(state, event.addr, now)


def _features(state: NodeState, addr: Addr, features: WorkerFeatures, now: Now) -> bool:
    """What a server says of itself.  A new boot id means a new program: all that the old one ran is over."""
    before = state.fleet.records[addr].features
    state.fleet.introduced(addr, features)
    if before == features:
        return False
    if state.fleet.is_elsewhere(addr):
        _lose(state, addr, "it is on another disk now", now)
    if features.ours and not before.ours:
        copying.expect_reports(state, addr, now)
    if before.boot_id and before.boot_id != features.boot_id:
        for task in list(state.tasks.uncut.values()):
            if task.source == addr:
                state.tasks.stream_cut(task.id, now)
        if not copying.lost_by_restart(state, addr, now):
            state.failures.restarted(addr, now.mono_ms)
    return True


def _went_down(state: NodeState, addr: Addr, why: str, now: Now) -> None:
    state.say("server is down", level="warning", server=addr, because=why)
    _lose(state, addr, f"down: {why}", now)
    copying.end_of_server(state, addr, why, now)


def _lose(state: NodeState, addr: Addr, why: str, now: Now) -> None:
    """Neither its files nor its disk are known any more."""
    state.fleet.lost(addr, why, now.mono_ms)
    state.fleet.disk_lost(addr, why, now.mono_ms)


def listed(state: NodeState, event: ListAnswer, now: Now) -> None:
    """A file list came, or did not.  What a server holds is unknown if it gave no answer, or half of one."""
    record = state.fleet.records[event.addr]
    again = record.listing.end()
    if isinstance(event.answer, Failure):
        state.fleet.lost(event.addr, words(event.answer), now.mono_ms)
        _alarm(state, event.addr, event.answer, now)
    elif state.health.is_up(event.addr):
        awaited = {t.file.name for t in state.tasks.unproven.values() if t.destination == event.addr}
        change = state.fleet.listed(event.addr, event.answer, event.asked_ms, awaited)
        if change.believed:
            _believed(state, event, change.appeared, now)
            whose_disk.seek(state, now)
            whose_disk.tell(state, (event.addr,))
        else:
            state.say("list not believed yet", level="warning", server=event.addr, because=change.why)
    if again:
        look_at(state, event.addr, now)


def _believed(state: NodeState, event: ListAnswer, appeared: Names, now: Now) -> None:
    assert not isinstance(event.answer, Failure)
    names = state.fleet.records[event.addr].last_list or frozenset()
    whose_disk.appeared(state, event.addr, appeared, now)
    _vanished(state, event.addr, names, event.asked_ms, now)
    for name in state.versions.not_listed(event.addr, names):
        state.versions.lost(name, event.addr)
        state.out.changes.append(DropCopy(name, event.addr))
    deleting.settle(state, event, event.answer.names, now)
    deleting.copies_listed(state, event.addr, names, event.asked_ms)
    copying.prove(state, event.addr, event.answer.names, event.asked_ms, now)
    old_workers.listed(state, event.addr, event.answer.names, event.asked_ms, now)


def _vanished(state: NodeState, addr: Addr, names: Names, asked_ms: int, now: Now) -> None:
    """Copies that we brought there are gone, and we have ordered no delete: one line, however many."""
    gone = state.failures.listed(addr, names, asked_ms, now.mono_ms).names
    for name in gone:
        if state.arrivals.drop(name, addr):
            state.out.changes.append(DropArrival(name, addr))
    if gone:
        state.say("copies vanished", level="warning", server=addr, files=len(gone), file=gone[0])


def copy_seen(state: NodeState, event: CopyAnswer, now: Now) -> None:
    """A worker of ours answered about one copy, or did not.  No answer says nothing about the copy."""
    state.copies.came_back(event.name, event.addr)
    if isinstance(event.answer, Failure):
        state.health.hurry(event.addr, now.mono_ms)
        deleting.keeper_silent(state, event.name, event.addr, event.answer, now)
        return
    state.copies.put(event.name, event.addr, event.answer, event.asked_ms)
    state.fleet.told_disk(event.addr, BY_COPY, event.answer.disk_id)
    if not event.answer.present:
        look_at(state, event.addr, now)


def measured(state: NodeState, event: DiskAnswer, now: Now) -> None:
    """A `/df` came, or did not.  After an absurd one the server is not used, and nothing is deleted on it."""
    record = state.fleet.records[event.addr]
    again = record.asking_disk.end()
    if isinstance(event.answer, Failure):
        state.fleet.disk_lost(event.addr, words(event.answer), now.mono_ms)
        _alarm(state, event.addr, event.answer, now)
    elif state.health.is_up(event.addr):
        before = record.own_limit_percent
        under_way = _under_way(state, event.addr, event.answer, event.asked_ms)
        limit_percent = state.rules.limit_percent
        state.fleet.measured(event.addr, event.answer, event.asked_ms, under_way, limit_percent=limit_percent)
        if before != record.own_limit_percent:
            _compare_limits(state, event.addr)
        coming_back.measured(state, event.addr, now)
    if again:
        ask_disk(state, event.addr, now)


def _under_way(state: NodeState, addr: Addr, report: DiskReport, asked_ms: int) -> UnderWay:
    """What copies and deletes are under way to the disk at `addr`, through any of its addresses."""
    before_bytes, coming_bytes = state.tasks.arrived_so_far(addr, report.arriving_bytes, asked_ms)
    addresses = state.fleet.addresses(addr)
    tasks, orders = state.tasks.active.values(), state.orders.active.values()
    elsewhere = (t.file.size_bytes for t in tasks if t.destination != addr and t.destination in addresses)
    elsewhere_bytes = sum(elsewhere)
    going_bytes = sum(order.file.size_bytes for order in orders if order.server in addresses)
    told_bytes = sum(state.tasks.runs[task.id].shown_bytes for task in tasks if task.destination == addr)
    return UnderWay(before_bytes + elsewhere_bytes, coming_bytes + elsewhere_bytes, going_bytes, told_bytes)


def measure_again(state: NodeState, now: Now) -> None:
    """Ask for a second `/df` where something hangs on the last one."""
    for addr, due_ms in state.fleet.second_readings.items():
        if due_ms <= now.mono_ms and not state.fleet.records[addr].asking_disk.in_flight:
            ask_disk(state, addr, now)


def next_reading_ms(state: NodeState, now: Now) -> int | None:
    """When the next such `/df` is due; None where none is, or where it is being asked for."""
    due = state.fleet.second_readings.values()
    return min((due_ms for due_ms in due if due_ms > now.mono_ms), default=None)


def _compare_limits(state: NodeState, addr: Addr) -> None:
    record = state.fleet.records[addr]
    own = record.own_limit_percent if record.is_destination else None
    if own is not None and own != state.rules.limit_percent:
        lower = min(own, state.rules.limit_percent)
        state.say(
            "disk limits differ, the lower one holds",
            level="warning",
            server=addr,
            its_percent=own,
            ours_percent=state.rules.limit_percent,
            holds_percent=lower,
        )


def _alarm(state: NodeState, addr: Addr, failure: Failure, now: Now) -> None:
    if failure.trouble in ALARMING:
        state.health.hurry(addr, now.mono_ms)


def look_again(state: NodeState, now: Now) -> None:
    """Ask a server before the next full look: one that is up, and whose list or disk is not known; and one
    where copies have vanished, and a new one must stay."""
    for addr in sorted(state.failures.watched):
        if state.health.is_up(addr):
            look_at(state, addr, now)
    for addr in list(_unknown(state)):
        record = state.fleet.records[addr]
        if not (record.listing.in_flight or record.asking_disk.in_flight):
            look_at(state, addr, now)


def something_unknown(state: NodeState) -> bool:
    return any(True for _addr in _unknown(state))


def _unknown(state: NodeState) -> Iterator[Addr]:
    """Servers that answer heartbeats, but whose list or disk is not known."""
    for addr, record in state.fleet.records.items():
        if state.fleet.source_disks.has_originals(addr):
            continue  # its worker does not use it either
        no_list = record.is_destination and isinstance(record.files, Unknown)
        if (no_list or isinstance(record.disk, Unknown)) and state.health.is_up(addr):
            yield addr


def full_look(state: NodeState, now: Now) -> None:
    """Ask all servers that are up for their lists and disks at the same time, and whose disks they are."""
    state.seek_names(state.fleet.source_disks.names(), now)
    for addr, record in state.fleet.records.items():
        lately_ms = now.mono_ms - FRESH_ENOUGH_MS
        if state.health.is_up(addr) and record.asking_disk.asked_ms <= lately_ms:
            look_at(state, addr, now)


def relist_unclear(state: NodeState, now: Now) -> None:
    """List a server that left a delete unclear, as soon as its list can settle the order."""
    if not state.orders.unknown_ms:
        return
    for made in list(state.orders.active.values()):
        due_ms = deleting.settles_from_ms(state, made)
        if due_ms is None or not state.health.is_up(made.server):
            continue
        record = state.fleet.records[made.server]
        if not record.is_destination:
            continue  # it is never listed: `deleting.recover` has dropped its orders
        if due_ms <= now.mono_ms and record.listing.asked_ms < due_ms and not record.listing.in_flight:
            look_at(state, made.server, now)


def forget_arrivals(state: NodeState, now: Now) -> None:
    """Forget when a file arrived that has stayed its minimum time: it may now go for a better one."""
    for name, addr in state.arrivals.grown_up(now.mono_ms - state.rules.minimum_stay_ms):
        state.out.changes.append(DropArrival(name, addr))


# ── versions of content ─────────────────────────────────────────────────────────────────────────────────


def look_for_new_versions(state: NodeState, now: Now) -> None:
    """Look at some placed files on the SAN, in turn: was one written anew?"""
    on_san, every_ms = state.san.index, state.rules.san_look_ms
    if on_san is not None and state.versions.is_due(every_ms, now) and _versions_can_be_seen(state):
        records = state.fleet.records.values()
        lists = {r.addr: r.files.value for r in records if r.is_destination and isinstance(r.files, Known)}
        files = state.versions.take_turn(lists, on_san, every_ms, now)
        # All at once: the answers come a few at a time, and to look in 300 lists takes some ms each time.
        state.fleet.holders.look_up(file.name for file in files)
        state.look_at_versions(files, now)


def next_version_look_ms(state: NodeState) -> int | None:
    """When the next placed files are looked at; None while that would tell nothing."""
    return state.versions.next_look_ms(state.rules.san_look_ms) if _versions_can_be_seen(state) else None


def _versions_can_be_seen(state: NodeState) -> bool:
    return bool(state.fleet.holders) and state.san.index is not None


def compare_versions(state: NodeState, answers: Mapping[str, SanAnswer], now: Now) -> None:
    """The SAN showed these files.  Which copies are of another version?

    A copy whose version nobody knows counts as the version that the SAN has, once that is at rest, unless its
    server told another size.  While the SAN has another size than the history, nobody can say which of both
    the copy was made from.
    """
    versions = state.versions
    state.fleet.holders.look_up(name for name, answer in answers.items() if isinstance(answer, OnSan))
    for name, addr, found in list(unknown_copies(versions, state.fleet.holders, answers)):
        seen = state.san.sightings.get(name)
        size_bytes = size_seen(state.copies.seen.get((name, addr)))
        if size_bytes not in (None, found.size_bytes):
            version = Version(size_bytes)
        elif name in state.absences.absent:
            continue
        elif seen is not None and is_at_rest(seen, state.rules.san_rest_ms, now):
            version = found.version
        else:
            continue
        versions.learnt(name, addr, version)
        state.out.changes.append(PutCopy(name, addr, version))
    for name, answer in answers.items():
        if isinstance(answer, OnSan):
            for addr in sorted(versions.seen(name, answer)):
                state.say("copy is stale", file=name, server=addr, san_size_bytes=answer.size_bytes)
