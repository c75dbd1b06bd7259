"""How an instruction of the book of downloads is carried out, and what comes back as the next event.  Pure.

The table `EXECUTION` is the whole translation.  The agent of the real worker carries instructions out with
HTTP, threads and SQLite, the simulator in virtual time, and both read this table: so both do the same, and
understand the outcome in the same way.  Neighbours: `download_events` has both vocabularies;
`instruction_queue` says what is carried out next; `act.executor` and the simulator are the two executors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

from cfm.wire import TaskOffer, TaskReport
from cfm.worker.decide.cfm_answers import report_status, work_offered
from cfm.worker.decide.download_events import (
    Abandon,
    Abandoned,
    Ask,
    AskNext,
    AskOutcome,
    BookEvent,
    Clean,
    Cleaned,
    Conclude,
    Forget,
    HeldDurably,
    Hold,
    Instruction,
    NotHeld,
    NothingOffered,
    Publish,
    Published,
    ReportAnswered,
    SendReport,
    StartTransfer,
    StopTransfer,
)
from cfm.worker.decide.offers import failure, in_old_words

R_co = TypeVar("R_co", covariant=True)
R = TypeVar("R")


class Executor(Protocol[R_co]):
    """Whoever carries out what the book orders.

    What a call returns is its own affair: an awaitable, or a request on a simulated network.  What this leads
    to in the end is said beside each call.
    """

    @property
    def is_bound(self) -> bool:
        """Does the worker belong to a controller of ours?"""

    def ask_for_work(self, how: Ask, holding: frozenset[int]) -> R_co:
        """Leads to a `CfmAnswer`."""

    def report(self, offer: TaskOffer, report: TaskReport) -> R_co:
        """Leads to a `CfmAnswer`."""

    def hold(self, offer: TaskOffer) -> R_co:
        """Leads to the reason why the task cannot be written down; None where it is durable."""

    def conclude(self, offer: TaskOffer, final: TaskReport) -> R_co:
        """Leads to None.

        What cannot be written down is reported all the same.  Only a restart before cfm's answer would report
        another end.
        """

    def forget(self, task_id: int) -> R_co:
        """Leads to None."""

    def publish(self, offer: TaskOffer, *, verified: bool) -> R_co:
        """Leads to the reason why the file is not durable and visible; None where it is."""

    def abandon(self, offer: TaskOffer) -> R_co:
        """Leads to True where the file could not be removed; else to False."""

    def clean(self) -> R_co:
        """Leads to True where there may be litter still; else to False."""

    def start_transfer(self, offer: TaskOffer) -> None:
        """The transfer itself tells of `Progress`, `BytesReceived` and, once, `TransferEnded`."""

    def stop_transfer(self, offer: TaskOffer, why: str) -> None:
        """Stop it, if it has not ended by itself."""


@dataclass(frozen=True, slots=True)
class ExecutionForm:
    """One row of the table."""

    execute: Callable[[Executor[Any], Any], Any]
    """Takes the executor and the instruction.  None: nothing is to be waited for."""
    event: Callable[[Any, Any, int], BookEvent | None] = lambda _it, _answer, _began_ms: None
    """Takes the instruction, what it led to, and when it began; None where the book need not hear of it."""
    broken: Callable[[Any, str, int], BookEvent | None] = lambda _it, _why, _began_ms: None
    """The same where it ended by an error of ours: nobody knows what it led to."""


EXECUTION: Final[Mapping[type[Instruction], ExecutionForm]] = {
    AskNext: ExecutionForm(
        lambda by, it: by.ask_for_work(it.how, it.holding),
        lambda it, answer, _began_ms: work_offered(it.how, answer),
        lambda _it, _why, _began_ms: NothingOffered(AskOutcome.DOWN),
    ),
    SendReport: ExecutionForm(
        lambda by, it: by.report(it.offer, as_told(it.offer, it.report, is_bound=by.is_bound)),
        lambda it, answer, began_ms: ReportAnswered(it.offer.id, it.report, report_status(answer), began_ms),
        lambda it, _why, began_ms: ReportAnswered(it.offer.id, it.report, None, began_ms),
    ),
    Hold: ExecutionForm(
        lambda by, it: by.hold(it.offer),
        lambda it, why, _began_ms: HeldDurably(it.offer.id) if why is None else NotHeld(it.offer.id),
        lambda it, _why, _began_ms: NotHeld(it.offer.id),
    ),
    Conclude: ExecutionForm(lambda by, it: by.conclude(it.offer, it.final)),
    Forget: ExecutionForm(lambda by, it: by.forget(it.task_id)),
    Publish: ExecutionForm(
        lambda by, it: by.publish(it.offer, verified=it.verified),
        lambda it, why, _began_ms: Published(it.offer.id, None if why is None else failure(why)),
        lambda it, why, _began_ms: Published(it.offer.id, failure(why)),
    ),
    Abandon: ExecutionForm(
        lambda by, it: by.abandon(it.offer),
        lambda it, left, _began_ms: Abandoned(it.offer.id, left),
        lambda it, _why, _began_ms: Abandoned(it.offer.id, left=True),
    ),
    Clean: ExecutionForm(
        lambda by, _it: by.clean(),
        lambda _it, left, _began_ms: Cleaned(left),
        lambda _it, _why, _began_ms: Cleaned(left=True),
    ),
    StartTransfer: ExecutionForm(lambda by, it: by.start_transfer(it.offer)),
    StopTransfer: ExecutionForm(lambda by, it: by.stop_transfer(it.offer, it.why)),
}


def execute(by: Executor[R], instruction: Instruction) -> R | None:
    """Begin to carry out an instruction.  None where it needs no waiting, and leads to no event."""
    begun: R | None = EXECUTION[type(instruction)].execute(by, instruction)
    return begun


def event_of(instruction: Instruction, answer: Any, began_ms: int) -> BookEvent | None:
    """What an instruction led to, as the next event; None where the book need not hear of it."""
    return EXECUTION[type(instruction)].event(instruction, answer, began_ms)


def broken(instruction: Instruction, why: str, began_ms: int) -> BookEvent | None:
    """The next event where an error of ours ended an instruction.  So the book waits for nothing in vain."""
    return EXECUTION[type(instruction)].broken(instruction, why, began_ms)


def as_told(offer: TaskOffer, report: TaskReport, *, is_bound: bool) -> TaskReport:
    """The report as the cfm of this task understands it.

    A worker that belongs to a controller of ours has heard that its cfm was upgraded since the offer.
    """
    return in_old_words(report) if offer.lease_s is None and not is_bound else report
