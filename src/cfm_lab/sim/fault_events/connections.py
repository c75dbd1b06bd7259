"""Faults of the connections between machines, in one direction or in both.

Neighbour: `cfm_lab.sim.environment.network` carries the messages, and loses single ones.
"""

from __future__ import annotations

from typing import Final

from cfm.model import Addr, Status, Task
from cfm_lab.sim.environment.disks import content_of
from cfm_lab.sim.environment.profile import MINUTE_MS
from cfm_lab.sim.environment.rng import Rng
from cfm_lab.sim.fault_events.luck import FaultEvent, some_disk, some_server
from cfm_lab.sim.fault_events.storage import bring
from cfm_lab.sim.world import World

SECOND_MS: Final = 1_000


def _cut_for(world: World, pairs: list[tuple[str, str]], delay_ms: int) -> None:
    for one, other in pairs:
        world.net.cut(one, other)

    def mend() -> None:
        for one, other in pairs:
            world.net.mend(one, other)

    world.heal_after(delay_ms, mend)


def partition(world: World, rng: Rng) -> None:
    one, other = world.main.process.name, some_server(world, rng).addr
    _cut_for(world, [(one, other), (other, one)], rng.between(5_000, 1_200_000))


def one_way(world: World, rng: Rng) -> None:
    one, other = world.main.process.name, some_server(world, rng).addr
    _cut_for(world, [rng.pick(((one, other), (other, one)))], rng.between(5_000, 600_000))


def partial_partition(world: World, rng: Rng) -> None:
    one, other = rng.pick(world.sources), rng.pick(world.destinations)
    if one != other:
        _cut_for(world, [(one, other), (other, one)], rng.between(5_000, 900_000))


LOOKS_FOR_A_COPY = 900


def copy_cut_off(world: World, rng: Rng) -> None:
    """Both ends of the next copy are cut off from cfm, and meanwhile somebody copies the file by hand.

    First a file is lost, so that there is something to copy.
    """
    disk = some_disk(world, rng)
    names = [file.name for file in world.library if file.name in disk.names]
    if names:
        world.facts.vanished(names[:1], world.schedule.now_ms)
        disk.lose(names[0])
    _cut_next_copy(world, rng, LOOKS_FOR_A_COPY)


def _cut_next_copy(world: World, rng: Rng, looks: int) -> None:
    core, cfm = world.main.core, world.main.process.name
    active = core.state.tasks.active.values() if core is not None else ()
    running = [task for task in active if task.status is Status.WORKING]
    if world.calm or not looks:
        return
    if not running:
        world.schedule.after(2 * SECOND_MS, _cut_next_copy, world, rng, looks - 1)
        return
    task = rng.pick(running)
    pairs = [(cfm, end) for end in (task.source, task.destination)]
    _cut_for(world, [*pairs, *((end, cfm) for _cfm, end in pairs)], rng.between(6, 15) * MINUTE_MS)
    world.schedule.after(5 * SECOND_MS, _by_hand, world, rng, task)


def _by_hand(world: World, rng: Rng, task: Task) -> None:
    others = [world.disk_at(addr) for addr in world.destinations if addr != task.destination]
    if not world.calm:
        for disk in rng.shuffled(others)[:4]:
            bring(disk, task.file.name, task.file.size_bytes, content_of(task.file.name))


def rolling_partition(world: World, rng: Rng) -> None:
    cfm = world.main.process.name
    for i, addr in enumerate(rng.shuffled(world.destinations)):

        def cut(addr: Addr = addr) -> None:
            if not world.calm:
                _cut_for(world, [(cfm, addr), (addr, cfm)], rng.between(60_000, 400_000))

        world.schedule.after(i * 45_000, cut)


FAULTS: Final[tuple[FaultEvent, ...]] = (
    partition,
    one_way,
    partial_partition,
    copy_cut_off,
    rolling_partition,
)
