"""Puts a world together from a seed and a profile: library, machines, and the files on their disks."""

from __future__ import annotations

from collections.abc import Set as AbstractSet

from cfm.model import Addr, File, Transfer
from cfm_lab.sim.checker import Checker
from cfm_lab.sim.environment.disks import SimDisk, content_of
from cfm_lab.sim.environment.parts import PARTS, Parts
from cfm_lab.sim.environment.profile import HOUR_MS, MB, Profile
from cfm_lab.sim.environment.rng import Rng
from cfm_lab.sim.environment.san import SanFile
from cfm_lab.sim.processes.old_worker import SimOldWorker
from cfm_lab.sim.processes.worker import SimWorker
from cfm_lab.sim.world import World

SAN_CLOCKS_H = (0, 0, -3, 9, -24, 24)
"""How many hours the clock of the SAN is off, world by world."""
ALIKE = 10
"""Every tenth file has a name that becomes the name of another file where somebody cuts it at `#`."""


def build(seed: int, profile: Profile, parts: Parts = PARTS) -> tuple[World, Checker]:
    """A world and its checker.  The workers run already; the cfm is to be started."""
    world = World(seed, profile, parts)
    _stock_library(world)
    checker = Checker(world)
    world.witness = checker
    own_sources = tuple(Addr(f"10.0.1.{i + 1}:8888") for i in range(profile.sources))
    world.destinations = tuple(Addr(f"10.0.2.{i + 1}:8888") for i in range(profile.destinations))
    world.sources = (*own_sources, *world.destinations[: profile.both])
    world.main = world.add_cfm("cfm", f"controller-{seed}")
    _build_servers(world, own_sources)
    if not profile.sick:
        _fill_disks(world)
    return world, checker


def _stock_library(world: World) -> None:
    world.library = _library(world.rng, world.profile)
    world.largest_bytes = max(file.size_bytes for file in world.library)
    world.ads = [file.name for file in world.library if file.name.startswith("AD_")]
    for file in world.library:
        world.san.files[file.name] = SanFile(file.size_bytes)
    off_h = SAN_CLOCKS_H[world.seed % len(SAN_CLOCKS_H)]
    world.san.clock_wall_ms = world.profile.start_wall_s * 1000 + off_h * HOUR_MS


def _library(rng: Rng, profile: Profile) -> list[File]:
    low, high = profile.file_mb
    ranks = profile.library
    ads = set(rng.shuffled(range(1, ranks + 1))[: profile.ads])
    return [File(_name(i, ads), i, rng.between(low, high) * MB, hits=ranks - i) for i in range(1, ranks + 1)]


def _name(number: int, ads: AbstractSet[int]) -> str:
    if number % ALIKE == 0 and not ads & {number, number - 1}:
        return f"F{number - 1:03}.mpg#old"
    return f"{'AD_' if number in ads else 'F'}{number:03}.mpg"


def _build_servers(world: World, own_sources: tuple[Addr, ...]) -> None:
    profile, rng = world.profile, world.rng
    total_bytes = sum(file.size_bytes for file in world.library) * profile.fill_percent // 100
    limit = profile.rules.limit_percent
    share_bytes = total_bytes * 100 // (limit * profile.destinations)
    own = world.destinations
    for addr in own_sources:
        mute = profile.mute and addr != own_sources[0] and addr == own_sources[-1]
        _add_ours(world, addr, _disk(world, addr, 10_000 * MB), serves=not mute)
    for i, addr in enumerate(own):
        # Its share, give or take a third, but always enough for a few large files.
        size_bytes = max(share_bytes * rng.between(67, 133) // 100, 6 * profile.file_mb[1] * MB)
        if i == 1 and profile.shared_disk:
            disk = world.servers[own[0]].disk
        else:
            disk = _disk(world, addr, size_bytes)
        if i >= profile.destinations - profile.old:
            world.servers[addr] = SimOldWorker(world, addr, disk, world.clock(), world.witness)
        else:
            external = i < profile.external
            _add_ours(world, addr, disk, serves=i < profile.both, external=external)


def _disk(world: World, addr: Addr, total_bytes: int) -> SimDisk:
    disk = world.parts.disk(f"disk-{addr}", total_bytes, world.witness)
    world.disks.append(disk)
    return disk


def _add_ours(world: World, addr: Addr, disk: SimDisk, *, serves: bool, external: bool = False) -> None:
    limit = world.profile.rules.limit_percent
    same = (s.limit_percent for s in world.servers.values() if isinstance(s, SimWorker) and s.disk is disk)
    world.servers[addr] = SimWorker(
        world,
        addr,
        disk,
        world.clock(),
        world.witness,
        serves=serves,
        transfer=Transfer.EXTERNAL if external else Transfer.BUILTIN,
        limit_percent=next(same, limit + world.rng.pick((0, 0, -5, 3))),
        downloads=world.rng.between(1, 4),
        slots=world.profile.rules.streams_per_source,
    )


def _fill_disks(world: World) -> None:
    """Put files on the disks that are there from the start: some of the library, ads, unknown files."""
    rng = world.rng
    for addr in world.destinations:
        disk = world.servers[addr].disk
        for file in rng.shuffled(world.library)[: rng.below(18)]:
            if (
                file.name not in disk.names
                and disk.used_bytes + file.size_bytes < disk.total_bytes * 85 // 100
            ):
                disk.place(file.name, file.size_bytes, content_of(file.name))
        if rng.below(4) == 0:
            disk.place(f"STRANGE{rng.below(100)}.mpg", 150 * MB, b"stranger")
