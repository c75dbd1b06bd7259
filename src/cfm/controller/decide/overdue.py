"""Copies that take too long: untaken, silent, at a standstill or too slow.  Pure functions.

Each end here is an event of `tasks.lifecycle`, and speaks against whoever may be to blame.  Neighbours:
`core` asks at each event what is overdue, and when something will be; `copying` ends the tasks.
"""

from __future__ import annotations

from collections.abc import Callable

from cfm.controller.decide.copying import end, needed_ms
from cfm.controller.decide.state import NodeState
from cfm.model import Now, Task, Transfer
from cfm.plan.pauses import is_to_blame
from cfm.tasks.book import Run
from cfm.tasks.failures import Blame
from cfm.tasks.lifecycle import TaskEvent
from cfm.tasks.rates import WINDOW_MS

SILENCE_MS = 2_000
"""A worker of ours reports about once a second.  After this silence we send the next heartbeat at once."""
UNTAKEN_MS = 45_000
"""How long a worker of ours has to take a task.  It waits for one by a request of half a minute."""
UNTAKEN_BY_OLD_MS = 300_000
"""How long an old worker has.  It polls every few seconds; its settings may say otherwise."""
TRIAL_MS = 30_000
"""How long a trial may move nothing.  A server that works again moves something within seconds."""


def end_overdue(state: NodeState, others_wait: Callable[[], bool], now: Now) -> None:
    """End the tasks that nobody takes or reports on, that stand still, or that are too slow.

    `others_wait`: is there another file that the source could send instead?
    """
    if not state.tasks.runs:
        return
    for task in state.tasks.overdue(now.mono_ms):
        ours = state.tasks.runs[task.id].reports
        blame: Blame | None = Blame.DESTINATION if ours else Blame.UNCLEAR
        if state.store_trouble:
            ours, blame = False, None  # nobody may have heard of it
        end(
            state,
            task,
            TaskEvent.TIMED_OUT,
            "nothing was heard of it for too long",
            now,
            blame=blame,
            sure=ours,
        )
    for task in _untaken(state, now):
        end_untaken(state, task, now)
    stuck_since_ms = now.mono_ms - state.rules.task_timeout_ms
    for task_id, run in list(state.tasks.runs.items()):
        if run.reports and run.started_ms is not None:
            task = state.tasks.active[task_id]
            if run.moved_ms <= stuck_since_ms:
                end(state, task, TaskEvent.TIMED_OUT, "no progress for too long", now)
            elif task_id not in state.tasks.received and now.mono_ms >= _window_ends_ms(state, task, run):
                _judge_window(state, task, run, others_wait, now)


def end_untaken(state: NodeState, task: Task, now: Now) -> None:
    """Its worker had long enough to take a task, and did not."""
    why = "its worker does not take the task"
    end(state, task, TaskEvent.TIMED_OUT, why, now, blame=Blame.DESTINATION, sure=True)


def _untaken(state: NodeState, now: Now) -> list[Task]:
    """Ready tasks that their workers had long enough to take, and did not."""
    if state.store_trouble:
        return []  # nobody may have heard of them
    return [task for task in state.tasks.ready.values() if _take_until_ms(state, task) <= now.mono_ms]


def _take_until_ms(state: NodeState, task: Task) -> int:
    ours = state.fleet.records[task.destination].features.ours
    return state.tasks.runs[task.id].offered_ms + (UNTAKEN_MS if ours else UNTAKEN_BY_OLD_MS)


def _window_ends_ms(state: NodeState, task: Task, run: Run) -> int:
    """When its speed is judged.  An external downloader may show no progress before its end: it has as long
    as an old worker would have, and a window more."""
    external = state.fleet.records[task.destination].features.transfer is not Transfer.BUILTIN
    if external and not run.told_bytes and run.started_ms is not None:
        return run.started_ms + needed_ms(task) + WINDOW_MS
    way, stands_still = (task.source, task.destination), run.told_bytes == run.window_bytes
    if stands_still and is_to_blame(state.failures.pauses, way):  # it is a trial
        return max(run.window_ms, run.moved_ms) + TRIAL_MS  # it may have moved, and begun anew
    return run.window_ms + WINDOW_MS


def _judge_window(state: NodeState, task: Task, run: Run, others_wait: Callable[[], bool], now: Now) -> None:
    """A window in which its speed was measured is over: does it go on?"""
    moved_bytes, took_ms = run.told_bytes - run.window_bytes, max(1, now.mono_ms - run.window_ms)
    run.window_ms, run.window_bytes = now.mono_ms, run.told_bytes
    if moved_bytes < 0:
        return  # the transfer began anew
    rate_bps = 8000 * moved_bytes // took_ms
    slow = state.rates.is_too_slow(rate_bps, task.copy_speed_bps, now.mono_ms)
    state.rates.note(rate_bps, now.mono_ms)
    if not moved_bytes:
        end(state, task, TaskEvent.TIMED_OUT, f"no progress for {took_ms // 1000} s", now)
    elif slow and others_wait():
        end(state, task, TaskEvent.TIMED_OUT, f"too slow: {rate_bps // 1000:,} kbit/s", now)


def next_deadline_ms(state: NodeState, now: Now) -> int | None:
    """When a task or a stream must be looked at again, where nothing is heard of it before."""
    moments = [at_ms for at_ms in state.tasks.tell_ms.values() if at_ms > now.mono_ms]
    for task_id, run in state.tasks.runs.items():
        moments.append(run.deadline_ms)
        if run.reports and run.started_ms is not None:
            moments.append(run.moved_ms + state.rules.task_timeout_ms)
            if (task := state.tasks.active[task_id]).id not in state.tasks.received:
                moments.append(_window_ends_ms(state, task, run))
            if (silent_ms := _silent_ms(state, task_id, run)) > now.mono_ms:
                moments.append(silent_ms)
    if not state.store_trouble:
        moments += [_take_until_ms(state, task) for task in state.tasks.ready.values()]
    return min(moments) if moments else None


def hurry_silent(state: NodeState, now: Now) -> None:
    """A worker that has stopped reporting may have been killed.  Ask it now, and again after each silence."""
    for task_id, run in state.tasks.runs.items():
        if run.reports and run.started_ms is not None and _silent_ms(state, task_id, run) <= now.mono_ms:
            state.health.hurry(state.tasks.active[task_id].destination, now.mono_ms)


def _silent_ms(state: NodeState, task_id: int, run: Run) -> int:
    """When the worker of a task is asked whether it lives, but not soon after the last time."""
    asked_ms = state.health.pulse(state.tasks.active[task_id].destination).asked_ms
    return max(run.heard_ms, asked_ms or 0) + SILENCE_MS
