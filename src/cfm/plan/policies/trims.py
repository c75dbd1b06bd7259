"""The policy of surplus copies: one copy of a file stays in the node, all others go, one at a time.

Neighbour: `controller.explain.why` asks here, too, which copy would stay.
"""

from __future__ import annotations

from collections.abc import Iterable

from cfm.model import Addr, DeleteKind, File
from cfm.plan import refusals
from cfm.plan.outlook import Outlook
from cfm.plan.wishes import Delete, Wishes

REFUSALS_A_ROUND = 128
"""A round stops after so many refusals: the rest is looked at when something has changed."""
TRIMS_AT_A_TIME = 16
"""Unfinished trims on one server: it carries out two at a time, and each is looked at in every round."""
TRIMS_IN_A_BATCH = 64
"""As many where an old worker keeps the copies: one list of it confirms them all."""
WAITING_FILES_SEEN = 32
"""A round stops after so many files whose servers have enough to do."""


def trims(outlook: Outlook) -> Wishes:
    """Of a file on several destinations, all but the best copy go, one at a time."""
    refused = waiting = 0
    for file in outlook.lists.surplus:
        holders = outlook.view.holders.get(file.name)
        if holders is None or len(holders) < 2 or file.name in outlook.busy_files:
            continue
        keeper, *others = by_keeping(outlook, file, holders)
        free = [addr for addr in reversed(others) if _may_trim(outlook, addr, keeper)]
        waiting += not free
        if waiting >= WAITING_FILES_SEEN:
            return
        refusal = None
        for addr in free:
            answer = yield trim(file, addr, keeper, len(holders))
            if answer is None:
                refusal = None
                break
            refusal = answer.refusal
        refused += refusal not in (None, refusals.SAME_DISK_SUSPECTED)
        if refused >= REFUSALS_A_ROUND:
            return


def trim(file: File, server: Addr, keeper: Addr, copies: int) -> Delete:
    """The wish that one of so many copies goes."""
    reason = f"surplus: {copies} copies in the node, the one on {keeper} stays"
    return Delete(file, server, DeleteKind.SURPLUS, reason, keeper)


def by_keeping(outlook: Outlook, file: File, holders: Iterable[Addr]) -> list[Addr]:
    """Holders of a file, the one whose copy stays first."""
    return sorted(holders, key=lambda addr: _by_keeping(outlook, file, addr))


def _may_trim(outlook: Outlook, addr: Addr, keeper: Addr) -> bool:
    """Has the server little enough to do?"""
    batch = not outlook.view.servers[keeper].features.ours
    return outlook.load(addr).unfinished < (TRIMS_IN_A_BATCH if batch else TRIMS_AT_A_TIME)


def _by_keeping(outlook: Outlook, file: File, addr: Addr) -> tuple[bool, int, int, bool, bool, int, Addr]:
    """A copy of confirmed size, on a disk that is under its limit, at the address through which that disk is
    used, and on the disk with the least projected use."""
    view, disk = outlook.view, outlook.disks.get(addr)
    if disk is None:
        return (True, 0, 0, True, True, 0, addr)
    unused = view.used_through(view.servers[addr]) != addr
    return (False, *_doubt(outlook, file, addr), disk.over_bytes > 0, unused, disk.projected_percent, addr)


def _doubt(outlook: Outlook, file: File, addr: Addr) -> tuple[int, int]:
    """0: its server confirmed the size.  1: it told none.  2: it has another size there, or nothing.

    Of several bad copies the one that was asked about first comes first: by now it may be whole.
    """
    seen = outlook.view.copies_seen.get((file.name, addr))
    if seen is None or (seen.value.present and seen.value.size_bytes is None):
        return (1, 0)
    return (0, 0) if seen.value.present and seen.value.size_bytes == file.size_bytes else (2, seen.at_ms)
