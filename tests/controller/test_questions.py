"""The table of questions: whom each effect asks for what, and what an answer means."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

import pytest

from cfm.controller.decide import events as ev
from cfm.controller.decide import questions
from cfm.model import Addr, DeleteKind, DeleteOrder, Failure, File, Now, OnSan, OrderStatus, Trouble, Unknown
from cfm.plan.shortlist import NOTHING_LISTED, PlanInputs

ADDR = Addr("127.0.2.1:8888")
ORDER = DeleteOrder(7, OrderStatus.SENT, 0, 0, File("F.mpg", 1, 1), ADDR, DeleteKind.SURPLUS, "surplus")
INPUTS = PlanInputs("s", {}, frozenset(), {}, frozenset(), {}, (), frozenset(), None, 0)
ASKED, ANSWERED = Now(1_000, 0), Now(1_250, 0)
BUG = Failure(Trouble.BROKEN, "KeyError: 'x'")
SILENCE = Failure(Trouble.TIMEOUT, "no answer")


class Noting:
    """It notes what it is asked for."""

    def heartbeat(self, addr: Addr) -> tuple[object, ...]:
        return "heartbeat", addr

    def list_files(self, addr: Addr, fence: int | None, source_folder: str) -> tuple[object, ...]:
        return "list", addr, fence, source_folder

    def disk_usage(self, addr: Addr) -> tuple[object, ...]:
        return "df", addr

    def see_copy(self, addr: Addr, name: str) -> tuple[object, ...]:
        return "copy", addr, name

    def delete(
        self, addr: Addr, order_id: int, name: str, *, probe: str, within_s: float
    ) -> tuple[object, ...]:
        return "delete", addr, order_id, name, probe, within_s

    def cut_stream(self, addr: Addr, task_id: int) -> tuple[object, ...]:
        return "cut", addr, task_id

    def stat_files(self, sizes: Mapping[str, int]) -> tuple[object, ...]:
        return "san", dict(sizes)

    def seek_names(self, names: frozenset[str]) -> tuple[object, ...]:
        return "seek", names

    def reduce(self, inputs: PlanInputs) -> tuple[object, ...]:
        return "plan", inputs.snapshot_id


CASES: list[tuple[ev.Effect, tuple[object, ...], Any, ev.Event]] = [
    (ev.SendHeartbeat(ADDR), ("heartbeat", ADDR), SILENCE, ev.HeartbeatAnswer(ADDR, SILENCE)),
    (ev.AskList(ADDR, 5, "/san"), ("list", ADDR, 5, "/san"), SILENCE, ev.ListAnswer(ADDR, 1_000, SILENCE, 5)),
    (ev.AskDisk(ADDR), ("df", ADDR), SILENCE, ev.DiskAnswer(ADDR, 1_000, SILENCE)),
    (ev.AskCopy(ADDR, "F"), ("copy", ADDR, "F"), SILENCE, ev.CopyAnswer(ADDR, "F", 1_000, SILENCE)),
    (ev.SendDelete(ORDER, 3_000, "p"), ("delete", ADDR, 7, "F.mpg", "p", 2.0), 200, ev.DeleteAnswer(7, 200)),
    (ev.CutStream(ADDR, 9), ("cut", ADDR, 9), True, ev.CutAnswer(9, cut=True)),
    (ev.CutStream(ADDR, 9), ("cut", ADDR, 9), SILENCE, ev.CutAnswer(9, cut=False)),
    (
        ev.AskSan({"F": 1}),
        ("san", {"F": 1}),
        {"F": OnSan("/san/F", 1)},
        ev.SanAnswers(1_000, {"F": OnSan("/san/F", 1)}),
    ),
    (
        ev.SeekNames(frozenset({"p"})),
        ("seek", frozenset({"p"})),
        {"/san": {"p": "/san"}},
        ev.NamesSought(frozenset({"p"}), 1_000, {"/san": {"p": "/san"}}),
    ),
    (ev.StartPlan(INPUTS), ("plan", "s"), NOTHING_LISTED, ev.PlanReady(NOTHING_LISTED, 250)),
]


@pytest.mark.parametrize(("effect", "asks", "answer", "event"), CASES)
def test_what_is_asked_and_what_the_answer_means(
    effect: ev.Effect, asks: tuple[object, ...], answer: Any, event: ev.Event
) -> None:
    assert questions.ask(Noting(), effect, ASKED) == asks
    assert questions.understood(effect, answer, ASKED, ANSWERED) == event


@pytest.mark.parametrize(
    ("effect", "event"),
    [
        (ev.SendHeartbeat(ADDR), ev.HeartbeatAnswer(ADDR, BUG)),
        (ev.AskList(ADDR), ev.ListAnswer(ADDR, 1_000, BUG)),
        (ev.AskDisk(ADDR), ev.DiskAnswer(ADDR, 1_000, BUG)),
        (ev.AskCopy(ADDR, "F"), ev.CopyAnswer(ADDR, "F", 1_000, BUG)),
        (ev.SendDelete(ORDER, 3_000), ev.DeleteAnswer(7, BUG)),
        (ev.CutStream(ADDR, 9), ev.CutAnswer(9, cut=False)),
        (ev.AskSan({"F": 1}), ev.SanAnswers(1_000, {"F": Unknown("KeyError: 'x'", 1_000)})),
        (ev.SeekNames(frozenset({"p"})), ev.NamesSought(frozenset({"p"}), 1_000, {})),
        (ev.StartPlan(INPUTS), ev.PlanFailed("KeyError: 'x'", 250)),
    ],
)
def test_a_question_that_fails_by_an_error_of_ours_tells_nothing(effect: ev.Effect, event: ev.Event) -> None:
    assert questions.broken(effect, "KeyError: 'x'", ASKED, ANSWERED) == event


def test_every_effect_that_is_carried_to_somebody_has_a_row() -> None:
    carried = {kind for kind in get_args(ev.Effect) if kind not in (ev.Reply, ev.Say)}
    assert carried == questions.QUESTIONS.keys()


@pytest.mark.parametrize(("before_ms", "late"), [(999, True), (1_000, True), (1_001, False)])
def test_a_delete_is_not_sent_when_what_confirmed_it_is_too_old(before_ms: int, late: bool) -> None:
    event = questions.too_late(ev.SendDelete(ORDER, before_ms), ASKED)
    assert event == (ev.DeleteAnswer(7, ev.LATE) if late else None)
    assert questions.too_late(ev.AskDisk(ADDR), ASKED) is None
