"""Puts sick worlds together, each with its *twin*: the same world without its sick part.

Both are built alike, draw for draw.  Then the one falls sick, and the other loses what is sick in the first:
its machines are off, its files were never known, and nothing ails its cfm.  Neighbours: `building` makes the
world, `goodput` plays both and compares them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from cfm.model import Addr, File
from cfm_lab.sim import inventory, placement
from cfm_lab.sim.building import build
from cfm_lab.sim.checker import Checker
from cfm_lab.sim.environment.disks import content_of
from cfm_lab.sim.environment.parts import Parts
from cfm_lab.sim.environment.profile import MINUTE_MS, Profile
from cfm_lab.sim.environment.rng import Rng
from cfm_lab.sim.environment.san import SanFile
from cfm_lab.sim.environment.san_disk import SanDisk
from cfm_lab.sim.environment.sickness import CFM, OLD, SICKNESSES, SickPlace
from cfm_lab.sim.processes.worker import SimWorker
from cfm_lab.sim.world import World

TOO_LARGE: Final = 20
FEW: Final = 3
WRITTEN: Final = 10
RESIZED: Final = 15
"""More than may go in a minute."""
TWICE_EVERY: Final = 6
"""Every sixth file that is there from the beginning is there twice."""
OVERFULL_PERCENT: Final = 97
STRANGERS_PERCENT: Final = 30
"""How much of each disk other software uses where files fit nowhere."""
TOO_LARGE_PERCENT: Final = 85
"""How large such a file is, as a share of what the largest disk could hold if it were empty."""


def build_sick(seed: int, profile: Profile, parts: Parts) -> tuple[World, Checker]:
    """The sick world."""
    world, checker, sick = _build(seed, profile, parts)
    for kind, there in sick.items():
        world.sick.strike(kind, there)
    _spoil_disks(world, sick)
    files = {kind: frozenset(there) for kind, there in sick.items()}
    none: frozenset[str] = frozenset()
    world.san.unreadable = files.get("file_fails", none) | files.get("files_fail", none)
    world.san.silent = files.get("folder_hangs", none) | files.get("folder_silent", none)
    world.san.hangs = "folder_hangs" in files
    for kind in MOUNTS.keys() & sick.keys():
        _mount_the_san(world, Addr(sick[kind][0]), MOUNTS[kind])
    for name in files.get("files_resized", none):
        world.san.files[name] = SanFile(world.san.files[name].size_bytes + 1)
    for name in files.get("files_written", none):
        world.san.begin_writing(name)
    return world, checker


def build_twin(seed: int, profile: Profile, parts: Parts) -> tuple[World, Checker]:
    """The same world without its sick part."""
    world, checker, sick = _build(seed, profile, parts)
    machines, files = set[str](), set[str]()
    for kind, there in sick.items():
        if SICKNESSES[kind].place in (SickPlace.SOURCE, SickPlace.DESTINATION):
            machines |= set(there)
        elif SICKNESSES[kind].place in (SickPlace.FILES, SickPlace.FOLDER):
            files |= set(there)
    world.leave_out(machines, files)
    return world, checker


def _build(seed: int, profile: Profile, parts: Parts) -> tuple[World, Checker, dict[str, list[str]]]:
    """A world that is still healthy, and what is to be sick in it."""
    world, checker = build(seed, profile, parts)
    sick = _choose(world)
    rng = Rng(seed).fork("stock")
    taken = {part for there in sick.values() for part in there}
    healthy = [addr for addr in world.destinations if addr not in taken]
    if "files_fit_nowhere" in sick:
        _make_too_large(world, sick["files_fit_nowhere"])
    if "files_resized" in sick:
        _overfill(world, healthy[0], sick["files_resized"], taken, rng)
        healthy = healthy[1:]
    _stock(world, healthy, taken, rng)
    return world, checker, sick


# ── what is sick ────────────────────────────────────────────────────────────────────────────────────────


def _choose(world: World) -> dict[str, list[str]]:
    """The sick parts of each sickness.  No part has two."""
    rng = Rng(world.seed).fork("sick parts")
    profile = world.profile
    of_ours = world.destinations[: profile.destinations - profile.old]
    old = rng.fork("old").shuffled(world.destinations[profile.destinations - profile.old :])
    machines = {
        SickPlace.SOURCE: rng.shuffled(world.sources),
        SickPlace.DESTINATION: rng.shuffled(of_ours),
    }
    chosen: dict[str, list[str]] = {}
    for kind in profile.sick:
        place = SICKNESSES[kind].place
        taken = {part for there in chosen.values() for part in there}
        left = [file for file in world.library if file.name not in taken]
        if place is SickPlace.CFM:
            chosen[kind] = [CFM]
        elif kind in OLD:
            chosen[kind] = [old.pop()]
        elif place in machines:
            chosen[kind] = [machines[place].pop()]
        else:
            chosen[kind] = [file.name for file in FILES[kind](left)]
    return chosen


def _every_second(files: Sequence[File]) -> Sequence[File]:
    return files[::2]


FILES: Final[Mapping[str, Callable[[Sequence[File]], Sequence[File]]]] = {
    "file_fails": lambda files: files[:1],
    "files_fail": lambda files: files[::4],
    "files_fit_nowhere": lambda files: files[:TOO_LARGE],
    "files_resized": lambda files: files[-RESIZED:],
    "files_written": lambda files: files[:WRITTEN],
    "folder_hangs": _every_second,
    "folder_silent": _every_second,
}
"""Sickness → which files it takes of those that have none yet, best rank first."""


def _make_too_large(world: World, names: Sequence[str]) -> None:
    """The files become so large that no disk can make their room, although an empty disk could hold them."""
    rooms = {addr: inventory.room_bytes(world, addr, ()) for addr in world.destinations}
    for addr, room_bytes in rooms.items():
        world.disk_at(addr).place("STRANGE.mpg", room_bytes * STRANGERS_PERCENT // 100, b"stranger")
    size_bytes = max(rooms.values()) * TOO_LARGE_PERCENT // 100
    for name in names:
        world.resize(name, size_bytes)


def _spoil_disks(world: World, sick: Mapping[str, list[str]]) -> None:
    """Sick disks that are over their limits from the beginning."""
    rng = Rng(world.seed).fork("spoilt disks")
    placed = {name for disk in world.destination_disks() for name in disk.names}
    for addr in sick.get("freed_late", ()):
        _overfill(world, Addr(addr), (), placed, rng)
        world.disk_at(Addr(addr)).keeps_open = True
    for addr in sick.get("loses_role", ()) if world.profile.stocked_percent else ():
        _double(world, Addr(addr))
    for addr in sick.get("other_data", ()):
        disk = world.disk_at(Addr(addr))
        for file in [file for file in rng.shuffled(world.library) if file.name not in placed][:FEW]:
            disk.place(file.name, file.size_bytes, content_of(file.name))
        disk.place("STRANGE.mpg", disk.total_bytes - disk.reserved_bytes - disk.used_bytes, b"stranger")


MOUNTS: Final = {"has_the_san": 0, "old_has_the_san": 0, "gets_the_san": 5 * MINUTE_MS}
"""Sickness → when the SAN is mounted."""


def _mount_the_san(world: World, addr: Addr, at_ms: int) -> None:
    """From then on, the server's `base_dir` leads to the source folder, and has the marker that it wants."""
    server = world.servers[addr]

    def mount() -> None:
        world.note("the SAN is mounted at", addr)
        server.kill()
        disk = SanDisk(f"san-{addr}", world.san, world.witness)
        if isinstance(server, SimWorker):
            disk.mark(f"disk-{addr}".replace(":", "-").replace(".", "-"))
        world.disks[world.disks.index(server.disk)] = disk
        server.disk = disk
        server.restart()

    if at_ms:
        world.schedule.after(at_ms, mount)
    else:
        mount()


