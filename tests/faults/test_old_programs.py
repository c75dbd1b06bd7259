"""Nodes that migrate: the earlier cfm and cfw, played by stand-ins, on either side of ours."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from cfm_lab.testing.cluster import Cluster
from cfm_lab.testing.old_controller import OldController
from cfm_lab.testing.processes import Daemon, free_port

pytestmark = pytest.mark.e2e

KB = 1_000


def downloader(folder: Path) -> Path:
    """The operator's own transfer program, as it was always called."""
    script = folder / "downloader.sh"
    script.write_text('#!/bin/sh\ncp "$3" "$2" && echo "$1 $4 Successfully" >&2\n')
    script.chmod(0o755)
    return script


@pytest.mark.quick
def test_old_workers_as_source_and_as_destination(tmp_path: Path) -> None:
    """The old source serves nobody by itself: ours copies from it by the external downloader."""
    old = frozenset({"127.0.1.1", "127.0.2.1"})
    with Cluster(
        tmp_path / "node", 1, 2, files=20, file_bytes=100 * KB, old=old, downloader=downloader(tmp_path)
    ) as cluster:
        old_one, ours = cluster.destination_addrs
        surplus = cluster.ranks[-1]
        for addr in (old_one, ours):
            cluster.place(addr, [surplus])
        cluster.start()
        cluster.wait_for(lambda: len(cluster.placed()) >= cluster.fitting() - 1, "the disks to be full", 40)
        cluster.wait_for(lambda: len(cluster.holders(surplus)) <= 1, "the surplus copy to go")
        cluster.wait_at_rest(40)
        assert cluster.placed() >= set(cluster.ranks[: cluster.fitting() - 1])
        assert cluster.problems() == []
        copied = [deed.file for deed in cluster.cfm.deeds("copied")]
        assert len(copied) == len(set(copied)), "one log line for each copy"
        assert {deed.server for deed in cluster.cfm.deeds("copied")} == {old_one, ours}


@pytest.mark.quick
def test_an_old_worker_is_not_believed_that_calls_its_failures_done(tmp_path: Path) -> None:
    failing = ("--poll", "0.2", "--fail-downloads")
    with Cluster(
        tmp_path, 1, 2, files=3, file_bytes=100 * KB, old=frozenset({"127.0.2.1"}), old_arguments=failing
    ) as cluster:
        liar, ours = cluster.destination_addrs
        cluster.start()
        cluster.wait_for(lambda: "does not list it" in cluster.cfm.output(), "the lie to be seen through")
        cluster.wait_for(lambda: cluster.visible(ours) == set(cluster.ranks), "the copies elsewhere", 40)
        assert cluster.visible(liar) == set()
        assert {deed.server for deed in cluster.cfm.deeds("copied")} == {ours}


def test_an_old_worker_that_is_restarted_within_a_heartbeat_holds_nobody_up(tmp_path: Path) -> None:
    """It forgets its task, and nobody misses it: what it asks for shows that it copies nothing."""
    began = tmp_path / "began"
    script = tmp_path / "downloader.sh"
    script.write_text(
        f"#!/bin/sh\n[ -e {began} ] || {{ touch {began}; sleep 20; exit 1; }}\n"
        'cp "$3" "$2" && echo Successfully >&2\n'
    )
    script.chmod(0o755)
    old = frozenset({"127.0.2.1"})
    with Cluster(
        tmp_path / "node", 1, 1, files=3, file_bytes=100 * KB, old=old, old_arguments=("--poll", "0.2"),
        downloader=script,
    ) as cluster:  # fmt: skip
        cluster.start()
        worker = cluster.worker("127.0.2.1")
        cluster.wait_for(began.exists, "the first copy to begin")
        worker.kill()
        cluster.restart(worker)
        cluster.wait_for(lambda: cluster.placed() == set(cluster.ranks), "all files to be placed", 60)
        assert "its worker asks for other work" in cluster.cfm.output()


@pytest.mark.quick
async def test_our_worker_obeys_an_old_controller(tmp_path: Path) -> None:
    """It polls, copies by the external downloader, reports in the old words, and deletes on order."""
    folder = tmp_path / "cfw"
    (folder / "data").mkdir(parents=True)
    original = tmp_path / "X_K2026.mpg"
    original.write_bytes(b"x" * 1000)
    addr = f"127.0.2.1:{free_port('127.0.2.1')}"
    worker = Daemon("cfw", folder, addr, "cfm.cli.cfw", ("run", "-c", "cfw.yml"))
    async with OldController() as controller:
        (folder / "cfw.yml").write_text(
            f"listen_addr: {addr}\ncfm_addr: {controller.addr}\nbase_dir: data\n"
            f"downloader_bin: {downloader(tmp_path)}\ndownloader_sleep_sec: 1\n"
            "storage_usage_limit_percent: 100\n"
        )
        worker.start()
        try:
            task = controller.add_task(original.name, str(original), "127.0.1.1:18888", addr)
            await controller.reached(task, "done", within_s=20)
            assert (folder / "data" / original.name).read_bytes() == original.read_bytes()
            assert {frozenset(body) for _, body, _ in controller.reports} == {frozenset({"status"})}
            looked = await controller.look(addr)
            assert (looked.alive, looked.names) == (True, (original.name,))
            assert int(looked.df["total_size"]) > 0
            assert await controller.delete(addr, original.name) == 200
            assert not (folder / "data" / original.name).exists()
        finally:
            await asyncio.to_thread(worker.stop)
