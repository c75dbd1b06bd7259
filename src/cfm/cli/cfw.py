"""`cfw`: the worker's command line."""

from __future__ import annotations

from pathlib import Path

import typer

from cfm.cli.common import (
    HELP_NAMES,
    AsJson,
    SettingsPath,
    Version,
    fail,
    run_daemon,
    settings_from,
    usual_settings,
)
from cfm.cli.encoding import use_utf8
from cfm.config import load_cfw
from cfm.errors import CfmError
from cfm.logs import setup_logging
from cfm.signals import hold_hangups

app = typer.Typer(
    name="cfw", add_completion=False, pretty_exceptions_enable=False, context_settings=dict(HELP_NAMES)
)
DEFAULT = Path("cfw.yml")


@app.callback(invoke_without_command=True)
def _top(context: typer.Context, _version: Version = False) -> None:
    """The worker of a video server. It lists files, and copies and deletes them on a controller's order.

    Without a command it runs, with cfw.yml in the current folder or else beside the executable.
    """
    if context.invoked_subcommand is None:
        run(usual_settings("cfw.yml"))


@app.command()
def run(config: SettingsPath = DEFAULT) -> None:
    """Run the worker in the foreground. It prints `listening on ADDR` when it serves.

    SIGTERM or SIGINT stops it cleanly. SIGHUP makes it read storage_usage_limit_percent again.
    """
    from cfm.worker import program

    hold_hangups()
    settings = settings_from(config, load_cfw)
    setup_logging(settings.log_level, settings.log_dir, "cfw")
    run_daemon(lambda: program.run(settings))


@app.command()
def check(config: SettingsPath = DEFAULT, json: AsJson = False) -> None:
    """Read the settings and tell what is wrong (exit code 2) or doubtful (exit code 0)."""
    from cfm.cli.check import check_cfw

    raise typer.Exit(check_cfw(config, json=json))


@app.command()
def release(config: SettingsPath = DEFAULT) -> None:
    """Free this worker from its controller, so that it can belong to another one."""
    from cfm.worker.release import release as release_worker

    settings = settings_from(config, load_cfw)
    setup_logging("error", None, "cfw")
    try:
        print(release_worker(settings))
    except CfmError as error:
        fail(error)


def main() -> None:
    use_utf8()
    app()


if __name__ == "__main__":
    main()
