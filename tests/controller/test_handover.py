"""`cfm handover`: from the earlier cfm and back, with the stand-ins and a worker of ours on real sockets."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import yaml

from cfm.config import CfmSettings, load_cfm
from cfm.controller.act.handover import from_old, to_old
from cfm.errors import CfmError
from cfm.model import Addr, File, Status, Task
from cfm.tasks.sqlite_store import SqliteStore
from cfm.tasks.store import PutTask
from cfm.worker.decide.fencing import Binding, Issuer
from cfm_lab.testing.old_controller import OldController
from cfm_lab.testing.old_worker import OldWorker
from cfm_lab.testing.processes import free_port
from cfm_lab.testing.worker_rig import WorkerRig, worker_rig

SOURCE = "127.0.1.1:8888"
NOBODY = "127.0.2.9:1"


@pytest.fixture
async def worker(tmp_path: Path) -> AsyncIterator[WorkerRig]:
    async with worker_rig(tmp_path) as rig:
        yield rig


def settings_of(
    folder: Path, *destinations: str, listen: str = "", sources: tuple[str, ...] = (SOURCE,)
) -> CfmSettings:
    path = folder / "cfm.yml"
    listen = listen or f"127.0.0.1:{free_port('127.0.0.1')}"
    servers = {"sources": list(sources), "destinations": list(destinations), "heartbeat_timeout_sec": 1}
    path.write_text(yaml.safe_dump({"listen_addr": listen, "servers": servers}))
    return load_cfm(path)


def stored(settings: CfmSettings) -> dict[int, Task]:
    return {task.id: task for task in SqliteStore(settings.state.path).peek().tasks}


def bound_store(settings: CfmSettings, *tasks: Task) -> Issuer:
    """What our cfm left behind: its id, its epoch and these tasks."""
    store = SqliteStore(settings.state.path)
    recovered = store.open()
    store.commit([PutTask(task) for task in tasks])
    store.close()
    return Issuer(recovered.controller_id, recovered.epoch)


def a_task(task_id: int, worker: str) -> Task:
    now_s = int(time.time())
    return Task(
        task_id,
        Status.WORKING,
        now_s,
        now_s,
        File("A.mpg", 1, 9),
        "/d/A.mpg",
        Addr(SOURCE),
        Addr(worker),
        1,
        "x",
    )


class TestToOld:
    async def test_our_workers_obey_the_earlier_cfm_afterwards(
        self, tmp_path: Path, worker: WorkerRig
    ) -> None:
        (worker.base / "A.mpg").write_bytes(b"x")
        settings = settings_of(tmp_path, worker.addr, sources=())
        issuer = bound_store(settings, a_task(7, worker.addr))
        await worker.api.authority.hear(issuer)
        async with OldController() as old:
            assert await old.delete(worker.addr, "A.mpg") == 409
            done = await to_old(settings)
            assert (done.freed, done.not_freed) == ([worker.addr], {})
            assert worker.api.authority.binding is None
            assert await old.delete(worker.addr, "A.mpg") == 200
        ended = stored(settings)[7]
        assert (ended.status, ended.ended_why) == (Status.CANCELLED, "the node went back to the earlier cfm")

    async def test_who_cannot_be_freed_is_named(self, tmp_path: Path, worker: WorkerRig) -> None:
        await worker.api.authority.hear(Issuer("another", 9))
        settings = settings_of(tmp_path, worker.addr, NOBODY, sources=())
        done = await to_old(settings)
        assert done.not_freed == {worker.addr: "it belongs to another cfm", NOBODY: "Connection refused"}
        assert worker.api.authority.binding == Binding("another", 9)

    async def test_old_workers_are_left_as_they_are(self, tmp_path: Path) -> None:
        (tmp_path / "old").mkdir()
        async with (
            OldController() as old,
            OldWorker(listen="127.0.0.1:0", cfm=old.addr, base=tmp_path / "old", poll_s=3600) as worker,
        ):
            done = await to_old(settings_of(tmp_path, worker.addr, sources=()))
        assert (done.old, done.freed, done.not_freed) == ([worker.addr], [], {})

    async def test_stale_tasks_leave_the_list_of_an_earlier_cfm_that_runs_again(
        self, tmp_path: Path, worker: WorkerRig
    ) -> None:
        """It kept tasks of before our time, and would wait an hour for their servers."""
        async with OldController() as old:
            stale = old.task_of("A.mpg", "/d/A.mpg", SOURCE, worker.addr)
            stale["id"] = str((int(time.time()) - 600) * 10**9)
            stale["status"] = "working"
            old.tasks[int(stale["id"])] = stale
            settings = settings_of(tmp_path, worker.addr, listen=old.addr, sources=())
            await worker.api.authority.hear(bound_store(settings))
            fresh = old.add_task("B.mpg", "/d/B.mpg", SOURCE, NOBODY)
            for removed in ([int(stale["id"])], []):  # a repetition leaves the fresh task alone
                done = await to_old(settings)
                assert (done.old_cfm_runs, done.removed_tasks) == (True, removed)
                assert list(old.tasks) == [fresh]
                assert worker.api.authority.binding is None

    async def test_it_waits_for_our_own_cfm_to_stop(self, tmp_path: Path, worker: WorkerRig) -> None:
        settings = settings_of(tmp_path, worker.addr, sources=())
        store = SqliteStore(settings.state.path)
        store.open()
        try:
            with pytest.raises(CfmError, match="cannot use the state"):
                await to_old(settings)
        finally:
            store.close()


class TestFromOld:
    async def test_tasks_that_are_not_over_are_taken_over(self, tmp_path: Path) -> None:
        video = tmp_path / "A.mpg"
        video.write_bytes(b"x" * 5000)
        destination = "127.0.2.1:8888"
        async with OldController() as old:
            running = old.add_task("A.mpg", str(video), SOURCE, destination, rank=3)
            old.tasks[running]["status"] = "working"
            over = old.add_task("B.mpg", str(video), SOURCE, destination)
            old.tasks[over]["status"] = "done"
            settings = settings_of(tmp_path, destination, listen=old.addr)
            done = await from_old(settings)
            assert [task.id for task in done.taken_over] == [running]
            assert (await from_old(settings)).taken_over == [], "a repetition takes over nothing twice"
        task = stored(settings)[running]
        assert (task.status, task.file) == (Status.WORKING, File("A.mpg", 3, 5000))
        assert (task.source, task.destination, task.path) == (SOURCE, destination, os.fspath(video))

    async def test_what_cannot_be_taken_over_is_named(self, tmp_path: Path) -> None:
        destination = "127.0.2.1:8888"
        async with OldController() as old:
            old.add_task("A.mpg", "/nowhere/A.mpg", SOURCE, destination)
            old.add_task("B.mpg", "/nowhere/B.mpg", SOURCE, NOBODY)
            done = await from_old(settings_of(tmp_path, destination, listen=old.addr))
        assert done.left_out == {
            "A.mpg": "/nowhere/A.mpg cannot be seen here",
            "B.mpg": "cfm.yml does not name both of its servers",
        }

    async def test_the_earlier_cfm_must_run(self, tmp_path: Path) -> None:
        with pytest.raises(CfmError, match="no earlier cfm answers"):
            await from_old(settings_of(tmp_path, NOBODY))
