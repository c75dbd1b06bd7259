"""Goodput: how well a node does while a part of it stays sick, beside its twin that does without that part.

Both worlds are played for the same hours.  Every quarter of an hour the bytes of the *ideal set* are counted
that are placed: the best files for the healthy disks.  Their sum, divided by the twin's, is the goodput.  At
the end it is asked how good what is placed is, and how much was done in vain for each sick thing.

Neighbours: `sick_building` makes the two worlds, `placement` has the ideal, `run` plays one pair a seed.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final

from cfm.controller.explain.condition import Condition, Severity
from cfm.controller.explain.verdict import verdict
from cfm.model import Addr, File
from cfm_lab.sim import inventory, placement, rest
from cfm_lab.sim.checker import Checker
from cfm_lab.sim.environment.parts import PARTS, Parts
from cfm_lab.sim.environment.profile import MINUTE_MS, draw_sick
from cfm_lab.sim.environment.rng import Rng
from cfm_lab.sim.environment.sickness import NO_HITS, SICKNESSES, WISHED, SickPlace
from cfm_lab.sim.fault_events import quiet_days
from cfm_lab.sim.results import SickFigures, WorldRun, story_of, told_error
from cfm_lab.sim.sick_building import build_sick, build_twin
from cfm_lab.sim.world import World

SAMPLE_MIN: Final = 15
AUDIT_MIN: Final = 7
LEAST_GOODPUT: Final = 0.95
LEAST_WORTH: Final = 0.99
MOST_AN_HOUR: Final = 48
"""So often anything may happen in vain in an hour, for each sick thing."""
LOOKS_EACH: Final = 4
"""One question to the SAN looks for so many files."""
CLEARLY_WORSE_PERCENT: Final = 50
"""A file is missing only if the files that should go for it have together at most half of its hits."""


@dataclass(slots=True)
class Played:
    """One of the two worlds, played to its end."""

    world: World
    checker: Checker
    healthy: tuple[Addr, ...]
    """The healthy destinations."""
    wanted: list[File]
    """The healthy files, best rank first."""
    ideal: frozenset[str]
    placed_bytes: list[int] = field(default_factory=list)
    named_after_min: int | None = None

    def placed(self) -> set[str]:
        """The wanted files that are really there, on a sick disk too: viewers can have them."""
        return {file.name for file in self.wanted} & inventory.holders(self.world).keys()


def play_pair(seed: int, hours: int, kinds: tuple[str, ...], parts: Parts = PARTS) -> WorldRun:
    """The sick world of this seed and its twin.  The result is the sick world's, with what its twin shows."""
    began_ns = time.process_time_ns()
    plan = draw_sick(Rng(seed).fork("profile"), kinds, hours)
    one = _begin(*build_sick(seed, plan, parts))
    other = _begin(*build_twin(seed, plan, parts), like=one)
    figures = None
    try:
        _play(one, hours)
        _play(other, hours)
        figures = _figures(one, other, hours)
        _judge(one, figures)
    except Exception as error:  # noqa: BLE001 - an error that the product raises here is a finding
        one.world.violations.add("crash", told_error(error))
    world = one.world
    return WorldRun(
        seed=seed,
        hours_ms=world.schedule.now_ms + other.world.schedule.now_ms,
        steps=world.schedule.steps + other.world.schedule.steps,
        digest=_digest(world) ^ (_digest(other.world) << 1),
        faults=world.swarm.counts,
        checks=one.checker.counts(),
        violations=[*world.violations.found, *other.world.violations.found],
        story=story_of(world) or story_of(other.world),
        happened=plan.faults,
        worth=figures.worth if figures and figures.twin_rests and not _room_is_withheld(kinds) else None,
        sick=figures,
        cpu_ns=time.process_time_ns() - began_ns,
    )


def _digest(world: World) -> int:
    return world.schedule.digest ^ int(world.trace.digest, 16)


