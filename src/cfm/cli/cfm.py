"""`cfm`: the controller's command line."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer
from rich.console import Console

from cfm.cli import state, tokens
from cfm.cli.common import (
    HELP_NAMES,
    AsJson,
    SettingsPath,
    Version,
    address_from,
    ask,
    fail,
    print_json,
    run_daemon,
    settings_from,
    usual_settings,
)
from cfm.cli.demo import demo
from cfm.cli.encoding import use_utf8
from cfm.cli.handover import handover
from cfm.cli.simulate import PASS_ON, simulate
from cfm.config import CfmSettings, load_cfm
from cfm.errors import CfmError
from cfm.logs import setup_logging
from cfm.model import Addr
from cfm.security import NO_KEYS, Keys, person_keys
from cfm.signals import hold_hangups

app = typer.Typer(
    name="cfm", add_completion=False, pretty_exceptions_enable=False, context_settings=dict(HELP_NAMES)
)
app.add_typer(tokens.app, name="token")
app.add_typer(state.app, name="state")
DEFAULT = Path("cfm.yml")
RELEASE = "Release the breaker, so that cfm deletes these files?"
ACCEPT = "Use these grade and history files from now on?"
LocalAddr = Annotated[
    str, typer.Option("--addr", help="HOST:PORT of a running cfm; without it, the address in the settings.")
]


@app.callback(invoke_without_command=True)
def _top(context: typer.Context, _version: Version = False) -> None:
    """The controller of a video-on-demand node. It keeps the most wanted files on the servers' fast disks.

    Without a command it runs, with cfm.yml in the current folder or else beside the executable.
    """
    if context.invoked_subcommand is None:
        run(usual_settings("cfm.yml"))


@app.command()
def run(config: SettingsPath = DEFAULT) -> None:
    """Run the controller in the foreground. It prints `listening on ADDR` when it serves.

    SIGTERM or SIGINT stops it cleanly. SIGHUP makes it read limits, brakes and prefixes again.
    """
    from cfm.controller import program

    hold_hangups()
    settings = settings_from(config, load_cfm)
    setup_logging(settings.log_level, settings.log_dir, "cfm")
    run_daemon(lambda: program.run(settings))


@app.command()
def check(config: SettingsPath = DEFAULT, json: AsJson = False) -> None:
    """Read the settings and tell what is wrong (exit code 2) or doubtful (exit code 0)."""
    from cfm.cli.check import check_cfm

    raise typer.Exit(check_cfm(config, json=json))


@app.command()
def plan(
    config: SettingsPath = DEFAULT,
    json: AsJson = False,
    now: Annotated[
        int | None, typer.Option("--now", help="Unix time to use as the present, to replay old logs.")
    ] = None,
) -> None:
    """Look at all servers and files once, and show what cfm would do and why. Nothing is changed.

    This needs no lock and works beside a running cfm.
    """
    from cfm.cli.render import plan_view
    from cfm.controller.act import once

    settings = settings_from(config, load_cfm)
    setup_logging("error", None, "cfm")
    found = asyncio.run(once.plan(settings, now))
    if json:
        print_json(found)
    else:
        Console().print(plan_view(found))


@app.command()
def status(
    config: SettingsPath = DEFAULT,
    addr: LocalAddr = "",
    json: AsJson = False,
    watch: Annotated[bool, typer.Option("--watch", help="Update the view until Ctrl-C.")] = False,
) -> None:
    """Show a running cfm: the verdict and its conditions, servers, copies, disks, backlog."""
    from cfm.cli.render import status_view
    from cfm.cli.watching import watch_status

    where, keys = _where(config, addr)
    try:
        found = ask(where, "GET", "/api/v1/status", keys)
        if json:
            print_json(found)
        elif watch:
            watch_status(where, keys)
        else:
            Console().print(status_view(found, []))
    except CfmError as error:
        fail(error)


@app.command()
def why(
    file: Annotated[str, typer.Argument(help="The file's name.")],
    config: SettingsPath = DEFAULT,
    addr: LocalAddr = "",
    json: AsJson = False,
) -> None:
    """Show everything about a file, and why it is or is not copied or deleted, server by server."""
    from cfm.cli.render import why_view

    where, keys = _where(config, addr)
    try:
        found = ask(where, "GET", f"/api/v1/files/{quote(file, safe='')}", keys)
    except CfmError as error:
        fail(error)
    if json:
        print_json(found)
    else:
        Console().print(why_view(found))


@app.command()
def confirm(
    server: Annotated[
        str | None, typer.Argument(help="HOST:PORT as in cfm.yml; without it, all servers.")
    ] = None,
    config: SettingsPath = DEFAULT,
    addr: LocalAddr = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask, for scripts.")] = False,
    json: AsJson = False,
) -> None:
    """Release a breaker that holds deletes, once, after showing what cfm would delete."""
    from cfm.cli.render import confirm_view

    where, keys = _where(config, addr)
    path = f"/api/v1/confirm/{server}" if server else "/api/v1/confirm"
    try:
        held = ask(where, "GET", path, keys)
        if not json:
            Console().print(confirm_view(held))
        if not (yes or json) and not (held["held"] and typer.confirm(RELEASE)):
            raise typer.Exit(1)
        released = ask(where, "POST", path, keys)
    except CfmError as error:
        fail(error)
    if json:
        print_json({**released, "would_delete": held["would_delete"]})
    else:
        Console().print("Released. cfm deletes the files now, as fast as the pace limit allows.")


@app.command()
def accept(
    config: SettingsPath = DEFAULT,
    addr: LocalAddr = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask, for scripts.")] = False,
    json: AsJson = False,
) -> None:
    """Accept grade and history files that contain much less than the last good ones, after showing both.

    With --json and without --yes, it only shows.
    """
    from cfm.cli.render import accept_view

    where, keys = _where(config, addr)
    try:
        found = ask(where, "GET", "/api/v1/metadata", keys)
        if json and not yes:
            print_json(found)
            return
        if not json:
            Console().print(accept_view(found))
        rejected = found["rejected"]
        waits = rejected is not None and rejected["can_be_accepted"]
        if not waits or not (yes or typer.confirm(ACCEPT)):
            raise typer.Exit(1)
        accepted = ask(where, "POST", f"/api/v1/metadata/{quote(rejected['id'], safe='')}", keys)
    except CfmError as error:
        fail(error)
    if json:
        print_json({**found, **accepted})
    else:
        Console().print("Accepted. cfm reads these files again and uses them from now on.")


app.command()(handover)
app.command()(demo)
app.command(context_settings=PASS_ON)(simulate)


def _where(config: Path, addr: str) -> tuple[Addr, Keys]:
    """The address of the running cfm, from the command line or the settings, and the credentials for it.

    With an address on the command line, settings are needed only where they hold credentials."""
    settings = CfmSettings() if addr and not config.exists() else settings_from(config, load_cfm)
    try:
        keys = person_keys(settings.security) if settings.security.configured else NO_KEYS
    except CfmError as error:
        fail(error)
    return address_from(addr) if addr else settings.listen_addr, keys


def main() -> None:
    use_utf8()
    app()


if __name__ == "__main__":
    main()
