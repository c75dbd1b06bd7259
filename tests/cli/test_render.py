"""The terminal views: what matters is there, at any width, and no name can play with the terminal."""

from __future__ import annotations

import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console, RenderableType

from cfm.cli import render
from cfm.cli.output import as_text
from cfm.cli.render.settings import reload_view
from cfm.cli.render.status import transfers
from cfm.controller.explain.report import plan_json, status_json
from cfm.controller.explain.why import why_json
from cfm.plan import refusals
from controller.node import Node, files

EVIL = "[red]a[/red]\x1b[31m\n\u202eb.mpg"
WIDTHS = (80, 100, 160)


def shown(view: RenderableType, width: int = 100) -> str:
    out = io.StringIO()
    Console(file=out, width=width, force_terminal=False, highlight=False).print(view)
    return out.getvalue()


@pytest.fixture
def node() -> Node:
    node = Node(files(60), disk_bytes=1000)
    node.grade()
    node.watch(F003__mpg=9)
    node.run(1500)
    return node


def status_of(node: Node) -> dict[str, Any]:
    return status_json(node.core, node.now)


def events_of(node: Node) -> list[dict[str, Any]]:
    return [{"at": node.now.wall_s, "event": s.event, "level": s.level, **s.facts} for s in node.said]


# ── status ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("width", WIDTHS)
def test_status_shows_verdict_servers_copies_and_decisions(node: Node, width: int) -> None:
    status = status_of(node)
    text = shown(render.status_view(status, events_of(node)), width)
    assert all(len(line) <= width for line in text.splitlines())
    words = " ".join(text.split())
    assert words.startswith(f"● health {status['health']} · now: ")
    for condition in status["conditions"]:
        assert words.count(condition["text"]) == 1, "what is so is told once"
    assert all(server["addr"] in text for server in status["servers"])
    assert all(transfer["file"][:4] in text for transfer in status["transfers"])
    assert "F003.mpg (9 hits)" in text
    assert "copied F003.mpg to" in text
    assert "copy starts" not in text


def test_status_shows_how_far_long_work_is(node: Node) -> None:
    under_way = [{"text": "12 of 300 servers listed"}, {"text": "planning for 5 files"}]
    text = shown(render.status_view({**status_of(node), "progress": under_way}))
    assert text.splitlines()[1] == "12 of 300 servers listed; planning for 5 files"


def condition(node: Node, **more: Any) -> dict[str, Any]:
    made = {
        "name": "breaker",
        "level": "degraded",
        "text": "too much at s:1",
        "remedy": "cfm confirm",
        "servers": ["s:1"],
        "files": None,
        "bytes": 5,
        "since_at": node.now.wall_s - 125,
        "holds": True,
    }
    return {**made, **more}


def test_a_condition_tells_what_is_so_for_how_long_and_what_to_do(node: Node) -> None:
    status = status_of(node)
    status["conditions"] = [condition(node)]
    text = shown(render.status_view(status))
    assert "degraded breaker: too much at s:1 (for 2 min 5 s) → cfm confirm" in text


@pytest.mark.parametrize(
    ("health", "colour"), [("ok", "32"), ("busy", "32"), ("degraded", "33"), ("critical", "31")]
)
def test_the_health_gives_the_verdict_its_colour(node: Node, health: str, colour: str) -> None:
    """Whatever its line says."""
    status = {**status_of(node), "health": health, "verdict": "Paused at trouble"}
    out = io.StringIO()
    Console(file=out, width=100, force_terminal=True, color_system="standard").print(
        render.status_view(status)
    )
    assert f"\x1b[{colour}m● \x1b[0m" in out.getvalue()


def test_a_dead_server_is_unknown_and_not_empty(node: Node) -> None:
    node.kill(node.destinations[0])
    node.run(70_000)
    lines = shown(render.status_view(status_of(node)), 160).splitlines()
    line = next(text for text in lines if text.split()[:1] == [node.destinations[0]])
    assert "down" in line
    assert "?" in line
    assert "refused" in line


