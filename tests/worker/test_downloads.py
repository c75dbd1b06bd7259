"""The book of downloads: each rule by an example, and what must always hold by random lives."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cfm.model import Addr, Status
from cfm.wire import TaskOffer, TaskReport
from cfm.worker.decide.download_events import (
    Abandon,
    Abandoned,
    Ask,
    AskNext,
    AskOutcome,
    BookEvent,
    BytesReceived,
    CfmSpoke,
    Clean,
    Cleaned,
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
from cfm.worker.decide.download_life import DownloadState
from cfm.worker.decide.downloads import CLAIM_MS, MAX_HELD, DownloadBook
from cfm.worker.decide.offers import HeldTask, Neighbourhood, failure

I = TypeVar("I")  # noqa: E741 - an instruction

HERE = Neighbourhood(Addr("10.0.2.1:8888"), Addr("10.0.0.1:8080"))
WORKING = TaskReport(Status.WORKING, done_bytes=0)
DONE = TaskReport(Status.DONE, verified=True)


def offer(task_id: int = 1, lease_s: int | None = 60, name: str = "A.mpg") -> TaskOffer:
    return TaskOffer(
        id=task_id,
        status=Status.READY,
        file_name=name,
        path=f"/data2/{name}",
        source=Addr("10.0.1.1:8888"),
        destination=HERE.own,
        copy_speed_bps=10_000_000,
        size_bytes=1000,
        lease_s=lease_s,
    )


@dataclass
class Life:
    """A book, a clock, and what it ordered since it was last asked."""

    book: DownloadBook = field(default_factory=lambda: DownloadBook(HERE))
    now_ms: int = 1_000_000
    orders: list[Instruction] = field(default_factory=list)

    def hear(self, *events: BookEvent) -> list[Instruction]:
        self.orders = [order for event in events for order in self.book.handle(event, self.now_ms)]
        return self.orders

    def wait(self, ms: int) -> list[Instruction]:
        self.now_ms += ms
        return self.hear(DownloadTick())

    def answer(self, status: int | None, report: TaskReport = WORKING, task_id: int = 1) -> list[Instruction]:
        return self.hear(ReportAnswered(task_id, report, status, self.now_ms))

    def the(self, kind: type[I]) -> I:
        (found,) = (order for order in self.orders if isinstance(order, kind))
        return found

    def kinds(self) -> list[str]:
        return [type(order).__name__ for order in self.orders]


def begun(**how: int | None) -> Life:
    """A life in which task 1 was offered; its claim is under way."""
    life = Life()
    life.hear(Restarted())
    life.hear(TaskOffered(offer(**how)))  # type: ignore[arg-type]  # keywords of `offer`
    life.hear(HeldDurably(1))
    return life


def copying(**how: int | None) -> Life:
    life = begun(**how)
    life.answer(200)
    return life


def unheard() -> Life:
    """A life whose copy is done.  Nobody has answered its reports, and it makes long pauses."""
    life = copying()
    life.hear(TransferEnded(1, 1000, verified=True), Published(1))
    for _ in range(6):
        life.answer(None, DONE)
        life.wait(60_000)
    life.answer(None, DONE)
    return life


# --- the way of a task


def test_asks_for_work_when_it_starts_and_waits_for_it_when_it_has_heard_from_cfm() -> None:
    life = Life()
    assert life.hear(Restarted()) == [Clean(), AskNext(Ask.NOW, frozenset())]
    life.hear(NothingOffered(AskOutcome.DOWN))
    assert life.wait(100) == [AskNext(Ask.NOW, frozenset())]
    life.hear(NothingOffered(AskOutcome.EMPTY))
    assert life.wait(250) == [AskNext(Ask.WAIT, frozenset())]
    life.hear(NothingOffered(AskOutcome.DOWN))
    assert life.wait(100) == [AskNext(Ask.WAIT, frozenset())]


def test_holds_a_task_before_it_says_so() -> None:
    life = Life()
    life.hear(Restarted())
    assert life.hear(TaskOffered(offer())) == [Hold(offer())]
    assert life.wait(1_000) == []
    assert life.hear(HeldDurably(1)) == [SendReport(offer(), WORKING)]


def test_a_whole_life() -> None:
    life = begun()
    assert life.answer(200) == [StartTransfer(offer())]
    life.hear(Progress(1, 500))
    life.wait(1_000)
    assert life.the(SendReport).report == TaskReport(Status.WORKING, done_bytes=500)
    life.answer(200, life.the(SendReport).report)
    life.hear(Progress(1, 1000), BytesReceived(1))
    assert life.orders == [
        SendReport(offer(), TaskReport(Status.WORKING, done_bytes=1000, received=True)),
        AskNext(Ask.WAIT, frozenset({1})),
    ]
    life.answer(200, life.the(SendReport).report)
    assert life.hear(TransferEnded(1, 1000, verified=True)) == [Publish(offer(), verified=True)]
    assert life.hear(Published(1)) == [Conclude(offer(), DONE), SendReport(offer(), DONE)]
    assert life.answer(200, DONE) == [Forget(1)]


def test_all_here_is_told_at_once_even_while_another_report_is_under_way() -> None:
    life = copying()
    life.wait(1_000)
    before = life.the(SendReport).report
    life.hear(BytesReceived(1))
    assert life.kinds() == ["AskNext"]
    assert life.answer(200, before) == [SendReport(offer(), TaskReport(Status.WORKING, 0, received=True))]


def test_no_more_under_way_than_the_setting_says() -> None:
    life = Life(DownloadBook(HERE, slots=2))
    life.hear(Restarted())
    life.hear(TaskOffered(offer(1)))
    assert AskNext(Ask.WAIT, frozenset({1})) in life.orders
    life.hear(TaskOffered(offer(2)))
    assert "AskNext" not in life.kinds()
    assert life.book.under_way == 2


def test_a_copy_that_is_only_made_durable_does_not_hold_up_the_next_one() -> None:
    life = copying()
    life.hear(BytesReceived(1))
    assert life.the(AskNext).holding == {1}
    life.hear(TaskOffered(offer(2, name="B.mpg")), HeldDurably(2))
    assert life.answer(200, task_id=2) == [StartTransfer(offer(2, name="B.mpg"))]
    life.hear(BytesReceived(2))
    assert "AskNext" not in life.kinds(), "they do not pile up where the disk is slow"
    life.hear(TransferEnded(1, 1000, verified=True), Published(1))
    assert life.the(AskNext).holding == {1, 2}


# --- offers that are ours by our question


TAKEN = replace(offer(), status=Status.WORKING)


def taken() -> Life:
    """A life in which task 1 was offered as ours; it is being written down."""
    life = Life()
    life.hear(Restarted())
    life.hear(TaskOffered(TAKEN))
    return life


def test_what_asking_took_begins_when_it_is_held_and_waits_for_no_answer() -> None:
    life = taken()
    assert life.orders == [Hold(TAKEN)]
    assert life.hear(HeldDurably(1)) == [StartTransfer(TAKEN), SendReport(TAKEN, WORKING)]
    assert life.answer(200) == []
    assert life.wait(1_000) == [SendReport(TAKEN, WORKING)]


def test_what_cfm_took_back_meanwhile_is_stopped_by_the_first_answer() -> None:
    life = taken()
    life.hear(HeldDurably(1))
    life.answer(409)
    assert life.kinds() == ["StopTransfer"]


def test_the_lease_of_what_asking_took_counts_from_the_question() -> None:
    """The answer may have been long under way, and its task may have gone to others."""
    life = Life()
    life.hear(Restarted())
    life.now_ms += 60_000
    life.hear(TaskOffered(TAKEN))
    assert "StartTransfer" not in [type(order).__name__ for order in life.orders + life.hear(HeldDurably(1))]
    assert life.book.states() == {1: DownloadState.REPORTING}


def test_what_was_held_too_late_does_not_begin() -> None:
    life = taken()
    life.now_ms += 60_000
    life.hear(HeldDurably(1))
    assert life.kinds()[0] == "Conclude"
    assert "StartTransfer" not in life.kinds()


def test_what_asking_took_and_cannot_be_held_is_told_as_failed() -> None:
    life = taken()
    life.hear(NotHeld(1))
    assert life.kinds() == ["Conclude", "SendReport"]
    assert life.the(SendReport).report.status is Status.FAILED


def test_to_be_held_is_not_enough_where_cfm_waits_for_a_word() -> None:
    life = begun()
    assert life.kinds() == ["SendReport"]
    assert life.answer(200) == [StartTransfer(offer())]


def test_an_old_cfm_s_list_takes_nothing() -> None:
    life = Life()
    life.hear(Restarted())
    life.hear(TaskOffered(replace(TAKEN, lease_s=None)), HeldDurably(1))
    assert "StartTransfer" not in life.kinds()


# --- refusals


@pytest.mark.parametrize("status", [400, 404, 409, 204, 302])
def test_a_refused_claim_is_forgotten_and_nothing_is_copied(status: int) -> None:
    life = begun()
    assert life.answer(status) == [Forget(1)]
    assert "AskNext" in [type(order).__name__ for order in life.wait(200)]


def test_refused_claims_do_not_go_round_in_circles() -> None:
    life = begun()
    pauses = []
    for _ in range(8):
        life.answer(409)
        due = life.book.wake_at_ms()
        assert due is not None
        pauses.append(due - life.now_ms)
        life.now_ms = due
        life.hear(DownloadTick())
        life.hear(TaskOffered(offer()), HeldDurably(1))
    assert pauses == [200, 400, 800, 1600, 3200, 5000, 5000, 5000]


@pytest.mark.parametrize(
    "bad",
    [
        replace(offer(), file_name="../escape.txt", path="/data2/../escape.txt"),
        replace(offer(), source=Addr("169.254.169.254:8888")),
        replace(offer(), source=Addr("127.0.0.1:8888")),
        replace(offer(), size_bytes=0),
    ],
)
def test_what_must_not_begin_is_told_as_failed(bad: TaskOffer) -> None:
    life = Life()
    life.hear(Restarted())
    life.hear(TaskOffered(bad))
    assert life.kinds() == ["Conclude", "SendReport", "AskNext"]
    report = life.the(SendReport).report
    assert report.status is Status.FAILED
    assert report.error.startswith("refused: ")


def test_a_task_of_another_worker_is_left_alone() -> None:
    life = Life()
    life.hear(Restarted())
    assert life.hear(TaskOffered(replace(offer(), destination=Addr("10.0.2.2:8888")))) == []


def test_what_cannot_be_held_is_not_taken() -> None:
    life = Life()
    life.hear(Restarted())
    life.hear(TaskOffered(offer()))
    assert life.hear(NotHeld(1)) == []
    assert life.book.states() == {}


@pytest.mark.parametrize("status", [404, 409])
def test_a_task_that_cfm_ended_is_stopped_and_forgotten(status: int) -> None:
    life = copying()
    life.wait(1_000)
    life.answer(status, life.the(SendReport).report)
    assert life.orders == [StopTransfer(offer(), "cfm ended the task")]
    assert life.hear(TransferEnded(1, failed=failure("stopped"))) == [Abandon(offer())]
    assert life.hear(Abandoned(1)) == [Forget(1), AskNext(Ask.WAIT, frozenset())]


def test_a_task_that_cfm_ended_is_not_reported_on_while_it_becomes_visible() -> None:
    """What is being made visible is let through; until then there is nothing more to say about it."""
    life = copying()
    life.hear(TransferEnded(1, 1000, verified=True))
    life.wait(1_000)
    assert life.answer(409, life.the(SendReport).report) == []
    assert life.wait(60_000) == []
    life.hear(Published(1))
    assert life.the(SendReport).report == DONE


def test_a_copy_whose_checksum_nobody_compared_is_not_called_verified() -> None:
    """An external downloader tells none.  cfm then believes the next file list."""
    life = copying()
    life.hear(TransferEnded(1, 1000, verified=False))
    assert life.the(Publish) == Publish(offer(), verified=False)
    life.hear(Published(1))
    assert life.the(SendReport).report == TaskReport(Status.DONE)


# --- failures


def test_a_failed_copy_is_put_away_and_then_told() -> None:
    life = copying()
    busy = failure("busy", 7)
    assert life.hear(TransferEnded(1, failed=busy)) == [Abandon(offer())]
    assert life.hear(Abandoned(1))[:2] == [Conclude(offer(), busy), SendReport(offer(), busy)]


def test_a_copy_that_cannot_be_made_visible_failed() -> None:
    life = copying()
    life.hear(TransferEnded(1, 1000, verified=True))
    assert life.hear(Published(1, failure("EIO"))) == [Abandon(offer())]


def test_a_final_report_is_repeated_until_it_is_answered() -> None:
    life = copying()
    life.hear(TransferEnded(1, 1000, verified=True), Published(1))
    pauses = []
    for status in (None, 500, 503, None, 502, None, None):
        life.answer(status, DONE)
        due = life.book.wake_at_ms()
        assert due is not None
        pauses.append(due - life.now_ms)
        life.wait(pauses[-1])
        assert life.the(SendReport).report == DONE
    assert pauses == [500, 1000, 2000, 4000, 8000, 10_000, 10_000]
    assert life.answer(404, DONE) == [Forget(1)]


def test_the_first_sign_of_cfm_brings_repeats_forward() -> None:
    life = unheard()
    life.hear(NothingOffered(AskOutcome.EMPTY))
    assert life.the(SendReport).report == DONE


def test_a_claim_that_nobody_answers_is_given_up() -> None:
    life = begun()
    life.answer(None)
    life.wait(500)
    assert life.the(SendReport).report == WORKING
    life.wait(CLAIM_MS)
    assert life.the(Conclude).final.status is Status.FAILED
    life.answer(None)
    assert life.the(SendReport).report.status is Status.FAILED


# --- leases


def test_without_an_acknowledged_report_the_transfer_ends_with_its_lease() -> None:
    life = copying(lease_s=60)
    for _ in range(59):
        life.wait(1_000)
        if "SendReport" in life.kinds():
            life.answer(None, life.the(SendReport).report)
    assert "StopTransfer" not in life.kinds()
    life.wait(1_000)
    assert life.the(StopTransfer).why == "the lease ended without an answer from cfm"
    life.hear(TransferEnded(1, failed=failure("stopped")))
    life.hear(Abandoned(1))
    assert life.the(Conclude).final.status is Status.FAILED


def test_a_lease_counts_from_when_the_report_was_sent() -> None:
    life = copying(lease_s=60)
    life.wait(1_000)
    report, sent_ms = life.the(SendReport).report, life.now_ms
    life.now_ms += 50_000
    life.hear(ReportAnswered(1, report, 200, sent_ms))
    life.now_ms = sent_ms + 59_999
    assert "StopTransfer" not in [type(order).__name__ for order in life.hear(DownloadTick())]
    life.now_ms = sent_ms + 60_000
    life.hear(DownloadTick())
    assert life.kinds() == ["StopTransfer"]


def test_an_old_cfm_s_task_has_no_lease_and_no_progress() -> None:
    life = copying(lease_s=None)
    assert life.wait(3_600_000) == []
    life.hear(BytesReceived(1))
    assert life.orders == []
    life.hear(TransferEnded(1, 1000, verified=True), Published(1))
    assert life.the(SendReport).report.status is Status.DONE


# --- asking


def test_an_old_cfm_is_polled_and_asked_again_now_and_then() -> None:
    life = Life(DownloadBook(HERE, poll_ms=5_000))
    life.hear(Restarted())
    assert life.hear(NothingOffered(AskOutcome.OLD)) == [AskNext(Ask.LIST, frozenset())]
    for _ in range(11):
        assert life.hear(NothingOffered(AskOutcome.EMPTY)) == []
        assert life.wait(5_000) == [AskNext(Ask.LIST, frozenset())]
    life.hear(NothingOffered(AskOutcome.EMPTY))
    assert life.wait(5_000) == [AskNext(Ask.WAIT, frozenset())]
    assert life.hear(NothingOffered(AskOutcome.OLD)) == [AskNext(Ask.LIST, frozenset())]


def test_an_upgraded_cfm_is_noticed_by_its_list() -> None:
    life = Life()
    life.hear(Restarted())
    life.hear(NothingOffered(AskOutcome.OLD))
    assert life.hear(NothingOffered(AskOutcome.NEW)) == [AskNext(Ask.WAIT, frozenset())]


def test_a_cfm_that_is_down_is_tried_again_soon_and_ever_so() -> None:
    life = Life()
    life.hear(Restarted())
    pauses = []
    for _ in range(8):
        life.hear(NothingOffered(AskOutcome.DOWN))
        due = life.book.wake_at_ms()
        assert due is not None
        pauses.append(due - life.now_ms)
        life.wait(pauses[-1])
        assert life.the(AskNext).how is Ask.NOW
    assert pauses == [100, 200, 400, 800, 1600, 2000, 2000, 2000]


def test_a_cfm_that_speaks_is_asked_at_once() -> None:
    """A worker that was there first must not refuse the deletes of a cfm that has just started."""
    life = Life()
    life.hear(Restarted())
    for pause in (100, 200, 400, 800):
        life.hear(NothingOffered(AskOutcome.DOWN))
        life.wait(pause)
    life.hear(NothingOffered(AskOutcome.DOWN))
    assert life.hear(CfmSpoke()) == []
    assert life.wait(100) == [AskNext(Ask.NOW, frozenset())]


def test_a_cfm_that_speaks_and_does_not_answer_is_not_asked_in_a_rush() -> None:
    life = Life()
    life.hear(Restarted())
    asked = 0
    for _ in range(1_000):
        life.now_ms += 10
        if life.hear(CfmSpoke()):
            assert life.orders == [AskNext(Ask.NOW, frozenset())]
            asked += 1
            life.hear(NothingOffered(AskOutcome.DOWN))
    assert asked <= 10 * 10 + 1


def test_a_cfm_that_speaks_hears_at_once_how_a_task_ended() -> None:
    life = unheard()
    assert life.wait(200) == []
    assert life.hear(CfmSpoke()) == [SendReport(offer(), DONE)]


def test_empty_answers_are_not_asked_for_in_a_rush() -> None:
    life = Life()
    life.hear(Restarted())
    assert life.hear(NothingOffered(AskOutcome.EMPTY)) == []
    assert life.book.wake_at_ms() == life.now_ms + 250
    life.wait(250)
    life.now_ms += 25_000
    assert life.hear(NothingOffered(AskOutcome.EMPTY)) == [AskNext(Ask.WAIT, frozenset())]


def test_litter_is_looked_for_until_there_is_none() -> None:
    life = Life()
    life.hear(Restarted())
    assert "Clean" in life.kinds()
    assert "Clean" not in [type(order).__name__ for order in life.wait(60_000)], "one look at a time"
    life.hear(Cleaned(left=True))
    assert "Clean" not in life.kinds()
    life.wait(4_999)
    assert "Clean" not in life.kinds()
    life.wait(1)
    assert "Clean" in life.kinds()
    life.hear(Cleaned())
    life.wait(600_000)
    assert "Clean" not in life.kinds()


def test_a_file_that_cannot_be_removed_is_litter() -> None:
    life = copying()
    life.hear(TransferEnded(1, failed=failure("EIO")))
    life.hear(Cleaned())
    life.hear(Abandoned(1, left=True))
    life.wait(4_999)
    assert "Clean" not in life.kinds()
    life.wait(1)
    assert "Clean" in life.kinds()


def test_what_becomes_litter_during_a_look_is_looked_for_again() -> None:
    life = copying()
    life.hear(TransferEnded(1, failed=failure("EIO")), Abandoned(1, left=True), Cleaned())
    life.wait(5_000)
    assert "Clean" in life.kinds()


def test_a_worker_that_ends_looks_for_nothing() -> None:
    life = Life()
    life.hear(Restarted())
    life.hear(Stopping(), Cleaned(left=True))
    life.wait(60_000)
    assert "Clean" not in life.kinds()
    assert life.book.wake_at_ms() is None


def test_no_more_is_asked_for_while_too_many_reports_wait() -> None:
    life = Life()
    held = tuple(HeldTask(offer(number), DONE) for number in range(1, MAX_HELD + 1))
    life.hear(Restarted(held))
    assert life.kinds() == ["SendReport"] * MAX_HELD + ["Clean"]
    assert life.hear(ReportAnswered(1, DONE, 200, life.now_ms))[-1] == AskNext(
        Ask.NOW, frozenset(range(2, MAX_HELD + 1))
    )


# --- the worker's own end


def test_a_restart_fails_what_was_held_and_repeats_what_was_not_answered() -> None:
    life = Life()
    life.hear(Restarted((HeldTask(offer(1)), HeldTask(offer(2), DONE))))
    assert life.orders == [Abandon(offer(1)), SendReport(offer(2), DONE), Clean()]
    life.hear(Abandoned(1))
    assert life.the(Conclude).final == failure("the worker was restarted")


def test_a_stop_ends_transfers_and_takes_no_more() -> None:
    life = copying()
    assert life.hear(Stopping()) == [StopTransfer(offer(), "the worker was stopped")]
    life.hear(TransferEnded(1, failed=failure("stopped")))
    life.hear(Abandoned(1))
    assert life.kinds() == ["Conclude", "SendReport"]
    assert not life.book.quiet
    life.answer(None, life.the(SendReport).report)
    assert life.book.quiet


# --- what must always hold

ANSWERS = st.sampled_from([200, 200, 200, 404, 409, 500, None])


@dataclass
class World:
    """Carries out a book's instructions in a random order and way, and watches the rules."""

    data: st.DataObject
    life: Life
    asked: bool = False
    reports: list[SendReport] = field(default_factory=list)
    running: set[int] = field(default_factory=set)
    all_here: set[int] = field(default_factory=set)
    publishing: set[int] = field(default_factory=set)
    cleaning: set[int] = field(default_factory=set)
    looking: bool = False
    durable: dict[int, TaskReport | None] = field(default_factory=dict)
    claimed: set[int] = field(default_factory=set)
    next_id: int = 1

    def obey(self, orders: list[Instruction]) -> None:
        for order in orders:
            if isinstance(order, Clean):
                assert not self.looking
                self.looking = True
            else:
                self._obey(order)
        assert len(self.running - self.all_here) <= self.life.book.slots
        assert len(self.running) <= 2 * self.life.book.slots
        in_flight = [report.offer.id for report in self.reports]
        assert len(in_flight) == len(set(in_flight))  # one report of a task at a time

    def _obey(self, order: Instruction) -> None:
        match order:
            case AskNext():
                assert not self.asked
                assert order.holding == frozenset(self.life.book.states())
                self.asked = True
            case Hold():
                self.durable[order.offer.id] = None
            case Conclude():
                assert self.durable.get(order.offer.id) is None
                assert order.offer.id not in self.running
                self.durable[order.offer.id] = order.final
            case Forget():
                del self.durable[order.task_id]
                assert order.task_id not in self.running
            case SendReport():
                final = order.report.status is not Status.WORKING
                assert self.durable[order.offer.id] == (order.report if final else None)
                self.reports.append(order)
            case StartTransfer():
                assert order.offer.id in self.claimed
                self.running.add(order.offer.id)
            case StopTransfer():
                assert order.offer.id in self.running
            case Publish():
                self.publishing.add(order.offer.id)
            case Abandon():
                self.cleaning.add(order.offer.id)

    def step(self) -> None:
        choices = ["time"]
        choices += ["ask"] * self.asked + ["report"] * bool(self.reports) + ["move"] * bool(self.running)
        choices += ["end"] * bool(self.running) + ["publish"] * bool(self.publishing)
        choices += ["clean"] * bool(self.cleaning) + ["look"] * self.looking
        getattr(self, f"_{self.data.draw(st.sampled_from(choices))}")()

    def _time(self) -> None:
        self.obey(self.life.wait(self.data.draw(st.sampled_from([0, 10, 1_000, 30_000, 90_000]))))

    def _ask(self) -> None:
        self.asked = False
        if self.data.draw(st.booleans()):
            lease_s = self.data.draw(st.sampled_from([None, 60]))
            status = self.data.draw(st.sampled_from([Status.READY, Status.WORKING]))
            drawn = replace(offer(self.next_id, lease_s, self.data.draw(NAMES)), status=status)
            self._offer(drawn)
        else:
            self.obey(self.life.hear(NothingOffered(self.data.draw(st.sampled_from(AskOutcome)))))

    def _offer(self, drawn: TaskOffer) -> None:
        self.next_id += 1
        if drawn.status is Status.WORKING and drawn.lease_s is not None:
            self.claimed.add(drawn.id)
        self.obey(self.life.hear(TaskOffered(drawn)))
        if self.life.book.states().get(drawn.id) in (DownloadState.OFFERED, DownloadState.ASSIGNED):
            self.obey(self.life.hear(HeldDurably(drawn.id)))

    def _report(self) -> None:
        sent = self.reports.pop(self.data.draw(st.integers(0, len(self.reports) - 1)))
        status = self.data.draw(ANSWERS)
        if status == 200:
            self.claimed.add(sent.offer.id)
        self.obey(self.life.hear(ReportAnswered(sent.offer.id, sent.report, status, self.life.now_ms)))

    def _move(self) -> None:
        task_id = self._one_of(self.running)
        if self.data.draw(st.booleans()):
            self.all_here.add(task_id)
            self.obey(self.life.hear(BytesReceived(task_id)))
        else:
            self.obey(self.life.hear(Progress(task_id, 5)))

    def _end(self) -> None:
        task_id = self._one_of(self.running)
        self.running.discard(task_id)
        failed = self.data.draw(st.sampled_from([None, failure("broken")]))
        self.obey(self.life.hear(TransferEnded(task_id, 1000, verified=True, failed=failed)))

    def _publish(self) -> None:
        task_id = self._one_of(self.publishing)
        self.publishing.discard(task_id)
        self.obey(self.life.hear(Published(task_id, self.data.draw(st.sampled_from([None, failure("EIO")])))))

    def _clean(self) -> None:
        task_id = self._one_of(self.cleaning)
        self.cleaning.discard(task_id)
        self.obey(self.life.hear(Abandoned(task_id, left=self.data.draw(st.booleans()))))

    def _look(self) -> None:
        self.looking = False
        self.obey(self.life.hear(Cleaned(left=self.data.draw(st.booleans()))))

    def _one_of(self, ids: set[int]) -> int:
        return self.data.draw(st.sampled_from(sorted(ids)))


