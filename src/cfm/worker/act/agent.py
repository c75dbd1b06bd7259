"""Runs the book of downloads: carries its instructions out, and brings their results back as events.

`decide.downloads` decides.  Here are the clock, the event loop, the state and the link to cfm; the transfers
are in `running_transfers`, and their files in `download_files`.  Instructions are carried out in their order:
`Hold` and `Conclude` are durable before the next instruction begins.  What takes its time runs beside, and
ends in an event.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Final, Protocol

import structlog

from cfm.errors import StateError
from cfm.wire import TaskOffer, TaskReport
from cfm.worker.act.download_files import DownloadFiles
from cfm.worker.act.running_transfers import RunningTransfers
from cfm.worker.act.shelf import DeclinedError
from cfm.worker.act.state import WorkerState
from cfm.worker.act.transfers.contract import FileTransfer
from cfm.worker.decide.download_events import (
    Abandon,
    Abandoned,
    Ask,
    AskNext,
    BookEvent,
    BytesReceived,
    Conclude,
    DownloadTick,
    Forget,
    HeldDurably,
    Hold,
    Instruction,
    NotHeld,
    NothingOffered,
    Progress,
    Publish,
    Published,
    ReportAnswered,
    Restarted,
    SendReport,
    StartTransfer,
    Stopping,
    StopTransfer,
    TaskOffered,
    TransferEnded,
)
from cfm.worker.decide.downloads import DownloadBook
from cfm.worker.decide.offers import failure

log = structlog.get_logger(__name__)

CLEAN_EVERY_S: Final = 5.0
"""How often the worker looks for litter again while the disk is not there."""
LAST_WORDS_S: Final = 3.0
"""How long the end of the program waits for transfers to stop, and for cfm to hear of it."""


class Link(Protocol):
    """What the agent needs of `link.CfmLink`."""

    async def ask(self, how: Ask, holding: frozenset[int]) -> TaskOffered | NothingOffered: ...

    async def report(self, offer: TaskOffer, report: TaskReport) -> int | None: ...


@dataclass(slots=True)
class DownloadCounts:
    """What this worker fetched since its start."""

    done: int = 0
    failed: int = 0
    stopped: int = 0
    received_bytes: int = 0


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
        *,
        clean_every_s: float = CLEAN_EVERY_S,
    ) -> None:
        self.counts = DownloadCounts()
        self._book = book
        self._link = link
        self._files = files
        self._state = state
        self._clean_every_s = clean_every_s
        self._events: asyncio.Queue[BookEvent | BaseException] = asyncio.Queue()
        self._transfers = RunningTransfers(transfer, files, self._transfer_tells)
        self._beside: set[asyncio.Task[None]] = set()

    @property
    def book(self) -> DownloadBook:
        """To be read only: which tasks are held, and their states."""
        return self._book

    async def run(self) -> None:
        try:
            self._transfers.prepare()
            await self._files.clean()
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
            await self._files.clean()
            return DownloadTick()
        if isinstance(event, BaseException):
            raise event
        return event

    def _until_due_s(self) -> float | None:
        wake_ms = self._book.wake_at_ms()
        due_s = None if wake_ms is None else max(0, wake_ms - monotonic_ms()) / 1_000
        if not self._files.may_have_litter:
            return due_s
        return self._clean_every_s if due_s is None else min(self._clean_every_s, due_s)

    async def _act(self, event: BookEvent) -> None:
        outcome: HeldDurably | NotHeld | None = None
        for instruction in self._book.handle(event, monotonic_ms()):
            if isinstance(instruction, Hold):
                outcome = await self._hold(instruction.offer)
            else:
                await self._carry_out(instruction)
        if outcome is not None:
            await self._act(outcome)

    # --- instructions out

    async def _carry_out(self, instruction: Instruction) -> None:
        match instruction:
            case AskNext():
                self._run_beside(self._ask(instruction))
            case SendReport():
                self._run_beside(self._send(instruction))
            case Conclude():
                await self._conclude(instruction)
            case Forget():
                self._run_beside(self._forget(instruction.task_id))
            case StartTransfer():
                self._transfers.start(instruction.offer)
            case StopTransfer():
                self.counts.stopped += 1
                self._transfers.stop(instruction.offer.id, instruction.why)
            case Publish():
                self._run_beside(self._publish(instruction))
            case Abandon():
                self._run_beside(self._abandon(instruction.offer))

    async def _hold(self, offer: TaskOffer) -> HeldDurably | NotHeld:
        try:
            await self._state.hold(offer)
        except StateError as error:
            log.error("cannot take a task", task=offer.id, file=offer.file_name, why=str(error))  # noqa: TRY400
            return NotHeld(offer.id)
        log.debug("took a task", task=offer.id, file=offer.file_name, source=offer.source)
        return HeldDurably(offer.id)

    async def _conclude(self, instruction: Conclude) -> None:
        try:
            await self._state.conclude(instruction.offer, instruction.final)
        except StateError as error:
            # It is reported all the same.  Only a restart before cfm's answer would report another end.
            log.error("cannot write down how a task ended", task=instruction.offer.id, why=str(error))  # noqa: TRY400
        self._log_end(instruction.offer, instruction.final)

    async def _forget(self, task_id: int) -> None:
        try:
            await self._state.forget(task_id)
        except StateError as error:
            log.warning("cannot forget a task yet", task=task_id, why=str(error))

    async def _ask(self, instruction: AskNext) -> None:
        self._events.put_nowait(await self._link.ask(instruction.how, instruction.holding))

    async def _send(self, instruction: SendReport) -> None:
        offer, report = instruction.offer, instruction.report
        sent_ms = monotonic_ms()
        status = await self._link.report(offer, report)
        self._events.put_nowait(ReportAnswered(offer.id, report, status, sent_ms))

    async def _publish(self, instruction: Publish) -> None:
        task_id = instruction.offer.id
        failed: TaskReport | None = None
        try:
            await self._files.publish(task_id, verified=instruction.verified)
        except (DeclinedError, OSError) as error:
            failed = failure(str(error))
        self._events.put_nowait(Published(task_id, failed))

    async def _abandon(self, offer: TaskOffer) -> None:
        await self._files.abandon(offer)
        self._events.put_nowait(Abandoned(offer.id))

    def _transfer_tells(self, event: Progress | BytesReceived | TransferEnded) -> None:
        if isinstance(event, TransferEnded) and event.failed is None:
            self.counts.received_bytes += event.size_bytes
        self._events.put_nowait(event)

    def _log_end(self, offer: TaskOffer, final: TaskReport) -> None:
        facts = {"task": offer.id, "file": offer.file_name, "source": offer.source, "rank": offer.rank}
        if not final.error:
            self.counts.done += 1
            log.info("received file", size_bytes=offer.size_bytes, **facts)
        else:
            self.counts.failed += 1
            log.warning("did not receive file", why=final.error, **facts)

    # --- beside

    def _run_beside(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._beside.add(task)
        task.add_done_callback(self._came_back)

    def _came_back(self, task: asyncio.Task[None]) -> None:
        """What runs beside ends in an event.  Where it raises, that is a bug, and `run` raises it again."""
        self._beside.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._events.put_nowait(error)

    async def _wind_down(self) -> None:
        """Stop the transfers, remove what they received, and tell cfm if it answers."""
        try:
            async with asyncio.timeout(LAST_WORDS_S):
                await self._act(Stopping())
                while not self._book.quiet:
                    await self._act(await self._next_event())
        except TimeoutError:
            log.warning("cfm has not heard yet how all tasks ended; the next start reports the rest")
        for task in self._beside:
            task.cancel()
        await asyncio.gather(*self._beside, return_exceptions=True)
        await self._transfers.close()
        self._files.close()
