"""What an old worker shows by its file list and by its questions, and not by its reports."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cfm.controller.decide import events as ev
from cfm.controller.decide import old_workers
from cfm.model import Addr, Now, Status, host_of
from cfm.wire import TaskReport
from controller.node import OLD, Node, files

SECOND_MS = 1000


def copying_node(library: int = 2, destinations: int = 1) -> tuple[Node, Addr]:
    """A node whose old worker has taken a task, and is killed and started again within a heartbeat."""
    node = Node(files(library), sources=1, destinations=destinations, features=OLD, transfer_ms=600_000)
    node.grade()
    node.run(2 * SECOND_MS)
    (task,) = node.core.state.tasks.active.values()
    assert task.status is Status.WORKING
    node.workers[task.destination].receiving.clear()
    return node, task.destination


def ask_for_tasks(node: Node, client: str) -> None:
    node.send(ev.TasksAsked(node.request(), client))


def test_a_restarted_worker_that_asks_for_work_frees_its_source_at_once() -> None:
    node, worker = copying_node()
    for _ in range(3):
        ask_for_tasks(node, host_of(worker))
        node.run(5 * SECOND_MS)
    assert node.says("copy failed")[0].facts["because"] == "its worker called it done, but does not list it"
    assert [name for _, _, name in node.started] == ["F001.mpg", "F002.mpg"]


def test_a_copy_whose_done_was_lost_counts_by_the_worker_s_next_question() -> None:
    node, worker = copying_node()
    node.put(worker, node.library[0])
    for _ in range(2):
        ask_for_tasks(node, host_of(worker))
        node.run(5 * SECOND_MS)
    assert [said.facts["file"] for said in node.says("copied file")] == ["F001.mpg"]
    assert not node.says("copy failed")


def test_a_report_that_no_old_worker_sends_does_not_end_cfm() -> None:
    """Somebody says in its name that all bytes are there, as only a worker of ours does."""
    node, worker = copying_node()
    (task,) = node.core.state.tasks.active.values()
    told = TaskReport(Status.WORKING, 100, received=True)
    node.send(ev.TaskReported(node.request(), task.id, told))
    node.put(worker, node.library[0])
    node.run(61 * SECOND_MS)
    assert [said.facts["file"] for said in node.says("copied file")] == ["F001.mpg"]


def test_a_copy_whose_done_was_lost_counts_by_the_worker_s_next_list() -> None:
    node, worker = copying_node()
    node.put(worker, node.library[0])
    node.run(61 * SECOND_MS)
    assert [said.facts["file"] for said in node.says("copied file")] == ["F001.mpg"]
    assert [name for _, _, name in node.started] == ["F001.mpg", "F002.mpg"]


@pytest.mark.parametrize(
    "client", ["", "127.0.1.1", "127.0.2.9"], ids=["a person", "the source", "a stranger"]
)
def test_questions_of_others_say_nothing(client: str) -> None:
    node, _worker = copying_node()
    for _ in range(5):
        ask_for_tasks(node, client)
        node.run(5 * SECOND_MS)
    assert not node.says("copy failed")


def test_questions_from_the_host_of_a_worker_of_ours_say_nothing() -> None:
    """Some script there watches the task list, while the worker is being started anew."""
    node = Node(files(2), sources=1, destinations=1)
    (worker,) = node.destinations
    node.deafen(worker)
    node.grade()
    node.run(2 * SECOND_MS)
    for _ in range(2 * old_workers.UNTAKEN_POLLS):
        ask_for_tasks(node, host_of(worker))
        node.run(2 * SECOND_MS)
    assert [task.status for task in node.core.state.tasks.active.values()] == [Status.READY]
    assert not node.says("copy failed")


def test_one_question_alone_says_nothing() -> None:
    """A person on that host may have asked."""
    node, worker = copying_node()
    ask_for_tasks(node, host_of(worker))
    node.run(30 * SECOND_MS)
    assert not node.says("copy failed")


def test_of_two_workers_on_one_host_nobody_knows_which_one_asks() -> None:
    node, worker = copying_node()
    state, twin = node.core.state, Addr(f"{host_of(worker)}:9999")
    state.config = replace(state.config, destinations=(*state.config.destinations, twin))
    for later_ms in (0, 5_000, 10_000):
        moment = Now(node.now.mono_ms + later_ms, node.now.wall_ms + later_ms)
        old_workers.asked_for_tasks(state, host_of(worker), moment)
    assert [task.status for task in state.tasks.active.values()] == [Status.WORKING]


def test_a_list_that_was_asked_for_before_the_copy_began_says_nothing() -> None:
    node, worker = copying_node()
    state = node.core.state
    (task,) = state.tasks.active.values()
    names = frozenset({task.file.name})
    old_workers.listed(state, worker, names, 0, node.now)
    assert task.id in state.tasks.active
