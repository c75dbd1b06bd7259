"""`cfw run` as a process: how it starts, what it starts without, how it ends, and `cfw release`."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cfm.cli.cfw import app
from cfm.config import CfwSettings, load_cfw
from cfm.errors import CfmError, StateError
from cfm.model import Addr
from cfm.worker.act.state import SqliteState
from cfm.worker.decide.fencing import Binding
from cfm.worker.program import run
from cfm.worker.release import release
from cfm_lab.testing.raw_http import request, say
from cfm_lab.testing.worker_rig import RigAnswer, parse

PROGRAM = """
import asyncio, sys
from pathlib import Path
from cfm.config import load_cfw
from cfm.worker.program import run
asyncio.run(run(load_cfw(Path(sys.argv[1]))))
"""


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def write_settings(folder: Path, name: str = "cfw", **more: str) -> Path:
    """A settings file; nobody listens at its `cfm_addr`."""
    (folder / "base").mkdir(exist_ok=True)
    keys = {
        "listen_addr": f"127.0.0.1:{free_port()}",
        "cfm_addr": "127.0.0.1:1",
        "base_dir": "base",
        "state.url": f"sqlite:///{name}.db",
        **more,
    }
    lines = [f"{key}: {value}" for key, value in keys.items() if key != "state.url"]
    path = folder / f"{name}.yml"
    path.write_text("\n".join([*lines, "state:", f"  url: {keys['state.url']}"]) + "\n")
    return path


@dataclass(frozen=True, slots=True)
class Running:
    settings: CfwSettings

    async def ask(self, method: str, path: str, **headers: str) -> RigAnswer:
        return parse(await say(self.settings.listen_addr, request(method, path, body=b"", **headers)))

    async def until_metric(self, line: str) -> None:
        async with asyncio.timeout(10):
            while line not in (await self.ask("GET", "/metrics")).body.decode().splitlines():
                pass


@asynccontextmanager
async def running(path: Path) -> AsyncIterator[Running]:
    """The program within this process."""
    settings = load_cfw(path)
    ready: asyncio.Future[Addr] = asyncio.get_running_loop().create_future()
    program = asyncio.create_task(run(settings, ready.set_result))
    try:
        either: set[asyncio.Future[Any]] = {ready, program}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if program.done():
            program.result()
        assert ready.result() == settings.listen_addr
        yield Running(settings)
    finally:
        async with asyncio.timeout(5):
            program.cancel()
            await asyncio.gather(program, return_exceptions=True)


@asynccontextmanager
async def process(path: Path) -> AsyncIterator[tuple[Process, Running]]:
    """The program in a process of its own."""
    started = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, str(path), stdout=PIPE, stderr=PIPE
    )
    assert started.stdout is not None
    try:
        async with asyncio.timeout(30):
            while not (line := await started.stdout.readline()).startswith(b"listening on "):
                assert line, (await started.communicate())[1].decode()
        assert line.split()[-1].decode() == load_cfw(path).listen_addr
        yield started, Running(load_cfw(path))
    finally:
        with contextlib.suppress(ProcessLookupError):
            started.kill()
        await started.communicate()


async def stop(started: Process, number: int) -> int:
    started.send_signal(number)
    async with asyncio.timeout(5):
        return await started.wait()


async def test_serves_and_ends_cleanly_while_a_file_is_read(tmp_path: Path) -> None:
    async with process(write_settings(tmp_path)) as (started, worker):
        with (tmp_path / "base" / "a.mpg").open("wb") as file:
            file.truncate(64 << 20)
        assert (await worker.ask("HEAD", "/hb")).status == 200
        assert (await worker.ask("GET", "/files")).body == b"a.mpg\n"
        host, _, port = worker.settings.listen_addr.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port), limit=1024)
        writer.write(request("GET", "/content/a.mpg"))
        await reader.readuntil(b"\r\n\r\n")
        assert await stop(started, signal.SIGTERM) == 0
        writer.close()
    here = {path.name for path in (tmp_path / "base").iterdir()}
    assert {name for name in here if not name.startswith(".cfw-probe-")} == {
        "a.mpg",
        ".cfw-id",
        "temp.downloaded",
    }


async def test_ends_by_the_keyboard(tmp_path: Path) -> None:
    async with process(write_settings(tmp_path)) as (started, _):
        assert await stop(started, signal.SIGINT) == 0


async def test_keeps_its_disk_over_a_restart(tmp_path: Path) -> None:
    path = write_settings(tmp_path)
    disks, boots = set(), set()
    for _ in range(2):
        async with running(path) as worker:
            headers = (await worker.ask("HEAD", "/hb")).headers
            disks.add(headers["cfw-disk"])
            boots.add(headers["cfw-boot"])
    assert (len(disks), len(boots)) == (1, 2)


async def test_an_unmounted_disk_is_seen_at_the_next_start(tmp_path: Path) -> None:
    path = write_settings(tmp_path)
    async with running(path):
        pass
    (tmp_path / "base").rename(tmp_path / "away")
    (tmp_path / "base").mkdir()
    async with running(path) as worker:
        assert (await worker.ask("HEAD", "/hb")).status == 200
        assert [(await worker.ask("GET", path)).status for path in ("/files", "/df")] == [500, 500]
        (tmp_path / "base").rmdir()
        (tmp_path / "away").rename(tmp_path / "base")
        assert (await worker.ask("GET", "/files")).status == 200
    assert not (tmp_path / "away").exists()


async def test_runs_without_base_dir_and_uses_it_when_it_comes(tmp_path: Path) -> None:
    path = write_settings(tmp_path)
    (tmp_path / "base").rmdir()
    async with running(path) as worker:
        assert (await worker.ask("GET", "/df")).status == 500
        (tmp_path / "base").mkdir()
        assert (await worker.ask("GET", "/df")).status == 200


async def test_a_second_worker_on_the_same_base_dir_does_not_start(tmp_path: Path) -> None:
    async with running(write_settings(tmp_path)):
        with pytest.raises(StateError, match="another cfw"):
            await run(load_cfw(write_settings(tmp_path, "second")))


async def test_a_second_worker_on_the_same_state_does_not_start(tmp_path: Path) -> None:
    path = write_settings(tmp_path)
    async with running(path):
        with pytest.raises(StateError, match="another cfw uses it"):
            await run(load_cfw(path))


async def test_a_taken_port_is_one_clear_sentence(tmp_path: Path) -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        addr = f"127.0.0.1:{sock.getsockname()[1]}"
        with pytest.raises(StateError, match=f"cannot listen on {addr}: the port is in use"):
            await run(load_cfw(write_settings(tmp_path, listen_addr=addr)))


@pytest.mark.parametrize("source", ["base", "base/in", "."])
async def test_a_base_dir_that_is_a_source_is_refused(tmp_path: Path, source: str) -> None:
    (tmp_path / "base" / "in").mkdir(parents=True)
    with pytest.raises(StateError, match="source folder"):
        await run(load_cfw(write_settings(tmp_path, source_dirs=f"[{source}]")))


async def test_the_limit_is_read_again_on_sighup(tmp_path: Path) -> None:
    path = write_settings(tmp_path)
    async with running(path) as worker:
        text = path.read_text()
        path.write_text(text + "storage_usage_limit_percent: 101\n")
        os.kill(os.getpid(), signal.SIGHUP)
        await worker.until_metric("cfw_settings_refused 1.0")
        assert (await worker.ask("HEAD", "/hb")).headers["cfw-limit-percent"] == "90"
        path.write_text(text + "storage_usage_limit_percent: 55\nstreams: 3\n")
        os.kill(os.getpid(), signal.SIGHUP)
        await worker.until_metric("cfw_settings_refused 0.0")
        assert (await worker.ask("HEAD", "/hb")).headers["cfw-limit-percent"] == "55"
        await worker.until_metric("cfw_restart_needed 1.0")


class TestRelease:
    async def bound(self, path: Path) -> None:
        state = await SqliteState.open(load_cfw(path).state.path)
        await state.bind(Binding("controller-a", 3))
        await state.close()

    async def test_of_a_worker_that_runs(self, tmp_path: Path) -> None:
        path = write_settings(tmp_path)
        await self.bound(path)
        async with running(path) as worker:
            assert (await worker.ask("DELETE", "/files/a.mpg")).status == 409
            was = await asyncio.to_thread(release, worker.settings)
            assert was is not None
            assert (was.controller, was.epoch) == ("controller-a", 3)
            assert (await worker.ask("DELETE", "/files/a.mpg")).status == 404

    async def test_of_one_that_does_not(self, tmp_path: Path) -> None:
        path = write_settings(tmp_path)
        settings = load_cfw(path)
        assert await asyncio.to_thread(release, settings) is None
        assert not settings.state.path.exists()
        await self.bound(path)
        for args, said in (
            ([], "released from the controller controller-a (epoch 3)\n"),
            ([], "this worker belonged to no controller\n"),
            (["--json"], '{\n  "controller": null,\n  "epoch": null\n}\n'),
        ):
            ended = await asyncio.to_thread(CliRunner().invoke, app, ["release", "-c", str(path), *args])
            assert (ended.exit_code, ended.output) == (0, said)

    async def test_of_something_else_is_told(self, tmp_path: Path) -> None:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
            writer.close()

        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            addr = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
            settings = load_cfw(write_settings(tmp_path, listen_addr=addr))
            with pytest.raises(CfmError, match="404"):
                await asyncio.to_thread(release, settings)


async def test_a_hung_disk_does_not_hold_up_the_start_or_the_end(tmp_path: Path) -> None:
    """A FIFO for a marker would hang whoever opened it to read."""
    path = write_settings(tmp_path)
    os.mkfifo(tmp_path / "base" / ".cfw-id")
    async with running(path) as worker:
        assert (await worker.ask("GET", "/files")).status == 500
