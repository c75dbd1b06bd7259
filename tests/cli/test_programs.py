"""The programs themselves: called as the earlier ones were, and how they are told what to do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cfm import __version__
from cfm.cli.cfm import app as cfm
from cfm.cli.cfw import app as cfw

PROGRAMS = {"cfm": cfm, "cfw": cfw}


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("option", ["-v", "--version"])
def test_the_version_says_the_name(program: str, option: str) -> None:
    ended = CliRunner().invoke(PROGRAMS[program], [option])
    assert (ended.exit_code, ended.output) == (0, f"{program} {__version__}\n")


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("words", [["-h"], ["--help"], ["run", "-h"]])
def test_help(program: str, words: list[str]) -> None:
    ended = CliRunner().invoke(PROGRAMS[program], words)
    assert ended.exit_code == 0
    assert "Usage:" in ended.output


def run_without_arguments(program: str, executable: Path, folder: Path) -> str:
    """What a program says that is run without arguments and cannot start."""
    call = f"import sys; sys.argv = [{str(executable)!r}]; from cfm.cli.{program} import main; main()"
    ended = subprocess.run(
        [sys.executable, "-c", call], cwd=folder, capture_output=True, text=True, timeout=20, check=False
    )
    assert ended.returncode == 2
    return ended.stderr


@pytest.mark.parametrize("program", PROGRAMS)
def test_without_arguments_it_runs_with_the_settings_that_are_there(tmp_path: Path, program: str) -> None:
    """In the current folder, else beside the executable, else beside what a link to it leads to."""
    folders = [tmp_path / name for name in ("here", "bin", "opt")]
    for folder in folders:
        folder.mkdir()
    here, bin_folder, opt = folders
    executable = bin_folder / program
    (opt / program).write_text("")
    executable.symlink_to(opt / program)
    assert f"{program}.yml: cannot be read (no such file" in run_without_arguments(program, executable, here)
    for number, folder in enumerate((opt, bin_folder, here), 1):
        (folder / f"{program}.yml").write_text(f"wrong_key_{number}: x\n")
        assert f"wrong_key_{number}: unknown key" in run_without_arguments(program, executable, here)
