"""The numbers behind the pictures: sums over steps, in rings that never grow."""

from __future__ import annotations

import pytest

from cfm.controller.explain.trends import (
    CURVES_KEPT,
    DISK_UNKNOWN,
    DOWN,
    HOUR,
    NOT_SEEN,
    Counters,
    Ring,
    Trends,
    server_states,
    trends_json,
)
from cfm.model import Addr, Now
from controller.node import Node, files

SERVER = Addr("s:1")
STEP_S, STEPS = HOUR


def at(second: int) -> Now:
    return Now(1000 * second, 1_700_000_000_000 + 1000 * second)


def copied(trends: Trends, total_bytes: int, second: int, state: int = 50) -> None:
    trends.add(Counters(copied_bytes=total_bytes), {SERVER: state}, {}, at(second))


def test_what_counters_grew_by_is_summed_up_in_steps() -> None:
    trends = Trends(at(0))
    for second, total in ((0, 100), (5, 110), (10, 130), (STEP_S, 131), (2 * STEP_S + 1, 140)):
        copied(trends, total, second)
    assert trends.hour.series("copied_bytes") == [30, 1, 9]
    assert trends.day.series("copied_bytes") == [40]


def test_a_step_in_which_nobody_looked_is_empty() -> None:
    trends = Trends(at(0))
    copied(trends, 0, 0)
    copied(trends, 7, 3 * STEP_S)
    assert trends.hour.series("copied_bytes") == [0, 0, 0, 7]
    assert trends.hour.states(SERVER) == [50, NOT_SEEN, NOT_SEEN, 50]


def test_a_counter_that_was_set_back_begins_anew() -> None:
    trends = Trends(at(0))
    copied(trends, 100, 0)
    copied(trends, 3, 1)
    assert trends.hour.series("copied_bytes") == [3]


@pytest.mark.parametrize("later", [STEPS, 3 * STEPS, 10 * STEPS + 7])
def test_a_ring_keeps_its_length_and_forgets_the_oldest(later: int) -> None:
    ring = Ring(STEP_S, STEPS, 0)
    ring.add([1] * 5, {}, 0)
    ring.add([2] * 5, {}, 1000 * STEP_S * later)
    series = ring.series("freed_bytes")
    assert len(series) == STEPS
    assert (series[-1], sum(series)) == (2, 2)


def test_the_fine_ring_is_shown_until_it_is_full() -> None:
    trends = Trends(at(0))
    copied(trends, 0, STEP_S * STEPS - 1)
    assert trends.shown is trends.hour
    copied(trends, 0, STEP_S * STEPS)
    assert trends.shown is trends.day


def test_the_worst_state_of_a_step_counts() -> None:
    trends = Trends(at(0))
    for second, state in enumerate((NOT_SEEN, 50, DOWN, 60)):
        copied(trends, 0, second, state)
    copied(trends, 0, STEP_S, 61)
    assert trends.hour.states(SERVER) == [DOWN, 61]
    assert trends.hour.states(Addr("other:1")) == []


def test_files_that_rise_have_a_curve_while_they_do() -> None:
    trends = Trends(at(0))
    for second, rising in ((0, {"a": 3}), (1, {"a": 4}), (STEP_S, {"a": 9, "b": 1}), (2 * STEP_S, {"b": 2})):
        trends.add(Counters(), {}, rising, at(second))
        if second == STEP_S:
            assert list(trends.curves["a"]) == [4, 9]
    assert {name: list(curve) for name, curve in trends.curves.items()} == {"b": [1, 2]}
    trends.add(Counters(), {}, {f"f{n}": 1 for n in range(1_000)}, at(3 * STEP_S))
    assert len(trends.curves) == CURVES_KEPT


def test_how_servers_are_is_read_from_the_core() -> None:
    node = Node(files(5))
    assert set(server_states(node.core).values()) == {NOT_SEEN}
    node.grade()
    node.run(5_000)
    node.workers[node.destinations[0]].measures = False
    node.kill(node.destinations[1])
    node.run(130_000)
    found = server_states(node.core)
    assert found[node.destinations[1]] == DOWN
    assert found[node.destinations[0]] in (DISK_UNKNOWN, *range(101))


def test_a_share_of_the_sources_time_is_told_in_json() -> None:
    trends = Trends(at(0))
    trends.add(Counters(), {}, {}, at(0))
    trends.add(Counters(busy_ms=1000 * (STEP_S - 1)), {}, {}, at(STEP_S - 1))
    told = trends_json(trends, 2, at(STEP_S - 1))
    assert told["hour"]["sources_busy"] == [0.5]
    assert told["hour"]["step_s"] == STEP_S
