"""`cfm plan` chooses what the daemon would do, beside real workers and files, and changes nothing."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cfm.config import load_cfm
from cfm.controller.act import once
from cfm.controller.decide import events as ev
from cfm.controller.decide.core import Core
from cfm.controller.explain import report
from cfm.plan.view import Rules
from cfm.tasks.store import Recovered
from cfm_lab.fakes.fake_file_system import FakeFileSystem
from cfm_lab.testing.worker_rig import worker_rig
from controller.node import Node, files

FILE_BYTES = 1000
AN_HOUR_AGO_S = time.time() - 3600
NAMES = [f"FILE{number:02}.mpg" for number in range(1, 13)]


# ── the whole look ──────────────────────────────────────────────────────────────────────────────────────


def settings_file(folder: Path, san: Path, source: str, destinations: list[str]) -> Path:
    grade = [
        "filename\tweightcount\tbitrate\tgrade\tsumHitCount\thistoryCount\tTargetCopyCount",
        *(f"{name}\t9\t1\t1\t9\t9\t1" for name in NAMES),
    ]
    history = ["historyheader:1527951000", *(f"{name},1,1,{FILE_BYTES},,2,0,0,1=9 9" for name in NAMES)]
    for file, lines in (("grade", grade), ("history", history)):
        (folder / file).write_text("\n".join(lines) + "\n")
        os.utime(folder / file, (AN_HOUR_AGO_S, AN_HOUR_AGO_S))
    path = folder / "cfm.yml"
    path.write_text(
        f"""
grade_info_file: grade
hitcount_history_file: history
source_dirs: [{san}]
servers:
  sources: ["{source}"]
  destinations: {destinations}
  heartbeat_timeout_sec: 1
