"""What a way to transfer is: one `fetch`, which brings one file's bytes into one temporary file, or fails.

Each way is a file beside this one, and a row of the table in the package.  The same conformance tests run
on all of them.  A transfer decides nothing about tasks, and makes nothing visible: the download agent
starts and cancels it, and the shelf publishes what it brought.
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
    """The file did not come; the text says why.  The caller removes what was written."""

    def __init__(self, error: str, retry_after_s: int | None = None, *, own_disk: bool = False) -> None:
        """`own_disk`: it could not be written here, whatever the source does."""
        super().__init__(error)
        self.error = error
        self.retry_after_s = retry_after_s
        self.own_disk = own_disk


class Landing(Protocol):
    """Where the bytes go.  The calls block and raise `OSError`; a transfer makes them in a thread."""

    @property
    def path(self) -> str:
        """The full path of the temporary file, for an external program."""

    def create(self) -> TempFile:
        """Make a new, empty temporary file."""

    def reopen(self) -> TempFile:
        """Open the temporary file that another program wrote.  A link is never followed."""

    def has_room_for(self, size_bytes: int) -> bool:
        """Is there room?  It is asked where nobody knew the size before the source said it."""


class Watch(Protocol):
    """Who wants to know how the transfer gets on.  Called in the event loop."""

    def moved(self, total_bytes: int) -> None: ...

    def received(self) -> None:
        """All bytes are here: the source has nothing more to send."""


class FileTransfer(Protocol):
    """One way to fetch files."""

    def prepare(self) -> None:
        """Make ready what takes time, so that the next `fetch` begins at once."""

    async def fetch(self, offer: TaskOffer, landing: Landing, watch: Watch) -> Received:
        """Bring the file of an offer that `decide.offers` has no objection to.

        When this returns, raises or was cancelled, nothing of the transfer runs any more.

        Raises:
            TransferError: the file did not come.
        """

    async def close(self) -> None:
        """End what was prepared for further transfers."""
