"""`cfw`: the worker's command line."""

from __future__ import annotations

import typer

from cfm.cli.asking import AskedDaemon
from cfm.cli.command_line import CommandLine
from cfm.cli.common import (
    CFW_FILE,
    AsJson,
    SettingsPath,
    Version,
    ended_by_errors,
    print_json,
    run_daemon,
    settings_from,
    usual_settings,
)
from cfm.cli.describing import add_descriptions
from cfm.cli.encoding import use_utf8
from cfm.cli.output import tell
from cfm.cli.settings import cfw_config
from cfm.config import load_cfw
from cfm.errors import CfmError
from cfm.logs import setup_logging
from cfm.signals import hold_hangups

app = CommandLine(name="cfw")
app.add_typer(cfw_config, name="config")


@app.callback(invoke_without_command=True)
def _top(context: typer.Context, _version: Version = False) -> None:
    """The worker of a video server. It lists files, and copies and deletes them on a controller's order.

    Without a command it runs, with cfw.yml in the current folder or else beside the executable.
    """
    if context.invoked_subcommand is None:
        run(usual_settings("cfw.yml"))


@app.command()
def run(config: SettingsPath = CFW_FILE) -> None:
    """Run the worker in the foreground. It prints `listening on ADDR` when it serves.

    SIGTERM or SIGINT stops it cleanly. SIGHUP makes it read storage_usage_limit_percent again.
    """
    from cfm.worker import program

    hold_hangups()
    settings = settings_from(config, load_cfw)
    setup_logging(settings.log_level, settings.log_dir, "cfw")
    run_daemon(lambda: program.run(settings))


@app.command()
def check(config: SettingsPath = CFW_FILE, json: AsJson = False) -> None:
    """Read the settings and tell what is wrong (exit code 2) or doubtful (exit code 0)."""
    from cfm.cli.check import check_cfw

    raise typer.Exit(check_cfw(config, json=json))


@app.command()
def status(config: SettingsPath = CFW_FILE, json: AsJson = False) -> None:
    """Show the running worker: whom it obeys, what it copies and sends, and its disk."""
    from cfm.cli.render.worker import worker_view
    from cfm.security import worker_credentials

    settings = settings_from(config, load_cfw)
    with ended_by_errors():
        # To itself the worker shows what it shows to cfm.
        cfw = AskedDaemon(settings.listen_addr, worker_credentials(settings).to_cfm, "cfw")
        found = cfw.get("healthz")
    try:
        found |= {"disk": cfw.get("df"), "disk_why": None}
    except CfmError as error:
        found |= {"disk": None, "disk_why": str(error)}
    tell(found, worker_view, json=json)


@app.command()
def release(config: SettingsPath = CFW_FILE, json: AsJson = False) -> None:
    """Free this worker from its controller, so that it can belong to another one."""
    from cfm.worker.release import release as release_worker

    settings = settings_from(config, load_cfw)
    setup_logging("error", None, "cfw")
    with ended_by_errors():
        was = release_worker(settings)
    if json:
        print_json({"controller": was and was.controller, "epoch": was and was.epoch})
    elif was is None:
        print("this worker belonged to no controller")
    else:
        print(f"released from the controller {was.controller} (epoch {was.epoch})")


add_descriptions(app, "cfw")


def main() -> None:
    use_utf8()
    app()


if __name__ == "__main__":
    main()
