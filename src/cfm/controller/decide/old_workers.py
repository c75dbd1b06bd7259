"""What can be seen of an old worker's copy that its reports do not tell.  Pure functions.

An old worker says `done` once, without a retry, and one that was restarted forgets its task.  Both show by
what it does.  It renames a file into its place only when the copy is complete, so its file list shows a copy
whose `done` was lost.  And it asks for the task list only while it copies nothing.  Without this the task
would keep its source and its destination until its time limit.  Neighbours: `observing` hands the lists over,
`core` the questions for the task list; `copying` and `overdue` end the tasks.
"""

from __future__ import annotations

from collections.abc import Iterator

from cfm.controller.decide import copying, overdue
from cfm.controller.decide.state import NodeState
from cfm.model import Addr, Names, Now, Status, Task, host_of

POLLS_APART_MS = 1_000
"""One question may have been asked by a person on that host.  A worker asks again, some seconds later."""

UNTAKEN_POLLS = 4
"""It takes the first ready task of the list at once.  Some lists may be lost on their way to it."""


def listed(state: NodeState, addr: Addr, names: Names, asked_ms: int, now: Now) -> None:
    """A list of an old worker names files whose copies are said to be under way: they are complete."""
    for task in list(_copies_at(state, addr)):
        started_ms = state.tasks.runs[task.id].started_ms
        if task.file.name in names and started_ms is not None and started_ms < asked_ms:
            copying.found(state, task, now)


def asked_for_tasks(state: NodeState, client: str, now: Now) -> None:
    """Somebody on this host asked for the task list.  An old worker that does so twice copies nothing; one
    that asks again and again, and leaves a ready task, does not take it."""
    there = [addr for addr in state.config.destinations if host_of(addr) == client]
    if len(there) != 1:  # nobody, or nobody knows which of them
        return
    state.fleet.asked_for_work(there[0], now.mono_ms)
    if state.fleet.records[there[0]].features.ours:
        return  # it has requests of its own: another program of that host asks
    for task in list(_copies_at(state, there[0])):
        run = state.tasks.runs[task.id]
        if run.polled_ms is None:
            run.polled_ms = now.mono_ms
        elif now.mono_ms - run.polled_ms >= POLLS_APART_MS:
            state.say("its worker asks for other work", copying.facts(task))
            copying.called_done(state, task, now)
    for task in [task for task in state.tasks.ready.values() if task.destination == there[0]]:
        run = state.tasks.runs[task.id]
        if run.polled_ms is None or now.mono_ms - run.polled_ms >= POLLS_APART_MS:
            run.polled_ms, run.polls = now.mono_ms, run.polls + 1
        if run.polls >= UNTAKEN_POLLS:
            overdue.end_untaken(state, task, now)


def _copies_at(state: NodeState, addr: Addr) -> Iterator[Task]:
    """The tasks that an old worker has taken, as far as we know."""
    if state.fleet.records[addr].features.ours or not state.health.is_up(addr):
        return
    for task in state.tasks.of_server(addr):
        if task.destination == addr and task.status is Status.WORKING:
            yield task
