"""What the controller does with tasks: it starts, offers and ends them, and hears reports.  Pure functions.

A worker of ours asks by a held request, reports about once a second and holds a lease.  An old worker polls
and says `done` whatever happened, so only its file list is believed.  Reports and deadlines become events of
`tasks.lifecycle` here.  Neighbours: `core` routes events here, `tasks.book` keeps the state of each task.
"""

from __future__ import annotations

from cfm.controller.decide.events import CutStream, Reply, TaskDropped, TaskReported
from cfm.controller.decide.looking import ask_disk, look_at
from cfm.controller.decide.state import NodeState
from cfm.model import NOBODY, Addr, CopySeen, Names, Now, OnSan, Retry, Status, Task, Transfer
from cfm.plan.wishes import Copy
from cfm.tasks.book import Run
from cfm.tasks.failures import Blame
from cfm.tasks.lifecycle import TASK_EDGES, UNCUT, TaskEvent, is_final
from cfm.tasks.store import DropTask, PutArrival, PutCopy, PutTask
from cfm.wire import TaskReport

LEASE_MARGIN_MS = 5_000
"""The worker stops when its lease ends.  We end the task a little later."""
CUT_AGAIN_MS = 1_000
"""How long a source has to say that it has cut a stream, before it is told again."""
LISTED_AFTER, LISTED_EVERY_MS = 2, 30_000
"""A destination is listed after so many arrivals, not more often than that: do they stay?"""
UNPROVEN_MS = 120_000
"""How long the list of an old worker is waited for before its `done` counts as a failure."""


def start_copy(state: NodeState, copy: Copy, projected_percent: int, now: Now) -> None:
    """Make a task of a wish that was granted.  The task is offered when it is durable.

    `projected_percent`: how full the destination is with everything on its way, to tell people.
    """
    found = state.san.answers[copy.file.name].value
    assert isinstance(found, OnSan)
    task = Task(
        id=state.next_id(now),
        status=Status.READY,
        created_s=now.wall_s,
        changed_s=now.wall_s,
        file=copy.file,
        path=found.path,
        source=copy.source,
        destination=copy.destination,
        copy_speed_bps=state.rules.copy_speed_bps,
        reason=copy.reason,
        window_hits=state.hits.rising.get(copy.file.name, 0),
        san_mtime_s=found.version.mtime_s,
    )
    reports = state.fleet.records[copy.destination].features.ours
    run = Run(_deadline_ms(state, task, now, reports=reports), now.mono_ms, now.mono_ms, reports=reports)
    run.projected_percent = projected_percent
    state.tasks.add(task, run)
    for addr in (copy.source, copy.destination):
        state.fleet.chosen(addr, now.mono_ms)
    state.reservations.use(copy.file, copy.destination)
    state.out.changes.append(PutTask(task))
    state.say("copy starts", facts(task), level="debug")


def recover(state: NodeState, task: Task, now: Now) -> None:
    """Take over a task from before a restart.

    It is not known yet whether its worker reports.  `expect_reports` gives the task a lease when it is.
    """
    if is_final(TASK_EDGES, task.status):
        state.tasks.recover_ended(task, now.mono_ms)
        return
    run = Run(_deadline_ms(state, task, now, reports=False), now.mono_ms, now.mono_ms)
    if task.status is Status.WORKING:
        run.started_ms = run.moved_ms = run.window_ms = now.mono_ms
    state.tasks.add(task, run)
    if not state.config.has_way(task.source, task.destination):
        why = "its source or its destination was taken out of the settings"
        end(state, task, TaskEvent.CANCELLED, why, now, blame=None)


def expect_reports(state: NodeState, addr: Addr, now: Now) -> None:
    """A destination turned out to be a worker of ours.  It has a whole lease to report on its tasks."""
    for task in state.tasks.of_server(addr):
        run = state.tasks.runs[task.id]
        if task.destination == addr and not run.reports:
            run.reports, run.heard_ms = True, now.mono_ms
            run.deadline_ms = _deadline_ms(state, task, now, reports=True)


def _deadline_ms(state: NodeState, task: Task, now: Now, *, reports: bool) -> int:
    """A worker that reports has a lease.  An old worker shows nothing, so its time depends on the size."""
    if reports:
        return now.mono_ms + state.rules.lease_ms + LEASE_MARGIN_MS
    return now.mono_ms + max(state.rules.task_timeout_ms, needed_ms(task))


def needed_ms(task: Task) -> int:
    """How long a copy may take at its speed, with half as much again."""
    return 12_000 * task.file.size_bytes // max(1, task.copy_speed_bps)


# ── reports ─────────────────────────────────────────────────────────────────────────────────────────────


