"""What is still to be copied, and why each file is not yet."""

from __future__ import annotations

import pytest

from cfm.controller.explain.backlog import backlog_json
from cfm.controller.explain.report import status_json
from cfm.model import Addr, File
from controller.node import Node, files


def node_with(seconds: float) -> Node:
    """40 files of 100 bytes, and room for 18 of them."""
    node = Node(files(40), disk_bytes=1000)
    node.grade()
    node.run(int(1000 * seconds))
    return node


def pending(node: Node) -> dict[str, int | None]:
    found: dict[str, int | None] = status_json(node.core, node.now)["backlog"]["pending"]
    return found


def test_what_fits_is_pending_and_the_rest_has_no_space() -> None:
    node = node_with(1.5)
    found = pending(node)
    running = len(node.core.state.tasks.active)
    placed = sum(len(node.workers[addr].files) for addr in node.destinations)
    assert running
    assert (found["files"], found["no_space_files"]) == (18 - placed, 22)
    assert found["bytes"] is not None
    assert found["bytes"] <= 100 * (18 - placed)


def test_at_rest_nothing_is_pending() -> None:
    node = node_with(60)
    assert pending(node) == {"files": 0, "bytes": 0, "no_space_files": 22, "rate_bps": 0, "left_s": None}


def test_each_row_says_why_and_no_more_rows_come_than_were_asked_for() -> None:
    node = node_with(1.5)
    found = backlog_json(node.core, node.now, 0, 10)
    whys = {row["reason"]: row["why"] for row in found["rows"]}
    assert len(found["rows"]) == 10
    assert "it is being copied to 127.0.2." in whys["in_task"]
    assert found["total"] == found["listed"] > 10
    rested = backlog_json(node_with(60).core, node.now, 20, 10)
    assert [row["rank"] for row in rested["rows"]] == [39, 40]
    assert {row["why"] for row in rested["rows"]} == {"it needs 100 B; the largest room is 0 B"}


def conditions(node: Node) -> dict[str, tuple[int, str]]:
    told = status_json(node.core, node.now)["conditions"]
    return {one["name"]: (one["files"], one["text"]) for one in told}


def without(which: str) -> Node:
    """60 files of 100 bytes, and room for 27.  The only source is down after its first copy, or the only
    destination from the start."""
    node = Node(files(60), sources=1, destinations=1, disk_bytes=3000)
    addr: Addr = node.sources[0] if which == "no_source" else node.destinations[0]
    node.kill(addr)
    node.grade()
    node.run(300_000)
    return node


@pytest.mark.parametrize(
    ("reason", "waiting", "no_space"), [("no_source", 26, 33), ("no_destination", 60, 0)]
)
def test_what_waits_is_counted_once_and_for_all(reason: str, waiting: int, no_space: int) -> None:
    """A round that sees that all have to wait looks at the first few files only."""
    node = without(reason)
    files_told, text = conditions(node)[reason]
    assert (files_told, text.split(":")[0]) == (waiting, f"{waiting} copies wait")
    assert pending(node)["no_space_files"] == no_space
    found = backlog_json(node.core, node.now)
    assert found["total"] == waiting + no_space == status_json(node.core, node.now)["backlog"]["wanted"]
    assert {row["reason"] for row in found["rows"]} == {reason}
    assert "no_room" not in conditions(node), "nobody has seen yet what fits"


def test_files_without_space_are_counted_beyond_the_list_of_the_plan() -> None:
    node = Node(files(500), destinations=1, disk_bytes=1000)
    node.grade()
    node.run(120_000)
    found = backlog_json(node.core, node.now)
    assert found["listed"] < found["total"] == 491
    assert pending(node)["no_space_files"] == 491
    assert conditions(node)["no_room"] == (
        491,
        "Disks are full of better-ranked files; 491 files have no space",
    )


def test_where_no_disk_is_known_no_file_is_without_space() -> None:
    node = Node(files(40), disk_bytes=1000)
    for addr in node.destinations:
        node.kill(addr)
    node.grade()
    node.run(120_000)
    found = pending(node)
    assert (found["files"], found["no_space_files"]) == (0, 0)


def test_files_that_failed_are_told_as_long_as_that_keeps_them_away() -> None:
    """When their pause is over there is no space for them, so nothing is left undone because they failed."""
    bad = File("BAD.mpg", 9, 100, hits=1)
    node = Node([*files(8), bad], disk_bytes=600)
    for addr in node.destinations:
        node.workers[addr].fails.add(bad.name)
    node.grade()
    node.run(30_000)
    assert conditions(node)["retry_later"][0] == 1
    for addr in node.destinations:
        node.put(addr, File("STRANGE.mpg", 1, 540 - node.workers[addr].used_bytes))
    node.run(600_000)
    assert bad.name in node.core.state.failures.retries
    assert "retry_later" not in conditions(node)
    for addr in node.destinations:
        node.workers[addr].lose("STRANGE.mpg")
    node.run(300_000)
    assert conditions(node)["retry_later"][0] == 1, "it is tried again, and fails"
