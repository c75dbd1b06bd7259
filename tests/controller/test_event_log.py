"""The event log is lost: who watches what is unknown, and that is not nobody."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cfm.controller.decide import events as ev
from cfm.controller.explain.health import Health
from cfm.controller.explain.verdict import verdict
from cfm.model import File, Hits, LogCondition, LogState
from cfm.plan.view import Rules
from controller import worlds
from controller.node import Node, files
from controller.test_metrics import scraped

SECOND_MS = 1_000
HOUR_MS = 3_600_000
BETTER = File("BETTER.mpg", 1, 100, hits=50)
LOST = [LogCondition.GONE, LogCondition.UNREADABLE, LogCondition.READING]
READABLE = [
    LogCondition.FOLLOWING,
    LogCondition.SILENT,
    LogCondition.BEHIND,
    LogCondition.CLOCK_OFF,
    LogCondition.DOUBLED,
]


def tell(node: Node, condition: LogCondition, **more: int) -> None:
    why = "" if condition is LogCondition.FOLLOWING else "as this test wants it"
    node.send(ev.LogChanged(LogState(condition, node.now_ms, why, **more)))


def full(limit_percent: int = 90) -> Node:
    """One disk at 90 %, with nine files of which any may go for a better one."""
    library = [replace(file, rank=file.rank + 1) for file in files(9)]
    rules = Rules(minimum_stay_ms=0, limit_percent=limit_percent)
    node = Node([BETTER, *library], sources=1, destinations=1, disk_bytes=1000, rules=rules)
    node.put(node.destinations[0], *library)
    return node


def gone(node: Node) -> list[str]:
    return [name for _addr, name in node.deleted]


def at_rest() -> Node:
    node = worlds.at_rest()
    node.send(ev.SanIndexed(frozenset(node.san)))
    node.run(1 * SECOND_MS)
    return node


def conditions(node: Node) -> list[str]:
    return [one.name for one in verdict(node.core, node.core.last_round, node.now).conditions]


@pytest.mark.parametrize("condition", LOST)
def test_no_room_is_made_while_the_log_is_lost(condition: LogCondition) -> None:
    node = full()
    tell(node, condition)
    node.grade()
    node.run(3 * HOUR_MS)
    assert gone(node) == []
    assert node.core.last_round is not None
    assert node.core.last_round.counts["delete", "hits_unknown"]
    tell(node, LogCondition.FOLLOWING)
    node.run(30 * SECOND_MS)
    assert gone(node) == ["F009.mpg"]


@pytest.mark.parametrize("condition", READABLE)
def test_a_log_that_can_be_read_withholds_nothing(condition: LogCondition) -> None:
    node = full()
    tell(node, condition)
    node.grade()
    node.run(30 * SECOND_MS)
    assert gone(node) == ["F009.mpg"]


def test_what_was_watched_at_the_last_reading_stays_for_the_grace_time() -> None:
    """Its protection ended ten minutes after the log was gone, when its hits had grown old."""
    node = full(limit_percent=90)
    tell(node, LogCondition.FOLLOWING)
    node.send(ev.HitsChanged(Hits({"F009.mpg": 9}, frozenset({"F008.mpg"}))))
    tell(node, LogCondition.GONE)
    node.send(ev.HitsChanged(Hits()))
    node.send(ev.RulesChanged(replace(node.config.rules, limit_percent=70)))
    node.grade()
    node.run(50 * 60 * SECOND_MS)
    assert gone(node) == ["F007.mpg", "F006.mpg"]


def test_what_was_watched_may_go_when_the_grace_time_is_over() -> None:
    node = full(limit_percent=90)
    node.send(ev.HitsChanged(Hits({}, frozenset(file.name for file in node.library))))
    tell(node, LogCondition.GONE)
    node.send(ev.HitsChanged(Hits()))
    node.send(ev.RulesChanged(replace(node.config.rules, limit_percent=70)))
    node.grade()
    node.run(HOUR_MS - 10 * SECOND_MS)
    assert gone(node) == []
    node.run(3 * 60 * SECOND_MS)
    assert gone(node) == ["F009.mpg", "F008.mpg"]


def test_a_log_that_flickers_does_not_forget_what_was_watched() -> None:
    """Gone, being read again, gone once more: the last reading that was whole counts."""
    node = full(limit_percent=90)
    node.send(ev.HitsChanged(Hits({}, frozenset({"F009.mpg"}))))
    tell(node, LogCondition.UNREADABLE)
    node.send(ev.HitsChanged(Hits()))
    tell(node, LogCondition.READING)
    tell(node, LogCondition.GONE)
    node.send(ev.RulesChanged(replace(node.config.rules, limit_percent=80)))
    node.grade()
    node.run(60 * SECOND_MS)
    assert gone(node) == ["F008.mpg"]


def test_nothing_goes_while_the_log_is_read_for_the_first_time() -> None:
    """After a start nobody knows who watches what before the log has been read to its end."""
    node = full(limit_percent=80)
    tell(node, LogCondition.READING)
    node.grade()
    node.run(30 * SECOND_MS)
    assert gone(node) == []
    node.send(ev.HitsChanged(Hits({}, frozenset({"F009.mpg"}))))
    tell(node, LogCondition.FOLLOWING)
    node.run(30 * SECOND_MS)
    assert gone(node) == ["F008.mpg", "F007.mpg"], "for the limit, and for a better file"


def test_a_first_reading_that_does_not_end_withholds_nothing_for_ever() -> None:
    node = full(limit_percent=80)
    tell(node, LogCondition.READING)
    node.grade()
    node.run(HOUR_MS + 60 * SECOND_MS)
    assert gone(node) == ["F009.mpg"]


def test_each_change_is_said_once() -> None:
    node = full()
    for condition in (LogCondition.FOLLOWING, LogCondition.GONE, LogCondition.GONE, LogCondition.FOLLOWING):
        for _again in range(3):
            tell(node, condition)
    said = [(say.facts["condition"], say.level) for say in node.said if say.event == "event log"]
    assert said == [("following", "info"), ("gone", "warning"), ("following", "info")]


@pytest.mark.parametrize(
    ("condition", "health"),
    [
        (LogCondition.GONE, Health.DEGRADED),
        (LogCondition.UNREADABLE, Health.DEGRADED),
        (LogCondition.BEHIND, Health.DEGRADED),
        (LogCondition.SILENT, Health.OK),
        (LogCondition.CLOCK_OFF, Health.OK),
        (LogCondition.DOUBLED, Health.OK),
    ],
)
def test_the_verdict_names_the_state_of_the_log(condition: LogCondition, health: Health) -> None:
    node = at_rest()
    tell(node, LogCondition.FOLLOWING)
    assert conditions(node) == []
    tell(node, condition, clock_behind_s=7200)
    node.run(1 * SECOND_MS)
    told = verdict(node.core, node.core.last_round, node.now)
    assert [one.name for one in told.conditions] == [f"event_log_{condition}"]
    assert told.health is health
    assert len(told.line) <= 200
    assert ("7,200 s behind" in told.line) is (condition is LogCondition.CLOCK_OFF)


def test_a_start_is_no_trouble_and_a_long_reading_is_told() -> None:
    node = at_rest()
    tell(node, LogCondition.READING, behind_bytes=200_000_000)
    node.run(5 * SECOND_MS)
    assert "event_log_reading" not in conditions(node)
    node.run(6 * SECOND_MS)
    assert conditions(node) == ["event_log_reading"]


def test_metrics_and_status_have_the_state_of_the_log() -> None:
    node = Node(files(2), sources=1, destinations=1)
    assert "cfm_event_log_condition" not in scraped(node)
    tell(node, LogCondition.CLOCK_OFF, clock_behind_s=-7200)
    metrics = scraped(node)
    assert metrics["cfm_event_log_clock_behind_seconds"][()] == -7200
    assert metrics["cfm_event_log_hits_known"][()] == 1
    by_condition = metrics["cfm_event_log_condition"]
    assert [name for (name,), value in by_condition.items() if value] == ["clock_off"]
    assert {name for (name,) in by_condition} == {one.value for one in LogCondition}
