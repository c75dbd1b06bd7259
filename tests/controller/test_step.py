"""What of an event waits until it is durable, and what does not."""

from __future__ import annotations

import pytest

from cfm.controller.decide import events as ev
from cfm.controller.decide.step import Outbox, Step
from cfm.model import Addr, DeleteKind, DeleteOrder, File, OrderStatus, Status
from cfm.tasks.store import DropTask, PutEvent
from cfm.wire import TaskReport
from controller.node import Node, files

ADDR = Addr("127.0.2.1:8888")
ORDER = DeleteOrder(1, OrderStatus.SENT, 0, 0, File("F.mpg", 1, 1), ADDR, DeleteKind.SURPLUS, "surplus")
QUESTION, LINE = ev.AskDisk(ADDR), ev.Say("it happened")
ANSWER, LEASE = ev.Reply(1, 200), ev.Reply(2, 200, promises_nothing=True)
DELETE, CUT = ev.SendDelete(ORDER, 9), ev.CutStream(ADDR, 1)


@pytest.mark.parametrize(
    ("effect", "waits_with_changes", "waits_without"),
    [
        (QUESTION, False, False),
        (LINE, True, False),
        (LEASE, True, False),
        (ANSWER, True, True),
        (DELETE, True, True),
        (CUT, True, True),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, bool) else "",
)
def test_who_waits(effect: ev.Effect, waits_with_changes: bool, waits_without: bool) -> None:
    with_changes = Outbox([DropTask(1)], [effect]).take(0)
    assert [effect] == list(with_changes.after_commit if waits_with_changes else with_changes.at_once)
    without = Outbox([], [effect]).take(0)
    assert [effect] == list(without.after_commit if waits_without else without.at_once)


def test_the_order_is_kept_and_the_box_is_empty_afterwards() -> None:
    box = Outbox([], [ANSWER, QUESTION, LINE, DELETE])
    assert box.take(7) == Step(
        [QUESTION, LINE], [PutEvent(0, 7, "it happened", "info", {})], [ANSWER, DELETE]
    )
    assert box.take(7) == Step((), [], ())


def test_a_lease_goes_on_while_a_done_waits_to_be_written() -> None:
    node = Node(files(1), sources=1, destinations=1, transfer_ms=60_000)
    node.grade()
    node.run(5_000)
    (task,) = node.core.state.tasks.active.values()

    def told(report: TaskReport) -> Step:
        return node.core.handle(ev.TaskReported(node.request(), task.id, report), node.now)

    progress = told(TaskReport(Status.WORKING, done_bytes=50))
    assert [type(effect) for effect in progress.at_once] == [ev.Reply]
    done = told(TaskReport(Status.DONE, received=True, verified=True))
    assert any(isinstance(effect, ev.Reply) for effect in done.after_commit)
    assert done.changes


def test_nobody_waits_for_a_commit_to_hear_that_there_is_no_task() -> None:
    node = Node([], sources=1, destinations=1)
    node.run(100)
    asked = node.core.handle(ev.NextAsked(77, node.destinations[0], node.now_ms + 10), node.now)
    node.now_ms += 10
    answered = node.core.handle(ev.Tick(), node.now)
    replies = [
        effect for step in (asked, answered) for effect in step.at_once if isinstance(effect, ev.Reply)
    ]
    assert ev.Reply(77, 204, promises_nothing=True) in replies
