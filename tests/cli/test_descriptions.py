"""Completion and manual pages, in the shells and programs that read them, where these are installed."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cfm.cli.cfm import app as cfm
from cfm.cli.cfw import app as cfw
from cfm.cli.shape import CommandShape, shapes

PROGRAMS = {"cfm": cfm, "cfw": cfw}
ASK = {
    "bash": 'source "$1"; COMP_WORDS=($2 ""); COMP_WORDS[-1]="$3"; COMP_CWORD=$((${#COMP_WORDS[@]}-1)); '
    '_cfm; printf "%s\\n" "${COMPREPLY[@]}"',
    "zsh": 'compdef() {}; _describe() { print -l -- "${(@P)2%%:*}" }; source "$1"; '
    "words=(${=2} $3); CURRENT=$#words; (( $#3 )) || { words+=(''); CURRENT=$#words }; _cfm",
    "fish": 'source $argv[1]; complete -C "$argv[2] $argv[3]" | string split -f1 \\t',
}


def run(*words: str, stdin: str = "", folder: Path = Path()) -> str:
    ended = subprocess.run(
        words, input=stdin, cwd=folder, capture_output=True, text=True, timeout=20, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, ""), (words, ended)
    return ended.stdout


def printed(program: str, *words: str) -> str:
    ended = CliRunner().invoke(PROGRAMS[program], words)
    assert ended.exit_code == 0
    return ended.output


@pytest.mark.parametrize("shell", ASK)
@pytest.mark.parametrize(
    ("before", "begun", "offered"),
    [
        ("cfm", "st", {"status", "state"}),
        ("cfm", "hist", {"history"}),
        ("cfm status", "--w", {"--watch"}),
        ("cfm -v status", "--ch", {"--check"}),
        ("cfm config", "s", {"show", "sample"}),
        ("cfm config show", "--eff", {"--effective"}),
        ("cfm why status", "--js", {"--json"}),  # a file may be called as a command is
    ],
)
def test_a_shell_completes(shell: str, before: str, begun: str, offered: set[str], tmp_path: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"needs {shell}")
    script = tmp_path / "_script"  # fish offers files as well
    script.write_text(printed("cfm", "completion", shell))
    options = {"zsh": ["-f"], "fish": ["--no-config"], "bash": ["--norc"]}[shell]
    extra = ["_"] if shell != "fish" else []
    found = run(
        shell, *options, "-c", ASK[shell], *extra, str(script), before, begun, folder=tmp_path
    ).split()
    assert offered <= set(found)
    assert {one for one in found if one.startswith(begun)} == offered


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_command_takes_json_but_those_that_run(program: str) -> None:
    """And so do the commands that print a text, for whoever makes something else of it."""
    described = json.loads(printed(program, "man", "--json"))
    flags = {" ".join(one["path"]): str(one["options"]) for one in described["commands"] if not one["below"]}
    assert {path for path, options in flags.items() if "--json" not in options} <= {"run", "simulate"}
    assert json.loads(printed(program, "completion", "zsh", "--json")) == {
        "shell": "zsh",
        "script": printed(program, "completion", "zsh"),
    }
    assert json.loads(printed(program, "config", "sample", "--json")) == {
        "file": f"{program}.yml",
        "text": printed(program, "config", "sample"),
    }


def test_all_commands_are_in_the_shape() -> None:
    found = {one.path: one for one in shapes(cfm)}
    assert {(), ("status",), ("config", "show"), ("token", "worker"), ("completion",)} <= found.keys()
    status = found["status",]
    assert (
        status.summary
        == "Show a running cfm: the verdict and its conditions, servers, copies, disks, backlog"
    )
    assert ("-c", "--config", "FILE") in [(*one.flags, one.value) for one in status.options]
    assert [one.value for one in found["why",].arguments] == ["FILE"]


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_manual_page_is_complete_and_well_formed(program: str, tmp_path: Path) -> None:
    page = printed(program, "man")
    commands: list[CommandShape] = [one for one in shapes(PROGRAMS[program]) if not one.below]
    for command in commands:
        assert f'.SS "{program} {" ".join(command.path)}'.replace("-", "\\-") in page
        for option in command.options:
            assert all(flag.replace("-", "\\-") in page for flag in option.flags)
    if shutil.which("groff") is None:
        pytest.skip("needs groff")
    assert run("groff", "-man", "-ww", "-z", "-Tutf8", stdin=page) == ""


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_command_has_help_in_which_no_switch_takes_a_value(program: str) -> None:
    for command in shapes(PROGRAMS[program]):
        shown = printed(program, *command.path, "-h")
        assert f"Usage: {' '.join((program, *command.path))}" in shown or command.path == ("simulate",)
        assert "<bool>" not in shown
        assert "[[" not in shown
