"""What cfm tells of itself is true in each case, names the brake that holds, and says how to release it."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from cfm.controller.decide import events as ev
from cfm.controller.explain import report
from cfm.controller.explain.why import alike, why_json
from cfm.model import File, Status
from cfm.names import other_spellings
from cfm.plan.view import Rules
from controller.node import OURS, Node, files
from controller.worlds import SECOND_MS, at_rest, breaker, copying, deletes_off, failing, fits_nowhere


def status(node: Node) -> dict[str, Any]:
    return report.status_json(node.core, node.now)


def conditions(node: Node) -> dict[str, dict[str, Any]]:
    return {condition["name"]: condition for condition in status(node)["conditions"]}


def why(node: Node, file: File) -> dict[str, Any]:
    return why_json(node.core, file.name, file, file.rank, node.now)


def test_with_deletes_off_the_plan_shows_what_would_go() -> None:
    node = deletes_off()
    node.run(6 * SECOND_MS)
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
    node.run(6 * SECOND_MS)
    assert [brake["name"] for brake in status(node)["brakes"]] == ["breaker"]
    assert conditions(node)["breaker"]["servers"] == ["127.0.2.1:8888"]
    request = node.request()
    node.send(ev.BreakerReleased(request))
    assert node.replies[request].status == 200


def test_what_a_release_would_delete_is_shown_before_it() -> None:
    node = breaker()
    node.run(6 * SECOND_MS)
    held = report.held_json(node.core, node.now, None)
    assert held["held"] == [{"server": node.destinations[0], "would_free_bytes": 500}]
    assert [found["file"] for found in held["would_delete"]] == [f"F{i:03}.mpg" for i in range(10, 5, -1)]
    assert not node.deleted


def test_a_release_holds_for_what_was_shown_and_not_for_the_next_mistake() -> None:
    node = breaker()
    node.run(6 * SECOND_MS)
    request = node.request()
    node.send(ev.BreakerReleased(request, node.destinations[0]))
    node.send(ev.RulesChanged(Rules(limit_percent=10)))
    node.run(60 * SECOND_MS)
    assert not node.deleted
    assert "breaker" in conditions(node)


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
    assert told[node.destinations[0]] == ("up", "its list is unknown: connection refused")
    assert told[node.destinations[1]] == ("down", "connection refused")


def test_the_plan_has_the_shape_of_the_contract() -> None:
    node = copying()
    plan = report.plan_json(node.core, node.now)
    keys = {"snapshot", "servers", "copies", "deletes", "refusals", "refusals_total", "verdict"}
    assert keys <= plan.keys()
    assert re.match(r".*\.$", plan["verdict"])


def test_plan_status_and_metrics_tell_the_same_numbers_of_refusals() -> None:
    node = fits_nowhere()
    node.run(5 * SECOND_MS)
    plan, counts = report.plan_json(node.core, node.now), status(node)["refusals"]
    assert plan["refusal_counts"] == counts
    assert plan["refusals_total"] == sum(sum(by.values()) for by in counts.values()) > 0
    assert counts["copy"]["no_room"] == conditions(node)["no_room"]["files"]
    shown = [(no["action"], no["reason"]) for no in plan["refusals"]]
    assert shown.count(("copy", "no_room")) == counts["copy"]["no_room"]


def test_another_file_whose_name_looks_the_same_is_named() -> None:
    """One Korean syllable as one character and as three: two names, and two files."""
    composed, decomposed = "\ud55c.mpg", "\u1112\u1161\u11ab.mpg"
    node = Node([File(composed, 1, 100)], sources=1, destinations=1)
    assert alike(node.core, other_spellings(composed), (), node.now) == []
    assert alike(node.core, other_spellings(composed), (decomposed,), node.now) == [decomposed]
    node.put(node.destinations[0], File(decomposed, 2, 100))
    node.grade()
    node.run(5_000)
    assert alike(node.core, other_spellings(composed), (), node.now) == [decomposed]
