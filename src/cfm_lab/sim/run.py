"""Runs worlds: a seed goes in, a report comes out.  Also finds the smallest set of faults that still fails.

A run is `hours` with faults, and then calm until the world rests.  A sick run is `hours` with a sick part, in
which no fault strikes and nothing heals.  Neighbours: `results` adds runs up, `goodput` plays sick worlds.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Final

from cfm_lab.sim import inventory, rest
from cfm_lab.sim import several as several_cfm
from cfm_lab.sim.building import build
from cfm_lab.sim.checker import Checker
from cfm_lab.sim.environment import profile
from cfm_lab.sim.environment.parts import PARTS, Parts
from cfm_lab.sim.environment.profile import HOUR_MS, MINUTE_MS, Profile
from cfm_lab.sim.environment.rng import Rng
from cfm_lab.sim.environment.sickness import sicknesses_of
from cfm_lab.sim.fault_events import days
from cfm_lab.sim.goodput import play_pair
from cfm_lab.sim.results import SimulationReport, WorldRun, story_of, told_error
from cfm_lab.sim.several import Several
from cfm_lab.sim.world import World

AUDIT_MS: Final = 7 * MINUTE_MS


def run_seed(
    seed: int,
    hours: int,
    parts: Parts = PARTS,
    *,
    only: frozenset[str] | None = None,
    plan: Profile | None = None,
    stop_early: bool = False,
    controllers: int = 1,
) -> WorldRun:
    """One world, from its beginning until it rests; with `controllers`, several cfm share its state.

    `only` replaces the faults that the seed would draw, `plan` replaces the whole profile.  With
    `stop_early`, the first violation ends the run.
    """
    began_ns = time.process_time_ns()
    plan = plan or profile.draw(Rng(seed).fork("profile"), only=only)
    kinds: frozenset[str] = frozenset()
    if controllers > 1:
        kinds = several_cfm.draw(Rng(seed).fork("hosts")) if only is None else only & several_cfm.KINDS
        plan = replace(plan, faults=plan.faults - several_cfm.NOT_HERE - kinds)
    world, checker = build(seed, plan, parts)
    several = Several(world, controllers, kinds) if controllers > 1 else None
    worth = None
    try:
        worth = _live(world, checker, hours * HOUR_MS, several, stop_early=stop_early)
    except Exception as error:  # noqa: BLE001 - an error that the product raises here is a finding, reported with its seed
        world.violations.add("crash", told_error(error))
    return WorldRun(
        seed=seed,
        hours_ms=world.schedule.now_ms,
        steps=world.schedule.steps,
        digest=world.schedule.digest ^ int(world.trace.digest, 16),
        faults=world.swarm.counts,
        checks=checker.counts(),
        violations=world.violations.found,
        story=story_of(world),
        happened=plan.faults | kinds,
        worth=worth,
        cpu_ns=time.process_time_ns() - began_ns,
    )


def _live(
    world: World, checker: Checker, faulty_ms: int, several: Several | None, *, stop_early: bool
) -> float | None:
    """Play a world.  Returns how good what is placed is at the end, where it rests."""
    days.set_going(world)
    while world.schedule.now_ms < faulty_ms:
        world.schedule.run_until(min(faulty_ms, world.schedule.now_ms + AUDIT_MS))
        checker.audit()
        if stop_early and world.violations.found:
            return None
    world.make_calm()
    if several is not None:
        several.make_calm()
    days.calm_down(world)
    why = rest.come_to_rest(world)
    checker.rested(why)
    checker.audit()
    return inventory.worth(world) if why is None else None


def run_sick_seed(seed: int, hours: int, parts: Parts = PARTS, *, kinds: Sequence[str] = ()) -> WorldRun:
    """One sick world and its twin.  `kinds` has the sicknesses that take turns: all, where it is empty.

    A kind may be two, as in `deaf+no_mount`.
    """
    chosen = tuple(kinds[seed % len(kinds)].split("+")) if kinds else sicknesses_of(seed)
    return play_pair(seed, hours, chosen, parts)


def run_seeds(
    seed: int,
    hours: int,
    seeds: int,
    parts: Parts = PARTS,
    *,
    sick: Sequence[str] | None = None,
    each: Callable[[WorldRun], None] = lambda _run: None,
    cpu_s: int | None = None,
    stop_at_first: bool = False,
    jobs: int = 1,
    controllers: int = 1,
) -> SimulationReport:
    """Run `seeds` worlds, from `seed` on.  After `cpu_s` seconds of CPU no further world counts.

    With `sick`, they are sick worlds: of these sicknesses, or of all where there are none in it.
    With more than one of `controllers`, each world has so many cfm.  `jobs` processes share the work.  The
    report is the same for any number of them.
    """
    report = SimulationReport(seed, hours)
    one = partial(run_seed, hours=hours, parts=parts, controllers=controllers)
    if sick is not None:
        one = partial(run_sick_seed, hours=hours, parts=parts, kinds=sick)
    with contextlib.closing(_runs(one, range(seed, seed + seeds), jobs)) as runs:
        for run in runs:
            report.add(run)
            each(run)
            if stop_at_first and run.failed:
                break
            if cpu_s is not None and report.cpu_ns >= cpu_s * 10**9:
                break
    return report


def _runs(one: Callable[[int], WorldRun], numbers: range, jobs: int) -> Generator[WorldRun, None, None]:
    """One run for each seed, in order.  Processes are spawned, as threads of Polars do not survive a fork."""
    if jobs == 1:
        yield from map(one, numbers)
        return
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=spawn) as pool:  # raises where a process ends by itself
        try:
            yield from pool.map(one, numbers)
        finally:
            pool.shutdown(cancel_futures=True)


def shrink(
    seed: int, hours: int, parts: Parts = PARTS, budget_s: int = 120, *, controllers: int = 1
) -> tuple[WorldRun, int]:
    """The run with the fewest kinds of faults and hours that still breaks the same rule; and its hours."""
    began_ns = time.process_time_ns()
    best = run_seed(seed, hours, parts, controllers=controllers)
    rule = best.violations[0].invariant if best.violations else ""

    def still(only: frozenset[str], tried_hours: int) -> WorldRun | None:
        if not rule or time.process_time_ns() - began_ns > budget_s * 10**9:
            return None
        run = run_seed(seed, tried_hours, parts, only=only, controllers=controllers)
        return run if any(v.invariant == rule for v in run.violations) else None

    while hours > 1 and (shorter := still(best.happened, max(1, hours // 2))) is not None:
        best, hours = shorter, max(1, hours // 2)
    for kind in sorted(best.happened):
        smaller = still(best.happened - {kind}, hours)
        if smaller is not None:
            best = smaller
    return best, hours
