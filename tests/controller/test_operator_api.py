"""What operators ask of a running cfm, and what they change: over the real endpoints, without workers."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cfm.controller.act.loop import clock
from cfm.controller.decide import events as ev
from cfm.inputs.grade_file import read_grade_file
from cfm.inputs.hit_history import read_hit_history
from cfm.inputs.snapshot import Snapshot, SourceFile, build
from cfm.model import Addr, Failure, Listing, Trouble, WorkerFeatures
from cfm_lab.testing.controller_rig import DESTINATIONS, ControllerRig, a_task, controller_rig

FIRST, SECOND = DESTINATIONS


def graded(count: int) -> Snapshot:
    """F001.mpg is the most wanted; each is of its rank in bytes."""
    names = [f"F{number:03}.mpg" for number in range(1, count + 1)]
    grade = "filename\n" + "".join(f"{name}\n" for name in names)
    lines = "".join(f"{name},0,0,{number},\n" for number, name in enumerate(names, 1))
    sources = (SourceFile("", 1, 7, "a" * 16), SourceFile("", 1, 7, "b" * 16))
    history = f"historyheader:1\n{lines}"
    return build(read_grade_file([grade.encode()]), read_hit_history([history.encode()]), sources).snapshot


@pytest.fixture
async def cfm(tmp_path: Path) -> AsyncIterator[ControllerRig]:
    async with controller_rig(tmp_path, [a_task(1, "F009.mpg")]) as rig:
        await asked(rig, "/healthz")
        rig.controller.on_snapshot(graded(9))
        servers = rig.controller.core.state.fleet.records
        for addr in DESTINATIONS:
            rig.controller.feed(ev.HeartbeatAnswer(addr, WorkerFeatures(ours=True)))
        while any(servers[addr].never_answered for addr in DESTINATIONS):  # nobody listens there
            await asked(rig, "/healthz")
        yield rig


def holds(rig: ControllerRig, addr: Addr, *names: str) -> None:
    rig.controller.feed(ev.ListAnswer(addr, clock().mono_ms, Listing(frozenset(names))))


async def asked(rig: ControllerRig, path: str, method: str = "GET", **headers: str) -> Any:
    answer = await rig.ask(method, path, **headers)
    assert answer.status == 200, answer.body
    return json.loads(answer.body)


async def test_a_server_shows_its_files_by_rank_and_the_unknown_ones_last(cfm: ControllerRig) -> None:
    holds(cfm, FIRST, "F005.mpg", "F002.mpg", "stranger-b.mpg", "stranger-a.mpg")
    holds(cfm, SECOND, "F002.mpg")
    found = await asked(cfm, f"/api/v1/servers/{FIRST}")
    files = found["files_by_rank"]
    assert (found["addr"], found["listed"], found["list_is_old"]) == (FIRST, True, False)
    assert (files["total"], files["known"], files["known_bytes"]) == (4, 2, 7)
    told = [(row["file"], row["rank"], row["unique"]) for row in files["rows"]]
    assert told == [
        ("F002.mpg", 2, False),
        ("F005.mpg", 5, True),
        ("stranger-a.mpg", None, True),
        ("stranger-b.mpg", None, True),
    ]
    assert [task["file"] for task in found["transfers"]] == ["F009.mpg"]


@pytest.mark.parametrize("limit", [1, 2, 3])
async def test_the_pages_of_a_server_are_all_its_files_once(cfm: ControllerRig, limit: int) -> None:
    names = [f"F{number:03}.mpg" for number in (1, 3, 4, 8)] + ["x.mpg", "y.mpg"]
    holds(cfm, FIRST, *names)
    rows: list[str] = []
    for offset in range(0, 8, limit):
        page = await asked(cfm, f"/api/v1/servers/{FIRST}?offset={offset}&limit={limit}")
        assert len(page["files_by_rank"]["rows"]) <= limit
        rows += [row["file"] for row in page["files_by_rank"]["rows"]]
    assert rows == names


async def test_what_only_one_server_has(cfm: ControllerRig) -> None:
    holds(cfm, FIRST, "F001.mpg", "F002.mpg")
    holds(cfm, SECOND, "F002.mpg")
    found = await asked(cfm, f"/api/v1/servers/{FIRST}/unique")
    assert [row["file"] for row in found["files_by_rank"]["rows"]] == ["F001.mpg"]
    assert found["files_by_rank"]["total"] == 1
    found = await asked(cfm, f"/api/v1/servers/{SECOND}/unique")
    assert found["files_by_rank"]["total"] == 0


async def test_what_a_silent_server_had_is_shown_from_its_last_list(cfm: ControllerRig) -> None:
    before = await asked(cfm, f"/api/v1/servers/{FIRST}")
    assert (before["listed"], before["files_by_rank"]["total"]) == (False, None)
    holds(cfm, FIRST, "F001.mpg")
    holds(cfm, SECOND)
    gone = Failure(Trouble.REFUSED, "connection refused")
    cfm.controller.feed(ev.ListAnswer(FIRST, clock().mono_ms, gone))
    found = await asked(cfm, f"/api/v1/servers/{FIRST}/unique")
    assert (found["listed"], found["list_is_old"], found["files"]) == (True, True, None)
    assert [row["file"] for row in found["files_by_rank"]["rows"]] == ["F001.mpg"]


async def test_an_unknown_server_is_told_with_the_nearest(cfm: ControllerRig) -> None:
    answer = await cfm.ask("GET", "/api/v1/servers/127.0.2.1:8")
    assert (answer.status, FIRST in answer.body.decode()) == (404, True)
    assert (await asked(cfm, "/api/v1/servers/127.0.2.1"))["addr"] == FIRST, "no other server has that host"


@pytest.mark.parametrize("query", ["limit=0", "limit=201", "limit=x", "offset=-1"])
async def test_a_page_has_bounds(cfm: ControllerRig, query: str) -> None:
    assert (await cfm.ask("GET", f"/api/v1/servers/{FIRST}?{query}")).status == 400


async def test_the_settings_in_force_and_where_each_comes_from(cfm: ControllerRig) -> None:
    found = await asked(cfm, "/api/v1/settings")
    settings = {one.pop("key"): one for one in found["settings"]}
    assert settings["remover.breaker_percent"] == {"value": 25, "from": "default", "line": None}
    assert settings["servers.destinations"] == {"value": [FIRST, SECOND], "from": "file", "line": 5}
    assert "remover.remover_sleep_sec" not in settings, "it is without effect"
    assert found["file"] == str(cfm.settings.file)


def rewrite(rig: ControllerRig, old: str, new: str) -> None:
    assert rig.settings.file is not None
    rig.settings.file.write_text(rig.settings.file.read_text().replace(old, new))


async def test_a_reload_is_shown_before_it_is_done(cfm: ControllerRig) -> None:
    rewrite(cfm, "servers:", "remover: {storage_usage_limit_percent: 50}\nlog_level: debug\nservers:")
    told = await asked(cfm, "/api/v1/reload?check=true", "POST")
    changes = [
        {"key": "log_level", "from": "info", "to": "debug", "needs_restart": True},
        {"key": "remover.storage_usage_limit_percent", "from": 90, "to": 50, "needs_restart": False},
    ]
    assert (told["reloaded"], told["changes"]) == (False, changes)
    assert set(told["plan"]) == {"now", "then"}
    assert cfm.controller.core.state.rules.limit_percent == 90

    told = await asked(cfm, "/api/v1/reload", "POST", **{"Cfm-User": "alice"})
    assert told == {"reloaded": True, "changes": changes}
    assert cfm.controller.core.state.rules.limit_percent == 50
    settings = {one["key"]: one for one in (await asked(cfm, "/api/v1/settings"))["settings"]}
    assert settings["remover.storage_usage_limit_percent"]["value"] == 50
    assert (settings["log_level"]["value"], settings["log_level"]["at_next_start"]) == ("info", "debug")
    [event] = [one for one in (await asked(cfm, "/api/v1/history"))["events"] if "settings" in one["event"]]
    assert event["by"] == "alice at 127.0.0.1"
    assert "log_level, remover.storage_usage_limit_percent" in event["text"]


@pytest.mark.parametrize("query", ["", "?check=true"])
async def test_refused_settings_are_told_and_change_nothing(cfm: ControllerRig, query: str) -> None:
    rewrite(cfm, "servers:", "remover: {storage_usage_limit_percent: 101}\nservers:")
    answer = await cfm.ask("POST", f"/api/v1/reload{query}")
    assert answer.status == 409
    assert "101 is not a percentage" in json.loads(answer.body)["detail"]
    assert cfm.controller.core.state.rules.limit_percent == 90


async def test_who_cancelled_a_task_is_in_its_story(cfm: ControllerRig) -> None:
    assert (await cfm.ask("DELETE", "/tasks/1", **{"Cfm-User": "alice"})).status == 200
    [ended] = (await asked(cfm, "/api/v1/history?about=F009.mpg"))["events"]
    assert ended["because"] == "cancelled by alice at 127.0.0.1"


@pytest.mark.parametrize("name", ["", "a" * 65, "a\tb"])
async def test_nobody_writes_what_he_likes_into_the_history(cfm: ControllerRig, name: str) -> None:
    await cfm.ask("DELETE", "/tasks/1", **{"Cfm-User": name})
    [ended] = (await asked(cfm, "/api/v1/history?about=F009.mpg"))["events"]
    assert ended["because"] == "cancelled by somebody at 127.0.0.1"


@pytest.mark.parametrize("query", ["limit=0", "limit=201", "before=x"])
async def test_the_history_has_bounds(cfm: ControllerRig, query: str) -> None:
    assert (await cfm.ask("GET", f"/api/v1/history?{query}")).status == 400


async def test_the_openapi_document_has_every_endpoint_that_is_no_page(cfm: ControllerRig) -> None:
    served = {
        (route.method.lower(), re.sub(r"\{[^}]*\}", "{}", route.resource.canonical))
        for route in cfm.api.application().router.routes()
        if route.resource is not None and route.method != "HEAD"
    }
    for_programs = {
        one for one in served if one[1].startswith(("/api/", "/tasks", "/healthz", "/readyz", "/metrics"))
    }
    document = await asked(cfm, "/api/openapi.json")
    described = {
        (method, re.sub(r"\{[^}]*\}", "{}", path)) for path, of in document["paths"].items() for method in of
    }
    assert described == for_programs


async def test_the_only_cfm_of_a_node_has_no_one_to_hand_over_to(cfm: ControllerRig) -> None:
    answer = await cfm.ask("POST", "/api/v1/handover")
    assert answer.status == 409
    assert "no one to hand over to" in json.loads(answer.body)["detail"]
