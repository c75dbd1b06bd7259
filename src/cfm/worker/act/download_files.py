"""The files of running downloads: begun, made visible, removed.

The executor and the running transfers call this, and the shelf does the work, in threads: a disk may hang.
Temporary files that an earlier run of the worker left behind are litter.  They take room, so they are removed
as soon as the disk allows: `decide.litter` says when, and each download looks before it begins.  The
simulator runs the same code, without threads and without a log.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

import structlog

from cfm.threads import ThreadPool
from cfm.wire import TaskOffer
from cfm.worker.act.base_dir import TempFile
from cfm.worker.act.shelf import DeclinedError, Shelf
from cfm.worker.decide.shelf_rules import Receipt

R = TypeVar("R")

DISK_S: Final = 300.0
"""How long the disk may take to begin, publish or remove a file."""


@dataclass(frozen=True, slots=True)
class ReservedPlace:
    """The place on the shelf where a transfer puts its bytes."""

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


class DiskThreads(Protocol):
    """What is needed of `threads.ThreadPool`."""

    async def run(
        self, timeout_s: float | None, work: Callable[[], R], dispose: Callable[[R], None] | None = None
    ) -> R: ...

    def close(self) -> None: ...


class FilesLog(Protocol):
    """Who is told of litter, as a logger of structlog is."""

    def info(self, event: str, **facts: Any) -> Any: ...

    def warning(self, event: str, **facts: Any) -> Any: ...


def disk_threads(slots: int) -> ThreadPool:
    """The threads for the files of so many downloads at a time."""
    return ThreadPool("base_dir", 1 + 2 * slots)


class DownloadFiles:
    """What the downloads of one worker have on its disk."""

    def __init__(self, shelf: Shelf, threads: DiskThreads, log: FilesLog | None = None) -> None:
        self._shelf = shelf
        self._threads = threads
        self._log = log or structlog.get_logger(__name__)
        self._receipts: dict[int, Receipt] = {}
        self._litter = 1
        """How many reasons there are to look for litter.  The first is an earlier run of the worker."""
        self._cannot_clean = ""
        """Why the last search for litter failed."""

    async def begin(self, offer: TaskOffer) -> ReservedPlace:
        """Reserve a place.  `DeclinedError` or `OSError`, where there is none."""
        await self.clean()
        receipt = await self._on_disk(
            lambda: self._shelf.begin(offer.file_name, offer.id, offer.size_bytes), self._shelf.abandon
        )
        self._receipts[offer.id] = receipt
        return ReservedPlace(self._shelf, receipt)

    async def publish(self, task_id: int, *, verified: bool) -> str | None:
        """Make the file durable and visible.  Returns why that failed; None where it did not."""
        receipt = self._receipts[task_id]
        try:
            await self._on_disk(lambda: self._shelf.publish(receipt, verified=verified))
        except (DeclinedError, OSError) as error:
            return str(error)
        del self._receipts[task_id]
        return None

    async def abandon(self, offer: TaskOffer) -> bool:
        """Give the place back, and remove what was received.  True where that stays: it is litter now."""
        receipt = self._receipts.pop(offer.id, None)
        if receipt is None:
            return False
        try:
            await self._on_disk(lambda: self._shelf.abandon(receipt))
        except OSError as error:
            self._litter += 1
            file, why = offer.file_name, str(error)
            self._log.warning("cannot remove a temporary file yet; will try again", file=file, why=why)
            return True
        return False

    async def clean(self) -> bool:
        """Remove litter, if there may be any.  True where there may be some still: the disk is not there."""
        before = self._litter
        if not before:
            return False
        try:
            removed = await self._on_disk(self._shelf.clean)
        except OSError as error:
            if str(error) != self._cannot_clean:  # logged once: it is tried again every few seconds
                self._log.warning("cannot look for unfinished downloads", why=str(error))
            self._cannot_clean = str(error)
            return True
        self._litter, self._cannot_clean = max(0, self._litter - before), ""
        if removed:
            self._log.info("removed unfinished downloads", files=removed)
        return False

    def close(self) -> None:
        self._threads.close()

    async def _on_disk(self, work: Callable[[], R], dispose: Callable[[R], None] | None = None) -> R:
        return await self._threads.run(DISK_S, work, dispose)
