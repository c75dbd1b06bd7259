"""A condition is logged once when it begins and once when it ends, and not for a moment in between."""

from __future__ import annotations

from cfm.controller.decide import events as ev
from cfm.controller.decide.told_conditions import ConditionBook, ConditionSeen
from cfm.controller.explain.verdict import verdict
from cfm.model import Now
from controller import worlds
from controller.node import Node

DOWN = ConditionSeen("server_down", "degraded", "Server a is down")
NOTE = ConditionSeen("foreign_files", "note", "1 GB of 9 GB")


def at(second: int) -> Now:
    return Now(1000 * second, 1000 * (1_700_000_000 + second))


def test_it_must_be_there_and_gone_at_two_looks() -> None:
    book = ConditionBook()
    assert book.note([DOWN], at(1)) == []
    assert book.since_s("server_down") == at(1).wall_s
    (began,) = book.note([DOWN], at(2))
    assert (began.seen, began.begins, began.since_s) == (DOWN, True, at(1).wall_s)
    assert not book.is_news([DOWN])
    assert book.note([], at(9)) == []
    assert book.is_news([])
    (ended,) = book.note([], at(10))
    assert (ended.seen.name, ended.begins) == ("server_down", False)
    assert book.since_s("server_down") is None
    assert not book.is_news([])


def test_what_flickers_is_told_as_one() -> None:
    book = ConditionBook()
    book.note([DOWN], at(1))
    assert len(book.note([DOWN], at(2))) == 1
    for second in range(3, 20, 2):
        assert book.note([], at(second)) == []
        assert book.note([DOWN], at(second + 1)) == []


def test_one_look_alone_is_never_told() -> None:
    book = ConditionBook()
    assert [book.note(found, at(1)) for found in ([DOWN], [], [])] == [[], [], []]


def test_a_note_that_becomes_worse_is_told_again() -> None:
    book = ConditionBook()
    book.note([NOTE], at(1))
    book.note([NOTE], at(2))
    worse = NOTE._replace(level="degraded")
    assert book.is_news([worse])
    assert book.note([worse], at(3)) == []
    (told,) = book.note([worse], at(4))
    assert (told.seen.level, told.since_s) == ("degraded", at(1).wall_s)


def test_the_log_has_a_line_when_it_begins_and_one_when_it_ends() -> None:
    node = worlds.at_rest()
    node.send(ev.SanIndexed(frozenset(node.san)))
    node.kill(node.sources[0])
    for _ in range(70):
        node.run(1000)
        look(node)
    (said,) = node.says("condition begins")
    assert (said.level, said.facts["condition"]) == ("warning", "server_down")
    assert said.facts["because"] == "Server 127.0.1.1 is down: connection refused"
    node.revive(node.sources[0])
    for _ in range(70):
        node.run(1000)
        look(node)
    (said,) = node.says("condition ends")
    assert said.facts["condition"] == "server_down"
    assert len(node.says("condition begins")) == 1
    kept = [one.event for one in node.store.events(node.sources[0], 2**63 - 1, 9)]
    told = [event for event in kept if event.startswith("condition")]
    assert told == ["condition ends", "condition begins"], "they are in the server's own history"


def look(node: Node) -> None:
    """What `act.condition_watch` does once a second."""
    found = verdict(node.core, node.core.last_round, node.now).conditions
    seen = tuple(
        ConditionSeen(one.name, one.level.value, one.text, one.since_s, one.servers) for one in found
    )
    if node.core.state.conditions.is_news(seen):
        node.send(ev.ConditionsSeen(seen))