COPYING: dict[str, Any] = {
    "status": "working",
    "file": "MXCI5B4LSGL1000051_K20180531174730.mpg",
    "rank": 7,
    "source": "127.0.1.1:8888",
    "destination": "127.0.2.1:8888",
    "size_bytes": 2_000_000,
    "bytes_done": 500_000,
    "received": False,
    "elapsed_s": 5,
    "rate_bps": 4_000_000,
}
"""A copy under way, as the status tells of it."""


def test_progress_rate_and_time_left() -> None:
    transfer = {**COPYING, "task": "1", "file": "a.mpg", "hits": 0, "reason": ""}
    node = Node(files(1))
    status = {**status_of(node), "transfers": [transfer]}
    line = next(text for text in shown(render.status_view(status)).splitlines() if "a.mpg" in text)
    assert "127.0.1.1 → 127.0.2.1" in line
    assert "━" * 5 + "╌" * 15 in line
    assert "4.0 Mbit/s" in line
    assert line.rstrip().endswith("3 s")
    early = {**status, "transfers": [{**transfer, "elapsed_s": 1}]}
    line = next(text for text in shown(render.status_view(early)).splitlines() if "a.mpg" in text)
    assert line.rstrip().endswith("4.0 Mbit/s"), "the first reports tell little"


# ── plan, why, confirm ──────────────────────────────────────────────────────────────────────────────────


def test_plan_tells_what_would_happen_and_why() -> None:
    node = Node(files(20), sources=3, disk_bytes=1000)
    node.grade()
    node.run(30_000)
    plan = plan_json(node.core, node.now)
    plan["copies"] = [
        {
            "file": "F001.mpg",
            "rank": 1,
            "hits": 999,
            "size_bytes": 1_500_000,
            "source": "127.0.1.1:8888",
            "destination": "127.0.2.1:8888",
            "reason": "wanted: rank 1, on no destination",
        }
    ]
    for width in (80, 120):
        text = " ".join(shown(render.plan_view(plan), width).split())
        assert text.startswith("● ")
        assert "would copy: 1 file, 1.5 MB" in text
        assert "would delete: nothing" in text
        assert "F001.mpg" in text
        assert "wanted: rank 1" in text
        assert plan["refusals_total"] > 0
        assert f"refused: {plan['refusals_total']}" in text


def test_why_tells_the_reasons(node: Node) -> None:
    file = node.library[2]
    why = why_json(node.core, file.name, file, file.rank, node.now)
    why["story"] = events_of(node)
    text = " ".join(shown(render.why_view(why), 160).split())
    assert text.startswith("F003.mpg")
    assert f"Not copied (already_placed): {refusals.ALREADY_PLACED.text}" in text
    assert f"Not deleted on {node.holders('F003.mpg')[0]} (" in text
    assert "F003.mpg rises: 9 hits" in text


def test_why_of_a_name_that_nobody_knows() -> None:
    node = Node(files(1))
    text = shown(render.why_view(why_json(node.core, "x.mpg", None, None, node.now)))
    assert "not graded" in text
    assert "no story: " in text


def test_confirm_shows_what_would_go() -> None:
    delete = {
        "file": "a.mpg",
        "server": "s:1",
        "rank": 9,
        "hits": 0,
        "size_bytes": 5,
        "kind": "space",
        "reason": "space",
    }
    held = {"held": [{"server": "s:1", "would_free_bytes": 7_000_000}], "would_delete": [delete]}
    text = shown(render.confirm_view(held))
    assert "s:1: up to 7.0 MB would be deleted" in text
    assert "a.mpg" in text
    assert "nothing to confirm" in shown(render.confirm_view({"held": [], "would_delete": []}))


