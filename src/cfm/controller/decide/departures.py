"""The book of departures: files that were deleted for room, and when each of them may come back.  Pure.

Such a file stays away for a time, so that no file goes to and fro.  It may come back earlier where other data
has left the disk from which it went.  Room that cfm made itself does not count.  The two are told apart by
the *allowance* of a disk: its room below the limit, with what our copies have brought since our start, and
without what our deletes have removed.  So our own copies and deletes leave it as it is, and other data that
leaves the disk raises it.

A disk may let its files come back early once in that time, and not a second time.  So whatever a `/df` shows,
and however other data comes and goes, a file goes to and fro on one disk at most once in that time.
Neighbours: `coming_back` finds the allowance; the guard `not_just_deleted` and the full plan read the book.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from cfm.fleet.disk_account import Claim
from cfm.model import Addr
from cfm.plan.view import Departure
from cfm.revision import Revision

SURE_MS: Final = 600_000
"""How long every reading must show the room before a file comes back early."""

Disk = tuple[Addr, str]
"""A server, and the id of the disk that it is on: another disk may have other data."""


@dataclass(slots=True)
class _Waiting:
    """The files that went from one disk and may come back early."""

    allowance: Claim
    back_at_bytes: dict[str, int] = field(default_factory=dict)
    """The allowance with which each of them may come back."""

    def add(self, name: str, back_at_bytes: int) -> None:
        """What was shown before it went does not bring it back."""
        assert self.allowance.value is not None
        self.back_at_bytes[name] = back_at_bytes
        if self.allowance.value >= back_at_bytes:
            self.allowance = Claim(back_at_bytes - 1)

    def returning(self, allowance_bytes: int, now_ms: int) -> set[str]:
        """A reading came.  Which files may come back by it, and by those before it?"""
        self.allowance.show(allowance_bytes, now_ms, apart_ms=SURE_MS)
        sure_bytes = self.allowance.value
        assert sure_bytes is not None
        return {name for name, at_bytes in self.back_at_bytes.items() if at_bytes <= sure_bytes}


@dataclass(slots=True)
class DepartureBook:
    """What was deleted for room, and is not copied back for a while."""

    revision: Revision
    left: dict[str, Departure] = field(default_factory=dict)
    _waiting: dict[Disk, _Waiting] = field(default_factory=dict)
    _early_ms: dict[Disk, int] = field(default_factory=dict)
    """When files came back early to each disk for the first time."""

    def put(self, name: str, departure: Departure, disk: Disk, back_at_bytes: int | None = None) -> None:
        """A file went.  `back_at_bytes`: the allowance of that disk with which it may come back early; None
        where it may not."""
        self.left[name] = departure
        for waiting in self._waiting.values():
            waiting.back_at_bytes.pop(name, None)
        if back_at_bytes is not None and disk not in self._early_ms:
            self._waiting.setdefault(disk, _Waiting(Claim(back_at_bytes))).add(name, back_at_bytes)

    def waits_at(self, disk: Disk) -> bool:
        """May any file come back early to this disk?"""
        return disk in self._waiting

    def allowed(self, disk: Disk, allowance_bytes: int, now_ms: int) -> int:
        """A reading shows the allowance of a disk.  Returns how many files may come back by that."""
        back = self._waiting[disk].returning(allowance_bytes, now_ms)
        if back:
            self._early_ms.setdefault(disk, now_ms)
            self._keep({name: left for name, left in self.left.items() if name not in back})
        return len(back)

    def forget_old(self, before_ms: int) -> None:
        self._early_ms = {disk: at_ms for disk, at_ms in self._early_ms.items() if at_ms > before_ms}
        self._keep({name: left for name, left in self.left.items() if left.at_ms > before_ms})

    def forget_all(self) -> None:
        self._keep({})

    def _keep(self, kept: dict[str, Departure]) -> None:
        """All others may come back."""
        if len(kept) == len(self.left):
            return
        self.revision.dispatch += 1
        self.revision.plan += 1  # the last plan left them out
        self.left = kept
        for disk, waiting in list(self._waiting.items()):
            still = {name: at_bytes for name, at_bytes in waiting.back_at_bytes.items() if name in kept}
            waiting.back_at_bytes = still
            if not still:
                del self._waiting[disk]
