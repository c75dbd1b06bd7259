"""What a fault event is, and how luck picks the machine that it hits."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from cfm_lab.sim.environment.disks import SimDisk
from cfm_lab.sim.environment.rng import Rng
from cfm_lab.sim.processes.server import SimServer
from cfm_lab.sim.processes.worker import SimWorker
from cfm_lab.sim.world import World

FaultEvent: TypeAlias = Callable[[World, Rng], None]
"""One fault that happens by itself."""


def some_server(world: World, rng: Rng) -> SimServer:
    return world.servers[rng.pick((*world.sources, *world.destinations))]


def some_destination(world: World, rng: Rng) -> SimServer:
    return world.servers[rng.pick(world.destinations)]


def some_disk(world: World, rng: Rng) -> SimDisk:
    return some_destination(world, rng).disk


def some_of_ours(world: World, rng: Rng) -> SimWorker | None:
    server = some_destination(world, rng)
    return server if isinstance(server, SimWorker) else None
