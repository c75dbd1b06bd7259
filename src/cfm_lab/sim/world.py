"""One simulated node: its machines, its library, its people, and the truth about all of it.

A world is made from a seed and runs in virtual time: first with faults, then calm, until it has come to rest
or its time is up.  Neighbours: `controller`, `worker` and `old_worker` are its processes, `fault_events` what
befalls them, `checker` and the `invariants` watch it, `run` drives it.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import replace
from itertools import count
from typing import TypeAlias

from cfm import wire
from cfm.controller.decide import events as ev
from cfm.controller.decide.state import NodeConfig
from cfm.model import Addr, DiskReport, DiskUsage, Failure, File, Hits, Transfer, host_of
from cfm.wire import TaskOffer
from cfm.worker.act.fencing import Claim
from cfm_lab.fakes.memory_store import MemoryDisk
from cfm_lab.sim import event_log
from cfm_lab.sim import metadata as meta
from cfm_lab.sim.checker import Checker
from cfm_lab.sim.controller import SimCfm
from cfm_lab.sim.disks import SimDisk, content_of
from cfm_lab.sim.faults import Swarm
from cfm_lab.sim.metadata import MetadataFiles, Version
from cfm_lab.sim.network import Network
from cfm_lab.sim.old_worker import OldWorker
from cfm_lab.sim.parts import PARTS, Parts
from cfm_lab.sim.profile import MB, Profile
from cfm_lab.sim.rng import Rng
from cfm_lab.sim.san import San, SanFile
from cfm_lab.sim.schedule import Clock, Schedule
from cfm_lab.sim.trace import Trace
from cfm_lab.sim.worker import SimWorker

Server: TypeAlias = SimWorker | OldWorker


ALIKE = 10
"""Every so-many-th file has a name that becomes another file's where it is cut at `#`."""


def _name(number: int, ads: AbstractSet[int]) -> str:
    if number % ALIKE == 0 and not ads & {number, number - 1}:
        return f"F{number - 1:03}.mpg#old"
    return f"{'AD_' if number in ads else 'F'}{number:03}.mpg"


