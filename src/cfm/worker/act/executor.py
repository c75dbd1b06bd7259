"""Carries out what the book of downloads orders, and tells the operator how downloads go.

Each call is one instruction.  `decide.execution` says which instruction is which call, and what the outcome
means; `agent` waits for the outcome.  Neighbours: `link` asks cfm, `state` writes down, `download_files` does
what concerns the disk, and `running_transfers` fetches.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import structlog

from cfm.errors import StateError
from cfm.wire import TaskOffer, TaskReport
from cfm.worker.act.download_files import DownloadFiles
from cfm.worker.act.running_transfers import RunningTransfers, Tell
from cfm.worker.act.state import WorkerState
from cfm.worker.act.transfers.contract import FileTransfer
from cfm.worker.decide.cfm_answers import CfmAnswer
from cfm.worker.decide.download_events import Ask, BytesReceived, Progress, TransferEnded

log = structlog.get_logger(__name__)


class Link(Protocol):
    """What is needed of `link.CfmLink`."""

    @property
    def is_bound(self) -> bool: ...

    async def ask(self, how: Ask, holding: frozenset[int]) -> CfmAnswer: ...

    async def report(self, offer: TaskOffer, report: TaskReport) -> CfmAnswer: ...


@dataclass(slots=True)
class DownloadCounts:
    """What this worker fetched since its start."""

    done: int = 0
    failed: int = 0
    stopped: int = 0
    received_bytes: int = 0


class RealExecutor:
    """`tell` hears what transfers say of themselves."""

    def __init__(
        self, link: Link, transfer: FileTransfer, files: DownloadFiles, state: WorkerState, tell: Tell
    ) -> None:
        self.counts = DownloadCounts()
        self._link = link
        self._files = files
        self._state = state
        self._tell = tell
        self._transfers = RunningTransfers(transfer, self._files, self._transfer_tells)

    def prepare(self) -> None:
        self._transfers.prepare()

    async def close(self) -> None:
        """Stop all transfers, and remove nothing more."""
        await self._transfers.close()
        self._files.close()

    # --- cfm

    @property
    def is_bound(self) -> bool:
        return self._link.is_bound

    async def ask_for_work(self, how: Ask, holding: frozenset[int]) -> CfmAnswer:
        return await self._link.ask(how, holding)

    async def report(self, offer: TaskOffer, report: TaskReport) -> CfmAnswer:
        return await self._link.report(offer, report)

    # --- the state

    async def hold(self, offer: TaskOffer) -> str | None:
        try:
            await self._state.hold(offer)
        except StateError as error:
            log.error("cannot take a task", task=offer.id, file=offer.file_name, why=str(error))  # noqa: TRY400
            return str(error)
        log.debug("took a task", task=offer.id, file=offer.file_name, source=offer.source)
        return None

    async def conclude(self, offer: TaskOffer, final: TaskReport) -> None:
        try:
            await self._state.conclude(offer, final)
        except StateError as error:
            log.error("cannot write down how a task ended", task=offer.id, why=str(error))  # noqa: TRY400
        self._log_end(offer, final)

    async def forget(self, task_id: int) -> None:
        try:
            await self._state.forget(task_id)
        except StateError as error:
            log.warning("cannot forget a task yet", task=task_id, why=str(error))

    def _log_end(self, offer: TaskOffer, final: TaskReport) -> None:
        facts = {"task": offer.id, "file": offer.file_name, "source": offer.source, "rank": offer.rank}
        if not final.error:
            self.counts.done += 1
            log.info("received file", size_bytes=offer.size_bytes, **facts)
        else:
            self.counts.failed += 1
            log.warning("did not receive file", why=final.error, **facts)

    # --- the disk and the transfers

    async def publish(self, offer: TaskOffer, *, verified: bool) -> str | None:
        return await self._files.publish(offer.id, verified=verified)

    async def abandon(self, offer: TaskOffer) -> bool:
        return await self._files.abandon(offer)

    async def clean(self) -> bool:
        return await self._files.clean()

    def start_transfer(self, offer: TaskOffer) -> None:
        self._transfers.start(offer)

    def stop_transfer(self, offer: TaskOffer, why: str) -> None:
        self.counts.stopped += 1
        self._transfers.stop(offer.id, why)

    def _transfer_tells(self, event: Progress | BytesReceived | TransferEnded) -> None:
        if isinstance(event, TransferEnded) and event.failed is None:
            self.counts.received_bytes += event.size_bytes
        self._tell(event)
