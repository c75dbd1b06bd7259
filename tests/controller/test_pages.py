"""The pages: whatever a name contains is text, nothing is inline, and what matters is on them."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cfm.controller.explain.report import status_json
from cfm.controller.serve import pages
from cfm.controller.serve.html import tag
from cfm.wire import task_to_old_json
from controller.node import Node, files

EVIL = "<script>alert(1)</script>\"' &amp; \x1b[31m\u202e.mpg"
RISING = "F003.mpg"


def status_of(node: Node) -> dict[str, Any]:
    return status_json(node.core, node.now)


@pytest.fixture
def node() -> Node:
    node = Node(files(40), disk_bytes=1000)
    node.grade()
    node.watch(F003__mpg=9)
    node.run(1500)
    return node


class Page(HTMLParser):
    """What a browser would see of it."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes.extend(attrs)
        if tag not in ("meta", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def condition(**more: Any) -> dict[str, Any]:
    made = {
        "name": "breaker",
        "level": "degraded",
        "text": "too much at s:1",
        "remedy": "cfm confirm",
        "servers": ["s:1"],
        "files": None,
        "bytes": 5,
        "since_at": None,
        "holds": True,
    }
    return {**made, **more}


def all_pages(status: dict[str, Any], tasks: list[dict[str, Any]]) -> list[str]:
    rows = [{"rank": 1, "file": EVIL, "size_bytes": 5, "hits": 2, "on": [EVIL]}]
    return [
        pages.index_page(status),
        pages.dashboard_page(status, tasks),
        pages.heartbeat_page(status),
        pages.filemetas_page(rows, 7),
    ]


def test_the_pages_show_what_goes_on(node: Node) -> None:
    status = status_of(node)
    index = Page(pages.index_page(status)).text
    assert status["verdict"] in index
    assert RISING in index
    assert all(server["addr"] in index for server in status["servers"] if "destination" in server["role"])
    tasks = [task_to_old_json(task) for task in node.core.state.tasks.shown()]
    dashboard = Page(pages.dashboard_page(status, tasks)).text
    assert all(task["id"] in dashboard and task["file_name"] in dashboard for task in tasks)
    heartbeat = Page(pages.heartbeat_page(status)).text
    assert all(server["addr"] in heartbeat for server in status["servers"])


def test_a_condition_tells_what_is_so_where_for_how_long_and_what_to_do(node: Node) -> None:
    status = status_of(node)
    servers = [f"10.0.0.{number}:8888" for number in range(9)]
    status["conditions"] = [condition(servers=servers, since_at=status["at"] - 180)]
    text = Page(pages.index_page(status)).text
    assert "breaker: too much at s:1. What to do: cfm confirm. for 3 minutes; 10.0.0.0:8888, " in text
    assert servers[-1] in text


@pytest.mark.parametrize(
    ("health", "mood"), [("ok", "good"), ("busy", "good"), ("degraded", "held"), ("critical", "bad")]
)
def test_the_health_gives_the_verdict_its_colour(node: Node, health: str, mood: str) -> None:
    """Whatever its line says."""
    status = {**status_of(node), "health": health, "verdict": "Paused at trouble"}
    assert ("class", f"verdict {mood}") in Page(pages.index_page(status)).attributes


def test_a_server_that_is_down_says_why(node: Node) -> None:
    node.kill(node.destinations[0])
    node.run(70_000)
    shown = Page(pages.heartbeat_page(status_of(node))).text
    assert "connection refused" in shown


def test_a_backlog_that_is_cut_says_so() -> None:
    rows = [{"rank": 1, "file": "a.mpg", "size_bytes": 5, "hits": 2, "on": []}]
    assert "the first 1 of 7" in pages.filemetas_page(rows, 7)
    assert "Every wanted file is on a destination" in pages.filemetas_page([], 0)


def test_nothing_that_a_name_says_is_markup(node: Node) -> None:
    status = status_of(node)
    status["verdict"] = EVIL
    status["notes"] = [EVIL]
    status["conditions"] = [condition(name=EVIL, level=EVIL, text=EVIL, remedy=EVIL, servers=[EVIL, EVIL])]
    status["snapshot"]["why"] = EVIL
    status["rising"] = [{"file": EVIL, "hits": 3, "rank": 1}]
    status["deletes"] = [
        {"order": "1", "file": EVIL, "server": EVIL, "kind": EVIL, "status": EVIL, "reason": EVIL}
    ]
    for server in status["servers"]:
        server.update(addr=EVIL, why=EVIL, state=EVIL, version=EVIL)
    for transfer in status["transfers"]:
        transfer.update(file=EVIL, source=EVIL, destination=EVIL, reason=EVIL)
    task = dict.fromkeys(("id", "status", "file_name", "src_addr", "dst_addr"), EVIL)
    for text in all_pages(status, [{**task, "ctime": 1, "grade": 2}]):
        page = Page(text)
        assert "script" not in page.tags
        assert "alert(1)" in page.text
        assert not re.search(r"[\x00-\x09\x0b-\x1f\u202e]", text)


def test_nothing_is_inline_and_everything_is_closed(node: Node) -> None:
    """The policy of `web.answers` allows our stylesheet, and nothing in the page itself."""
    for text in all_pages(status_of(node), []):
        page = Page(text)
        assert not page.open
        assert not {"script", "style", "iframe", "img", "form"} & set(page.tags)
        assert not [name for name, _ in page.attributes if name == "style" or name.startswith("on")]
        links = [value for name, value in page.attributes if name in ("href", "src")]
        assert all(link is not None and link.startswith("/") for link in links)
        assert "/static/style.css" in links


def test_bars_draw_use_and_limit(node: Node) -> None:
    """Each part of a bar is an element of its own: one in another is not drawn."""
    assert '"whole"></rect><rect' in pages.index_page(status_of(node)).replace(' width="100" height="10"', "")


def test_a_status_before_anything_is_known_is_shown() -> None:
    node = Node(files(3))
    page = Page(pages.index_page(status_of(node)))
    assert "no valid grade and history files" in page.text
    assert ("class", "verdict bad") in page.attributes


def test_the_stylesheet_is_dark_and_light_and_loads_nothing() -> None:
    assert "prefers-color-scheme: dark" in pages.STYLE
    assert "url(" not in pages.STYLE
    assert "@import" not in pages.STYLE
    assert pages.STYLE.count("{") == pages.STYLE.count("}")


@given(st.text())
def test_text_and_attributes_stay_what_they_are(text: str) -> None:
    page = Page(tag("p", text, attrs={"title": text}))
    assert page.tags == ["p"]
    assert len(page.attributes) == 1