def report(state: NodeState, event: TaskReported, now: Now) -> None:
    """`PATCH /tasks/{id}` is answered 404, 409, or 200 after the change."""
    task = state.tasks.get(event.task_id)
    status = 404 if task is None else _apply(state, task, event.report, now)
    # A lease must go on also while nothing can be written.
    is_progress = event.report.status is Status.WORKING
    state.out.effects.append(Reply(event.request, status, promises_nothing=is_progress))


def _apply(state: NodeState, task: Task, told: TaskReport, now: Now) -> int:
    """The status of the answer.

    A report on a task that has ended is no event.  A repeated end is answered with success, and the old
    wire calls every end but `done` a timeout.
    """
    if is_final(TASK_EDGES, task.status):
        says_done, was_done = told.status is Status.DONE, task.status is Status.DONE
        if says_done and not was_done and task.destination in state.fleet.records:
            look_at(state, task.destination, now)  # the file may be there all the same
        return 200 if told.status in _ENDS and says_done == was_done else 409
    if told.status is Status.WORKING:
        _working(state, task, told, now)
    elif told.status is Status.DONE:
        _done(state, task, told, now)
    elif told.status in _ENDS:
        _failed(state, task, told, now)
    else:
        return 409
    return 200


_ENDS = (Status.DONE, Status.FAILED, Status.TIMED_OUT)


def _working(state: NodeState, task: Task, told: TaskReport, now: Now) -> None:
    run = state.tasks.runs[task.id]
    run.reports = run.reports or told.done_bytes is not None
    first = task.status is Status.READY
    moved = told.done_bytes is not None and told.done_bytes > run.bytes_done
    run.told_bytes = told.done_bytes or 0
    run.bytes_done = max(run.bytes_done, run.told_bytes)
    run.heard_ms = now.mono_ms
    if first:
        task = _take(state, task, run, now)
    if moved or (told.received and task.id not in state.tasks.received):
        run.moved_ms = now.mono_ms
    if run.reports or first:
        run.deadline_ms = _deadline_ms(state, task, now, reports=run.reports)
    state.tasks.change(task, TaskEvent.ALL_RECEIVED if told.received else TaskEvent.PROGRESSED, now)


def _take(state: NodeState, task: Task, run: Run, now: Now) -> Task:
    """Its worker has taken a task that was ready."""
    run.started_ms = run.moved_ms = run.window_ms = now.mono_ms
    run.polled_ms = None
    taken = state.tasks.change(task, TaskEvent.TAKEN, now)
    state.out.changes.append(PutTask(taken))
    return taken


def claim(state: NodeState, task: Task, now: Now) -> Task:
    """Offer a task to a worker that takes what it is offered, for the first time or once more.

    The worker counts the lease from its question, which was earlier, so it always stops before we do.
    """
    run = state.tasks.runs[task.id]
    run.reports, run.heard_ms = True, now.mono_ms
    run.deadline_ms = _deadline_ms(state, task, now, reports=True)
    return _take(state, task, run, now) if task.status is Status.READY else task


def _done(state: NodeState, task: Task, told: TaskReport, now: Now) -> None:
    if told.verified:
        _settle_done(state, task, now)
    else:
        called_done(state, task, now)


def called_done(state: NodeState, task: Task, now: Now) -> None:
    """An old worker has ended a copy, well or not: its next list says which."""
    ended = state.tasks.change(task, TaskEvent.CALLED_DONE, now)
    state.out.changes.append(PutTask(ended))
    state.fleet.landed(task.destination, task.file.name, task.file.size_bytes, now.mono_ms)
    look_at(state, task.destination, now)


