"""Files that were deleted for room, and what lets them come back before their time.  Pure functions.

A file comes back early where other data has left its disk, or the disk has grown.  Its allowance (see
`departures`) must have grown by more than the size of the file since then.  Everything doubtful holds it
back: the allowance of then is taken as large as it may have been, that of now as small as it may be.
Neighbours: `deleting` tells of deletes, `observing` of readings.
"""

from __future__ import annotations

from typing import Final

from cfm.controller.decide.departures import Disk
from cfm.controller.decide.state import NodeState
from cfm.fleet.disk_account import DiskAccount
from cfm.model import Addr, DeleteKind, DeleteOrder, DiskBounds, Known, Now, sum_bytes
from cfm.plan.view import Departure

MARGIN_PERCENT: Final = 1
"""What must be free beside the file, as a part of the disk: file systems round, and other data moves a
little all the time."""


def went(state: NodeState, made: DeleteOrder, now: Now) -> None:
    """A file that was deleted for room is not copied back for a while.  Of a surplus one a copy stays.

    Of what went before a restart it is not known how much room there was: it stays away for its whole time.
    """
    if made.kind is DeleteKind.SPACE:
        ago_ms = max(0, 1000 * (now.wall_s - made.changed_s))
        departure = Departure(now.mono_ms - ago_ms, made.file)
        allowance_bytes = _allowance_bytes(state, made.server, at_most=True)
        back_at_bytes = None if allowance_bytes is None else allowance_bytes + made.file.size_bytes
        state.departures.put(made.file.name, departure, _disk(state, made.server), back_at_bytes)


def measured(state: NodeState, addr: Addr, now: Now) -> None:
    """A `/df` came."""
    disk, usage = _disk(state, addr), state.fleet.records[addr].disk
    if not state.departures.waits_at(disk) or not isinstance(usage, Known):
        return
    allowance_bytes = _allowance_bytes(state, addr, at_most=False)
    if allowance_bytes is None:
        return
    margin_bytes = MARGIN_PERCENT * usage.value.total_bytes // 100
    if back := state.departures.allowed(disk, allowance_bytes - margin_bytes, now.mono_ms):
        because = "other data leaves them more room there than when they went"
        state.say("deleted files may come back", server=addr, files=back, because=because)


def _allowance_bytes(state: NodeState, addr: Addr, *, at_most: bool) -> int | None:
    """The allowance of a disk at most or at least; None where it is unknown, or where several addresses use
    the disk."""
    record, moved_bytes = state.fleet.records.get(addr), state.stock.moved_bytes[addr]
    if record is None or not isinstance(record.disk, Known) or state.fleet.sharing.others(addr):
        return None
    account, last = record.account, record.disk.value
    bounds = account.bounds or DiskBounds(last, last)
    usage = (bounds.emptiest or last) if at_most else bounds.fullest
    doubtful_bytes = (
        _most_ours_bytes(state, addr, account) if at_most else -_least_ours_bytes(state, addr, account)
    )
    limit_percent = record.limit_percent(state.rules.limit_percent)
    return moved_bytes - usage.above_bytes(limit_percent) + doubtful_bytes


def _most_ours_bytes(state: NodeState, addr: Addr, account: DiskAccount) -> int:
    """What may be used, and is no other data: deleted files that are still open, unfinished copies, and those
    that an old worker's list has not proven yet."""
    tasks = {**state.tasks.active, **state.tasks.uncut, **state.tasks.unproven}.values()
    coming_bytes = sum(task.file.size_bytes for task in tasks if task.destination == addr)
    return sum_bytes(account.gone) + account.given_up_bytes + max(coming_bytes, account.arriving_bytes)


def _least_ours_bytes(state: NodeState, addr: Addr, account: DiskAccount) -> int:
    """What may not be shown as used yet, or any more: copies that came, and files that are being deleted."""
    orders = state.orders.active.values()
    return sum_bytes(account.booked) + sum(order.file.size_bytes for order in orders if order.server == addr)


def _disk(state: NodeState, addr: Addr) -> Disk:
    record = state.fleet.records.get(addr)
    return addr, record.account.disk_id if record is not None else ""
