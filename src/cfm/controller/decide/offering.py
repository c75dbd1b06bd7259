"""The waiting requests of workers, and which of them is answered with which task.  Pure.

A worker asks for work by a request that is held until there is a task for it, or until its time is over.
Each worker has one such request at a time.  Neighbours: `core` routes the requests here, and asks after every
event whether one can be answered; `copying` offers the task.
"""

from __future__ import annotations

from dataclasses import dataclass

from cfm.controller.decide import copying
from cfm.controller.decide.events import NextAsked, Offer, Problem, Reply, RequestGone
from cfm.controller.decide.state import NodeState
from cfm.model import Addr, Now


@dataclass(slots=True)
class Held:
    """A waiting request of a worker."""

    request: int
    until_ms: int
    holding: frozenset[int]
    claims_until_ms: int
    """Until then the worker takes what it is answered.  Later too little of the lease would be left, because
    a lease counts from the question."""


class Offering:
    """The requests that one node's workers wait by."""

    def __init__(self, state: NodeState) -> None:
        self._state = state
        self._held: dict[Addr, Held] = {}
        self.next_ms: int | None = None
        """When the first of them must be answered."""

    def asked(self, event: NextAsked, now: Now) -> None:
        """`GET /tasks/next`: answered at once where the worker lost an answer, and else held."""
        state, addr = self._state, event.destination
        if addr not in state.fleet.records:
            problem = Problem(f"cfm.yml names no server {addr}")
            state.out.effects.append(Reply(event.request, 400, problem))
            return
        state.health.heard_of(addr, now.mono_ms)
        state.fleet.asked_for_work(addr, max(now.mono_ms, event.until_ms))
        if (older := self._held.pop(addr, None)) is not None:
            state.out.effects.append(Reply(older.request, 204, promises_nothing=True))
        lost = state.tasks.lost_offer(addr, event.holding) if event.claims else None
        if lost is not None:
            task = copying.claim(state, lost, now)
            state.out.effects.append(Reply(event.request, 200, Offer(task)))
        else:
            claims_ms = state.rules.lease_ms // 2 if event.claims else -1
            held = Held(event.request, event.until_ms, event.holding, now.mono_ms + claims_ms)
            self._held[addr] = held
        self._note_first()

    def gone(self, event: RequestGone, now: Now) -> None:
        """A worker that hangs up may have been killed: it is asked whether it lives."""
        for addr in [addr for addr, held in self._held.items() if held.request == event.request]:
            del self._held[addr]
            self._state.health.hurry(addr, now.mono_ms)
        self._note_first()

    def answer(self, now: Now) -> None:
        """Answer whoever waits for a task that is ready now, or has waited for as long as it wanted."""
        early = self.next_ms is None or now.mono_ms < self.next_ms
        if not self._held or (early and not self._state.tasks.ready):
            return
        offered = self._state.tasks.ready_destinations()
        for addr, held in list(self._held.items()):
            if addr in offered or now.mono_ms >= held.until_ms:
                self._answer(addr, held, now)
        self._note_first()

    def _answer(self, addr: Addr, held: Held, now: Now) -> None:
        state = self._state
        task = state.tasks.ready_for(addr, held.holding)
        if task is None and now.mono_ms < held.until_ms:
            return
        del self._held[addr]
        if task is not None and now.mono_ms <= held.claims_until_ms:
            task = copying.claim(state, task, now)
        body = Offer(task) if task is not None else None
        status = 204 if task is None else 200
        state.out.effects.append(Reply(held.request, status, body, promises_nothing=task is None))

    def _note_first(self) -> None:
        self.next_ms = min([held.until_ms for held in self._held.values()], default=None)
