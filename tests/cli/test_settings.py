"""`config sample` and `config show`: complete, right, and from the same table as the documentation."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from cfm.cli.cfm import app as cfm
from cfm.cli.cfw import app as cfw
from cfm.config import CfmSettings, CfwSettings, load_cfm, load_cfw
from cfm.config.sample import meanings, sample
from cfm.config.sections import SettingsFile, every_key, why_without_effect
from cfm_lab.testing.worker_rig import worker_rig

PROGRAMS = {"cfm": cfm, "cfw": cfw}
MODELS: dict[str, type[SettingsFile]] = {"cfm": CfmSettings, "cfw": CfwSettings}
COMMENTED_OUT = re.compile(r"^( *)#(?=[a-z]|  - )", re.MULTILINE)
"""A comment in words begins with a blank."""


@pytest.fixture(params=PROGRAMS)
def program(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def written(program: str, tmp_path: Path) -> Path:
    ended = CliRunner().invoke(PROGRAMS[program], ["config", "sample"])
    assert ended.exit_code == 0
    path = tmp_path / f"{program}.yml"
    path.write_text(ended.output)
    return path


def test_a_sample_passes_the_check(program: str, written: Path) -> None:
    checked = CliRunner().invoke(PROGRAMS[program], ["check", "-c", str(written)])
    assert checked.exit_code == 0, checked.output
    assert "it would start" in checked.output


def keys_in(text: str) -> set[str]:
    found: set[str] = set()

    def collect(value: object, above: str) -> None:
        for key, below in value.items() if isinstance(value, dict) else ():
            if isinstance(below, dict):
                collect(below, f"{above}{key}.")
            else:
                found.add(f"{above}{key}")

    collect(yaml.safe_load(text), "")
    return found


def test_a_sample_is_complete_and_right_where_all_of_it_counts(program: str, written: Path) -> None:
    """Every key but those without effect is there, and may be taken in as it is."""
    text = COMMENTED_OUT.sub(r"\1", written.read_text())
    wanted = {key for key, field in every_key(MODELS[program]) if why_without_effect(field) is None}
    assert keys_in(text) == wanted
    written.write_text(text)
    settings = load_cfm(written) if program == "cfm" else load_cfw(written)
    defaults = sample(MODELS[program], f"{program}.yml")
    assert settings.notes == ()
    assert len(defaults.splitlines()) == len(text.splitlines())


def test_every_key_of_a_sample_has_its_meaning_above_it(program: str) -> None:
    told = meanings(f"{program}.yml")
    text = " ".join(line.strip(" #") for line in sample(MODELS[program], f"{program}.yml").splitlines())
    for key, field in every_key(MODELS[program]):
        if why_without_effect(field) is None:
            words = re.sub(r"\[([^\]]*)\]\([^)]*\)|`|\*", r"\1", told[key][1])[1:40]
            assert words in text, key


def test_a_file_is_shown_with_the_lines_that_set_it(tmp_path: Path) -> None:
    path = tmp_path / "cfm.yml"
    path.write_text("log_level: debug\nremover:\n  breaker_percent: 30\n")
    ended = CliRunner().invoke(cfm, ["config", "show", "-c", str(path)])
    lines = {line.split()[0]: line.split()[1:] for line in ended.output.splitlines() if line.split()}
    assert lines["remover.breaker_percent"] == ["30", "line", "3"]
    assert lines["deletes"] == ["on", "default"]
    found = json.loads(CliRunner().invoke(cfm, ["config", "show", "-c", str(path), "--json"]).output)
    assert {"key": "log_level", "value": "debug", "from": "file", "line": 1} in found["settings"]


async def test_a_worker_tells_of_itself(tmp_path: Path) -> None:
    async with worker_rig(tmp_path) as rig:
        path = tmp_path / "cfw.yml"
        path.write_text(f"listen_addr: {rig.addr}\ncfm_addr: 127.0.0.1:9\nbase_dir: base\n")

        def status(*words: str) -> str:
            ended = CliRunner().invoke(cfw, ["status", "-c", str(path), *words])
            assert ended.exit_code == 0, ended.output
            return ended.output

        found = json.loads(await asyncio.to_thread(status, "--json"))
        assert found["name"] == "10.0.0.1:8888"
        assert int(found["disk"]["total_size"]) > 0
        shown = await asyncio.to_thread(status)
        assert "obeys      nobody yet" in shown
        assert "receiving  0 copies" in shown
        rig.base.rename(tmp_path / "gone")
        shown = await asyncio.to_thread(status)
        assert "disk       unknown" in shown


def test_a_worker_that_does_not_run_is_told(tmp_path: Path) -> None:
    path = tmp_path / "cfw.yml"
    path.write_text("listen_addr: 127.0.0.1:9\ncfm_addr: 127.0.0.1:9\nbase_dir: base\n")
    ended = CliRunner().invoke(cfw, ["status", "-c", str(path)])
    assert (ended.exit_code, "no cfw answers at 127.0.0.1:9" in ended.output) == (1, True)


YAML = re.compile(r"^```yaml\n(# (cf[mw])\.yml.*?)^```", re.MULTILINE | re.DOTALL)


def test_the_settings_of_the_first_hour_are_right(tmp_path: Path) -> None:
    shown = YAML.findall((Path(__file__).parents[2] / "docs" / "first-hour.md").read_text())
    assert [program for _, program in shown] == ["cfw", "cfw", "cfm"]
    for text, program in shown:
        path = tmp_path / f"{program}.yml"
        path.write_text(text)
        settings = load_cfm(path) if program == "cfm" else load_cfw(path)
        assert settings.notes == ()
