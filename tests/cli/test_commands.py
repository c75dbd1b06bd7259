"""The commands that ask a running cfm: what they print for people and for scripts, and how they end.

The cfm is the real serving half, in this process; a command runs in a thread beside it.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from cfm.cli.asking import AskedDaemon
from cfm.cli.cfm import app
from cfm.cli.output import as_text
from cfm.cli.watching import AFTER_TROUBLE_S, EVERY_S, StatusWatch
from cfm.controller.act.loop import clock
from cfm.controller.decide import events as ev
from cfm.model import Addr, Listing, WorkerFeatures
from cfm_lab.testing.controller_rig import DESTINATIONS, SOURCE, ControllerRig, a_task, controller_rig
from cli.test_documented_commands import PAGES, commands
from controller.test_operator_api import asked, graded

FIRST, SECOND = DESTINATIONS
LONG = "A" * 180 + ".mpg"


@pytest.fixture
async def cfm(tmp_path: Path) -> AsyncIterator[ControllerRig]:
    async with controller_rig(tmp_path, [a_task(1, LONG)]) as rig:
        await asked(rig, "/healthz")
        rig.controller.on_snapshot(graded(9))
        for addr in DESTINATIONS:
            rig.controller.feed(ev.HeartbeatAnswer(addr, WorkerFeatures(ours=True)))
        while any(rig.controller.core.state.fleet.records[addr].never_answered for addr in DESTINATIONS):
            await asked(rig, "/healthz")
        names = frozenset({"F001.mpg", "F002.mpg", "stranger.mpg"})
        rig.controller.feed(ev.ListAnswer(FIRST, clock().mono_ms, Listing(names)))
        yield rig


async def run(cfm: ControllerRig, *words: str, answer: str = "") -> Result:
    settings = ["-c", str(cfm.settings.file), "--addr", cfm.addr]
    return await asyncio.to_thread(invoked, [*words, *settings], answer)


def invoked(words: list[str], answer: str = "") -> Result:
    return CliRunner().invoke(app, words, answer)


async def value(cfm: ControllerRig, *words: str) -> Any:
    ended = await run(cfm, *words, "--json")
    assert ended.exit_code == 0, ended.output
    return json.loads(ended.output)


async def test_history_of_all_of_a_file_and_of_a_server(cfm: ControllerRig) -> None:
    cfm.controller.feed(ev.Noted("something happened", {"file": "F001.mpg", "server": FIRST}))
    for about in ((), ("F001.mpg",), (FIRST,)):
        ended = await run(cfm, "history", *about)
        assert ended.exit_code == 0
        assert "something happened" in ended.output.splitlines()[-1], "the newest comes last"
        found = await value(cfm, "history", *about)
        assert found["events"][0]["event"] == "something happened"
        assert found["about"] == (about[0] if about else None)


async def test_a_long_history_comes_in_pages_and_each_event_once(cfm: ControllerRig) -> None:
    for number in range(450):
        cfm.controller.feed(ev.Noted(f"event {number}", {"file": "F001.mpg"}))
    found = await value(cfm, "history", "F001.mpg", "--limit", "430")
    assert [one["event"] for one in found["events"]] == [f"event {n}" for n in range(449, 19, -1)]


async def test_a_file_without_history_is_known_all_the_same(cfm: ControllerRig) -> None:
    ended = await run(cfm, "history", "F005.mpg")
    assert (ended.exit_code, ended.output) == (0, "Nothing is remembered about F005.mpg.\n")


@pytest.mark.parametrize("command", ["history", "why"])
async def test_an_unknown_file_is_told_with_the_nearest(cfm: ControllerRig, command: str) -> None:
    ended = await run(cfm, command, "F01.mpg")
    assert ended.exit_code == 1
    assert "is called F01.mpg; did you mean F001.mpg" in ended.output
    ended = await run(cfm, command, "F01.mpg", "--json")
    assert ended.exit_code == 1
    assert '"near"' in ended.output


@pytest.mark.parametrize("command", ["server", "unique", "confirm"])
async def test_an_unknown_server_is_told_with_the_nearest(cfm: ControllerRig, command: str) -> None:
    mistyped = FIRST[:-1]
    ended = await run(cfm, command, mistyped)
    assert ended.exit_code == 1
    assert ended.output.startswith(f"the settings name no server {mistyped}; did you mean {FIRST}")


async def test_a_server_is_named_by_its_host_where_no_other_has_it(cfm: ControllerRig) -> None:
    host = FIRST.rpartition(":")[0]
    for words in (["server", host], ["unique", host]):
        assert FIRST in (await run(cfm, *words)).output
    cfm.controller.feed(ev.Noted("something happened", {"server": FIRST}))
    found = await value(cfm, "history", host)
    assert (found["about"], found["events"][0]["event"]) == (FIRST, "something happened")


@pytest.mark.parametrize("name", [FIRST, FIRST.rpartition(":")[0]])
async def test_why_of_a_server_says_what_shows_it(cfm: ControllerRig, name: str) -> None:
    cfm.controller.feed(ev.Noted("something happened", {"server": FIRST}))
    ended = await run(cfm, "why", name)
    assert ended.exit_code == 1
    assert ended.output == f"{name} is a server, not a file: `cfm server {name}` shows it\n"


async def test_all_servers_and_one(cfm: ControllerRig) -> None:
    for words in (["server"], ["server", "list"]):
        shown = (await run(cfm, *words)).output
        assert all(addr in shown for addr in (SOURCE, FIRST, SECOND))
    assert [one["addr"] for one in await value(cfm, "server", "list")] == [SOURCE, FIRST, SECOND]
    shown = (await run(cfm, "server", FIRST)).output
    assert "3 files, 3 B, 1 of them not known to the metadata" in shown
    assert shown.index("F001.mpg") < shown.index("F002.mpg") < shown.index("stranger.mpg")
    page = await value(cfm, "server", FIRST, "--limit", "1", "--offset", "1")
    assert [row["file"] for row in page["files_by_rank"]["rows"]] == ["F002.mpg"]
    assert "… and 2 more" in (await run(cfm, "server", FIRST, "-n", "1")).output


async def test_what_one_server_has_alone(cfm: ControllerRig) -> None:
    assert f"3 files are on {FIRST} alone, 3 B" in (await run(cfm, "unique", FIRST)).output
    assert "was never read" in (await run(cfm, "unique", SECOND)).output
    assert "is only a source" in (await run(cfm, "unique", SOURCE)).output
    assert (await value(cfm, "unique", FIRST))["files_by_rank"]["total"] == 3


async def test_a_pipe_gets_whole_names(cfm: ControllerRig) -> None:
    for words in (["status"], ["server", FIRST], ["history", LONG]):
        lines = (await run(cfm, *words)).output.splitlines()
        assert [line for line in lines if "…" in line or line != line.rstrip()] == []
    assert LONG in (await run(cfm, "status")).output


async def test_a_copy_is_cancelled_by_its_id_or_its_file(cfm: ControllerRig) -> None:
    ended = await run(cfm, "cancel", "nothing.mpg")
    assert (ended.exit_code, "no copy is under way" in ended.output) == (1, True)
    ended = await run(cfm, "cancel", LONG)
    assert (ended.exit_code, LONG in ended.output) == (0, True)
    ended = await run(cfm, "cancel", "1")
    assert (ended.exit_code, ended.output) == (
        1,
        "the task 1 is over already: there is nothing to cancel\n",
    )


async def test_where_nothing_is_held_nothing_is_asked(cfm: ControllerRig) -> None:
    ended = await run(cfm, "confirm")
    assert ended.exit_code == 1
    assert ended.output == "No breaker holds deletes: there is nothing to confirm.\n"


def rewrite(cfm: ControllerRig, more: str) -> None:
    assert cfm.settings.file is not None
    cfm.settings.file.write_text(cfm.settings.file.read_text() + more)


async def test_a_reload_is_looked_at_and_then_done(cfm: ControllerRig) -> None:
    assert "nothing changes" in (await run(cfm, "reload", "--check")).output
    rewrite(cfm, "remover: {storage_usage_limit_percent: 50}\nlog_level: debug\n")
    shown = (await run(cfm, "reload", "--check")).output
    assert "remover.storage_usage_limit_percent: 90 → 50 (at once)" in shown
    assert "log_level: info → debug (at the next start)" in shown
    assert "with the new settings: copy 0 files (0 B), delete 0 files (0 B)" in shown
    assert shown.endswith("Nothing is changed yet: `cfm reload` does it.\n")
    assert cfm.controller.core.state.rules.limit_percent == 90
    done = (await run(cfm, "reload")).output
    assert "90 → 50 (now in force)" in done
    assert "needs a restart of cfm" in done.splitlines()[-1]
    assert cfm.controller.core.state.rules.limit_percent == 50
    shown = (await run(cfm, "config", "show", "--effective")).output
    assert "info  (at the next start: debug)" in shown
    in_force = {one["key"]: one for one in (await value(cfm, "config", "show", "--effective"))["settings"]}
    assert in_force["remover.storage_usage_limit_percent"]["value"] == 50


@pytest.mark.parametrize("words", [["reload"], ["reload", "--check"]])
async def test_a_refused_reload_ends_with_exit_code_2(cfm: ControllerRig, words: list[str]) -> None:
    rewrite(cfm, "watch_hit_base: 0\n")
    ended = await run(cfm, *words)
    assert ended.exit_code == 2
    assert "watch_hit_base" in ended.output
    assert (await run(cfm, "status")).exit_code == 0, "a mistyped setting hides no cfm that runs"


async def test_a_check_for_monitors(cfm: ControllerRig) -> None:
    status = await asked(cfm, "/api/v1/status")
    assert status["health"] in ("degraded", "critical")
    ended = await run(cfm, "status", "--check")
    assert ended.exit_code == 3
    first, *others = ended.output.splitlines()
    assert first == f"{status['health']}: {status['verdict']}"
    wrong = [one for one in status["conditions"] if one["level"] != "note"]
    assert wrong[0]["text"] in first
    assert len(others) == len(wrong) - 1, "the verdict is the worst condition, which is told once"
    ended = await run(cfm, "status", "--check", "--json")
    assert (ended.exit_code, json.loads(ended.output)["health"]) == (3, status["health"])


async def test_missing_credentials_are_no_news_on_every_screen(cfm: ControllerRig) -> None:
    assert "credentials" not in (await run(cfm, "status")).output


async def test_a_watch_has_a_clock_and_an_age_and_goes_on_without_cfm(cfm: ControllerRig) -> None:
    watch = StatusWatch(AskedDaemon(Addr(cfm.addr)))
    noon = datetime(2026, 11, 28, 12, 0, 1, tzinfo=UTC)
    await asyncio.to_thread(watch.look)
    shown = as_text(watch.view(noon, watch.asked_s + 3))
    assert shown.startswith("12:00:01, as of 3 s ago\n")
    assert FIRST in shown
    gone = StatusWatch(AskedDaemon(Addr("127.0.0.1:9")), status=watch.status, asked_s=watch.asked_s)
    await asyncio.to_thread(gone.look)
    shown = as_text(gone.view(noon, watch.asked_s + 61))
    assert shown.startswith("12:00:01, as of 1 min 1 s ago: no cfm answers at 127.0.0.1:9")
    assert FIRST in shown, "what was known last is still there"


async def test_a_watch_that_is_refused_waits(cfm: ControllerRig) -> None:
    watch = StatusWatch(AskedDaemon(Addr("127.0.0.1:9")))
    assert await asyncio.to_thread(watch.look) == AFTER_TROUBLE_S > EVERY_S
    watch = StatusWatch(AskedDaemon(Addr(cfm.addr)))
    assert await asyncio.to_thread(watch.look) == EVERY_S


def test_a_watch_waits_no_longer_than_its_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cfm.cli.watching.DEADLINE_S", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # it takes connections, and answers none
        watch = StatusWatch(AskedDaemon(Addr(f"127.0.0.1:{silent.getsockname()[1]}")))
        watch.look()
        assert "timed out" in as_text(watch.view(datetime.now(UTC), 0.0))


NAMES = {"SERVER": FIRST, "FILE": "F001.mpg", "NAME.mpg": "F001.mpg", "film-1.mpg": "F001.mpg", "TEXT": "F00",
         "TASK": LONG, "HOST:PORT": FIRST, "10.0.2.2:8888": FIRST}  # fmt: skip
NOT_HERE = frozenset({"run", "demo", "simulate", "check", "plan", "handover", "token", "state"})
"""They do not ask a running cfm, or do not end; each has tests of its own."""
ENDLESS = "--watch"


def documented() -> list[tuple[str, ...]]:
    """Every command line of the documentation that asks a running cfm, and is whole."""
    lines = {tuple(words[1:]) for page in PAGES for words in commands(page.read_text()) if words[0] == "cfm"}
    kept = (line for line in lines if line[0] not in NOT_HERE and ENDLESS not in line)
    return sorted({_without_settings([NAMES.get(word, word) for word in line]) for line in kept})


async def test_every_documented_command_that_asks_runs(cfm: ControllerRig) -> None:
    """With whatever there is to be told of this node; none of them ends by an error of its own."""
    ran = set()
    for line in documented():
        offline = (
            line[0] in ("completion", "man") or line[0].startswith("-") or line[:2] == ("config", "sample")
        )
        ended = await asyncio.to_thread(invoked, list(line)) if offline else await run(cfm, *line)
        if "Missing" in ended.output:
            continue  # it is named, not shown
        assert ended.exception is None or isinstance(ended.exception, SystemExit), (line, ended.exception)
        assert ended.exit_code in (0, 1, 3), (line, ended.output)
        assert ended.output.strip(), line
        ran.add(line[0])
    assert {"status", "why", "history", "server", "unique", "backlog", "search", "trends", "config"} <= ran
    assert {"reload", "confirm", "accept", "cancel", "completion", "man"} <= ran


def _without_settings(words: list[str]) -> tuple[str, ...]:
    """The rig has settings and an address of its own."""
    for option in ("-c", "--addr"):
        while option in words:
            place = words.index(option)
            del words[place : place + 2]
    return tuple(words)
