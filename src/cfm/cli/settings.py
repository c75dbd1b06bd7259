"""`cfm config` and `cfw config`: a sample to begin with, and the settings as they are in force."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from cfm.cli.asking import LocalAddr, running_cfm
from cfm.cli.command_line import CommandLine
from cfm.cli.common import (
    CFM_FILE,
    CFW_FILE,
    AsJson,
    SettingsPath,
    ended_by_errors,
    print_json,
    settings_from,
)
from cfm.cli.output import tell
from cfm.config import CfmSettings, CfwSettings, load_cfm, load_cfw
from cfm.config.effective import effective_json
from cfm.config.sections import SettingsFile

HELP = "A sample of the settings, and those in force."
cfm_config = CommandLine(no_args_is_help=True, help=HELP)
cfw_config = CommandLine(no_args_is_help=True, help=HELP)


@cfm_config.command("show")
def show_cfm(
    config: SettingsPath = CFM_FILE,
    addr: LocalAddr = "",
    effective: Annotated[
        bool, typer.Option("--effective", help="Ask the running cfm what is in force there.")
    ] = False,
    json: AsJson = False,
) -> None:
    """Show every setting, and where it comes from: a line of the file, or the default.

    Without --effective it shows what the file says now; nothing is asked.
    """
    if not effective:
        _show_file(config, load_cfm, json=json)
        return
    cfm = running_cfm(config, addr)
    with ended_by_errors():
        found = cfm.get("api", "v1", "settings")
    _show(found, json=json)


@cfw_config.command("show")
def show_cfw(config: SettingsPath = CFW_FILE, json: AsJson = False) -> None:
    """Show every setting, and where it comes from: a line of the file, or the default."""
    _show_file(config, load_cfw, json=json)


@cfm_config.command("sample")
def sample_cfm(json: AsJson = False) -> None:
    """Print a complete settings file with comments: `cfm config sample > cfm.yml`."""
    _sample(CfmSettings, "cfm.yml", json=json)


@cfw_config.command("sample")
def sample_cfw(json: AsJson = False) -> None:
    """Print a complete settings file with comments: `cfw config sample > cfw.yml`."""
    _sample(CfwSettings, "cfw.yml", json=json)


def _sample(model: type[SettingsFile], name: str, *, json: bool) -> None:
    from cfm.config.sample import sample

    if json:
        print_json({"file": name, "text": sample(model, name)})
    else:
        print(sample(model, name), end="")


def _show_file(config: Path, load: Callable[[Path], SettingsFile], *, json: bool) -> None:
    settings = settings_from(config, load)
    _show({"file": str(settings.file), "settings": effective_json(settings)}, json=json)


def _show(found: dict[str, object], *, json: bool) -> None:
    from cfm.cli.render.settings import settings_view

    tell(found, settings_view, json=json)
