"""What of a plan's lists stays in force while the next plan is made."""

from __future__ import annotations

import pytest

from cfm.controller.decide.planning import FIRST_LOOK_MS, PLAN_PAUSE_MS, Planning
from cfm.model import Addr, File, Now
from cfm.plan.shortlist import Shortlist
from cfm.revision import Revision
from controller.node import OLD, Node, files

HERE = Addr("127.0.2.1:8888")
GOOD, BAD = File("GOOD.mpg", 1, 100), File("BAD.mpg", 9, 100)


@pytest.mark.parametrize("was_too_old", [False, True])
def test_nothing_is_evicted_by_the_ranks_of_metadata_that_are_replaced(was_too_old: bool) -> None:
    plans = Planning(Revision(), 0)
    plans.take(Shortlist("first", (GOOD,), 1, (BAD,), 1, {HERE: (BAD,)}, cut=False))
    plans.metadata_changed(Now(1_000, 1_000), was_too_old=was_too_old)
    assert plans.shortlist.wanted == (GOOD,)
    assert plans.shortlist.surplus == (() if was_too_old else (BAD,))
    assert plans.shortlist.evictable == {}


def test_the_first_plan_waits_until_it_is_known_what_the_destinations_hold() -> None:
    """A plan from before would list the best files, which are placed, and the next one would have to wait."""
    library = files(100)
    node = Node(library, disk_bytes=10_000)
    node.put(node.destinations[0], *library[:70])
    node.grade()
    node.run(PLAN_PAUSE_MS // 2)
    assert node.plans == 1
    assert node.started


def test_the_first_plan_waits_no_longer_for_a_destination_that_does_not_answer() -> None:
    plans = Planning(Revision(), 1_000)
    plans.metadata_changed(Now(1_100, 0), was_too_old=False)
    assert not plans.is_due(Now(1_100, 0))
    assert plans.next_ms == 1_000 + FIRST_LOOK_MS
    assert plans.is_due(Now(1_000 + FIRST_LOOK_MS, 0))


def test_a_copy_that_a_list_proves_needs_no_new_plan() -> None:
    """With old workers, or an old downloader, each arrival was followed by a full plan."""
    node = Node(files(30), sources=2, destinations=3, features=OLD, transfer_ms=2_000)
    node.grade()
    node.run(10_000)
    before, delivered = node.plans, len(node.delivered)
    node.run(20_000)
    assert len(node.delivered) - delivered >= 8
    assert node.plans - before <= 1
