"""The programs themselves: called as the earlier ones were, and how they are told what to do."""

from __future__ import annotations

import os
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
def test_a_command_that_only_asks_starts_without_what_decides(program: str) -> None:
    """Importing all of it takes longer than an answer."""
    heavy = {"numpy", "polars", "aiohttp", "sqlite3", "cfm.plan", "cfm.controller.decide"}
    call = f"import sys, cfm.cli.{program}, cfm.cli.render.status; print(*{heavy} & set(sys.modules))"
    ended = subprocess.run([sys.executable, "-c", call], capture_output=True, text=True, check=True)
    assert ended.stdout.split() == []


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


@pytest.mark.parametrize(
    "written", ["localhost", "10.0.0.1", "10.0.0.1:", "10.0.0.1:x", "http://h:80", "h:0"]
)
@pytest.mark.parametrize("command", [["status"], ["why", "A.mpg"], ["confirm"]], ids=lambda words: words[0])
def test_an_address_without_a_port_is_wrong_usage(tmp_path: Path, written: str, command: list[str]) -> None:
    ended = CliRunner().invoke(cfm, [*command, "--addr", written, "-c", str(tmp_path / "none.yml")])
    assert ended.exit_code == 2
    assert "write HOST:PORT" in ended.output


NAMES = (
    "import os, sys; from cfm.cli.encoding import use_utf8\n"
    "use_utf8(); print(*sorted(os.listdir(sys.argv[1])))"
)
BYTES = b"\xed\x95\x9c.mpg"  # UTF-8 for one Korean syllable


@pytest.mark.parametrize("locale", ["C", "POSIX", "ko_KR.EUC-KR", "en_US.ISO-8859-1", "C.UTF-8"])
@pytest.mark.parametrize("coerced", ["0", "1"])
def test_names_and_output_are_utf8_in_every_locale(tmp_path: Path, locale: str, coerced: str) -> None:
    for name in (BYTES, b"\xff.mpg"):  # the second is no UTF-8
        (tmp_path / os.fsdecode(name)).write_text("")
    settings = {
        "LC_ALL": locale,
        "PYTHONUTF8": "0",
        "PYTHONCOERCECLOCALE": coerced,
        "PATH": os.environ["PATH"],
    }
    ended = subprocess.run(
        [sys.executable, "-c", NAMES, str(tmp_path)],
        env=settings,
        capture_output=True,
        timeout=20,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert ended.stdout == BYTES + rb" \udcff.mpg" + b"\n"
