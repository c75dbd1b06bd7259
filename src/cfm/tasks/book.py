"""The tasks of the node: who copies what, since when, until when.  Pure.

The book keeps the state of every task, and changes it by the table in `lifecycle` and in no other way.  It
finds tasks by id, by file and by state.  It also keeps what a task needs while it runs, such as its deadline.
The books count the changes that may make something possible in their `Revision`.  Neighbours:
`controller.decide` is their only user, `store` keeps the tasks.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TypeVar

from cfm.model import Addr, Now, Status, Task
from cfm.revision import Revision
from cfm.tasks.lifecycle import (
    AFTER_RESTART,
    STATUS_OF,
    TASK_EDGES,
    UNCUT,
    TaskEvent,
    TaskState,
    is_final,
    next_task_state,
)

K = TypeVar("K")

SHOWN_MS = 600_000
"""How long an ended task stays on the list for old workers and people."""


@dataclass(slots=True)
class Run:
    """What is known of a task while it is unfinished."""

    deadline_ms: int
    """The task is ended when nobody reports on it until then."""
    heard_ms: int
    offered_ms: int = 0
    """Since when it holds a place at its source."""
    started_ms: int | None = None
    moved_ms: int = 0
    """When its bytes last grew."""
    polls: int = 0
    """How often an old worker has seen the task on the list and has not taken it."""
    bytes_done: int = 0
    told_bytes: int = 0
    """The bytes of the last report.  They are fewer than before where the transfer began anew."""
    shown_bytes: int = 0
    """The part of them that the destination's last `/df` contains."""
    window_ms: int = 0
    """Since when its speed is being measured, and the bytes that it had then."""
    window_bytes: int = 0
    reports: bool = False
    """Its worker is a new one, and reports its progress."""
    projected_percent: int | None = None
    """How full its destination was when it was chosen, with everything on its way; None after a restart."""
    polled_ms: int | None = None
    """When its worker, an old one, asked for other work while it should copy."""


