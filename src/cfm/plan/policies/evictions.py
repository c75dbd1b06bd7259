"""The policy of full disks: a destination over its limit is brought back to it.

The least wanted files go first, and no more of them than are needed.
"""

from __future__ import annotations

from cfm.model import Addr, DeleteKind, File
from cfm.plan import refusals
from cfm.plan.outlook import Outlook
from cfm.plan.wishes import Delete, Wishes

HOLD_ALL = (refusals.SAN_UNKNOWN, refusals.LIMIT_UNREACHABLE)
"""Refusals that hold for every other file there, as brakes do.  No better file goes because the SAN is silent
about one."""


def evictions(outlook: Outlook) -> Wishes:
    """A destination over its limit is brought back to it, least wanted files first, and no further."""
    for server in outlook.view.destinations:
        disk = outlook.disks.get(server.addr)
        if disk is None or not disk.need_bytes:
            continue
        for file in outlook.may_go(server.addr):
            if not disk.need_bytes:
                break
            answer = yield eviction(outlook, file, server.addr)
            if answer is not None and (answer.refusal.brake or answer.refusal in HOLD_ALL):
                break


def eviction(outlook: Outlook, file: File, server: Addr) -> Delete:
    """The wish that a file goes because its disk is over its limit."""
    disk = outlook.disks.get(server)
    over = f"{disk.need_bytes} bytes over its limit of {disk.limit_percent} %" if disk else "over its limit"
    reason = f"space: the disk is {over}, rank {file.rank} is the least wanted there"
    return Delete(file, server, DeleteKind.SPACE, reason)
