"""The SAN is mounted as a server's disk: nothing of it is ever deleted, and everybody says so."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from cfm_lab.testing.cluster import Cluster

pytestmark = pytest.mark.e2e

KB = 1_000
QUICK = {
    "servers": {"heartbeat_interval_sec": 1},
    "runner": {"between_events_run_interval_sec": 1},
}
OLD_HOST = "127.0.2.1"
MS_BIND = 4096


@contextmanager
def bound(cluster: Cluster, shelf: Path) -> Iterator[None]:
    """The source folder is mounted over `base_dir`; skips where we may not mount."""
    libc = ctypes.CDLL(None, use_errno=True)
    where = os.fsencode(shelf)
    if libc.mount(os.fsencode(cluster.san), where, None, MS_BIND, None) != 0:
        pytest.skip(f"cannot mount here: {os.strerror(ctypes.get_errno())}")
    try:
        yield
    finally:
        libc.umount2(where, 2)  # MNT_DETACH: whatever still looks at it


@contextmanager
def linked(cluster: Cluster, shelf: Path) -> Iterator[None]:
    """`base_dir` is a link to the source folder."""
    shelf.rmdir()
    shelf.symlink_to(cluster.san)
    yield


def originals(cluster: Cluster) -> set[str]:
    return {path.name for path in cluster.san.iterdir() if path.suffix == ".mpg"}


@pytest.mark.parametrize("old", [False, True], ids=["ours", "old"])
@pytest.mark.parametrize(
    "mounted",
    [pytest.param(bound, id="bind mount"), pytest.param(linked, id="link", marks=pytest.mark.quick)],
)
def test_no_original_is_deleted(
    tmp_path: Path, mounted: Callable[[Cluster, Path], AbstractContextManager[None]], *, old: bool
) -> None:
    """20 files of 100 kB on a "disk" that may hold 9 of them, and lists no source folder of its own."""
    with Cluster(
        tmp_path,
        1,
        2,
        files=20,
        file_bytes=100 * KB,
        cfm_keys=QUICK,
        old=frozenset({OLD_HOST} if old else ()),
    ) as cluster:
        addr, other = cluster.destination_addrs
        with mounted(cluster, cluster.shelf(addr)):
            cluster.place(other, cluster.ranks[:3])
            cluster.start()
            cluster.wait_for(lambda: "source_disk" in cluster.conditions(), "cfm to say so")
            cluster.hit(cluster.ranks[19], times=6)
            cluster.wait_for(lambda: bool(cluster.status()["rising"]), "a file to rise")
            cluster.wait_at_rest()
            assert originals(cluster) == set(cluster.ranks)
            assert set(cluster.ranks[:3]) <= cluster.visible(other), "they are no surplus beside originals"
            status = cluster.status()
            assert str(cluster.san) in status["verdict"]
            assert str(cluster.san) in cluster.server(addr)["why"]
            if not old:
                cluster.wait_for(lambda: len(cluster.visible(other)) == 9, "the other disk to be filled")
                said = "found base_dir to be a source folder"
                cluster.wait_for(lambda: said in cluster.workers[addr].output(), "cfw to say so as well")
            assert "a source folder" in cluster.cfm.output()
            for daemon in cluster.daemons:
                daemon.stop()
    assert originals(cluster) == set(cluster.ranks)
