"""The policy of surplus copies: one copy of a file stays in the node, all others go, one at a time.

Neighbour: `controller.explain.why` asks here, too, which copy would stay.
"""

from __future__ import annotations

from collections.abc import Iterable

from cfm.model import NOBODY, Addr, DeleteKind, File
from cfm.plan import refusals
from cfm.plan.outlook import Disk, Outlook
from cfm.plan.surplus import is_bad, may_keep
from cfm.plan.view import ClusterView
from cfm.plan.wishes import Delete, Wishes

REFUSALS_A_ROUND = 128
"""How many refusals a round hears before it stops: the rest is looked at when something has changed."""
TRIMS_AT_A_TIME = 16
"""Unfinished trims on one server: it carries out two at a time, and each is looked at in every round."""
TRIMS_IN_A_BATCH = 64
"""As many where an old worker keeps the copies: one list of it confirms them all."""
WAITING_FILES_SEEN = 32
"""How many files whose servers have enough to do a round sees before it stops."""
OF_THE_SERVER = (refusals.SERVER_REFUSES, refusals.SERVER_UNKNOWN, refusals.PACE)
"""Refusals that hold in this round for every other trim there."""
OF_THE_PLACE = frozenset((refusals.SAME_DISK_SUSPECTED, *OF_THE_SERVER))
"""They say nothing about the file."""


def trims(outlook: Outlook) -> Wishes:
    """Of a file on several destinations, all but the best copy go, one at a time: first from disks that are
    over their limits, so that no unique file must go there.

    A server that carries out nothing now costs its own trims, and no others: its files count neither as
    refused nor as waiting.
    """
    if not outlook.lists.surplus:
        return
    yield from _where_room_is_needed(outlook)
    refused = waiting = 0
    closed = set[Addr]()
    for file in outlook.lists.surplus:
        holders = outlook.view.holders.get(file.name, NOBODY)
        if len(holders) < 2 or file.name in outlook.busy_files or holders <= closed:
            continue
        if outlook.view.delete_is_paused(file.name):
            continue  # it was tried a moment ago, in vain
        keeper, *others = by_keeping(outlook, file, holders)
        free = [addr for addr in reversed(others) if addr not in closed and _may_trim(outlook, addr, keeper)]
        waiting += not free and not closed.issuperset(others)
        if waiting >= WAITING_FILES_SEEN:
            return
        refusal = None
        for addr in free:
            answer = yield trim(file, addr, keeper, len(holders))
            if answer is None:
                refusal = None
                break
            refusal = answer.refusal
            if refusal in OF_THE_SERVER:
                closed.add(addr)
        refused += refusal is not None and refusal not in OF_THE_PLACE
        if refused >= REFUSALS_A_ROUND:
            return


def _where_room_is_needed(outlook: Outlook) -> Wishes:
    """Trims at disks over their limits, until they are back: the disk with the fewest surplus copies for its
    need comes first, and of its copies those that no other such disk could use."""
    lack = {addr: _lack_bytes(outlook, disk, addr) for addr, disk in outlook.disks.items()}
    in_need = [addr for addr, (needs, _bytes) in lack.items() if needs]
    in_need.sort(key=lambda addr: -lack[addr][1])
    for addr in in_need:
        holders, others = outlook.view.holders, set(in_need) - {addr}
        for file in sorted(outlook.surplus_at(addr), key=lambda one: len(others & holders[one.name])):
            if not outlook.disks[addr].need_bytes:
                break
            wish = surplus_trim(outlook, file, addr)
            if wish.keeper is None or not _may_trim(outlook, addr, wish.keeper):
                break
            answer = yield wish
            if answer is not None and answer.refusal in OF_THE_SERVER:
                break


def trim(file: File, server: Addr, keeper: Addr, copies: int) -> Delete:
    """The wish that one of so many copies goes."""
    reason = f"surplus: {copies} copies in the node, the one on {keeper} stays"
    return Delete(file, server, DeleteKind.SURPLUS, reason, keeper)


def surplus_trim(outlook: Outlook, file: File, addr: Addr) -> Delete:
    """The wish that the copy on this server goes, and that the best of the others stays."""
    holders = outlook.view.holders[file.name]
    others = by_keeping(outlook, file, holders - {addr})
    may = (one for one in others if may_keep(outlook.view, file, one, addr))
    return trim(file, addr, next(may, others[0]), len(holders))


def by_keeping(outlook: Outlook, file: File, holders: Iterable[Addr]) -> list[Addr]:
    """Holders of a file, the one whose copy stays first."""
    return sorted(holders, key=lambda addr: _by_keeping(outlook, file, addr))


def _may_trim(outlook: Outlook, addr: Addr, keeper: Addr) -> bool:
    """Has the server little enough to do?"""
    batch = not outlook.view.servers[keeper].features.ours
    return outlook.load(addr).unfinished < (TRIMS_IN_A_BATCH if batch else TRIMS_AT_A_TIME)


def _by_keeping(outlook: Outlook, file: File, addr: Addr) -> tuple[int | bool | Addr, ...]:
    """A copy that is neither stale nor known to be bad, on a disk that needs no room and is not over its
    limit; then one of confirmed size, at the address through which its disk is used, on the disk with the
    least use."""
    view, disk = outlook.view, outlook.disks.get(addr)
    if disk is None:
        return (True, addr)
    unused = view.used_through(view.servers[addr]) != addr
    bad_since_ms, unconfirmed = _doubt(view, file, addr)
    need, over = _lack_bytes(outlook, disk, addr), disk.over_bytes > 0
    stale = view.is_stale(file.name, addr)
    return (False, stale, bad_since_ms, *need, over, unconfirmed, unused, disk.projected_percent, addr)


def _lack_bytes(outlook: Outlook, disk: Disk, addr: Addr) -> tuple[bool, int]:
    """Must something go there?  And how much more than the surplus copies there: where that is most, unique
    files would have to go next, so a surplus copy goes there first."""
    need_bytes = disk.need_bytes
    return (True, need_bytes - outlook.surplus_bytes(addr)) if need_bytes else (False, 0)


def _doubt(view: ClusterView, file: File, addr: Addr) -> tuple[int, bool]:
    """Since when the copy is known to be bad, or 0; and whether its server has not confirmed its size.

    Of several bad copies the one that was asked about first comes first: by now it may be whole.
    """
    seen = view.copies_seen.get((file.name, addr))
    if seen is not None and is_bad(view, file, addr):
        return max(1, seen.at_ms), True
    return 0, seen is None or seen.value.size_bytes is None
