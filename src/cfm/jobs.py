"""The background jobs of a daemon: a job that fails is told and started again, and the daemon goes on.

Both programs run what they do beside serving (following files, looking at disks, tidying) as jobs under
`supervise`.  A job never ends by itself.  Where it does, or raises, that is a bug or a trouble of this host:
it is logged with its cause, and the job is started again after a pause that grows.  Only a core job ends the
daemon, because its memory is in doubt after an error: what is durable is read again at the next start.

Neighbours: `controller.program` and `worker.program` list their jobs.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Final

import structlog

from cfm.backoff import Backoff

log = structlog.get_logger(__name__)

RESTARTS: Final = Backoff(first_ms=1_000, longest_ms=600_000)
STEADY_S: Final = 60.0
"""A job that has run for so long is well again: its next failure counts as its first."""
ENDING_S: Final = 4.0
"""How long the end of the daemon waits for its jobs to end."""


class JobEndedError(Exception):
    """A job returned, although jobs go on for as long as the daemon runs."""


@dataclass(frozen=True, slots=True)
class Job:
    """Something that a daemon does for as long as it runs."""

    name: str
    """Two or three words; the log, the status and the metrics show them."""
    work: Callable[[], Coroutine[Any, Any, None]]
    """Begins the work.  It is called again after a failure."""
    is_core: bool = False
    """The daemon ends when this job does."""


def ignored(_job: str, _why: str) -> None:
    """For daemons that show nothing of their jobs."""


async def supervise(
    jobs: Sequence[Job],
    told_to_end: asyncio.Event,
    *,
    on_change: Callable[[str, str], None] = ignored,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    monotonic: Callable[[], float] = time.monotonic,
) -> None:
    """Run the jobs until `told_to_end` is set, or a core job ends.

    `on_change` is called with a job's name and why it failed, and with an empty text once it is well again.

    Raises:
        Exception: what ended a core job.
    """
    kept = [_Kept(job, told_to_end, on_change, sleep, monotonic) for job in jobs]
    running = [asyncio.create_task(one.run(), name=one.job.name) for one in kept]
    try:
        await told_to_end.wait()
    finally:
        log.info("stopping")
        for task in running:
            task.cancel()
        _done, late = await asyncio.wait(running, timeout=ENDING_S)
        for task in late:
            log.warning("a background job does not end; nobody waits for it", job=task.get_name())
    for one in kept:
        if one.ended_by is not None:
            raise one.ended_by


class _Kept:
    """One job, over all its starts."""

    def __init__(
        self,
        job: Job,
        told_to_end: asyncio.Event,
        on_change: Callable[[str, str], None],
        sleep: Callable[[float], Awaitable[None]],
        monotonic: Callable[[], float],
    ) -> None:
        self.job = job
        self.ended_by: Exception | None = None
        """What ended a core job."""
        self._told_to_end, self._on_change = told_to_end, on_change
        self._sleep, self._monotonic = sleep, monotonic
        self._failures = 0

    async def run(self) -> None:
        while True:
            began_s = self._monotonic()
            error = await self._once()
            if self.job.is_core:
                self.ended_by = error
                self._told_to_end.set()
                return
            if self._monotonic() - began_s >= STEADY_S:
                self._failures = 0
            self._failures += 1
            await self._pause(error)

    async def _once(self) -> Exception:
        """Run the job, and return what ended it."""
        steady = asyncio.get_running_loop().call_later(STEADY_S, self._well) if self._failures else None
        try:
            await self.job.work()
        except Exception as error:  # noqa: BLE001 - whatever it is, it must not end the daemon
            return error
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            return JobEndedError(f"{self.job.name} was cancelled by itself")
        finally:
            if steady is not None:
                steady.cancel()
        return JobEndedError(f"{self.job.name} ended by itself")

    def _well(self) -> None:
        self._on_change(self.job.name, "")
        log.info("a background job is well again", job=self.job.name)

    async def _pause(self, error: Exception) -> None:
        why = f"{type(error).__name__}: {error}"
        pause_s = RESTARTS.pause_ms(self._failures) / 1000
        log.error(
            "a background job failed; it is started again",
            job=self.job.name,
            after_s=pause_s,
            failures=self._failures,
            why=why,
            exc_info=error if self._failures == 1 else None,  # once is enough to find it
        )
        self._on_change(self.job.name, why)
        await self._sleep(pause_s)
