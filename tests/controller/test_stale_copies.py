"""A file that is written anew on the SAN: its copies are stale, and are replaced by rank."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cfm.controller.decide import events as ev
from cfm.controller.explain.report import status_json
from cfm.controller.explain.why import why_json
from cfm.model import Addr, File, Version
from cfm.plan.view import Rules
from controller.node import OLD, Node, files

SECOND_MS = 1000
MINUTE_MS = 60 * SECOND_MS
HOUR_MS = 60 * MINUTE_MS


def a_node(library: list[File], *, destinations: int = 2, **more: object) -> Node:
    node = Node(library, destinations=destinations, **more)  # type: ignore[arg-type]  # by keyword
    node.send(ev.SanIndexed(frozenset(node.san)))
    return node


def write_anew(node: Node, name: str, size_bytes: int | None = None) -> None:
    node.written_ms[name] = node.now.wall_ms
    if size_bytes is not None:
        node.san[name] = size_bytes
        node.grade(
            [File(f.name, f.rank, size_bytes if f.name == name else f.size_bytes) for f in node.library]
        )


def stale(node: Node) -> dict[str, list[Addr]]:
    return {name: sorted(addrs) for name, addrs in node.core.state.versions.stale.items()}


def placed(number: int = 4, **more: object) -> Node:
    """All files lie where cfm copied them."""
    node = a_node(files(number), **more)  # type: ignore[arg-type]  # by keyword
    node.grade()
    node.run(2 * MINUTE_MS)
    assert len(node.delivered) == number
    return node


@pytest.mark.parametrize("size_bytes", [None, 120])
def test_a_file_that_is_written_anew_is_noticed_and_copied_again(size_bytes: int | None) -> None:
    node = placed()
    write_anew(node, "F003.mpg", size_bytes)
    node.run(12 * MINUTE_MS)
    assert [name for _, _, name in node.delivered[4:]] == ["F003.mpg"]
    assert len(node.holders("F003.mpg")) == 1, "the older copy is replaced, or deleted afterwards"
    assert not stale(node)
    assert node.says("copy is stale")


def test_viewers_have_a_copy_all_the_time() -> None:
    node = placed()
    write_anew(node, "F003.mpg")
    for _ in range(12 * 60):
        node.run(SECOND_MS)
        assert node.holders("F003.mpg")
    assert len(node.delivered) == 5


def test_on_one_destination_it_is_replaced_in_its_place() -> None:
    node = placed(destinations=1)
    write_anew(node, "F003.mpg")
    node.run(12 * MINUTE_MS)
    assert len(node.delivered) == 5
    assert not node.deleted
    assert not stale(node)
    account = node.core.state.fleet.records[node.destinations[0]].account
    assert not account.landed, "no more is used by it, so nothing waits to be shown"


def test_a_copy_that_is_far_too_slow_ends_while_only_a_stale_file_waits() -> None:
    node = placed(4, sources=1, rules=Rules(san_look_ms=30_000))
    node.transfer_ms = HOUR_MS
    node.san["SLOW.mpg"] = 300
    node.send(ev.SanIndexed(frozenset(node.san)))
    node.grade([*node.library, File("SLOW.mpg", 5, 300)])
    node.run(1 * MINUTE_MS)
    assert node.started[-1][2] == "SLOW.mpg"
    write_anew(node, "F003.mpg")
    node.run(4 * MINUTE_MS)
    assert "too slow" in str([said.facts["because"] for said in node.says("copy failed")])
    assert node.started[-1][2] == "F003.mpg"


def test_an_old_worker_alone_keeps_the_older_copy_and_it_is_told() -> None:
    node = placed(destinations=1, features=OLD)
    write_anew(node, "F003.mpg")
    node.run(12 * MINUTE_MS)
    assert stale(node) == {"F003.mpg": [node.destinations[0]]}
    assert len(node.delivered) == 4
    assert status_json(node.core, node.now)["stale"] == {"files": 1, "copies": 1}
    file = node.library[2]
    told = why_json(node.core, file.name, file, file.rank, node.now)
    assert told["copy"]["reason"] == "stale_there"
    assert [one["stale"] for one in told["versions"]["copies"]] == [True]


def test_old_workers_replace_it_on_another_disk() -> None:
    node = placed(destinations=2, features=OLD)
    write_anew(node, "F003.mpg")
    node.run(14 * MINUTE_MS)
    assert len(node.delivered) == 5
    assert len(node.holders("F003.mpg")) == 1
    assert not stale(node)


def test_of_two_copies_the_stale_one_goes_whatever_else_speaks_for_it() -> None:
    node = a_node(files(1))
    first, second = node.destinations
    for addr in (first, second):
        node.put(addr, *node.library)
    node.workers[second].open_bytes = 700  # by its use alone the first one's copy would stay
    node.written_ms["F001.mpg"] = node.now.wall_ms
    node.core.state.versions.learnt("F001.mpg", first, Version(100, 5))
    node.core.state.versions.learnt("F001.mpg", second, Version(100, node.now.wall_s))
    node.grade()
    node.run(2 * MINUTE_MS)
    assert node.deleted == [(first, "F001.mpg")]


def test_the_most_wanted_are_replaced_first() -> None:
    node = placed(6, sources=1, rules=Rules(san_look_ms=30_000))  # all are looked at together
    node.transfer_ms = 30 * SECOND_MS
    for name in ("F005.mpg", "F002.mpg", "F004.mpg"):
        write_anew(node, name)
    node.run(15 * MINUTE_MS)
    again = [name for _, _, name in node.delivered[6:]]
    assert again == ["F002.mpg", "F004.mpg", "F005.mpg"]


def test_a_full_node_makes_room_for_what_is_wanted_more() -> None:
    node = a_node(files(20), destinations=1, disk_bytes=1000, rules=Rules(minimum_stay_ms=0))
    node.grade()
    node.run(2 * MINUTE_MS)
    assert len(node.delivered) == 9
    write_anew(node, "F001.mpg")
    node.run(15 * MINUTE_MS)
    assert not stale(node)
    assert node.deleted == [(node.destinations[0], "F009.mpg")]


def test_while_it_is_being_written_the_older_copy_stays() -> None:
    node = placed()
    node.being_written.add("F003.mpg")
    node.run(30 * MINUTE_MS)
    assert len(node.delivered) == 4
    assert not node.deleted
    assert list(stale(node)) == ["F003.mpg"]
    node.being_written.clear()
    node.run(14 * MINUTE_MS)
    assert len(node.delivered) == 5


def test_a_restart_forgets_no_version() -> None:
    node = placed()
    write_anew(node, "F003.mpg")
    node.restart()
    node.send(ev.SanIndexed(frozenset(node.san)))
    node.grade()
    node.run(14 * MINUTE_MS)
    assert [name for _, _, name in node.delivered[4:]] == ["F003.mpg"]


def test_a_server_that_the_settings_leave_out_for_a_while_is_not_taken_for_up_to_date() -> None:
    node = placed()
    (holder,) = node.holders("F003.mpg")
    every = node.config
    node.config = replace(every, destinations=tuple(one for one in every.destinations if one != holder))
    node.restart()
    write_anew(node, "F003.mpg")
    node.config = every
    node.restart()
    node.send(ev.SanIndexed(frozenset(node.san)))
    node.grade()
    node.run(14 * MINUTE_MS)
    assert node.says("copy is stale")
    assert [name for _, _, name in node.delivered[4:]] == ["F003.mpg"]


def test_copies_of_before_count_as_what_the_san_has_and_later_changes_are_noticed() -> None:
    node = a_node(files(3))
    node.put(node.destinations[0], *node.library)
    node.grade()
    node.run(12 * MINUTE_MS)
    assert not node.delivered
    write_anew(node, "F002.mpg")
    node.run(14 * MINUTE_MS)
    assert [name for _, _, name in node.delivered] == ["F002.mpg"]


@pytest.mark.parametrize(("apart_s", "times"), [(0, 0), (2, 0), (3, 1), (-3, 1)])
def test_mtimes_may_differ_by_two_seconds(apart_s: int, times: int) -> None:
    node = a_node(files(1))
    node.written_ms["F001.mpg"] = node.now.wall_ms - 100 * HOUR_MS
    node.grade()
    node.run(2 * MINUTE_MS)
    node.written_ms["F001.mpg"] += apart_s * SECOND_MS
    node.run(14 * MINUTE_MS)
    assert len(node.delivered) == 1 + times


def test_a_file_that_changes_all_day_costs_no_more_copies_than_looks() -> None:
    node = placed()
    for _ in range(8):
        write_anew(node, "F003.mpg")
        node.run(30 * MINUTE_MS)
    assert len(node.delivered) == 4 + 8
    assert len(node.says("copy is stale")) <= 8
    assert len(node.holders("F003.mpg")) == 1


def test_a_copy_that_vanished_is_forgotten() -> None:
    node = placed()
    addr = node.holders("F003.mpg")[0]
    assert "F003.mpg" in node.core.state.versions.copies
    del node.workers[addr].files["F003.mpg"]
    node.library = [file for file in node.library if file.name != "F003.mpg"]
    node.grade(node.library)
    node.run(3 * MINUTE_MS)
    assert "F003.mpg" not in node.core.state.versions.copies
    assert ("F003.mpg", addr) not in node.store.state.copies
