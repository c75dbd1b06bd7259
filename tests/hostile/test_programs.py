"""Inputs that must bounce off the whole programs: tasks of a hostile cfm and content of a hostile source, at
a real cfw; settings that must not be taken, at the start of both."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
import yaml
from typer import Typer
from typer.testing import CliRunner

from cfm.cli.cfm import app as cfm_commands
from cfm.cli.cfw import app as cfw_commands
from cfm.model import Status
from cfm_lab.testing.faulty_source import FaultySource, SourceFault
from cfm_lab.testing.processes import Daemon, free_port, wait_for
from cfm_lab.testing.waiting_cfm import WaitingCfm

CONTENT: Final = bytes(range(256)) * 8_000
NAME: Final = "A.mpg"


@dataclass(slots=True)
class Rig:
    """A cfw process that believes in a cfm of ours."""

    cfm: WaitingCfm
    cfw: Daemon
    root: Path
    before: frozenset[Path] = frozenset()

    def files(self) -> frozenset[Path]:
        """All that lies anywhere near, but for what the worker writes for itself."""
        own = (self.cfw.folder / "output.txt", self.cfw.folder / "cfw.db")
        found = (path for path in self.root.rglob("*") if path.is_file())
        return frozenset(path for path in found if not str(path).startswith(tuple(map(str, own))))

    async def fails(self, number: int, **task: object) -> str:
        """Offer a task: it must be told as failed, with nothing written anywhere; why it failed."""
        await self.cfm.offer(id=str(number), dst_addr=self.cfw.addr, **task)
        report = await self.cfm.heard(number, status=Status.FAILED)
        assert self.files() == self.before
        return report.error or ""


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    folder = tmp_path / "cfw"
    (folder / "data").mkdir(parents=True)
    async with WaitingCfm() as cfm:
        addr = f"127.0.2.1:{free_port('127.0.2.1')}"
        settings = {"listen_addr": addr, "cfm_addr": cfm.addr, "base_dir": "data", "quota_bytes": 10**9}
        (folder / "cfw.yml").write_text(yaml.safe_dump(settings))
        cfw = Daemon("cfw", folder, addr, "cfm.cli.cfw", ("run", "-c", "cfw.yml"))
        cfw.start()
        try:
            await asyncio.to_thread(wait_for, cfw.listens, "cfw to listen", [cfw])
            await cfm.asked(1)
            rig = Rig(cfm, cfw, tmp_path)
            rig.before = rig.files()
            yield rig
        finally:
            cfw.stop()


ESCAPING: Final = (
    "../escape.txt",
    "../../escape.txt",
    "/escape.txt",
    "folder/escape.txt",
    "..",
    ".",
    ".cfw-id",
    "temp.downloaded/x",
    "..\\escape.txt",
    "a\nb.mpg",
    "a\x1b[2J.mpg",
    "a\N{RIGHT-TO-LEFT OVERRIDE}gpm.b",
    "x" * 256,
)


@pytest.mark.e2e
async def test_a_name_that_is_no_single_component_is_a_failed_task(rig: Rig) -> None:
    async with FaultySource(CONTENT) as source:
        for number, name in enumerate(ESCAPING, 1):
            await rig.fails(number, file_name=name, file_path=f"/data2/{name}", src_addr=source.addr)
        assert not source.requests, "nothing is asked for that has no place"
    lines = rig.cfw.output().splitlines()
    assert all(line.isprintable() for line in lines)


@pytest.mark.e2e
async def test_a_source_that_is_no_peer_is_refused_before_connecting(rig: Rig) -> None:
    """The bait listens where a careless reader of these addresses would connect to."""
    with socket.create_server(("127.0.0.1", 0)) as bait:
        bait.setblocking(False)
        port = bait.getsockname()[1]
        sources = (
            "169.254.169.254:80",
            "127.0.0.1:22",
            f"x@127.0.0.1:{port}",
            f"127.0.0.1:{port}@evil.example:80",
            f"127.0.0.1:{port}/..",
            f"127.0.0.1:{port}#",
            f"2130706433:{port}",
            f"0x7f000001:{port}",
            f"0.0.0.0:{port}",
            rig.cfm.addr,
            "",
        )
        for number, source in enumerate(sources, 1):
            assert "source" in await rig.fails(number, src_addr=source), source
        with pytest.raises(BlockingIOError):
            bait.accept()


LIES: Final = {
    SourceFault.SHORT_FILE: "bytes instead of",
    SourceFault.LONG_FILE: "bytes instead of",
    SourceFault.CORRUPT: "checksum",
    SourceFault.REDIRECT: "302",
    SourceFault.GZIP: "an encoding",
    SourceFault.CHUNKS: "does not say how many",
}


@pytest.mark.e2e
async def test_a_source_that_does_not_send_the_file_leaves_nothing(rig: Rig) -> None:
    for number, (lie, why) in enumerate(LIES.items(), 1):
        async with FaultySource(CONTENT) as source:
            source.fault = lie
            said = await rig.fails(number, src_addr=source.addr, size_bytes=len(CONTENT))
        assert why in said, lie
    assert (await _listed(rig)) == b""


async def _listed(rig: Rig) -> bytes:
    reader, writer = await asyncio.open_connection(*rig.cfw.addr.split(":"))
    writer.write(b"GET /files HTTP/1.1\r\nHost: 127.0.2.1\r\nConnection: close\r\n\r\n")
    answer = await reader.read()
    writer.close()
    return answer.partition(b"\r\n\r\n")[2]


# ── settings ────────────────────────────────────────────────────────────────────────────────────────────

BOMB: Final = "log_dir: &a [x, x]\n" + "".join(
    f"b{number}: &b{number} [*a, *a, *a, *a, *a, *a, *a, *a]\n" for number in range(5)
)
BAD_CFM: Final = {
    "a python tag": ("log_level: info\nlog_dir: !!python/object/apply:os.system ['touch owned']\n", 2),
    "an alias bomb": (BOMB, 1),
    "a key twice": ("log_level: info\nlog_level: debug\n", 2),
    "an unknown key": ("log_level: info\n\nlog_dri: log\n", 3),
    "a limit of 0": ("remover:\n  storage_usage_limit_percent: 0\n", 2),
    "a limit of 101": ("remover:\n  storage_usage_limit_percent: 101\n", 2),
    "an address without a port": ("listen_addr: 127.0.0.1\n", 1),
}
BAD_CFW: Final = {
    "a python tag": ("base_dir: !!python/name:os.system\n", 1),
    "a key twice": ("base_dir: data\nbase_dir: data\n", 2),
    "an unknown key": ("base_dri: data\n", 1),
    "a limit of 0": ("storage_usage_limit_percent: 0\n", 1),
    "a limit of 101": ("storage_usage_limit_percent: 101\n", 1),
}


@pytest.mark.parametrize("what", BAD_CFM)
def test_settings_that_must_not_be_taken_end_the_start_of_cfm(tmp_path: Path, what: str) -> None:
    _refused(cfm_commands, "cfm", tmp_path, *BAD_CFM[what])


@pytest.mark.parametrize("what", BAD_CFW)
def test_settings_that_must_not_be_taken_end_the_start_of_cfw(tmp_path: Path, what: str) -> None:
    _refused(cfw_commands, "cfw", tmp_path, *BAD_CFW[what])


def _refused(commands: Typer, program: str, folder: Path, text: str, line: int) -> None:
    """With exit code 2, file and line; nothing is made, no state, no folder, and nothing of it is run."""
    path = folder / f"{program}.yml"
    path.write_text(text)
    ended = CliRunner().invoke(commands, ["run", "-c", str(path)])
    assert ended.exit_code == 2
    assert f"{path}:{line}" in ended.output
    assert list(folder.iterdir()) == [path]
