"""`cfm token`: makes a node's secret, and from it what goes into the token file of each other machine.

What is printed is the content of a token file, so that it can be sent straight to where it belongs and is
on no command line and in no shell history.
"""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Annotated

import typer

from cfm.cli.common import SettingsPath, fail, settings_from
from cfm.config import CfmSettings, load_cfm
from cfm.errors import CfmError, SettingsError
from cfm.model import Addr
from cfm.security.files import holdings
from cfm.security.tokens import PersonPass, Secret

app = typer.Typer(no_args_is_help=True, help="Make tokens: who may do what (see docs/security.md).")
DEFAULT = Path("cfm.yml")


@app.command()
def new() -> None:
    """Print a new secret, for the token file of cfm."""
    print(secrets.token_hex(32))


@app.command()
def worker(
    server: Annotated[str, typer.Argument(help="HOST:PORT as in cfm.yml.")], config: SettingsPath = DEFAULT
) -> None:
    """Print the pass of one worker, for the token file of its cfw."""
    settings = settings_from(config, load_cfm)
    if server not in settings.servers.addresses:
        fail(SettingsError(f"{config} names no server {server}, so its reports would be refused"))
    _print([one.worker(Addr(server)).text for one in _secrets(settings)])


@app.command()
def operator(config: SettingsPath = DEFAULT) -> None:
    """Print the pass of an operator, who may also cancel tasks and confirm brakes."""
    held = _secrets(settings_from(config, load_cfm))
    _print([PersonPass("operator", one.operator).text for one in held])


@app.command()
def reader(config: SettingsPath = DEFAULT) -> None:
    """Print the pass of a reader, who may look at everything and change nothing: dashboards, Prometheus."""
    held = _secrets(settings_from(config, load_cfm))
    _print([PersonPass("reader", one.reader).text for one in held])


def _secrets(settings: CfmSettings) -> list[Secret]:
    """All that cfm's token file holds, in its order: while secrets are exchanged there are two."""
    try:
        found = [one for one in holdings(settings.security) if isinstance(one, Secret)]
        if not found:
            raise SettingsError("passes are made from the secret in cfm's own security.token_file")
    except CfmError as error:
        fail(error)
    return found


def _print(lines: list[str]) -> None:
    print("\n".join(lines))
