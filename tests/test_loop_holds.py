"""How long the event loop is held: what counts as a hold, and by what name a long one is told."""

from __future__ import annotations

import asyncio
import time

import pytest
from structlog.testing import capture_logs

from cfm.loop_holds import BOUNDS_S, HOLDS, LoopHolds, watched_loop


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_the_time_between_two_waits_is_a_hold() -> None:
    clock = Clock()
    holds = LoopHolds(clock)
    holds.waits(1.0)  # before the first wait nothing was measured
    clock.now_s += 0.5
    holds.goes_on(in_vain=False)
    clock.now_s += 0.015
    holds.waits(None)
    assert holds.counts[BOUNDS_S.index(0.02)] == sum(holds.counts) == 1
    assert abs(holds.longest_s - 0.015) < 1e-6


def test_a_wait_that_ends_late_in_vain_is_a_hold_by_a_thread() -> None:
    clock = Clock()
    holds = LoopHolds(clock)
    holds.waits(0.1)
    clock.now_s += 0.4
    holds.goes_on(in_vain=True)
    with capture_logs() as lines:
        holds.waits(None)
    assert abs(holds.longest_s - 0.3) < 1e-6
    assert lines[0]["by"] == "waiting for a thread"


@pytest.mark.parametrize(("held_s", "level"), [(0.08, "info"), (1.2, "warning")])
def test_a_long_hold_is_told_by_what_took_longest(held_s: float, level: str) -> None:
    clock = Clock()
    holds = LoopHolds(clock, clock)
    holds.goes_on(in_vain=False)
    holds.note("ListAnswer", 0.06)
    holds.note("Tick", 0.01)
    clock.now_s += held_s
    with capture_logs() as lines:
        holds.waits(None)
    assert lines == [
        {"event": "the event loop was held", "log_level": level, "by": "ListAnswer",
         "held_ms": round(1000 * held_s), "of_it_ms": 60, "cpu_ms": round(1000 * held_s)}
    ]  # fmt: skip


def test_a_real_loop_is_watched() -> None:
    async def work() -> None:
        await asyncio.sleep(0)
        until_s = time.perf_counter() + 0.006
        while time.perf_counter() < until_s:
            pass
        await asyncio.sleep(0)

    before = sum(HOLDS.counts)
    with asyncio.Runner(loop_factory=watched_loop) as runner:
        runner.run(work())
    assert sum(HOLDS.counts) > before
    assert HOLDS.longest_s >= 0.006
