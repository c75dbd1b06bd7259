"""`cfm token`: makes a node's secret, and from it the token files of the other machines.

It prints the content of a token file, which can be sent straight to its machine.  So a token stands on no
command line and in no shell history.
"""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Annotated

import typer

from cfm.cli.command_line import CommandLine
from cfm.cli.common import AsJson, SettingsPath, fail, print_json, settings_from
from cfm.config import CfmSettings, load_cfm
from cfm.errors import CfmError, SettingsError
from cfm.model import Addr
from cfm.security.files import holdings
from cfm.security.tokens import PersonPass, Secret

app = CommandLine(no_args_is_help=True, help="Make tokens, which say who may do what (see docs/security.md).")
DEFAULT = Path("cfm.yml")


@app.command()
def new(json: AsJson = False) -> None:
    """Print a new secret, for the token file of cfm."""
    _print([secrets.token_hex(32)], json=json)


@app.command()
def worker(
    server: Annotated[str, typer.Argument(metavar="SERVER", help="HOST:PORT as in cfm.yml.")],
    config: SettingsPath = DEFAULT,
    json: AsJson = False,
) -> None:
    """Print the pass of one worker, for the token file of its cfw."""
    settings = settings_from(config, load_cfm)
    if server not in settings.servers.addresses:
        fail(SettingsError(f"{config} names no server {server}, so cfm would refuse its reports"))
    _print([one.worker(Addr(server)).text for one in _secrets(settings)], json=json)


@app.command()
def operator(config: SettingsPath = DEFAULT, json: AsJson = False) -> None:
    """Print the pass of an operator, who may read everything, cancel tasks and release breakers."""
    held = _secrets(settings_from(config, load_cfm))
    _print([PersonPass("operator", one.operator).text for one in held], json=json)


@app.command()
def reader(config: SettingsPath = DEFAULT, json: AsJson = False) -> None:
    """Print the pass of a reader, who may read everything and change nothing, such as Prometheus."""
    held = _secrets(settings_from(config, load_cfm))
    _print([PersonPass("reader", one.reader).text for one in held], json=json)


def _secrets(settings: CfmSettings) -> list[Secret]:
    """All secrets in cfm's token file, in its order.  There are two while one replaces the other."""
    try:
        found = [one for one in holdings(settings.security) if isinstance(one, Secret)]
        if not found:
            raise SettingsError("passes are made from the secret in cfm's own security.token_file")
    except CfmError as error:
        fail(error)
    return found


def _print(lines: list[str], *, json: bool) -> None:
    if json:
        print_json({"lines": lines})
    else:
        print("\n".join(lines))
