"""The policy of full disks: a destination over its limit is brought back to it.

The least wanted files go first, and no more of them than are needed.
"""

from __future__ import annotations

from cfm.model import Addr, DeleteKind, File
from cfm.plan import refusals
from cfm.plan.outlook import Outlook
from cfm.plan.refusals import Refusal
from cfm.plan.view import ClusterView
from cfm.plan.wishes import Delete, Wishes
from cfm.sizes import size_words

FOR_ALL_THERE = (
    refusals.SAN_UNKNOWN,
    refusals.LIMIT_UNREACHABLE,
    refusals.SURPLUS_FIRST,
    refusals.PACE,
)
"""After these refusals no other file there is tried: no better file goes because the SAN is silent about one,
and none goes while surplus copies make the room."""


def evictions(outlook: Outlook) -> Wishes:
    """A destination over its limit is brought back to it, least wanted files first, and no further."""
    for server in outlook.view.destinations:
        disk = outlook.disks.get(server.addr)
        if disk is None or not disk.need_bytes:
            continue
        asked_bytes = 0
        for file in outlook.may_go(server.addr):
            if disk.need_bytes <= asked_bytes:
                break
            answer = yield eviction(outlook, file, server.addr)
            if answer is None:
                continue
            if is_looked_up(outlook.view, file, answer.refusal):
                asked_bytes += file.size_bytes  # it is sure to go if the SAN has it
            elif answer.refusal.brake or answer.refusal in FOR_ALL_THERE:
                break


def is_looked_up(view: ClusterView, file: File, refusal: Refusal) -> bool:
    """Does its delete wait only for the SAN: for an answer, or for a second look that agrees?"""
    if refusal is refusals.STILL_BEING_WRITTEN:
        seen = view.sightings.get(file.name)
        return seen is None or not seen.changes
    return refusal is refusals.SAN_UNKNOWN and not view.san_is_silent(file.name)


def eviction(outlook: Outlook, file: File, server: Addr) -> Delete:
    """The wish that a file goes because its disk is over its limit."""
    disk = outlook.disks.get(server)
    over = (
        f"{size_words(disk.need_bytes)} over its limit of {disk.limit_percent} %"
        if disk
        else "over its limit"
    )
    reason = f"space: the disk is {over}, rank {file.rank} is the least wanted there"
    return Delete(file, server, DeleteKind.SPACE, reason)
