"""Breakers that an operator releases: what they hold, and what a person let go.

A confirmation lets a breaker go once, for the bytes that were shown, under the limit that was in force.  It
ends when nothing is left to free there, and outlives a restart and a change of the leader.  Neighbours:
`core` brings what operators ask; the guard `breaker` reads what is let through; `explain` shows it before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from cfm.controller.decide.dispatch import propose
from cfm.controller.decide.state import NodeState
from cfm.model import Addr, Now
from cfm.plan import refusals
from cfm.plan.ledger import Ledger
from cfm.plan.round import Round
from cfm.plan.shortlist import Shortlist
from cfm.plan.view import Rules
from cfm.tasks.store import DropRelease, PutRelease

RELEASED_FOR_S = 86_400
"""After a restart a confirmation counts for so long: a person saw then what would go."""


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


def preview(state: NodeState, backlog: Shortlist, held: Mapping[Addr, int], now: Now) -> Round:
    """What would follow if the breakers in `held` were released."""
    view = state.view(now)
    released = replace(view, approved_bytes={**view.approved_bytes, **_let_go(held)})
    return propose(released, backlog, state, preview=True)


def release(state: NodeState, held: Mapping[Addr, int], now: Now) -> None:
    """An operator lets these breakers go."""
    limit_percent, let_go = state.rules.limit_percent, _let_go(held)
    state.settings.approve(let_go)
    state.out.changes.extend(
        PutRelease(addr, size_bytes, limit_percent, now.wall_s) for addr, size_bytes in let_go.items()
    )


def _let_go(held: Mapping[Addr, int]) -> dict[Addr, int]:
    """What was shown, and a tenth for what moves meanwhile."""
    return {addr: size_bytes + size_bytes // 10 for addr, size_bytes in held.items()}


def recover(state: NodeState, release: PutRelease, now: Now) -> None:
    """What an operator let go before a restart, or under another leader, is still let go by the same limit.

    It was seen by a person then, so it does not last for ever.
    """
    lately = abs(now.wall_s - release.wall_s) < RELEASED_FOR_S
    same_limit = release.limit_percent == state.rules.limit_percent
    if lately and same_limit and release.server in state.config.destinations:
        state.settings.approve({release.server: release.size_bytes})
    else:
        state.out.changes.append(DropRelease(release.server))


def change_rules(state: NodeState, rules: Rules) -> None:
    """What an operator let go was let go under the old rules: a new limit is confirmed anew."""
    state.out.changes.extend(map(DropRelease, state.settings.approved_bytes))
    state.settings.change(rules)


def forget(state: NodeState, now: Now) -> None:
    """A confirmation releases a breaker once: it ends when nothing is left to free there."""
    approved_bytes = state.settings.approved_bytes
    busy = {order.server for order in state.orders.active.values()} | set(state.reservations.reserved)
    disks = Ledger(state.view(now)).disks if approved_bytes else {}
    for addr in [addr for addr in approved_bytes if addr not in busy]:
        if addr in disks and disks[addr].over_bytes == 0:
            state.settings.end_approval(addr)
            state.out.changes.append(DropRelease(addr))