def test_accept_shows_what_is_rejected_beside_the_last_good() -> None:
    numbers = {"graded_files": 40, "history_files": 3000, "known_files": 39}
    rejected = {"id": "a-b", **numbers, "why": "less than half of it", "can_be_accepted": True}
    found = {
        "in_force": None,
        "last_good": {"graded_files": 24000, "history_files": 3000, "known_files": 2900},
        "rejected": rejected,
        "files_on_destinations": 1234,
    }
    text = shown(render.accept_view(found))
    assert "less than half of it" in text
    assert "24,000" in text
    assert "1,234 files lie on the destinations" in text
    broken = {**found, "rejected": {**rejected, "can_be_accepted": False}}
    assert "cannot be accepted" in shown(render.accept_view(broken))
    assert "nothing to accept" in shown(render.accept_view({**found, "rejected": None}))


# ── names ───────────────────────────────────────────────────────────────────────────────────────────────


def test_no_name_plays_with_the_terminal(node: Node) -> None:
    status, plan = status_of(node), plan_json(node.core, node.now)
    status["verdict"] = plan["verdict"] = EVIL
    evil = condition(node, name=EVIL, level=EVIL, text=EVIL, remedy=EVIL, servers=[EVIL])
    status["conditions"] = plan["conditions"] = [evil]
    status["rising"] = [{"file": EVIL, "hits": 1, "rank": 1}]
    status["backlog"]["next"] = [EVIL]
    for transfer in status["transfers"]:
        transfer.update(file=EVIL, source=EVIL, destination=EVIL)
    for server in (*status["servers"], *plan["servers"]):
        server.update(addr=EVIL, why=EVIL, state=EVIL)
    for refused in plan["refusals"]:
        refused.update(file=EVIL, server=EVIL, reason=EVIL, text=EVIL)
    why = why_json(node.core, EVIL, None, None, node.now)
    event = {"at": 1, "event": "copied file", "file": EVIL, "server": EVIL, "reason": EVIL}
    views = (
        render.status_view(status, [event, {"at": 1, "event": EVIL, EVIL: EVIL}]),
        render.plan_view(plan),
        render.why_view(why),
        render.confirm_view({"held": [{"server": EVIL, "would_free_bytes": 1}], "would_delete": []}),
    )
    for view in views:
        text = shown(view, 200)
        assert "[red]a" in text
        assert "\x1b" not in text
        assert "\u202e" not in text


@given(
    st.dictionaries(st.text(max_size=5), st.text(max_size=9) | st.integers(), max_size=4), st.text(max_size=9)
)
def test_any_event_has_words(facts: dict[str, Any], name: str) -> None:
    assert isinstance(render.event_words({"at": 0, **facts, "event": name}), str)


def test_a_known_event_without_its_facts_is_told_plainly() -> None:
    assert (
        render.event_words({"at": 0, "event": "server is down", "server": "a"}) == "server is down: server a"
    )


# ── words ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("size_bytes", "words"),
    [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (450_474, "450 kB"), (2 * 10**15, "2.0 PB")],
)
def test_sizes(size_bytes: int, words: str) -> None:
    assert render.size_words(size_bytes) == words


@pytest.mark.parametrize(
    ("seconds", "words"), [(0, "0 s"), (59, "59 s"), (61, "1 min 1 s"), (7500, "2 h 5 min"), (172_800, "2 d")]
)
def test_durations(seconds: int, words: str) -> None:
    assert render.time_words(seconds) == words


def test_why_tells_server_by_server_why_a_file_is_not_copied_there() -> None:
    node = Node(files(40), disk_bytes=1000)
    node.grade()
    node.run(60_000)
    file = node.library[-1]
    text = shown(render.why_view(why_json(node.core, file.name, file, file.rank, node.now)), 200)
    for addr in node.destinations:
        assert f"{addr}  it needs 100 B, there is room for 0 B" in text


