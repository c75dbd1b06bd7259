"""Sick worlds: each sickness does what it says, and the twin is the same world without it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest

from cfm.model import Addr, DiskReport, Status
from cfm_lab.sim import inventory
from cfm_lab.sim.environment.parts import PARTS
from cfm_lab.sim.environment.profile import HOUR_MS, MINUTE_MS, Profile, draw_sick
from cfm_lab.sim.environment.rng import Rng
from cfm_lab.sim.environment.san_disk import SanDisk
from cfm_lab.sim.environment.sickness import CFM, OLD, SICKNESSES, WISHED, SickPlace, sicknesses_of
from cfm_lab.sim.facts import OrderFacts, TaskFacts
from cfm_lab.sim.fault_events import quiet_days
from cfm_lab.sim.goodput import names_the_sick, play_pair
from cfm_lab.sim.results import SimulationReport
from cfm_lab.sim.sick_building import FEW, OVERFULL_PERCENT, build_sick, build_twin
from cfm_lab.sim.world import World

SEED = 3


def _small(*kinds: str) -> Profile:
    """A node that fills its disks within the hour."""
    drawn = draw_sick(Rng(SEED).fork("profile"), kinds, 1)
    faster = replace(drawn.rules, copy_speed_bps=200_000_000)
    return replace(
        drawn, library=40, fill_percent=60, rules=faster, old=len(OLD.intersection(kinds)), stocked_percent=0
    )


def _sick(*kinds: str, minutes: int) -> World:
    world, _checker = build_sick(SEED, _small(*kinds), PARTS)
    quiet_days.set_going(world)
    world.schedule.run_until(minutes * MINUTE_MS)
    assert not world.violations.found
    return world


def _part(world: World, kind: str) -> Addr:
    (part,) = world.sick.parts(SICKNESSES[kind].place)
    return Addr(part)


# ── each sickness ───────────────────────────────────────────────────────────────────────────────────────


def _sends_nothing(world: World, kind: str) -> bool:
    tasks = [known.task for state in world.facts.states.values() for known in state.tasks.values()]
    from_there = [task for task in tasks if task.source == _part(world, kind)]
    return bool(from_there) and all(task.status is not Status.DONE for task in from_there)


def _receives_nothing(world: World, kind: str) -> bool:
    return not world.disk_at(_part(world, kind)).visible()


def _loses_what_it_received(world: World, kind: str) -> bool:
    disk = world.disk_at(_part(world, kind))
    arrived = {name for name, where in world.facts.arrived if where is disk}
    return bool(arrived) and len(disk.visible()) <= 1 and arrived <= world.facts.lost.keys()


def _tells_another_disk(world: World, kind: str) -> bool:
    addr = _part(world, kind)
    told = world.main.evidence.servers[addr].disk
    return told is not None and told.usage.used_bytes != world.disk_at(addr).used_bytes > 0


def _told_a_smaller_disk(world: World, kind: str) -> bool:
    server = world.servers[_part(world, kind)]
    answers: list[object] = []
    for _ in range(10):
        server.serve_disk(world.main.issuer, answers.append)
    totals = [answer.usage.total_bytes for answer in answers if isinstance(answer, DiskReport)]
    return min(totals) < server.disk.total_bytes == max(totals)


def _waits_for_what_it_deleted(world: World, kind: str) -> bool:
    """Little more goes than what must, though nothing is freed."""
    disk = world.disk_at(_part(world, kind))
    over_percent = OVERFULL_PERCENT - inventory.limit_of(world, _part(world, kind))
    most_bytes = over_percent * disk.total_bytes // 100 + 3 * world.largest_bytes
    return 0 < disk.open_bytes <= most_bytes


def _keeps_its_known_files(world: World, kind: str) -> bool:
    return len(world.disk_at(_part(world, kind)).visible()) == FEW + 1


def _has_nothing_open(world: World, kind: str) -> bool:
    """Something was open there when it lost its role, and all of that has ended."""
    addr = _part(world, kind)
    (facts,) = world.facts.states.values()

    def at_it(tasks: Mapping[int, TaskFacts], orders: Mapping[int, OrderFacts]) -> list[object]:
        copies = [known.task for known in tasks.values() if known.task.destination == addr]
        return [*copies, *(known.order for known in orders.values() if known.order.server == addr)]

    assert addr not in world.destinations
    return bool(at_it(facts.tasks, facts.orders)) and not at_it(facts.open_tasks, facts.open_orders)


def _places_none_of_them(world: World, kind: str) -> bool:
    names = world.sick.parts(SICKNESSES[kind].place)
    placed = {name for disk in world.destination_disks() for name in disk.visible()}
    return bool(names) and bool(placed - names) and not names & placed


def _keeps_them_where_they_are(world: World, kind: str) -> bool:
    names = world.sick.parts(SICKNESSES[kind].place)
    lie = [names & set(disk.visible()) for disk in world.destination_disks()]
    return len([there for there in lie if there]) == 1


def _wrote_nothing_for_hours(world: World, _kind: str) -> bool:
    newest_s = max(task.created_s for task in world.main.state.tasks.values())
    return world.main.store_full and newest_s < world.profile.start_wall_s + 31 * 60


def _planned_once(world: World, _kind: str) -> bool:
    core = world.main.core
    assert core is not None
    return not core.shortlist.snapshot_id


def _knows_no_hits(world: World, _kind: str) -> bool:
    return world.main.evidence.hits_lost_ms is not None


def _log_reads_as_it_was_meant(world: World, _kind: str) -> bool:
    """The product gets along with it: each hit counts once, by the log's own time."""
    return len(world.true_hits) > 1 and world.hits == world.true_hits[-1]


