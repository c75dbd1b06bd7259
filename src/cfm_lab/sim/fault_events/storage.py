"""Faults of the servers' disks, and of other software that writes and deletes there."""

from __future__ import annotations

import errno
from typing import Final

from cfm.worker.decide.disk_entries import EntryKind as FileKind
from cfm_lab.sim.environment.disks import SimDisk
from cfm_lab.sim.environment.profile import MINUTE_MS
from cfm_lab.sim.environment.rng import Rng
from cfm_lab.sim.fault_events.luck import FaultEvent, some_destination, some_disk, some_of_ours
from cfm_lab.sim.processes.old_worker import SimOldWorker
from cfm_lab.sim.processes.worker import SimWorker
from cfm_lab.sim.world import World


def disk_full(world: World, rng: Rng) -> None:
    """Other software writes a large file."""
    disk = some_disk(world, rng)
    free_bytes = max(0, disk.total_bytes - disk.reserved_bytes - disk.used_bytes)
    name = f"FOREIGN{world.swarm.counts['disk_full']}.mpg"
    disk.place(name, free_bytes * rng.between(50, 100) // 100, b"foreign")
    world.heal_after(rng.between(5, 90) * MINUTE_MS, lambda: disk.lose(name))


def df_stands_still(world: World, rng: Rng) -> None:
    server = some_destination(world, rng)
    server.stand_still(still=True)
    world.heal_after(rng.between(10, 90) * MINUTE_MS, lambda: server.stand_still(still=False))


def _break_disk(world: World, rng: Rng, calls: tuple[str, ...], error: int) -> None:
    disk = some_disk(world, rng)
    for call in calls:
        disk.break_call(call, error)

    def mend() -> None:
        for call in calls:
            disk.mend_call(call)

    world.heal_after(rng.between(1, 40) * MINUTE_MS, mend)


def read_only(world: World, rng: Rng) -> None:
    _break_disk(world, rng, ("open_temp", "write", "remove", "sync", "fsync"), errno.EROFS)


def unmounted(world: World, rng: Rng) -> None:
    worker = some_of_ours(world, rng)
    if worker is not None:
        _unmount(world, worker.disk, rng)


def unmounted_old(world: World, rng: Rng) -> None:
    server = some_destination(world, rng)
    if isinstance(server, SimOldWorker):
        _unmount(world, server.disk, rng)


def _unmount(world: World, disk: SimDisk, rng: Rng) -> None:
    disk.mount(mounted=False)
    world.heal_after(rng.between(30_000, 40 * MINUTE_MS), lambda: disk.mount(mounted=True))


def disk_hung(world: World, rng: Rng) -> None:
    """A disk hangs.  Old workers know no fence, so their disks hang no longer than the product allows for."""
    server = some_destination(world, rng)
    most_ms = 300_000 if isinstance(server, SimWorker) else 5_000
    server.disk.hung_until_ms = world.schedule.now_ms + rng.between(1_000, most_ms)


def bit_rot(world: World, rng: Rng) -> None:
    disk = some_disk(world, rng)
    names = disk.visible()
    if names:
        disk.names[rng.pick(names)].data[:] = b"rotten!!"


def foreign_copies(world: World, rng: Rng) -> None:
    """Other software copies files from one disk to another."""
    source, target = some_disk(world, rng), some_disk(world, rng)
    for name in rng.shuffled(source.visible())[: rng.between(1, 6)]:
        node = source.names[name]
        bring(target, name, node.size_bytes, bytes(node.data))


def bring(disk: SimDisk, name: str, size_bytes: int, content: bytes) -> None:
    room_bytes = disk.total_bytes - disk.reserved_bytes - disk.used_bytes
    if name not in disk.names and size_bytes < room_bytes:
        disk.place(name, size_bytes, content)


def foreign_removal(world: World, rng: Rng) -> None:
    """Other software deletes files; often one with a delete order, or the copy of it that stays."""
    orders = world.facts.open_orders()
    if orders and rng.below(2):
        order = rng.pick(orders)
        disk, names = world.disk_at(rng.pick((order.server, order.keeper or order.server))), [order.file.name]
    else:
        disk = some_disk(world, rng)
        names = rng.shuffled(disk.visible())[: rng.between(1, 3)]
    for name in names:
        if name in disk.names:
            world.facts.vanished([name], world.schedule.now_ms)
        disk.lose(name)


def link_planted(world: World, rng: Rng) -> None:
    disk = some_disk(world, rng)
    names = disk.visible()
    if names:
        name = rng.pick(names)
        world.facts.vanished([name], world.schedule.now_ms)
        disk.place(name, 0, b"", FileKind.OTHER)
        world.heal_after(rng.between(1, 60) * MINUTE_MS, lambda: disk.lose(name))


FAULTS: Final[tuple[FaultEvent, ...]] = (
    disk_full,
    df_stands_still,
    read_only,
    unmounted,
    unmounted_old,
    disk_hung,
    bit_rot,
    foreign_copies,
    foreign_removal,
    link_planted,
)
