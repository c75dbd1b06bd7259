"""The surplus copies that may go from a disk: what makes room there before any unique file goes.

A copy counts where the kernel has nothing lasting against its trim: another copy stays, on another disk, of a
server that is up and listed, and the SAN is not known to lack the file.  Neighbours: the `ledger` leaves out
what is ordered already; the guards and the policies ask there.
"""

from __future__ import annotations

from collections.abc import Sequence

from cfm.model import NOBODY, Addr, File
from cfm.plan.view import ClusterView

NEXT_TRY_MS = 30_000
"""A copy whose trim was tried in vain counts if it is tried again so soon.  What fails again and again has
longer pauses; a disk does not wait for it."""


class Surplus:
    """The surplus copies that the last plan listed, disk by disk, as far as they may go now."""

    def __init__(self, view: ClusterView, listed: Sequence[File]) -> None:
        self._view, self.listed = view, listed
        self._at: dict[Addr, list[File]] = {}

    def at(self, addr: Addr) -> list[File]:
        """Those at one server, the most wanted first."""
        if not self.listed:
            return []
        if addr not in self._at:
            self._at[addr] = [file for file in self.listed if self._may_go(file, addr)]
        return self._at[addr]

    def _may_go(self, file: File, addr: Addr) -> bool:
        view = self._view
        holders = view.holders.get(file.name, NOBODY)
        if len(holders) < 2 or addr not in holders:
            return False
        if view.now.mono_ms + NEXT_TRY_MS < view.delete_pauses.get(file.name, (0, None))[0]:
            return False
        absence = view.absent.get(file.name)
        if absence is not None and absence.found_bytes != file.size_bytes:
            return False
        if view.keeps_changing(file.name):
            return False
        if any(one.last_list is None and view.may_hold(one, file) for one in view.doubtful):
            return False
        return any(may_keep(view, file, one, addr) for one in holders)


def may_keep(view: ClusterView, file: File, keeper: Addr, addr: Addr) -> bool:
    """Could the copy on `keeper` stay if the one on `addr` goes?"""
    one, other = view.servers[keeper], view.servers[addr]
    if keeper == addr or not one.usable or keeper in other.same_disk or keeper in other.look_alikes:
        return False
    if view.is_stale(file.name, keeper) and not view.is_stale(file.name, addr):
        return False
    return not is_bad(view, file, keeper)


def is_bad(view: ClusterView, file: File, addr: Addr) -> bool:
    """Did its server say a moment ago that the copy is gone, or has another size?"""
    seen = view.copies_seen.get((file.name, addr))
    if seen is None:
        return False
    return not (seen.value.present and seen.value.size_bytes in (None, file.size_bytes))