"""
    )
    return path


def a_san(folder: Path) -> Path:
    san = folder / "san"
    san.mkdir()
    for name in NAMES:
        (san / name).write_bytes(bytes(FILE_BYTES))
    return san


def place(base: Path, names: list[str]) -> None:
    """Files on the disk of a worker, which has a disk of its own."""
    base.mkdir(parents=True)
    (base / ".cfw-id").write_text(f"{base.parent.name:->32}")
    for name in names:
        (base / name).write_bytes(bytes(FILE_BYTES))


async def test_a_look_shows_copies_and_deletes_and_changes_nothing(tmp_path: Path) -> None:
    san = a_san(tmp_path)
    folders = tmp_path / "one", tmp_path / "two"
    place(folders[0] / "base", NAMES[:10])  # 10,000 of 10,000 bytes: one file too many
    place(folders[1] / "base", NAMES[:1])  # its copy here is surplus
    async with (
        worker_rig(folders[0], quota_bytes=10_000) as one,
        worker_rig(folders[1], quota_bytes=10_000) as two,
    ):
        settings = load_cfm(settings_file(tmp_path, san, one.addr, [one.addr, two.addr]))
        plan = await once.plan(settings)
        assert [(c["file"], c["source"], c["destination"]) for c in plan["copies"]] == [
            (NAMES[10], one.addr, two.addr)
        ]
        assert [(d["file"], d["server"], d["kind"]) for d in plan["deletes"]] == [
            (NAMES[0], one.addr, "surplus")
        ]
        assert plan["refusals_total"] == sum(sum(by.values()) for by in plan["refusal_counts"].values())
        assert {server["state"] for server in plan["servers"]} == {"up"}
    assert len([path for path in (folders[0] / "base").iterdir() if path.suffix == ".mpg"]) == 10
    assert [path.name for path in (folders[1] / "base").iterdir() if path.suffix == ".mpg"] == NAMES[:1]


async def test_a_look_tells_of_a_server_that_is_down_and_of_a_san_that_is_gone(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    (tmp_path / "made").mkdir()
    async with worker_rig(tmp_path / "made", quota_bytes=10_000) as one:
        path = settings_file(tmp_path, gone, one.addr, [one.addr, "127.0.0.1:9"])
        plan = await once.plan(load_cfm(path))
    assert (plan["copies"], plan["deletes"]) == ([], [])
    assert [server["state"] for server in plan["servers"]] == ["up", "down"]
    assert plan["refusal_counts"]["copy"]


async def test_a_look_at_metadata_on_a_disk_that_hangs_ends_and_says_so(tmp_path: Path) -> None:
    disk = FakeFileSystem()
    disk.hang(str(tmp_path))
    (tmp_path / "made").mkdir()
    async with worker_rig(tmp_path / "made", quota_bytes=10_000) as one:
        settings = load_cfm(settings_file(tmp_path, a_san(tmp_path), one.addr, [one.addr]))
        try:
            plan = await once.plan(settings, disk=once.InputDisk(disk, patience_s=0.05))
        finally:
            disk.heal()
    assert (plan["copies"], plan["deletes"]) == ([], [])
    assert plan["snapshot"]["accepted"] is False
    assert plan["snapshot"]["why"] == "the disk of the metadata gave no sign of life for 0.05 s"


# ── a rehearsal ─────────────────────────────────────────────────────────────────────────────────────────


def empty_disks() -> Node:
    return Node(files(20), sources=3, disk_bytes=1000)


def doubled_and_full() -> Node:
    library = files(14)
    node = Node(library, sources=2, disk_bytes=1000, rules=Rules(minimum_stay_ms=0))
    node.put(node.destinations[0], *library[:10])
    node.put(node.destinations[1], *library[3:8])
    return node


def room_for_a_rising_file() -> Node:
    library = files(20)
    node = Node(library, disk_bytes=1000, rules=Rules(minimum_stay_ms=0))
    node.put(node.destinations[0], *library[0:18:2])
    node.put(node.destinations[1], *library[1:18:2])
    return node


def chosen(node: Node) -> set[tuple[Any, ...]]:
    """What the node would do, or has begun."""
    if (round_ := node.core.last_round) is None:
        return set()
    copies = {(copy.file.name, copy.source, copy.destination) for copy in round_.copies}
    return copies | {(delete.file.name, delete.server) for delete in round_.deletes}


@pytest.mark.parametrize(
    ("make", "made_room_for"),
    [(empty_disks, set()), (doubled_and_full, set()), (room_for_a_rising_file, {"F020.mpg"})],
)
def test_a_rehearsal_chooses_what_is_done_in_earnest(
    make: Callable[[], Node], made_room_for: set[str]
) -> None:
    """`made_room_for`: what was copied in earnest when room had been made for it."""
    rehearsed, real = make(), make()
    rehearsed.core = Core(rehearsed.config, Recovered("", 0, 0), rehearsed.now, rehearsal=True)
    for node in (rehearsed, real):
        node.run(6_000)  # the servers answer, and tell of their disks twice
        node.send(ev.SanIndexed(frozenset(node.san)))
        node.watch(F020__mpg=12)
        node.grade()
        node.run(100)
    assert not rehearsed.core.state.tasks.active
    assert not rehearsed.core.state.orders.active
    assert not rehearsed.deleted
    begun: set[tuple[Any, ...]] = {
        (t.file.name, t.source, t.destination) for t in real.core.state.tasks.active.values()
    }
    begun |= {(name, addr) for addr, name in real.deleted}
    begun |= {(o.file.name, o.server) for o in real.core.state.orders.active.values()}
    went_on = {deed for deed in begun if deed[0] in made_room_for}
    assert begun - went_on == chosen(rehearsed) != set()
    plan = report.plan_json(rehearsed.core, rehearsed.now)
    assert len(plan["copies"]) + len(plan["deletes"]) == len(begun - went_on)
    assert plan["activity"]["doing"] == "starting"
    counted = plan["activity"]["copies"], plan["activity"]["deletes"]
    assert counted == (len(plan["copies"]), len(plan["deletes"]))
    assert " to start" in plan["verdict"]


def test_a_running_cfm_has_begun_what_it_chose() -> None:
    node = empty_disks()
    node.send(ev.SanIndexed(frozenset(node.san)))
    node.grade()
    node.run(100)
    plan = report.plan_json(node.core, node.now)
    assert (plan["copies"], plan["deletes"]) == ([], [])
