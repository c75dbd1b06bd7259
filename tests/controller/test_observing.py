"""What is asked of the node, how often, and what is concluded from answers and silence."""

from __future__ import annotations

from dataclasses import replace

from cfm.controller.decide import events as ev
from cfm.controller.decide.overdue import SILENCE_MS
from cfm.fleet.health import RETRY_MS
from cfm.model import Failure, File, Known, OrderStatus, Side, Trouble
from cfm.tasks.store import PutPause
from controller.node import GONE, OLD, Node, files

SECOND_MS = 1000


def is_quiet(node: Node, seconds: int, a_second: int = 4) -> bool:
    """Does the controller wake a few times a second at most?"""
    before = node.ticks
    node.run(seconds * SECOND_MS)
    return node.ticks - before <= a_second * seconds


# ── nothing to do means little work ─────────────────────────────────────────────────────────────────────


def test_without_metadata_it_waits_and_does_not_spin() -> None:
    node = Node(files(3))
    node.run(2 * SECOND_MS)
    assert is_quiet(node, 10)


def test_an_order_left_unclear_by_an_old_server_that_then_died_does_not_spin() -> None:
    library = files(3)
    node = Node(library, disk_bytes=4000, features=OLD)
    node.put(node.destinations[0], library[2])
    for addr in node.destinations:
        node.put(addr, *library[:2])
        node.workers[addr].loses_delete_answers = True
    node.grade()
    for _ in range(1000):
        node.run(10)
        if node.says("delete unclear"):
            break
    assert node.says("delete unclear")
    for addr in node.destinations:
        node.kill(addr)
    node.run(30 * SECOND_MS)
    assert is_quiet(node, 10)


def test_source_folders_that_fail_at_once_are_asked_now_and_then() -> None:
    library = files(10)
    node = Node(library, destinations=1, disk_bytes=1000)
    node.put(node.destinations[0], *library)
    node.san_answers = False
    node.grade()
    node.run(120 * SECOND_MS)
    assert 2 <= node.asked["AskSan"] <= 60
    node.san_answers = True
    node.run(90 * SECOND_MS)
    assert [name for _, name in node.deleted] in (["F010.mpg"], ["F009.mpg"], ["F008.mpg"])


def test_a_worker_that_lives_but_does_not_report_is_not_flooded_with_heartbeats() -> None:
    node = Node(files(2), transfer_ms=60_000)
    node.grade()
    node.run(5 * SECOND_MS)
    for worker in node.workers.values():
        worker.reports = False
    before = node.asked["SendHeartbeat"]
    node.run(20 * SECOND_MS)
    assert node.asked["SendHeartbeat"] - before <= 2 * 20 * SECOND_MS // SILENCE_MS + 4


# ── who is up ───────────────────────────────────────────────────────────────────────────────────────────


def test_a_killed_worker_is_noticed_within_three_seconds_whenever_it_dies() -> None:
    for after_ms in range(5_000, 6_100, 100):
        node = Node(files(2), destinations=1, transfer_ms=60_000)
        node.grade()
        node.run(after_ms)
        node.kill(node.destinations[0])
        node.run(3 * SECOND_MS)
        assert node.says("server is down"), after_ms


def test_a_worker_that_hangs_up_is_looked_at_at_once() -> None:
    node = Node(files(1))
    node.grade()
    node.run(5 * SECOND_MS)
    dead = node.destinations[0]
    (request,) = [request for request, addr in node.polls.items() if addr == dead]
    node.kill(dead)
    node.send(ev.RequestGone(request))
    node.run(RETRY_MS + 50)
    assert [said.facts["server"] for said in node.says("server is down")] == [dead]


def test_a_worker_that_asks_for_work_is_up_again_at_once() -> None:
    node = Node(files(4), destinations=1)
    node.grade()
    node.run(10 * SECOND_MS)
    (only,) = node.destinations
    node.kill(only)
    node.run(60 * SECOND_MS)
    node.revive(only)
    node.run(100)
    assert len(node.says("server is up")) == 4, "two sources and one destination, which came twice"


