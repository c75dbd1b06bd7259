"""`cfm state`: what can be done with a whole state while cfm does not run."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from cfm.cli.command_line import CommandLine
from cfm.cli.common import AsJson, SettingsPath, fail, print_json, settings_from
from cfm.config import load_cfm, parse_state_url
from cfm.errors import CfmError, SettingsError

app = CommandLine(no_args_is_help=True, help="Copy the whole state of cfm, while it does not run.")
DEFAULT = Path("cfm.yml")
Target = Annotated[str, typer.Option("--to", help="The new state.url, of SQLite or PostgreSQL.")]


@app.command()
def copy(to: Target, config: SettingsPath = DEFAULT, json: AsJson = False) -> None:
    """Copy all of the state to another place, such as from SQLite to PostgreSQL, and put the old one aside.

    No cfm may run meanwhile.  The new place must be empty.
    """
    from cfm.tasks.moving import move
    from cfm.tasks.opening import store_at

    settings = settings_from(config, load_cfm)
    try:
        url = parse_state_url(to, settings.folder)
    except ValueError as error:
        fail(SettingsError(f"--to: {error}"))
    try:
        old, new = store_at(settings.state.url), store_at(url)
        done = move(old, new, time.strftime("moved-%Y%m%d-%H%M%S"))
    except CfmError as error:
        fail(error)
    if json:
        print_json({"rows": dict(done.rows), "epoch": done.epoch, "old": done.old_name, "url": url})
        return
    for table, number in done.rows.items():
        print(f"{number:>9,}  {table}")
    print(f"The old state is now {done.old_name}.")
    print(f"Write `url: {url}` below `state:` in cfm.yml, and start cfm.")
