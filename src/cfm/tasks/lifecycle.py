"""The life of a task and the life of a delete order, each as a table: (state, event) → state.

Each change of their states is a row of one of these tables and of no other place.  The books turn what they
hear into the next state, and `controller.decide` does what belongs to it.  A test compares the tables with
`docs/task-and-order-life.md`.

An event that a state does not know is a mistake in cfm: it raises `IllegalChangeError` and changes nothing.
Where an event may come late and then means nothing, the state knows it and stays.

A `TaskState` is finer than the `Status` that is stored and that others see; `STATUS_OF` maps it to that.  The
state of a delete order is stored as it is.  Neighbours: `tasks.book` keeps tasks by these rules,
`tasks.orders` keeps delete orders by them.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Final, TypeVar

from cfm.model import OrderStatus, Status


class TaskState(enum.StrEnum):
    READY = "ready"
    """The task waits for its worker to take it."""
    COPYING = "copying"
    """The worker has taken the task. Its source is sending, or is about to."""
    RECEIVED = "received"
    """All bytes have left the source. The source is free, and the worker finishes the file."""
    UNPROVEN = "unproven"
    """The worker calls the copy done, unverified. Its next file list must prove it."""
    FAILED_UNCUT = "failed, uncut"
    """The copy failed. Its source may still be sending, and is told to stop."""
    TIMED_OUT_UNCUT = "timed out, uncut"
    """The copy was given up. Its source may still be sending, and is told to stop."""
    CANCELLED_UNCUT = "cancelled, uncut"
    """The copy was cancelled. Its source may still be sending, and is told to stop."""
    DONE = "done"
    """The copy is there."""
    DISPROVED = "disproved"
    """The worker called the copy done, and no file list proved it. It counts as failed."""
    FAILED = "failed"
    """The copy failed, and nothing of it is being sent."""
    TIMED_OUT = "timed out"
    """The copy was given up, and nothing of it is being sent."""
    CANCELLED = "cancelled"
    """The copy was cancelled, and nothing of it is being sent."""


class TaskEvent(enum.StrEnum):
    TAKEN = "taken"
    """The worker took the task for the first time, by asking for it or by its report."""
    PROGRESSED = "progressed"
    """The worker reported that it goes on."""
    ALL_RECEIVED = "all received"
    """The worker reported that it has all bytes."""
    VERIFIED = "verified"
    """A worker of ours reported that the copy is complete, verified and durable."""
    CALLED_DONE = "called done"
    """The worker reported `done`, and not that it verified the copy; or an old one asked for other work."""
    LISTED = "listed"
    """A file list of the worker, asked for later, names the file."""
    NOT_LISTED = "not listed"
    """Such a list does not name the file, or no list came in time."""
    REPORTED_FAILED = "reported failed"
    """The worker reported that the copy failed."""
    REPORTED_TIMEOUT = "reported timeout"
    """The worker reported the end that the old wire calls a timeout."""
    SOURCE_BUSY = "source busy"
    """The worker reported that the source serves as many as it may."""
    WORKER_RESTARTED = "worker restarted"
    """The program that ran the copy is gone, and a new one answers."""
    TIMED_OUT = "timed out"
    """Nobody reported for too long, nothing moved for too long, or a server is down."""
    CANCELLED = "cancelled"
    """An operator cancelled the task, or the settings name one of its servers no longer."""
    CUT = "cut"
    """The source says that nothing of the task is being sent. A new start of the source says so too."""
    NOT_CUT = "not cut"
    """The source cannot be told to stop, or its answer is not waited for any longer."""


_S, _E = TaskState, TaskEvent

_ENDS_WITHOUT_A_STREAM: Final = {
    _E.VERIFIED: _S.DONE,
    _E.CALLED_DONE: _S.UNPROVEN,
    _E.REPORTED_FAILED: _S.FAILED,
    _E.REPORTED_TIMEOUT: _S.TIMED_OUT,
    _E.SOURCE_BUSY: _S.FAILED,
    _E.WORKER_RESTARTED: _S.FAILED,
    _E.TIMED_OUT: _S.TIMED_OUT,
    _E.CANCELLED: _S.CANCELLED,
}
"""How a task ends while its source sends nothing of it."""

TASK_LIFE: Final[Mapping[TaskState, Mapping[TaskEvent, TaskState]]] = {
    _S.READY: {
        _E.TAKEN: _S.COPYING,
        **_ENDS_WITHOUT_A_STREAM,
    },
    _S.COPYING: {
        _E.ALL_RECEIVED: _S.RECEIVED,
        **_ENDS_WITHOUT_A_STREAM,
        _E.LISTED: _S.DONE,
        _E.SOURCE_BUSY: _S.FAILED_UNCUT,
        _E.WORKER_RESTARTED: _S.FAILED_UNCUT,
        _E.TIMED_OUT: _S.TIMED_OUT_UNCUT,
        _E.CANCELLED: _S.CANCELLED_UNCUT,
        _E.PROGRESSED: _S.COPYING,
    },
    _S.RECEIVED: {
        **_ENDS_WITHOUT_A_STREAM,
        _E.LISTED: _S.DONE,
        _E.PROGRESSED: _S.RECEIVED,
        _E.ALL_RECEIVED: _S.RECEIVED,
    },
    _S.UNPROVEN: {
        _E.LISTED: _S.DONE,
        _E.NOT_LISTED: _S.DISPROVED,
    },
    _S.FAILED_UNCUT: {_E.CUT: _S.FAILED, _E.NOT_CUT: _S.FAILED},
    _S.TIMED_OUT_UNCUT: {_E.CUT: _S.TIMED_OUT, _E.NOT_CUT: _S.TIMED_OUT},
    _S.CANCELLED_UNCUT: {_E.CUT: _S.CANCELLED, _E.NOT_CUT: _S.CANCELLED},
    _S.DONE: {},
    _S.DISPROVED: {},
    _S.FAILED: {},
    _S.TIMED_OUT: {},
    _S.CANCELLED: {},
}

STATUS_OF: Final[Mapping[TaskState, Status]] = {
    _S.READY: Status.READY,
    _S.COPYING: Status.WORKING,
    _S.RECEIVED: Status.WORKING,
    _S.UNPROVEN: Status.DONE,
    _S.FAILED_UNCUT: Status.FAILED,
    _S.TIMED_OUT_UNCUT: Status.TIMED_OUT,
    _S.CANCELLED_UNCUT: Status.CANCELLED,
    _S.DONE: Status.DONE,
    _S.DISPROVED: Status.DONE,
    _S.FAILED: Status.FAILED,
    _S.TIMED_OUT: Status.TIMED_OUT,
    _S.CANCELLED: Status.CANCELLED,
}
"""What is stored of a state.  The old wire shows even less of it (see `wire`)."""

AFTER_RESTART: Final[Mapping[Status, TaskState]] = {
    Status.READY: _S.READY,
    Status.WORKING: _S.COPYING,
    Status.DONE: _S.DONE,
    Status.FAILED: _S.FAILED,
    Status.TIMED_OUT: _S.TIMED_OUT,
    Status.CANCELLED: _S.CANCELLED,
}
"""The state that a task has when cfm starts: a restart forgets what is not stored."""

UNCUT: Final = frozenset({_S.FAILED_UNCUT, _S.TIMED_OUT_UNCUT, _S.CANCELLED_UNCUT})
"""The task has ended, and its source may still be sending."""


class OrderEvent(enum.StrEnum):
    SENT = "sent"
    """All that the order waited for is confirmed, and the order is sent."""
    REVOKED = "revoked"
    """The order was judged once more before it was sent, and something no longer holds."""
    ANSWERED_200 = "answered 200"
    """The server says that the file is gone."""
    UNCLEAR = "unclear"
    """The server gave any other answer, or none."""
    LISTED_GONE = "listed gone"
    """A list of the server, asked for later, does not name the file."""
    LISTED_THERE = "listed there"
    """Such a list still names the file."""
    CFM_RESTARTED = "cfm restarted"
    """cfm was restarted while the order was not over."""
    SERVER_UNKNOWN = "server unknown"
    """The settings name its server no longer, or not as a destination."""


_O, _V = OrderStatus, OrderEvent

ORDER_LIFE: Final[Mapping[OrderStatus, Mapping[OrderEvent, OrderStatus]]] = {
    _O.ORDERED: {
        _V.SENT: _O.SENT,
        _V.REVOKED: _O.DROPPED,
        _V.CFM_RESTARTED: _O.DROPPED,
    },
    _O.SENT: {
        _V.ANSWERED_200: _O.CONFIRMED,
        _V.UNCLEAR: _O.UNKNOWN,
        _V.CFM_RESTARTED: _O.UNKNOWN,
    },
    _O.UNKNOWN: {
        _V.LISTED_GONE: _O.CONFIRMED,
        _V.LISTED_THERE: _O.DROPPED,
        _V.SERVER_UNKNOWN: _O.DROPPED,
        _V.CFM_RESTARTED: _O.UNKNOWN,
    },
    _O.CONFIRMED: {},
    _O.DROPPED: {},
}


class IllegalChangeError(Exception):
    """The state does not know this event.  It is a mistake in cfm; nothing was changed."""


def next_task_state(state: TaskState, event: TaskEvent) -> TaskState:
    """The state of a task after `event`.

    Raises:
        IllegalChangeError: the table has no such row.
    """
    found = TASK_LIFE[state].get(event)
    if found is None:
        raise IllegalChangeError(f"a task that is {state} knows no event {event!r}")
    return found


def next_order_status(status: OrderStatus, event: OrderEvent) -> OrderStatus:
    """The state of a delete order after `event`.

    Raises:
        IllegalChangeError: the table has no such row.
    """
    found = ORDER_LIFE[status].get(event)
    if found is None:
        raise IllegalChangeError(f"an order that is {status} knows no event {event!r}")
    return found


# ── what follows from the tables for the stored states ──────────────────────────────────────────────────

S = TypeVar("S", Status, OrderStatus)


def _task_edges() -> Mapping[Status, frozenset[Status]]:
    edges: dict[Status, set[Status]] = {status: set() for status in Status}
    for state, row in TASK_LIFE.items():
        edges[STATUS_OF[state]] |= {STATUS_OF[then] for then in row.values()}
    return {status: frozenset(after - {status}) for status, after in edges.items()}


TASK_EDGES: Final = _task_edges()
"""Which stored status may follow which."""

ORDER_EDGES: Final[Mapping[OrderStatus, frozenset[OrderStatus]]] = {
    status: frozenset(row.values()) - {status} for status, row in ORDER_LIFE.items()
}
"""Which state of a delete order may follow which."""


def is_final(edges: Mapping[S, frozenset[S]], status: S) -> bool:
    return not edges[status]
