"""Several cfm in one simulated node: hosts that share a state by a lease, and what may come between them.

A host asks the database for the lease as the product does, by `decide.leadership`.  While it leads, cfm runs
on it.  Questions are lost, late, or carried out after their asker was stopped; commits are carried out and
their answer is lost; hosts are killed, stopped and cut off from the database, all of them at once too.  Then
the rules of all simulated nodes hold, and one more: at most one cfm acts at a time.  Neighbours: `run` plays
the world, `processes.controller` is the cfm.
"""

from __future__ import annotations

from functools import partial
from typing import Final

from cfm.controller.decide import events as ev
from cfm.controller.decide.leadership import LeaderState, LeaseTerms
from cfm.errors import StateError, StoreFullError
from cfm.model import Addr
from cfm.tasks.store import LeaseSeen
from cfm_lab.fakes.shared_store import SharedState
from cfm_lab.sim.environment.network import Process
from cfm_lab.sim.environment.schedule import Clock
from cfm_lab.sim.processes.controller import Leased, SimCfm
from cfm_lab.sim.world import World

TERMS: Final = LeaseTerms()
MINUTE_MS: Final = 60_000
BLOW_EVERY_MS: Final = (5_000, 2 * MINUTE_MS)
NOT_HERE: Final = frozenset({"cfm_killed", "cfm_stopped", "cfm_second", "cfm_superseded", "cfm_rival"})
"""Faults of the only cfm of a node; hosts have their own."""


class Host:
    """One host with a cfm, which follows or leads."""

    def __init__(self, several: Several, number: int) -> None:
        self.several, self.world = several, several.world
        self.name = f"host-{number}"
        # Monotonic clocks are everybody's own; wall clocks agree, as those of hosts with NTP.
        self.clock = Clock(
            self.world.schedule,
            self.world.rng.between(1_000_000, 900_000_000),
            1000 * self.world.profile.start_wall_s,
        )
        self.process = Process(self.name, self.world.schedule)
        self.rng = several.rng.fork(self.name)
        self.cut_off = False
        self.cfm: SimCfm | None = None
        self.begin()

    def begin(self) -> None:
        """As a follower that knows nothing."""
        parts = self.world.parts
        self.leadership = parts.leadership(TERMS, self.clock.mono_ms())
        self.store = parts.shared_store(
            self.several.shared, Addr(self.name), TERMS.lease_ms, lambda: self.clock.wall_ms() // 1000
        )
        self.store.after_commit = self._committed
        self._tell_store()
        self._round = object()
        self._due(self._round)

    def acts(self) -> bool:
        return self.leadership.may_act(self.clock.mono_ms())

    # ── what happens to it ──────────────────────────────────────────────────────────────────────────────

    def kill(self) -> None:
        self._end_cfm()
        self.process.end()
        self._round = object()

    def restart(self) -> None:
        if not self.process.up:
            self.process.up = True
            self.begin()

    def stop(self) -> None:
        """SIGSTOP; what its questions do in the database goes on."""
        self.process.stop()
        if self.cfm is not None:
            self.cfm.process.stop()

    def go_on(self) -> None:
        if self.cfm is not None:
            self.cfm.process.go_on()
        self.process.go_on()

    def cut(self, is_cut: bool) -> None:
        self.cut_off = is_cut
        self._tell_store()

    def _tell_store(self) -> None:
        self.store.trouble = "no route to the database" if self.cut_off else None

    def _committed(self, epoch: int) -> None:
        """Now and then nobody hears of it."""
        if epoch != self.several.shared.committed.epoch:
            self.world.violations.add("one leader", f"{self.name} wrote in epoch {epoch}, and was deposed")
        if self.rng.below(200) == 0:
            raise StoreFullError("the answer to the commit was lost")

    # ── the lease ───────────────────────────────────────────────────────────────────────────────────────

    def _due(self, round_: object) -> None:
        if round_ is not self._round:
            return
        now_ms = self.clock.mono_ms()
        self.leadership.look_at_clock(now_ms)
        self._obey()
        if round_ is not self._round:
            return
        if now_ms >= self.leadership.next_ms:
            self._ask(round_)
        else:
            wait_ms = max(1, self.leadership.next_look_ms() - now_ms)
            self.process.later(wait_ms, lambda: self._due(round_))

    def _ask(self, round_: object) -> None:
        """The question travels, is carried out or not, and its answer travels; the asker waits a second."""
        asked_ms = self.clock.mono_ms()
        self.leadership.asked(asked_ms)
        store, heard = self.store, [False]
        way_ms, back_ms = self._travel_ms(), self._travel_ms()

        def hear(seen: LeaseSeen | str) -> None:
            if heard[0] or round_ is not self._round:
                return
            heard[0] = True
            self.leadership.answered(asked_ms, seen, self.clock.mono_ms())
            self._due(round_)

        def carry_out() -> None:
            try:
                seen: LeaseSeen | str = store.hold_lease()
            except StateError as error:
                seen = str(error)
            if self.rng.below(50):
                self.process.later(back_ms, partial(hear, seen))

        if self.rng.below(50):
            self.world.schedule.after(way_ms, carry_out)
        self.process.later(TERMS.answer_ms, lambda: hear("no answer in time"))

    def _travel_ms(self) -> int:
        return self.rng.between(100, 1_100) if self.rng.below(6) == 0 else self.rng.between(1, 5)

    def _obey(self) -> None:
        state = self.leadership.state
        if state is LeaderState.LEADING and self.cfm is None:
            self._lead()
        elif state is LeaderState.LEADING and self._is_paused():
            self._feed(ev.StoreRecovered())
        elif state is LeaderState.LAPSED and self.cfm is not None and not self._is_paused():
            self._feed(ev.StoreTrouble("the lease may have ended"))
        if self.leadership.has_ended or (self.cfm is not None and not self.cfm.running):
            self._end_cfm()
            self.begin()

    def _is_paused(self) -> bool:
        return self.cfm is not None and self.cfm.core is not None and bool(self.cfm.core.state.store_trouble)

    def _feed(self, event: ev.Event) -> None:
        if self.cfm is not None and self.cfm.running:
            self.cfm.feed(event)

    def _lead(self) -> None:
        world = self.world
        cfm = world.another_cfm(self.several.shared.committed)
        cfm.clock = self.clock
        cfm.leased = Leased(self.store, self.leadership)
        if cfm.start():
            self.cfm = world.main = cfm
        else:
            world.cfms.remove(cfm)

    def _end_cfm(self) -> None:
        if self.cfm is not None:
            self.cfm.kill()
            if self.cfm is not self.world.main and self.cfm in self.world.cfms:
                self.world.cfms.remove(self.cfm)
            self.cfm = None


