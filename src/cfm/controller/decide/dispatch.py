"""Dispatch: what may start now, from the ordered backlog and what has happened since it was planned.

Run at every wake-up, without a full plan: confirmed deletes are sent, then the policies propose over the
current view and the kernel disposes.  The result of a run is a `Round`, with every refusal and its reason.
Neighbours: `core` calls this; `plan.policies` holds what is worth doing, `plan.kernel` what is allowed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from cfm.controller.decide import copying, deleting
from cfm.controller.decide.state import NodeState
from cfm.model import Addr, DeleteKind, Now
from cfm.plan import policies, refusals
from cfm.plan.ledger import Ledger
from cfm.plan.round import Copy, Delete, Round
from cfm.plan.shortlist import Shortlist
from cfm.plan.view import ClusterView


def dispatch(state: NodeState, backlog: Shortlist, now: Now) -> Round:
    """Send what is confirmed, then start and order what may be, and look up what that waits for."""
    view = state.view(now)
    ledger = Ledger(view)
    deleting.send_ready(state, view, ledger, now)
    if state.wants_dispatch:  # an order was dropped: look again with what is now known
        state.wants_dispatch = False
        view = state.view(now)
        ledger = Ledger(view)
    round_ = policies.run(Round(view, backlog, ledger, state.kernel))
    for proposal in round_.done:
        if isinstance(proposal, Copy):
            copying.start_copy(state, proposal, now)
        else:
            deleting.order(state, proposal, now)
    state.ask_san(round_.ask_san, now)
    state.ask_san(round_.ask_ahead, now, ahead=True)
    return round_


def rehearse(state: NodeState, backlog: Shortlist, now: Now) -> Round:
    """Choose as `dispatch` does, and look up what that waits for; start nothing.  For `cfm plan`."""
    round_ = propose(state.view(now), backlog, state)
    state.ask_san((*round_.ask_san, *round_.ask_ahead), now)
    return round_


def send_orders(state: NodeState, now: Now) -> None:
    """Nothing but the first step of `dispatch`: most answers that an order waits for concern nobody else."""
    view = state.view(now)
    deleting.send_ready(state, view, Ledger(view), now)


def started(round_: Round) -> int:
    """How many copies a round started."""
    return sum(isinstance(proposal, Copy) for proposal in round_.done)


def evicted(round_: Round) -> Iterator[Addr]:
    """The server of each delete for room or space that a round ordered."""
    for proposal in round_.done:
        if isinstance(proposal, Delete) and proposal.deletion.kind is DeleteKind.SPACE:
            yield proposal.deletion.server


def propose(view: ClusterView, backlog: Shortlist, state: NodeState) -> Round:
    """The same decisions without carrying any of them out: what `cfm plan` shows."""
    return policies.run(Round(view, backlog, Ledger(view), state.kernel))


def held_by_breaker(state: NodeState, backlog: Shortlist, now: Now) -> dict[Addr, int]:
    """Destinations whose space breaker holds, and the bytes that it would have to let through."""
    return blocked_bytes(propose(state.view(now), backlog, state))


def blocked_bytes(round_: Round) -> dict[Addr, int]:
    """The bytes that a round's breakers hold back, by destination."""
    disks = round_.ledger.disks
    return {
        server: max(disks[server].plan_bytes(refused.room_for) for refused in there)
        for (server, refusal), there in round_.brakes.items()
        if refusal is refusals.BREAKER and server is not None
    }


def preview_release(state: NodeState, backlog: Shortlist, held: Mapping[Addr, int], now: Now) -> Round:
    """What would follow if the breakers in `held` were let go."""
    view = state.view(now)
    return propose(replace(view, approved_bytes={**view.approved_bytes, **approval(held)}), backlog, state)


def approval(held: Mapping[Addr, int]) -> dict[Addr, int]:
    """How much a confirmation lets go: what was shown, and a tenth for what moves meanwhile."""
    return {addr: size_bytes + size_bytes // 10 for addr, size_bytes in held.items()}


def forget_approvals(state: NodeState, now: Now) -> None:
    """A confirmation lets a breaker go once: it ends when nothing is left to free there."""
    busy = {order.server for order in state.orders.active.values()} | set(state.reserved)
    disks = Ledger(state.view(now)).disks if state.approved_bytes else {}
    for addr in [addr for addr in state.approved_bytes if addr not in busy]:
        if addr in disks and disks[addr].over_bytes == 0:
            del state.approved_bytes[addr]