def _begin(world: World, checker: Checker, like: Played | None = None) -> Played:
    """A world that is about to begin.  A twin is asked for the same files on the same disks."""
    if like is not None:
        return Played(world, checker, like.healthy, like.wanted, like.ideal)
    healthy = tuple(addr for addr in world.destinations if addr not in world.sick.machines)
    files = {file.name: file for file in world.library if file.name not in world.sick.files}
    wanted = inventory.placeable(world, files)
    best = placement.ideal(wanted, _rooms(world, healthy, files))
    return Played(world, checker, healthy, wanted, frozenset(file.name for file in best))


def _rooms(world: World, healthy: tuple[Addr, ...], files: dict[str, File]) -> list[int]:
    return [inventory.room_bytes(world, addr, files) for addr in inventory.first_addresses(world, healthy)]


def _play(played: Played, hours: int) -> None:
    world = played.world
    quiet_days.set_going(world)
    for minute in range(1, hours * 60 + 1):
        world.schedule.run_until(minute * MINUTE_MS)
        if minute % AUDIT_MIN == 0:
            played.checker.audit()
        if minute % SAMPLE_MIN == 0:
            played.placed_bytes.append(_ideal_bytes(played))
        if played.named_after_min is None and names_the_sick(world):
            played.named_after_min = minute


def _ideal_bytes(played: Played) -> int:
    placed = played.placed() & played.ideal
    return placement.bytes_of(file for file in played.wanted if file.name in placed)


# ── the verdict ─────────────────────────────────────────────────────────────────────────────────────────


def names_the_sick(world: World) -> bool:
    """Does the verdict name each sick part, as the operator would?"""
    core = world.main.core
    if core is None or not world.main.running or not world.sick.things:
        return False
    found = verdict(core, core.last_round, world.main.clock.now()).conditions
    told = [one for one in found if one.level is not Severity.NOTE]
    wished = frozenset().union(*(world.sick.of(kind) for kind in WISHED))
    machines = world.sick.machines - wished
    others = [kind for kind in world.profile.sick if SICKNESSES[kind].place in NAMED_BY]
    return (
        bool(machines or others)
        and all(any(addr in one.servers for one in told) for addr in machines)
        and all(_names(world, kind, found) for kind in others)
    )


NAMED_BY: Final = {SickPlace.FILES: "file", SickPlace.FOLDER: "folder", SickPlace.CFM: ""}


def _names(world: World, kind: str, found: tuple[Condition, ...]) -> bool:
    """Is there a condition about these files, this folder, or the part of cfm that is sick?"""
    place = SICKNESSES[kind].place
    if place is SickPlace.FILES:
        names = world.sick.parts(SickPlace.FILES)
        return any(one.files == len(names) or any(name in one.text for name in names) for one in found)
    word = "folder" if place is SickPlace.FOLDER else kind.partition("_")[0].removesuffix("s")
    return any(word in one.text or word in one.name for one in found)


# ── the comparison ──────────────────────────────────────────────────────────────────────────────────────


def _figures(one: Played, other: Played, hours: int) -> SickFigures:
    kinds = one.world.profile.sick
    twin_bytes = sum(other.placed_bytes)
    return SickFigures(
        kinds=kinds,
        goodput=sum(one.placed_bytes) / twin_bytes if twin_bytes else 1.0,
        worth=_worth(one),
        twin_worth=_worth(other),
        twin_rests=not _copies(other) and not _missing(other),
        rates=_rates(one, other, hours),
        named_after_min=one.named_after_min,
    )


def _worth(played: Played, without: Collection[str] = ()) -> float:
    """`without`: files that the ideal does not ask for either."""
    files = {file.name: file for file in played.wanted}
    rooms = _rooms(played.world, played.healthy, files)
    there = inventory.places(played.world, inventory.first_addresses(played.world, played.healthy))
    wanted = [file for file in played.wanted if file.name not in without]
    return placement.worth(played.placed(), wanted, rooms, there)