def test_a_condition_that_is_folded_stands_below_itself(node: Node) -> None:
    status = {**status_of(node), "conditions": [condition(node, text="word " * 30)]}
    lines = [line for line in shown(render.status_view(status), 80).splitlines() if "word" in line]
    assert len(lines) > 1
    assert all(line.startswith("degraded breaker" if not place else " " * 9 + "word")
               for place, line in enumerate(lines))  # fmt: skip


def test_why_names_the_server_that_may_have_the_file() -> None:
    node = Node(files(6), disk_bytes=1000)
    node.grade()
    node.run(60_000)
    file = node.library[0]
    (holder,) = node.holders(file.name)
    node.kill(holder)
    node.run(120_000)
    words = shown(render.why_view(why_json(node.core, file.name, file, file.rank, node.now)), 200)
    assert f"(holder_unknown): it may be on {holder}, whose file list is not known" in words
    assert f"{holder}  it does not answer; it may have this file" in words
    assert "no destination\n" not in words


def test_why_of_a_placed_file_promises_no_room_elsewhere() -> None:
    node = Node(files(40), disk_bytes=1000)
    node.grade()
    node.run(60_000)
    file = node.library[0]
    (holder,) = node.holders(file.name)
    places = why_json(node.core, file.name, file, file.rank, node.now)["places"]
    words = {one["server"]: one["text"] for one in places}
    assert words.pop(holder) == "it is there"
    assert set(words.values()) == {f"one copy is enough: it is on {holder}"}


def test_of_three_hundred_servers_a_terminal_shows_those_worth_a_look(node: Node) -> None:
    status = status_of(node)
    one = next(server for server in status["servers"] if "destination" in server["role"])
    fine = {**one, "state": "up", "why": None, "used_percent": 50, "limit_percent": 90}
    many = [{**fine, "addr": f"10.0.{n // 100}.{n % 100}:8888"} for n in range(300)]
    many[177] = {**many[177], "state": "down", "why": "Connection refused"}
    many[288] = {**many[288], "used_percent": 95}
    text = shown(render.status_view({**status, "servers": many}), 80)
    rows = [line.split()[0] for line in text.splitlines() if line.startswith(" 10.0.")]
    assert rows[:2] == ["10.0.2.88:8888", "10.0.1.77:8888"]
    assert len(rows) == 20
    assert "… and 280 more servers, none in trouble (`cfm server` shows all)" in text
    assert "10.0.0.99:8888" in as_text(render.status_view({**status, "servers": many})), "a pipe gets all"


@pytest.mark.parametrize(
    ("width", "also"), [(80, ()), (100, ()), (130, ("size", "left")), (160, ("size", "rate", "left"))]
)
def test_of_a_copy_the_name_comes_before_what_is_only_good_to_know(width: int, also: tuple[str, ...]) -> None:
    """Names that are cut begin alike: nobody could tell one copy from the other."""
    text = shown(transfers([COPYING], width), width)
    assert COPYING["file"] in text
    assert tuple(name for name in ("size", "rate", "left") if name in text.split()) == also


# ── settings ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("files_back", "words"),
    [
        (0, []),
        (1, ["1 file (100 B) that was deleted for space comes back: F1.mpg"]),
        (
            4,
            ["4 files (400 B) that were deleted for space come back: F1.mpg, F2.mpg and 2 more"],
        ),
    ],
)
def test_a_reload_shows_what_comes_back(files_back: int, words: list[str]) -> None:
    nothing = {"files": 0, "bytes": 0}
    first = [f"F{i}.mpg" for i in range(1, min(files_back, 2) + 1)]
    now = {
        "copies": nothing,
        "deletes": nothing,
        "held": [],
        "over_limit": [],
        "back": {**nothing, "first": []},
    }
    then = {**now, "back": {"files": files_back, "bytes": 100 * files_back, "first": first}}
    change = {"key": "remover.x", "from": 50, "to": 90, "needs_restart": False}
    told = {"reloaded": False, "changes": [change], "plan": {"now": now, "then": then}}
    lines = shown(reload_view(told)).splitlines()
    assert [line.strip() for line in lines if "back" in line] == words
