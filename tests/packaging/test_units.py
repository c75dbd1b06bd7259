"""The systemd units: as closed as is promised, and not more closed than the programs bear."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

UNITS = Path(__file__).parents[2] / "packaging"
MOST_EXPOSED = 15
"""Tenths: `systemd-analyze security` says 1.1 of both."""
WITHOUT_WRITABLE_CODE = """
import ctypes, sys
PR_SET_MDWE, REFUSE_EXEC_GAIN = 65, 1
if ctypes.CDLL(None).prctl(PR_SET_MDWE, REFUSE_EXEC_GAIN, 0, 0, 0) != 0:
    sys.exit(77)
import cfm.{program}.program
"""


def settings_of(unit: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in (UNITS / unit).read_text().splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(key, []).append(value)
    return found


@pytest.mark.parametrize("unit", ["cfm.service", "cfw.service"])
def test_a_unit_is_as_closed_as_promised(unit: str) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed here")
    judged = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", f"--threshold={MOST_EXPOSED}", UNITS / unit],
        capture_output=True,
        text=True,
        check=False,
    )
    assert judged.returncode == 0, judged.stdout[-200:] + judged.stderr


@pytest.mark.parametrize(("program", "room"), [("cfm", "controller"), ("cfw", "worker")])
def test_a_program_bears_what_its_unit_forbids(program: str, room: str) -> None:
    """Without memory that is writable and executable, as `MemoryDenyWriteExecute` has it, all that a program
    is made of can still be loaded."""
    unit = settings_of(f"{program}.service")
    assert unit["MemoryDenyWriteExecute"] == ["yes"]
    env = dict(setting.split("=", 1) for setting in unit.get("Environment", []))
    code = WITHOUT_WRITABLE_CODE.format(program=room)
    ended = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    if ended.returncode == 77:
        pytest.skip("this kernel cannot forbid writable code (Linux 6.3 and later can)")
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize("program", ["cfm", "cfw"])
def test_a_hangup_in_the_first_moment_is_no_clean_end(program: str) -> None:
    unit = settings_of(f"{program}.service")
    assert unit["Restart"] == ["on-failure"]
    assert unit["RestartForceExitStatus"] == ["SIGHUP"]


@pytest.mark.parametrize("program", ["cfm", "cfw"])
def test_a_unit_starts_its_program_from_its_folders(program: str) -> None:
    unit = settings_of(f"{program}.service")
    assert unit["ExecStart"] == [f"/opt/cfm/.venv/bin/{program} run -c /etc/{program}/{program}.yml"]
    assert unit["StateDirectory"] == unit["LogsDirectory"] == unit["ConfigurationDirectory"] == [program]
