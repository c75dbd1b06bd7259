"""The stand-ins for the earlier programs: with one another, with our client, and as processes."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from cfm import wire
from cfm.fleet.client import TimeOuts, WorkerClient
from cfm.model import OLD_WORKER, Addr, Failure, File, Listing, Status, Task, Trouble
from cfm_lab.testing.old_controller import OldController
from cfm_lab.testing.old_worker import OldWorker, read_list
from cfm_lab.testing.raw_http import request, say, status_of


@pytest.fixture
def base(tmp_path: Path) -> Path:
    folder = tmp_path / "base"
    folder.mkdir()
    return folder


@pytest.fixture
def original(tmp_path: Path) -> Path:
    path = tmp_path / "san" / "X.mpg"
    path.parent.mkdir()
    path.write_bytes(b"x" * 1000)
    return path


@pytest.fixture
async def controller() -> AsyncIterator[OldController]:
    async with OldController() as running:
        yield running


@pytest.fixture
async def worker(controller: OldController, base: Path) -> AsyncIterator[OldWorker]:
    async with OldWorker(
        listen="127.0.0.1:0", cfm=controller.addr, base=base, poll_s=3600, capacity_bytes=10_000
    ) as running:
        yield running


async def test_a_copy_is_made(
    controller: OldController, worker: OldWorker, base: Path, original: Path
) -> None:
    task = controller.add_task("X.mpg", str(original), "127.0.0.9:1", worker.addr)
    worker.poll_now()
    await controller.reached(task, "done")
    assert (base / "X.mpg").read_bytes() == original.read_bytes()
    assert [body["status"] for _, body, _ in controller.reports] == ["working", "done"]
    looked = await controller.look(worker.addr)
    assert (looked.alive, looked.names) == (True, ("X.mpg",))
    assert looked.df["used_size"] == "1000"


async def test_done_is_said_of_what_failed(controller: OldController, worker: OldWorker, base: Path) -> None:
    worker.mischief.fail_downloads = True
    task = controller.add_task("X.mpg", "/nowhere/X.mpg", "127.0.0.9:1", worker.addr)
    worker.poll_now()
    await controller.reached(task, "done")
    assert worker.ended == [(str(task), False)]
    assert not (base / "X.mpg").exists()


async def test_only_the_first_ready_task_for_itself_is_taken(
    controller: OldController, worker: OldWorker, original: Path
) -> None:
    other = controller.add_task("X.mpg", str(original), "127.0.0.9:1", "127.0.0.8:1")
    first = controller.add_task("X.mpg", str(original), "127.0.0.9:1", worker.addr)
    second = controller.add_task("Y.mpg", str(original), "127.0.0.9:1", worker.addr)
    await worker.poll_once()
    assert [controller.tasks[task]["status"] for task in (other, first, second)] == ["ready", "done", "ready"]


async def test_above_its_own_limit_it_stops_polling(
    controller: OldController, base: Path, original: Path
) -> None:
    async with OldWorker(
        listen="127.0.0.1:0",
        cfm=controller.addr,
        base=base,
        poll_s=3600,
        capacity_bytes=10_000,
        limit_percent=50,
    ) as worker:
        task = controller.add_task("X.mpg", str(original), "127.0.0.9:1", worker.addr)
        (base / "foreign").write_bytes(b"x" * 6_000)
        await worker.poll_once()
        assert (controller.polls, controller.tasks[task]["status"]) == (0, "ready")
        (base / "foreign").unlink()
        await worker.poll_once()
        assert (controller.polls, controller.tasks[task]["status"]) == (1, "done")


async def test_a_start_removes_what_downloads_left(controller: OldController, base: Path) -> None:
    (base / "temp.downloaded").mkdir()
    (base / "temp.downloaded" / "X.mpg.17").write_bytes(b"half")
    async with OldWorker(listen="127.0.0.1:0", cfm=controller.addr, base=base, poll_s=3600):
        assert not (base / "temp.downloaded").exists()


async def test_an_external_downloader(
    controller: OldController, base: Path, tmp_path: Path, original: Path
) -> None:
    program = tmp_path / "downloader.sh"
    program.write_text('#!/bin/sh\ncp "$3" "$2" && echo "$1 $4 Successfully" >&2\n')
    program.chmod(0o755)
    async with OldWorker(
        listen="127.0.0.1:0", cfm=controller.addr, base=base, downloader=str(program), poll_s=3600
    ) as worker:
        controller.add_task("X.mpg", str(original), "127.0.0.9:1", worker.addr)
        await worker.poll_once()
    assert (base / "X.mpg").stat().st_size == 1000


async def test_our_client_with_an_old_worker(worker: OldWorker, base: Path) -> None:
    (base / "a b.mpg").write_bytes(b"12345")
    (base / "folder").mkdir()
    async with WorkerClient("c", 1) as client:
        assert await client.heartbeat(worker.addr) == OLD_WORKER
        assert await client.list_files(worker.addr, fence=3) == Listing(frozenset({"a b.mpg"}))
        disk = await client.disk_usage(worker.addr)
        assert not isinstance(disk, Failure)
        assert (disk.usage.total_bytes, disk.usage.used_bytes) == (10_000, 5)
        assert isinstance(await client.see_copy(worker.addr, "a b.mpg"), Failure)
        assert await client.delete(worker.addr, 1, "folder") == 406
        assert await client.delete(worker.addr, 2, "a b.mpg") == 200
        assert await client.delete(worker.addr, 3, "a b.mpg") == 404
        assert await client.list_files(worker.addr) == Listing(frozenset())


async def test_mischief(worker: OldWorker) -> None:
    worker.mischief.df = b'{"total_size":"0","used_size":"0","avail_size":"0"}'
    worker.mischief.extra_names = ["ghost.mpg"]
    worker.mischief.hang = {"/hb"}
    async with WorkerClient("c", 1, TimeOuts(heartbeat_s=0.2)) as client:
        told = await asyncio.gather(client.heartbeat(worker.addr), client.disk_usage(worker.addr))
        assert [answer.trouble for answer in told if isinstance(answer, Failure)] == [
            Trouble.TIMEOUT,
            Trouble.ABSURD,
        ]
        assert await client.list_files(worker.addr) == Listing(frozenset({"ghost.mpg"}))


@pytest.mark.parametrize("status", Status)
def test_our_list_is_readable_for_an_old_worker(status: Status) -> None:
    task = Task(5, status, 1, 2, File("X", 1, 2), "/d/X", Addr("a:1"), Addr("b:1"), 10, "why")
    assert len(read_list(wire.to_json([wire.task_to_old_json(task)]))) == 1
    with pytest.raises(ValueError, match="cannot be read"):
        read_list(wire.to_json([{**wire.task_to_old_json(task), "id": 5}]))


async def test_an_old_cfm_lets_a_timeout_become_done_and_knows_no_waiting(controller: OldController) -> None:
    task = controller.add_task("X", "/d/X", "a:1", "b:1")

    async def patch(status: str, task_id: object = task) -> int:
        body = json.dumps({"status": status}).encode()
        return status_of(await say(controller.addr, request("PATCH", f"/tasks/{task_id}", body=body)))

    said = [await patch(status) for status in ("timeout", "working", "done", "ready", "failed")]
    assert said == [200, 409, 200, 409, 400]
    assert [await patch("done", task_id) for task_id in ("x", 7)] == [400, 404]
    assert status_of(await say(controller.addr, request("GET", "/tasks/next?dst_addr=b:1"))) == 404


@asynccontextmanager
async def process(*arguments: str) -> AsyncIterator[tuple[Process, str]]:
    """A stand-in as a process, and its address; ended by its pid."""
    started = await asyncio.create_subprocess_exec(sys.executable, "-m", *arguments, stdin=PIPE, stdout=PIPE)
    assert started.stdout is not None
    try:
        async with asyncio.timeout(20):
            line = (await started.stdout.readline()).decode()
        assert line.startswith("listening on ")
        yield started, line.split()[-1]
    finally:
        started.send_signal(signal.SIGTERM)
        async with asyncio.timeout(10):
            assert await started.wait() == 0


async def order(controller: Process, what: Mapping[str, object]) -> object:
    assert controller.stdin is not None
    assert controller.stdout is not None
    controller.stdin.write(json.dumps(what).encode() + b"\n")
    return json.loads(await controller.stdout.readline())


@pytest.mark.e2e
async def test_both_as_processes(base: Path, original: Path) -> None:
    async with (
        process("cfm_lab.testing.old_controller", "--listen", "127.0.0.1:0") as (controller, cfm),
        process(
            "cfm_lab.testing.old_worker",
            *("--listen", "127.0.0.1:0", "--cfm", cfm, "--base", str(base), "--poll", "0.05"),
        ) as (_, addr),
    ):
        task = {"do": "task", "file": "X.mpg", "path": str(original), "src": "127.0.0.9:1", "dst": addr}
        assert isinstance(await order(controller, task), int)
        async with asyncio.timeout(10):
            while "done" not in json.dumps(await order(controller, {"do": "tasks"})):
                pass
        looked = await order(controller, {"do": "look", "addr": addr})
        assert isinstance(looked, dict)
        assert looked["names"] == ["X.mpg"]
        assert await order(controller, {"do": "delete", "addr": addr, "name": "X.mpg#old"}) == 200
        assert not (base / "X.mpg").exists()