NAMES = st.sampled_from(["A.mpg", "B.mpg", "../escape"])


@given(data=st.data(), slots=st.integers(1, 3), steps=st.integers(1, 60))
def test_in_every_life_the_rules_hold_and_it_comes_to_rest(
    data: st.DataObject, slots: int, steps: int
) -> None:
    world = World(data, Life(DownloadBook(HERE, slots=slots)))
    world.obey(world.life.hear(Restarted()))
    for _ in range(steps):
        world.step()
    world.obey(world.life.hear(Stopping()))
    for _ in range(200):  # now all goes well
        if not world.durable:
            break
        for sent in [world.reports.pop() for _ in list(world.reports)]:
            world.claimed.add(sent.offer.id)
            world.obey(world.life.hear(ReportAnswered(sent.offer.id, sent.report, 200, world.life.now_ms)))
        for task_id in [world.running.pop() for _ in list(world.running)]:
            world.obey(world.life.hear(TransferEnded(task_id, 1000, verified=True)))
        for task_id in [world.publishing.pop() for _ in list(world.publishing)]:
            world.obey(world.life.hear(Published(task_id)))
        for task_id in [world.cleaning.pop() for _ in list(world.cleaning)]:
            world.obey(world.life.hear(Abandoned(task_id)))
        world.obey(world.life.wait(10_000))
    assert world.durable == {}
    assert world.life.book.states() == {}


@given(data=st.data(), steps=st.integers(1, 40))
def test_a_late_tick_changes_nothing_that_an_early_one_would_not(data: st.DataObject, steps: int) -> None:
    """`wake_at_ms` is right: a tick before it orders nothing, one at it orders something."""
    world = World(data, Life(DownloadBook(HERE)))
    world.obey(world.life.hear(Restarted()))
    for _ in range(steps):
        world.step()
    due = world.life.book.wake_at_ms()
    if due is None:
        assert world.life.wait(10**9) == []
    elif due > world.life.now_ms:
        assert world.life.wait(due - world.life.now_ms - 1) == []
        assert world.life.wait(1) != []


def test_states_are_told() -> None:
    assert copying().book.states() == {1: DownloadState.COPYING}
