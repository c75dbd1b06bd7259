"""`check`: what is wrong ends in 2, what is doubtful in 0; nothing hangs."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from aiohttp import web

from cfm.addresses import is_wildcard
from cfm.cli.check import CheckReport, cfm_report, cfw_report, check_cfm, check_cfw
from cfm.cli.check_world import PathCheck, event_log_folder, look_at_all, readable_folder
from cfm.config import split_address
from cfm.config.problems import SettingsProblem

DATA = Path(__file__).parents[1] / "data" / "settings"
OURS = {"Cfw-Version": "1", "Cfw-Transfer": "builtin", "Cfw-Serves": "true", "Cfw-Limit-Percent": "90"}


class Node:
    """A folder in which everything is as it should be; tests spoil parts of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for path in ("san/data2/a.mpg", "das/x", "grade.info", "hitcount.history", "EventLog[20180602].log"):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text("x")

    def cfm(self, sources: list[str], destinations: list[str], more: str = "") -> Path:
        return self.write(
            "cfm.yml",
            "grade_info_file: grade.info\nhitcount_history_file: hitcount.history\nwatch_dir: .\n"
            "watch_ip_string: 127.0.1.1\nwatch_hit_base: 5\nsource_dirs: [san/data2]\n"
            f"servers:\n  sources: {json.dumps(sources)}\n  destinations: {json.dumps(destinations)}\n{more}",
        )

    def cfw(self, base_dir: str = "das", cfm_addr: str = "127.0.0.1:1", more: str = "") -> Path:
        listen = "" if "listen_addr" in more else "listen_addr: 127.0.2.1:8888\n"
        return self.write("cfw.yml", f"{listen}cfm_addr: {cfm_addr}\nbase_dir: {base_dir}\n{more}")

    def write(self, name: str, text: str) -> Path:
        (self.folder / name).write_text(text)
        return self.folder / name


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


