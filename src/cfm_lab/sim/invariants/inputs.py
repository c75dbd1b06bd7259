"""The rule about the event log: cfm counts just the hits that viewers made."""

from __future__ import annotations

from collections.abc import Sequence

from cfm.controller.decide import events as ev
from cfm.model import Now
from cfm.tasks.store import Change
from cfm_lab.sim.invariants.base import Invariant
from cfm_lab.sim.processes.controller import SimCfm


class HitsAsLogged(Invariant):
    """Rule 3 of the domain: rising files, their hits, and watched files are those of the log, whatever else
    the log contains.

    Scope: a process that was stopped may be late, and tell of an earlier window.
    """

    number = "rule 3"
    title = "hits as they are logged"

    def decided(self, _cfm: SimCfm, event: ev.Event, _changes: Sequence[Change], _now: Now) -> None:
        if isinstance(event, ev.HitsChanged):
            told = event.hits in reversed(self.world.true_hits)
            self.hold(told, "nobody watched so:", sorted(event.hits.rising), sorted(event.hits.watched))
