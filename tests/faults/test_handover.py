"""A node goes from the earlier cfm to ours and back, with real processes on each side that is ours."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from cfm_lab.testing.cluster import Cluster
from cfm_lab.testing.old_controller import OldController

pytestmark = pytest.mark.e2e

KB = 1_000


async def until(holds: Callable[[], bool], cluster: Cluster, what: str) -> None:
    await asyncio.to_thread(cluster.wait_for, holds, what, 40)


async def test_back_to_the_earlier_cfm_and_forth(tmp_path: Path) -> None:
    with Cluster(tmp_path, 1, 2, files=12, file_bytes=100 * KB) as cluster:
        first, second = cluster.destination_addrs
        await asyncio.to_thread(cluster.start)
        await until(lambda: len(cluster.placed()) == 12, cluster, "all files to be placed")
        await asyncio.to_thread(cluster.wait_at_rest)
        running = await asyncio.to_thread(cluster.run, "cfm", "handover", "--to-old")
        assert (running.returncode, "stop it first" in running.stderr) == (1, True), running.stderr

        cluster.cfm.stop()
        back = await asyncio.to_thread(cluster.run, "cfm", "handover", "--to-old")
        assert back.returncode == 0, back.stdout + back.stderr
        assert "3 workers freed" in back.stdout

        async with OldController(cluster.cfm_addr) as old:
            name = min(cluster.visible(first))
            assert await old.delete(first, name) == 200
            task = old.add_task(name, str(cluster.san / name), cluster.source_addrs[0], second)
            await old.reached(task, "done", within_s=30)
            assert name in cluster.visible(second)
            looked = await old.look(second)
            assert set(looked.names) == cluster.visible(second)
            reports = len(old.reports)
            assert (await asyncio.to_thread(cluster.run, "cfm", "handover", "--to-old")).returncode == 0
            assert len(old.reports) == reports, "nobody repeats a report"

        await asyncio.to_thread(cluster.restart, cluster.cfm)
        cluster.publish("NEW_K2026.mpg")
        await until(lambda: bool(cluster.holders("NEW_K2026.mpg")), cluster, "a copy on our own order again")
        await asyncio.to_thread(cluster.wait_at_rest)
        assert cluster.problems() == []


async def test_a_copy_that_an_old_worker_still_runs_is_taken_over(tmp_path: Path) -> None:
    slow = tmp_path / "downloader.sh"
    slow.write_text('#!/bin/sh\nsleep 6; cp "$3" "$2" && echo Successfully >&2\n')
    slow.chmod(0o755)
    old_host = frozenset({"127.0.2.1"})
    with Cluster(
        tmp_path / "node", 1, 2, files=1, file_bytes=100 * KB, old=old_host, downloader=slow
    ) as cluster:
        old_worker, ours = cluster.destination_addrs
        name = cluster.ranks[0]
        async with OldController(cluster.cfm_addr) as old:
            for daemon in cluster.workers.values():
                daemon.start()
            task = old.add_task(name, str(cluster.san / name), cluster.source_addrs[0], old_worker)
            await old.reached(task, "working", within_s=20)
            here = await asyncio.to_thread(cluster.run, "cfm", "handover", "--from-old")
            assert here.returncode == 0, here.stdout + here.stderr
        await asyncio.to_thread(cluster.restart, cluster.cfm)
        assert [one["id"] for one in cluster.get("/tasks")] == [str(task)]
        await until(lambda: name in cluster.visible(old_worker), cluster, "the old worker's copy")
        await until(lambda: "copied file" in cluster.cfm.output(), cluster, "the copy to count")
        await asyncio.to_thread(cluster.wait_at_rest)
        assert cluster.visible(ours) == set(), "the copy was made twice"
        assert [deed.server for deed in cluster.cfm.deeds("copied")] == [old_worker]
