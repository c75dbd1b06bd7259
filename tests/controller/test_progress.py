"""How far long work is: servers that are listed, the first plan, and what is read, with counts."""

from __future__ import annotations

import pytest

from cfm.controller.decide import events as ev
from cfm.controller.explain import progress
from cfm.model import Failure, Trouble
from controller.node import Node, files


def words(node: Node) -> list[str]:
    return [one.text for one in progress.in_core(node.core)]


def test_servers_that_are_listed_for_the_first_time_are_counted() -> None:
    node = Node(files(3), sources=1, destinations=3)
    assert words(node) == ["0 of 3 servers listed"]
    for addr, told in zip(
        node.destinations, (["1 of 3 servers listed"], ["2 of 3 servers listed"], []), strict=True
    ):
        node.send(ev.ListAnswer(addr, 0, Failure(Trouble.TIMEOUT, "")))
        assert words(node) == told


def test_the_first_plan_of_new_metadata_is_told() -> None:
    node = Node(files(3), sources=1, destinations=1)
    node.run(1_000)
    node.core.plans.running = True
    assert words(node) == []
    node.grade()
    node.core.plans.running = True
    assert words(node) == ["planning for 3 files"]
    node.core.plans.running = False
    assert words(node) == []


@pytest.mark.parametrize(
    ("one", "text"),
    [
        (progress.reading_metadata(31_000_000, 85_000_000), "grade and history files, 31.0 MB of 85.0 MB"),
        (progress.reading_metadata(85, 85), "joining the grade and history files"),
        (progress.listing_source_folder("/san/a", 1, None), "listing /san/a, 1 name so far"),
        (progress.listing_source_folder("/san/a", 2000, 3000), "2,000 names so far, 3,000 last time"),
        (progress.looking_up_rising(2, 4.5), "looking up 2 files that rise, for 4 s"),
    ],
)
def test_what_is_read_is_told_with_its_counts(one: progress.WorkProgress, text: str) -> None:
    assert text in one.text
    assert one.as_json()["text"] == one.text