class Workers:
    """Heartbeats on loopback, answered as told, from a thread of their own."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        self.runners: list[web.AppRunner] = []

    def start(self, headers: Mapping[str, str], status: int = 200, host: str = "127.0.0.1") -> str:
        """The address of a worker whose heartbeat is answered like this."""
        return asyncio.run_coroutine_threadsafe(self._start(headers, status, host), self.loop).result(10)

    async def _start(self, headers: Mapping[str, str], status: int, host: str) -> str:
        async def heartbeat(request: web.Request) -> web.Response:
            return web.Response(status=status, headers=headers)

        app = web.Application()
        app.router.add_route("HEAD", "/hb", heartbeat)
        runner = web.AppRunner(app)
        self.runners.append(runner)
        await runner.setup()
        await web.TCPSite(runner, host, 0).start()
        return f"{host}:{runner.addresses[0][1]}"

    def stop(self) -> None:
        for runner in self.runners:
            asyncio.run_coroutine_threadsafe(runner.cleanup(), self.loop).result(10)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
        self.loop.close()


@pytest.fixture
def workers() -> Iterator[Workers]:
    started = Workers()
    yield started
    started.stop()


def texts(report: CheckReport, key: str) -> list[str]:
    return [doubt.text for doubt in report.doubts if doubt.key == key]


# --- cfm ----------------------------------------------------------------------------------------------


def test_where_all_is_well_nothing_is_doubted(node: Node, workers: Workers) -> None:
    source, destination = workers.start(OURS), workers.start(OURS, host="127.0.0.2")
    report = cfm_report(node.cfm([source], [destination]))
    assert (report.errors, report.doubts, report.exit_code) == ((), (), 0)
    [note] = report.notes
    assert note.startswith("anyone who reaches 127.0.0.1:8080 can delete files")


def test_what_is_missing_in_the_world_is_doubtful(node: Node) -> None:
    (node.folder / "grade.info").unlink()
    (node.folder / "hitcount.history").write_text("")
    (node.folder / "EventLog[20180602].log").unlink()
    (node.folder / "san/data2/a.mpg").unlink()
    (node.folder / "log").write_text("in the way")
    report = cfm_report(node.cfm([], [], "deletes: off\n"))
    assert {doubt.key for doubt in report.doubts} == {
        "grade_info_file",
        "hitcount_history_file",
        "watch_dir",
        "source_dirs",
        "log_dir",
        "servers.sources",
        "servers.destinations",
        "deletes",
    }
    assert report.exit_code == 0
    assert texts(report, "source_dirs") == [f"{node.folder}/san/data2 is empty"]


@pytest.mark.parametrize(
    ("names", "doubt"),
    [
        ((), "is empty"),
        (("EventLog20180602.log", "cfm.yml"), "holds no EventLog[YYYYMMDD].log"),
        (("EventLog[20180602].log",), None),
    ],
)
def test_the_folder_of_the_event_log(tmp_path: Path, names: tuple[str, ...], doubt: str | None) -> None:
    for name in names:
        (tmp_path / name).touch()
    found = [one.text for one in event_log_folder("watch_dir", tmp_path)]
    assert found == ([] if doubt is None else [f"{tmp_path} {doubt}"])


def test_an_old_file_alone_starts_with_doubts(capsys: pytest.CaptureFixture[str]) -> None:
    assert check_cfm(DATA / "cfm.yml", json=True) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["file"], told["errors"]) == (str(DATA / "cfm.yml"), [])
    assert {doubt["key"] for doubt in told["doubts"]} >= {"grade_info_file", "source_dirs"}
    assert any("enable_coredump is without effect" in note for note in told["notes"])


def test_silent_servers_are_doubtful(node: Node, workers: Workers) -> None:
    broken = workers.start({}, status=503)
    with socket.socket() as deaf, socket.socket() as closed:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        closed.bind(("127.0.0.1", 0))
        silent, refusing = (f"127.0.0.1:{one.getsockname()[1]}" for one in (deaf, closed))
        report = cfm_report(node.cfm([broken, silent, refusing], []))
    assert texts(report, "servers.sources") == [
        f"{broken} answered 503",
        f"{silent} does not answer",
        f"{refusing} cannot be reached (connection refused)",
    ]


def test_many_silent_servers_are_one_line_in_a_terminal(
    node: Node, workers: Workers, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = [f"127.9.9.{number}:1" for number in range(1, 8)]
    file = node.cfm([workers.start(OURS)], silent)
    check_cfm(file)
    assert capsys.readouterr().out.count("cannot be reached") == 7, "a pipe can be searched"
    monkeypatch.setenv("FORCE_COLOR", "1")
    check_cfm(file)
    (line,) = (text for text in capsys.readouterr().out.splitlines() if "cannot be reached" in text)
    assert f"{', '.join(silent[:3])} and 4 more: cannot be reached" in line


def test_limits_that_differ_are_told(node: Node, workers: Workers) -> None:
    low = workers.start({**OURS, "Cfw-Limit-Percent": "80"})
    odd = workers.start({**OURS, "Cfw-Limit-Percent": "١"}, host="127.0.0.2")
    report = cfm_report(node.cfm([], [low, odd]))
    assert texts(report, "remover.storage_usage_limit_percent") == [
        f"90 here and 80 at {low}: the lower one, 80, holds there"
    ]


def test_one_disk_under_two_addresses_is_told(node: Node, workers: Workers) -> None:
    hosts = ("127.0.0.2", "127.0.0.3", "127.0.0.4")
    ids = ("d1", "d1", "d2")
    one, same, other = (
        workers.start({**OURS, "Cfw-Disk": disk}, host=host) for host, disk in zip(hosts, ids, strict=True)
    )
    report = cfm_report(node.cfm([one], [other, same, one]))
    assert texts(report, "servers.destinations") == [
        f"{same} is the same disk as {one}, and is not used while that one is"
    ]


def test_a_source_that_built_in_transfers_cannot_use(node: Node, workers: Workers) -> None:
    old, unserving, new = (
        workers.start({}),
        workers.start({**OURS, "Cfw-Serves": "false"}),
        workers.start(OURS, host="127.0.0.2"),
    )
    found = texts(cfm_report(node.cfm([old, unserving, new], [new])), "servers.sources")
    assert ["runs an old cfw, so" in found[0], "serves no source folder, so" in found[1]] == [True, True]
    assert all("need an external downloader" in text for text in found)
    external = workers.start({**OURS, "Cfw-Transfer": "external"}, host="127.0.0.3")
    assert texts(cfm_report(node.cfm([old], [external])), "servers.sources") == []


def test_destinations_on_one_host_are_one_to_the_history(node: Node) -> None:
    found = texts(cfm_report(node.cfm([], ["127.0.0.1:1", "127.0.0.1:2"])), "servers.destinations")
    assert "several destinations on 127.0.0.1, which the history cannot tell apart" in found


# --- cfw ----------------------------------------------------------------------------------------------


def test_a_worker_that_would_run(node: Node) -> None:
    with socket.socket() as cfm:
        cfm.bind(("127.0.0.1", 0))
        cfm.listen()
        report = cfw_report(node.cfw(cfm_addr=f":{cfm.getsockname()[1]}"))
    assert (report.errors, report.doubts) == ((), ())
    assert report.notes[0].startswith("anyone who reaches 127.0.2.1:8888 can delete files")
    assert report.notes[1].startswith("copies use the built-in transfer")


def test_an_unreachable_cfm_is_doubtful(node: Node) -> None:
    assert texts(cfw_report(node.cfw()), "cfm_addr") == ["127.0.0.1:1 cannot be reached (connection refused)"]


@pytest.mark.parametrize(
    ("base_dir", "source_dir", "where"),
    [
        ("san/data2", "san/data2", "is the source folder"),
        ("san/data2", "san", "lies inside the source folder"),
        ("san", "san/data2", "lies around the source folder"),
        ("link", "san/data2", "is the source folder"),
        ("link/deep", "san", "lies inside the source folder"),
    ],
)
def test_a_base_dir_that_overlaps_a_source_is_wrong(
    node: Node, base_dir: str, source_dir: str, where: str
) -> None:
    (node.folder / "link").symlink_to("san/data2")
    (node.folder / "san/data2/deep").mkdir()
    report = cfw_report(node.cfw(base_dir, more=f"source_dirs: [{source_dir}]\n"))
    assert [where in error.text for error in report.errors] == [True]
    assert report.exit_code == 2


def test_neighbours_do_not_overlap(node: Node) -> None:
    (node.folder / "san/data20").mkdir()
    assert cfw_report(node.cfw("san/data20", more="source_dirs: [san/data2, gone]\n")).errors == ()


def test_a_downloader_must_be_a_program(node: Node) -> None:
    file = node.cfw(more="downloader_bin: fetch.sh\n")
    assert texts(cfw_report(file), "downloader_bin") == [f"{node.folder}/fetch.sh does not exist"]
    (node.folder / "fetch.sh").write_text("#!/bin/sh\n")
    assert texts(cfw_report(file), "downloader_bin") == [f"{node.folder}/fetch.sh may not be executed"]
    (node.folder / "fetch.sh").chmod(0o755)
    assert texts(cfw_report(file), "downloader_bin") == []


def test_a_worker_on_every_interface_needs_a_name(node: Node) -> None:
    listen = "listen_addr: 0.0.0.0:8888\n"
    assert texts(cfw_report(node.cfw(more=listen)), "listen_addr") != []
    assert texts(cfw_report(node.cfw(more=f"{listen}advertise_addr: 127.0.2.1:8888\n")), "listen_addr") == []


@pytest.mark.parametrize(
    ("address", "wild"), [(":80", True), ("0.0.0.0:80", True), ("[::]:80", True), ("127.0.0.1:80", False)]
)
def test_wildcards(address: str, wild: bool) -> None:
    assert is_wildcard(split_address(address)[0]) is wild


# --- the report ---------------------------------------------------------------------------------------


def test_bad_form_ends_in_2(node: Node, capsys: pytest.CaptureFixture[str]) -> None:
    file = node.write("bad.yml", "log_level: infos\n")
    assert check_cfm(file) == 2
    out = capsys.readouterr().out
    assert f"wrong    {file}:1: log_level: `infos` is not a log level; did you mean `info`?\n" in out
    assert check_cfm(file, json=True) == 2
    told = {
        "line": 1,
        "key": "log_level",
        "text": "`infos` is not a log level",
        "remedy": "did you mean `info`?",
    }
    assert json.loads(capsys.readouterr().out)["errors"] == [told]
    assert check_cfw(file, json=True) == 2
    assert told in json.loads(capsys.readouterr().out)["errors"]


def test_lines_for_people_stay_whole_and_harmless(node: Node, capsys: pytest.CaptureFixture[str]) -> None:
    long = node.folder / ("[red]x" * 20)
    long.mkdir()
    file = Node(long).cfm([], [])
    check_cfm(file)
    lines = capsys.readouterr().out.splitlines()
    assert all(line.startswith(("doubtful ", "note     ", str(file))) for line in lines)
    assert any("[red]x[red]x" in line for line in lines)


def test_a_look_that_hangs_is_not_waited_for(tmp_path: Path) -> None:
    """A FIFO opened for reading stands for a dead mount."""
    os.mkfifo(tmp_path / "hung")

    def hang(key: str, path: Path) -> list[SettingsProblem]:
        path.read_bytes()
        return []

    looks = [
        PathCheck("hung", tmp_path / "hung", hang),
        PathCheck("gone", tmp_path / "gone", readable_folder),
    ]
    found = look_at_all(looks, patience_s=0.05)
    (tmp_path / "hung").write_bytes(b"")  # lets the thread end
    assert found[0].text == f"{tmp_path}/hung does not answer"
    assert [problem.key for problem in found] == ["hung", "gone"]


# ── whose disk it is ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("where", ["san/data2", "san", "san/data2/das"])
def test_a_source_folder_that_is_a_workers_disk_is_told(node: Node, workers: Workers, where: str) -> None:
    place = node.folder / where
    place.mkdir(exist_ok=True)
    for name in (".cfw-id", ".cfw-probe-1"):
        (place / name).touch()
    addr = workers.start({**OURS, "Cfw-Probe": ".cfw-probe-1"})
    report = cfm_report(node.cfm([addr], [addr]))
    told = [found.text for found in report.doubts if ".cfw-" in found.text or "base_dir" in found.text]
    assert told == [f"{place} is the base_dir of {addr}: nothing is copied or deleted there"]


def test_a_marker_that_nobody_answers_for_is_told_with_a_remedy(node: Node) -> None:
    (node.folder / "san/data2/.cfw-id").touch()
    report = cfm_report(node.cfm(["127.0.0.1:1"], ["127.0.0.1:1"]))
    (told,) = [problem for problem in report.doubts if ".cfw-id" in problem.text]
    assert told.key == "source_dirs"
    assert "cfw.db" in told.remedy


def test_links_in_base_dir_are_counted(node: Node) -> None:
    for number in range(2):
        (node.folder / f"das/link{number}.mpg").symlink_to(node.folder / "san/data2/a.mpg")
    told = [problem.text for problem in cfw_report(node.cfw()).doubts]
    assert f"2 links in {node.folder / 'das'} are not served" in told
