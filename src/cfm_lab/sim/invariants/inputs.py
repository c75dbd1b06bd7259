"""The rule about what is read from outside: the event log says no more and no less than what viewers did."""

from __future__ import annotations

from cfm.controller.decide import events as ev
from cfm.model import Now
from cfm.tasks.store import Change
from cfm_lab.sim.invariants.base import Invariant
from cfm_lab.sim.processes.controller import SimCfm


class HitsAsLogged(Invariant):
    """Rule 3 of the domain: what rises, and by how many hits, and what is watched, is what the log has,
    whatever else stands in it.

    Scope: a window of the past may be told late, by a process that was stopped.
    """

    number = "rule 3"
    title = "hits as they are logged"

    def decided(self, _cfm: SimCfm, event: ev.Event, _changes: list[Change], _now: Now) -> None:
        if isinstance(event, ev.HitsChanged):
            told = event.hits in reversed(self.world.true_hits)
            self.hold(told, "nobody watched so:", sorted(event.hits.rising), sorted(event.hits.watched))
