"""Runs the book of downloads in the world: carries its instructions out and brings back what came of them.

The deciding is in `downloads`; here are the clock, the tasks of the event loop, the shelf's threads, the
link to cfm and the transfer.  Instructions are carried out in their order: `Hold` and `Conclude` are durable
before the next one begins; what takes its time runs beside, and ends in an event.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

import structlog

from cfm.config import CfwSettings
from cfm.errors import StateError
from cfm.security import NO_KEYS, Keys
from cfm.threads import ThreadPool
from cfm.wire import TaskOffer, TaskReport
from cfm.worker.act.base_dir import TempFile
from cfm.worker.act.shelf import DeclinedError, Receipt, Shelf
from cfm.worker.act.state import WorkerState
from cfm.worker.act.transfers import TransferSettings
from cfm.worker.act.transfers.builtin import BuiltinSettings
from cfm.worker.act.transfers.contract import Received, Transfer, TransferError
from cfm.worker.act.transfers.external import ExternalSettings
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
from cfm.worker.decide.offers import Neighbourhood, failure

log = structlog.get_logger(__name__)

R = TypeVar("R")
LITTER_S = 5.0
"""How often unfinished downloads of an earlier life are looked for again where the disk was not there."""

DISK_S: Final = 300.0
"""How long the disk may take to begin, publish or drop a file."""
LAST_WORDS_S: Final = 3.0
"""How long the end of the program waits for transfers to stop and for cfm to hear of it."""


class Link(Protocol):
    """What the agent needs of `link.CfmLink`."""

    async def ask(self, how: Ask, holding: frozenset[int]) -> TaskOffered | NothingOffered: ...

    async def report(self, offer: TaskOffer, report: TaskReport) -> int | None: ...


@dataclass(slots=True)
class Counts:
    """What this worker fetched since its start."""

    done: int = 0
    failed: int = 0
    stopped: int = 0
    received_bytes: int = 0


def monotonic_ms() -> int:
    return time.monotonic_ns() // 1_000_000


def neighbourhood(settings: CfwSettings) -> Neighbourhood:
    return Neighbourhood(settings.name, settings.cfm_addr)


def transfer_settings(settings: CfwSettings, keys: Keys = NO_KEYS) -> TransferSettings:
    """`cfw.yml` as the transfers want it; the external downloader where one is named."""
    external = None
    if settings.downloader_bin is not None:
        external = ExternalSettings(
            program=settings.downloader_bin,
            success=settings.downloader_download_success_match_string,
            least_timeout_s=settings.downloader_timeout_sec,
        )
    loopback_ok = neighbourhood(settings).on_loopback
    builtin = BuiltinSettings(threads=2 * settings.downloads, loopback_ok=loopback_ok, keys=keys)
    return TransferSettings(builtin, external)


def make_book(settings: CfwSettings) -> DownloadBook:
    return DownloadBook(
        neighbourhood(settings), slots=settings.downloads, poll_ms=settings.downloader_sleep_sec * 1_000
    )


class DownloadAgent:
    """See the module's text.  `run` ends when it is cancelled, with everything stopped and put away."""

    def __init__(
        self, book: DownloadBook, link: Link, transfer: Transfer, shelf: Shelf, state: WorkerState
    ) -> None:
        self.counts = Counts()
        self._book = book
        self._link = link
        self._transfer = transfer
        self._shelf = shelf
        self._state = state
        self._events: asyncio.Queue[BookEvent | BaseException] = asyncio.Queue()
        self._transfers: dict[int, asyncio.Task[Received]] = {}
        self._receipts: dict[int, Receipt] = {}
        self._beside: set[asyncio.Task[None]] = set()
        self._pool = ThreadPool("base_dir", 1 + 2 * book.slots)
        self._litter = True
        """Temporary files of an earlier life may still lie there."""
        self._cannot_clean = ""
        """Why they could not be looked for, the last time."""

    @property
    def book(self) -> DownloadBook:
        """To be read only: what is held, and where it is."""
        return self._book

    async def run(self) -> None:
        try:
            self._transfer.prepare()
            await self._clean()
            memory = await self._state.recall()
            await self._act(Restarted(memory.held))
            while True:
                await self._act(await self._next_event())
        finally:
            await self._wind_down()

    # --- events in

    async def _next_event(self) -> BookEvent:
        """The next that happens, or a tick when something becomes due before."""
        try:
            async with asyncio.timeout(self._until_due_s()):
                event = await self._events.get()
        except TimeoutError:
            await self._clean()
            return DownloadTick()
        if isinstance(event, BaseException):
            raise event
        return event

    def _until_due_s(self) -> float | None:
        wake_ms = self._book.wake_at_ms()
        due_s = None if wake_ms is None else max(0, wake_ms - monotonic_ms()) / 1_000
        if not self._litter:
            return due_s
        return LITTER_S if due_s is None else min(LITTER_S, due_s)

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
                self._start(instruction.offer)
            case StopTransfer():
                self._stop(instruction)
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
            # Told all the same; only a restart before the answer would tell another story.
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

    def _stop(self, instruction: StopTransfer) -> None:
        self.counts.stopped += 1
        log.info("stopping a transfer", task=instruction.offer.id, why=instruction.why)
        transfer = self._transfers.get(instruction.offer.id)
        if transfer is not None:  # else it has ended meanwhile, and its `TransferEnded` waits in the queue
            transfer.cancel()

    def _start(self, offer: TaskOffer) -> None:
        """One transfer, from the reserved place to durable bytes; whatever becomes of it, it *ends*."""
        transfer = asyncio.create_task(self._bring(offer))
        self._transfers[offer.id] = transfer
        transfer.add_done_callback(lambda task: self._ended(offer, task))

    def _ended(self, offer: TaskOffer, transfer: asyncio.Task[Received]) -> None:
        del self._transfers[offer.id]
        error = None if transfer.cancelled() else transfer.exception()
        if transfer.cancelled():
            self._events.put_nowait(TransferEnded(offer.id, failed=failure("stopped")))
        elif error is None:
            received = transfer.result()
            self.counts.received_bytes += received.size_bytes
            verified = received.digest is not None
            self._events.put_nowait(TransferEnded(offer.id, received.size_bytes, verified))
        else:
            self._events.put_nowait(TransferEnded(offer.id, failed=_why(error, offer)))

    async def _bring(self, offer: TaskOffer) -> Received:
        await self._clean()
        receipt = await self._on_disk(
            lambda: self._shelf.begin(offer.file_name, offer.id, offer.size_bytes), self._shelf.abandon
        )
        self._receipts[offer.id] = receipt
        reporter = _Reporter(offer.id, self._events)
        try:
            return await self._transfer.fetch(offer, _Place(self._shelf, receipt), reporter)
        finally:
            reporter.is_over = True

    async def _publish(self, instruction: Publish) -> None:
        task_id = instruction.offer.id
        receipt, verified = self._receipts[task_id], instruction.verified
        failed: TaskReport | None = None
        try:
            await self._on_disk(lambda: self._shelf.publish(receipt, verified=verified))
            del self._receipts[task_id]
        except (DeclinedError, OSError) as error:
            failed = failure(str(error))
        self._events.put_nowait(Published(task_id, failed))

    async def _abandon(self, offer: TaskOffer) -> None:
        receipt = self._receipts.pop(offer.id, None)
        if receipt is not None:
            try:
                await self._on_disk(lambda: self._shelf.abandon(receipt))
            except OSError as error:
                self._litter = True
                log.warning("a temporary file stays for now", file=offer.file_name, why=str(error))
        self._events.put_nowait(Abandoned(offer.id))

    async def _clean(self) -> None:
        """Drop the litter of an earlier life; tried again later where the disk is not there."""
        if not self._litter:
            return
        try:
            dropped = await self._on_disk(self._shelf.clean)
        except OSError as error:
            if str(error) != self._cannot_clean:  # once: it is tried again every few seconds
                log.warning("cannot look for unfinished downloads", why=str(error))
            self._cannot_clean = str(error)
            return
        self._litter, self._cannot_clean = False, ""
        if dropped:
            log.info("dropped unfinished downloads", files=dropped)

    async def _on_disk(self, work: Callable[[], R], dispose: Callable[[R], None] | None = None) -> R:
        return await self._pool.run(DISK_S, work, dispose)

    def _run_beside(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._beside.add(task)
        task.add_done_callback(self._came_back)

    def _came_back(self, task: asyncio.Task[None]) -> None:
        """What runs beside ends in events; if it does not, that is our mistake, and `run` raises it."""
        self._beside.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._events.put_nowait(error)

    def _log_end(self, offer: TaskOffer, final: TaskReport) -> None:
        facts = {"task": offer.id, "file": offer.file_name, "source": offer.source, "rank": offer.rank}
        if not final.error:
            self.counts.done += 1
            log.info("received file", size_bytes=offer.size_bytes, **facts)
        else:
            self.counts.failed += 1
            log.warning("did not receive file", why=final.error, **facts)

    # --- the end

    async def _wind_down(self) -> None:
        """Stop the transfers, put their litter away, and tell cfm, if it listens."""
        try:
            async with asyncio.timeout(LAST_WORDS_S):
                await self._act(Stopping())
                while not self._book.quiet:
                    await self._act(await self._next_event())
        except TimeoutError:
            log.warning("the end came before all was told; the rest is told at the next start")
        tasks: list[asyncio.Task[Any]] = [*self._beside, *self._transfers.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._transfer.close()
        self._pool.close()


def _why(error: BaseException, offer: TaskOffer) -> TaskReport:
    """How a transfer's error is told to cfm."""
    if isinstance(error, TransferError):
        return failure(error.error, error.retry_after_s)
    if isinstance(error, (DeclinedError, OSError)):
        return failure(str(error))
    log.error("a transfer failed by a mistake of ours", file=offer.file_name, exc_info=error)
    return failure("internal error of the worker")


@dataclass(frozen=True, slots=True)
class _Place:
    """A receipt of the shelf, as a transfer sees it."""

    shelf: Shelf
    receipt: Receipt

    @property
    def path(self) -> str:
        return self.receipt.path

    def create(self) -> TempFile:
        return self.shelf.create(self.receipt)

    def reopen(self) -> TempFile:
        return self.shelf.reopen(self.receipt)

    def has_room_for(self, size_bytes: int) -> bool:
        return self.shelf.room_for(size_bytes)


@dataclass(slots=True)
class _Reporter:
    """A transfer's watch: what it says becomes events.

    A thread that hangs may go on after its transfer was given up.  What it says then is not heard.
    """

    task_id: int
    events: asyncio.Queue[BookEvent | BaseException]
    is_over: bool = False

    def moved(self, total_bytes: int) -> None:
        if not self.is_over:
            self.events.put_nowait(Progress(self.task_id, total_bytes))

    def received(self) -> None:
        if not self.is_over:
            self.events.put_nowait(BytesReceived(self.task_id))
