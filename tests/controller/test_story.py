"""A file's story: every deed once, in the same words from memory and from the books."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from cfm.cli.render import event_words
from cfm.controller.explain.story import tell
from cfm.model import OrderStatus, Status
from cfm.plan.view import Rules
from controller.node import OLD, Node, files

SECOND_MS = 1_000


def said(node: Node, name: str) -> list[Mapping[str, Any]]:
    """What the controller keeps of a file in memory."""
    return [
        {"at": 0, "event": one.event, "level": one.level, **one.facts}
        for one in node.said
        if one.facts.get("file") == name
    ]


def events(story: Iterable[Mapping[str, Any]]) -> list[str]:
    return [told["event"] for told in story]


def ids(story: Iterable[Mapping[str, Any]], event: str) -> set[str]:
    return {told["task"] for told in story if told["event"] == event}


def copied_and_deleted() -> tuple[Node, str]:
    """A node that copied a file to its full disk, and gave it up for a rising one."""
    library = files(3)
    world = Node(library, destinations=1, disk_bytes=230, rules=Rules(minimum_stay_ms=0, breaker_percent=100))
    world.grade()
    world.run(60 * SECOND_MS)
    world.watch(**{"F003.mpg": 9})
    world.run(60 * SECOND_MS)
    return world, library[1].name


def test_what_is_still_in_memory_is_told_once() -> None:
    node, name = copied_and_deleted()
    lately = said(node, name)
    assert events(lately) == ["copy starts", "copied file", "deleted file"]
    assert tell(node.store.history(name, 100), lately) == lately


def test_what_memory_has_lost_is_told_from_the_books_in_the_same_words() -> None:
    node, name = copied_and_deleted()
    lately = said(node, name)
    remembered = tell(node.store.history(name, 100), [])
    assert events(remembered) == ["copy starts", "copy done", "deleted file"]
    for now, before in zip(lately, remembered, strict=True):
        same = {"file", "server", "reason", "rank", "size_bytes", "task", "order"} & now.keys()
        assert {key: now[key] for key in same} == {key: before[key] for key in same}


def test_a_copy_whose_end_alone_was_forgotten_has_a_beginning_and_an_end() -> None:
    node, name = copied_and_deleted()
    story = tell(node.store.history(name, 100), said(node, name)[:1])
    assert sorted(events(story)) == ["copy done", "copy starts", "deleted file"]


def test_the_failure_that_a_list_found_out_stands_and_not_the_old_workers_word() -> None:
    library = files(1)
    node = Node(library, destinations=1, features=OLD)
    node.grade()
    node.workers[node.destinations[0]].fails.add(library[0].name)
    node.run(200 * SECOND_MS)
    lately, name = said(node, library[0].name), library[0].name
    disproved = {told["task"] for told in lately if told["event"] == "copy failed"}
    assert disproved & ids(tell(node.store.history(name, 100), []), "copy done"), "it said so"
    assert not disproved & ids(tell(node.store.history(name, 100), lately), "copy done")


def test_every_state_of_a_task_and_of_an_order_has_its_sentence() -> None:
    """None is told as a list of facts."""
    node, name = copied_and_deleted()
    task, order = sorted(node.store.history(name, 100), key=lambda entry: entry.id)
    entries: list[Any] = [with_status(task, status) for status in Status]
    entries += [with_status(order, status) for status in OrderStatus]
    for entry in entries:
        for told in tell([entry], []):
            words = event_words(told)
            assert name in words
            assert "size_bytes" not in words, words


def test_ids_are_text_for_programs_that_count_in_floating_point() -> None:
    node, name = copied_and_deleted()
    for told in (*said(node, name), *tell(node.store.history(name, 100), [])):
        assert isinstance(told.get("task") or told.get("order"), str)


def with_status(entry: Any, status: Any) -> Any:
    return replace(entry, status=status, ended_why="a reason")
