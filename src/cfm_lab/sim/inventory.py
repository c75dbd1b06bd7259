"""The inventory: what really lies on the disks of a world, what room they have, and what may go from them.

It looks at the truth.  cfm's own books count only where they say how long a file has to wait.  Neighbours:
`rest` asks whether a world is at rest, and `placement` compares what is found with the plain ideal.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from cfm.model import Addr, File, fits
from cfm.plan.view import is_ad
from cfm.worker.decide.disk_entries import Space
from cfm_lab.sim import placement
from cfm_lab.sim.environment.disks import SimDisk
from cfm_lab.sim.placement import Stock
from cfm_lab.sim.processes.worker import SimWorker
from cfm_lab.sim.world import World


def known_files(world: World) -> dict[str, File]:
    """The files of the metadata that is in force, by name."""
    pair = world.main.pair
    return {file.name: file for file in (pair.files if pair is not None else ())}


def holders(world: World) -> dict[str, list[SimDisk]]:
    """File → the disks of destinations that have it."""
    found: dict[str, list[SimDisk]] = {}
    for disk in world.destination_disks():
        for name in disk.visible():
            found.setdefault(name, []).append(disk)
    return found


def limit_of(world: World, addr: Addr) -> int:
    """The lowest limit of that disk, over all its addresses."""
    disk = world.disk_at(addr)
    there = [server for one, server in world.servers.items() if world.disk_at(one) is disk]
    own = [server.limit_percent for server in there if isinstance(server, SimWorker)]
    return min([world.profile.rules.limit_percent, *own])


def may_go(world: World, files: Mapping[str, File], name: str, addr: Addr) -> bool:
    """May this file be deleted from there to make room?"""
    file = files.get(name)
    core = world.main.core
    if file is None or core is None or is_ad(name, world.profile.rules.ad_prefixes):
        return False
    young = (name, addr) in core.state.arrivals.arrived_ms
    return world.san.holds(name, file.size_bytes) and not young


def takes(world: World, addr: Addr, size_bytes: int) -> bool:
    """Would a file of this size keep the disk within its limit?"""
    space = space_of(world, addr)
    used_bytes = space.total_bytes - space.free_bytes
    return size_bytes <= space.avail_bytes and fits(
        used_bytes, space.avail_bytes, size_bytes, limit_of(world, addr)
    )


def space_of(world: World, addr: Addr) -> Space:
    with world.disk_at(addr).open() as folder:
        return folder.space()


# ── beside the ideal ────────────────────────────────────────────────────────────────────────────────────


def placeable(world: World, files: Mapping[str, File]) -> list[File]:
    """The files that may be placed at all, the most wanted first."""
    prefixes = world.profile.rules.ad_prefixes
    return placement.wanted_order(
        file
        for name, file in files.items()
        if not is_ad(name, prefixes) and world.san.holds(name, file.size_bytes)
    )


def room_bytes(world: World, addr: Addr, files: Collection[str]) -> int:
    """What the disk at this address can take of these files: all below its limit that nothing else uses.

    Negative where the others alone bring it over its limit.
    """
    disk = world.disk_at(addr)
    allowed_bytes = limit_of(world, addr) * (disk.total_bytes - disk.reserved_bytes) // 100
    others_bytes = sum(node.size_bytes for name, node in disk.names.items() if name not in files)
    return allowed_bytes - others_bytes


def first_addresses(world: World, among: Collection[Addr]) -> list[Addr]:
    """One address for each disk, the first of those that are asked for."""
    found: dict[SimDisk, Addr] = {}
    for addr in among:
        found.setdefault(world.disk_at(addr), addr)
    return list(found.values())


def places(world: World, addrs: Sequence[Addr]) -> dict[str, int]:
    """On which of these servers a file is, by its place among them."""
    return {name: at for at, addr in enumerate(addrs) for name in world.disk_at(addr).visible()}


def stocks(world: World, files: Mapping[str, File], among: Collection[Addr]) -> Iterator[Stock]:
    """The disks at these addresses, with what may go from each."""
    for addr in first_addresses(world, among):
        disk = world.disk_at(addr)
        free_bytes = room_bytes(world, addr, ()) - sum(n.size_bytes for n in disk.temp_names.values())
        goers = tuple(files[name] for name in disk.visible() if may_go(world, files, name, addr))
        yield Stock(addr, free_bytes, goers)


def worth(world: World) -> float:
    """How good what is placed is, beside the best that could be there now.

    What may not go is placed in both, and what may not come back yet is missing in both.
    """
    core = world.main.core
    files, held = known_files(world), holders(world)
    left = core.state.departures.left if core is not None else {}
    wanted = [file for file in placeable(world, files) if file.name in held or file.name not in left]
    addrs = first_addresses(world, world.destinations)
    staying = {name for addr in addrs for name in _staying(world, files, addr)}
    movable = {file.name for file in wanted} - staying
    rooms = [room_bytes(world, addr, movable) for addr in addrs]
    return placement.worth(
        movable & held.keys(),
        [file for file in wanted if file.name in movable],
        rooms,
        places(world, addrs),
        staying_hits=placement.hits_of(file for file in wanted if file.name in staying),
    )


def _staying(world: World, files: Mapping[str, File], addr: Addr) -> list[str]:
    """What is there and may not go now.  From a disk with two addresses nothing goes for others."""
    disk = world.disk_at(addr)
    is_shared = world.profile.shared_disk and disk is world.disk_at(world.destinations[0])
    return [name for name in disk.visible() if is_shared or not may_go(world, files, name, addr)]
