"""The two tables: the page shows them, they lead every life to its end, and they keep their promises."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cfm.model import OrderStatus, Status
from cfm.tasks.lifecycle import (
    AFTER_RESTART,
    ORDER_EDGES,
    ORDER_LIFE,
    STATUS_OF,
    TASK_EDGES,
    TASK_LIFE,
    UNCUT,
    IllegalChangeError,
    OrderEvent,
    TaskEvent,
    TaskState,
    is_final,
    next_order_status,
    next_task_state,
)
from life_pages import explained, meanings

PAGE = Path(__file__).parents[2] / "docs" / "task-and-order-life.md"
State = TypeVar("State", bound=StrEnum)
Event = TypeVar("Event", bound=StrEnum)


def explained_states() -> str:
    meaning = meanings(TaskState)
    rows = (f"| {state} | {STATUS_OF[state]} | {meaning[state]} |" for state in TaskState)
    return "\n".join(("| state | stored as | meaning |", "|---|---|---|", *rows))


def changes(life: Mapping[State, Mapping[Event, State]]) -> str:
    rows = (
        f"| {state} | {event} | {then} |"
        for state, row in life.items()
        for event, then in row.items()
        if then is not state
    )
    return "\n".join(("| state | event | next state |", "|---|---|---|", *rows))


def stays(life: Mapping[State, Mapping[Event, State]]) -> str:
    known = ((state, [event for event, then in row.items() if then is state]) for state, row in life.items())
    rows = (f"| {state} | {', '.join(events)} |" for state, events in known if events)
    return "\n".join(("| state | events |", "|---|---|", *rows))


@pytest.mark.parametrize(
    "part",
    [
        explained_states(),
        explained(TaskEvent, "event"),
        changes(TASK_LIFE),
        stays(TASK_LIFE),
        explained(OrderEvent, "event"),
        changes(ORDER_LIFE),
        stays(ORDER_LIFE),
    ],
    ids=[
        "states of a task",
        "events of a task",
        "changes of a task",
        "what changes no task",
        "events of an order",
        "changes of an order",
        "what changes no order",
    ],
)
def test_the_page_is_the_tables(part: str) -> None:
    assert part in PAGE.read_text()


# ── what is stored ──────────────────────────────────────────────────────────────────────────────────────

STORED_TASK = {
    "ready": "working done failed timed_out cancelled",
    "working": "done failed timed_out cancelled",
    "done": "",
    "failed": "",
    "timed_out": "",
    "cancelled": "",
}
STORED_ORDER = {
    "ordered": "sent dropped",
    "sent": "confirmed unknown",
    "unknown": "confirmed dropped",
    "confirmed": "",
    "dropped": "",
}

S = TypeVar("S", Status, OrderStatus)


def spelled(edges: Mapping[S, frozenset[S]]) -> dict[str, set[str]]:
    return {str(old): {str(new) for new in news} for old, news in edges.items()}


def test_the_stored_states_change_in_this_way() -> None:
    assert spelled(TASK_EDGES) == {old: set(news.split()) for old, news in STORED_TASK.items()}
    assert spelled(ORDER_EDGES) == {old: set(news.split()) for old, news in STORED_ORDER.items()}


def test_a_restart_forgets_only_what_is_not_stored() -> None:
    assert STATUS_OF.keys() == set(TaskState)
    assert AFTER_RESTART.keys() == set(Status)
    assert all(STATUS_OF[state] is status for status, state in AFTER_RESTART.items())


# ── the tables as wholes ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("state", TaskState)
@pytest.mark.parametrize("event", TaskEvent)
def test_an_event_that_a_task_does_not_know_is_an_error(state: TaskState, event: TaskEvent) -> None:
    if event in TASK_LIFE[state]:
        assert next_task_state(state, event) is TASK_LIFE[state][event]
    else:
        with pytest.raises(IllegalChangeError, match=f"a task that is {state} knows no event"):
            next_task_state(state, event)


@pytest.mark.parametrize("status", OrderStatus)
@pytest.mark.parametrize("event", OrderEvent)
def test_an_event_that_an_order_does_not_know_is_an_error(status: OrderStatus, event: OrderEvent) -> None:
    if event in ORDER_LIFE[status]:
        assert next_order_status(status, event) is ORDER_LIFE[status][event]
    else:
        with pytest.raises(IllegalChangeError, match=f"an order that is {status} knows no event"):
            next_order_status(status, event)


def reached_from(life: Mapping[State, Mapping[Event, State]], state: State) -> set[State]:
    """All states that may come after `state`, itself included."""
    found, new = {state}, [state]
    while new:
        more = set(life[new.pop()].values()) - found
        found |= more
        new += more
    return found


OVER = {TaskState.DONE, TaskState.DISPROVED, TaskState.FAILED, TaskState.TIMED_OUT, TaskState.CANCELLED}
SETTLED = {OrderStatus.CONFIRMED, OrderStatus.DROPPED}


def test_every_state_is_reached_and_leads_to_an_end() -> None:
    assert reached_from(TASK_LIFE, TaskState.READY) == TASK_LIFE.keys() == set(TaskState)
    assert reached_from(ORDER_LIFE, OrderStatus.ORDERED) == ORDER_LIFE.keys() == set(OrderStatus)
    assert all(OVER & reached_from(TASK_LIFE, state) for state in TaskState)
    assert all(SETTLED & reached_from(ORDER_LIFE, status) for status in OrderStatus)
    assert all(reached_from(TASK_LIFE, state) == {state} for state in OVER)
    assert all(reached_from(ORDER_LIFE, status) == {status} for status in SETTLED)


def test_no_event_is_without_a_row() -> None:
    assert {event for row in TASK_LIFE.values() for event in row} == set(TaskEvent)
    assert {event for row in ORDER_LIFE.values() for event in row} == set(OrderEvent)


def ways(state: TaskState, before: tuple[TaskState, ...] = ()) -> Iterator[tuple[TaskState, ...]]:
    """Every way from `state` to an end that comes to no state twice."""
    here = (*before, state)
    if state in OVER:
        yield here
    for then in set(TASK_LIFE[state].values()) - set(here):
        yield from ways(then, here)


def test_what_the_table_promises_on_every_way() -> None:
    for way in ways(TaskState.READY):
        if UNCUT & set(way):
            assert way[-3] is TaskState.COPYING, "only a source that was sending must be told to stop"
        if TaskState.UNPROVEN in way:
            assert way[-1] in (TaskState.DONE, TaskState.DISPROVED)
        assert len({STATUS_OF[s] for s in way if is_final(TASK_EDGES, STATUS_OF[s])}) == 1, "it ends once"


@given(st.lists(st.sampled_from(TaskEvent), max_size=20))
def test_a_task_ends_once_whatever_happens(events: list[TaskEvent]) -> None:
    life = [TaskState.READY]
    for event in events:
        if event in TASK_LIFE[life[-1]]:
            life.append(next_task_state(life[-1], event))
    statuses = [STATUS_OF[state] for state in life]
    ends = {status for status in statuses if is_final(TASK_EDGES, status)}
    assert len(ends) <= 1
    assert not ends or statuses[-1] in ends


def test_what_was_sent_is_never_dropped_without_a_look() -> None:
    """A lost answer may hide that it was carried out."""
    assert OrderStatus.DROPPED not in ORDER_LIFE[OrderStatus.SENT].values()
    assert OrderStatus.SENT not in ORDER_LIFE[OrderStatus.UNKNOWN].values()


def test_an_unfinished_task_knows_all_that_others_may_tell_of_it() -> None:
    """Workers, lists and operators decide what is told, and when: an event without a row would end cfm."""
    told = {
        TaskEvent.VERIFIED, TaskEvent.CALLED_DONE, TaskEvent.REPORTED_FAILED, TaskEvent.REPORTED_TIMEOUT,
        TaskEvent.SOURCE_BUSY, TaskEvent.WORKER_RESTARTED, TaskEvent.TIMED_OUT, TaskEvent.CANCELLED,
    }  # fmt: skip
    taken = told | {TaskEvent.PROGRESSED, TaskEvent.ALL_RECEIVED, TaskEvent.LISTED}
    assert told <= TASK_LIFE[TaskState.READY].keys()
    assert taken <= TASK_LIFE[TaskState.COPYING].keys()
    assert taken <= TASK_LIFE[TaskState.RECEIVED].keys()
