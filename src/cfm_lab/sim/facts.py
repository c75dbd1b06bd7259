"""What really happened: which orders and tasks there were, what was committed, and what was lost.

The checker writes here as things happen, and the invariants read.  Times named `mono` are of the clock of the
controller that decided; all other times are true ones.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from cfm.model import Addr, DeleteOrder, Measure, OrderStatus, Status, Task
from cfm.tasks.store import UNFINISHED_ORDERS, UNFINISHED_TASKS, PutArrival
from cfm_lab.sim.environment.disks import SimDisk


@dataclass(slots=True)
class OrderFacts:
    """One delete order since it was decided."""

    order: DeleteOrder
    ordered_ms: int
    ordered_mono_ms: int
    sent_ms: int | None = None
    unknown_mono_ms: int | None = None
    ended_mono_ms: int | None = None


@dataclass(slots=True)
class TaskFacts:
    """One task since it was decided."""

    task: Task
    started_mono_ms: int
    heard_mono_ms: int
    moved_mono_ms: int
    bytes_done: int = 0
    received: bool = False
    reports: bool = False
    worked: bool = False
    ended_mono_ms: int | None = None
    taken_mono_ms: int = 0


class Growth(NamedTuple):
    """What a copy added to its disk."""

    came_ms: int
    """When it was there; where nobody knows, when its task ended."""
    size_bytes: int
    """Without what it took the place of."""


@dataclass(slots=True)
class StateFacts:
    """What is true of the state of one controller, whichever process runs on it."""

    orders: dict[int, OrderFacts] = field(default_factory=dict)
    tasks: dict[int, TaskFacts] = field(default_factory=dict)
    committed_orders: dict[int, DeleteOrder] = field(default_factory=dict)
    committed_tasks: dict[int, Task] = field(default_factory=dict)
    committed_arrivals: dict[tuple[str, Addr], PutArrival] = field(default_factory=dict)
    committed_measure: Measure | None = None
    open_orders: dict[int, OrderFacts] = field(default_factory=dict)
    open_tasks: dict[int, TaskFacts] = field(default_factory=dict)
    recent_orders: deque[tuple[int, DeleteOrder]] = field(default_factory=deque)
    """(mono, order) of the last hours; only of the process that runs now."""
    done: deque[tuple[int, Task]] = field(default_factory=deque)
    """(mono, task) of the tasks that ended; only of the process that runs now."""
    ended_on: dict[int, list[Addr]] = field(default_factory=dict)
    """Task or order that ended → all addresses of its disk at that time, as far as cfm was told."""
    growth: dict[int, Growth] = field(default_factory=dict)
    """Task that ended → what it added to its disk (mono, of this process)."""
    failures: dict[str, list[int]] = field(default_factory=dict)
    """File → when its copies failed since the last success (mono, of this process)."""
    drops: dict[str, int] = field(default_factory=dict)
    """File → when its last order was dropped (mono, of this process)."""

    forgotten: dict[int, OrderFacts] = field(default_factory=dict)
    """Orders of before the last restored backup, which the state does not know any more."""

    def order_of(self, order_id: int) -> OrderFacts | None:
        """An order that was ever written down."""
        return self.orders.get(order_id) or self.forgotten.get(order_id)

    def forget_uncommitted(self) -> None:
        """Keep only what was committed, because the process that knew the rest is gone."""
        self.orders = {
            i: OrderFacts(o, self._ordered(i), 0, sent_ms=self._sent(i))
            for i, o in self.committed_orders.items()
        }
        self.tasks = {i: TaskFacts(t, 0, 0, 0) for i, t in self.committed_tasks.items()}
        self.open_orders = {i: f for i, f in self.orders.items() if f.order.status in UNFINISHED_ORDERS}
        self.open_tasks = {i: f for i, f in self.tasks.items() if f.task.status in UNFINISHED_TASKS}
        self.recent_orders.clear()
        self.done.clear()
        self.ended_on.clear()
        self.growth.clear()
        self.failures.clear()
        self.drops.clear()

    def ended_there(self, entry: Task | DeleteOrder, addr: Addr) -> bool:
        """Did it end on the disk that had the address `addr` at that time, among others?"""
        of = entry.destination if isinstance(entry, Task) else entry.server
        return addr in self.ended_on.get(entry.id, (of,))

    def arriving_bytes(self, addr: Addr, there: Sequence[Addr], since_ms: int) -> int:
        """Bytes under way to the disk at `addr`, and those of copies that ended since a `/df` of `since_ms`.

        This is what cfm was told: a worker may tell of a copy long after its disk has shown it.
        `there`: all addresses that the disk has now.
        """
        landed = self._ended_tasks(addr, since_ms)
        return self._coming_bytes(there) + sum(task.file.size_bytes for task in landed)

    def least_arriving_bytes(self, addr: Addr, there: Sequence[Addr], since_ms: int) -> int:
        """The same at least: a copy that replaced another one added less, and one that failed nothing."""
        done = (task for task in self._ended_tasks(addr, since_ms) if task.status is Status.DONE)
        grown = (self.growth[task.id].size_bytes for task in done)
        return self._coming_bytes(there) + sum(grown)

    def gone_bytes(self, addr: Addr, since_ms: int) -> int:
        """Bytes deleted on the disk at `addr` since then, as the process that runs now has heard."""
        gone = self.ended_orders(OrderStatus.CONFIRMED, since_ms)
        return sum(order.file.size_bytes for order in gone if self.ended_there(order, addr))

    def unshown_bytes(
        self,
        addr: Addr,
        there: Sequence[Addr],
        *,
        still_since_ms: int,
        asked_ms: int,
        may_hold: Callable[[str, int], bool],
    ) -> int:
        """Bytes under way to the disk at `addr`, and those that came and no `/df` can have shown.

        Its last `/df` was asked for at `asked_ms`, and shows as much as all since `still_since_ms`.
        `may_hold` says whether a file that came at that time may be there still.  Where a file came that adds
        all its bytes, nothing of that name was there any more.
        """
        landed: dict[str | int, int] = {}
        for _ms, task in self.done:
            came, name = self.growth[task.id], task.file.name
            if came.came_ms <= still_since_ms or not self.ended_there(task, addr):
                continue
            if came.came_ms > asked_ms or (task.status is Status.DONE and may_hold(name, came.came_ms)):
                what = name if task.status is Status.DONE else task.id
                before = landed.get(what, 0) if came.size_bytes < task.file.size_bytes else 0
                landed[what] = before + came.size_bytes
        return self._coming_bytes(there) + sum(landed.values())

    def ended_orders(self, status: OrderStatus, since_ms: int) -> Iterator[DeleteOrder]:
        """The orders that came to this end since then.  Some may be from before the start of this process."""
        for known in self.orders.values():
            if known.order.status is status and (known.ended_mono_ms or 0) > since_ms:
                yield known.order

    def _ended_tasks(self, addr: Addr, since_ms: int) -> Iterator[Task]:
        """The tasks that ended on the disk at `addr` since then."""
        return (task for ms, task in self.done if ms > since_ms and self.ended_there(task, addr))

    def _coming_bytes(self, there: Sequence[Addr]) -> int:
        coming = (known.task for known in self.open_tasks.values() if known.task.destination in there)
        return sum(task.file.size_bytes for task in coming)

    def _ordered(self, order_id: int) -> int:
        known = self.orders.get(order_id)
        return known.ordered_ms if known is not None else 0

    def _sent(self, order_id: int) -> int | None:
        known = self.orders.get(order_id)
        return known.sent_ms if known is not None else None


@dataclass(slots=True)
class Counts:
    """How often something happened."""

    copies_stayed: int = 0
    """Copies that were made, without those that other software removed."""
    failed_tasks: int = 0
    dropped_orders: int = 0
    log_lines: int = 0
    rows_written: int = 0
    """Rows of cfm's state that were committed, without the history: log lines are counted already."""
    watched_deleted: int = 0
    """Files that went for room or for the limit while viewers watched them."""


