"""Rules that were once wrong about what they watch."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cfm.controller.decide import events as ev
from cfm.model import (
    Addr,
    DeleteKind,
    DeleteOrder,
    DiskReport,
    DiskUsage,
    File,
    Listing,
    Now,
    OnSan,
    OrderStatus,
    SnapshotFacts,
    Status,
    Task,
)
from cfm.wire import TaskReport
from cfm.worker.decide.disk_entries import EntryKind
from cfm_lab.fakes.memory_base_dir import Inode
from cfm_lab.fakes.memory_store import CommittedState
from cfm_lab.sim.building import build
from cfm_lab.sim.environment import profile
from cfm_lab.sim.environment.rng import Rng
from cfm_lab.sim.environment.san import SanFile
from cfm_lab.sim.environment.services import DeleteRequest
from cfm_lab.sim.facts import Growth, OrderFacts, StateFacts
from cfm_lab.sim.invariants.fencing import PlainPaths
from cfm_lab.sim.invariants.repeats import NoFlapping, Pauses
from cfm_lab.sim.invariants.surplus import SurplusFirst
from cfm_lab.sim.invariants.versions import FreshCopiesStay
from cfm_lab.sim.invariants.worth import EvictionPays
from cfm_lab.sim.processes.evidence import Evidence
from cfm_lab.sim.processes.metadata_watch import Pair
from plan.worlds import NEW, task

OLD, NEW_HOME = Addr("10.0.2.1:8888"), Addr("10.0.2.2:8888")


def _at(mono_ms: int) -> Now:
    return Now(mono_ms, 1_700_000_000_000 + mono_ms)


def _task(number: int, status: Status) -> Task:
    return task(NEW, status, number, destination=OLD)


@pytest.mark.parametrize(("listed", "wrong"), [(frozenset({NEW.name}), 0), (frozenset[str](), 1)])
def test_a_done_that_a_list_proves_ends_the_pauses(listed: frozenset[str], wrong: int) -> None:
    """Before a failure that follows it, nothing has failed; where the list disproves it, something has."""
    world, _checker = build(1, profile.draw(Rng(1).fork("profile"), only=frozenset()))
    rule, cfm = Pauses(world), world.main

    def ends(number: int, status: Status, mono_ms: int) -> None:
        report = ev.TaskReported(0, number, TaskReport(status))
        rule.task_changed(cfm, _task(number, Status.WORKING), _task(number, status), report, _at(mono_ms))

    ends(1, Status.FAILED, 1_000)
    ends(2, Status.DONE, 20_000)
    rule.decided(cfm, ev.ListAnswer(OLD, 30_000, Listing(listed)), [], _at(30_010))
    ends(3, Status.FAILED, 100_000)
    rule.task_changed(cfm, None, _task(4, Status.READY), ev.Tick(), _at(111_000))
    assert len(world.violations.found) == wrong


@pytest.mark.parametrize(("added", "unshown"), [((100, 100), 100), ((100, 0), 100), ((100, 40), 140)])
def test_a_file_that_came_again_after_it_was_lost_is_on_its_disk_once(
    added: tuple[int, int], unshown: int
) -> None:
    """Seed 40025 with two controllers: a power cut took the first copy, and `/df` stands still."""
    state = StateFacts()
    for number, size_bytes in enumerate(added, 1):
        done = _task(number, Status.DONE)
        done = replace(done, file=replace(done.file, size_bytes=100))
        state.done.append((1_000 * number, done))
        state.growth[number] = Growth(1_000 * number, size_bytes)
    found = state.unshown_bytes(
        OLD, [OLD], still_since_ms=0, asked_ms=5_000, may_hold=lambda _name, _came_ms: True
    )
    assert found == unshown


@pytest.mark.parametrize(("limit_percent", "wrong"), [(95, 0), (80, 1)])
def test_what_went_may_come_back_once_the_limit_is_raised(limit_percent: int, wrong: int) -> None:
    world, _checker = build(1, profile.draw(Rng(1).fork("profile"), only=frozenset()))
    rule, cfm = NoFlapping(world), world.main
    cfm.evidence = Evidence(cfm.config)
    went = DeleteOrder(1, OrderStatus.CONFIRMED, 0, 0, NEW, OLD, DeleteKind.SPACE, "")
    rule.facts.state(cfm.issuer.controller).orders[1] = OrderFacts(went, 1_000, 1_000)
    rules = replace(cfm.config.rules, limit_percent=limit_percent)
    cfm.evidence.note(ev.RulesChanged(rules), _at(2_000))
    rule.task_changed(cfm, None, _task(2, Status.READY), ev.Tick(), _at(3_000))
    assert len(world.violations.found) == wrong


@pytest.mark.parametrize(("left_bytes", "times", "wrong"), [(100, 1, 0), (99, 1, 1), (100, 2, 1)])
def test_what_went_may_come_back_once_when_other_data_has_left(
    left_bytes: int, times: int, wrong: int
) -> None:
    world, _checker = build(1, profile.draw(Rng(1).fork("profile"), only=frozenset()))
    rule, cfm = NoFlapping(world), world.main
    cfm.evidence = Evidence(cfm.config)
    disk = world.disk_at(OLD)
    for number in range(1, times + 1):
        went = DeleteOrder(number, OrderStatus.CONFIRMED, 0, 0, NEW, OLD, DeleteKind.SPACE, "")
        at_ms = 1_000 * number
        rule.facts.state(cfm.issuer.controller).orders[number] = OrderFacts(went, at_ms, at_ms)
        disk.place("STRANGE.mpg", 500, b"strange")
        rule.order_changed(cfm, None, went, ev.Tick(), _at(at_ms))
        disk.lose("STRANGE.mpg")
        disk.place("STRANGE.mpg", 500 - left_bytes, b"strange")
        rule.decided(cfm, ev.DiskAnswer(OLD, at_ms, DiskReport(DiskUsage(1000, 500, 500))), (), _at(at_ms))
        disk.lose("STRANGE.mpg")
        disk.place("STRANGE.mpg", 500, b"strange")  # it comes back, which changes nothing any more
        for trial in range(2):
            rule.task_changed(cfm, None, _task(trial + 2, Status.READY), ev.Tick(), _at(at_ms + 500))
    assert len(world.violations.found) == 2 * wrong


@pytest.mark.parametrize(("in_backup", "wrong"), [(True, 1), (False, 0)])
def test_what_was_written_after_a_backup_is_not_known_of_a_copy(in_backup: bool, wrong: int) -> None:
    """Seed 40217 with two controllers: the stale copy counts as fresh, because its version was forgotten."""
    world, _checker = build(1, profile.draw(Rng(1).fork("profile"), only=frozenset()))
    rule, cfm = FreshCopiesStay(world), world.main
    cfm.evidence = Evidence(cfm.config)
    stale, fresh = OnSan("/san/f", 100, 1_000_000_000), OnSan("/san/f", 100, 9_000_000_000_000)
    report = ev.TaskReported(0, 1, TaskReport(Status.DONE, verified=True))
    for number, addr, found in ((1, OLD, stale), (2, NEW_HOME, fresh)):
        ready = replace(_task(number, Status.READY), destination=addr)
        cfm.evidence.san[ready.file.name] = found, 0
        rule.task_changed(cfm, None, ready, ev.Tick(), _at(0))
        rule.task_changed(cfm, ready, replace(ready, status=Status.DONE), report, _at(1))
    name = _task(1, Status.READY).file.name
    copies = {(name, NEW_HOME): fresh.version} | ({(name, OLD): stale.version} if in_backup else {})
    rule.restored(CommittedState(cfm.issuer.controller, copies=copies))
    made = DeleteOrder(
        3,
        OrderStatus.ORDERED,
        0,
        0,
        _task(1, Status.READY).file,
        NEW_HOME,
        DeleteKind.SURPLUS,
        "",
        keeper=OLD,
    )
    rule.order_changed(cfm, made, replace(made, status=OrderStatus.SENT), ev.Tick(), _at(2))
    assert len(world.violations.found) == wrong


@pytest.mark.parametrize(("own_disk", "wrong"), [(False, 1), (True, 0)])
def test_a_file_need_not_wait_where_the_disk_of_a_server_explains_a_failure(
    own_disk: bool, wrong: int
) -> None:
    """Seed 40121 with three controllers: what fails at that server again speaks against it."""
    world, _checker = build(1, profile.draw(Rng(1).fork("profile"), only=frozenset()))
    rule, cfm = Pauses(world), world.main

    def fails(number: int, mono_ms: int, *, disk: bool = False) -> None:
        report = ev.TaskReported(0, number, TaskReport(Status.FAILED, error="x", own_disk=disk))
        before, after = _task(number, Status.WORKING), _task(number, Status.FAILED)
        rule.task_changed(cfm, before, after, report, _at(mono_ms))

    fails(1, 1_000, disk=own_disk)
    fails(2, 20_000)
    fails(3, 40_000)
    rule.task_changed(cfm, None, _task(4, Status.READY), ev.Tick(), _at(51_000))
    assert len(world.violations.found) == wrong


@pytest.mark.parametrize(
    ("others_have", "goes", "wrong"),
    [("F001.mpg", "F002.mpg", 1), ("F001.mpg", "F001.mpg", 0), ("F003.mpg", "F002.mpg", 0)],
)
def test_a_unique_file_goes_only_where_no_surplus_would_do(others_have: str, goes: str, wrong: int) -> None:
    world, _checker = build(1, profile.draw(Rng(1).fork("profile"), only=frozenset()))
    cfm, (here, there) = world.main, world.destinations[:2]
    world.library = [File(f"F00{rank}.mpg", rank, 100) for rank in (1, 2, 3)]
    world.san.files = {file.name: SanFile(100) for file in world.library}
    cfm.pair = Pair(SnapshotFacts("pair", 0, 3, 3), tuple(world.library), good=True)
    cfm.evidence = Evidence(cfm.config)
    for addr, names in ((here, {"F001.mpg", "F002.mpg"}), (there, {others_have})):
        cfm.evidence.servers[addr].up = True
        cfm.evidence.servers[addr].names = frozenset(names)
    file = next(file for file in world.library if file.name == goes)
    order = DeleteOrder(1, OrderStatus.ORDERED, 0, 0, file, here, DeleteKind.SPACE, "for room")
    SurplusFirst(world).order_changed(cfm, None, order, ev.Tick(), _at(0))
    assert len(world.violations.found) == wrong


@pytest.mark.parametrize("old", [0, 1])
def test_a_link_may_be_deleted_by_an_old_worker_only(old: int) -> None:
    """What a name in an old worker's list is, cfm cannot see."""
    drawn = replace(profile.draw(Rng(1).fork("profile"), only=frozenset()), old=old, shared_disk=False)
    world, _checker = build(1, drawn)
    server = world.servers[world.destinations[-1]]
    assert server.ours is not bool(old)
    rule = PlainPaths(world)
    rule.unlinked(
        server.disk, "F001.mpg", Inode(EntryKind.OTHER), DeleteRequest(server, world.main.issuer, 1), None
    )
    assert len(world.violations.found) == server.ours


def test_files_that_go_together_are_weighed_together() -> None:
    """Each of the two is worse by the margin; both are worth more than half of the file that comes."""
    world, _checker = build(1, profile.draw(Rng(1).fork("profile"), only=frozenset()))
    rule, cfm = EvictionPays(world), world.main
    wanted, *going = (File(f"F{rank}.mpg", rank, 100) for rank in (10, 20, 21))
    cfm.pair = Pair(SnapshotFacts("pair", 0, 3, 3), (wanted, *going), good=True)
    for number, file in enumerate(going):
        made = DeleteOrder(
            number, OrderStatus.ORDERED, 0, 0, file, OLD, DeleteKind.SPACE, "", room_for=wanted.name
        )
        assert not world.violations.found
        rule.order_changed(cfm, None, made, ev.Tick(), _at(1_000))
        world.facts.state(cfm.issuer.controller).recent_orders.append((1_000, made))
    assert [found.invariant for found in world.violations.found] == ["rule 13"]
