"""The tasks of the node: who copies what, since when, until when.  Pure.

Changes of state go through `lifecycle`; this book adds what a task needs while it runs: the file it
occupies, its lease or deadline, whether its source is free again, and the streams of ended tasks that
a source has not cut yet.  Neighbours: `controller.decide.core` is its only user, `store` keeps its tasks.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from cfm.backoff import Backoff
from cfm.model import Addr, File, Now, Retry, Status, Task
from cfm.tasks.lifecycle import TASK_EDGES, advance, is_final

SHOWN_MS = 600_000
"""How long an ended task stays on the list for old workers and people."""


@dataclass(slots=True)
class Run:
    """What is known of a task while it is unfinished."""

    deadline_ms: int
    """Ended when nobody speaks for it until then."""
    heard_ms: int
    started_ms: int | None = None
    moved_ms: int = 0
    """When its bytes last grew."""
    bytes_done: int = 0
    told_bytes: int = 0
    """What was reported last: less than before where the transfer began anew."""
    shown_bytes: int = 0
    """The part of them that the destination's last `/df` contains."""
    reports: bool = False
    """Its worker tells progress: a worker of ours."""


@dataclass(slots=True)
class TaskBook:
    """Unfinished tasks by id and by file, and the ended ones of the last minutes."""

    active: dict[int, Task] = field(default_factory=dict)
    runs: dict[int, Run] = field(default_factory=dict)
    by_file: dict[str, Task] = field(default_factory=dict)
    ready: dict[int, Task] = field(default_factory=dict)
    """Those that nobody has taken yet."""
    freed: set[int] = field(default_factory=set)
    ended: dict[int, tuple[Task, int]] = field(default_factory=dict)
    """Ended tasks, oldest first, with the time of their end."""
    uncut: dict[int, Task] = field(default_factory=dict)
    moved: bool = True
    """Has a task begun, been taken, freed its source or ended since whoever reads this looked?"""

    def add(self, task: Task, run: Run) -> None:
        self.active[task.id] = task
        self.runs[task.id] = run
        self.by_file[task.file.name] = task
        self.moved = True
        if task.status is Status.READY:
            self.ready[task.id] = task

    def get(self, task_id: int) -> Task | None:
        ended = self.ended.get(task_id)
        return self.active.get(task_id) or (ended[0] if ended else None)

    def change(self, task: Task, status: Status, now: Now, why: str = "") -> Task:
        """The task in its new state; final ones leave the unfinished.

        Raises:
            IllegalChangeError: the table does not allow it; nothing was changed.
        """
        changed = replace(
            task, status=advance(TASK_EDGES, task.status, status), changed_s=now.wall_s, ended_why=why
        )
        self.ready.pop(task.id, None)
        self.moved = True
        if is_final(TASK_EDGES, status):
            self._end(changed, now.mono_ms)
        else:
            self.active[task.id] = self.by_file[task.file.name] = changed
        return changed

    def _end(self, task: Task, now_ms: int) -> None:
        del self.active[task.id], self.runs[task.id], self.by_file[task.file.name]
        self.freed.discard(task.id)
        self.ended[task.id] = (task, now_ms)

    def free_source(self, task_id: int) -> bool:
        """All bytes have left the source.  Returns True where that is news."""
        news = task_id in self.active and task_id not in self.freed
        if news:
            self.freed.add(task_id)
            self.moved = True
        return news

    def forget_old(self, now_ms: int) -> None:
        for task_id, (_task, ended_ms) in list(self.ended.items()):
            if now_ms - ended_ms < SHOWN_MS:
                return
            del self.ended[task_id]

    def shown(self) -> list[Task]:
        """What the old list shows, sorted by id."""
        return sorted([*self.active.values(), *(t for t, _ in self.ended.values())], key=lambda t: t.id)

    def ready_destinations(self) -> set[Addr]:
        return {task.destination for task in self.ready.values()}

    def ready_for(self, destination: Addr, holding: frozenset[int]) -> Task | None:
        """The oldest ready task of a destination that its worker does not hold already."""
        mine = (task for task in self.ready.values() if task.destination == destination)
        offers = [task for task in mine if task.id not in holding]
        return min(offers, key=lambda t: t.id, default=None)

    def lost_offer(self, destination: Addr, holding: frozenset[int]) -> Task | None:
        """A task that its worker took by asking for it, and does not hold: the answer did not reach it.

        A worker asks one question at a time, and holds what it was answered until its last report was taken.
        """
        mine = (t for t in self.active.values() if t.destination == destination)
        lost = [t for t in mine if t.status is Status.WORKING and t.id not in holding]
        return min(lost, key=lambda t: t.id, default=None)

    def of_server(self, addr: Addr) -> list[Task]:
        return [t for t in self.active.values() if addr in (t.source, t.destination)]

    def overdue(self, now_ms: int) -> list[Task]:
        return [self.active[task_id] for task_id, run in self.runs.items() if run.deadline_ms <= now_ms]


RETRY = Backoff(first_ms=10_000, longest_ms=1_800_000)


@dataclass(slots=True)
class RetryBook:
    """Files whose copies failed: tried again elsewhere when possible, after growing pauses."""

    retries: dict[str, Retry] = field(default_factory=dict)

    def failed(self, file: File, source: Addr, destination: Addr, now_ms: int) -> Retry:
        last = self.retries.get(file.name, Retry(0, 0, frozenset()))
        failures = last.failures + 1
        not_before_ms = now_ms + RETRY.pause_ms(failures)
        retry = Retry(failures, not_before_ms, last.avoid | {(source, destination)})
        self.retries[file.name] = retry
        return retry

    def succeeded(self, name: str) -> None:
        self.retries.pop(name, None)

    def forget_old(self, now_ms: int) -> None:
        """Forget failures whose pause ended long ago, so that the book stays small."""
        long_ago_ms = now_ms - 2 * RETRY.longest_ms
        self.retries = {n: r for n, r in self.retries.items() if r.not_before_ms > long_ago_ms}

    def next_due_ms(self, now_ms: int) -> int | None:
        waiting = [r.not_before_ms for r in self.retries.values() if r.not_before_ms > now_ms]
        return min(waiting, default=None)
