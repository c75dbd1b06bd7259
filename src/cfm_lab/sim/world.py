"""One simulated node, as an observer sees it: its servers, its library, its people, and the truth about them.

Time in a world is virtual.  First there are faults; then it is calm until the world rests or its time is up.
Neighbours: `building` puts a world together from a seed, `fault_events` happen to it, `checker` and the
`invariants` watch it, and `run` drives it.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import replace
from itertools import count
from typing import Protocol

from cfm.controller.decide.state import NodeConfig
from cfm.model import Addr, File, Hits, LogCondition, LogState, host_of
from cfm_lab.fakes.memory_store import CommittedState
from cfm_lab.sim.environment import event_log
from cfm_lab.sim.environment import metadata as meta
from cfm_lab.sim.environment.disks import DiskWitness, SimDisk
from cfm_lab.sim.environment.metadata import MetadataVersion
from cfm_lab.sim.environment.parts import Parts
from cfm_lab.sim.environment.profile import Profile
from cfm_lab.sim.environment.rng import Rng
from cfm_lab.sim.environment.san import SanFile
from cfm_lab.sim.environment.schedule import Clock
from cfm_lab.sim.environment.services import CfmService, WorkerService
from cfm_lab.sim.environment.shared import Environment
from cfm_lab.sim.environment.sickness import CFM
from cfm_lab.sim.facts import NodeFacts
from cfm_lab.sim.processes.controller import CfmWitness, SimCfm
from cfm_lab.sim.processes.server import SimServer
from cfm_lab.sim.processes.worker import SimWorker
from cfm_lab.sim.processes.worker_requests import WorkerWitness
from cfm_lab.sim.violations import Violations


class Witness(CfmWitness, WorkerWitness, DiskWitness, Protocol):
    """Who is told of everything that happens in a world."""

    def second_started(self, first: SimCfm, second: SimCfm, *, started: bool) -> None:
        """Somebody tried to start a second cfm on a state in use."""

    def restored(self, found: CommittedState) -> None:
        """Somebody has put an old backup of a state back."""


class SeveralCfm(Protocol):
    """The hosts of several cfm."""

    def cfm_for(self, worker: WorkerService) -> CfmService: ...


class World(Environment):
    """The whole node.  A new world has no servers and no cfm yet."""

    witness: Witness
    main: SimCfm
    """The cfm that listens at `cfm_addr`; of several, the one that led last."""

    def __init__(self, seed: int, profile: Profile, parts: Parts) -> None:
        root = Rng(seed)
        super().__init__(root, profile, parts)
        self.seed = seed
        self.true_hits = [self.hits]
        """What viewers really did, window by window."""
        self._log_read = self.log
        """What the last reading of the event log said of it, whether or not it can be read now."""
        self._log_losses = 0
        self.calm = False
        self.heals: dict[int, Callable[[], None]] = {}
        self._heals = count(1)
        self._further_cfms = count(1)
        self.writes_metadata = True
        self.facts = NodeFacts()
        self.violations = Violations(seed, self.schedule, self.trace)
        self.library: list[File] = []
        self.largest_bytes = 0
        self.ads: list[str] = []
        """Files of other software.  They are graded and known like all others, and must never be touched."""
        self.servers: dict[Addr, SimServer] = {}
        self.disks: list[SimDisk] = []
        self.sources: tuple[Addr, ...] = ()
        self.destinations: tuple[Addr, ...] = ()
        self.cfms: list[SimCfm] = []
        self.several: SeveralCfm | None = None

    # ── machines ────────────────────────────────────────────────────────────────────────────────────────

    def clock(self) -> Clock:
        """The clocks of one more machine."""
        ppm = self.profile.drift_ppm
        drift_ppm = self.rng.between(-ppm, ppm)
        return Clock(
            self.schedule,
            self.rng.between(1_000_000, 900_000_000),
            self.profile.start_wall_s * 1000 + self.rng.between(-2_000, 2_000),
            drift_ppm,
        )

    def add_cfm(self, name: str, controller_id: str) -> SimCfm:
        """One more cfm, on a state of its own; it does not run yet."""
        config = NodeConfig(
            self.sources,
            self.destinations,
            self.profile.rules,
            heartbeat_interval_ms=self.profile.heartbeat_ms,
            full_look_ms=self.profile.full_look_ms,
        )
        cfm = SimCfm(self, name, CommittedState(controller_id), self.clock(), config, self.witness)
        self.cfms.append(cfm)
        return cfm

    def another_cfm(self, state: CommittedState | None = None) -> SimCfm:
        """A further cfm, on the given state or on a new one."""
        number = next(self._further_cfms)
        cfm = self.add_cfm(f"cfm-{number}", f"controller-{self.seed}-{number}")
        if state is not None:
            cfm.state = state
        cfm.config = self.main.config
        return cfm

    # ── who is where ────────────────────────────────────────────────────────────────────────────────────

    def resize(self, name: str, size_bytes: int) -> None:
        """The file has another size from the beginning, on the SAN too."""
        self.library = [replace(f, size_bytes=size_bytes) if f.name == name else f for f in self.library]
        self.san.files[name] = SanFile(size_bytes)
        self.largest_bytes = max(self.largest_bytes, size_bytes)

    def leave_out(self, machines: AbstractSet[str], files: AbstractSet[str]) -> None:
        """Make it the node that it would be without these machines and files.

        The machines are switched off for good, and are not in the settings.  The files are neither graded nor
        on the SAN.  To be called before anything happens.
        """
        for addr in machines:
            server = self.servers[Addr(addr)]
            server.kill()
            server.process.reachable = False
        self.sources = tuple(addr for addr in self.sources if addr not in machines)
        self.destinations = tuple(addr for addr in self.destinations if addr not in machines)
        self.main.config = replace(self.main.config, sources=self.sources, destinations=self.destinations)
        self.library = [file for file in self.library if file.name not in files]
        for name in files:
            self.san.files.pop(name, None)

    def server_at(self, addr: Addr) -> SimServer | None:
        return self.servers.get(addr)

    def worker_at(self, addr: Addr) -> SimWorker | None:
        found = self.servers.get(addr)
        return found if isinstance(found, SimWorker) else None

    def cfm_for(self, worker: WorkerService) -> CfmService:
        """Who listens at `cfm_addr`, or at the one of several that the worker asks."""
        return self.main if self.several is None else self.several.cfm_for(worker)

    def disk_at(self, addr: Addr) -> SimDisk:
        return self.servers[addr].disk

    def destination_disks(self) -> list[SimDisk]:
        """The disks of the destinations.  One with two addresses comes once."""
        return list(dict.fromkeys(self.servers[addr].disk for addr in self.destinations))

    def file(self, name: str) -> File | None:
        return next((file for file in self.library if file.name == name), None)

    # ── inputs ──────────────────────────────────────────────────────────────────────────────────────────

    def write_metadata(self) -> None:
        """The producer writes both metadata files anew, from the truth."""
        now_s = self.main.clock.wall_ms() // 1000
        holders = self._history()
        files = [replace(file, history_ips=holders.get(file.name, ())) for file in self.library]
        if self.metadata.grade is not None and self.metadata.history is not None:
            self.metadata.older = (self.metadata.grade, self.metadata.history)
        self.metadata.put(
            MetadataVersion(meta.grade_text(files), now_s), MetadataVersion(meta.history_text(files), now_s)
        )
        self.note("metadata written")

    def _history(self) -> dict[str, tuple[str, ...]]:
        found: dict[str, tuple[str, ...]] = {}
        for addr in self.destinations:
            for name in self.servers[addr].disk.visible():
                found[name] = (*found.get(name, ()), host_of(addr))
        return found

    def set_hits(self, hits: Hits) -> None:
        """The window of the event log moves: viewers now watch these files."""
        hits = event_log.loggable(hits)
        if hits != self.true_hits[-1]:
            self.true_hits.append(hits)
            text = event_log.text_of(
                hits,
                torn=self.swarm.strikes("log_torn"),
                doubled=self._log_is("log_doubled"),
                behind_s=3 * 3600 if self._log_is("log_clock_behind") else 0,
            )
            self.hits, self._log_read = event_log.read(text, self.parts.parse_log_line)
            self.note("hits", sorted(self.hits.rising), sorted(self.hits.watched))
            if self.log.hits_known:
                self._tell_hits(self.hits)
                self._tell_log(self._log_read)

    def _log_is(self, kind: str) -> bool:
        return self.sick.has(kind, CFM) or self.swarm.strikes(kind)

    def lose_log(self, condition: LogCondition) -> None:
        """The event log cannot be read any more.  What was read before grows old, as the window goes on."""
        self._tell_log(LogState(condition, 0))
        self._log_losses += 1
        self.schedule.after(1000 * event_log.TERM_S, self._window_empties, self._log_losses)

    def _window_empties(self, loss: int) -> None:
        if not self.log.hits_known and loss == self._log_losses:
            self._tell_hits(Hits())

    def mend_log(self) -> None:
        self._tell_hits(self.hits)
        self._tell_log(self._log_read)

    def _tell_log(self, log: LogState) -> None:
        """Where it is in another condition than before."""
        if log.condition is not self.log.condition:
            self.log = log
            self.note("event log", log.condition)
            for cfm in self.cfms:
                cfm.on_log(log)

    def _tell_hits(self, hits: Hits) -> None:
        for cfm in self.cfms:
            cfm.on_hits(hits)

    def tell_san_index(self) -> None:
        for cfm in self.cfms:
            cfm.on_san_index(self.san.index())

    def metadata_changed(self) -> None:
        for cfm in self.cfms:
            if cfm.running and cfm.watch is not None:
                cfm.watch.changed()

    # ── faults ──────────────────────────────────────────────────────────────────────────────────────────

    def heal_after(self, delay_ms: int, heal: Callable[[], None]) -> None:
        """Mend later what a fault has broken, or at the latest when the faults stop."""
        number = next(self._heals)
        self.heals[number] = heal
        self.schedule.after(delay_ms, self._heal, number)

    def _heal(self, number: int) -> None:
        heal = self.heals.pop(number, None)
        if heal is not None:
            heal()

    def make_calm(self) -> None:
        """Stop the faults, and mend what they have broken."""
        self.note("calm")
        self.calm = self.swarm.calm = True
        for number in sorted(self.heals):
            self._heal(number)
