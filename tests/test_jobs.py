"""Background jobs: what fails is told and started again, and only the core ends a daemon."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress

import pytest

from cfm.jobs import RESTARTS, STEADY_S, Job, supervise


class Scripted:
    """A job whose starts end as a script says; the last one goes on until it is cancelled."""

    def __init__(self, *ends: Exception | None) -> None:
        self.ends = list(ends)
        self.starts = 0
        self.is_steady = asyncio.Event()

    async def work(self) -> None:
        self.starts += 1
        if not self.ends:
            self.is_steady.set()
            await asyncio.Event().wait()
        end = self.ends.pop(0)
        if end is not None:
            raise end


class Watched:
    """A daemon of some jobs, in virtual time."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()
        self.pauses_s: list[float] = []
        self.told: list[tuple[str, str]] = []
        self.now_s = 0.0

    async def sleep(self, for_s: float) -> None:
        self.pauses_s.append(for_s)
        self.now_s += for_s

    async def run(self, jobs: Sequence[Job], until: Callable[[], Coroutine[None, None, object]]) -> None:
        """Run the jobs until the event has come, or the core has ended them."""
        running = asyncio.create_task(
            supervise(
                jobs,
                self.ended,
                on_change=lambda job, why: self.told.append((job, why)),
                sleep=self.sleep,
                monotonic=lambda: self.now_s,
            )
        )
        event = asyncio.create_task(until())
        await asyncio.wait((running, event), timeout=10, return_when=asyncio.FIRST_COMPLETED)
        self.ended.set()
        event.cancel()
        with suppress(asyncio.CancelledError):
            await event
        await asyncio.wait_for(running, 10)


async def test_a_job_that_fails_is_told_and_started_again_after_growing_pauses() -> None:
    node = Watched()
    failing, other = Scripted(*[KeyError("x")] * 4), Scripted()
    await node.run([Job("pruning", failing.work), Job("other", other.work)], failing.is_steady.wait)
    assert failing.starts == 5
    assert node.pauses_s == [1, 2, 4, 8]
    assert node.told == [("pruning", "KeyError: 'x'")] * 4
    assert other.starts == 1


async def test_a_job_that_always_fails_is_started_a_few_times_an_hour() -> None:
    node = Watched()
    failing = Scripted(*[OSError("no space left")] * 60)
    await node.run([Job("pruning", failing.work)], failing.is_steady.wait)
    assert sum(node.pauses_s) > 8 * 3600
    assert node.pauses_s[-1] == RESTARTS.longest_ms / 1000


async def test_a_job_does_not_end_by_itself() -> None:
    node = Watched()
    ending = Scripted(None)
    await node.run([Job("following", ending.work)], ending.is_steady.wait)
    assert ending.starts == 2
    assert node.told == [("following", "JobEndedError: following ended by itself")]


async def test_a_job_that_ran_well_for_long_begins_anew_with_the_first_pause() -> None:
    node = Watched()
    failing = Scripted(*[KeyError("x")] * 3)

    async def work() -> None:
        if failing.starts == 2:
            node.now_s += STEADY_S
        await failing.work()

    await node.run([Job("following", work)], failing.is_steady.wait)
    assert node.pauses_s == [1, 2, 1]


async def test_the_core_ends_the_daemon_with_its_error() -> None:
    node = Watched()
    other = Scripted()
    with pytest.raises(ZeroDivisionError):
        await node.run(
            [Job("other", other.work), Job("core", Scripted(ZeroDivisionError()).work, is_core=True)],
            asyncio.Event().wait,
        )
    assert node.pauses_s == []


async def test_all_jobs_end_when_the_daemon_is_told_to() -> None:
    node = Watched()
    jobs = [Scripted(), Scripted()]
    await node.run([Job(str(number), job.work) for number, job in enumerate(jobs)], jobs[1].is_steady.wait)
    assert [job.starts for job in jobs] == [1, 1]
    assert len(asyncio.all_tasks()) == 1
