"""What cfm tells of itself is true in each case, names the brake that holds, and says how to release it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from cfm.controller.decide import events as ev
from cfm.controller.explain import report
from cfm.controller.explain.why import why_json
from cfm.model import File, SnapshotFacts, Status
from cfm.plan.view import Rules
from controller.node import OLD, OURS, Node, files

SECOND_MS = 1000


def status(node: Node) -> dict[str, Any]:
    return report.status_json(node.core, node.now)


def verdict(node: Node) -> str:
    return str(status(node)["verdict"])


def why(node: Node, file: File) -> dict[str, Any]:
    return why_json(node.core, file.name, file, file.rank, node.now)


def full_disk(**rules: Any) -> Node:
    """One destination with 1000 of 1000 bytes used."""
    library = files(10)
    node = Node(library, destinations=1, disk_bytes=1000, rules=Rules(**rules))
    node.put(node.destinations[0], *library)
    return node


def unread() -> Node:
    return Node(files(2))


def rejected() -> Node:
    node = Node(files(2))
    facts = SnapshotFacts("x", node.now.wall_s, 2, 0, {}, accepted=False, why="the history is empty")
    node.send(ev.SnapshotRejected(facts))
    return node


def newest_rejected() -> Node:
    node = Node(files(2))
    node.grade()
    facts = SnapshotFacts("x", node.now.wall_s, 2, 0, {}, accepted=False, why="the history is empty")
    node.send(ev.SnapshotRejected(facts))
    return node


def store_full() -> Node:
    node = Node(files(2))
    node.grade()
    node.send(ev.StoreTrouble("no space left on device"))
    return node


def copying() -> Node:
    node = Node(files(5), sources=2, transfer_ms=60_000)
    node.grade()
    return node


def at_rest() -> Node:
    node = Node(files(2))
    node.grade()
    node.run(30 * SECOND_MS)
    return node


def no_source() -> Node:
    node = Node(files(3), sources=1)
    node.kill(node.sources[0])
    node.grade()
    return node


def no_destination() -> Node:
    node = Node(files(3), destinations=1)
    node.workers[node.destinations[0]].measures = False
    node.grade()
    return node


def san_silent() -> Node:
    node = Node(files(3))
    node.san_answers = False
    node.grade()
    return node


def failing() -> Node:
    node = Node(files(1), destinations=1)
    node.workers[node.destinations[0]].fails.add("F001.mpg")
    node.grade()
    return node


def breaker() -> Node:
    node = full_disk(limit_percent=50)
    node.grade()
    return node


def old_metadata() -> Node:
    node = full_disk()
    node.grade(age_s=3 * 86_400)
    return node


def deletes_off() -> Node:
    node = full_disk(deletes_on=False)
    node.grade()
    return node


def same_disk() -> Node:
    library = files(4)
    node = Node(library, features=OLD, disk_bytes=4000)
    for addr in node.destinations:
        node.put(addr, *library)
    node.grade()
    return node


def all_rise() -> Node:
    node = full_disk()
    node.watch(**{file.name.replace(".", "__"): 9 for file in node.library})
    node.grade()
    return node


def fits_nowhere() -> Node:
    library = files(10)
    node = Node(library, destinations=1, disk_bytes=1000)
    node.put(node.destinations[0], *library[:9])
    node.grade()
    return node


AT_A = "127.0.2.1:8888"
HELD_BY_BREAKER = (
    f"At rest; held by breaker at {AT_A}: more would be deleted there at once than the breaker lets through "
    "(look at `cfm plan`, then `cfm confirm SERVER`)."
)
NO_SOURCE = (
    "Waiting to copy (no_source: no source is up and free that its destination can copy from); "
    "down: 127.0.1.1:8888."
)
NO_DESTINATION = (
    "Waiting to copy (no_destination: no destination is up, known, free and without a brake)."
)  # fmt: skip
SAN_SILENT = (
    "Waiting to copy (san_unknown: the source folders have not answered for this file just now)."
)  # fmt: skip
STORE_FULL = (
    "Paused: cfm cannot write its own state (no space left on device); it goes on when there is room."
)  # fmt: skip
OLD_METADATA = (
    "At rest; nothing is deleted: the grade and history files in force are too old to delete by "
    "(bring the grade and history files up to date)."
)
SAME_DISK = (
    "At rest; held by same_disk_suspected at 127.0.2.2:8888: it seems to be one disk under two addresses; "
    "its copies are one, and it is used through one of them "
    "(give each server a disk of its own, or take one address out of cfm.yml)."
)
CASES: list[tuple[Callable[[], Node], str]] = [
    (unread, "Doing nothing: no grade and history files are in force: they were not read yet."),
    (rejected, "Doing nothing: no grade and history files are in force: the history is empty."),
    (newest_rejected, "At rest; the newest metadata is not used: the history is empty."),
    (store_full, STORE_FULL),
    (copying, "2 copies and 0 deletes now, 3 wanted files not placed."),
    (at_rest, "At rest."),
    (no_source, NO_SOURCE),
    (no_destination, NO_DESTINATION),
    (san_silent, SAN_SILENT),
    (failing, "Waiting to copy (retry_later: copying it failed; it is tried again after a pause)."),
    (breaker, HELD_BY_BREAKER),
    (old_metadata, OLD_METADATA),
    (deletes_off, "At rest; deletes are off (set `deletes: on` in cfm.yml)."),
    (same_disk, SAME_DISK),
    (all_rise, f"At rest; {AT_A} is over its limit and nothing there may go (rising: 10)."),
    (fits_nowhere, "At rest; 1 wanted file fits nowhere, and nothing may go for it."),
]


@pytest.mark.parametrize(("make", "expected"), CASES, ids=[make.__name__ for make, _ in CASES])
def test_the_verdict(make: Callable[[], Node], expected: str) -> None:
    node = make()
    node.send(ev.SanIndexed(frozenset(node.san)))
    node.run(5 * SECOND_MS)
    assert verdict(node) == expected
    assert report.plan_json(node.core, node.now)["verdict"] == expected


def test_a_delete_of_unknown_outcome_is_told() -> None:
    library = files(3)
    node = Node(library, features=OLD, disk_bytes=4000)
    node.put(node.destinations[0], *library)
    node.put(node.destinations[1], library[0])
    for addr in node.destinations:
        node.workers[addr].loses_delete_answers = True
    node.grade()
    node.send(ev.SanIndexed(frozenset(node.san)))
    for _ in range(100):
        node.run(100)
        if node.says("delete unclear"):
            break
    assert (
        verdict(node) == "0 copies and 1 delete now, 0 wanted files not placed; 1 delete of unknown outcome."
    )


def test_with_deletes_off_the_plan_shows_what_would_go() -> None:
    node = deletes_off()
    node.run(5 * SECOND_MS)
    plan = report.plan_json(node.core, node.now)
    assert plan["deletes"] == []
    assert [(found["file"], found["kind"]) for found in plan["would_delete"]] == [("F010.mpg", "space")]
    assert {found["reason"] for found in plan["refusals"]} == {"deletes_off"}
    assert not node.deleted


def test_brakes_are_told_however_many_other_refusals_there_are() -> None:
    """Hundreds of files that find no room do not hide that a breaker holds."""
    library = files(500)
    node = Node(library, destinations=1, disk_bytes=1000, rules=Rules(limit_percent=50))
    node.put(node.destinations[0], *library[:10])
    node.grade()
    node.run(5 * SECOND_MS)
    assert [brake["name"] for brake in status(node)["brakes"]] == ["breaker"]
    assert "held by breaker at 127.0.2.1:8888" in verdict(node)
    request = node.request()
    node.send(ev.BreakerReleased(request))
    assert node.replies[request].status == 200


def test_what_a_release_would_delete_is_shown_before_it() -> None:
    node = breaker()
    node.run(5 * SECOND_MS)
    held = report.held_json(node.core, node.now, None)
    assert held["held"] == [{"server": node.destinations[0], "would_free_bytes": 500}]
    assert [found["file"] for found in held["would_delete"]] == [f"F{i:03}.mpg" for i in range(10, 5, -1)]
    assert not node.deleted


def test_a_release_holds_for_what_was_shown_and_not_for_the_next_mistake() -> None:
    node = breaker()
    node.run(5 * SECOND_MS)
    request = node.request()
    node.send(ev.BreakerReleased(request, node.destinations[0]))
    node.send(ev.RulesChanged(Rules(limit_percent=10)))
    node.run(60 * SECOND_MS)
    assert not node.deleted
    assert "held by breaker" in verdict(node)


def test_nothing_to_release_is_told() -> None:
    node = at_rest()
    request = node.request()
    node.send(ev.BreakerReleased(request))
    assert node.replies[request].status == 404


# ── why ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_why_tells_of_a_copy_that_stays_and_of_one_that_goes() -> None:
    library = files(2)
    node = Node(library, disk_bytes=1000, rules=Rules(trims_per_minute=0))
    for addr in node.destinations:
        node.put(addr, *library)
    node.put(node.destinations[0], File("OTHER.mpg", 99, 100))
    node.grade()
    node.run(5 * SECOND_MS)
    first, second = why(node, library[0])["delete"]
    assert (first["server"], first["reason"]) == (node.destinations[0], "pace"), "the fuller one"
    assert (second["server"], second["reason"]) == (node.destinations[1], "not_needed")


def test_why_tells_of_a_file_in_a_task_and_of_one_that_nobody_knows() -> None:
    node = copying()
    node.run(5 * SECOND_MS)
    assert why(node, node.library[0])["copy"]["reason"] == "in_task"
    assert len(why(node, node.library[0])["tasks"]) == 1
    unknown = why_json(node.core, "X.mpg", None, 7, node.now)
    assert (unknown["known"], unknown["rank"], unknown["copy"]["reason"]) == (False, 7, "not_known")


def test_why_tells_of_room() -> None:
    node = fits_nowhere()
    node.run(5 * SECOND_MS)
    assert why(node, node.library[9])["copy"]["reason"] in ("no_room", "san_unknown")


# ── shapes ──────────────────────────────────────────────────────────────────────────────────────────────


def test_a_transfer_is_shown_with_its_progress() -> None:
    node = copying()
    node.run(10_500)
    shown = status(node)["transfers"]
    assert len(shown) == 2
    assert shown[0]["bytes_done"] > 0
    assert shown[0]["rate_bps"] > 0
    assert shown[0]["elapsed_s"] == 10


def test_an_ended_task_says_why() -> None:
    node = failing()
    node.run(3 * SECOND_MS)
    ended = [task for task in report.tasks_json(node.core, node.now) if task["status"] == Status.FAILED]
    assert ended
    assert ended[0]["ended_why"] == "the source sent other bytes"


def test_a_server_says_why_something_of_it_is_unknown() -> None:
    node = Node(files(2), destinations=2, features=replace(OURS, serves=False))
    node.workers[node.destinations[0]].lists = False
    node.kill(node.destinations[1])
    node.grade()
    node.run(5 * SECOND_MS)
    told = {server["addr"]: (server["state"], server["why"]) for server in status(node)["servers"]}
    assert told[node.destinations[0]] == ("up", "its list is unknown: refused: connection refused")
    assert told[node.destinations[1]] == ("down", "refused: connection refused")


def test_the_plan_has_the_shape_of_the_contract() -> None:
    node = copying()
    node.core.state.wants_dispatch = False
    plan = report.plan_json(node.core, node.now)
    keys = {"snapshot", "servers", "copies", "deletes", "refusals", "refusals_total", "verdict"}
    assert keys <= plan.keys()
    assert re.match(r".*\.$", plan["verdict"])
