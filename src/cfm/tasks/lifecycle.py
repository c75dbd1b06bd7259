"""The two tables that hold every change of state: of a task, and of a delete order.

Nothing else decides whether a change is legal: the API, the deadlines, the recovery after a restart and
the simulator all ask here.  Neighbours: `tasks.book` keeps tasks by these rules, `tasks.orders` keeps
delete orders by them.

    task    ready ──▶ working ──▶ done
              ├──────────┼─────▶ failed      the worker said why; tried again later
              ├──────────┼─────▶ timed_out   nobody said anything for too long, or a server died
              └──────────┴─────▶ cancelled   a person, or a plan that no longer holds

    order   ordered ──▶ sent ──▶ confirmed             the server answered 200
               │         └─────▶ unknown ─▶ confirmed  any other answer; listed again: the file is gone
               │                     └────▶ dropped    listed again: it is still there
               └────────────────────────▶ dropped      never sent: something no longer held
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from cfm.model import OrderStatus, Status

S = TypeVar("S", Status, OrderStatus)

TASK_EDGES: Mapping[Status, frozenset[Status]] = {
    Status.READY: frozenset({Status.WORKING, Status.DONE, Status.FAILED, Status.TIMED_OUT, Status.CANCELLED}),
    Status.WORKING: frozenset({Status.DONE, Status.FAILED, Status.TIMED_OUT, Status.CANCELLED}),
    Status.DONE: frozenset(),
    Status.FAILED: frozenset(),
    Status.TIMED_OUT: frozenset(),
    Status.CANCELLED: frozenset(),
}

ORDER_EDGES: Mapping[OrderStatus, frozenset[OrderStatus]] = {
    OrderStatus.ORDERED: frozenset({OrderStatus.SENT, OrderStatus.DROPPED}),
    OrderStatus.SENT: frozenset({OrderStatus.CONFIRMED, OrderStatus.UNKNOWN}),
    OrderStatus.UNKNOWN: frozenset({OrderStatus.CONFIRMED, OrderStatus.DROPPED}),
    OrderStatus.CONFIRMED: frozenset(),
    OrderStatus.DROPPED: frozenset(),
}


class IllegalChangeError(Exception):
    """A change that the table does not allow; nothing was changed."""


def advance(edges: Mapping[S, frozenset[S]], old: S, new: S) -> S:
    """`new`, if the table allows it from `old`.

    Raises:
        IllegalChangeError: the edge is not in the table.
    """
    if new not in edges[old]:
        raise IllegalChangeError(f"{old} does not become {new}")
    return new


def is_final(edges: Mapping[S, frozenset[S]], status: S) -> bool:
    return not edges[status]
