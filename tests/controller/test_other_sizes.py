"""A size that is wrong is an answer: files that have another size on the SAN than in the history."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cfm.controller.decide.versions import LOOK_EVERY_MS
from cfm.controller.explain.verdict import Verdict, verdict
from cfm.controller.explain.why import why_json
from cfm.model import DiskUsage
from cfm.plan.view import Rules
from controller.node import Node, files

SECOND_MS, MINUTE_MS, HOUR_MS = 1_000, 60_000, 3_600_000
RESIZED = 40
LONG_HOURS = 26
"""More than a day."""


def over_its_limit(resized: int = RESIZED, held: int = 95) -> Node:
    """A disk of 10,000 bytes at 95 % with a limit of 90: the least wanted files there have other sizes."""
    library = files(held)
    rules = Rules(minimum_stay_ms=0, space_deletes_per_minute=30)
    node = Node(library, destinations=1, disk_bytes=10_000, rules=rules)
    node.put(node.destinations[0], *library)
    for file in library[held - resized :]:
        node.san[file.name] = 104
    node.index()
    node.grade()
    return node


def used_percent(node: Node) -> int:
    usage: DiskUsage = node.workers[node.destinations[0]].usage()
    return usage.used_percent


def told(node: Node) -> Verdict:
    return verdict(node.core, node.core.last_round, node.now)


def test_a_disk_is_back_at_its_limit_as_quickly_as_a_healthy_one() -> None:
    healthy, sick = over_its_limit(resized=0), over_its_limit()
    for node in (healthy, sick):
        node.run(7 * SECOND_MS)  # two readings show the need
        assert used_percent(node) == 90
    gone = [name for _addr, name in sick.deleted]
    assert gone == [f"F{rank:03}.mpg" for rank in range(55, 50, -1)], "the next candidates went instead"
    assert not sick.says("delete dropped")


def test_they_are_told_with_both_sizes_and_their_number() -> None:
    node = over_its_limit()
    node.run(MINUTE_MS)
    (found,) = told(node).conditions
    assert (found.name, found.files, found.level.value) == ("other_size", RESIZED, "note")
    assert "40 files have another size on the SAN than in the history: F056.mpg" in told(node).line
    assert "the SAN has 104 B, the history says 100 B" in told(node).line
    why = why_json(node.core, "F060.mpg", node.library[59], None, node.now)
    (there,) = why["delete"]
    assert (there["reason"], there["text"]) == ("other_size", "the SAN has 104 B, the history says 100 B")
    assert why["copy"]["reason"] == "already_placed"


def test_for_days_nothing_grows() -> None:
    node = over_its_limit()
    node.run(HOUR_MS)
    orders, asked, said = len(node.store.state.orders), node.asked["AskSan"], len(node.said)
    plans = node.asked["StartPlan"]
    node.run(LONG_HOURS * HOUR_MS)
    assert len(node.store.state.orders) <= orders
    assert not node.says("delete dropped")
    versions = (
        LONG_HOURS * HOUR_MS // LOOK_EVERY_MS
    )  # looks at placed files in their turn, whatever their size
    looks = node.asked["AskSan"] - asked - versions
    assert looks <= LONG_HOURS * 2 * 3, "many of them together, every half an hour"
    assert len(node.core.state.absences.absent) == RESIZED, "no look at a version has them forgotten"
    assert len(node.said) == said
    assert node.asked["StartPlan"] - plans <= 2


def test_with_nothing_else_to_go_the_verdict_says_why_the_disk_stays_over_its_limit() -> None:
    node = over_its_limit(resized=95)
    node.run(MINUTE_MS)
    (over, _sizes) = told(node).conditions
    assert over.name == "over_limit"
    assert "95 files have another size on the SAN" in over.text


def test_a_history_with_the_new_sizes_counts_at_once() -> None:
    node = over_its_limit(resized=95)
    node.run(MINUTE_MS)
    assert used_percent(node) == 95
    node.grade([replace(file, size_bytes=104) for file in node.library])
    node.run(2 * SECOND_MS)
    assert used_percent(node) == 90
    assert not told(node).conditions


@pytest.mark.parametrize("minutes", [5, 24 * 60])
def test_a_size_that_is_right_again_is_found_after_a_pause(minutes: int) -> None:
    node = over_its_limit(resized=95)
    node.run(minutes * MINUTE_MS)
    node.san = {file.name: file.size_bytes for file in node.library}
    node.run(min(minutes, 31) * MINUTE_MS)
    assert used_percent(node) <= 90
    assert not told(node).conditions
    stale = {said.facts["file"] for said in node.says("copy is stale")}
    assert stale <= {file.name for file in node.library[:5]}, "seen before their size was found to be wrong"


def test_a_wanted_file_of_another_size_is_not_copied_and_holds_up_no_other() -> None:
    node = Node(files(12), sources=1, destinations=1, rules=Rules(minimum_stay_ms=0))
    node.san["F001.mpg"] = 5
    node.grade()
    node.run(20 * SECOND_MS)
    assert len(node.delivered) == 9
    assert not node.holders("F001.mpg")
    assert why_json(node.core, "F001.mpg", node.library[0], None, node.now)["copy"]["reason"] == "other_size"
    node.san["F001.mpg"] = 100
    node.run(3 * MINUTE_MS)
    assert node.holders("F001.mpg")


def test_a_name_that_appears_on_the_san_is_looked_up_at_once() -> None:
    node = over_its_limit(resized=0)
    lost = node.library[-1].name
    del node.san[lost]
    node.run(30 * MINUTE_MS)
    assert lost not in [name for _addr, name in node.deleted]
    assert node.core.state.absences.absent[lost].found_bytes == 0
    node.san[lost] = 100
    node.index()
    node.run(SECOND_MS)
    assert not node.core.state.absences.absent


def test_a_resized_surplus_copy_is_ordered_once_and_then_left_alone() -> None:
    library = files(8)
    node = Node(library)
    for addr in node.destinations:
        node.put(addr, *library)
    node.san = dict.fromkeys(node.san, 104)
    node.grade()
    node.run(24 * HOUR_MS)
    assert not node.deleted
    assert len(node.says("delete dropped")) == len(library)
