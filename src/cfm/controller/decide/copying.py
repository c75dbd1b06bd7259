"""Tasks in the controller's hands: started, offered, reported on, ended.  Pure functions over the state.

A worker of ours asks by a held request, reports about once a second and holds a lease; an old one polls,
says `done` whatever happened, and is believed only by its file list.  Neighbours: `core` routes events
here, `tasks.book` keeps the rules of a task's life.
"""

from __future__ import annotations

from cfm.controller.decide.events import AskDisk, AskList, CutStream, Reply, TaskDropped, TaskReported
from cfm.controller.decide.state import NodeState
from cfm.model import Addr, CopySeen, Now, OnSan, Status, Task, Transfer
from cfm.plan.wishes import Copy
from cfm.tasks.book import Run
from cfm.tasks.lifecycle import TASK_EDGES, is_final
from cfm.tasks.store import DropTask, PutArrival, PutTask
from cfm.wire import TaskReport

SILENCE_MS = 2_000
"""A worker of ours reports about once a second; after this silence its next heartbeat comes at once."""
LEASE_MARGIN_MS = 5_000
"""The worker stops when its lease ends; we end the task a little later."""
CUT_AGAIN_MS = 1_000
UNPROVEN_MS = 120_000
"""How long the list of an old worker is waited for before its `done` counts as a failure."""


def start_copy(state: NodeState, copy: Copy, now: Now) -> None:
    """Make a task of a wish that was granted; it is offered when it is durable."""
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
    )
    reports = state.fleet.records[copy.destination].features.ours
    state.tasks.add(task, Run(_deadline_ms(state, task, now, reports=reports), now.mono_ms, reports=reports))
    for addr in (copy.source, copy.destination):
        state.fleet.chosen(addr, now.mono_ms)
    state.reservations.use(copy.file, copy.destination)
    state.out.changes.append(PutTask(task))
    state.say("copy starts", facts(task), level="debug")


def recover(state: NodeState, task: Task, now: Now) -> None:
    """Take over a task from before a restart.

    Whether its worker reports is not known yet: `expect_reports` gives it a lease when it is.
    """
    if is_final(TASK_EDGES, task.status):
        state.tasks.ended[task.id] = (task, now.mono_ms)
        return
    configured = task.destination in state.fleet.records and task.source in state.fleet.records
    run = Run(_deadline_ms(state, task, now, reports=False), now.mono_ms)
    if task.status is Status.WORKING:
        run.started_ms = run.moved_ms = now.mono_ms
    state.tasks.add(task, run)
    if not configured:
        end(state, task, Status.CANCELLED, "one of its servers is not in the settings any more", now)


def expect_reports(state: NodeState, addr: Addr, now: Now) -> None:
    """A destination turned out to be a worker of ours: what it runs has a whole lease to be reported."""
    for task in state.tasks.of_server(addr):
        run = state.tasks.runs[task.id]
        if task.destination == addr and not run.reports:
            run.reports, run.heard_ms = True, now.mono_ms
            run.deadline_ms = _deadline_ms(state, task, now, reports=True)


def _deadline_ms(state: NodeState, task: Task, now: Now, *, reports: bool) -> int:
    """Who reports has a lease; an old worker shows nothing, so it gets its time by the size."""
    if reports:
        return now.mono_ms + state.rules.lease_ms + LEASE_MARGIN_MS
    needed_ms = 12_000 * task.file.size_bytes // max(1, task.copy_speed_bps)
    return now.mono_ms + max(state.rules.task_timeout_ms, needed_ms)


# ── reports ─────────────────────────────────────────────────────────────────────────────────────────────


def report(state: NodeState, event: TaskReported, now: Now) -> None:
    """`PATCH /tasks/{id}`: 404, 409, or 200 and the change."""
    task = state.tasks.get(event.task_id)
    status = 404 if task is None else _apply(state, task, event.report, now)
    state.out.effects.append(Reply(event.request, status))


def _apply(state: NodeState, task: Task, told: TaskReport, now: Now) -> int:
    """The same status again is a success; the old wire calls every end but `done` a timeout."""
    if is_final(TASK_EDGES, task.status):
        says_done, was_done = told.status is Status.DONE, task.status is Status.DONE
        if says_done and not was_done and task.destination in state.fleet.records:
            look_at(state, task.destination, now)  # it may be there all the same
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
        run.started_ms = run.moved_ms = now.mono_ms
        state.out.changes.append(PutTask(state.tasks.change(task, Status.WORKING, now)))
    if moved or told.received:
        run.moved_ms = now.mono_ms
    if run.reports or first:
        run.deadline_ms = _deadline_ms(state, task, now, reports=run.reports)
    if told.received:
        state.tasks.free_source(task.id)


