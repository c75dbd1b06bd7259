"""The days of a sick world: nothing happens in them that was not settled beforehand.

The ranks stay, nobody presses buttons, and no fault strikes.  Viewers come only where the event log is sick,
and watch what was drawn for them.  So the same world without its sick part has the same days.  Neighbours:
`days` has those of usual worlds, `cfm_lab.sim.sick_building` makes the worlds.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import replace
from typing import Final

from cfm.model import Hits, LogCondition
from cfm_lab.sim.environment.profile import MINUTE_MS
from cfm_lab.sim.environment.rng import Rng
from cfm_lab.sim.environment.sickness import CFM, LOG
from cfm_lab.sim.fault_events.days import every
from cfm_lab.sim.fault_events.machines import start_again
from cfm_lab.sim.world import World

FULL_FROM_MS: Final = 30 * MINUTE_MS
FULL_UNTIL_MS: Final = 150 * MINUTE_MS
ROLE_LOST_MS: Final = 3 * MINUTE_MS
"""At the latest; before, as soon as something is under way there."""
LOG_LOST_MS: Final = 20 * MINUTE_MS
LOST_LOGS: Final = {"log_gone": LogCondition.GONE, "log_unreadable": LogCondition.UNREADABLE}


def set_going(world: World) -> None:
    """Start everything that happens from time to time."""
    world.metadata.on_change = world.metadata_changed
    world.write_metadata()
    rng = world.rng.fork("quiet days")
    world.schedule.after(50, start_again, world, world.main)
    every(world, rng.fork("metadata"), world.profile.metadata_ms, lambda world, _rng: world.write_metadata())
    every(world, rng.fork("source folder"), 10 * MINUTE_MS, lambda world, _rng: world.tell_san_index())
    if "state_full" in world.profile.sick:
        _fill_state(world)
    if "loses_role" in world.profile.sick:
        _take_role(world)
    if LOG.intersection(world.profile.sick):
        every(world, rng.fork("viewers"), world.profile.viewers_ms, _viewers)
    for kind, condition in LOST_LOGS.items():
        if world.sick.has(kind, CFM):
            world.schedule.after(LOG_LOST_MS, world.lose_log, condition)


def _viewers(world: World, rng: Rng) -> None:
    """The window of the event log moves.  What is watched does not depend on what happens in the world."""
    names = [file.name for file in world.library if file.name not in world.sick.files]
    rising = {rng.pick(names): 5 + rng.below(20) for _ in range(rng.below(3))}
    world.set_hits(Hits(rising, frozenset(rng.pick(names) for _ in range(rng.below(3)))))


def _take_role(world: World) -> None:
    """A destination is only a source any more, by settings that cfm reads at its start.

    In the twin, which knows nothing of that server, cfm is started anew at the latest moment.
    """
    lost = world.sick.of("loses_role")
    if not _under_way(world, lost) and world.schedule.now_ms < ROLE_LOST_MS:
        world.schedule.after(1_000, _take_role, world)
        return
    cfm, left = world.main, tuple(addr for addr in world.destinations if addr in lost)
    world.destinations = tuple(addr for addr in world.destinations if addr not in lost)
    world.sources = (*world.sources, *left)
    world.note("no destination any more", *left)
    cfm.kill()
    cfm.config = replace(cfm.config, sources=world.sources, destinations=world.destinations)
    start_again(world, cfm)


def _under_way(world: World, lost: AbstractSet[str]) -> bool:
    """Does a copy run to one of these servers, or is a delete waited for?"""
    states = world.facts.states.values()
    copies = [known.task.destination for state in states for known in state.open_tasks.values()]
    return not lost.isdisjoint([*copies, *(order.server for order in world.facts.open_orders())])


def _fill_state(world: World) -> None:
    """cfm cannot write its state for hours.  In the twin, it does not run meanwhile."""
    cfm = world.main

    def fill() -> None:
        if world.sick.has("state_full", CFM):
            cfm.store_full = True
        else:
            cfm.kill()

    def empty() -> None:
        cfm.store_full = False
        if not cfm.running:
            start_again(world, cfm)

    world.schedule.after(FULL_FROM_MS, fill)
    world.schedule.after(FULL_UNTIL_MS, empty)
