"""Tasks in memory: found by id and by file, on the list for a while, offered once; and when to try again."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from cfm.model import Addr, File, Now, Status, Task
from cfm.tasks.book import SHOWN_MS, Run, TaskBook
from cfm.tasks.lifecycle import (
    AFTER_RESTART,
    STATUS_OF,
    TASK_EDGES,
    TASK_LIFE,
    UNCUT,
    IllegalChangeError,
    TaskEvent,
    TaskState,
    is_final,
)

SOURCE, SOURCE_2 = Addr("127.0.1.1:8888"), Addr("127.0.1.2:8888")
ONE, TWO = Addr("127.0.2.1:8888"), Addr("127.0.2.2:8888")
FILE = File("F.mpg", 1, 100)


def task(task_id: int, name: str = "F.mpg", destination: Addr = ONE) -> Task:
    file = File(name, 1, 100)
    return Task(task_id, Status.READY, 0, 0, file, f"/san/{name}", SOURCE, destination, 1, "")


def at(mono_ms: int) -> Now:
    return Now(mono_ms, 1_700_000_000_000 + mono_ms)


def book(*tasks: Task) -> TaskBook:
    made = TaskBook()
    for each in tasks:
        made.add(each, Run(deadline_ms=1000 * each.id, heard_ms=0))
    return made


def test_an_ended_task_stays_on_the_list_for_ten_minutes() -> None:
    tasks = book(task(1), task(2, "G.mpg"))
    tasks.change(tasks.active[1], TaskEvent.TIMED_OUT, at(5_000), "nobody spoke")
    assert [(t.id, t.status) for t in tasks.shown()] == [(1, Status.TIMED_OUT), (2, Status.READY)]
    ended = tasks.get(1)
    assert ended is not None
    assert (ended.ended_why, ended.changed_s) == ("nobody spoke", 1_700_000_005)
    tasks.forget_old(5_000 + SHOWN_MS - 1)
    assert tasks.get(1)
    tasks.forget_old(5_000 + SHOWN_MS)
    assert not tasks.get(1)


def test_a_worker_is_offered_the_oldest_ready_task_that_it_does_not_hold() -> None:
    tasks = book(task(2, "B"), task(1, "A"), task(3, "C", TWO))
    assert [(t.id if (t := tasks.ready_for(ONE, held)) else None) for held in
            (frozenset[int](), frozenset({1}), frozenset({1, 2}))] == [1, 2, None]  # fmt: skip
    tasks.change(tasks.active[1], TaskEvent.TAKEN, at(1))
    offered = tasks.ready_for(ONE, frozenset())
    assert offered is not None
    assert offered.id == 2


def test_a_source_is_freed_once_and_by_unfinished_tasks_only() -> None:
    tasks = book(task(1))
    tasks.change(tasks.active[1], TaskEvent.TAKEN, at(1))
    assert [t.id for t in tasks.sending()] == [1]
    news = [_is_news(tasks) for _again in range(2)]
    assert news == [True, False]
    assert not tasks.sending()
    done = tasks.change(tasks.active[1], TaskEvent.VERIFIED, at(1))
    assert not tasks.received
    with pytest.raises(IllegalChangeError):
        tasks.change(done, TaskEvent.ALL_RECEIVED, at(2))


def _is_news(tasks: TaskBook) -> bool:
    """Does it count that the source of task 1 is free?"""
    before = tasks.revision.dispatch
    tasks.change(tasks.active[1], TaskEvent.ALL_RECEIVED, at(1))
    return tasks.revision.dispatch > before


def test_a_stream_is_cut_once_however_often_and_late_its_source_says_so() -> None:
    tasks = book(task(1))
    taken = tasks.change(tasks.active[1], TaskEvent.TAKEN, at(1))
    tasks.change(taken, TaskEvent.TIMED_OUT, at(2))
    assert tasks.uncut.keys() == {1}
    tasks.take_off(1)
    assert tasks.uncut.keys() == {1}, "its source may send, whether it is on the list or not"
    assert tasks.ended_ms == {1: 2}, "and it has done so since then"
    before = tasks.revision.dispatch
    for _again in range(2):
        tasks.stream_cut(1, at(3))
    assert tasks.revision.dispatch == before + 1
    assert not tasks.uncut
    assert not tasks.states, "nothing is kept of it"
    assert not tasks.ended_ms


def test_what_a_restart_leaves_of_a_task() -> None:
    tasks = TaskBook()
    for number, status in enumerate(Status, 1):
        found = replace(task(number, f"F{number}"), status=status)
        if is_final(TASK_EDGES, status):
            tasks.recover_ended(found, 77)
        else:
            tasks.add(found, Run(0, 0))
    assert list(tasks.states.values()) == [AFTER_RESTART[status] for status in Status]
    assert [t.status for t in tasks.shown()] == list(Status)
    assert not tasks.uncut
    assert not tasks.unproven


def test_both_ends_of_a_task_find_it() -> None:
    tasks = book(task(1), task(2, "G", TWO))
    assert [t.id for t in tasks.of_server(SOURCE)] == [1, 2]
    assert [t.id for t in tasks.of_server(TWO)] == [2]
    assert not tasks.of_server(SOURCE_2)


def test_deadlines() -> None:
    tasks = book(task(1), task(2, "G"))
    assert [t.id for t in tasks.overdue(1000)] == [1]
    assert not tasks.overdue(999)


class TaskMachine(RuleBasedStateMachine):
    """Whatever happens: only rows of the table are taken, and the indexes agree with the states."""

    def __init__(self) -> None:
        super().__init__()
        self.tasks = TaskBook()
        self.last_id = 0
        self.now_ms = 0
        self.ends: dict[int, Status] = {}
        self.last: dict[int, Task] = {}
        self.off_the_list: set[int] = set()

    @rule(name=st.sampled_from("ABCD"))
    def a_copy_starts(self, name: str) -> None:
        if name not in self.tasks.by_file:
            self.last_id += 1
            self.last[self.last_id] = task(self.last_id, name)
            self.tasks.add(self.last[self.last_id], Run(0, 0))

    @precondition(lambda self: self.tasks.states)
    @rule(data=st.data(), event=st.sampled_from(TaskEvent))
    def something_happens(self, data: st.DataObject, event: TaskEvent) -> None:
        self.now_ms += 1
        number = data.draw(st.sampled_from(sorted(self.tasks.states)))
        before, old = self.tasks.states[number], self.last[number]
        try:
            changed = self.tasks.change(old, event, at(self.now_ms))
        except IllegalChangeError:
            assert event not in TASK_LIFE[before]
            assert self.tasks.states[number] is before
            return
        assert changed.status is STATUS_OF[TASK_LIFE[before][event]]
        self.last[number] = changed
        if is_final(TASK_EDGES, changed.status):
            self.ends.setdefault(number, changed.status)

    @precondition(lambda self: self.tasks.ended)
    @rule(data=st.data())
    def an_ended_task_leaves_the_list(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.tasks.ended)))
        self.tasks.take_off(number)
        self.off_the_list.add(number)

    @invariant()
    def indexes_agree(self) -> None:
        active = self.tasks.active
        assert self.tasks.runs.keys() == active.keys()
        assert {t.id: t for t in self.tasks.by_file.values()} == active
        assert not active.keys() & self.tasks.ended.keys()
        shown = [t.id for t in self.tasks.shown()]
        assert shown == [number for number in range(1, self.last_id + 1) if number not in self.off_the_list]

    @invariant()
    def what_is_found_by_state_follows_from_the_state(self) -> None:
        tasks = self.tasks
        assert tasks.ready == self._in(TaskState.READY)
        assert tasks.received == self._in(TaskState.RECEIVED)
        assert tasks.unproven == self._in(TaskState.UNPROVEN)
        assert tasks.uncut == self._in(*UNCUT)
        assert {t.id: t for t in tasks.sending()} == self._in(TaskState.COPYING)
        kept = {*tasks.active, *tasks.ended, *tasks.uncut, *tasks.unproven}
        assert tasks.states.keys() == kept
        assert tasks.ended_ms.keys() == kept - tasks.active.keys()

    def _in(self, *states: TaskState) -> dict[int, Task]:
        return {number: self.last[number] for number, state in self.tasks.states.items() if state in states}

    @invariant()
    def ends_never_change(self) -> None:
        shown = {number: end for number, end in self.ends.items() if number not in self.off_the_list}
        assert {task_id: ended.status for task_id, ended in self.tasks.ended.items()} == shown


TestTaskMachine = TaskMachine.TestCase
TestTaskMachine.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
