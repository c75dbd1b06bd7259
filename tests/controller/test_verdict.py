"""The verdict: its level and its facts are true in each case, and its line is short, with the worst first."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cfm.controller.decide import events as ev
from cfm.controller.explain import report
from cfm.controller.explain.condition import Condition, Severity
from cfm.controller.explain.conditions import WORST_FIRST
from cfm.controller.explain.health import Activity, Doing, Health
from cfm.controller.explain.verdict import LINE_LENGTH, Verdict, line_of, verdict
from cfm.controller.explain.words import at_servers, short_names
from cfm.fleet.answers import NO_TLS
from cfm.model import Addr, Failure, SnapshotFacts, Trouble
from cfm.plan import refusals
from cfm.plan.view import Rules
from controller import worlds
from controller.node import OLD, OURS, Node, files
from controller.worlds import SECOND_MS


def verdict_of(node: Node) -> Verdict:
    return verdict(node.core, node.core.last_round, node.now)


class Case(NamedTuple):
    make: Callable[[], Node]
    health: Health
    doing: Doing
    conditions: list[str]
    line: str


STOPPED = "cfm is stopped because it has no valid grade and history files"
SEE = "(see `grade_info_file` and `hitcount_history_file` in cfm.yml)"
CASES = [
    Case(worlds.unread, Health.CRITICAL, Doing.STOPPED, ["no_metadata"], f"{STOPPED}: not read yet {SEE}."),
    Case(
        worlds.rejected,
        Health.CRITICAL,
        Doing.STOPPED,
        ["no_metadata"],
        f"{STOPPED}: the history is empty {SEE}.",
    ),
    Case(
        worlds.newest_rejected,
        Health.DEGRADED,
        Doing.IDLE,
        ["metadata_rejected"],
        "The newest grade and history files are rejected: the history is empty "
        "(repair them; cfm goes on with the last good ones).",
    ),
    Case(
        worlds.store_full,
        Health.CRITICAL,
        Doing.STOPPED,
        ["state_not_writable"],
        "cfm is paused because it cannot write its own state: no space left on device "
        f"({refusals.PAUSED.release}).",
    ),
    Case(
        worlds.copying,
        Health.BUSY,
        Doing.WORKING,
        [],
        "2 copies running; 3 more wanted files are not placed.",
    ),
    Case(worlds.at_rest, Health.OK, Doing.IDLE, [], "Idle."),
    Case(
        worlds.no_source,
        Health.DEGRADED,
        Doing.WAITING,
        ["server_down", "no_source"],
        "Server 127.0.1.1 is down: connection refused (check the host, its network and its cfw); "
        "1 more condition.",
    ),
    Case(
        worlds.no_destination,
        Health.DEGRADED,
        Doing.WAITING,
        ["disk_unknown", "no_destination"],
        "The disk usage is unknown at 127.0.2.1: connection refused "
        "(see the log of its cfw; nothing is copied or deleted there meanwhile); 1 more condition.",
    ),
    Case(
        worlds.san_silent,
        Health.DEGRADED,
        Doing.WAITING,
        ["san_unknown"],
        "3 copies wait: the source folders have not answered yet whether they have the files "
        "(check the source folders).",
    ),
    Case(
        worlds.failing,
        Health.DEGRADED,
        Doing.WAITING,
        ["retry_later"],
        "Copies of F001.mpg failed wherever they were tried; next try in 17 s "
        "(`cfm why FILE` and the log tell why).",
    ),
    Case(
        worlds.breaker,
        Health.DEGRADED,
        Doing.IDLE,
        ["breaker"],
        "Deletes of 500 B are held at 127.0.2.1: the limit of 50 % would delete 50 % of what is there "
        f"({refusals.BREAKER.release}).",
    ),
    Case(
        worlds.old_metadata,
        Health.DEGRADED,
        Doing.IDLE,
        ["metadata_old"],
        "Nothing is deleted because the grade and history files are too old "
        f"({refusals.METADATA_OLD.release}).",
    ),
    Case(
        worlds.deletes_off,
        Health.DEGRADED,
        Doing.IDLE,
        ["deletes_off"],
        f"Deletes are switched off, and some are needed ({refusals.DELETES_OFF.release}).",
    ),
    Case(
        worlds.same_disk,
        Health.DEGRADED,
        Doing.IDLE,
        ["same_disk_suspected"],
        f"Same disk suspected at 127.0.2.2 ({refusals.SAME_DISK_SUSPECTED.release}).",
    ),
    Case(
        worlds.all_rise,
        Health.DEGRADED,
        Doing.IDLE,
        ["over_limit"],
        "Disk over its limit at 127.0.2.1, and nothing may be deleted: 10 files are rising "
        "(raise the limit, or delete files by hand; `cfm why FILE` tells about each file).",
    ),
    Case(
        worlds.fits_nowhere,
        Health.OK,
        Doing.IDLE,
        ["no_room"],
        "Idle. Disks are full of better-ranked files; 1 file has no space.",
    ),
    Case(
        worlds.too_large,
        Health.OK,
        Doing.IDLE,
        ["too_large", "no_room"],
        "Idle. No disk can make room for F001.mpg (rank 1, 950 B); the most that one can make is 900 B "
        "(raise the limit, remove other data, or add a larger disk).",
    ),
]


@pytest.mark.parametrize("case", CASES, ids=[case.make.__name__ for case in CASES])
def test_the_verdict(case: Case) -> None:
    node = case.make()
    node.send(ev.SanIndexed(frozenset(node.san)))
    node.run(6 * SECOND_MS)
    found = verdict_of(node)
    assert (found.health, found.activity.doing) == (case.health, case.doing)
    assert [condition.name for condition in found.conditions] == case.conditions
    assert found.line == case.line
    for told in (report.status_json(node.core, node.now), report.plan_json(node.core, node.now)):
        assert (told["verdict"], told["health"]) == (case.line, case.health)
        assert [condition["name"] for condition in told["conditions"]] == case.conditions


def test_a_delete_of_unknown_outcome_is_told() -> None:
    library = files(3)
    node = Node(library, features=OLD, disk_bytes=4000)
    node.put(node.destinations[0], *library)
    node.put(node.destinations[1], library[0])
    for addr in node.destinations:
        node.workers[addr].loses_delete_answers = True
    node.grade()
    node.send(ev.SanIndexed(frozenset(node.san)))
    for _ in range(100):
        node.run(100)
        if node.says("delete unclear"):
            break
    found = verdict_of(node)
    assert (found.health, found.activity.deletes) == (Health.BUSY, 1)
    assert [(c.name, c.files, len(c.servers)) for c in found.conditions] == [("order_unknown", 1, 1)]


def test_a_condition_has_the_keys_of_the_contract() -> None:
    node = worlds.no_source()
    node.run(5 * SECOND_MS)
    (down, *_) = [
        one for one in report.status_json(node.core, node.now)["conditions"] if one["name"] == "server_down"
    ]
    assert down["servers"] == [node.sources[0]]
    assert (down["level"], down["files"], down["bytes"]) == ("degraded", None, None)
    assert node.now.wall_s - 5 <= down["since_at"] <= node.now.wall_s
    assert down["text"] == "Server 127.0.1.1 is down: connection refused"
    assert down["remedy"]


def test_equal_troubles_are_one_clause() -> None:
    library = files(4)
    node = Node(library, destinations=10, disk_bytes=4000, features=OLD)
    for addr in node.destinations:
        node.put(addr, *library)
    node.send(ev.SanIndexed(frozenset(node.san)))
    node.grade()
    node.run(5 * SECOND_MS)
    found = verdict_of(node)
    assert found.line.startswith("Same disk suspected at 9 servers: 127.0.2.1 and 8 more")
    (suspected,) = [one for one in found.conditions if one.name == "same_disk_suspected"]
    assert suspected.servers == node.destinations[:9], "the lowest address, as text, is used"


def test_servers_are_called_by_their_hosts_where_these_differ() -> None:
    one, two, other = Addr("10.0.0.1:1"), Addr("10.0.0.1:2"), Addr("10.0.0.2:1")
    assert short_names([one, two, other]) == {one: one, two: two, other: "10.0.0.2"}
    assert at_servers(["a"]) == "at a"
    assert at_servers(["a", "b"]) == "at a and b"
    assert at_servers(["a", "b", "c"]) == "at 3 servers: a and 2 more"


# ── the line ────────────────────────────────────────────────────────────────────────────────────────────


def conditions_of() -> st.SearchStrategy[list[Condition]]:
    one = st.builds(
        Condition,
        name=st.text("abc_", min_size=1, max_size=9),
        level=st.sampled_from(Severity),
        text=st.text(min_size=1, max_size=250).filter(str.strip),
        remedy=st.text(max_size=120),
    )
    return st.lists(one, max_size=9).map(lambda all_: sorted(all_, key=lambda c: WORST_FIRST.index(c.level)))


@given(conditions_of())
def test_a_line_is_short_and_begins_with_the_worst(found: list[Condition]) -> None:
    line = line_of(Activity(Doing.IDLE, copies=0, deletes=0, waiting=0), found)
    assert len(line) <= LINE_LENGTH
    assert len(line.splitlines()) == 1
    if found and found[0].level is not Severity.NOTE:
        text = " ".join(found[0].text.split()).rstrip(".")
        assert line.startswith(text[: LINE_LENGTH - 1])


def test_a_question_keeps_its_mark() -> None:
    asks = Condition("settings_refused", Severity.DEGRADED, "did you mean `watch_hit_base`?")
    line = line_of(Activity(Doing.IDLE, copies=0, deletes=0, waiting=0), [asks])
    assert line == "did you mean `watch_hit_base`?"


# ── any world ───────────────────────────────────────────────────────────────────────────────────────────

A_DAY_S = 86_400
OPERATIONS = (Path(__file__).resolve().parents[2] / "docs" / "operations.md").read_text()
SOME = st.frozensets(st.integers(0, 11), max_size=4)
"""Places of servers, or of files."""


@st.composite
def nodes(draw: st.DrawFn) -> Node:
    """A node in which anything may be wrong, a few seconds after it was made."""
    library = files(draw(st.integers(1, 12)))
    rules = Rules(
        limit_percent=draw(st.sampled_from([10, 50, 90])),
        deletes_on=draw(st.booleans()),
        trims_per_minute=draw(st.sampled_from([0, 1, 300])),
        space_deletes_per_minute=draw(st.sampled_from([0, 30])),
        breaker_percent=draw(st.sampled_from([25, 100])),
        minimum_stay_ms=draw(st.sampled_from([0, 3_600_000])),
    )
    features = draw(st.sampled_from([OURS, OLD]))
    node = Node(
        library,
        sources=draw(st.integers(1, 3)),
        destinations=draw(st.integers(1, 12)),
        disk_bytes=draw(st.sampled_from([300, 1000])),
        rules=rules,
        features=features,
        transfer_ms=draw(st.sampled_from([500, 60_000])),
    )
    servers = [*node.destinations, *node.sources]
    alike = draw(st.sampled_from([False, False, True]))
    for addr in node.destinations:
        node.put(addr, *(library[:2] if alike else [library[i] for i in draw(SOME) if i < len(library)]))
    for place in draw(SOME):
        worker = node.workers[servers[place % len(servers)]]
        trouble = draw(st.sampled_from(["dies", "lists", "measures", "refuses", "fails"]))
        if trouble == "dies":
            node.kill(worker.addr)
        worker.lists, worker.measures = trouble != "lists", trouble != "measures"
        worker.refuses_deletes = trouble == "refuses"
        worker.fails |= {file.name for file in library} if trouble == "fails" else set()
    node.san_answers = draw(st.booleans())
    if draw(st.booleans()):
        node.send(ev.SanIndexed(frozenset(node.san)))
    if draw(st.booleans()):
        node.watch(**{file.name.replace(".", "__"): 9 for file in library[:3]})
    if draw(st.integers(0, 9)):
        node.grade(age_s=draw(st.sampled_from([60, 3 * A_DAY_S])))
    if draw(st.integers(0, 3)) == 0:
        why = draw(st.text(max_size=300))
        facts = SnapshotFacts("x", node.now.wall_s, 2, 0, {}, accepted=False, why=why)
        node.send(ev.SnapshotRejected(facts))
    node.run(draw(st.integers(1, 20_000)))
    if not draw(st.integers(0, 9)):
        node.send(ev.StoreTrouble(draw(st.text(max_size=300))))
    return node


@settings(max_examples=60, deadline=None)
@given(nodes())
def test_in_any_world_the_verdict_is_short_and_true(node: Node) -> None:
    found, told = verdict_of(node), report.status_json(node.core, node.now)
    assert 0 < len(found.line) <= LINE_LENGTH
    assert len(found.line.splitlines()) == 1
    names = [condition.name for condition in found.conditions]
    assert len(set(names)) == len(names), "equal troubles are one condition"
    assert all(f"`{name}`" in OPERATIONS for name in names), "the documentation explains each"
    severities = [WORST_FIRST.index(condition.level) for condition in found.conditions]
    assert severities == sorted(severities), "worst first"
    if found.conditions and found.conditions[0].level is not Severity.NOTE:
        words = " ".join(found.conditions[0].text.split()).rstrip(".")
        assert found.line.startswith(words[: LINE_LENGTH - 1])
    _every_server_is_named(found, node, told)
    _the_health_is_true(found, told)


def _every_server_is_named(found: Verdict, node: Node, told: dict[str, Any]) -> None:
    servers = {condition.name: condition.servers for condition in found.conditions}
    down = {server["addr"] for server in told["servers"] if server["state"] == "down"}
    assert set(servers.get("server_down", ())) == down
    everywhere = (refusals.DELETES_OFF.name, refusals.METADATA_OLD.name, refusals.PAUSED.name)
    for brake in told["brakes"] if node.core.state.snapshot else ():
        if brake["server"] is not None and brake["name"] not in everywhere:
            assert brake["server"] in servers[brake["name"]]


def _the_health_is_true(found: Verdict, told: dict[str, Any]) -> None:
    busy = bool(told["transfers"] or told["deletes"])
    if found.health is Health.OK:
        assert not busy
        assert not told["brakes"]
        assert {server["state"] for server in told["servers"]} == {"up"}
    if found.activity.doing is Doing.IDLE:
        assert not busy
    if found.health is Health.BUSY:
        assert all(condition.level is Severity.NOTE for condition in found.conditions)


def told_of_credentials(node: Node) -> Condition:
    (found,) = [one for one in verdict_of(node).conditions if one.name == "no_credentials"]
    return found


def test_where_no_tls_connection_comes_about_nothing_is_said_of_tokens() -> None:
    """As where TLS alone is configured, and a worker has no certificate, or one of another authority."""
    node = Node(files(3), destinations=2)
    node.grade()
    node.run(SECOND_MS)
    for addr, why in zip(node.destinations, ("certificate required", "unknown ca"), strict=True):
        node.workers[addr].failure = Failure(Trouble.REFUSED, f"{NO_TLS}: {why}")
        node.workers[addr].up = False
    node.run(40 * SECOND_MS)
    found = told_of_credentials(node)
    assert found.servers == tuple(node.destinations)
    assert "no TLS connection: certificate required" in found.text
    assert "`security.tls`" in found.remedy
    assert "token" not in found.text + found.remedy


def test_who_connects_and_is_not_let_in_may_lack_a_token_or_a_certificate() -> None:
    node = Node(files(3), destinations=2)
    node.grade()
    node.run(SECOND_MS)
    node.send(ev.CredentialsRefused(node.destinations[0]))
    found = told_of_credentials(node)
    assert found.text.endswith("its requests have no valid credentials")
    assert "where tokens are used" in found.remedy
