"""What a way to transfer is: one `fetch`, which brings one file's bytes to one temporary file, or fails.

Each implementation is a file beside this one and a row of the table in the package; the same conformance
check runs on all of them.  A transfer decides nothing about tasks and makes nothing visible: `agent` starts
and cancels it, the shelf publishes what it brought.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from cfm.errors import CfmError
from cfm.wire import TaskOffer
from cfm.worker.act.base_dir import TempFile


@dataclass(frozen=True, slots=True)
class Received:
    """All bytes are in the temporary file, and durable."""

    size_bytes: int
    digest: bytes | None
    """The xxh3_128 that the source confirmed; None where only the size is known to be right."""


class TransferError(CfmError):
    """The file did not come; the text says why.  What was written is left to the caller to drop."""

    def __init__(self, error: str, retry_after_s: int | None = None) -> None:
        super().__init__(error)
        self.error = error
        self.retry_after_s = retry_after_s


class Landing(Protocol):
    """Where the bytes go.  The calls block and raise `OSError`; a transfer makes them in a thread."""

    @property
    def path(self) -> str:
        """The temporary file's full path, for a program of its own."""

    def create(self) -> TempFile:
        """A new, empty temporary file."""

    def reopen(self) -> TempFile:
        """The temporary file as another program left it; never through a link."""

    def has_room_for(self, size_bytes: int) -> bool:
        """Asked where the size was not known before the source said it."""


class Watch(Protocol):
    """Who wants to know how it goes; called in the event loop."""

    def moved(self, total_bytes: int) -> None: ...

    def received(self) -> None:
        """All bytes are here: the source has nothing more to send."""


class Transfer(Protocol):
    def prepare(self) -> None:
        """Make ready what takes its time, so that the next `fetch` begins at once."""

    async def fetch(self, offer: TaskOffer, landing: Landing, watch: Watch) -> Received:
        """Bring the file, or raise `TransferError`.  When it returns, raises, or was cancelled, nothing of
        it is running any more."""

    async def close(self) -> None:
        """End what was prepared for further transfers."""