def _keeps_its_originals(world: World, kind: str) -> bool:
    """It tempts cfm to delete: its disk is over every limit, and everything on it has another copy."""
    disk = world.disk_at(_part(world, kind))
    names = {file.name for file in world.library}
    return isinstance(disk, SanDisk) and set(disk.visible()) == names == world.san.files.keys()


SHOWS: Mapping[str, tuple[Callable[[World, str], bool], int]] = {
    "no_mount": (_sends_nothing, 30),
    "wrong_sizes": (_sends_nothing, 30),
    "trickles": (_sends_nothing, 30),
    "breaks_streams": (_sends_nothing, 30),
    "deaf": (_receives_nothing, 30),
    "hangs": (_receives_nothing, 30),
    "refuses": (_receives_nothing, 30),
    "loses_arrivals": (_loses_what_it_received, 30),
    "has_the_san": (_keeps_its_originals, 30),
    "gets_the_san": (_keeps_its_originals, 30),
    "old_has_the_san": (_keeps_its_originals, 30),
    "df_stands_still": (_tells_another_disk, 30),
    "df_dips": (_told_a_smaller_disk, 20),
    "freed_late": (_waits_for_what_it_deleted, 90),
    "other_data": (_keeps_its_known_files, 90),
    "file_fails": (_places_none_of_them, 30),
    "files_fail": (_places_none_of_them, 30),
    "files_fit_nowhere": (_places_none_of_them, 30),
    "loses_role": (_has_nothing_open, 30),
    "files_resized": (_keeps_them_where_they_are, 30),
    "files_written": (_places_none_of_them, 30),
    "folder_hangs": (_places_none_of_them, 30),
    "folder_silent": (_places_none_of_them, 30),
    "state_full": (_wrote_nothing_for_hours, 100),
    "plans_slow": (_planned_once, 1),
    "log_gone": (_knows_no_hits, 30),
    "log_unreadable": (_knows_no_hits, 30),
    "log_doubled": (_log_reads_as_it_was_meant, 60),
    "log_clock_behind": (_log_reads_as_it_was_meant, 60),
}


@pytest.mark.parametrize("kind", SICKNESSES)
def test_each_sickness_shows_and_is_named_by_the_verdict(kind: str) -> None:
    shows, minutes = SHOWS[kind]
    world = _sick(kind, minutes=minutes)
    assert shows(world, kind)
    assert names_the_sick(world) is (kind not in WISHED)


