"""The table by which real and simulated workers carry out instructions, and understand the outcome."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import get_args

import pytest

from cfm.model import Addr, Status
from cfm.wire import TaskOffer, TaskReport
from cfm.worker.decide.cfm_answers import NO_ANSWER, NOT_OURS, CfmAnswer
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
    TaskOffered,
)
from cfm.worker.decide.execution import EXECUTION, broken, event_of, execute
from cfm.worker.decide.offers import failure

OFFER = TaskOffer(
    id=7,
    status=Status.READY,
    file_name="A.mpg",
    path="/data2/A.mpg",
    source=Addr("127.0.1.1:8888"),
    destination=Addr("127.0.2.1:8888"),
    copy_speed_bps=0,
    lease_s=60,
)
OF_OLD_CFM = replace(OFFER, lease_s=None)
WORKING = TaskReport(Status.WORKING, done_bytes=5, received=True)
DONE = TaskReport(Status.DONE, verified=True)
NOBODY: frozenset[int] = frozenset()


@dataclass
class NotingExecutor:
    """Notes what it is told to do."""

    is_bound: bool = False
    did: list[tuple[object, ...]] = field(default_factory=list)

    def ask_for_work(self, how: Ask, holding: frozenset[int]) -> str:
        return self._note("ask", how, holding)

    def report(self, offer: TaskOffer, report: TaskReport) -> str:
        return self._note("report", offer.id, report)

    def hold(self, offer: TaskOffer) -> str:
        return self._note("hold", offer.id)

    def conclude(self, offer: TaskOffer, final: TaskReport) -> str:
        return self._note("conclude", offer.id, final)

    def forget(self, task_id: int) -> str:
        return self._note("forget", task_id)

    def publish(self, offer: TaskOffer, *, verified: bool) -> str:
        return self._note("publish", offer.id, verified)

    def abandon(self, offer: TaskOffer) -> str:
        return self._note("abandon", offer.id)

    def clean(self) -> str:
        return self._note("clean")

    def start_transfer(self, offer: TaskOffer) -> None:
        self._note("start", offer.id)

    def stop_transfer(self, offer: TaskOffer, why: str) -> None:
        self._note("stop", offer.id, why)

    def _note(self, *what: object) -> str:
        self.did.append(what)
        return "its outcome is awaited"


def test_every_instruction_has_its_row() -> None:
    assert set(EXECUTION) == set(get_args(Instruction))


@pytest.mark.parametrize(
    ("instruction", "deed"),
    [
        (AskNext(Ask.LIST, frozenset({3})), ("ask", Ask.LIST, frozenset({3}))),
        (SendReport(OFFER, WORKING), ("report", 7, WORKING)),
        (SendReport(OF_OLD_CFM, WORKING), ("report", 7, TaskReport(Status.WORKING))),
        (SendReport(OF_OLD_CFM, failure("x", 3)), ("report", 7, TaskReport(Status.DONE))),
        (Hold(OFFER), ("hold", 7)),
        (Conclude(OFFER, DONE), ("conclude", 7, DONE)),
        (Forget(7), ("forget", 7)),
        (Publish(OFFER, verified=True), ("publish", 7, True)),
        (Abandon(OFFER), ("abandon", 7)),
        (Clean(), ("clean",)),
        (StartTransfer(OFFER), ("start", 7)),
        (StopTransfer(OFFER, "x"), ("stop", 7, "x")),
    ],
)
def test_what_an_instruction_asks_for(instruction: Instruction, deed: tuple[object, ...]) -> None:
    executor = NotingExecutor()
    awaited = execute(executor, instruction)
    assert executor.did == [deed]
    assert (awaited is None) == isinstance(instruction, StartTransfer | StopTransfer)


def test_a_cfm_that_was_upgraded_since_the_offer_hears_all() -> None:
    executor = NotingExecutor(is_bound=True)
    execute(executor, SendReport(OF_OLD_CFM, failure("x", 3)))
    assert executor.did == [("report", 7, failure("x", 3))]


@pytest.mark.parametrize(
    ("instruction", "answer", "event"),
    [
        (Hold(OFFER), None, HeldDurably(7)),
        (Hold(OFFER), "the disk is full", NotHeld(7)),
        (Conclude(OFFER, DONE), None, None),
        (Forget(7), None, None),
        (Publish(OFFER, verified=True), None, Published(7)),
        (Publish(OFFER, verified=True), "no room", Published(7, failure("no room"))),
        (Abandon(OFFER), False, Abandoned(7)),
        (Abandon(OFFER), True, Abandoned(7, left=True)),
        (Clean(), False, Cleaned()),
        (Clean(), True, Cleaned(left=True)),
        (SendReport(OFFER, DONE), CfmAnswer(200), ReportAnswered(7, DONE, 200, 99)),
        (SendReport(OF_OLD_CFM, WORKING), CfmAnswer(404), ReportAnswered(7, WORKING, 404, 99)),
        (SendReport(OFFER, DONE), NO_ANSWER, ReportAnswered(7, DONE, None, 99)),
        (SendReport(OFFER, DONE), NOT_OURS, ReportAnswered(7, DONE, None, 99)),
        (SendReport(OFFER, DONE), CfmAnswer(409, ours=False), ReportAnswered(7, DONE, None, 99)),
    ],
)
def test_what_its_outcome_means(instruction: Instruction, answer: object, event: BookEvent | None) -> None:
    assert event_of(instruction, answer, 99) == event


@pytest.mark.parametrize(
    ("instruction", "event"),
    [
        (AskNext(Ask.WAIT, NOBODY), NothingOffered(AskOutcome.DOWN)),
        (SendReport(OFFER, DONE), ReportAnswered(7, DONE, None, 99)),
        (Hold(OFFER), NotHeld(7)),
        (Publish(OFFER, verified=True), Published(7, failure("KeyError: 'x'"))),
        (Abandon(OFFER), Abandoned(7, left=True)),
        (Clean(), Cleaned(left=True)),
        (Conclude(OFFER, DONE), None),
        (Forget(7), None),
    ],
)
def test_what_an_error_of_ours_means(instruction: Instruction, event: BookEvent | None) -> None:
    assert broken(instruction, "KeyError: 'x'", 99) == event


@pytest.mark.parametrize(
    ("how", "answer", "event"),
    [
        (Ask.WAIT, CfmAnswer(200, offer=OFFER), TaskOffered(OFFER)),
        (Ask.LIST, CfmAnswer(200, offer=OFFER), TaskOffered(OFFER)),
        (Ask.WAIT, CfmAnswer(200, offer=OFFER, ours=False), NothingOffered(AskOutcome.REFUSED)),
        (Ask.WAIT, CfmAnswer(200, readable=False), NothingOffered(AskOutcome.REFUSED)),
        (Ask.LIST, CfmAnswer(200, readable=False), NothingOffered(AskOutcome.REFUSED)),
        (Ask.WAIT, CfmAnswer(204), NothingOffered(AskOutcome.EMPTY)),
        (Ask.LIST, CfmAnswer(200), NothingOffered(AskOutcome.EMPTY)),
        (Ask.LIST, CfmAnswer(200, knows_epochs=True), NothingOffered(AskOutcome.NEW)),
        (Ask.LIST, CfmAnswer(200, knows_epochs=True, offer=OFFER), NothingOffered(AskOutcome.NEW)),
        (Ask.WAIT, CfmAnswer(200, knows_epochs=True, offer=OFFER), TaskOffered(OFFER)),
        (Ask.WAIT, CfmAnswer(404), NothingOffered(AskOutcome.OLD)),
        (Ask.WAIT, CfmAnswer(405), NothingOffered(AskOutcome.OLD)),
        (Ask.LIST, CfmAnswer(404), NothingOffered(AskOutcome.REFUSED)),
        (Ask.LIST, CfmAnswer(204), NothingOffered(AskOutcome.REFUSED)),
        (Ask.WAIT, CfmAnswer(302), NothingOffered(AskOutcome.REFUSED)),
        (Ask.WAIT, CfmAnswer(400), NothingOffered(AskOutcome.REFUSED)),
        (Ask.WAIT, CfmAnswer(503), NothingOffered(AskOutcome.DOWN)),
        (Ask.LIST, CfmAnswer(500), NothingOffered(AskOutcome.DOWN)),
        (Ask.WAIT, NO_ANSWER, NothingOffered(AskOutcome.DOWN)),
        (Ask.LIST, NOT_OURS, NothingOffered(AskOutcome.REFUSED)),
    ],
)
def test_what_cfm_s_answer_brings(how: Ask, answer: CfmAnswer, event: BookEvent) -> None:
    """A question that does not wait is the same request as one that does."""
    for form in (Ask.WAIT, Ask.NOW) if how is Ask.WAIT else (how,):
        assert event_of(AskNext(form, NOBODY), answer, 0) == event
