"""The transfers that run now: each is started, perhaps stopped, and ends in an event.

The executor starts and stops them, and the agent hears of them by `tell`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import structlog

from cfm.wire import TaskOffer, TaskReport
from cfm.worker.act.download_files import DownloadFiles
from cfm.worker.act.shelf import DeclinedError, NoArrivalError
from cfm.worker.act.transfers.contract import FileTransfer, Received, TransferError
from cfm.worker.decide.download_events import BytesReceived, Progress, TransferEnded
from cfm.worker.decide.offers import failure

log = structlog.get_logger(__name__)

Tell: TypeAlias = Callable[[Progress | BytesReceived | TransferEnded], None]


class RunningTransfers:
    """Whatever becomes of a transfer that was started, `tell` hears of its end, once."""

    def __init__(self, transfer: FileTransfer, files: DownloadFiles, tell: Tell) -> None:
        self._transfer = transfer
        self._files = files
        self._tell = tell
        self._running: dict[int, asyncio.Task[Received]] = {}

    def prepare(self) -> None:
        self._transfer.prepare()

    def start(self, offer: TaskOffer) -> None:
        transfer = asyncio.create_task(self._bring(offer))
        self._running[offer.id] = transfer
        transfer.add_done_callback(lambda task: self._ended(offer, task))

    def stop(self, task_id: int, why: str) -> None:
        log.info("stopping a transfer", task=task_id, why=why)
        transfer = self._running.get(task_id)
        if transfer is not None:  # else it has ended by itself, and its end is about to be heard of
            transfer.cancel()

    async def close(self) -> None:
        """Stop everything."""
        transfers = list(self._running.values())
        for transfer in transfers:
            transfer.cancel()
        await asyncio.gather(*transfers, return_exceptions=True)
        await self._transfer.close()

    async def _bring(self, offer: TaskOffer) -> Received:
        """Bring one file, from the reserved place to durable bytes."""
        place = await self._files.begin(offer)
        watch = _TellingWatch(offer.id, self._tell)
        try:
            return await self._transfer.fetch(offer, place, watch)
        finally:
            watch.is_over = True

    def _ended(self, offer: TaskOffer, transfer: asyncio.Task[Received]) -> None:
        del self._running[offer.id]
        error = None if transfer.cancelled() else transfer.exception()
        if transfer.cancelled():
            self._tell(TransferEnded(offer.id, failed=failure("stopped")))
        elif error is None:
            received = transfer.result()
            self._tell(TransferEnded(offer.id, received.size_bytes, verified=received.digest is not None))
        else:
            self._tell(TransferEnded(offer.id, failed=_why(error, offer)))


def _why(error: BaseException, offer: TaskOffer) -> TaskReport:
    """How a transfer's error is reported to cfm."""
    if isinstance(error, TransferError):
        return failure(error.error, error.retry_after_s, own_disk=error.own_disk)
    if isinstance(error, (DeclinedError, OSError)):
        return failure(str(error), own_disk=isinstance(error, (NoArrivalError, OSError)))
    log.error("a transfer failed because of a bug in the worker", file=offer.file_name, exc_info=error)
    return failure("internal error of the worker")


@dataclass(slots=True)
class _TellingWatch:
    """A transfer's watch: what it says becomes events.

    A thread that hangs may go on after its transfer was given up.  What it says then is not heard.
    """

    task_id: int
    tell: Tell
    is_over: bool = False

    def moved(self, total_bytes: int) -> None:
        if not self.is_over:
            self.tell(Progress(self.task_id, total_bytes))

    def received(self) -> None:
        if not self.is_over:
            self.tell(BytesReceived(self.task_id))
