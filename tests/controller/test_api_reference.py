"""`docs/http-reference.md` says what both programs serve; `CFM_WRITE_STORIES=1` writes it anew."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from cfm.config.security import SecuritySettings
from cfm.controller.act.loop import clock
from cfm.controller.decide import events as ev
from cfm.controller.explain import report
from cfm.controller.explain.backlog import backlog_json
from cfm.controller.explain.holdings import held_by, page_json
from cfm.controller.explain.metadata import metadata_json
from cfm.controller.explain.parts import ready_json
from cfm.controller.explain.progress import Work, WorkProgress
from cfm.controller.explain.story import history
from cfm.controller.explain.trends import Counters, Trends, trends_json
from cfm.controller.explain.verdict import verdict
from cfm.controller.explain.why import why_json
from cfm.controller.serve.openapi import document
from cfm.model import Addr, LogCondition, LogState, OnSan, SnapshotFacts
from cfm.plan.view import Rules
from cfm.security import status_of
from cfm.worker.serve.openapi import DOCUMENT
from cfm_lab.testing.controller_rig import a_task, controller_rig
from controller.api_reference import reference
from controller.node import DAY_S, Node, files
from controller.test_operator_api import asked

PAGE = Path(__file__).parents[2] / "docs" / "http-reference.md"
SECOND_MS, NEWEST = 1_000, 2**63 - 1
BESIDE: dict[str, Any] = {
    "progress": [WorkProgress(Work.PLANNING, "", 1, total).as_json() for total in (1, None)],
    **status_of(SecuritySettings(), Addr("127.0.0.1:8080")),
    "leadership": None,
}
"""What the status has besides, which is not made from the state of the node."""


def working() -> Node:
    node = Node(files(40), disk_bytes=1000)
    node.grade()
    node.watch(F003__mpg=9)
    node.run(SECOND_MS + 500)
    return node


def full() -> Node:
    """Full disks, a rising file without space, and a breaker that holds."""
    node = Node(files(40), disk_bytes=1000, rules=Rules(minimum_stay_ms=0))
    node.grade()
    node.run(120 * SECOND_MS)
    node.send(ev.LogChanged(LogState(LogCondition.BEHIND, node.now_ms, newest_s=DAY_S, heard_ms=node.now_ms)))
    node.send(ev.RulesChanged(Rules(limit_percent=9, minimum_stay_ms=0)))
    node.run(SECOND_MS)
    return node


def broken() -> Node:
    """Copies fail, a server is down, and the newest metadata is rejected."""
    node = Node(files(9), destinations=2)
    node.workers[node.destinations[0]].fails.update(file.name for file in node.library)
    node.grade()
    node.run(20 * SECOND_MS)
    node.kill(node.destinations[1])
    node.run(60 * SECOND_MS)
    facts = SnapshotFacts(
        "x", node.now.wall_s, 2, 0, {"short": 1}, accepted=False, why="the history is empty"
    )
    node.send(ev.SnapshotRejected(facts))
    return node


def of_the_node(node: Node) -> dict[str, Any]:
    """What cfm answers about this node, by path, as far as it is made from the state alone."""
    core, now = node.core, node.now
    (first, *_), file = node.destinations, node.library[2]
    held = held_by(core, first, now)
    known = [one for one in node.library if one.name in held.names]
    sums = {
        "total": len(held.names),
        "known": len(known),
        "known_bytes": sum(one.size_bytes for one in known),
    }
    listing = page_json(core, held, known, 0, sums)
    trends = Trends(now)
    trends.add(Counters(), {}, {}, now)
    why = why_json(core, file.name, file, file.rank, now, OnSan(f"/san/{file.name}", file.size_bytes, 1))
    happened = history(node.store.events("", NEWEST, 200), [], "", NEWEST, 200)
    story = history(node.store.events(file.name, NEWEST, 200), [], file.name, NEWEST, 200)
    confirm = report.held_json(core, now, None)
    return {
        "/api/v1/status": report.status_json(core, now),
        "/readyz": ready_json(verdict(core, core.last_round, now)),
        "/api/v1/servers": report.servers_json(core, core.state.view(now)),
        "/api/v1/tasks": report.tasks_json(core, now),
        "/api/v1/plan": report.plan_json(core, now),
        "/api/v1/files/{name}": {**why, "story": story, "exists": True, "near": []},
        "/api/v1/confirm": confirm,
        "/api/v1/confirm/{server}": confirm,
        "/api/v1/history": {"about": None, "known": True, "near": [], "events": happened, "before": "1"},
        "/api/v1/servers/{addr}": listing,
        "/api/v1/servers/{addr}/unique": listing,
        "/api/v1/backlog": backlog_json(core, now, 0, 9),
        "/api/v1/trends": trends_json(trends, 1, now),
        "/api/v1/metadata": metadata_json(core, now),
    }


def made() -> str:
    nodes = [of_the_node(node) for node in (Node(files(3)), working(), full(), broken())]
    answers = {path: [one[path] for one in nodes] for path in nodes[0]}
    answers["/api/v1/status"].append(BESIDE)
    return reference({"cfm": document(), "cfw": DOCUMENT}, answers)


def test_the_page_is_what_is_served() -> None:
    text = made()
    if os.environ.get("CFM_WRITE_STORIES"):
        PAGE.write_text(text)
    assert PAGE.read_text() == text, "CFM_WRITE_STORIES=1 writes the page anew"


async def test_what_the_page_says_beside_the_state_is_what_the_endpoint_adds(tmp_path: Path) -> None:
    async with controller_rig(tmp_path, [a_task(1, "A.mpg")]) as rig:
        served = await asked(rig, "/api/v1/status")
        assert served.keys() == report.status_json(rig.controller.core, clock()).keys() | BESIDE.keys()
