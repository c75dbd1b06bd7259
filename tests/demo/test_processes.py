"""Nothing of the demo outlives it: programs die with their parent, and the janitor removes the folders."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cfm.demo.processes import Janitor, Program
from cfm.errors import CfmError

PATIENCE_S = 15.0


def program(folder: Path, name: str, body: str) -> Program:
    """A program of a few lines, run as the demo runs its own."""
    path = folder / f"{name}.py"
    path.write_text(textwrap.dedent(body), encoding="utf-8")
    return Program(name, (str(path),), folder / "output")


SERVER = """
    import sys, time
    print("getting up", flush=True)
    print("listening on nowhere", flush=True)
    time.sleep(60)
"""


def wait_until(what: Callable[[], bool]) -> None:
    """Poll: what is waited for happens in processes that are not ours to wait for."""
    deadline_s = time.monotonic() + PATIENCE_S
    while not what():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def alive(pid: int) -> bool:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    return False


async def test_a_program_serves_until_it_is_stopped(tmp_path: Path) -> None:
    server = program(tmp_path, "server", SERVER)
    await server.start()
    pid = server.pid
    assert pid is not None
    assert alive(pid)
    await server.stop()
    assert not alive(pid)


async def test_a_program_that_ends_at_once_leaves_its_last_words(tmp_path: Path) -> None:
    broken = program(tmp_path, "broken", "raise SystemExit('the port is taken')")
    with pytest.raises(CfmError, match="broken ended before it served: the port is taken"):
        await broken.start()
    assert not broken.running


def test_a_program_dies_with_whoever_started_it_and_the_folders_go(tmp_path: Path) -> None:
    """The starter is killed, so it can do nothing about it."""
    server, litter = tmp_path / "server.py", tmp_path / "litter"
    server.write_text(textwrap.dedent(SERVER), encoding="utf-8")
    (litter / "deep").mkdir(parents=True)
    starter = tmp_path / "starter.py"
    starter.write_text(
        textwrap.dedent(
            f"""
            import asyncio
            from pathlib import Path
            from cfm.demo.processes import Janitor, Program
            async def main():
                async with Janitor([Path({str(litter)!r})]):
                    program = Program("server", ({str(server)!r},), Path({str(tmp_path / "output")!r}))
                    await program.start()
                    print(program.pid, flush=True)
                    await asyncio.sleep(60)
            asyncio.run(main())
            """
        ),
        encoding="utf-8",
    )
    with subprocess.Popen([sys.executable, str(starter)], stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        pid = int(running.stdout.readline())
        assert alive(pid)
        os.kill(running.pid, signal.SIGKILL)
    wait_until(lambda: not alive(pid) and not litter.exists())


async def test_the_janitor_removes_what_it_was_given_and_no_more(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").touch()
    (tmp_path / "yours").mkdir()
    async with Janitor([tmp_path / "mine"]):
        assert (tmp_path / "mine").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["yours"]
    (tmp_path / "found").mkdir()
    async with Janitor([tmp_path / "found"]) as janitor:
        await janitor.keep()
    assert (tmp_path / "found").exists(), "a violation was found: somebody will look into it"
    async with Janitor([]):
        pass