def claim(state: NodeState, task: Task, now: Now) -> Task:
    """Offer a task to a worker that takes what it is offered, for the first time or once more.

    Its lease counts from the worker's question, which was before now.
    """
    run = state.tasks.runs[task.id]
    run.reports, run.heard_ms = True, now.mono_ms
    run.deadline_ms = _deadline_ms(state, task, now, reports=True)
    if task.status is not Status.READY:
        return task
    run.started_ms = run.moved_ms = now.mono_ms
    claimed = state.tasks.change(task, Status.WORKING, now)
    state.out.changes.append(PutTask(claimed))
    return claimed


def _done(state: NodeState, task: Task, told: TaskReport, now: Now) -> None:
    if told.verified:
        _settle_done(state, task, now)
        return
    ended = state.tasks.change(task, Status.DONE, now)
    state.out.changes.append(PutTask(ended))
    state.tasks.called_done(ended)
    state.fleet.landed(task.destination, task.file.size_bytes, now.mono_ms)
    look_at(state, task.destination, now)


def _settle_done(state: NodeState, task: Task, now: Now) -> None:
    """The copy is there: by the word of a worker of ours."""
    ended = state.tasks.change(task, Status.DONE, now)
    state.out.changes.append(PutTask(ended))
    state.fleet.arrived(task.destination, task.file.name, task.file.size_bytes, now.mono_ms)
    seen = CopySeen(present=True, size_bytes=task.file.size_bytes)
    state.copies.put(task.file.name, task.destination, seen, now.mono_ms)
    _copied(state, ended, now)
    ask_disk(state, task.destination, now)


def _copied(state: NodeState, task: Task, now: Now) -> None:
    name, addr = task.file.name, task.destination
    state.arrivals.put(name, addr, now.mono_ms)
    state.out.changes.append(PutArrival(name, addr, now.wall_s))
    state.retries.succeeded(name)
    state.counts["copied_files"] += 1
    state.counts["copied_bytes"] += task.file.size_bytes
    state.say("copied file", facts(task))


def prove(state: NodeState, addr: Addr, names: frozenset[str], asked_ms: int, now: Now) -> None:
    """A list of an old worker came: is what it called done really there?"""
    for name, task in list(state.tasks.unproven.items()):
        if task.destination != addr or state.tasks.ended_ms(task, unknown_ms=0) > asked_ms:
            continue
        state.tasks.settled(name)
        if name in names:
            _copied(state, task, now)
        else:
            _retry_later(state, task, "its worker called it done, but does not list it", now)


def give_up_unproven(state: NodeState, now: Now) -> None:
    """The list that would prove a copy does not come: the copy counts as failed."""
    long_ago_ms = now.mono_ms - UNPROVEN_MS
    for name, task in list(state.tasks.unproven.items()):
        if state.tasks.ended_ms(task, unknown_ms=long_ago_ms) <= long_ago_ms:
            state.tasks.settled(name)
            _retry_later(state, task, "its worker called it done, and was not listed since", now)


def _failed(state: NodeState, task: Task, told: TaskReport, now: Now) -> None:
    if told.retry_after_s is not None:
        state.fleet.is_busy(task.source, now.mono_ms + 1000 * min(60, max(1, told.retry_after_s)))
        end(state, task, Status.FAILED, told.error or "its source is busy", now, penalty=False)
    else:
        end(state, task, told.status, told.error or "its worker gave up", now, by_worker=True)


# ── ends ────────────────────────────────────────────────────────────────────────────────────────────────


def end(
    state: NodeState,
    task: Task,
    status: Status,
    why: str,
    now: Now,
    *,
    penalty: bool = True,
    by_worker: bool = False,
) -> None:
    """End a task that did not come to its end: say so, cut its stream, try again later."""
    streaming = task.status is Status.WORKING and task.id not in state.tasks.freed and not by_worker
    ended = state.tasks.change(task, status, now, why)
    state.out.changes.append(PutTask(ended))
    state.counts[f"tasks_{status}"] += 1
    if streaming and _can_cut(state, task):
        state.tasks.still_streams(ended, now.mono_ms)
    if task.destination in state.fleet.records:
        state.fleet.landed(task.destination, task.file.size_bytes, now.mono_ms)
        ask_disk(state, task.destination, now)
    if penalty and status is not Status.CANCELLED:
        _retry_later(state, ended, why, now)
    else:
        state.say("copy ended", facts(ended), ended=status, because=why)


def _can_cut(state: NodeState, task: Task) -> bool:
    """Only a source of ours that serves a built-in transfer can be told to stop."""
    source = state.fleet.records.get(task.source)
    destination = state.fleet.records.get(task.destination)
    if source is None or destination is None:
        return False
    return source.features.serves and destination.features.transfer is Transfer.BUILTIN


def _retry_later(state: NodeState, task: Task, why: str, now: Now) -> None:
    retry = state.retries.failed(task.file, task.source, task.destination, now.mono_ms)
    state.counts["failed_copies"] += 1
    state.say(
        "copy failed",
        facts(task),
        because=why,
        failures=retry.failures,
        again_in_s=(retry.not_before_ms - now.mono_ms) // 1000,
    )