class Several:
    """All hosts of a node, and their blows."""

    def __init__(self, world: World, hosts: int) -> None:
        self.world = world
        self.rng = world.rng.fork("several")
        clock = world.clock()
        self.shared = SharedState(clock.wall_ms, world.main.state)
        world.main.is_managed = True
        self.calm = False
        self.failovers = 0
        self._epoch = 0
        self.hosts = [Host(self, number) for number in range(1, hosts + 1)]
        self._blow_later()
        self._check()

    def _blow_later(self) -> None:
        self.world.schedule.after(self.rng.between(*BLOW_EVERY_MS), self._blow)

    def _blow(self) -> None:
        if self.calm:
            return
        host = self.rng.pick(self.hosts)
        for_ms = self.rng.between(500, 2 * MINUTE_MS)
        match self.rng.below(4):
            case 0:
                host.kill()
                self.world.schedule.after(for_ms, host.restart)
            case 1:
                host.stop()
                self.world.schedule.after(self.rng.between(500, 20_000), host.go_on)
            case 2:
                host.cut(True)
                self.world.schedule.after(for_ms, host.cut, False)
            case _:
                for one in self.hosts:  # the database itself is away
                    one.cut(True)
                    self.world.schedule.after(for_ms, one.cut, False)
        self._blow_later()

    def make_calm(self) -> None:
        self.calm = True
        for host in self.hosts:
            host.restart()
            host.go_on()
            host.cut(False)

    def _check(self) -> None:
        acting = [host.name for host in self.hosts if host.acts()]
        if len(acting) > 1:
            self.world.violations.add("one leader", f"{' and '.join(acting)} act at the same time")
        if self.shared.committed.epoch != self._epoch:
            self._epoch, self.failovers = self.shared.committed.epoch, self.failovers + 1
        self.world.schedule.after(97, self._check)
