"""The supervisor: whatever becomes of the worker or the task, no process of a downloader is left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cfm.worker.act.transfers.external import SUPERVISOR

FAMILY = """#!/bin/sh
# A child in the background, a grandchild, and one that tries to slip away into a session of its own.
sleep 1000 &
sh -c 'sleep 1000' &
setsid sleep 1000 &
echo "$$ $(jobs -p | tr '\\n' ' ')" >&2
{end}
"""


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    """A pipe that every process of the family holds open, so that its end is the end of all of them."""
    path = tmp_path / "alive"
    os.mkfifo(path)
    return path


def family(folder: Path, fifo: Path, end: str) -> str:
    program = folder / "family"
    script = FAMILY.format(end=end).replace("#!/bin/sh", f"#!/bin/sh\nexec 3>{fifo}; echo started >&3", 1)
    program.write_text(script)
    program.chmod(0o755)
    return str(program)


def start_supervisor(command: list[str]) -> subprocess.Popen[bytes]:
    supervisor = subprocess.Popen(
        [sys.executable, "-I", "-S", str(SUPERVISOR), str(os.getpid())],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    assert supervisor.stdin is not None
    supervisor.stdin.write(json.dumps(command).encode() + b"\n")
    supervisor.stdin.flush()
    return supervisor


def wait_for_start(fifo: Path) -> int:
    """The reading end, once the family is there."""
    reading = os.open(fifo, os.O_RDONLY)
    assert os.read(reading, 100) == b"started\n"
    return reading


def wait_for_the_end_of_all(reading: int) -> None:
    """The pipe ends when the last process that holds it has gone."""
    while os.read(reading, 100):
        pass
    os.close(reading)


def collect(supervisor: subprocess.Popen[bytes]) -> tuple[int, bytes]:
    assert supervisor.stderr is not None
    with supervisor:
        said = supervisor.stderr.read()
        return supervisor.wait(timeout=10), said


def test_tells_the_status_and_passes_stderr_on(tmp_path: Path) -> None:
    assert collect(start_supervisor(["/bin/sh", "-c", "echo Successfully >&2; exit 7"])) == (
        7,
        b"Successfully\n",
    )


def test_tells_of_a_death_by_signal() -> None:
    status, _ = collect(start_supervisor(["/bin/sh", "-c", "kill -9 $$"]))
    assert status == 128 + signal.SIGKILL


def test_says_what_cannot_be_started(tmp_path: Path) -> None:
    status, said = collect(start_supervisor([str(tmp_path / "missing"), "x"]))
    assert status == 127
    assert b"No such file" in said


def test_runs_a_script_without_a_first_line(tmp_path: Path) -> None:
    program = tmp_path / "plain"
    program.write_text("echo $1 >&2\n")
    program.chmod(0o755)
    assert collect(start_supervisor([str(program), "hello"])) == (0, b"hello\n")


def test_kills_what_the_command_left_behind(tmp_path: Path, fifo: Path) -> None:
    supervisor = start_supervisor([family(tmp_path, fifo, "exit 3")])
    reading = wait_for_start(fifo)
    status, _ = collect(supervisor)
    assert status == 3
    wait_for_the_end_of_all(reading)


@pytest.mark.parametrize("how", ["stdin", "SIGTERM"])
def test_a_cancelled_task_takes_all_with_it(tmp_path: Path, fifo: Path, how: str) -> None:
    supervisor = start_supervisor([family(tmp_path, fifo, "sleep 1000")])
    reading = wait_for_start(fifo)
    if how == "SIGTERM":
        supervisor.terminate()
    elif supervisor.stdin is not None:
        supervisor.stdin.close()
    status, _ = collect(supervisor)
    assert status == 128 + signal.SIGKILL
    wait_for_the_end_of_all(reading)


def test_an_unused_supervisor_ends_with_its_stdin() -> None:
    supervisor = subprocess.Popen(
        [sys.executable, "-I", "-S", str(SUPERVISOR), str(os.getpid())], stdin=subprocess.PIPE
    )
    supervisor.communicate(timeout=10)
    assert supervisor.returncode == 128 + signal.SIGKILL


WORKER = """
import json, os, subprocess, sys
supervisor = subprocess.Popen(
    [sys.executable, "-I", "-S", sys.argv[1], str(os.getpid())], stdin=subprocess.PIPE, start_new_session=True
)
supervisor.stdin.write(json.dumps(sys.argv[2:]).encode() + b"\\n")
supervisor.stdin.flush()
# Somebody else holds the supervisor's stdin open, so that only the kernel's word is left to tell it.
holder = os.fork()
if holder == 0:
    os.close(1)
    os.read(0, 1)
    os._exit(0)
print("ready", flush=True)
supervisor.wait()
"""


def test_kill_9_of_the_worker_ends_the_downloader_and_its_children(tmp_path: Path, fifo: Path) -> None:
    command = [family(tmp_path, fifo, "sleep 1000")]
    worker = subprocess.Popen(
        [sys.executable, "-c", WORKER, str(SUPERVISOR), *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert worker.stdout is not None
    assert worker.stdout.readline() == b"ready\n"
    reading = wait_for_start(fifo)
    worker.kill()
    worker.wait(timeout=10)
    wait_for_the_end_of_all(reading)
    worker.communicate()  # ends the holder too
