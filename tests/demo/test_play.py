"""`cfm demo` from outside: it plays, tells how it went, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cfm.demo import play
from cfm.demo.stage import Options
from cfm.errors import CfmError

COMMAND = (sys.executable, "-m", "cfm.cli.cfm", "demo", "--headless", "--files", "40")
SMALL = (*COMMAND, "--sources", "1", "--destinations", "2", "--seconds", "600")
PATIENCE_S = 120


def programs_in(folder: Path) -> list[str]:
    """Command lines of running programs that name the folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if str(folder) in line:
            found.append(line)
    return found


@pytest.mark.e2e
def test_a_short_demo_keeps_every_promise(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    done = subprocess.run(
        [*COMMAND, "--seconds", "20", "--json", "--dir", str(folder)],
        capture_output=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode() + done.stdout.decode()
    summary = json.loads(done.stdout)
    assert summary["files_delivered"] > 0
    assert summary["bytes_delivered"] > 0
    assert summary["files_deleted"] > 0
    assert (summary["surplus_copies"], summary["over_limit_servers"], summary["violations"]) == (0, 0, 0)
    assert summary["dashboard"].startswith("http://127.0.0.1:")
    assert "act 5" in done.stderr.decode()
    assert not folder.exists()
    assert not programs_in(folder)


@pytest.mark.e2e
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_at_once_when_it_is_asked_to(tmp_path: Path, number: signal.Signals) -> None:
    folder = tmp_path / "demo"
    folder.mkdir()
    running = subprocess.Popen([*SMALL, "--dir", str(folder)], stdout=subprocess.PIPE, text=True)
    with running:
        assert running.stdout is not None
        for line in running.stdout:
            if line.startswith("act 1"):
                break
        os.kill(running.pid, number)
        rest = running.stdout.read()
        assert running.wait(PATIENCE_S) == 0
    assert "stopped before its end" in rest
    assert not list(folder.iterdir())
    assert not programs_in(folder)


@pytest.mark.e2e
def test_a_worker_that_somebody_kills_is_started_again(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    running = subprocess.Popen([*SMALL, "--dir", str(folder)], stdout=subprocess.PIPE, text=True)
    with running:
        assert running.stdout is not None
        lines = iter(running.stdout)
        assert any(line.startswith("act 1") for line in lines)
        os.kill(pid_of(folder / "destination-1" / "cfw.yml"), signal.SIGKILL)
        assert any("was killed by somebody: it is started again" in line for line in lines)
        assert running.poll() is None
        running.terminate()
        rest = running.stdout.read()
        assert running.wait(PATIENCE_S) == 0, rest
    assert not programs_in(folder)


def pid_of(settings: Path) -> int:
    """The process that was started with this settings file."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # other processes end meanwhile
            if path.read_bytes().rstrip(b"\0").endswith(os.fsencode(settings)):
                return int(path.parent.name)
    raise AssertionError(f"nobody runs with {settings}")


def unheard(_told: object) -> None:
    """Nobody watches."""


async def test_several_cfm_without_postgresql_are_refused_with_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(play, "find_postgres", lambda: None)
    options = Options(files=8, sources=1, destinations=1, controllers=2, folder=tmp_path)
    with pytest.raises(CfmError, match="apt install postgresql"):
        await play.play(options, on_stage=unheard, on_act=unheard, on_frame=unheard)
    assert not list(tmp_path.iterdir())


def test_a_folder_with_something_in_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "precious").touch()
    done = subprocess.run(
        [*COMMAND, "--dir", str(tmp_path)], capture_output=True, timeout=PATIENCE_S, check=False, text=True
    )
    assert done.returncode == 2
    assert "is not empty" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]
