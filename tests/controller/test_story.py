"""The history of a file and of a server: every event once, in the same words before and after a restart."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from cfm.controller.decide import events as ev
from cfm.controller.decide.step import DELETES
from cfm.controller.explain.sentences import EVENT_SENTENCES
from cfm.controller.explain.story import history, told
from cfm.plan.view import Rules
from controller.node import Node, files

SECOND_MS = 1_000
NEWEST = 2**63 - 1


def copied_and_deleted() -> tuple[Node, str]:
    """A node that copied a file to its full disk, and gave it up for a rising one."""
    library = files(3)
    world = Node(library, destinations=1, disk_bytes=230, rules=Rules(minimum_stay_ms=0, breaker_percent=100))
    world.grade()
    world.run(60 * SECOND_MS)
    world.watch(**{"F003.mpg": 9})
    world.run(60 * SECOND_MS)
    return world, library[1].name


def in_memory(node: Node) -> list[Mapping[str, Any]]:
    """What the controller remembers without its store; it knows the time of each as the store does."""
    times = {one.id: one.wall_s for one in node.store.events("", NEWEST, 1_000)}
    return [told(one.id, times[one.id], one.event, one.level, one.facts) for one in node.said]


def story(node: Node, about: str, lately: Sequence[Mapping[str, Any]] = ()) -> list[Mapping[str, Any]]:
    return history(node.store.events(about, NEWEST, 100), lately, about, NEWEST, 100)


def test_the_story_of_a_file_is_the_same_after_a_restart() -> None:
    node, name = copied_and_deleted()
    lately = in_memory(node)
    before = story(node, name, lately)
    assert [one["event"] for one in before] == ["deleted file", "copied file", "copy starts"]
    assert story(node, name) == before, "memory is empty then"
    assert story(node, name, lately[:3]) == before
    node.restart()
    assert story(node, name)[-3:] == before


def test_deletes_have_a_history_of_their_own() -> None:
    node, name = copied_and_deleted()
    lately = in_memory(node)
    for found in (story(node, DELETES), history([], lately, DELETES, NEWEST, 100)):
        assert [(one["event"], one["file"]) for one in found] == [("deleted file", name)]


def test_what_could_not_be_written_is_told_from_memory() -> None:
    node, name = copied_and_deleted()
    lately = in_memory(node)
    told_of = [one for one in lately if name in one.values()]
    assert history([], lately, name, NEWEST, 100) == story(node, name) != []
    newest = int(told_of[-1]["id"])
    assert len(history([], lately, name, newest, 100)) == len(told_of) - 1
    assert len(history([], lately, name, NEWEST, 1)) == 1


def test_a_server_has_a_history_as_a_source_and_as_a_destination() -> None:
    node, name = copied_and_deleted()
    copies = [one for one in story(node, name) if one["event"] == "copied file"]
    for addr in (copies[0]["source"], copies[0]["server"]):
        found = story(node, addr)
        assert found[-1]["event"] == "server is up"
        assert copies[0] in found


def test_a_file_that_stops_rising_says_so() -> None:
    node, _ = copied_and_deleted()
    node.watch()
    node.run(SECOND_MS)
    found = story(node, "F003.mpg")
    assert found[0]["event"] == "file stopped rising"
    assert "F003.mpg stopped rising" in found[0]["text"]


def said_events() -> set[str]:
    """The first argument of each `say(…)` in the deciding code, where it is written there."""
    found = set()
    for path in Path(inspect.getfile(ev)).parent.glob("*.py"):
        calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        says = [call for call in calls if isinstance(call.func, ast.Attribute) and call.func.attr == "say"]
        found |= {str(one.value) for call in says for one in call.args[:1] if isinstance(one, ast.Constant)}
    return found


def test_every_event_has_its_sentence() -> None:
    """None is told as a list of facts."""
    assert len(said_events()) > 20
    assert said_events() <= EVENT_SENTENCES.keys()
    node, _ = copied_and_deleted()
    assert [one["text"] for one in story(node, "") if one["text"].startswith(one["event"] + ": ")] == []


def test_ids_are_text_for_programs_that_count_in_floating_point() -> None:
    node, name = copied_and_deleted()
    for one in story(node, name):
        assert isinstance(one["id"], str)
        assert isinstance(one.get("task") or one.get("order"), str)


@pytest.mark.parametrize("why", ["no space left on device"])
def test_while_nothing_can_be_written_nothing_piles_up_for_the_disk(why: str) -> None:
    node, _ = copied_and_deleted()
    node.core.handle(ev.StoreTrouble(why), node.now)
    for number in range(3):
        step = node.core.handle(ev.Noted(f"event {number}", {}), node.now)
        assert [type(one).__name__ for one in step.changes] == []
        assert [one.event for one in step.at_once if isinstance(one, ev.Say)] == [f"event {number}"]
    node.core.handle(ev.StoreRecovered(), node.now)
    assert node.core.handle(ev.Noted("again", {}), node.now).changes
