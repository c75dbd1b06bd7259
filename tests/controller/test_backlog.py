"""What is still to be copied, and why each file is not yet."""

from __future__ import annotations

from cfm.controller.explain.backlog import backlog_json
from cfm.controller.explain.report import status_json
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


def test_where_no_disk_is_known_no_file_is_without_space() -> None:
    node = Node(files(40), disk_bytes=1000)
    for addr in node.destinations:
        node.kill(addr)
    node.grade()
    node.run(120_000)
    found = pending(node)
    assert (found["files"], found["no_space_files"]) == (0, 0)