def _rates(one: Played, other: Played, hours: int) -> dict[str, float]:
    """What happened an hour and sick thing, above what happened in the twin.

    Where more copies stayed than in the twin, it would have written and logged more for as many.
    """
    sick, twin = one.world.facts.counts, other.world.facts.counts
    more = max(1.0, sick.copies_stayed / max(1, twin.copies_stayed))
    above = {
        "failed_tasks": sick.failed_tasks - twin.failed_tasks,
        "dropped_orders": sick.dropped_orders - twin.dropped_orders,
        "log_lines": sick.log_lines - more * twin.log_lines,
        "rows_written": sick.rows_written - more * twin.rows_written,
        "requests": _requests_above(one.world),
        "san_looks": (one.world.san.asked_in_vain - other.world.san.asked_in_vain) // LOOKS_EACH,
        "watched_deleted": sick.watched_deleted - twin.watched_deleted,
    }
    share = hours * max(1, one.world.sick.things)
    return {name: max(0, number) / share for name, number in above.items()}


def _requests_above(world: World) -> int:
    """The requests to the sick machines, above those to healthy machines of the same role."""
    above = 0
    for addr in world.sick.machines:
        role = world.sources if addr in world.sources else world.destinations
        healthy = [world.net.calls_to[one] for one in role if one not in world.sick.machines]
        above += max(0, world.net.calls_to[addr] - sum(healthy) // max(1, len(healthy)))
    return above


# ── the judgement ───────────────────────────────────────────────────────────────────────────────────────


def _judge(one: Played, figures: SickFigures) -> None:
    """Rules 25 and 26.  The second is held only where the twin is at rest, and misses nothing either.

    While hits are unknown nothing may go for room, so that the twin has better files on full disks.  And what
    went for a file that was rising stays away for its time (rule 24), however good it is: nobody can ask for
    both.
    """
    what = " and ".join(figures.kinds)
    broken = one.world.violations.add
    if figures.goodput < LEAST_GOODPUT:
        broken("25", f"{what}: goodput {figures.goodput:.1%}")
    for name, rate in figures.rates.items():
        if rate > MOST_AN_HOUR:
            broken("25", f"{what}: {rate:.0f} {name} an hour and sick thing")
    if not figures.twin_rests:
        return
    withheld = _room_is_withheld(figures.kinds)
    if not withheld and max(figures.worth, _worth(one, _gone(one))) < LEAST_WORTH * figures.twin_worth:
        broken("26", f"{what}: worth {figures.worth:.1%}, without the sick part {figures.twin_worth:.1%}")
    for text in _missing(one, may_go=not withheld)[:1]:
        broken("26", f"{what}: {text}")


def _gone(played: Played) -> Collection[str]:
    """What was deleted for room, and may not come back yet."""
    core = played.world.main.core
    return core.state.departures.left if core is not None else ()


def _room_is_withheld(kinds: tuple[str, ...]) -> bool:
    return not NO_HITS.isdisjoint(kinds)


def _copies(played: Played) -> bool:
    core = played.world.main.core
    return core is not None and bool(core.state.tasks.active)


def _missing(played: Played, *, may_go: bool = True) -> list[str]:
    """What is clearly not as good as it could be at the end; `may_go`: may files be deleted for room?"""
    world = played.world
    files = {file.name: file for file in played.wanted}
    core = world.main.core
    if core is None or not world.main.running:
        return ["cfm does not run"]
    placed, gone = played.placed(), _gone(played)
    absent = [file for file in played.wanted if file.name not in placed and file.name not in gone]
    better = placement.exchanges(
        absent,
        tuple(
            stock if may_go else stock._replace(goers=())
            for stock in inventory.stocks(world, files, played.healthy)
        ),
        margin_percent=world.profile.rules.room_margin_percent,
        worth_percent=CLEARLY_WORSE_PERCENT,
    )
    return [
        *rest.over_limit(world, files, played.healthy),
        *(
            f"{found.file.name} of rank {found.file.rank} is nowhere, and would fit on {found.label}"
            f" for {len(found.goers)} worse files"
            for found in better
        ),
    ]