def end_of_server(state: NodeState, addr: Addr, why: str, now: Now) -> None:
    """A server died: its tasks end at once, so that the other side is free again."""
    for task in state.tasks.of_server(addr):
        end(state, task, Status.TIMED_OUT, f"{addr} is down: {why}", now, penalty=False)


def lost_by_restart(state: NodeState, task: Task, now: Now) -> None:
    """The process that ran it is gone."""
    end(state, task, Status.FAILED, "its worker was restarted", now, penalty=False)


def end_overdue(state: NodeState, now: Now) -> None:
    """Leases that ran out, and tasks without progress for the set time."""
    if not state.tasks.runs:
        return
    for task in state.tasks.overdue(now.mono_ms):
        end(state, task, Status.TIMED_OUT, "nothing was heard of it for too long", now)
    stuck_since_ms = now.mono_ms - state.rules.task_timeout_ms
    for task_id, run in list(state.tasks.runs.items()):
        if run.reports and run.started_ms is not None and run.moved_ms <= stuck_since_ms:
            end(state, state.tasks.active[task_id], Status.TIMED_OUT, "no progress for too long", now)


def next_deadline_ms(state: NodeState, now: Now) -> int | None:
    """When a task or a stream must be looked at again, if nothing is heard of it before."""
    moments = [at_ms for at_ms in state.tasks.cut_again_ms.values() if at_ms > now.mono_ms]
    for task_id, run in state.tasks.runs.items():
        moments.append(run.deadline_ms)
        if run.reports and run.started_ms is not None:
            moments.append(run.moved_ms + state.rules.task_timeout_ms)
            if (silent_ms := _silent_ms(state, task_id, run)) > now.mono_ms:
                moments.append(silent_ms)
    return min(moments) if moments else None


def hurry_silent(state: NodeState, now: Now) -> None:
    """A worker of ours that reported and stopped reporting may have been killed: ask it, now and again."""
    for task_id, run in state.tasks.runs.items():
        if run.reports and run.started_ms is not None and _silent_ms(state, task_id, run) <= now.mono_ms:
            state.health.hurry(state.tasks.active[task_id].destination, now.mono_ms)


def _silent_ms(state: NodeState, task_id: int, run: Run) -> int:
    """When the worker of a task that is reported on is asked if it lives: not again so soon."""
    asked_ms = state.health.pulse(state.tasks.active[task_id].destination).asked_ms
    return max(run.heard_ms, asked_ms or 0) + SILENCE_MS


def drop(state: NodeState, event: TaskDropped, now: Now) -> None:
    """`DELETE /tasks/{id}`: a running task is cancelled, an ended one leaves the list."""
    task = state.tasks.get(event.task_id)
    if task is None:
        state.out.effects.append(Reply(event.request, 404))
        return
    if is_final(TASK_EDGES, task.status):
        state.tasks.take_off(task.id)
        state.out.changes.append(DropTask(task.id))
    else:
        state.retries.failed(task.file, task.source, task.destination, now.mono_ms)
        end(state, task, Status.CANCELLED, "cancelled by an operator", now)
    state.out.effects.append(Reply(event.request, 200))


# ── streams of ended tasks ──────────────────────────────────────────────────────────────────────────────


def cut_streams(state: NodeState, now: Now) -> None:
    """Tell sources to cut the streams of ended tasks, until they say that it is done, or the lease is over.

    Then the worker that read it has stopped by itself; and a source of ours serves no more than it may,
    whatever we believe.  One that is gone, or obeys another controller, would be waited for in vain.
    """
    for task_id, at_ms in list(state.tasks.cut_again_ms.items()):
        task = state.tasks.uncut[task_id]
        ended_ms = state.tasks.ended_ms(task, unknown_ms=0)
        if now.mono_ms - ended_ms >= state.rules.lease_ms + LEASE_MARGIN_MS:
            state.tasks.stream_cut(task_id)
        elif at_ms <= now.mono_ms and state.health.is_up(task.source):
            state.tasks.cut_again_ms[task_id] = now.mono_ms + CUT_AGAIN_MS
            state.out.effects.append(CutStream(task.source, task_id))


# ── looks that a change asks for ────────────────────────────────────────────────────────────────────────


def look_at(state: NodeState, addr: Addr, now: Now) -> None:
    """List a server and measure its disk, now."""
    record = state.fleet.records[addr]
    ask_disk(state, addr, now)  # first: they share a connection, and a list may be long
    if record.is_destination and record.listing.begin(now.mono_ms):
        unknown = state.orders.unknown_at(addr)
        fence = max(order.id for order in unknown) + 1 if unknown else None
        state.out.effects.append(AskList(addr, fence))


def ask_disk(state: NodeState, addr: Addr, now: Now) -> None:
    if state.fleet.records[addr].asking_disk.begin(now.mono_ms):
        state.out.effects.append(AskDisk(addr))


def facts(task: Task) -> dict[str, object]:
    """What is said of a task.  Its id is text: it is larger than what JavaScript counts exactly."""
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