def test_a_server_whose_list_failed_once_is_soon_asked_again() -> None:
    node = Node(files(6), destinations=1, disk_bytes=2000)
    (only,) = node.destinations
    node.workers[only].measures = False
    node.grade()
    node.run(5 * SECOND_MS)
    assert not node.started
    node.workers[only].measures = True
    node.run(15 * SECOND_MS)
    assert node.started


def test_a_server_that_flaps_ends_with_one_copy_of_each_file() -> None:
    node = Node(files(8), disk_bytes=2000)
    node.grade()
    for _ in range(6):
        node.kill(node.destinations[0])
        node.run(7 * SECOND_MS)
        node.revive(node.destinations[0])
        node.run(9 * SECOND_MS)
    node.run(60 * SECOND_MS)
    assert all(len(node.holders(f"F{i:03}.mpg")) == 1 for i in range(1, 9))
    assert len(node.deleted) <= 1


# ── lists ───────────────────────────────────────────────────────────────────────────────────────────────


def test_a_list_that_halves_is_believed_of_an_old_worker_only_when_seen_twice() -> None:
    library = files(8)
    node = Node(library, destinations=1, disk_bytes=2000, features=OLD)
    (only,) = node.destinations
    node.put(only, *library)
    node.grade()
    node.run(10 * SECOND_MS)
    node.workers[only].files.clear()
    node.run(55 * SECOND_MS)
    assert node.says("list not believed yet")
    assert not node.started
    node.run(60 * SECOND_MS)
    assert node.started


def test_a_file_that_appears_between_two_lists_is_young() -> None:
    library = files(10)
    node = Node(library, destinations=1, disk_bytes=1000)
    (only,) = node.destinations
    node.put(only, *library[:8], File("F010.mpg", 10, 100))
    node.grade()
    node.run(30 * SECOND_MS)
    node.put(only, File("F009.mpg", 9, 100))
    node.run(90 * SECOND_MS)
    assert [name for _, name in node.deleted] == ["F010.mpg"], "F009 is the better rank as well"
    node.put(only, File("F010.mpg", 10, 100))
    node.run(90 * SECOND_MS)
    assert ("F010.mpg", only) in node.core.state.arrivals.arrived_ms


# ── limits ──────────────────────────────────────────────────────────────────────────────────────────────


def test_the_lower_of_two_limits_holds_and_both_are_told() -> None:
    library = files(10)
    node = Node(library, destinations=1, disk_bytes=1000)
    (only,) = node.destinations
    node.workers[only].limit_percent = 80
    node.put(only, *library)
    node.grade()
    node.run(60 * SECOND_MS)
    assert [name for _, name in node.deleted] == ["F010.mpg", "F009.mpg"]
    (said,) = node.says("disk limits differ, the lower one holds")
    assert (said.facts["its_percent"], said.facts["ours_percent"], said.facts["holds_percent"]) == (
        80,
        90,
        80,
    )


def test_the_limit_of_a_server_that_is_only_a_source_is_nobody_s_business() -> None:
    node = Node(files(3), destinations=1)
    for addr in node.sources:
        node.workers[addr].limit_percent = 50
    node.grade()
    node.run(SECOND_MS)
    assert node.says("disk limits differ, the lower one holds") == []


# ── clocks ──────────────────────────────────────────────────────────────────────────────────────────────


def test_a_wall_clock_that_jumps_ends_no_task_and_deletes_nothing() -> None:
    library = files(10)
    for day_ms in (86_400_000, -86_400_000, 3 * 86_400_000):
        node = Node(library, destinations=1, disk_bytes=2000, transfer_ms=5_000)
        node.put(node.destinations[0], *library[:4])
        node.grade()
        node.run(7 * SECOND_MS)
        node.wall_shift_ms = day_ms
        node.run(60 * SECOND_MS)
        assert not node.deleted
        assert not node.says("copy failed")
        assert not node.says("copy ended")
        assert len(node.workers[node.destinations[0]].files) == 10


# ── only news is decided about ──────────────────────────────────────────────────────────────────────────