@dataclass(slots=True)
class TaskBook:
    """The unfinished tasks, the ended ones of the last minutes, and those that are not quite over."""

    states: dict[int, TaskState] = field(default_factory=dict)
    """The state of every task in this book."""
    active: dict[int, Task] = field(default_factory=dict)
    """Unfinished tasks."""
    runs: dict[int, Run] = field(default_factory=dict)
    by_file: dict[str, Task] = field(default_factory=dict)
    ended: dict[int, Task] = field(default_factory=dict)
    """Ended tasks that are still on the list, oldest first."""
    ended_ms: dict[int, int] = field(default_factory=dict)
    """When each task ended that is on the list, is uncut or is unproven."""

    ready: dict[int, Task] = field(default_factory=dict)
    """Tasks that are READY.  This index and the next three follow from the states: see `_index`."""
    received: dict[int, Task] = field(default_factory=dict)
    """Tasks that are RECEIVED: their sources are free."""
    uncut: dict[int, Task] = field(default_factory=dict)
    """Tasks in one of the states `UNCUT`: their sources may still be sending."""
    unproven: dict[int, Task] = field(default_factory=dict)
    """Tasks that are UNPROVEN."""

    tell_ms: dict[int, int] = field(default_factory=dict)
    """When the source of an uncut task is told again to stop; those not told yet are missing here."""
    revision: Revision = field(default_factory=Revision)
    moves: int = 0
    """How often a task has begun, has changed its state or has left the list."""

    def add(self, task: Task, run: Run) -> None:
        """Take an unfinished task in: a new one, or one from before a restart."""
        self.active[task.id] = self.by_file[task.file.name] = task
        self.runs[task.id] = run
        self.moves += 1
        self._index(task, AFTER_RESTART[task.status])

    def recover_ended(self, task: Task, now_ms: int) -> None:
        """Put a task that had ended before a restart back on the list."""
        self.ended[task.id], self.ended_ms[task.id] = task, now_ms
        self.moves += 1
        self._index(task, AFTER_RESTART[task.status])

    def get(self, task_id: int) -> Task | None:
        return self.active.get(task_id) or self.ended.get(task_id)

    def change(self, task: Task, event: TaskEvent, now: Now, why: str = "") -> Task:
        """Something happened to a task.  Returns the task with its new status.

        Raises:
            IllegalChangeError: the table does not know it; nothing was changed.
        """
        old = self.states[task.id]
        new = next_task_state(old, event)
        if new is old:
            return task
        status = STATUS_OF[new]
        if status is not task.status:
            task = replace(task, status=status, changed_s=now.wall_s, ended_why=why)
            self._keep(task, now.mono_ms)
        self._index(task, new)
        self.moves += 1
        if new is not TaskState.COPYING:  # which makes nothing possible yet
            self.revision.dispatch += 1
        return task

    def _keep(self, task: Task, now_ms: int) -> None:
        """A task has a new status.  One that has ended leaves the unfinished."""
        if is_final(TASK_EDGES, task.status):
            del self.active[task.id], self.runs[task.id], self.by_file[task.file.name]
            self.ended[task.id], self.ended_ms[task.id] = task, now_ms
        else:
            self.active[task.id] = self.by_file[task.file.name] = task

    def _index(self, task: Task, state: TaskState) -> None:
        """Note the state of a task.  The task is found by its state in this way and in no other."""
        self.states[task.id] = state
        _keep_if(state is TaskState.READY, self.ready, task.id, task)
        _keep_if(state is TaskState.RECEIVED, self.received, task.id, task)
        _keep_if(state is TaskState.UNPROVEN, self.unproven, task.id, task)
        _keep_if(state in UNCUT, self.uncut, task.id, task)
        if state not in UNCUT:
            self.tell_ms.pop(task.id, None)
        self._forget_if_over(task.id)

    def _forget_if_over(self, task_id: int) -> None:
        """Nothing is kept of a task that is on no list and waits for nothing."""
        if not any(task_id in where for where in (self.active, self.ended, self.uncut, self.unproven)):
            del self.states[task_id]
            self.ended_ms.pop(task_id, None)

    def sending(self) -> list[Task]:
        """Tasks whose sources are sending, as far as we know."""
        return [task for task in self.active.values() if self.states[task.id] is TaskState.COPYING]

    def arrived_so_far(self, addr: Addr, arriving_bytes: int, asked_ms: int) -> tuple[int, int]:
        """A `/df` of `addr` contains the bytes that its worker had reported before the question.

        It never contains more of them than the worker says to be unfinished downloads, because a download
        may have begun anew since.  Returns the bytes that are still to come to `addr`, as they were known
        before this answer and after it.
        """
        before_bytes = after_bytes = 0
        for task_id, task in self.active.items():
            if task.destination != addr:
                continue
            run = self.runs[task_id]
            before_bytes += max(0, task.file.size_bytes - run.shown_bytes)
            run.shown_bytes = min(run.told_bytes, arriving_bytes) if run.heard_ms <= asked_ms else 0
            arriving_bytes -= run.shown_bytes
            after_bytes += max(0, task.file.size_bytes - run.shown_bytes)
        return before_bytes, after_bytes

    # ── ended tasks ─────────────────────────────────────────────────────────────────────────────────────

    def tell_again(self, task_id: int, at_ms: int) -> None:
        """The source of an uncut task is being told to stop, and is told again then."""
        self.tell_ms[task_id] = at_ms

    def stream_cut(self, task_id: int, now: Now) -> None:
        """A source says that it sends nothing of this task.  A late or repeated answer is no event."""
        if (task := self.uncut.get(task_id)) is not None:
            self.change(task, TaskEvent.CUT, now)

    def take_off(self, task_id: int) -> None:
        """An ended task leaves the list."""
        del self.ended[task_id]
        self.moves += 1
        self._forget_if_over(task_id)

    def forget_old(self, now_ms: int) -> None:
        for task_id in list(self.ended):
            if now_ms - self.ended_ms[task_id] < SHOWN_MS:
                return
            self.take_off(task_id)

    def shown(self) -> list[Task]:
        """What the old list shows, sorted by id."""
        return sorted([*self.active.values(), *self.ended.values()], key=lambda t: t.id)

    def ready_destinations(self) -> set[Addr]:
        return {task.destination for task in self.ready.values()}

    def ready_for(self, destination: Addr, holding: frozenset[int]) -> Task | None:
        """The oldest ready task for a destination that its worker does not hold already."""
        mine = (task for task in self.ready.values() if task.destination == destination)
        offers = [task for task in mine if task.id not in holding]
        return min(offers, key=lambda t: t.id, default=None)

    def lost_offer(self, destination: Addr, holding: frozenset[int]) -> Task | None:
        """A task that its worker took by asking for it, and whose offer did not reach the worker.

        A worker asks one question at a time.  It holds a task until cfm has answered its last report on it.
        """
        mine = (t for t in self.active.values() if t.destination == destination)
        lost = [t for t in mine if t.status is Status.WORKING and t.id not in holding]
        return min(lost, key=lambda t: t.id, default=None)

    def of_server(self, addr: Addr) -> list[Task]:
        return [t for t in self.active.values() if addr in (t.source, t.destination)]

    def overdue(self, now_ms: int) -> list[Task]:
        return [self.active[task_id] for task_id, run in self.runs.items() if run.deadline_ms <= now_ms]


def _keep_if(belongs: bool, index: dict[K, Task], key: K, task: Task) -> None:
    if belongs:
        index[key] = task
    else:
        index.pop(key, None)
