"""What the book of downloads hears (events) and what it orders (instructions), as values.

`downloads` turns one into the other; `agent` is where both meet the world; the simulator has an agent of its
own.  Instructions are carried out strictly in their order.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TypeAlias

from cfm.wire import TaskOffer, TaskReport
from cfm.worker.decide.offers import HeldTask


class Ask(enum.StrEnum):
    """How cfm is asked for work."""

    WAIT = "wait"
    LIST = "list"


class Answer(enum.StrEnum):
    """What asking for work came to, where it did not bring a task."""

    EMPTY = "empty"
    OLD = "old"
    """404: this cfm does not know the waiting request."""
    NEW = "new"
    """A list without work for us, but from a cfm that does know it."""
    REFUSED = "refused"
    """Not the cfm that we belong to, or one that does not know us."""
    DOWN = "down"


# --- events ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Restarted:
    """The first event: what the state remembers of the time before."""

    held: tuple[HeldTask, ...] = ()


@dataclass(frozen=True, slots=True)
class TaskOffered:
    offer: TaskOffer


@dataclass(frozen=True, slots=True)
class NothingOffered:
    answer: Answer


@dataclass(frozen=True, slots=True)
class HeldDurably:
    """What `Hold` asked for was done."""

    task_id: int


@dataclass(frozen=True, slots=True)
class NotHeld:
    """The state could not be written; the task was not taken."""

    task_id: int


@dataclass(frozen=True, slots=True)
class ReportAnswered:
    task_id: int
    report: TaskReport
    status: int | None
    """The HTTP status; None where no answer came."""
    sent_ms: int
    """When the report was sent: a lease counts from there, as cfm cannot have counted from earlier."""


@dataclass(frozen=True, slots=True)
class Progress:
    task_id: int
    bytes: int


@dataclass(frozen=True, slots=True)
class BytesReceived:
    """All bytes are here: the source is free; verifying goes on."""

    task_id: int


@dataclass(frozen=True, slots=True)
class TransferEnded:
    task_id: int
    bytes: int = 0
    verified: bool = False
    """The checksum is the source's, so that the file may replace one of its name."""
    failed: TaskReport | None = None


@dataclass(frozen=True, slots=True)
class Published:
    task_id: int
    failed: TaskReport | None = None


@dataclass(frozen=True, slots=True)
class Abandoned:
    """Nothing of the task is left on the disk."""

    task_id: int


@dataclass(frozen=True, slots=True)
class Tick:
    """Time passed; nothing else happened."""


@dataclass(frozen=True, slots=True)
class Stopping:
    """The worker is about to end: stop all, tell what can be told."""


EventOfTask: TypeAlias = (
    HeldDurably | ReportAnswered | Progress | BytesReceived | TransferEnded | Published | Abandoned
)

Event: TypeAlias = Restarted | TaskOffered | NothingOffered | NotHeld | EventOfTask | Tick | Stopping

# --- instructions ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AskNext:
    how: Ask
    holding: frozenset[int]


@dataclass(frozen=True, slots=True)
class Hold:
    """Durably, before the next instruction."""

    offer: TaskOffer


@dataclass(frozen=True, slots=True)
class Conclude:
    """Durably, before the next instruction."""

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
    """`TransferEnded` says when it has stopped."""

    offer: TaskOffer
    why: str


@dataclass(frozen=True, slots=True)
class Publish:
    offer: TaskOffer
    verified: bool


@dataclass(frozen=True, slots=True)
class Abandon:
    offer: TaskOffer


Instruction: TypeAlias = (
    AskNext | Hold | Conclude | Forget | SendReport | StartTransfer | StopTransfer | Publish | Abandon
)
