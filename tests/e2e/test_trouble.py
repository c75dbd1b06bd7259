"""Disks, folders and metadata that go wrong under a running node: unknown is never empty."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cfm_lab.testing.cluster import Cluster

pytestmark = pytest.mark.e2e

KB, MB = 1_000, 1_000_000
QUICK = {
    "servers": {"heartbeat_interval_sec": 1},
    "runner": {"between_events_run_interval_sec": 1},
}


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A node at rest with full disks; who hurts it heals it again."""
    folder = tmp_path_factory.mktemp("node")
    with Cluster(folder, 1, 2, files=20, file_bytes=100 * KB, cfm_keys=QUICK) as cluster:
        for number, addr in enumerate(cluster.destination_addrs):
            cluster.place(addr, cluster.ranks[number:18:2])
        cluster.start().wait_at_rest()
        yield cluster


@contextmanager
def nothing_happens(node: Cluster) -> Iterator[None]:
    """No file comes or goes while the block lasts."""
    before = {addr: node.visible(addr) for addr in node.destination_addrs}
    yield
    assert {addr: node.visible(addr) for addr in node.destination_addrs} == before


def test_a_source_folder_that_disappears_stops_everything_until_it_is_back(node: Cluster) -> None:
    away = node.root / "san.away"
    node.san.rename(away)
    with nothing_happens(node):
        node.wait_for(lambda: "source_folders_unknown" in node.conditions(), "it to be missed")
        node.hit(node.ranks[19], times=6)  # wanted now, and there is no room for it
        node.wait_for(lambda: bool(node.status()["rising"]), "the file to rise")
        assert node.run_json("plan")["deletes"] == []
    away.rename(node.san)
    node.wait_for(lambda: bool(node.holders(node.ranks[19])), "the wanted file to come")
    assert node.problems() == []


def test_an_emptied_base_dir_is_unknown_and_not_empty(node: Cluster) -> None:
    addr = node.destination_addrs[0]
    shelf, away = node.shelf(addr), node.root / "disk.away"
    held = node.visible(addr)
    shelf.rename(away)
    shelf.mkdir()
    others = {other: node.visible(other) for other in node.destination_addrs if other != addr}
    node.wait_for(lambda: node.server(addr)["files"] is None, "the list to be unknown")
    assert "unknown" in node.server(addr)["why"]
    assert node.ask("/files", addr)[0] == 500
    missing = min(held)
    assert node.get(f"/api/v1/files/{missing}")["copy"]["reason"] == "holder_unknown"
    node.wait_at_rest()
    assert list(shelf.iterdir()) == [], "nothing is put on whatever is mounted there now"
    assert {other: node.visible(other) for other in others} == others
    shelf.rmdir()
    away.rename(shelf)
    node.wait_for(lambda: node.server(addr)["files"] == len(held), "the list to be known again")
    assert node.visible(addr) == held


@pytest.mark.parametrize("damage", ["emptied", "half", "headless", "gone"])
def test_damaged_metadata_are_rejected_and_decide_nothing(node: Cluster, damage: str) -> None:
    grade = node.root / "grade.info"
    good = grade.read_text()
    lines = good.splitlines(keepends=True)
    damaged = {"emptied": "", "half": "".join(lines[:5]), "headless": "".join(lines[1:])}
    with nothing_happens(node):
        if damage == "gone":
            grade.unlink()
        else:
            node.replace("grade.info", damaged[damage])
        node.wait_for(lambda: bool(node.status()["snapshot"]["why"]), "the reading to be rejected")
        assert node.status()["snapshot"]["accepted"], "the last good one stays in force"
        node.wait_at_rest()
    node.replace("grade.info", good)
    node.wait_for(lambda: node.status()["snapshot"]["why"] is None, "the good one to be accepted again")


def test_a_disk_that_fills_while_a_copy_comes(tmp_path: Path) -> None:
    """Other software writes into the same small file system: the copy goes elsewhere, and leaves nothing."""
    with Cluster(
        tmp_path, 1, 2, files=1, file_bytes=2 * MB, quota_bytes=50 * MB, copy_speed_bps=8 * MB, cfm_keys=QUICK
    ) as cluster:
        small, other = cluster.destination_addrs
        cluster.place(other, [])
        heavy = cluster.shelf(other) / "HEAVY.bin"
        heavy.write_bytes(bytes(46 * MB))  # `other` has no room yet, so `small` is chosen first
        with small_disk(cluster, small, 4 * MB):
            cluster.start()
            cluster.wait_for(lambda: bool(cluster.litter(small)), "the copy to begin")
            fill = cluster.shelf(small) / "OTHERS.bin"
            with pytest.raises(OSError, match="No space"):
                fill.write_bytes(bytes(4 * MB))
            heavy.unlink()
            cluster.wait_for(lambda: "copy failed" in cluster.cfm.output(), "the copy to fail")
            cluster.wait_for(lambda: not cluster.litter(small), "its litter to go")
            cluster.wait_for(lambda: cluster.holders(cluster.ranks[0]) == [other], "the copy elsewhere", 30)
            assert fill.exists()
            for daemon in cluster.daemons:
                daemon.stop()


@contextmanager
def small_disk(cluster: Cluster, addr: str, size_bytes: int) -> Iterator[None]:
    """A file system of its own for a worker's `base_dir`, and no quota; skips where we may not mount."""
    libc = ctypes.CDLL(None, use_errno=True)
    where = os.fsencode(cluster.shelf(addr))
    if libc.mount(b"tmpfs", where, b"tmpfs", 0, f"size={size_bytes}".encode()) != 0:
        pytest.skip(f"cannot mount a small disk here: {os.strerror(ctypes.get_errno())}")
    try:
        cluster.change(cluster.workers[addr], {"quota_bytes": None})
        yield
    finally:
        libc.umount2(where, 2)  # MNT_DETACH: whatever still looks at it
