"""Virtual time: the calls that are due, in order, and the clocks of machines, which are all a little wrong.

True time is the number of milliseconds since the world began.  The monotonic clock of a machine drifts, and
its wall clock may jump as well.  Only `Clock` knows by how much.  Only the simulator itself uses true time.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any

from cfm.model import Now
from cfm_lab.sim.environment.rng import MILLION

_FACTOR = 0x2545F491
_MASK = (1 << 30) - 1
"""Keeps the digest so small that its product with the factor is a native integer."""


class Schedule:
    """A heap of calls.  `steps` counts the calls that were made, `digest` tells in which order and when."""

    __slots__ = ("_heap", "_made", "digest", "now_ms", "steps")

    def __init__(self) -> None:
        self.now_ms = 0
        self.steps = 0
        self.digest = 0
        self._heap: list[tuple[int, int, Callable[..., None], tuple[Any, ...]]] = []
        self._made = 0

    def after(self, delay_ms: int, call: Callable[..., None], *args: Any) -> None:
        self._made += 1
        heappush(self._heap, (self.now_ms + delay_ms, self._made, call, args))

    def run_until(self, end_ms: int) -> None:
        """Make all calls that are due until `end_ms`."""
        heap = self._heap
        while heap and heap[0][0] <= end_ms:
            self.now_ms, number, call, args = heappop(heap)
            self.steps += 1
            self.digest = ((self.digest ^ self.now_ms ^ number) & _MASK) * _FACTOR & _MASK
            call(*args)
        self.now_ms = end_ms


class Clock:
    """The clocks of one machine."""

    __slots__ = ("_base_ms", "_drift_ppm", "_schedule", "_wall_base_ms", "wall_shift_ms")

    def __init__(self, schedule: Schedule, base_ms: int, wall_base_ms: int, drift_ppm: int = 0) -> None:
        self._schedule = schedule
        self._base_ms = base_ms
        self._wall_base_ms = wall_base_ms
        self._drift_ppm = drift_ppm
        self.wall_shift_ms = 0

    def mono_ms(self) -> int:
        true_ms = self._schedule.now_ms
        return self._base_ms + true_ms + true_ms * self._drift_ppm // MILLION

    def wall_ms(self) -> int:
        return self._wall_base_ms + self.wall_shift_ms + self.mono_ms() - self._base_ms

    def now(self) -> Now:
        mono_ms = self.mono_ms()
        return Now(mono_ms, self._wall_base_ms + self.wall_shift_ms + mono_ms - self._base_ms)

    def until(self, mono_ms: int) -> int:
        """True milliseconds until this clock shows `mono_ms`; at least 0."""
        short_ms = mono_ms - self.mono_ms()
        return max(0, -(-short_ms * MILLION // (MILLION + self._drift_ppm)) if short_ms > 0 else 0)
