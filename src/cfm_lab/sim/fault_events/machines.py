"""Faults of programs and of the machines under them: kills, stops, power, processors, clocks.

Some bring a further cfm: a second one on the same state, one that takes the state over, or a rival.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from cfm_lab.sim.environment.disks import SimDisk
from cfm_lab.sim.environment.profile import HOUR_MS, MINUTE_MS
from cfm_lab.sim.environment.rng import Rng
from cfm_lab.sim.fault_events.luck import FaultEvent, some_destination, some_server
from cfm_lab.sim.processes.controller import SimCfm
from cfm_lab.sim.processes.old_worker import SimOldWorker
from cfm_lab.sim.world import World

DAY_MS: Final = 24 * HOUR_MS


def cfm_killed(world: World, rng: Rng) -> None:
    cfm = world.main
    cfm.kill()
    world.heal_after(rng.between(200, 90_000), lambda: start_again(world, cfm))


def start_again(world: World, cfm: SimCfm) -> None:
    """Somebody tries to start it until it runs."""
    if cfm is world.main and not cfm.running and not cfm.start():
        world.schedule.after(5_000, start_again, world, cfm)


def cfm_stopped(world: World, rng: Rng) -> None:
    cfm = world.main
    if cfm.running and not cfm.process.stopped:
        cfm.process.stop()
        world.heal_after(rng.between(1_000, 300_000), cfm.process.go_on)


def cfm_second(world: World, _rng: Rng) -> None:
    """Somebody starts a second cfm, which must not run while the first one does."""
    second = world.another_cfm(world.main.state)
    started = second.start()
    world.witness.second_started(world.main, second, started=started)
    if started:
        second.kill()
    world.cfms.remove(second)


def cfm_superseded(world: World, rng: Rng) -> None:
    """cfm is stopped, the lock of its state is lost, and a new cfm starts.  Then the old one goes on."""
    old = world.main
    if not old.running or old.process.stopped:
        return
    old.process.stop()
    old.state.held_by = None
    new = world.another_cfm(old.state)
    world.main = new
    new.start()
    world.heal_after(rng.between(5_000, 240_000), old.process.go_on)
    world.heal_after(10 * MINUTE_MS, lambda: bury(world, old))


def bury(world: World, old: SimCfm) -> None:
    old.process.go_on()
    if old.running:
        old.process.end()
    if old in world.cfms:
        world.cfms.remove(old)


def cfm_rival(world: World, rng: Rng) -> None:
    """A cfm with another state.  Workers of ours refuse its orders; old ones would not, so it meets none."""
    if any(isinstance(server, SimOldWorker) for server in world.servers.values()):
        return
    rival = world.another_cfm()
    rival.start()
    world.heal_after(rng.between(MINUTE_MS, 15 * MINUTE_MS), lambda: _end_rival(world, rival))


def _end_rival(world: World, rival: SimCfm) -> None:
    rival.kill()
    world.cfms.remove(rival)


def cfm_state_full(world: World, rng: Rng) -> None:
    cfm = world.main
    cfm.store_full = True

    def mend() -> None:
        cfm.store_full = False

    world.heal_after(rng.between(10_000, 600_000), mend)


def cfm_descriptors(world: World, rng: Rng) -> None:
    cfm = world.main
    cfm.no_descriptors = True

    def mend() -> None:
        cfm.no_descriptors = False

    world.heal_after(rng.between(5_000, 120_000), mend)


def worker_killed(world: World, rng: Rng) -> None:
    server = some_server(world, rng)
    if server.process.up:
        server.kill()
        world.heal_after(rng.between(100, 120_000), server.restart)


def worker_restarts_soft(world: World, rng: Rng) -> None:
    server = some_server(world, rng)
    if server.process.up and not server.process.stopped:
        server.stop_softly()


def worker_stopped(world: World, rng: Rng) -> None:
    server = some_server(world, rng)
    if server.process.up and not server.process.stopped:
        server.process.stop()
        world.heal_after(rng.between(1_000, 400_000), server.process.go_on)


def power_cut(world: World, rng: Rng) -> None:
    server = some_server(world, rng)
    if server.process.up:
        server.kill()
        _change_disk(world, server.disk, server.disk.crash)
        world.heal_after(rng.between(20_000, 300_000), server.restart)


def _change_disk(world: World, disk: SimDisk, change: Callable[[], None]) -> None:
    """A disk loses files by this change."""
    before = set(disk.names)
    change()
    world.facts.vanished(before - disk.names.keys(), world.schedule.now_ms)


def old_disk(world: World, rng: Rng) -> None:
    """A machine returns with its disk as it was some time ago."""
    server = some_destination(world, rng)
    image = server.disk.image()

    def back() -> None:
        if server.process.up:
            server.kill()
            _change_disk(world, server.disk, partial(server.disk.restore, image))
            world.heal_after(rng.between(10_000, 60_000), server.restart)

    world.schedule.after(rng.between(10, 60) * MINUTE_MS, lambda: None if world.calm else back())


def machine_gone(world: World, rng: Rng) -> None:
    server = some_server(world, rng)
    if server.process.up:
        server.kill()
        server.process.reachable = False

        def back() -> None:
            server.process.reachable = True
            server.restart()

        world.heal_after(rng.between(5, 120) * MINUTE_MS, back)


def cpu_full(world: World, rng: Rng) -> None:
    process = rng.pick((world.main.process, some_server(world, rng).process))
    process.slow = True

    def mend() -> None:
        process.slow = False

    world.heal_after(rng.between(30_000, 600_000), mend)


def wall_jump_day(world: World, rng: Rng) -> None:
    clock = rng.pick((world.main.clock, some_server(world, rng).clock))
    jump_ms = rng.pick((DAY_MS, -DAY_MS))
    clock.wall_shift_ms += jump_ms

    def back() -> None:
        clock.wall_shift_ms -= jump_ms

    world.heal_after(rng.between(1, 200) * MINUTE_MS, back)


def wall_jump_back(world: World, rng: Rng) -> None:
    world.main.clock.wall_shift_ms -= rng.between(1_000, 3_600_000)


FAULTS: Final[tuple[FaultEvent, ...]] = (
    cfm_killed,
    cfm_stopped,
    cfm_second,
    cfm_superseded,
    cfm_rival,
    cfm_state_full,
    cfm_descriptors,
    worker_killed,
    worker_restarts_soft,
    worker_stopped,
    power_cut,
    old_disk,
    machine_gone,
    cpu_full,
    wall_jump_day,
    wall_jump_back,
)
