"""Several cfm in one simulated node: hosts that share a state by a lease, and what may come between them.

Hosts are killed, stopped for longer than the lease (also in the middle of a commit), cut off from the
database, from each other and from the workers; the database is away, its clock jumps, and an old backup of
it is put back.  Then the rules of all simulated nodes hold, and one more: at most one cfm acts at a time, and
who was deposed writes nothing.  Neighbours: `hosts` has a single host, `run` plays the world.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from cfm.model import Addr
from cfm_lab.fakes.shared_store import SharedState
from cfm_lab.sim.environment.rng import Rng
from cfm_lab.sim.environment.services import CfmService, WorkerService
from cfm_lab.sim.hosts import TERMS, Host
from cfm_lab.sim.world import World

MINUTE_MS: Final = 60_000
BLOW_EVERY_MS: Final = (5_000, 2 * MINUTE_MS)
LOOK_MS: Final = 97
BACKUP_MS: Final = 20 * MINUTE_MS
NOT_HERE: Final = frozenset({"cfm_killed", "cfm_stopped", "cfm_second", "cfm_superseded", "cfm_rival"})
"""Faults of the only cfm of a node; hosts have their own."""

CHANCES: Final = frozenset(
    {"lease_not_asked", "lease_unheard", "lease_late", "commit_unheard", "stopped_in_commit"}
)
"""Faults that strike a question to the database: it is lost, late, or carried out and nobody hears of it."""


class Several:
    """All hosts of a node, and their blows."""

    def __init__(self, world: World, hosts: int, kinds: frozenset[str]) -> None:
        """`kinds` are those of `KINDS` that happen here."""
        self.world = world
        self.rng = world.rng.fork("several")
        self._clock = world.clock()
        self.shared = SharedState(self._clock.wall_ms, world.main.state)
        self._backup = self.shared.backup()
        world.main.is_managed = True
        world.several = self
        self.calm = False
        self._kinds = kinds
        self._blows = [name for name, often in OFTEN.items() if name in kinds for _ in range(often)]
        self._chances: dict[str, Rng] = {name: self.rng.fork(name) for name in sorted(CHANCES & kinds)}
        self._asked: dict[Addr, int] = {}
        """Machine of a worker → the host that it asks."""
        self._one_may_lead_twice_ms = 0
        self.hosts = [
            Host(world, number, self.shared, self, self.rng.fork(f"host-{number}"))
            for number in range(1, hosts + 1)
        ]
        if self._blows:
            self._blow_later()
        self._back_up()
        self._look()

    # ── who is where ────────────────────────────────────────────────────────────────────────────────────

    def host_at(self, addr: Addr) -> Host | None:
        return next((host for host in self.hosts if host.name == addr), None)

    def cfm_for(self, worker: WorkerService) -> CfmService:
        """The host that the worker asks now.  One of ours turns to the next when it hears nothing; an old one
        knows only the first."""
        number = self._asked.get(worker.machine, 0)
        host = self.hosts[number]
        silent = not host.process.up or host.process.stopped or self.world.net.is_cut(host.name, worker.addr)
        if worker.ours and silent:
            self._asked[worker.machine] = (number + 1) % len(self.hosts)
        return host

    # ── faults ──────────────────────────────────────────────────────────────────────────────────────────

    def strikes(self, kind: str, one_in: int) -> bool:
        rng = self._chances.get(kind)
        if rng is None or self.calm or rng.below(one_in):
            return False
        self.world.swarm.counts[kind] += 1
        return True

    def stop_for_long(self, host: Host) -> None:
        """SIGSTOP for longer than the lease."""
        host.stop()
        self._heal(self.rng.between(TERMS.lease_ms + 1_000, 20_000), host.go_on)

    def _heal(self, delay_ms: int, mend: Callable[[], None]) -> None:
        self.world.heal_after(delay_ms, mend)

    def _for_ms(self) -> int:
        return self.rng.between(500, 2 * MINUTE_MS)

    def _blow_later(self) -> None:
        self.world.schedule.after(self.rng.between(*BLOW_EVERY_MS), self._blow)

    def _blow(self) -> None:
        if self.calm:
            return
        kind = self.rng.pick(self._blows)
        self.world.swarm.counts[kind] += 1
        self.world.note("fault", kind)
        BLOWS[kind](self, self.rng.pick(self.hosts))
        self._blow_later()

    def host_killed(self, host: Host) -> None:
        host.kill()
        self._heal(self._for_ms(), host.restart)

    def host_stopped(self, host: Host) -> None:
        host.stop()
        self._heal(self.rng.between(500, 20_000), host.go_on)

    def database_cut(self, host: Host) -> None:
        host.cut_off(is_cut=True)
        self._heal(self._for_ms(), lambda: host.cut_off(is_cut=False))

    def database_away(self, _host: Host) -> None:
        for one in self.hosts:
            self.database_cut(one)

    def database_clock_jumps(self, _host: Host) -> None:
        """Forward, a lease ends early: for the length of one, two cfm may believe that they lead."""
        jump_ms = self.rng.between(-10_000, 10_000)
        self._clock.wall_shift_ms += jump_ms
        if jump_ms > 0:
            self._one_may_lead_twice_ms = self.world.schedule.now_ms + 2 * TERMS.lease_ms

    def hosts_cut(self, host: Host) -> None:
        other = self.rng.pick([one for one in self.hosts if one is not host])
        self._cut(host.name, other.name)

    def workers_cut(self, host: Host) -> None:
        for addr in self.world.servers:
            self._cut(host.name, addr)

    def _cut(self, one: str, other: str) -> None:
        net = self.world.net
        net.cut(one, other)
        net.cut(other, one)

        def mend() -> None:
            net.mend(one, other)
            net.mend(other, one)

        self._heal(self._for_ms(), mend)

    def backup_restored(self, _host: Host) -> None:
        """Somebody stops all cfm and puts the last backup back, and starts them.  Workers have heard higher
        epochs and refuse, until he sees it and raises the epoch."""
        self._stopped_all(self._restore)
        self._heal(self.rng.between(20_000, 5 * MINUTE_MS), lambda: self._stopped_all(self._raise_epoch))

    def _stopped_all(self, change: Callable[[], None]) -> None:
        for host in self.hosts:
            host.kill()
        change()
        for host in self.hosts:
            host.restart()

    def _restore(self) -> None:
        self.shared.restore(self._backup)
        self._backup = self.shared.backup()
        self.world.witness.restored(self.shared.committed)

    def _raise_epoch(self) -> None:
        committed = self.shared.committed
        told = [epoch for name, epoch in self.world.facts.epochs.values() if name == committed.controller_id]
        committed.epoch = max([committed.epoch, *told])
        self.shared.holder = ""

    def _back_up(self) -> None:
        self._backup = self.shared.backup()
        self.world.schedule.after(self.rng.between(BACKUP_MS // 2, 2 * BACKUP_MS), self._back_up)

    def make_calm(self) -> None:
        """No more faults; what they broke is mended already by the world."""
        self.calm = True

    # ── the rule ────────────────────────────────────────────────────────────────────────────────────────

    def _look(self) -> None:
        acting = [host.name for host in self.hosts if host.acts()]
        if len(acting) > 1 and self.world.schedule.now_ms >= self._one_may_lead_twice_ms:
            self.world.violations.add("one leader", f"{' and '.join(acting)} act at the same time")
        self.world.schedule.after(LOOK_MS, self._look)


BLOWS: Final[Mapping[str, Callable[[Several, Host], None]]] = {
    "host_killed": Several.host_killed,
    "host_stopped": Several.host_stopped,
    "database_cut": Several.database_cut,
    "database_away": Several.database_away,
    "database_clock_jumps": Several.database_clock_jumps,
    "hosts_cut": Several.hosts_cut,
    "workers_cut": Several.workers_cut,
    "backup_restored": Several.backup_restored,
}
OFTEN: Final[Mapping[str, int]] = {name: 1 if name == "backup_restored" else 6 for name in BLOWS}
"""How often each has its turn, beside the others."""
KINDS: Final = frozenset((*CHANCES, *BLOWS))


def draw(rng: Rng) -> frozenset[str]:
    """The faults of one world: most of them."""
    return frozenset(name for name in sorted(KINDS) if rng.below(4))