def _settle_done(state: NodeState, task: Task, now: Now) -> None:
    """A worker of ours says that the copy is there, and is believed."""
    run = state.tasks.runs[task.id]
    cost_ms = now.mono_ms - run.offered_ms
    if run.started_ms is not None:
        state.rates.note(8000 * task.file.size_bytes // max(1, now.mono_ms - run.started_ms), now.mono_ms)
    ended = state.tasks.change(task, TaskEvent.VERIFIED, now)
    state.out.changes.append(PutTask(ended))
    grown_bytes = max(0, task.file.size_bytes - _replaced_bytes(state, task))
    state.fleet.arrived(task.destination, task.file.name, grown_bytes, now.mono_ms)
    seen = CopySeen(present=True, size_bytes=task.file.size_bytes)
    state.copies.put(task.file.name, task.destination, seen, now.mono_ms)
    _copied(state, ended, now, cost_ms, verified=True)
    asked_ms = state.fleet.records[task.destination].listing.asked_ms
    several = state.failures.unlisted(task.destination, asked_ms) >= LISTED_AFTER
    if several and now.mono_ms - asked_ms >= LISTED_EVERY_MS:
        look_at(state, task.destination, now)
    else:
        ask_disk(state, task.destination, now)


def _replaced_bytes(state: NodeState, task: Task) -> int:
    """What the stale copy took up there that a new one has taken the place of."""
    name, addr = task.file.name, task.destination
    replaced = state.versions.copies.get(name, {}).get(addr)
    there = addr in state.fleet.holders.get(name, NOBODY)
    return replaced.size_bytes if there and replaced is not None else 0


def _copied(state: NodeState, task: Task, now: Now, cost_ms: int = 0, *, verified: bool = False) -> None:
    name, addr = task.file.name, task.destination
    state.arrivals.put(name, addr, now.mono_ms)
    state.out.changes.append(PutArrival(name, addr, now.wall_s))
    before = state.versions.copies.get(name, {}).get(addr)
    state.stock.changed(addr, task.file.size_bytes - (before.size_bytes if before is not None else 0))
    state.versions.learnt(name, addr, task.version)
    state.out.changes.append(PutCopy(name, addr, task.version))
    way = task.source, addr
    state.failures.succeeded(name, way, now.mono_ms, cost_ms=cost_ms, verified=verified)
    state.counts["copied_files"] += 1
    state.counts["copied_bytes"] += task.file.size_bytes
    state.count_copy(task.source, addr, "done")
    state.say("copied file", facts(task))


def found(state: NodeState, task: Task, now: Now) -> None:
    """The list of an old worker names the file of a copy that nobody called done."""
    ended = state.tasks.change(task, TaskEvent.LISTED, now)
    state.out.changes.append(PutTask(ended))
    state.fleet.landed(task.destination, task.file.name, task.file.size_bytes, now.mono_ms)
    _copied(state, ended, now)
    ask_disk(state, task.destination, now)


def prove(state: NodeState, addr: Addr, names: Names, asked_ms: int, now: Now) -> None:
    """A list of an old worker came: are the copies there that it called done?"""
    for task in list(state.tasks.unproven.values()):
        if task.destination != addr or state.tasks.ended_ms[task.id] > asked_ms:
            continue
        if task.file.name in names:
            state.tasks.change(task, TaskEvent.LISTED, now)
            _copied(state, task, now)
        else:
            state.tasks.change(task, TaskEvent.NOT_LISTED, now)
            _charge(state, task, "its worker called it done, but does not list it", now)


def give_up_unproven(state: NodeState, now: Now) -> None:
    """No list came in time that would prove a copy.  The copy counts as failed."""
    long_ago_ms = now.mono_ms - UNPROVEN_MS
    for task in list(state.tasks.unproven.values()):
        if state.tasks.ended_ms[task.id] <= long_ago_ms:
            state.tasks.change(task, TaskEvent.NOT_LISTED, now)
            _charge(state, task, "its worker called it done, and was not listed since", now)


def _failed(state: NodeState, task: Task, told: TaskReport, now: Now) -> None:
    if told.retry_after_s is not None:
        asked_for_ms = 1000 * min(60, max(1, told.retry_after_s))
        pause_ms = max(asked_for_ms, state.failures.source_is_busy(task.source))
        state.fleet.is_busy(task.source, now.mono_ms + pause_ms)
        end(state, task, TaskEvent.SOURCE_BUSY, told.error or "its source is busy", now, blame=None)
    else:
        failed = told.status is Status.FAILED
        event = TaskEvent.REPORTED_FAILED if failed else TaskEvent.REPORTED_TIMEOUT
        blame = Blame.DESTINATION if told.own_disk else Blame.UNCLEAR
        end(state, task, event, told.error or "its worker gave up", now, blame=blame, sure=told.own_disk)


# ── ends ────────────────────────────────────────────────────────────────────────────────────────────────


def end(
    state: NodeState,
    task: Task,
    event: TaskEvent,
    why: str,
    now: Now,
    *,
    blame: Blame | None = Blame.UNCLEAR,
    sure: bool = False,
) -> None:
    """End a task without a copy: write it down, have its stream cut, and try again later.

    `blame`: whom its end speaks against; None where it says nothing.  `sure`: that one is surely the cause.
    """
    cost_ms = _held_ms(state, task, now)
    ended = state.tasks.change(task, event, now, why)
    state.out.changes.append(PutTask(ended))
    state.counts[f"tasks_{ended.status}"] += 1
    if state.tasks.states[task.id] in UNCUT and not _can_cut(state, task):
        state.tasks.change(ended, TaskEvent.NOT_CUT, now)
    if task.destination in state.fleet.records:
        state.fleet.copy_ended(task.destination, task.file.name, task.file.size_bytes, now.mono_ms)
        ask_disk(state, task.destination, now)
    if blame is not None and (blame is Blame.UNCLEAR or sure):
        _charge(state, ended, why, now, blame=blame, sure=sure, cost_ms=cost_ms)
    else:
        if blame is not None:
            way = task.source, task.destination
            state.failures.failed(task.file.name, way, now.mono_ms, why, blame=blame, cost_ms=cost_ms)
        state.say("copy ended", facts(ended), ended=ended.status, because=why)


def _held_ms(state: NodeState, task: Task, now: Now) -> int:
    """How long the task has held a place at its source."""
    run = state.tasks.runs[task.id]
    return 0 if task.id in state.tasks.received else now.mono_ms - run.offered_ms


def _can_cut(state: NodeState, task: Task) -> bool:
    """Only a worker of ours that serves a built-in transfer can be told to stop."""
    source = state.fleet.records.get(task.source)
    destination = state.fleet.records.get(task.destination)
    if source is None or destination is None:
        return False
    return source.features.serves and destination.features.transfer is Transfer.BUILTIN


def _charge(
    state: NodeState,
    task: Task,
    why: str,
    now: Now,
    *,
    blame: Blame = Blame.UNCLEAR,
    sure: bool = False,
    cost_ms: int = 0,
) -> None:
    """A copy failed: find out who is to blame, and say it."""
    failures, way = state.failures, (task.source, task.destination)
    before = set(failures.pauses)
    failures.failed(task.file.name, way, now.mono_ms, why, blame=blame, sure=sure, cost_ms=cost_ms)
    state.counts["failed_copies"] += 1
    state.count_copy(task.source, task.destination, "failed")
    retry = failures.retries.get(task.file.name, Retry())
    again_ms = max(0, retry.not_before_ms - now.mono_ms)
    state.say("copy failed", facts(task), because=why, failures=retry.failures, again_in_s=again_ms // 1000)
    for side in failures.pauses.keys() - before:
        servers = {"source": side.source or None, "server": side.destination or None}
        state.say("copies fail there", servers, level="warning", because=why)


def end_of_server(state: NodeState, addr: Addr, why: str, now: Now) -> None:
    """A server is down.  Its tasks end at once, so that the other side is free again.

    That it went down speaks against it once, however many copies it had.
    """
    told = False
    for task in state.tasks.of_server(addr):
        blame = None if told else Blame.DESTINATION if task.destination == addr else Blame.SOURCE
        end(state, task, TaskEvent.TIMED_OUT, f"{addr} is down: {why}", now, blame=blame)
        told = True


def lost_by_restart(state: NodeState, addr: Addr, now: Now) -> bool:
    """The program that ran these copies is gone.  That speaks against it once.  Returns: were there any?"""
    began = [task for task in state.tasks.of_server(addr) if state.tasks.runs[task.id].started_ms is not None]
    lost = [task for task in began if task.destination == addr]
    for number, task in enumerate(lost):
        blame = Blame.DESTINATION if number == 0 else None
        end(state, task, TaskEvent.WORKER_RESTARTED, "its worker was restarted", now, blame=blame)
    return bool(lost)


def drop(state: NodeState, event: TaskDropped, now: Now) -> None:
    """`DELETE /tasks/{id}` cancels an unfinished task, and takes an ended one off the list."""
    task = state.tasks.get(event.task_id)
    if task is None:
        state.out.effects.append(Reply(event.request, 404))
        return
    if is_final(TASK_EDGES, task.status):
        state.tasks.take_off(task.id)
        state.out.changes.append(DropTask(task.id))
    else:
        end(
            state,
            task,
            TaskEvent.CANCELLED,
            f"cancelled by {event.by}",
            now,
            blame=Blame.FILE,
        )
    state.out.effects.append(Reply(event.request, 200))


# ── streams of ended tasks ──────────────────────────────────────────────────────────────────────────────


def cut_streams(state: NodeState, now: Now) -> None:
    """Tell sources to cut the streams of ended tasks, until they have done so or the lease is over.

    When the lease is over, the worker that read the stream has stopped by itself.  We then wait no longer,
    because a source that is gone, or obeys another controller, never answers.  A worker of ours never serves
    more streams than it may, whatever we believe.
    """
    for task_id, task in list(state.tasks.uncut.items()):
        if now.mono_ms - state.tasks.ended_ms[task_id] >= state.rules.lease_ms + LEASE_MARGIN_MS:
            state.tasks.change(task, TaskEvent.NOT_CUT, now)
        elif state.tasks.tell_ms.get(task_id, 0) <= now.mono_ms and state.health.is_up(task.source):
            state.tasks.tell_again(task_id, now.mono_ms + CUT_AGAIN_MS)
            state.out.effects.append(CutStream(task.source, task_id))


def facts(task: Task) -> dict[str, object]:
    """What the log says of a task.  Its id is text, because JavaScript cannot count so far exactly."""
    return {
        "file": task.file.name,
        "server": task.destination,
        "source": task.source,
        "rank": task.file.rank,
        "size_bytes": task.file.size_bytes,
        "hits": task.window_hits or task.file.hits,
        "reason": task.reason,
        "task": str(task.id),
    }
