"""Runs worlds: a seed goes in, a report comes out.  Also finds the smallest set of faults that still fails.

A run is `hours` with faults, and then calm until the world rests.  Neighbour: `results` adds runs up.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import time
from collections.abc import Callable, Generator
from functools import partial
from typing import Final

from cfm_lab.sim import inventory, rest
from cfm_lab.sim.building import build
from cfm_lab.sim.checker import Checker
from cfm_lab.sim.environment import profile
from cfm_lab.sim.environment.parts import PARTS, Parts
from cfm_lab.sim.environment.profile import HOUR_MS, MINUTE_MS, Profile
from cfm_lab.sim.environment.rng import Rng
from cfm_lab.sim.fault_events import days
from cfm_lab.sim.results import SimulationReport, WorldRun
from cfm_lab.sim.world import World

AUDIT_MS: Final = 7 * MINUTE_MS
STORY_LINES: Final = 40


def run_seed(
    seed: int,
    hours: int,
    parts: Parts = PARTS,
    *,
    only: frozenset[str] | None = None,
    plan: Profile | None = None,
    stop_early: bool = False,
) -> WorldRun:
    """One world, from its beginning until it rests.

    `only` replaces the faults that the seed would draw, `plan` replaces the whole profile.  With
    `stop_early`, the first violation ends the run.
    """
    began_ns = time.process_time_ns()
    plan = plan or profile.draw(Rng(seed).fork("profile"), only=only)
    world, checker = build(seed, plan, parts)
    worth = None
    try:
        worth = _live(world, checker, hours * HOUR_MS, stop_early=stop_early)
    except Exception as error:  # noqa: BLE001 - an error that the product raises here is a finding, reported with its seed
        world.violations.add("crash", _told(error))
    return WorldRun(
        seed=seed,
        hours_ms=world.schedule.now_ms,
        steps=world.schedule.steps,
        digest=world.schedule.digest ^ int(world.trace.digest, 16),
        faults=world.swarm.counts,
        checks=checker.counts(),
        violations=world.violations.found,
        story=_story(world),
        happened=plan.faults,
        worth=worth,
        cpu_ns=time.process_time_ns() - began_ns,
    )


def _live(world: World, checker: Checker, faulty_ms: int, *, stop_early: bool) -> float | None:
    """Play a world.  Returns how good what is placed is at the end, where it rests."""
    days.set_going(world)
    while world.schedule.now_ms < faulty_ms:
        world.schedule.run_until(min(faulty_ms, world.schedule.now_ms + AUDIT_MS))
        checker.audit()
        if stop_early and world.violations.found:
            return None
    world.make_calm()
    days.calm_down(world)
    why = rest.come_to_rest(world)
    checker.rested(why)
    checker.audit()
    return inventory.worth(world) if why is None else None


def _told(error: Exception) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = f"{trace.tb_frame.f_code.co_filename.rpartition('/src/')[2]}:{trace.tb_lineno}" if trace else ""
    return f"{type(error).__name__}: {error} ({where})"


def _story(world: World) -> list[str]:
    if not world.violations.found:
        return []
    first = world.violations.found[0]
    return world.trace.story(STORY_LINES, about=_file_in(first.text), until_ms=first.at_ms)


def _file_in(text: str) -> str:
    """The file that a violation is about."""
    at = text.find(".mpg")
    return text[max(0, at - 4) : at + 4] if at >= 0 else ""


def run_seeds(
    seed: int,
    hours: int,
    seeds: int,
    parts: Parts = PARTS,
    *,
    each: Callable[[WorldRun], None] = lambda _run: None,
    cpu_s: int | None = None,
    stop_at_first: bool = False,
    jobs: int = 1,
) -> SimulationReport:
    """Run `seeds` worlds, from `seed` on.  After `cpu_s` seconds of CPU no further world counts.

    `jobs` processes share the work.  The report is the same for any number of them.
    """
    report = SimulationReport(seed, hours)
    with contextlib.closing(_runs(range(seed, seed + seeds), hours, parts, jobs)) as runs:
        for run in runs:
            report.add(run)
            each(run)
            if stop_at_first and run.failed:
                break
            if cpu_s is not None and report.cpu_ns >= cpu_s * 10**9:
                break
    return report


def _runs(numbers: range, hours: int, parts: Parts, jobs: int) -> Generator[WorldRun, None, None]:
    """One run for each seed, in order.  Processes are spawned, as threads of Polars do not survive a fork."""
    one = partial(run_seed, hours=hours, parts=parts)
    if jobs == 1:
        yield from map(one, numbers)
        return
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        yield from pool.imap(one, numbers)


def shrink(seed: int, hours: int, parts: Parts = PARTS, budget_s: int = 120) -> tuple[WorldRun, int]:
    """The run with the fewest kinds of faults and hours that still breaks the same rule; and its hours."""
    began_ns = time.process_time_ns()
    best = run_seed(seed, hours, parts)
    rule = best.violations[0].invariant if best.violations else ""

    def still(only: frozenset[str], tried_hours: int) -> WorldRun | None:
        if not rule or time.process_time_ns() - began_ns > budget_s * 10**9:
            return None
        run = run_seed(seed, tried_hours, parts, only=only)
        return run if any(v.invariant == rule for v in run.violations) else None

    while hours > 1 and (shorter := still(best.happened, max(1, hours // 2))) is not None:
        best, hours = shorter, max(1, hours // 2)
    for kind in sorted(best.happened):
        smaller = still(best.happened - {kind}, hours)
        if smaller is not None:
            best = smaller
    return best, hours
