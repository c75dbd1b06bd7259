"""The pages: whatever a name contains is text, nothing is inline, and what matters is on them."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cfm.controller.explain.backlog import backlog_json
from cfm.controller.explain.holdings import held_by, page_json
from cfm.controller.explain.report import plan_json, status_json
from cfm.controller.explain.trends import Counters, Trends, server_states
from cfm.controller.explain.why import why_json
from cfm.controller.serve import pages
from cfm.controller.serve.html import tag
from cfm.controller.serve.pages.frame import STATIC_TYPES, static
from cfm.plan.view import Rules
from controller.node import Node, files
from controller.page_reading import Reading

EVIL = "<script>alert(1)</script>\"' &amp; \x1b[31m\u202e.mpg"
RISING = "F003.mpg"
NOW = "12:00:00"


@dataclass
class World:
    """A node, and everything that pages are made of."""

    node: Node
    status: dict[str, Any] = field(init=False)
    recent: list[dict[str, Any]] = field(init=False)
    trends: Trends = field(init=False)

    def __post_init__(self) -> None:
        node = self.node
        self.status = {**status_json(node.core, node.now), "notes": ["a note"], "progress": []}
        self.recent = [
            {"id": place, "at": node.now.wall_s, "event": one.event, "level": one.level, **one.facts}
            for place, one in enumerate(node.said)
        ]
        self.trends = Trends(node.now)
        for copied in (0, 50):
            self.trends.add(
                Counters(copied, copied, 10, 2 * copied, copied),
                server_states(node.core),
                node.core.state.hits.rising,
                node.now,
            )

    def why(self, name: str) -> dict[str, Any]:
        file = next((one for one in self.node.library if one.name == name), None)
        found = why_json(self.node.core, name, file, file.rank if file else None, self.node.now)
        return {**found, "exists": file is not None, "near": [] if file else [name]}

    def server(self, addr: str) -> dict[str, Any]:
        held = held_by(self.node.core, self.node.destinations[0], self.node.now)
        assert held is not None
        known = [file for file in self.node.library if file.name in held.names]
        sums = {"total": len(held.names), "known": len(known), "known_bytes": 1}
        return {**page_json(self.node.core, held, known, 0, sums), "addr": addr}

    def all_pages(self, name: str = RISING, server: str = "", text: str = "F00") -> dict[str, pages.Page]:
        status, core, now = self.status, self.node.core, self.node.now
        names = pages.names_of(status["servers"])
        server = server or self.node.destinations[0]
        events = {"about": None, "events": list(reversed(self.recent)), "before": "3"}
        found = {"files": [{"file": name, "rank": 1, "on": [server]}], "servers": [server], "more": True}
        settings = [
            {"key": text, "value": [text, text], "from": "file", "line": 3, "at_next_start": text},
            {"key": "remover.breaker_percent", "value": True, "from": "default", "line": None},
        ]
        backlog = backlog_json(core, now, 0, 3)
        backlog["rows"] = [{**row, "file": name, "on": [server]} for row in backlog["rows"]]
        return {
            "overview": pages.overview(status, self.trends, self.recent),
            "servers": pages.servers_page(status, 0, 2),
            "server": pages.server_page(self.server(server), status, self.trends, events, 0, 5, unique=False),
            "file": pages.file_page({**self.why(name), "looks_like": [name]}, names, now.wall_s),
            "backlog": pages.backlog_page(backlog, names, 3),
            "deletes": pages.deletes_page(status, plan_json(core, now), events),
            "history": pages.history_page(events, text, now.wall_s),
            "settings": pages.settings_page({"file": text, "settings": settings}),
            "search": pages.search_page(text, found, names),
            "refusal": pages.refusal_page(404, text),
        }


@pytest.fixture
def world() -> World:
    node = Node(files(40), disk_bytes=1000)
    node.grade()
    node.watch(F003__mpg=9)
    node.run(1500)
    return World(node)


def html(page: pages.Page) -> str:
    return pages.document(page, NOW)


def reading(page: pages.Page) -> Reading:
    return Reading(html(page))


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


# ── what is on them ─────────────────────────────────────────────────────────────────────────────────────


def test_the_overview_shows_what_goes_on(world: World) -> None:
    text = reading(world.all_pages()["overview"]).text
    status = world.status
    assert status["verdict"].replace("`", "") in text, "commands in it are code"
    assert status["transfers"]
    assert all(f"{one['file']}{one['rank']:,}127.0.1." in text for one in status["transfers"])
    assert all(f"127.0.2.{number}" in text for number in (1, 2))
    assert "on no destination; with it that disk is 2" in text
    assert "50 B copied 50 B freed" in text
    assert "67 % of 150" in text
    assert "40 of 40 graded files are known" in text


def test_a_condition_tells_what_is_so_where_for_how_long_and_what_to_do(world: World) -> None:
    servers = [f"10.0.0.{number}:8888" for number in range(9)]
    world.status["conditions"] = [condition(servers=servers, since_at=world.status["at"] - 180)]
    text = reading(world.all_pages()["overview"]).text
    assert "degraded breakerfor 3 minutes · 5 B · 10.0.0.0:8888, " in text
    assert "and 1 moreToo much at s:1.What to do: Cfm confirm." in text
    world.status["conditions"] = [condition(remedy="run `cfm confirm` or `x")]
    page = reading(world.all_pages()["overview"])
    assert "Run `cfm confirm` or `x." in page.text, "where they do not pair they are what they are"


def test_commands_in_a_text_are_code_and_columns_without_anything_are_left_out(world: World) -> None:
    world.status["conditions"] = [condition(remedy="run `cfm confirm`")]
    page = world.all_pages()["overview"].body.html()
    assert "Run <code>cfm confirm</code>." in page
    assert "Receives" in page
    for server in world.status["servers"]:
        server["receiving"] = 0
    assert "Receives" not in world.all_pages()["overview"].body.html()


@pytest.mark.parametrize(
    ("health", "mood"), [("ok", "good"), ("busy", "good"), ("degraded", "held"), ("critical", "bad")]
)
def test_the_health_gives_the_verdict_its_colour(world: World, health: str, mood: str) -> None:
    """Whatever its line says."""
    world.status.update(health=health, verdict="Paused at trouble")
    assert f"verdict {mood}" in reading(world.all_pages()["overview"]).values("class")


def test_the_health_line_says_how_far_long_work_is(world: World) -> None:
    world.status.update(verdict="Idle", progress=[{"text": "12 of 300 servers listed"}])
    assert "Idle; 12 of 300 servers listed" in reading(world.all_pages()["overview"]).text


def test_a_server_that_is_down_says_why_and_comes_first(world: World) -> None:
    world.node.kill(world.node.destinations[1])
    world.node.run(70_000)
    down = World(world.node)
    shown = reading(down.all_pages()["servers"])
    assert "connection refused" in shown.text
    assert (
        next(path for path in shown.values("href") if path.startswith("/server/")) == "/server/127.0.2.2:8888"
    )


def test_a_server_tells_its_files_by_rank_and_what_happened_there(world: World) -> None:
    page = reading(world.all_pages()["server"])
    held = [
        file
        for file in world.node.library
        if file.name in world.node.workers[world.node.destinations[0]].files
    ]
    assert held
    assert all(f"{file.rank:,}{file.name}" in page.text for file in held)
    assert f"copied {held[0].name} to" in page.text
    assert "/server/127.0.2.1:8888?only=here" in page.values("href")


def test_a_file_says_server_by_server_why_it_is_not_copied() -> None:
    """With numbers: what it needs, what room there is, and the worst file that may go for it."""
    node = Node(files(40), disk_bytes=1000, rules=Rules(minimum_stay_ms=0))
    node.grade()
    node.run(60_000)
    world = World(node)
    left_out = world.node.library[-1].name
    text = reading(world.all_pages(left_out)["file"]).text
    assert "no: it needs 100 B, there is room for 0 B; the worst file that may go there is rank" in text
    assert "better than this one" in text
    assert "Wanted" in text
    assert "Placed" in reading(world.all_pages(world.node.library[0].name)["file"]).text


def test_a_name_that_nobody_knows_says_so_and_which_was_meant(world: World) -> None:
    page = reading(world.all_pages("F03.mpg")["file"])
    assert "UnknownNo file is called so" in page.text
    assert "Did you meanF03.mpg" in page.text


def test_a_long_list_is_sent_in_pages(world: World) -> None:
    page = reading(world.all_pages()["backlog"])
    assert "1 to 3 of" in page.text
    assert "/backlog?from=3" in page.values("href")
    empty = {"total": 0, "listed": 0, "offset": 0, "rows": []}
    assert "Every wanted file is on a destination" in html(pages.backlog_page(empty, {}, 100))


def test_on_a_telephone_the_reason_stands_below_the_file(world: World) -> None:
    """Its column would lie beyond the edge, and each row would be as high as a reason that nobody sees."""
    page = html(world.all_pages()["backlog"])
    (first, *_) = re.findall(r'<small class="narrow">([^<]+)</small>', page)
    assert f'<td class="spare">{first}</td>' in page
    style = static("style.css").decode()
    assert "td .narrow { display: none; }" in style
    assert "td .narrow { display: block; }" in style.partition("@media (max-width: 720px)")[2]


def test_settings_are_told_with_the_place_that_they_come_from(world: World) -> None:
    """A list is its values, one below the other, and nothing else."""
    page = html(world.all_pages(text="AD_")["settings"])
    assert "<td><code>AD_</code><br><code>AD_</code></td><td>line 3</td>" in page
    assert "<code>on</code>" in page
    assert '<code class="setting">remover.<wbr>breaker_<wbr>percent</code>' in page


def test_a_strip_shows_three_hundred_disks_and_the_table_those_worth_a_look(world: World) -> None:
    one = next(server for server in world.status["servers"] if "destination" in server["role"])
    world.status["servers"] = [
        {**one, "addr": f"10.0.{place // 100}.{place % 100}:8888", "used_percent": 95 if place == 77 else 50}
        for place in range(300)
    ]
    page = html(world.all_pages()["overview"])
    assert page.count('id="disk-') == 300
    rows = re.findall(r'<tr id="disks-\d+"><td><a class="server" href="/server/([^"]+)"', page)
    assert len(rows) == 12
    assert rows[0] == "10.0.0.77:8888"
    assert '<span class="key down">down</span>' in page, "a colour has other names in the dark"


def test_a_status_before_anything_is_known_is_shown() -> None:
    page = reading(World(Node(files(3))).all_pages()["overview"])
    assert "no valid grade and history files" in page.text
    assert "verdict bad" in page.values("class")


# ── how they are made ───────────────────────────────────────────────────────────────────────────────────


def test_nothing_that_a_name_says_is_markup(world: World) -> None:
    status = world.status
    status.update(verdict=EVIL, notes=[EVIL])
    status["conditions"] = [condition(name=EVIL, level=EVIL, text=EVIL, remedy=EVIL, servers=[EVIL, EVIL])]
    status["snapshot"]["why"] = EVIL
    status["rising"] = [{"file": EVIL, "hits": 3, "rank": 1}]
    status["deletes"] = [
        {"order": "1", "file": EVIL, "server": EVIL, "kind": EVIL, "status": EVIL, "reason": EVIL}
    ]
    pause = {"source": EVIL, "destination": EVIL, "failures": 2, "why": EVIL, "until_at": 1}
    for server in status["servers"]:
        server.update(addr=EVIL, why=EVIL, state=EVIL, version=EVIL, pauses=[pause], transfer=EVIL)
    for transfer in status["transfers"]:
        transfer.update(file=EVIL, source=EVIL, destination=EVIL, reason=EVIL)
    world.recent.append({"id": 1, "at": 1, "event": EVIL, "level": EVIL, "file": EVIL, EVIL: EVIL})
    for name, page in world.all_pages(EVIL, EVIL, EVIL).items():
        text = html(page)
        shown = Reading(text)
        assert shown.tags.count("script") == 1, name
        assert not re.search(r"[\x00-\x09\x0b-\x1f\u202e]", text), name
        assert all(re.fullmatch(r"[a-z][a-z0-9_-]*", given) for given in shown.values("id")), name
        assert not [value for value in shown.values("href") if "<" in value or '"' in value], name
        assert "alert(1)" in shown.text or name == "servers", name


def test_nothing_is_inline_everything_is_closed_and_no_id_comes_twice(world: World) -> None:
    """The policy of `web.answers` allows our script and our style, and nothing in the page itself."""
    for name, made in world.all_pages().items():
        page = reading(made)
        assert not page.open, name
        assert not {"style", "iframe", "img", "object"} & set(page.tags), name
        assert not [given for given, _ in page.attributes if given == "style" or given.startswith("on")], name
        links = page.values("href") + page.values("src") + page.values("action")
        assert all(link.startswith(("/", "#")) and not link.startswith("//") for link in links), name
        assert {"/static/style.css", "/static/live.js"} <= set(links), name
        assert max(Counter(page.values("id")).values()) == 1, name


def test_every_page_has_a_search_box_a_heading_and_landmarks(world: World) -> None:
    for name, made in world.all_pages().items():
        page = reading(made)
        assert page.tags.count("h1") == 1, name
        assert page.tags.count("main") == page.tags.count("header") == 1, name
        assert "search" in page.values("id"), name
        levels = [int(one[1]) for one in page.tags if re.fullmatch("h[1-6]", one)]
        assert all(below <= above + 1 for above, below in itertools.pairwise(levels)), name


def test_each_part_of_a_bar_is_an_element_of_its_own(world: World) -> None:
    """One in another is not drawn."""
    assert "></rect><rect" in html(world.all_pages()["overview"])


def test_style_and_script_are_dark_and_light_and_load_nothing_from_elsewhere() -> None:
    style = static("style.css").decode()
    assert "prefers-color-scheme: dark" in style
    assert style.count("{") == style.count("}")
    for name in STATIC_TYPES:
        text = static(name).decode().replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"url\(|@import|https?://|eval\(", text), name


@given(st.text())
def test_text_and_attributes_stay_what_they_are(text: str) -> None:
    page = Reading(tag("p", text, attrs={"title": text}))
    assert page.tags == ["p"]
    assert len(page.attributes) == 1