def test_an_old_worker_gets_nothing_from_a_source_that_sends_nothing() -> None:
    drawn = replace(_small("no_mount"), old=2, destinations=2, sources=1, library=5)
    world, _checker = build_sick(SEED, drawn, PARTS)
    quiet_days.set_going(world)
    world.schedule.run_until(20 * MINUTE_MS)
    assert any(facts.tasks for facts in world.facts.states.values())
    assert not any(world.disk_at(addr).visible() for addr in world.destinations)


def test_two_servers_that_have_the_san_see_one_folder() -> None:
    """Else the probe file of the first one would be missing as soon as the second one has it."""
    world = _sick("gets_the_san", "has_the_san", minutes=10)
    assert len(world.san.disks) == 2
    assert len(world.san.files) == len(world.library)


def test_all_sicknesses_have_their_turn_alone_and_with_another() -> None:
    turns = [sicknesses_of(seed) for seed in range(1, 1 + 3 * len(SICKNESSES))]
    assert {one for one in turns if len(one) == 1} == {(name,) for name in SICKNESSES}
    assert {one[0] for one in turns if len(one) == 2} == set(SICKNESSES)
    assert all(len(set(one)) == len(one) for one in turns)


# ── the twin ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", ["no_mount", "deaf", "files_fail", "files_fit_nowhere", "files_resized"])
def test_the_twin_has_the_same_healthy_part(kind: str) -> None:
    sick, _checker = build_sick(SEED, _small(kind), PARTS)
    twin, _checker = build_twin(SEED, _small(kind), PARTS)
    assert set(twin.sources) == set(sick.sources) - sick.sick.machines
    assert set(twin.destinations) == set(sick.destinations) - sick.sick.machines
    assert twin.library == [file for file in sick.library if file.name not in sick.sick.files]
    assert not twin.sick.things
    for addr in twin.destinations:
        assert twin.disk_at(addr).names.keys() == sick.disk_at(addr).names.keys()
        assert twin.disk_at(addr).total_bytes == sick.disk_at(addr).total_bytes


def test_a_machine_that_is_left_out_changes_the_luck_of_no_other() -> None:
    worlds = [build(SEED, _small("no_mount"), PARTS)[0] for build in (build_sick, build_twin)]
    drawn = [[world.servers[addr].rng.below(1_000) for addr in worlds[1].destinations] for world in worlds]
    assert drawn[0] == drawn[1]


def test_two_sicknesses_are_in_two_parts() -> None:
    world, _checker = build_sick(SEED, _small("deaf", "hangs"), PARTS)
    assert len(world.sick.parts(SickPlace.DESTINATION)) == 2
    world, _checker = build_sick(SEED, _small("files_fail", "file_fails"), PARTS)
    assert world.sick.things == len(world.library) // 4 + 1
    assert not world.sick.has("files_fail", CFM)


# ── the comparison ──────────────────────────────────────────────────────────────────────────────────────


def test_a_world_without_a_sickness_is_as_good_as_its_twin() -> None:
    run = play_pair(SEED, 1, ())
    assert run.sick is not None
    assert run.sick.goodput == 1
    assert run.sick.worth == run.sick.twin_worth
    assert not any(run.sick.rates.values())
    assert not run.violations


def test_a_pair_is_the_same_twice_and_is_told_as_json() -> None:
    one, other = play_pair(SEED, 1, ("deaf",)), play_pair(SEED, 1, ("deaf",))
    assert one.digest == other.digest
    assert one.hours_ms == 2 * HOUR_MS
    report = SimulationReport(SEED, 1)
    report.add(one)
    told = json.loads(json.dumps(report.to_json()))
    assert set(told["goodput"]) == set(told["worth"]) == {"median", "least"}
    assert told["sick"]["deaf"]["worlds"] == 1


def test_a_world_that_placed_too_little_is_told_with_its_seed() -> None:
    report, run = SimulationReport(SEED, 1), replace(play_pair(SEED, 1, ()), worth=1.0)
    report.add(run)
    report.add(replace(run, seed=SEED + 1, worth=0.5))
    poor = {"seed": SEED + 1, "worth": 0.5, "goodput": 1.0, "kinds": []}
    assert report.to_json()["poor_worlds"] == [poor]
