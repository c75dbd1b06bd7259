"""Dispatch: what may start now, from the ordered backlog and what has happened since it was planned.

It runs at every wake-up, without a full plan.  First the orders that wait are judged once more, and those
that may be sent are sent.  Then the policies wish, the judge answers, and what was booked becomes tasks and
delete orders.  Neighbours: `core` calls this; `plan.judge` decides; `copying` and `deleting` carry out.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from cfm.controller.decide import copying, deleting
from cfm.controller.decide.state import NodeState
from cfm.model import Addr, DeleteKind, File, Now
from cfm.plan import refusals
from cfm.plan.judge import Judge
from cfm.plan.round import Round
from cfm.plan.shortlist import Shortlist
from cfm.plan.view import ClusterView

SEEN_AHEAD = 64
"""How many wanted files are looked at on the SAN ahead of their turn.  Where a file is copied in a moment, a
source needs that many to go on without a rest."""


def dispatch(state: NodeState, backlog: Shortlist, now: Now) -> Round:
    """Send what is confirmed, start and order what may be, and look up what that waits for."""
    judge = Judge(state.view(now), state.kernel)
    deleting.send_ready(state, judge, now)
    if state.revision.dispatch != judge.round.view.revision:  # an order was dropped: look again
        judge = Judge(state.view(now), state.kernel)
    round_ = judge.run(state.policies, backlog)
    for copy in round_.copies:
        projected_percent = round_.ledger.disks[copy.destination].projected_percent
        copying.start_copy(state, copy, projected_percent, now)
    for delete, room_for in round_.deletes_for():
        deleting.order(state, delete, room_for, now)
    state.ask_san(round_.ask_san, now)
    state.ask_san(round_.ask_ahead, now, ahead=True)
    if not round_.view.first_look:
        state.ask_san(list(_never_seen(state, backlog)), now, ahead=True)
    return round_


def _never_seen(state: NodeState, backlog: Shortlist) -> Iterator[File]:
    """The next wanted files that nobody has looked at yet.

    A file is copied when two looks some time apart agree.  The first of them is made long before its turn.
    """
    seen, answers = state.san.sightings, state.san.answers
    busy = state.tasks.by_file
    if state.rules.san_rest_ms:
        waiting = (
            file for file in backlog.wanted if not state.is_placed(file.name) and file.name not in busy
        )
        for file in islice(waiting, SEEN_AHEAD):
            if file.name not in seen and file.name not in answers:
                yield file


def rehearse(state: NodeState, backlog: Shortlist, now: Now) -> Round:
    """Choose as `dispatch` does, and look up what that waits for; start nothing.  For `cfm plan`."""
    round_ = propose(state.view(now), backlog, state)
    state.ask_san((*round_.ask_san, *round_.ask_ahead), now)
    return round_


def send_orders(state: NodeState, now: Now) -> None:
    """The first step of `dispatch` alone: most answers that an order waits for concern nobody else."""
    deleting.send_ready(state, Judge(state.view(now), state.kernel), now)


def is_unfinished(round_: Round) -> bool:
    """Did a copy take the room of a better file that waits for a busy destination?

    That file may fit nowhere now.  Whether room is made for it, another round decides.  So it does where a
    breaker held back room, and less is to be deleted there by now.  And so it does after an eviction: less is
    missing for the files that found no room, and the policy of room had its turn before.
    """
    overtaken = round_.times("copy", refusals.NO_DESTINATION) > 0 and started(round_) > 0
    if overtaken or (round_.times("delete", refusals.BREAKER) > 0 and bool(round_.deletes)):
        return True
    evicts = any(one.kind is DeleteKind.SPACE and room_for is None for one, room_for in round_.deletes_for())
    return evicts and bool(round_.no_room)


def started(round_: Round) -> int:
    """How many copies a round started."""
    return len(round_.copies)


def evicted(round_: Round) -> Iterator[Addr]:
    """The server of each delete for room or space that a round ordered."""
    return (delete.server for delete in round_.deletes if delete.kind is DeleteKind.SPACE)


def propose(view: ClusterView, backlog: Shortlist, state: NodeState, *, preview: bool = False) -> Round:
    """The same decisions, and none of them is carried out: what `cfm plan` shows.

    `preview`: what would be deleted if the SAN has all of it.
    """
    return Judge(view, state.kernel, preview=preview).run(state.policies, backlog)
