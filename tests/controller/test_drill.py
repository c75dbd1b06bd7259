"""The drill: each fault on a healthy node, and what status, readiness, metrics, log and alert say about it.

Whatever breaks, nothing stays green: a few seconds after cfm could know, all of them say the same, and the
sentence of the verdict is held as text (`the_drill.txt`; `CFM_WRITE_STORIES=1` writes it anew).  Time is
virtual.  `tests/faults/test_drill.py` has the same with real processes.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest

from cfm.controller.decide import events as ev
from cfm.controller.decide.own_troubles import OwnTroubleKind
from cfm.controller.decide.told_conditions import ConditionSeen
from cfm.controller.explain.health import Health
from cfm.controller.explain.parts import ready_json
from cfm.controller.explain.report import status_json
from cfm.controller.explain.verdict import LINE_LENGTH, verdict
from cfm.fleet.answers import NO_TLS
from cfm.model import Failure, File, LogCondition, LogState, SnapshotFacts, Trouble
from cfm.plan.view import Rules
from controller.node import Node, files
from controller.test_metrics import scraped

TABLE = Path(__file__).with_name("the_drill.txt")
WRITE = bool(os.environ.get("CFM_WRITE_STORIES"))
HEARTBEAT_S, LOOK_S, ASKS_S, FAILURES_S = 31, 61, 86, 60
"""After so long cfm asks again, or has seen enough."""
SOON_S = 5


class Fault(NamedTuple):
    """What is broken, when cfm could know it at the latest, and the condition that must tell it."""

    break_it: Callable[[Node], object]
    knows_after_s: int
    condition: str


def healthy() -> Node:
    node = Node(files(6), sources=2, destinations=2, disk_bytes=1000)
    node.index()
    node.grade()
    node.send(ev.LogChanged(LogState(LogCondition.FOLLOWING, 0, heard_ms=0, newest_s=node.now.wall_s)))
    node.run(60_000)
    return node


def wrong_san_folder(node: Node) -> None:
    node.send(ev.SanIndexed(frozenset({"OTHER.mpg"}), folders={"/other": frozenset({"OTHER.mpg"})}))


def half_of_the_san(node: Node) -> None:
    node.send(ev.SanIndexed(frozenset(["F001.mpg", "F002.mpg"])))


def newest_metadata(node: Node, **facts: object) -> None:
    node.send(ev.SnapshotRejected(SnapshotFacts("x", node.now.wall_s, 2, 0, {}, accepted=False, **facts)))  # type: ignore[arg-type]


def old_metadata(node: Node) -> None:
    node.grade(age_s=3 * 86_400)


def history_of_another_node(node: Node) -> None:
    node.send(ev.SnapshotAccepted(SnapshotFacts("s", node.now.wall_s, 61, 2), 0))


def answers(node: Node, failure: Failure, *, to: str) -> None:
    """What one destination answers to the questions for the list, the disk, or the heartbeat."""
    worker = node.workers[node.destinations[0]]
    worker.failure = failure
    worker.up = to != "heartbeat"
    worker.lists, worker.measures = to != "list", False


NO_BASE_DIR = Failure(Trouble.STATUS, "answered 500: cannot list base_dir: /data is not there", 500)
NO_DF = Failure(Trouble.STATUS, "answered 500: cannot measure the disk", 500)
NO_CERTIFICATE = Failure(Trouble.REFUSED, f"{NO_TLS}: tlsv13 alert certificate required")


def stranger(node: Node) -> None:
    node.deafen(node.destinations[0])
    node.send(ev.CredentialsRefused(node.destinations[0]))


def other_clock(node: Node) -> None:
    worker = node.workers[node.destinations[0]]
    worker.features = replace(worker.features, clock_s=node.now.wall_s + 3600)


def foreign_files(node: Node) -> None:
    node.workers[node.destinations[0]].files["HOLIDAY.iso"] = 400


def rising_over_limit(node: Node) -> None:
    node.watch(**{file.name.replace(".", "__"): 9 for file in node.library})
    node.workers[node.destinations[0]].limit_percent = 10
    node.workers[node.destinations[1]].limit_percent = 10


def mistyped_limit(node: Node) -> None:
    node.send(ev.RulesChanged(Rules(limit_percent=9, minimum_stay_ms=0)))


def other_data_over_limit(node: Node) -> None:
    node.send(ev.RulesChanged(Rules(limit_percent=50, minimum_stay_ms=0)))
    node.workers[node.destinations[0]].files["HOLIDAY.iso"] = 690


def copies_fail(node: Node, *, source: bool) -> None:
    """New files are wanted, and one server fails."""
    node.workers[node.sources[0]].empty = source
    more = files(16)
    if not source:
        node.workers[node.destinations[0]].fails.update(file.name for file in more)
    node.san.update({file.name: file.size_bytes for file in more})
    node.index()
    node.grade(more)


def log_is(node: Node, condition: LogCondition, why: str = "", **more: int) -> None:
    node.send(ev.LogChanged(LogState(condition, node.now_ms, why, **more)))


def dead_log(node: Node) -> None:
    log_is(node, LogCondition.SILENT, "its last event is old", newest_s=node.now.wall_s - 7 * 3600)


def trouble(node: Node, kind: OwnTroubleKind, why: str) -> None:
    node.send(ev.OwnTrouble(kind, "", why))


def base_dir_is_the_san(node: Node) -> None:
    node.on_san.add(node.destinations[0])


def same_disk(node: Node) -> None:
    one, other = (node.workers[addr] for addr in node.destinations)
    one.files.update(other.files)
    other.files = one.files
    other.features = replace(other.features, disk_id=one.features.disk_id)


def open_files(node: Node) -> None:
    """A player has files open that are deleted for better ones."""
    node.frees = False
    node.send(ev.RulesChanged(Rules(limit_percent=25, minimum_stay_ms=0, breaker_percent=100)))


def no_deletes(node: Node) -> None:
    node.send(ev.RulesChanged(Rules(limit_percent=25, minimum_stay_ms=0, deletes_on=False)))


def refuses(node: Node) -> None:
    for addr in node.destinations:
        node.workers[addr].refuses_deletes = True
    node.send(ev.RulesChanged(Rules(limit_percent=25, minimum_stay_ms=0, breaker_percent=100)))


def no_source(node: Node) -> None:
    for addr in node.sources:
        node.kill(addr)


def plan_fails(node: Node) -> None:
    node.plan_fails = "MemoryError"
    node.grade()


def plan_lasts(node: Node) -> None:
    node.plan_ms = 60_000
    node.grade()


DRILL: dict[str, Fault] = {
    "source_dirs names another folder": Fault(wrong_san_folder, SOON_S, "san_coverage"),
    "a part of the SAN is missing": Fault(half_of_the_san, SOON_S, "san_coverage"),
    "the SAN is not mounted": Fault(
        lambda node: node.send(ev.SanIndexed(None, "/san is empty")), 0, "source_folders_unknown"
    ),
    "the newest metadata is broken": Fault(
        partial(newest_metadata, why="the history is empty"), 0, "metadata_rejected"
    ),
    "the newest metadata is half as long": Fault(
        partial(newest_metadata, why="less than half of the last good reading", shrunken=True),
        0,
        "metadata_rejected",
    ),
    "the metadata is three days old": Fault(old_metadata, 0, "metadata_old"),
    "the history is of another node": Fault(history_of_another_node, 0, "history_coverage"),
    "a destination has no base_dir": Fault(
        partial(answers, failure=NO_BASE_DIR, to="list"), LOOK_S, "list_unknown"
    ),
    "a destination has no df": Fault(partial(answers, failure=NO_DF, to="disk"), LOOK_S, "disk_unknown"),
    "a worker was killed": Fault(lambda node: node.kill(node.destinations[0]), HEARTBEAT_S, "server_down"),
    "no source is up": Fault(no_source, HEARTBEAT_S, "server_down"),
    "a worker has no token": Fault(stranger, 0, "no_credentials"),
    "a worker has no certificate": Fault(
        partial(answers, failure=NO_CERTIFICATE, to="heartbeat"), HEARTBEAT_S, "no_credentials"
    ),
    "a worker fetches no tasks": Fault(lambda node: node.deafen(node.destinations[0]), ASKS_S, "not_asking"),
    "foreign files fill a disk": Fault(foreign_files, LOOK_S + SOON_S, "foreign_files"),
    "all files of a full disk rise": Fault(rising_over_limit, LOOK_S + SOON_S, "over_limit"),
    "other data fills a disk over its limit": Fault(
        other_data_over_limit, LOOK_S + SOON_S, "limit_unreachable"
    ),
    "the limit is mistyped": Fault(mistyped_limit, SOON_S, "breaker"),
    "deletes are off, and some are needed": Fault(no_deletes, SOON_S, "deletes_off"),
    "workers refuse deletes": Fault(refuses, SOON_S, "server_refuses"),
    "players keep deleted files open": Fault(open_files, LOOK_S + 30, "not_freed"),
    "the event log is gone": Fault(
        partial(log_is, condition=LogCondition.GONE, why="there is none in /log"), 0, "event_log_gone"
    ),
    "the event log was dead before the start": Fault(dead_log, 0, "event_log_silent"),
    "the event log is read too slowly": Fault(
        partial(log_is, condition=LogCondition.BEHIND, behind_bytes=10**9), 0, "event_log_behind"
    ),
    "a source has no SAN": Fault(partial(copies_fail, source=True), FAILURES_S, "source_in_pause"),
    "a destination fails": Fault(partial(copies_fail, source=False), FAILURES_S, "destination_in_pause"),
    "a reload is refused": Fault(
        partial(trouble, kind=OwnTroubleKind.SETTINGS_REFUSED, why="line 3: unknown key `limt`"),
        0,
        "settings_refused",
    ),
    "a full plan fails": Fault(plan_fails, SOON_S, "plan_failing"),
    "a full plan takes long": Fault(plan_lasts, 35, "plans_slow"),
    "the state cannot be written": Fault(
        lambda node: node.send(ev.StoreTrouble("no space left on device")), 0, "state_not_writable"
    ),
    "a clock is wrong": Fault(other_clock, HEARTBEAT_S, "clock_skew"),
    "two servers have one disk": Fault(same_disk, LOOK_S, "same_disk_suspected"),
    "base_dir is the SAN": Fault(base_dir_is_the_san, LOOK_S, "source_disk"),
}


class Told(NamedTuple):
    """What was told of one fault, and after how many seconds."""

    after_s: int
    health: str
    line: str


def names(node: Node) -> list[str]:
    return [one.name for one in verdict(node.core, node.core.last_round, node.now).conditions]


def look(node: Node) -> None:
    """What `act.condition_watch` does once a second."""
    found = verdict(node.core, node.core.last_round, node.now).conditions
    seen = tuple(ConditionSeen(one.name, one.level.value, one.text, one.since_s) for one in found)
    node.send(ev.ConditionsSeen(seen))


def drilled(node: Node, fault: Fault) -> Told:
    """Break it, and wait until it is told."""
    assert names(node) == [], "a healthy node has no condition"
    assert verdict(node.core, node.core.last_round, node.now).health is Health.OK
    fault.break_it(node)
    for second in range(fault.knows_after_s + SOON_S + 1):
        found = verdict(node.core, node.core.last_round, node.now)
        if found.conditions and found.conditions[0].name == fault.condition and not found.health.is_good:
            return Told(second, found.health.value, found.line)
        node.run(1000)
    raise AssertionError(f"only these are told: {names(node)}")


@pytest.mark.parametrize("name", DRILL)
def test_no_fault_leaves_anything_green(name: str) -> None:
    node, fault = healthy(), DRILL[name]
    told = drilled(node, fault)
    assert not Health(told.health).is_good
    assert len(told.line) <= LINE_LENGTH
    status = status_json(node.core, node.now)
    assert (status["health"], status["verdict"]) == (told.health, told.line)
    (condition,) = [one for one in status["conditions"] if one["name"] == fault.condition]
    assert condition["text"]
    assert condition["remedy"]
    ready = ready_json(verdict(node.core, node.core.last_round, node.now))
    assert (ready["status"], ready["health"], ready["why"]) == ("not ready", told.health, told.line)
    metrics = scraped(node)
    assert metrics["cfm_condition"][condition["level"], fault.condition] == 1
    assert metrics["cfm_health"][told.health,] == 1
    assert metrics["cfm_health"]["ok",] == metrics["cfm_health"]["busy",] == 0
    look(node)
    look(node)
    assert fault.condition in [said.facts["condition"] for said in node.says("condition begins")]
    (written,) = [line for line in TABLE.read_text().splitlines() if line.startswith(f"{name} |")]
    assert written == row(name, fault, told)


def row(name: str, fault: Fault, told: Told) -> str:
    return f"{name} | {told.after_s} s | {told.health} | {fault.condition} | {told.line}"


@pytest.mark.skipif(not WRITE, reason="the table is written with CFM_WRITE_STORIES=1 only")
def test_write_the_table() -> None:
    rows = [row(name, fault, drilled(healthy(), fault)) for name, fault in DRILL.items()]
    TABLE.write_text("\n".join(["fault | told after | health | condition | verdict", *rows]) + "\n")


def test_what_is_only_told_leaves_the_node_good() -> None:
    """Files that were written anew, and workers of another version, are as they should be for a while."""
    node = healthy()
    for addr in node.destinations:
        worker = node.workers[addr]
        worker.features = replace(worker.features, version="0.1")
    node.written_ms["F001.mpg"] = node.now.wall_ms - 10_000
    node.run(3_600_000)
    found = verdict(node.core, node.core.last_round, node.now)
    assert "versions_mixed" in [one.name for one in found.conditions]
    assert found.health.is_good


def test_a_file_of_no_list_is_told_before_it_costs_anything() -> None:
    node = healthy()
    node.put(node.destinations[0], File("HOLIDAY.iso", 0, 100))
    node.run(70_000)
    found = verdict(node.core, node.core.last_round, node.now)
    assert [(one.name, one.level.value) for one in found.conditions] == [("foreign_files", "note")]
    assert found.health is Health.OK
