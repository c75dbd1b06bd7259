"""How fast copies are, and which one is too slow to go on.  Pure.

The speed of a copy is measured over windows of two minutes.  A copy is *too slow* if it is far below the
speed of a task, and far below what another copy of the node reached in the last hour.  Where none is known
yet, the speed of the task alone counts.  So on a network that is slow everywhere, no copy is ended for it.
Neighbours: `controller.decide.copying` measures, and ends a copy that is too slow while others wait.
"""

from __future__ import annotations

from dataclasses import dataclass, field

WINDOW_MS = 120_000
REMEMBERED_MS = 1_800_000
"""The best speed is remembered for so long, and for as long again."""
FAR_BELOW = 24
"""How many times slower a copy is that counts as far below."""


@dataclass(slots=True)
class RateBook:
    """The best speed of the last hour."""

    _bests_bps: dict[int, int] = field(default_factory=dict)
    """Half an hour → the best speed in it."""

    def is_too_slow(self, rate_bps: int, copy_speed_bps: int, now_ms: int) -> bool:
        """Is a copy of this speed, of a task with that speed, far slower than it could be?"""
        best_bps = self.best_bps(now_ms)
        limits_bps = [limit for limit in (copy_speed_bps, best_bps) if limit]
        return bool(limits_bps) and rate_bps * FAR_BELOW < min(limits_bps)

    def note(self, rate_bps: int, now_ms: int) -> None:
        """A copy had this speed in its last window."""
        place = now_ms // REMEMBERED_MS
        self._bests_bps = {one: bps for one, bps in self._bests_bps.items() if one >= place - 1}
        self._bests_bps[place] = max(rate_bps, self._bests_bps.get(place, 0))

    def best_bps(self, now_ms: int) -> int | None:
        """The best speed of the last hour; None where none is known."""
        place = now_ms // REMEMBERED_MS
        return max((bps for one, bps in self._bests_bps.items() if one >= place - 1), default=None)
