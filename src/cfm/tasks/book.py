"""The tasks of the node: who copies what, since when, until when.  Pure.

Changes of state go through `lifecycle`.  This book adds what a task needs while it runs: the file that it
occupies, its lease or deadline, and whether its source is free again.  It also keeps what is left of tasks
that have ended: streams that their sources have not cut yet, and copies that no file list has proved yet.
The books count the changes that may make something possible in their `Revision`.  Neighbours:
`controller.decide` is their only user, `store` keeps the tasks.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from cfm.backoff import Backoff
from cfm.model import Addr, File, Now, Retry, Status, Task
from cfm.revision import Revision
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
    """Unfinished tasks whose bytes have all left the source."""
    ended: dict[int, tuple[Task, int]] = field(default_factory=dict)
    """Ended tasks, oldest first, with the time of their end."""
    uncut: dict[int, Task] = field(default_factory=dict)
    """Ended tasks whose stream the source has not said to be cut."""
    cut_again_ms: dict[int, int] = field(default_factory=dict)
    """When the source of each of these is told again to cut the stream."""
    unproven: dict[str, Task] = field(default_factory=dict)
    """Copies that an old worker called done, by file; its next list proves or disproves them."""
    revision: Revision = field(default_factory=Revision)
    moves: int = 0
    """How often a task has begun, been taken, freed its source or ended."""

    def add(self, task: Task, run: Run) -> None:
        self.active[task.id] = task
        self.runs[task.id] = run
        self.by_file[task.file.name] = task
        self.moves += 1
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
        self.moves += 1
        if is_final(TASK_EDGES, status):
            self._end(changed, now.mono_ms)
        else:
            self.active[task.id] = self.by_file[task.file.name] = changed
        return changed

    def _end(self, task: Task, now_ms: int) -> None:
        del self.active[task.id], self.runs[task.id], self.by_file[task.file.name]
        self.freed.discard(task.id)
        self.ended[task.id] = (task, now_ms)
        self.revision.dispatch += 1

    def free_source(self, task_id: int) -> None:
        """All bytes have left the source."""
        if task_id in self.active and task_id not in self.freed:
            self.freed.add(task_id)
            self.moves += 1
            self.revision.dispatch += 1

    def arrived_so_far(self, addr: Addr, arriving_bytes: int, asked_ms: int) -> tuple[int, int]:
        """A `/df` of `addr` contains what its worker had reported before it was asked for.

        It never contains more of it than the worker says to be unfinished downloads, as one may have begun
        anew since.  Returns the bytes that are still to come to `addr`, before this answer and after it.
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

    # ── what is left of ended tasks ─────────────────────────────────────────────────────────────────────

    def still_streams(self, task: Task, now_ms: int) -> None:
        """The task has ended, and its source may still be sending."""
        self.uncut[task.id] = task
        self.cut_again_ms[task.id] = now_ms

    def stream_cut(self, task_id: int) -> None:
        """Nothing of the task is being sent any more: its source is free."""
        if self.uncut.pop(task_id, None) is not None:
            del self.cut_again_ms[task_id]
            self.revision.dispatch += 1

    def called_done(self, task: Task) -> None:
        """An old worker says that the copy is there; that is not believed yet."""
        self.unproven[task.file.name] = task

    def settled(self, name: str) -> None:
        """It is known now whether the copy is there, or it is not waited for any longer."""
        del self.unproven[name]
        self.revision.dispatch += 1

    def ended_ms(self, task: Task, unknown_ms: int) -> int:
        """When a task ended; `unknown_ms` where that is forgotten already."""
        ended = self.ended.get(task.id)
        return unknown_ms if ended is None else ended[1]

    def take_off(self, task_id: int) -> None:
        """An ended task leaves the list."""
        del self.ended[task_id]

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
    revision: Revision = field(default_factory=Revision)

    def failed(self, file: File, source: Addr, destination: Addr, now_ms: int) -> Retry:
        last = self.retries.get(file.name, Retry(0, 0, frozenset()))
        failures = last.failures + 1
        not_before_ms = now_ms + RETRY.pause_ms(failures)
        retry = Retry(failures, not_before_ms, last.avoid | {(source, destination)})
        self.retries[file.name] = retry
        self.revision.dispatch += 1  # there is another moment at which a file may be tried again
        return retry

    def succeeded(self, name: str) -> None:
        if self.retries.pop(name, None) is not None:
            self.revision.dispatch += 1

    def forget_old(self, now_ms: int) -> None:
        """Forget failures whose pause ended long ago, so that the book stays small."""
        long_ago_ms = now_ms - 2 * RETRY.longest_ms
        self.retries = {n: r for n, r in self.retries.items() if r.not_before_ms > long_ago_ms}

    def next_due_ms(self, now_ms: int) -> int | None:
        waiting = [r.not_before_ms for r in self.retries.values() if r.not_before_ms > now_ms]
        return min(waiting, default=None)
