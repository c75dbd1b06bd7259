"""A file that is still being written has its final size already: it is neither copied nor relied on."""

from __future__ import annotations

import pytest

from cfm.controller.explain.verdict import verdict
from cfm.model import File
from cfm.plan import refusals
from cfm.plan.view import Rules
from controller.node import Node, files

SECOND_MS = 1000
HOUR_MS = 3600 * SECOND_MS


def looks_an_hour(node: Node) -> float:
    before = node.asked["AskSan"]
    node.run(4 * HOUR_MS)
    return (node.asked["AskSan"] - before) / 4


def test_a_file_that_is_being_written_is_not_copied_and_the_next_one_is() -> None:
    node = Node(files(2), sources=1)
    node.being_written.add("F001.mpg")
    node.grade()
    node.run(60 * SECOND_MS)
    assert [name for _, _, name in node.started] == ["F002.mpg"]


def test_it_is_told_by_its_name() -> None:
    node = Node(files(2), sources=1)
    node.being_written.add("F001.mpg")
    node.grade()
    node.run(60 * SECOND_MS)
    told = {one.name: one for one in verdict(node.core, node.core.last_round, node.now).conditions}
    assert told["still_being_written"].text == "1 file is still being written to the SAN: F001.mpg"


def test_it_is_copied_when_it_has_rested() -> None:
    node = Node(files(2), sources=1)
    node.being_written.add("F001.mpg")
    node.grade()
    node.run(60 * SECOND_MS)
    node.being_written.clear()
    ended_ms = node.now_ms
    node.run(5 * 60 * SECOND_MS)
    (began_ms,) = [ms for ms, _, name in node.started if name == "F001.mpg"]
    assert ended_ms + 5 * SECOND_MS <= began_ms <= ended_ms + 130 * SECOND_MS


@pytest.mark.parametrize("ahead_ms", [-1000 * SECOND_MS, 0, 24 * HOUR_MS, 20 * 365 * 24 * HOUR_MS])
def test_a_file_of_any_mtime_is_copied_after_two_looks(ahead_ms: int) -> None:
    """The clocks of the SAN and of cfm need not agree."""
    node = Node(files(1))
    node.written_ms["F001.mpg"] = node.now.wall_ms + ahead_ms
    node.grade()
    node.run(4 * SECOND_MS)
    assert not node.started
    node.run(3 * SECOND_MS)
    assert len(node.started) == 1


def test_an_old_file_is_copied_at_once() -> None:
    node = Node(files(1))
    node.written_ms["F001.mpg"] = node.now.wall_ms - 3 * 24 * HOUR_MS
    node.grade()
    node.run(500)
    assert len(node.started) == 1


def test_only_the_first_new_files_wait_because_the_others_were_seen_before_their_turn() -> None:
    library = files(60, size_bytes=1)
    node = Node(library, sources=1, destinations=1, disk_bytes=1000, transfer_ms=200)
    node.written_ms = {file.name: node.now.wall_ms for file in library}
    node.grade()
    node.run(5_500)
    node.run(60 * 220)
    assert len(node.delivered) == 60, "the source did not rest between them"


def test_a_file_that_is_written_for_hours_costs_little() -> None:
    node = Node(files(2))
    node.being_written.add("F001.mpg")
    node.grade()
    node.run(60 * SECOND_MS)
    assert looks_an_hour(node) <= 40


def test_many_files_that_are_written_for_hours_hide_no_other() -> None:
    library = files(400, size_bytes=1)
    node = Node(library, sources=2, destinations=1, disk_bytes=1000, transfer_ms=200)
    node.being_written = {file.name for file in library[:300]}
    node.grade()
    node.run(120 * SECOND_MS)
    assert len(node.delivered) == 100


def test_no_copy_goes_for_room_while_the_file_on_the_san_is_written_anew() -> None:
    """The copy on the disk may be the only whole one."""
    library = files(10)
    node = Node(library, destinations=1, disk_bytes=1000, rules=Rules(minimum_stay_ms=0))
    node.put(node.destinations[0], *library)
    node.being_written.add("F010.mpg")
    node.grade()
    node.run(60 * SECOND_MS)
    assert [name for _, name in node.deleted] == ["F009.mpg"]


def test_the_end_of_writing_lets_it_go_for_room() -> None:
    node = Node([*files(9), File("LAST.mpg", 99, 100)], destinations=1, disk_bytes=1000)
    node.put(node.destinations[0], *node.library)
    node.written_ms["LAST.mpg"] = node.now.wall_ms
    node.grade()
    node.run(60 * SECOND_MS)
    assert [name for _, name in node.deleted] == ["LAST.mpg"]


def test_a_file_that_is_written_for_hours_is_refused_by_name_and_drops_few_orders() -> None:
    library = files(10)
    node = Node(library, destinations=1, disk_bytes=1000, rules=Rules(minimum_stay_ms=HOUR_MS))
    node.put(node.destinations[0], library[9])
    node.workers[node.destinations[0]].open_bytes = 850
    node.being_written.add("F010.mpg")
    node.grade()
    node.run(4 * HOUR_MS)
    assert len(node.says("delete dropped")) <= 4 * 40
    assert node.core.last_round is not None
    assert refusals.STILL_BEING_WRITTEN.name == "still_being_written"
