"""What the book of downloads hears (events), and what it orders (instructions), as values.

`downloads` turns the ones into the others.  `instruction_queue` keeps their order, and `execution` says how
an instruction is carried out and which event comes of it.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TypeAlias

from cfm.wire import TaskOffer, TaskReport
from cfm.worker.decide.offers import HeldTask


class Ask(enum.StrEnum):
    """In which form the worker asks cfm for work."""

    NOW = "now"
    """The waiting request, `GET /tasks/next`, without waiting."""
    WAIT = "wait"
    """The waiting request.  cfm answers when there is work."""
    LIST = "list"
    """The list of an old cfm, `GET /tasks`."""


class AskOutcome(enum.StrEnum):
    """What a question for work came to, where it brought no task."""

    EMPTY = "empty"
    OLD = "old"
    """This cfm does not know the waiting request."""
    NEW = "new"
    """A list without work for us, from a cfm that knows the waiting request."""
    REFUSED = "refused"
    """The answer is not from our cfm, or our cfm does not accept the question."""
    DOWN = "down"


# --- events ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Restarted:
    """The first event: what the worker's state remembers of its last run."""

    held: tuple[HeldTask, ...] = ()


@dataclass(frozen=True, slots=True)
class TaskOffered:
    offer: TaskOffer


@dataclass(frozen=True, slots=True)
class NothingOffered:
    outcome: AskOutcome


@dataclass(frozen=True, slots=True)
class HeldDurably:
    """`Hold` was carried out: the task is written down.

    This event, or `NotHeld`, is the next one that the book hears after it gave `Hold`.
    """

    task_id: int


@dataclass(frozen=True, slots=True)
class NotHeld:
    """`Hold` failed: the worker's state cannot be written."""

    task_id: int


@dataclass(frozen=True, slots=True)
class ReportAnswered:
    task_id: int
    report: TaskReport
    status: int | None
    """The HTTP status; None where no answer came."""
    sent_ms: int
    """When the report was sent.  A lease counts from here, since cfm cannot have counted it from earlier."""


@dataclass(frozen=True, slots=True)
class Progress:
    task_id: int
    done_bytes: int


@dataclass(frozen=True, slots=True)
class BytesReceived:
    """All bytes are here.  The source is free; the transfer still compares checksums."""

    task_id: int


@dataclass(frozen=True, slots=True)
class TransferEnded:
    task_id: int
    size_bytes: int = 0
    verified: bool = False
    """The checksum is the source's.  Such a file may replace one of the same name."""
    failed: TaskReport | None = None
    """None: the file is complete."""


@dataclass(frozen=True, slots=True)
class Published:
    task_id: int
    failed: TaskReport | None = None
    """None: the file is durable and visible."""


@dataclass(frozen=True, slots=True)
class Abandoned:
    """`Abandon` was carried out, as far as the disk allows."""

    task_id: int
    left: bool = False
    """The file could not be removed: it is litter now."""


@dataclass(frozen=True, slots=True)
class Cleaned:
    """`Clean` was carried out, as far as the disk allows."""

    left: bool = False
    """There may be litter still."""


@dataclass(frozen=True, slots=True)
class CfmSpoke:
    """A request of our controller came here: it runs, whatever its silence said."""


@dataclass(frozen=True, slots=True)
class DownloadTick:
    """Time has passed, and nothing else has happened."""


@dataclass(frozen=True, slots=True)
class Stopping:
    """The program is about to end: stop everything, and report what can be reported."""


EventOfTask: TypeAlias = (
    HeldDurably | NotHeld | ReportAnswered | Progress | BytesReceived | TransferEnded | Published | Abandoned
)

BookEvent: TypeAlias = (
    Restarted | TaskOffered | NothingOffered | EventOfTask | Cleaned | CfmSpoke | DownloadTick | Stopping
)

# --- instructions ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AskNext:
    """Ask cfm for work, and name the tasks that the worker holds already."""

    how: Ask
    holding: frozenset[int]


@dataclass(frozen=True, slots=True)
class Hold:
    """Write the task down, durably, before the next instruction."""

    offer: TaskOffer


@dataclass(frozen=True, slots=True)
class Conclude:
    """Write down how the task ended, durably, before the next instruction."""

    offer: TaskOffer
    final: TaskReport


@dataclass(frozen=True, slots=True)
class Forget:
    task_id: int


@dataclass(frozen=True, slots=True)
class SendReport:
    offer: TaskOffer
    report: TaskReport


@dataclass(frozen=True, slots=True)
class StartTransfer:
    offer: TaskOffer


@dataclass(frozen=True, slots=True)
class StopTransfer:
    """Stop the transfer.  `TransferEnded` says when it has stopped."""

    offer: TaskOffer
    why: str


@dataclass(frozen=True, slots=True)
class Publish:
    """Make the file durable and visible."""

    offer: TaskOffer
    verified: bool


@dataclass(frozen=True, slots=True)
class Abandon:
    """Remove what was received."""

    offer: TaskOffer


@dataclass(frozen=True, slots=True)
class Clean:
    """Remove litter: temporary files of which nobody knows any more."""


Instruction: TypeAlias = (
    AskNext | Hold | Conclude | Forget | SendReport | StartTransfer | StopTransfer | Publish | Abandon | Clean
)
