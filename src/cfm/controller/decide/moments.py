"""The moments at which time alone makes something possible, or makes it necessary to look again.

Most things become possible because a book changes.  Some become possible because a pause ends: that is
counted in the node's `Revision` like any other change, when its moment has come.  What has no moment of its
own is looked at again by the housekeeping and by the full look.  Neighbours: `core` asks here at every event.
"""

from __future__ import annotations

from cfm.revision import Revision

HOUSEKEEPING_MS = 10_000
"""How often the books are tidied while something in them waits for time alone."""
IDLE_MS = 60_000
"""How often they are tidied otherwise."""


class Moments:
    """When something is due, on the monotonic clock."""

    def __init__(self, revision: Revision, now_ms: int) -> None:
        self._revision = revision
        self._pause_ends_ms: int | None = None
        """The policies are asked again then."""
        self._retry_due_ms: int | None = None
        """A plan is made then: the last one left out what was not to be tried yet."""
        self._full_look_ms = now_ms
        self._housekeeping_ms = now_ms

    def set(self, *, pause_ends_ms: int | None, retry_due_ms: int | None) -> None:
        """What has just been decided waits for these.

        Whatever changes a book that they are taken from counts as a change for a dispatch.  So between two
        dispatches they stay as they are, and most events cost next to nothing.
        """
        self._pause_ends_ms, self._retry_due_ms = pause_ends_ms, retry_due_ms

    def come(self, now_ms: int) -> None:
        """Count what has become possible by now.  A dispatch follows, and sets the next moments."""
        if self._retry_due_ms is not None and now_ms >= self._retry_due_ms:
            self._revision.plan += 1
            self._revision.dispatch += 1
        elif self._pause_ends_ms is not None and now_ms >= self._pause_ends_ms:
            self._revision.dispatch += 1

    def full_look_is_due(self, now_ms: int, every_ms: int) -> bool:
        """Is it time to look at all servers?  Then everything is decided anew as well."""
        if now_ms < self._full_look_ms:
            return False
        self._full_look_ms = now_ms + every_ms
        self._revision.plan += 1
        self._revision.dispatch += 1
        return True

    def housekeeping_is_due(self, now_ms: int) -> bool:
        if now_ms < self._housekeeping_ms:
            return False
        self._housekeeping_ms = now_ms + IDLE_MS
        return True

    def look_again(self, *, at_orders: bool, at_everything: bool) -> None:
        """The housekeeping found something that waits for time alone, and has no moment of its own."""
        self._revision.orders += at_orders
        self._revision.dispatch += at_everything

    def tidy_soon(self, now_ms: int) -> None:
        """Something waits for time alone: the housekeeping comes more often."""
        self._housekeeping_ms = min(self._housekeeping_ms, now_ms + HOUSEKEEPING_MS)

    def next_ms(self) -> int:
        soonest_ms = min(self._full_look_ms, self._housekeeping_ms)
        for moment_ms in (self._pause_ends_ms, self._retry_due_ms):
            if moment_ms is not None and moment_ms < soonest_ms:
                soonest_ms = moment_ms
        return soonest_ms