# ── what lies on the disks at the beginning ─────────────────────────────────────────────────────────────


def _stock(world: World, among: Sequence[Addr], taken: set[str], rng: Rng) -> None:
    """Fill these disks with healthy files of any rank, up to the share of their limits that was drawn.

    Some have two copies.
    """
    share = world.profile.stocked_percent
    files = [file for file in rng.shuffled(world.library) if file.name not in taken]
    placed = {name for disk in world.destination_disks() for name in disk.names}
    left = {addr: inventory.room_bytes(world, addr, ()) * share // 100 for addr in among}
    for number, file in enumerate(files):
        if file.name in placed:
            continue
        most_room = sorted(left, key=lambda addr: -left[addr])
        for addr in most_room[: 2 if number % TWICE_EVERY == 0 else 1]:
            if file.size_bytes <= left[addr]:
                world.disk_at(addr).place(file.name, file.size_bytes, content_of(file.name))
                left[addr] -= file.size_bytes


def _double(world: World, addr: Addr) -> None:
    """Second copies of a few files that lie elsewhere, on a disk over its limit: some of them will go."""
    disk = world.disk_at(addr)
    names = {name for one in world.destination_disks() for name in one.visible()}
    files = [file for file in world.library if file.name in names][: 2 * FEW]
    for file in files:
        disk.place(file.name, file.size_bytes, content_of(file.name))
    other_bytes = inventory.room_bytes(world, addr, ()) + placement.bytes_of(files[:FEW])
    disk.place("STRANGE.mpg", other_bytes, b"stranger")


def _overfill(world: World, addr: Addr, first: Sequence[str], taken: set[str], rng: Rng) -> None:
    """Bring a disk above its limit: these files come first, then any."""
    disk = world.disk_at(addr)
    files = [file for name in first if (file := world.file(name)) is not None]
    files += [file for file in rng.shuffled(world.library) if file.name not in taken]
    end_bytes = (disk.total_bytes - disk.reserved_bytes) * OVERFULL_PERCENT // 100
    for file in files:
        if disk.used_bytes + file.size_bytes <= end_bytes:
            disk.place(file.name, file.size_bytes, content_of(file.name))
