"""The rules about the controller as a whole: its books stay small, and planning twice gives the same plan."""

from __future__ import annotations

from cfm.controller.decide import dispatch
from cfm.tasks.book import SHOWN_MS
from cfm_lab.sim.invariants.base import Invariant
from cfm_lab.sim.processes.controller import SimCfm
from cfm_lab.sim.processes.worker import SimWorker

FORGETS_MS = 10 * 60_000
"""How long an entry may stay after its time: cfm tidies up only every few minutes, and not while stopped."""


class Bounded(Invariant):
    """However long a node runs, every book stays under a bound that follows from the size of the node."""

    number = "21"
    title = "bounded books"

    def audit(self) -> None:
        world = self.world
        files = 2 * (len(world.library) + len(world.ads)) + 400
        servers = len(world.servers)
        for cfm in world.cfms:
            if not cfm.running or cfm.core is None or cfm.store_full or cfm.process.stopped:
                continue
            if cfm.issuer.epoch != cfm.state.epoch:
                continue  # it has been replaced, and does not know that yet
            state = cfm.core.state
            sizes = {
                "tasks": (len(state.tasks.active), 4 * servers),
                "ended tasks": (len(state.tasks.ended), self._ended_lately(cfm)),
                "uncut": (len(state.tasks.uncut), 50),
                "orders": (len(state.orders.active), files),
                "retries": (len(state.failures.retries), files),
                "failing servers and pairs": (len(state.failures.pauses), servers * servers),
                "accused servers and pairs": (len(state.failures.accusers), servers * servers),
                "versions": (len(state.versions.copies), files),
                "sightings": (len(state.san.sightings), files),
                "san": (len(state.san.answers) + len(state.san.asked_ms), 2 * files),
                "copies seen": (len(state.copies.seen) + len(state.copies.asked_ms), files * servers),
                "arrivals": (len(state.arrivals.arrived_ms), files * servers),
                "departures": (len(state.departures.left), files),
                "unproven": (len(state.tasks.unproven), 50),
                "pauses": (len(state.pauses.paused), files),
            }
            for book, (size, most) in sizes.items():
                self.hold(size <= most, f"{book} holds {size}, at most {most}")
            for record in state.fleet.records.values():
                account = record.account
                size = max(map(len, (record.added, record.removed, account.booked, account.gone)))
                self.hold(size <= files, f"the record of {record.addr} holds {size}")
        for server in world.servers.values():
            if isinstance(server, SimWorker):
                held = len(server.book.states())
                self.hold(held <= 64, f"{server.addr} holds {held} tasks")

    def _ended_lately(self, cfm: SimCfm) -> int:
        """How many ended tasks the book may hold: those still shown, those found at the start, and 20."""
        state = self.facts.state(cfm.issuer.controller)
        since_ms = cfm.clock.mono_ms() - SHOWN_MS - FORGETS_MS
        found = sum(known.ended_mono_ms is None for known in state.tasks.values())
        return 20 + found + sum(ms > since_ms for ms, _task in state.done)


class SamePlanTwice(Invariant):
    """Two plans from the same view propose the same, and refuse the same for the same reasons."""

    number = "same plan"
    title = "the same plan twice"

    def audit(self) -> None:
        cfm = self.world.main
        if not cfm.running or cfm.core is None:
            return
        core, now = cfm.core, cfm.clock.now()
        first = dispatch.propose(core.state.view(now), core.backlog(), core.state)
        second = dispatch.propose(core.state.view(now), core.backlog(), core.state)
        self.hold(first.booked == second.booked, "planned twice, and differently")
        self.hold(first.refused == second.refused, "refused twice, and for other reasons")
