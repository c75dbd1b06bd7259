"""How long the event loop is held: for so long nobody gets an answer from the program.

Between two waits for the network, a loop carries out all that is ready, and answers nobody else meanwhile.
That time is a *hold*.  It is measured where the loop begins and ends to wait, so nothing escapes it, and it
costs about a microsecond for each turn of the loop.  A wait that ends late counts as well: the kernel was
ready, and a thread held the interpreter.

Whoever does something that may take long notes it, so that a long hold can be told by name.  The processor
time of the hold is told beside it: where it is much less, the machine was busy, or a thread held the
interpreter.  Neighbours:
`cli.common` runs the loop; the controller's shell notes events; the metrics show the histogram.
"""

from __future__ import annotations

import asyncio
import gc
import selectors
import sys
import time
from collections.abc import Callable
from typing import Final

import structlog

log = structlog.get_logger(__name__)

BOUNDS_S: Final = (0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""The upper bounds of the histogram."""
LONG_S: Final = 0.05
"""A hold that is longer is told in the log."""
VERY_LONG_S: Final = 1.0
"""A hold that is longer is a warning: heartbeats and reports wait for it."""
SWITCH_S: Final = 0.0005
"""How long a thread keeps the interpreter while the loop waits for it.  The loop lets go of it at each call
of the kernel: beside two busy threads such a call took 0.18 ms by Python's own 5 ms, and 0.004 ms so.
"""
GARBAGE: Final = (10_000, 10, 10)
"""How many new objects there are at a collection of garbage, by generation.  By Python's own 700 it took a
twentieth of the time of a report.
"""
_NOTED_S: Final = 0.001


class LoopHolds:
    """The histogram of one loop's holds since the start."""

    def __init__(
        self,
        clock: Callable[[], float] = time.perf_counter,
        cpu_clock: Callable[[], float] = time.thread_time,
    ) -> None:
        """`cpu_clock`: the processor time of the thread that the loop runs in."""
        self.counts = [0] * (len(BOUNDS_S) + 1)
        """How many holds were in each class of the histogram; the last one has no bound."""
        self.total_s = 0.0
        self.longest_s = 0.0
        self._clock, self._cpu_clock = clock, cpu_clock
        self._cpu_began_s = 0.0
        self._began_s: float | None = None
        self._noted = "", 0.0
        self._waits_until_s: float | None = None

    def waits(self, timeout_s: float | None) -> None:
        """The loop has nothing to do for so long (None: until something happens)."""
        now_s = self._clock()
        if self._began_s is not None:
            self._count(now_s - self._began_s)
        self._waits_until_s = None if timeout_s is None else now_s + max(0.0, timeout_s)

    def goes_on(self, *, in_vain: bool) -> None:
        """The wait is over.  `in_vain`: nothing happened, so it should have ended at its time."""
        now_s, self._cpu_began_s = self._clock(), self._cpu_clock()
        late = in_vain and self._waits_until_s is not None and now_s > self._waits_until_s
        self._began_s = self._waits_until_s if late else now_s
        self._noted = ("waiting for a thread", now_s - (self._began_s or now_s)) if late else ("", 0.0)

    def note(self, what: str, took_s: float) -> None:
        """This was done on the loop."""
        if took_s > self._noted[1]:
            self._noted = what, took_s

    def _count(self, held_s: float) -> None:
        place = 0
        while place < len(BOUNDS_S) and held_s > BOUNDS_S[place]:
            place += 1
        self.counts[place] += 1
        self.total_s += held_s
        self.longest_s = max(self.longest_s, held_s)
        if held_s > LONG_S:
            what, took_s = self._noted
            by = what if took_s > _NOTED_S else "many small things"
            cpu_s = self._cpu_clock() - self._cpu_began_s
            (log.warning if held_s > VERY_LONG_S else log.info)(
                "the event loop was held",
                by=by,
                held_ms=round(1000 * held_s),
                of_it_ms=round(1000 * took_s),
                cpu_ms=round(1000 * cpu_s),
            )


HOLDS: Final = LoopHolds()
"""A program has one loop."""


class _WatchedSelector(selectors.DefaultSelector):
    """What a loop waits with, and tells when it does."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        HOLDS.waits(timeout)
        ready = super().select(timeout)
        HOLDS.goes_on(in_vain=not ready)
        return ready


def watched_loop() -> asyncio.AbstractEventLoop:
    """A loop whose holds are in `HOLDS`.  Collections of garbage are noted, too: they stop all threads.

    What the program is made of (modules, classes, settings) is never garbage.  A collection that went through
    its 300,000 objects each time took 40 ms.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GARBAGE)
    sys.setswitchinterval(SWITCH_S)
    gc.callbacks.append(_Collections())
    return asyncio.SelectorEventLoop(_WatchedSelector())


class _Collections:
    def __init__(self) -> None:
        self._began_s = 0.0

    def __call__(self, phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            self._began_s = time.perf_counter()
        else:
            HOLDS.note(f"garbage of generation {info['generation']}", time.perf_counter() - self._began_s)