class World:
    """Everything that is."""

    def __init__(self, seed: int, profile: Profile, parts: Parts = PARTS) -> None:
        root = Rng(seed)
        self.seed = seed
        self.profile = profile
        self.parts = parts
        self.rng = root.fork("world")
        self.schedule = Schedule()
        self.trace = Trace(lambda: self.schedule.now_ms)
        self.swarm = Swarm(profile.faults, root.fork("swarm"), profile.intensity_percent)
        self.net = Network(self.schedule, self.swarm, root.fork("network"))
        self.san = San()
        self.metadata = MetadataFiles()
        self.hits = Hits()
        self.true_hits = [self.hits]
        """What viewers did, window by window."""
        self.publishing: TaskOffer | None = None
        self.deleting: tuple[Server, Claim, int] | None = None
        self.calm = False
        self.heals: dict[int, Callable[[], None]] = {}
        self._heals = count(1)
        self._further_cfms = count(1)
        self.writes_metadata = True
        self.cfm_addr = Addr("10.0.0.1:8080")
        self.library = self._library()
        self.largest_bytes = max(file.size_bytes for file in self.library)
        self.ads = [file.name for file in self.library if file.name.startswith("AD_")]
        """Other software's: graded and known like all others, and never to be touched."""
        for file in self.library:
            self.san.files[file.name] = SanFile(file.size_bytes)
        self.check = Checker(self)
        self.servers: dict[Addr, Server] = {}
        self.disks: list[SimDisk] = []
        self.destinations = tuple(Addr(f"10.0.2.{i + 1}:8888") for i in range(profile.destinations))
        own_sources = tuple(Addr(f"10.0.1.{i + 1}:8888") for i in range(profile.sources))
        self.sources = (*own_sources, *self.destinations[: profile.both])
        self.cfms: list[SimCfm] = []
        self.main = self._build_cfm("cfm", f"controller-{seed}")
        self._build_servers(own_sources)
        self._fill_disks()

    # ── building ────────────────────────────────────────────────────────────────────────────────────────

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

    def _library(self) -> list[File]:
        low, high = self.profile.file_mb
        rng, ranks = self.rng, self.profile.library
        ads = set(rng.shuffled(range(1, ranks + 1))[: self.profile.ads])
        return [
            File(_name(i, ads), i, rng.between(low, high) * MB, hits=ranks - i) for i in range(1, ranks + 1)
        ]

    def _build_servers(self, own_sources: tuple[Addr, ...]) -> None:
        profile, rng = self.profile, self.rng
        total_bytes = sum(file.size_bytes for file in self.library) * profile.fill_percent // 100
        limit = profile.rules.limit_percent
        share_bytes = total_bytes * 100 // (limit * profile.destinations)
        own = self.destinations
        for addr in own_sources:
            mute = profile.mute and addr != own_sources[0] and addr == own_sources[-1]
            self._add_ours(addr, self._disk(addr, 10_000 * MB), serves=not mute)
        for i, addr in enumerate(own):
            # A third more or less than its share, and never too small for a few large files.
            size_bytes = max(share_bytes * rng.between(67, 133) // 100, 6 * profile.file_mb[1] * MB)
            if i == 1 and profile.shared_disk:
                disk = self.servers[own[0]].disk
            else:
                disk = self._disk(addr, size_bytes)
            if i >= profile.destinations - profile.old:
                self.servers[addr] = OldWorker(self, addr, disk, self.clock())
            else:
                external = i < profile.external
                self._add_ours(addr, disk, serves=i < profile.both, external=external)

    def _disk(self, addr: Addr, total_bytes: int) -> SimDisk:
        disk = self.parts.disk(f"disk-{addr}", total_bytes, self.check)
        self.disks.append(disk)
        return disk

    def _add_ours(self, addr: Addr, disk: SimDisk, *, serves: bool, external: bool = False) -> None:
        limit = self.profile.rules.limit_percent
        same = (s.limit_percent for s in self.servers.values() if isinstance(s, SimWorker) and s.disk is disk)
        self.servers[addr] = SimWorker(
            self,
            addr,
            disk,
            self.clock(),
            serves=serves,
            transfer=Transfer.EXTERNAL if external else Transfer.BUILTIN,
            limit_percent=next(same, limit + self.rng.pick((0, 0, -5, 3))),
            downloads=self.rng.between(1, 4),
            slots=self.profile.rules.streams_per_source,
        )

    def _fill_disks(self) -> None:
        """Something lies there from before: a good part of the library, some of it twice, ads, strangers."""
        rng = self.rng
        for addr in self.destinations:
            disk = self.servers[addr].disk
            for file in rng.shuffled(self.library)[: rng.below(18)]:
                if (
                    file.name not in disk.names
                    and disk.used_bytes + file.size_bytes < disk.total_bytes * 85 // 100
                ):
                    disk.place(file.name, file.size_bytes, content_of(file.name))
            if rng.below(4) == 0:
                disk.place(f"STRANGE{rng.below(100)}.mpg", 150 * MB, b"stranger")

    def _build_cfm(self, name: str, controller_id: str) -> SimCfm:
        config = NodeConfig(
            self.sources,
            self.destinations,
            self.profile.rules,
            heartbeat_interval_ms=self.profile.heartbeat_ms,
            full_look_ms=self.profile.full_look_ms,
        )
        cfm = SimCfm(self, name, MemoryDisk(controller_id), self.clock(), config)
        self.cfms.append(cfm)
        return cfm

    def another_cfm(self, state: MemoryDisk | None = None) -> SimCfm:
        """A further cfm: on the same state, or on one of its own."""
        number = next(self._further_cfms)
        cfm = self._build_cfm(f"cfm-{number}", f"controller-{self.seed}-{number}")
        if state is not None:
            cfm.state = state
        cfm.config = self.main.config
        return cfm

    # ── who is where ────────────────────────────────────────────────────────────────────────────────────

    def server_at(self, addr: Addr) -> Server | None:
        return self.servers.get(addr)

    def worker_at(self, addr: Addr) -> SimWorker | None:
        found = self.servers.get(addr)
        return found if isinstance(found, SimWorker) else None

    def cfm_for(self, _worker: Server) -> SimCfm:
        """Who listens at `cfm_addr`."""
        return self.main

    def disk_at(self, addr: Addr) -> SimDisk:
        return self.servers[addr].disk

    def destination_disks(self) -> list[SimDisk]:
        """Each real disk once."""
        return list(dict.fromkeys(self.servers[addr].disk for addr in self.destinations))

    def file(self, name: str) -> File | None:
        return next((file for file in self.library if file.name == name), None)

    # ── notes ───────────────────────────────────────────────────────────────────────────────────────────

    def note(self, what: str, *facts: object) -> None:
        self.trace.note(what, *facts)

    def said(self, cfm: SimCfm, said: ev.Say) -> None:
        facts = " ".join(f"{key}={value}" for key, value in said.facts.items() if key != "hits")
        self.trace.note(f"{cfm.process.name}: {said.event}", facts)

    # ── inputs ──────────────────────────────────────────────────────────────────────────────────────────

    def write_metadata(self) -> None:
        """The producer writes both files anew, from the truth."""
        now_s = self.main.clock.wall_ms() // 1000
        holders = self._history()
        files = [replace(file, history_ips=holders.get(file.name, ())) for file in self.library]
        if self.metadata.grade is not None and self.metadata.history is not None:
            self.metadata.older = (self.metadata.grade, self.metadata.history)
        self.metadata.put(Version(meta.grade_text(files), now_s), Version(meta.history_text(files), now_s))
        self.note("metadata written")

    def _history(self) -> dict[str, tuple[str, ...]]:
        found: dict[str, tuple[str, ...]] = {}
        for addr in self.destinations:
            for name in self.servers[addr].disk.visible():
                found[name] = (*found.get(name, ()), host_of(addr))
        return found

    def set_hits(self, hits: Hits) -> None:
        """Viewers have moved on: the event log says so, in lines that need not be whole."""
        hits = event_log.loggable(hits)
        if hits != self.true_hits[-1]:
            self.true_hits.append(hits)
            text = event_log.text_of(hits, torn=self.swarm.strikes("log_torn"))
            self.hits = event_log.read(text, self.parts.parse_log_line)
            self.note("hits", sorted(self.hits.rising), sorted(self.hits.watched))
            for cfm in self.cfms:
                cfm.on_hits(self.hits)

    def tell_san_index(self) -> None:
        for cfm in self.cfms:
            cfm.on_san_index(self.san.index())

    def metadata_changed(self) -> None:
        for cfm in self.cfms:
            if cfm.running and cfm.watch is not None:
                cfm.watch.changed()

    # ── faults ──────────────────────────────────────────────────────────────────────────────────────────

    def heal_after(self, delay_ms: int, heal: Callable[[], None]) -> None:
        """What a fault broke is mended later, or when the faults stop."""
        number = next(self._heals)
        self.heals[number] = heal
        self.schedule.after(delay_ms, self._heal, number)

    def _heal(self, number: int) -> None:
        heal = self.heals.pop(number, None)
        if heal is not None:
            heal()

    def make_calm(self) -> None:
        """Faults stop; what they broke is mended, and people do what a node's people do."""
        self.note("calm")
        self.calm = self.swarm.calm = True
        for number in sorted(self.heals):
            self._heal(number)

    def evil(self, offer: TaskOffer, name: str) -> TaskOffer:
        return replace(offer, file_name=name, path=f"/san/{name}")

    def absurd_df(self, usage: DiskUsage) -> DiskReport | Failure:
        """What a worker that lies says of its disk, read by the product's own reader."""
        total, used = usage.total_bytes, usage.used_bytes
        message = self.rng.pick(
            (
                {"total_size": "0", "used_size": "0", "avail_size": "0", "used_percent": 0},
                {
                    "total_size": str(total),
                    "used_size": str(total * 2),
                    "avail_size": "0",
                    "used_percent": 99,
                },
                {"total_size": str(total), "used_size": str(used), "avail_size": str(total * 3)},
                {"total_size": total, "used_size": used, "avail_size": 5},
                {"total_size": str(total), "used_size": "0", "avail_size": str(total), "used_percent": 150},
            )
        )
        answer = self.parts.parse_df(wire.to_json(message))
        assert isinstance(answer, DiskReport | Failure)
        return answer