@dataclass(slots=True)
class NodeFacts:
    """The truth about the whole node."""

    counts: Counts = field(default_factory=Counts)
    states: dict[str, StateFacts] = field(default_factory=dict)
    """By controller id."""
    lost: dict[str, int] = field(default_factory=dict)
    """File → when a complete copy of it last vanished without an order of ours."""
    arrived: dict[tuple[str, SimDisk], Growth] = field(default_factory=dict)
    """(file, disk) → when a worker last made the file visible there (true time), and what that added."""
    epochs: dict[Addr, tuple[str, int]] = field(default_factory=dict)
    """Machine → the controller of its worker, and the highest epoch that this controller told it."""
    fences: dict[Addr, int] = field(default_factory=dict)
    """Machine → the highest fence that it was told in that epoch."""
    deleted: dict[tuple[str, Addr], list[tuple[int, int, bool]]] = field(default_factory=dict)
    """(file, server) → (true ms, rank, rising) of the deletes for room."""
    unlinks: int = 0
    downloads: dict[int, set[Addr]] = field(default_factory=dict)
    """Task → the workers that ever began it."""

    def state(self, controller: str) -> StateFacts:
        known = self.states.get(controller)
        if known is None:
            known = self.states[controller] = StateFacts()
        return known

    def vanished(self, names: Iterable[str], now_ms: int) -> None:
        """Copies of these files are gone from a disk, without an order of ours."""
        for name in names:
            self.lost[name] = now_ms

    def open_orders(self) -> list[DeleteOrder]:
        """The delete orders of all controllers that have not ended."""
        return [known.order for state in self.states.values() for known in state.open_orders.values()]
