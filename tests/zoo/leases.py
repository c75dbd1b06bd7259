"""Bugs of several cfm: for each guard against two leaders one that leaves it out.

They are hunted in worlds with several cfm.  Neighbour: `bugs` has those of a single one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from cfm.controller.decide import events as ev
from cfm.controller.decide.core import Core
from cfm.controller.decide.leadership import Leadership, LeaderState
from cfm.controller.decide.step import Step
from cfm.model import Now
from cfm_lab.fakes.shared_store import SharedStore
from cfm_lab.sim.environment.parts import PARTS, Parts
from cfm_lab.sim.environment.schedule import Clock


class CountsFromTheAnswer(Leadership):
    """The lease begins when the answer has come, and not before the question was sent."""

    def _held(self, _asked_ms: int, epoch: int, now_ms: int) -> None:
        super()._held(now_ms, epoch, now_ms)


class StopsWhenTold(Leadership):
    """It acts until somebody tells it that it was deposed."""

    @property
    def acts_until_ms(self) -> int:
        return 2**62 if self.state in (LeaderState.LEADING, LeaderState.LAPSED) else 0


class WritesWithoutEpoch(SharedStore):
    """A commit does not ask whose the lease is."""

    def _require_held(self) -> None:
        pass


class SendsBeforeCommit(Core):
    """Orders and answers go out at once, and are written down meanwhile."""

    def handle(self, event: ev.Event, now: Now) -> Step:
        step = super().handle(event, now)
        return Step([*step.at_once, *step.after_commit], step.changes, [])


OF_SEVERAL: Mapping[str, Parts] = {
    "a lease by the wall clock": replace(PARTS, lease_clock=Clock.wall_ms),
    "a lease counts from the answer": replace(PARTS, leadership=CountsFromTheAnswer),
    "a leader acts until it is told": replace(PARTS, leadership=StopsWhenTold),
    "a commit asks for no epoch": replace(PARTS, shared_store=WritesWithoutEpoch),
    "orders go out before the commit": replace(PARTS, core=SendsBeforeCommit),
}
