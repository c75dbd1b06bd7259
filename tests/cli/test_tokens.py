"""`cfm token` makes what the programs take; bad credentials end a start and a check with one sentence."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cfm.cli.cfm import app as cfm
from cfm.cli.cfw import app as cfw
from cfm.config import load_cfm, load_cfw
from cfm.security import controller_credentials, person_keys, worker_credentials

WORKER = "127.0.2.1:8888"
CFM = f"""servers:
  destinations: [{WORKER}]
security:
  token_file: token
"""
CFW = f"""listen_addr: {WORKER}
cfm_addr: 127.0.0.1:8080
base_dir: data
security:
  token_file: pass
"""


def printed(*arguments: str) -> str:
    result = CliRunner().invoke(cfm, ["token", *arguments])
    assert result.exit_code == 0, result.output
    return result.output


def write(path: Path, text: str, mode: int = 0o600) -> str:
    path.write_text(text)
    path.chmod(mode)
    return str(path)


@pytest.fixture
def config(tmp_path: Path) -> str:
    write(tmp_path / "token", printed("new"))
    return write(tmp_path / "cfm.yml", CFM)


def test_tokens_for_scripts(config: str) -> None:
    made = json.loads(printed("new", "--json"))
    assert [len(line) for line in made["lines"]] == [64]
    words = ("worker", WORKER, "-c", config)
    assert json.loads(printed(*words, "--json")) == {"lines": printed(*words).splitlines()}


def test_no_secret_is_made_twice() -> None:
    assert printed("new") != printed("new")


def test_a_worker_s_pass_fits_cfm(config: str, tmp_path: Path) -> None:
    write(tmp_path / "pass", printed("worker", WORKER, "-c", config))
    here = controller_credentials(load_cfm(Path(config)))
    there = worker_credentials(load_cfw(Path(write(tmp_path / "cfw.yml", CFW))))
    assert here.admission.tokens is not None
    assert there.to_cfm.token is not None
    who = here.admission.tokens.owner(there.to_cfm.token.encode())
    assert who is not None
    assert who.addrs == {WORKER}


@pytest.mark.parametrize("role", ["operator", "reader"])
def test_a_person_s_pass_fits_the_command_line(config: str, tmp_path: Path, role: str) -> None:
    made = printed(role, "-c", config)
    write(tmp_path / "token", made)
    token = person_keys(load_cfm(Path(config)).security).token
    assert made == f"{role}:{token}\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("worker", "127.0.9.9:1", "-c"), "names no server 127.0.9.9:1"),
        (("reader", "-c"), "passes are made from the secret"),
    ],
)
def test_a_pass_that_would_not_fit_is_not_made(
    config: str, tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    write(tmp_path / "token", printed("operator", "-c", config))
    result = CliRunner().invoke(cfm, ["token", *arguments, config])
    assert result.exit_code == 2
    assert said in result.output


@pytest.mark.parametrize(
    ("program", "settings"), [("cfm", CFM), ("cfw", CFW.replace("pass", "token"))], ids=["cfm", "cfw"]
)
def test_a_token_file_that_others_can_read_ends_the_start(
    tmp_path: Path, program: str, settings: str
) -> None:
    write(tmp_path / "token", "correct horse battery staple", 0o644)
    path = write(tmp_path / f"{program}.yml", settings)
    command = [sys.executable, "-m", f"cfm.cli.{program}", "run", "-c", path]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert ended.returncode == 2
    assert len(ended.stderr.splitlines()) == 1
    assert "others can use it (its mode is 0644); run `chmod 600" in ended.stderr
    checked = CliRunner().invoke({"cfm": cfm, "cfw": cfw}[program], ["check", "-c", path])
    assert checked.exit_code == 2
    assert "its mode is 0644" in checked.output


def test_a_check_says_what_is_open(tmp_path: Path) -> None:
    path = write(tmp_path / "cfm.yml", "log_dir: log\n")
    assert "anyone who reaches 127.0.0.1:8080 can delete files" in (
        CliRunner().invoke(cfm, ["check", "-c", path]).output
    )
