"""`cfm`: the controller's command line."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from cfm.cli import state, tokens
from cfm.cli.asking import LocalAddr, refuse_server, running_cfm
from cfm.cli.command_line import CHANGE, LOOK, MORE, SET_UP, CommandLine
from cfm.cli.common import (
    CFM_FILE,
    AsJson,
    SettingsPath,
    Version,
    ended_by_errors,
    print_json,
    run_daemon,
    settings_from,
    usual_settings,
)
from cfm.cli.demo import demo
from cfm.cli.describing import add_descriptions
from cfm.cli.encoding import use_utf8
from cfm.cli.finding import backlog, search, trends
from cfm.cli.handover import handover
from cfm.cli.history import history, server, unique
from cfm.cli.operating import accept, cancel, confirm, reload
from cfm.cli.output import show, tell, tell_of
from cfm.cli.settings import cfm_config
from cfm.cli.simulate import PASS_ON, simulate
from cfm.config import load_cfm
from cfm.logs import setup_logging
from cfm.signals import hold_hangups

app = CommandLine(name="cfm")
app.add_typer(cfm_config, name="config", rich_help_panel=SET_UP)
app.add_typer(tokens.app, name="token", rich_help_panel=SET_UP)
app.add_typer(state.app, name="state", rich_help_panel=SET_UP)


VIOLATION = 3


@app.callback(invoke_without_command=True)
def _top(context: typer.Context, _version: Version = False) -> None:
    """The controller of a video-on-demand node. It keeps the most wanted files on the servers' fast disks.

    Without a command it runs, with cfm.yml in the current folder or else beside the executable.
    """
    if context.invoked_subcommand is None:
        run(usual_settings("cfm.yml"))


@app.command(rich_help_panel=SET_UP)
def run(config: SettingsPath = CFM_FILE) -> None:
    """Run the controller in the foreground. It prints `listening on ADDR` when it serves.

    SIGTERM or SIGINT stops it cleanly. SIGHUP makes it read limits, brakes and prefixes again.
    """
    from cfm.controller import program

    hold_hangups()
    settings = settings_from(config, load_cfm)
    setup_logging(settings.log_level, settings.log_dir, "cfm")
    run_daemon(lambda: program.run(settings))


@app.command(rich_help_panel=SET_UP)
def check(config: SettingsPath = CFM_FILE, json: AsJson = False) -> None:
    """Read the settings and tell what is wrong (exit code 2) or doubtful (exit code 0)."""
    from cfm.cli.check import check_cfm

    raise typer.Exit(check_cfm(config, json=json))


@app.command(rich_help_panel=SET_UP)
def plan(
    config: SettingsPath = CFM_FILE,
    json: AsJson = False,
    now: Annotated[
        int | None,
        typer.Option(
            "--now", metavar="UNIXTIME", help="The time to take as the present, to replay old logs."
        ),
    ] = None,
) -> None:
    """Look at all servers and files once, and show what cfm would do and why. Nothing is changed.

    This needs no lock and works beside a running cfm. The exit code is 3 where it could not look at a server.
    """
    from cfm.cli.render import plan_view
    from cfm.controller.act import once

    settings = settings_from(config, load_cfm)
    setup_logging("error", None, "cfm")
    found = asyncio.run(once.plan(settings, now))
    tell(found, plan_view, json=json)
    if any(map(_not_seen, found["servers"])):
        raise typer.Exit(VIOLATION)


def _not_seen(server: Mapping[str, Any]) -> bool:
    """Could this server not be looked at?"""
    is_destination = "destination" in server["role"]
    return server["state"] != "up" or (is_destination and None in (server["files"], server["used_percent"]))


@app.command(rich_help_panel=LOOK)
def status(
    config: SettingsPath = CFM_FILE,
    addr: LocalAddr = "",
    json: AsJson = False,
    watch: Annotated[bool, typer.Option("--watch", help="Update the view until Ctrl-C.")] = False,
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="For monitors: one line for each condition; exit code 3 where not all is well."
        ),
    ] = False,
) -> None:
    """Show a running cfm: the verdict and its conditions, servers, copies, disks, backlog.

    With --check, the exit code is 0 for `ok` and `busy`, and 3 for `degraded` and `critical`.
    """
    from cfm.cli.render import check_view, status_view
    from cfm.cli.watching import watch_status
    from cfm.controller.explain.health import Health

    cfm = running_cfm(config, addr)
    with ended_by_errors():
        found = cfm.get("api", "v1", "status")
        if json:
            print_json(found)
        elif watch:
            watch_status(cfm)
        else:
            show(check_view(found) if check else status_view(found, []))
    if check and not Health(found["health"]).is_good:
        raise typer.Exit(VIOLATION)


@app.command(rich_help_panel=LOOK)
def why(
    file: Annotated[str, typer.Argument(metavar="FILE", help="The file's name.")],
    config: SettingsPath = CFM_FILE,
    addr: LocalAddr = "",
    json: AsJson = False,
) -> None:
    """Show everything about a file, and why it is or is not copied or deleted, server by server."""
    from cfm.cli.render import why_view

    cfm = running_cfm(config, addr)
    with ended_by_errors():
        found = cfm.get("api", "v1", "files", file)
        if not found["exists"] and not json:
            refuse_server(cfm, file)
    tell_of(file, "file", found, why_view, exists=found["exists"], json=json)


for _panel, _commands in (
    (LOOK, (history, server, unique, backlog, search, trends)),
    (CHANGE, (confirm, accept, cancel, reload, handover)),
    (MORE, (demo,)),
):
    for _command in _commands:
        app.command(rich_help_panel=_panel)(_command)
app.command(context_settings=PASS_ON, rich_help_panel=MORE)(simulate)


add_descriptions(app, "cfm")


def main() -> None:
    use_utf8()
    app()


if __name__ == "__main__":
    main()
