"""A store of state in memory, for the simulator and for tests.  It behaves as the store on disk does.

`CommittedState` is what survives a crash; `MemoryStore` is the handle that one cfm has on it.  Two handles on
one state are two cfm that use the same state.  `crash()` takes the handle away as `kill -9` would, and
`trouble` makes commits fail as a full disk would.  Neighbours: `tasks.store` states the promises of a store,
and `tests/conformance/test_stores.py` checks them for every kind of store.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from cfm.errors import StateError, StoreFullError
from cfm.model import Addr, DeleteOrder, Measure, OrderStatus, Side, Task, Version
from cfm.tasks.store import (
    CONFIRMED_ORDERS_RECOVERED_S,
    ENDED_TASKS_RECOVERED_S,
    PACED_ORDERS_RECOVERED_S,
    UNFINISHED_ORDERS,
    UNFINISHED_TASKS,
    Change,
    DropArrival,
    DropCopy,
    DropPause,
    DropRelease,
    DropTask,
    PutArrival,
    PutCopy,
    PutEvent,
    PutMeasure,
    PutOrder,
    PutPause,
    PutRelease,
    PutTask,
    Recovered,
    SupersededError,
    event_bytes,
    highest_id,
)

EVENTS_KEPT = 10_000
"""Nobody prunes in a simulation, and nobody reads more of one."""


@dataclass
class CommittedState:
    """The durable state.  Only whole commits reach it."""

    controller_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    epoch: int = 0
    last_id: int = 0
    tasks: dict[int, Task] = field(default_factory=dict)
    orders: dict[int, DeleteOrder] = field(default_factory=dict)
    arrivals: dict[tuple[str, Addr], int] = field(default_factory=dict)
    copies: dict[tuple[str, Addr], Version] = field(default_factory=dict)
    measure: Measure | None = None
    pauses: dict[tuple[str, Side], PutPause] = field(default_factory=dict)
    releases: dict[Addr, PutRelease] = field(default_factory=dict)
    events: dict[int, PutEvent] = field(default_factory=dict)
    held_by: MemoryStore | None = None


class MemoryStore:
    """A `TaskStore` on a `CommittedState`.  While `trouble` names a reason, every commit fails.

    The caller gives it a clock.  Without one, time stands still, and every ended task has just ended.
    """

    def __init__(self, state: CommittedState | None = None, wall_s: Callable[[], int] = lambda: 0) -> None:
        self.state = CommittedState() if state is None else state
        self.trouble: str | None = None
        self.commits = 0
        self._wall_s = wall_s
        self._epoch = 0

    def open(self) -> Recovered:
        if self.state.held_by is not None:
            raise StateError("this state is in use by another cfm: stop that one first")
        self.state.held_by = self
        self.state.epoch += 1
        self._epoch = self.state.epoch
        return self._recovered()

    def commit(self, changes: Sequence[Change]) -> None:
        self._require_writable()
        for change in changes:
            self._apply(change)
        self.state.last_id = max(self.state.last_id, highest_id(changes))
        self.commits += 1

    def events(self, about: str, before_id: int, limit: int) -> list[PutEvent]:
        newest_first = (event for _, event in sorted(self.state.events.items(), reverse=True))
        found = (one for one in newest_first if one.id < before_id and (not about or about in one.about))
        return list(islice(found, max(0, limit)))

    def prune(self, before_wall_s: int, events_bytes: int) -> None:
        self._require_writable()
        state = self.state
        state.events = dict(_newest(state.events, before_wall_s, events_bytes))
        state.tasks = {
            i: t
            for i, t in state.tasks.items()
            if t.status in UNFINISHED_TASKS or t.changed_s >= before_wall_s
        }
        state.orders = {
            i: o
            for i, o in state.orders.items()
            if o.status in UNFINISHED_ORDERS or o.changed_s >= before_wall_s
        }
        state.arrivals = {key: at for key, at in state.arrivals.items() if at >= before_wall_s}
        state.pauses = {key: one for key, one in state.pauses.items() if one.spared_wall_s >= before_wall_s}

    def close(self) -> None:
        if self.state.held_by is self:
            self.state.held_by = None

    def crash(self) -> None:
        """The process is gone, and so is its lock.  All that was committed stays.

        The store never held what was still waiting for a commit: that is lost with the process.
        """
        self.close()

    def log_bytes(self) -> int:
        return 0

    def _require_writable(self) -> None:
        self._require_held()
        if self.trouble is not None:
            raise StoreFullError(f"cannot write the state: {self.trouble}")

    def _require_held(self) -> None:
        if self.state.epoch != self._epoch:
            raise SupersededError("another cfm has taken this state over")
        if self.state.held_by is not self:
            raise StateError("the state is not open")

    def _apply(self, change: Change) -> None:
        match change:
            case PutTask(task):
                self.state.tasks[task.id] = task
            case DropTask(task_id):
                self.state.tasks.pop(task_id, None)
            case PutOrder(order):
                self.state.orders[order.id] = order
            case PutEvent():
                self._put_event(change)
            case PutMeasure(measure, _wall_s):
                self.state.measure = measure
            case PutPause():
                self.state.pauses[change.file_name, change.side] = change
            case DropPause(side, file_name):
                self.state.pauses.pop((file_name, side), None)
            case PutRelease():
                self.state.releases[change.server] = change
            case DropRelease(server):
                self.state.releases.pop(server, None)
            case _:
                self._apply_to_copy(change)

    def _apply_to_copy(self, change: PutArrival | DropArrival | PutCopy | DropCopy) -> None:
        copy = change.file_name, change.server
        match change:
            case PutArrival():
                self.state.arrivals[copy] = change.wall_s
            case PutCopy():
                self.state.copies[copy] = change.version
            case DropArrival():
                self.state.arrivals.pop(copy, None)
            case DropCopy():
                self.state.copies.pop(copy, None)

    def _put_event(self, event: PutEvent) -> None:
        events = self.state.events
        events[event.id] = event
        if len(events) > EVENTS_KEPT:
            del events[next(iter(events))]

    def _recovered(self) -> Recovered:
        state, now_s = self.state, self._wall_s()
        return Recovered(
            state.controller_id,
            state.epoch,
            state.last_id,
            tasks=tuple(
                t
                for _, t in sorted(state.tasks.items())
                if t.status in UNFINISHED_TASKS or t.changed_s >= now_s - ENDED_TASKS_RECOVERED_S
            ),
            orders=tuple(
                o
                for _, o in sorted(state.orders.items())
                if o.status in UNFINISHED_ORDERS or _recent(o, now_s)
            ),
            arrivals=tuple(PutArrival(f, s, at) for (f, s), at in sorted(state.arrivals.items())),
            copies=tuple(PutCopy(f, s, version) for (f, s), version in sorted(state.copies.items())),
            measure=state.measure,
            pauses=tuple(pause for _, pause in sorted(state.pauses.items())),
            releases=tuple(release for _, release in sorted(state.releases.items())),
        )


def _newest(
    events: Mapping[int, PutEvent], before_wall_s: int, most_bytes: int
) -> Iterator[tuple[int, PutEvent]]:
    """The events from that time on that are no more than so many bytes, in their order."""
    size_bytes, first_id = 0, 0
    for event_id, event in sorted(events.items(), reverse=True):
        size_bytes += event_bytes(event, json.dumps(dict(event.facts), ensure_ascii=False, default=str))
        if size_bytes > most_bytes or event.wall_s < before_wall_s:
            first_id = event_id + 1
            break
    return ((event_id, event) for event_id, event in sorted(events.items()) if event_id >= first_id)


def _recent(order: DeleteOrder, now_s: int) -> bool:
    if order.created_s >= now_s - PACED_ORDERS_RECOVERED_S:
        return True
    return order.status is OrderStatus.CONFIRMED and order.changed_s >= now_s - CONFIRMED_ORDERS_RECOVERED_S
