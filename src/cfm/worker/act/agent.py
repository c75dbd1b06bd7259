"""The worker's shell: it brings events to the book of downloads, and has its instructions carried out.

`decide.downloads` decides, `decide.instruction_queue` keeps the order, and `decide.execution` says what an
instruction and its outcome mean.  Here are only the clock and the event loop.  What has to be durable is
waited for; everything else runs beside, and ends in an event.  Neighbour: `executor` does the work.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any, Final

import structlog

from cfm.worker.act.download_files import DownloadFiles
from cfm.worker.act.executor import DownloadCounts, Link, RealExecutor
from cfm.worker.act.state import WorkerState
from cfm.worker.act.transfers.contract import FileTransfer
from cfm.worker.decide import execution
from cfm.worker.decide.download_events import (
    BookEvent,
    CfmSpoke,
    DownloadTick,
    Instruction,
    Restarted,
    Stopping,
)
from cfm.worker.decide.downloads import DownloadBook
from cfm.worker.decide.instruction_queue import FINISHED_LAST, InstructionQueue

log = structlog.get_logger(__name__)

LAST_WORDS_S: Final = 3.0
"""How long the end of the program waits for transfers to stop, and for cfm to hear of it."""
LAST_WRITE_S: Final = 1.0
"""How much of that a write gets that was under way when the end came.  The state's disk may hang."""


@dataclass(frozen=True, slots=True)
class _Write:
    """An instruction that has to be durable, and is not yet."""

    instruction: Instruction
    began_ms: int
    outcome: asyncio.Future[BookEvent | None]


def monotonic_ms() -> int:
    return time.monotonic_ns() // 1_000_000


class DownloadAgent:
    """One worker's downloads.  `run` goes on until it is cancelled, and then ends everything cleanly."""

    def __init__(
        self,
        book: DownloadBook,
        link: Link,
        transfer: FileTransfer,
        files: DownloadFiles,
        state: WorkerState,
    ) -> None:
        self._book = book
        self._queue = InstructionQueue(book)
        self._state = state
        self._events: asyncio.Queue[BookEvent] = asyncio.Queue()
        self._cfm_spoke = False
        """That cfm spoke is among the events that wait."""
        self._executor = RealExecutor(link, transfer, files, state, self._events.put_nowait)
        self._beside: dict[asyncio.Future[Any], Instruction] = {}
        self._writing: _Write | None = None
        """What has to be durable before anything else happens."""

    @property
    def book(self) -> DownloadBook:
        """To be read only: which tasks are held, and their states."""
        return self._book

    @property
    def counts(self) -> DownloadCounts:
        return self._executor.counts

    def cfm_spoke(self) -> None:
        """A request of our controller has come here.

        Many come while something hangs that has to be durable: one of them waits for it.
        """
        if not self._cfm_spoke:
            self._cfm_spoke = True
            self._events.put_nowait(CfmSpoke())

    async def run(self) -> None:
        try:
            self._executor.prepare()
            memory = await self._state.recall()
            await self._act(Restarted(memory.held))
            while True:
                await self._act(await self._next_event())
        finally:
            await self._wind_down()

    # --- events in

    async def _next_event(self) -> BookEvent:
        """The next event; a tick if something becomes due before one comes."""
        try:
            async with asyncio.timeout(self._until_due_s()):
                event = await self._events.get()
        except TimeoutError:
            return DownloadTick()
        self._cfm_spoke = self._cfm_spoke and not isinstance(event, CfmSpoke)
        return event

    def _until_due_s(self) -> float | None:
        wake_ms = self._book.wake_at_ms()
        return None if wake_ms is None else max(0, wake_ms - monotonic_ms()) / 1_000

    # --- instructions out

    async def _act(self, event: BookEvent) -> None:
        """Let the book handle an event, and carry out what follows."""
        queue = self._queue
        queue.put(event)
        while (instruction := queue.next(monotonic_ms())) is not None:
            began_ms = monotonic_ms()
            work = execution.execute(self._executor, instruction)
            if queue.waits:
                assert work is not None, "what has to be durable takes its time"
                outcome = asyncio.ensure_future(self._outcome(work, instruction, began_ms))
                self._writing = _Write(instruction, began_ms, outcome)
                await self._written()
            elif work is not None:
                self._run_beside(work, instruction, began_ms)

    async def _written(self, within_s: float | None = None) -> None:
        """Wait for the write that is under way.  It goes on where the waiting is cancelled.

        After `within_s` nobody knows what became of it.
        """
        if (writing := self._writing) is None:
            return
        done, _ = await asyncio.wait((writing.outcome,), timeout=within_s)
        self._writing = None
        if done:
            self._queue.written(writing.outcome.result())
        else:
            writing.outcome.cancel()
            self._queue.written(execution.broken(writing.instruction, "it hangs", writing.began_ms))

    def _run_beside(self, work: Awaitable[Any], instruction: Instruction, began_ms: int) -> None:
        running = asyncio.ensure_future(self._outcome(work, instruction, began_ms))
        self._beside[running] = instruction
        running.add_done_callback(self._came_back)

    async def _outcome(
        self, work: Awaitable[Any], instruction: Instruction, began_ms: int
    ) -> BookEvent | None:
        """What an instruction leads to.  An error of ours on the way there does not end the worker."""
        try:
            return execution.event_of(instruction, await work, began_ms)
        except Exception as error:
            log.exception("an instruction of the worker failed", instruction=type(instruction).__name__)
            return execution.broken(instruction, f"{type(error).__name__}: {error}", began_ms)

    def _came_back(self, work: asyncio.Future[BookEvent | None]) -> None:
        """What runs beside ends in an event."""
        del self._beside[work]
        if not work.cancelled() and (event := work.result()) is not None:
            self._events.put_nowait(event)

    async def _wind_down(self) -> None:
        """Stop the transfers, remove what they received, and tell cfm if it answers.

        The end may come at any moment.  What the book has ordered by then is carried out all the same: it
        counts a report that it ordered as sent, and would wait in vain for the answer.
        """
        try:
            async with asyncio.timeout(LAST_WORDS_S):
                await self._written(LAST_WRITE_S)
                await self._act(Stopping())
                while not self._book.quiet:
                    await self._act(await self._next_event())
                await self._finish()
        except TimeoutError:
            log.warning("cfm has not heard yet how all tasks ended; the next start reports the rest")
        running = list(self._beside)
        for work in running:
            work.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await self._executor.close()

    async def _finish(self) -> None:
        """Wait for what the next start relies on."""
        last = [work for work, order in self._beside.items() if isinstance(order, FINISHED_LAST)]
        await asyncio.gather(*last)
