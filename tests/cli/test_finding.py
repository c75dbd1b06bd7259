"""The views of `cfm backlog`, `cfm search` and `cfm trends`."""

from __future__ import annotations

import io

import pytest
from rich.console import Console, RenderableType

from cfm.cli.render import confirm_view
from cfm.cli.render.finding import backlog_view, search_view, trends_view
from cfm.cli.render.words import clock_words
from cfm.controller.explain.backlog import backlog_json
from cfm.controller.explain.trends import Counters, Trends, trends_json
from cfm.model import Now
from controller.node import Node, files

EVIL = "[red]a[/red]\x1b[31m\n\u202eb.mpg"


def shown(view: RenderableType, width: int = 80) -> str:
    out = io.StringIO()
    Console(file=out, width=width, force_terminal=False, highlight=False).print(view)
    return out.getvalue()


def test_the_backlog_says_why_each_file_is_not_placed() -> None:
    node = Node(files(40), disk_bytes=1000)
    node.grade()
    node.run(60_000)
    text = shown(backlog_view(backlog_json(node.core, node.now, 0, 5)), 120)
    assert text.startswith("22 wanted files are on no destination")
    assert "F019.mpg" in text
    assert "it needs 100 B; the largest room is 0 B" in text
    assert "… and 17 more" in text


@pytest.mark.parametrize("width", [80, 100, 120])
def test_a_file_name_is_whole_on_one_line(width: int) -> None:
    """It can be copied from a terminal, and found with grep."""
    name = "MXCI5B4LSGL1000051_K20180531174730.mpg"
    row = {"file": name, "rank": 1, "hits": 2, "size_bytes": 3, "why": "it needs room " * 5}
    deed = {**row, "source": "10.0.2.200:8888", "destination": "10.0.2.201:8888", "reason": row["why"]}
    deed |= {"server": "10.0.2.200:8888", "kind": "space"}
    held = {"held": [{"server": "10.0.2.200:8888", "would_free_bytes": 3}], "would_delete": [deed]}
    views = (
        backlog_view({"total": 1, "offset": 0, "rows": [row]}),
        search_view(
            {"text": "M", "files": [{**row, "on": ["10.0.2.200:8888"]}], "servers": [], "more": False}
        ),
        confirm_view(held),
    )
    for view in views:
        text = shown(view, width)
        assert name in text
        assert "10.0.2.200:8888" in text or "it needs room" in text


def test_a_search_tells_where_things_are_and_names_play_no_tricks() -> None:
    hit = {"file": EVIL, "rank": 7, "on": ["s:1", "s:2"]}
    other: dict[str, object] = {"file": "b.mpg", "rank": None, "on": []}
    text = shown(search_view({"text": "b", "files": [hit, other], "servers": ["b:1"], "more": True}), 200)
    first, second = (line.split() for line in text.splitlines() if "b.mpg" in line)
    assert (first[0], first[-2:]) == ("7", ["s:1,", "s:2"])
    assert (second[0], second[-2:]) == ("–", ["no", "destination"])
    assert "only the first 2" in text
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "No graded file and no server has x" in shown(
        search_view({"text": "x", "files": [], "servers": [], "more": False})
    )


@pytest.mark.parametrize("hours", [1, 3])
def test_trends_are_told_by_the_hour_the_newest_first(hours: int) -> None:
    trends, minute_ms = Trends(Now(0, 0)), 60_000
    for minute in range(60 * hours):
        reading = Counters(minute * 10**9, 0, minute * 30_000, 2 * minute, minute)
        trends.add(reading, {}, {}, Now(minute * minute_ms, minute * minute_ms))
    now = Now(60 * hours * minute_ms - 1, 60 * hours * minute_ms - 1)
    lines = shown(trends_view(trends_json(trends, 1, now))).splitlines()
    told = [line for line in lines if "GB" in line]
    assert len(told) == hours
    assert "67 % of 1" in told[0]
    assert "50 %" in told[-1] or "49 %" in told[-1]


def test_a_cfm_that_has_just_started_tells_from_when_and_of_no_time_before() -> None:
    """It was 100 s in a step of 300 s, and its one source was busy for 90 s of them."""
    start = Now(250_000, 1_000_000_250_000)
    trends = Trends(start)
    trends.add(Counters(), {}, {}, start)
    now = Now(350_000, 1_000_000_350_000)
    trends.add(Counters(busy_ms=90_000), {}, {}, now)
    told = trends_json(trends, 1, now)
    assert told["day"]["lasted_s"] == [50, 50]
    row = shown(trends_view(told)).splitlines()[-2]
    assert clock_words(start.wall_s) in row
    assert "50 %" in row, "all of it fell into the second step, which cannot be more than busy"