def test_the_same_failure_once_more_is_no_news() -> None:
    """A full look at a large node brings hundreds of answers: most must cost next to nothing."""
    node = Node(files(3))
    node.grade()
    node.run(30 * SECOND_MS)
    addr = node.destinations[0]
    failure = Failure(Trouble.STATUS, "no", 500)

    def told(event: ev.Event) -> bool:
        before = node.core.last_round
        node.send(event)
        return node.core.last_round is not before

    assert told(ev.DiskAnswer(addr, node.now.mono_ms, failure)), "its disk was known until now"
    assert not told(ev.DiskAnswer(addr, node.now.mono_ms, failure))
    assert told(ev.ListAnswer(addr, node.now.mono_ms, failure)), "its list was known until now"
    assert not told(ev.ListAnswer(addr, node.now.mono_ms, failure))


def test_a_server_that_lost_its_role_is_not_asked_for_ever() -> None:
    """It left a delete unclear, and is a source only since a restart: it got 500 `/df` a second."""
    library = files(4)
    node = Node(library, sources=1, destinations=2, disk_bytes=4000)
    for addr in node.destinations:
        node.put(addr, *library)
    node.delete_answers = GONE
    node.carries_out = False
    node.grade()
    while not node.core.state.orders.unknown_ms:
        node.run(10)
    (made, *_) = node.core.state.orders.active.values()
    left = tuple(addr for addr in node.destinations if addr != made.server)
    sources = (*node.config.sources, made.server)
    node.config = replace(node.config, sources=sources, destinations=left)
    node.restart()
    asked = node.asked["AskDisk"]
    node.run(600 * SECOND_MS)
    assert node.asked["AskDisk"] - asked < 60
    assert made.id not in node.core.state.orders.active
    assert node.store.state.orders[made.id].status is OrderStatus.DROPPED


def test_a_copy_to_a_server_that_lost_its_role_ends_at_the_start_and_its_pause_is_forgotten() -> None:
    """The copy went on, and counted as one on a destination; its pause was told for an hour."""
    node = Node(files(6), sources=1, destinations=2, transfer_ms=600 * SECOND_MS)
    node.grade()
    node.run(2 * SECOND_MS)
    (task, *_) = node.core.state.tasks.active.values()
    lost, here = Side(destination=task.destination), Side(source=task.source)
    node.store.commit([PutPause(side, "", 1, 9**11, 9**11, 0, "it fails") for side in (lost, here)])
    left = tuple(addr for addr in node.destinations if addr != task.destination)
    node.config = replace(node.config, sources=(*node.config.sources, task.destination), destinations=left)
    node.restart()
    ended = node.core.state.tasks.get(task.id)
    assert task.id not in node.core.state.tasks.active
    assert ended is not None
    assert ended.ended_why == "its source or its destination was taken out of the settings"
    assert node.core.state.failures.pauses.keys() == {here}


def test_what_another_disk_held_says_nothing_of_the_one_that_a_server_has_now() -> None:
    """Two servers changed their addresses between two heartbeats, or one got another `base_dir`."""
    node = Node(files(2), sources=1, destinations=1)
    (addr,) = node.destinations
    node.grade()
    node.run(5 * SECOND_MS)
    worker, listed, before_ms = node.workers[addr], node.listing(addr), node.now_ms - 1

    def is_known() -> tuple[bool, bool]:
        record = node.core.state.fleet.records[addr]
        return isinstance(record.files, Known), isinstance(record.disk, Known)

    def beats(disk_id: str) -> None:
        worker.features = replace(worker.features, disk_id=disk_id)
        node.send(ev.HeartbeatAnswer(addr, worker.features))

    beats("")
    assert is_known() == (True, True), "where it does not see its disk, its next answers say so"
    beats("another one")
    assert is_known() == (False, False)
    node.send(ev.ListAnswer(addr, before_ms, listed))
    assert is_known() == (False, False), "that was asked for before"
    node.run(1 * SECOND_MS)
    assert is_known() == (True, True)
