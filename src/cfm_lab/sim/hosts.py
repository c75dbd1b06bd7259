"""A host with one of several simulated cfm: it asks for the lease, and follows or leads.

It does what `controller.several` and `act.lease_keeper` do in the product, by the same `decide.leadership`.
While it leads, a cfm runs on it; while it follows, it passes requests on.  Neighbours: `several` has all
hosts and what befalls them, `processes.controller` is the cfm.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, Protocol

from cfm.controller.decide import events as ev
from cfm.controller.decide.leadership import LeaderState, LeaseTerms
from cfm.errors import StateError, StoreFullError
from cfm.model import Addr, Failure, Trouble
from cfm.tasks.store import Change, LeaseSeen
from cfm.wire import TaskReport
from cfm_lab.fakes.shared_store import SharedState
from cfm_lab.sim.environment.network import Process, Reply
from cfm_lab.sim.environment.rng import Rng
from cfm_lab.sim.environment.schedule import Clock
from cfm_lab.sim.environment.services import CfmService, WorkerService
from cfm_lab.sim.processes.controller import Leased, SimCfm
from cfm_lab.sim.world import World

TERMS: Final = LeaseTerms()
PASSED_ON_MS: Final = 10_000
NOBODY_LEADS: Final = Failure(Trouble.STATUS, "nobody leads", 503)
OFF_MS: Final = 2_000
"""So much the wall clocks of two hosts may differ."""

Ask = Callable[[SimCfm, Reply], None]


class Fate(Protocol):
    """What may befall a host at this moment."""

    def strikes(self, kind: str, one_in: int) -> bool: ...

    def host_at(self, addr: Addr) -> Host | None: ...

    def stop_for_long(self, host: Host) -> None: ...


class Host(CfmService):
    """One host with a cfm."""

    def __init__(self, world: World, number: int, shared: SharedState, fate: Fate, rng: Rng) -> None:
        self.world, self.shared, self.fate, self.rng = world, shared, fate, rng
        self.name = f"host-{number}"
        drift_ppm = world.profile.drift_ppm
        self.clock = Clock(
            world.schedule,
            rng.between(1_000_000, 900_000_000),
            1000 * world.profile.start_wall_s + rng.between(-OFF_MS // 2, OFF_MS // 2),
            rng.between(-drift_ppm, drift_ppm),
        )
        self.process = Process(self.name, world.schedule)
        self.is_cut_off = False
        self.cfm: SimCfm | None = None
        self.begin()

    def begin(self) -> None:
        """As a follower that knows nothing."""
        parts = self.world.parts
        self.leadership = parts.leadership(TERMS, self._now_ms())
        self.store = parts.shared_store(
            self.shared, Addr(self.name), TERMS.lease_ms, lambda: self.clock.wall_ms() // 1000
        )
        self.store.after_commit = self._committed
        self._tell_store()
        self._round = object()
        self._due(self._round)

    def acts(self) -> bool:
        return self.process.up and self.leadership.may_act(self._now_ms())

    def _now_ms(self) -> int:
        return self.world.parts.lease_clock(self.clock)

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

    def cut_off(self, *, is_cut: bool) -> None:
        """From the database."""
        self.is_cut_off = is_cut
        self._tell_store()

    def _tell_store(self) -> None:
        self.store.trouble = "no route to the database" if self.is_cut_off else None

    def _committed(self, epoch: int, changes: Sequence[Change]) -> None:
        """The database has changes of ours.  Now and then nobody hears of it, or only much later."""
        if epoch != self.shared.committed.epoch:
            self.world.violations.add("one leader", f"{self.name} wrote in epoch {epoch}, and was deposed")
        if self.cfm is not None:
            self.world.witness.committed(self.cfm, changes)
        if self.fate.strikes("stopped_in_commit", 300):
            self.fate.stop_for_long(self)
        if self.fate.strikes("commit_unheard", 200):
            raise StoreFullError("the answer to the commit was lost")

    # ── the lease ───────────────────────────────────────────────────────────────────────────────────────

    def _due(self, round_: object) -> None:
        if round_ is not self._round:
            return
        now_ms = self._now_ms()
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
        asked_ms = self._now_ms()
        self.leadership.asked(asked_ms)
        store, heard = self.store, [False]
        way_ms, back_ms = self._travel_ms(), self._travel_ms()

        def hear(seen: LeaseSeen | str) -> None:
            if heard[0] or round_ is not self._round:
                return
            heard[0] = True
            self.leadership.answered(asked_ms, seen, self._now_ms())
            self._due(round_)

        def carry_out() -> None:
            try:
                seen: LeaseSeen | str = store.hold_lease()
            except StateError as error:
                seen = str(error)
            if not self.fate.strikes("lease_unheard", 50):
                self.process.later(back_ms, partial(hear, seen))

        if not self.fate.strikes("lease_not_asked", 50):
            self.world.schedule.after(way_ms, carry_out)
        self.process.later(TERMS.answer_ms, lambda: hear("no answer in time"))

    def _travel_ms(self) -> int:
        return self.rng.between(100, 1_100) if self.fate.strikes("lease_late", 6) else self.rng.between(1, 5)

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
        cfm = world.another_cfm(self.shared.committed)
        cfm.process.name = self.name  # on the network it is its host
        cfm.clock = self.clock
        cfm.leased = Leased(self.store, self.leadership, self._now_ms)
        if cfm.start():
            self.cfm = world.main = cfm
        else:
            world.cfms.remove(cfm)

    def _end_cfm(self) -> None:
        if self.cfm is None:
            return
        self.cfm.kill()
        if self.cfm is not self.world.main and self.cfm in self.world.cfms:
            self.world.cfms.remove(self.cfm)
        self.cfm = None
        calls, self.process.open_calls = self.process.open_calls, {}
        for call in calls.values():
            call.server_died()

    # ── requests ────────────────────────────────────────────────────────────────────────────────────────

    def serve_next(
        self, addr: Addr, holding: frozenset[int], wait_s: int, claims: bool, reply: Reply
    ) -> None:
        self._serve(
            lambda cfm, then: cfm.serve_next(addr, holding, wait_s, claims, then),
            reply,
            PASSED_ON_MS + 1000 * wait_s,
        )

    def serve_tasks(self, addr: Addr, reply: Reply) -> None:
        self._serve(lambda cfm, then: cfm.serve_tasks(addr, then), reply)

    def serve_report(self, worker: WorkerService, task_id: int, report: TaskReport, reply: Reply) -> None:
        self._serve(lambda cfm, then: cfm.serve_report(worker, task_id, report, then), reply)

    def _serve(self, ask: Ask, reply: Reply, timeout_ms: int = PASSED_ON_MS) -> None:
        """Answer it, or pass it on to whoever leads."""
        seen = self.leadership.seen
        if self.cfm is not None and self.cfm.running:
            ask(self.cfm, reply)
            return
        leader = self.fate.host_at(seen.address) if seen is not None and seen.left_ms else None
        if leader is None or leader is self:
            reply(NOBODY_LEADS)
            return
        self.world.net.call(
            self.process, leader.process, partial(leader.serve_passed, ask), reply, timeout_ms
        )

    def serve_passed(self, ask: Ask, reply: Reply) -> None:
        """Another host has passed this on."""
        if self.cfm is not None and self.cfm.running:
            ask(self.cfm, reply)
        else:
            reply(NOBODY_LEADS)
