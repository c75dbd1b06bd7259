"""What an operator changes in a running cfm: `confirm`, `accept`, `cancel`, `reload`.

Each shows what it is about before it asks, and cfm writes down who did it.
"""

from __future__ import annotations

import difflib
from typing import Annotated, Any

import typer

from cfm.cli.asking import LocalAddr, RefusedByDaemonError, running_cfm
from cfm.cli.common import CFM_FILE, AsJson, SettingsPath, ended_by_errors, fail, print_json
from cfm.cli.output import meant, show, tell
from cfm.controller.explain.words import at_servers, size_words
from cfm.errors import CfmError, SettingsError

REFUSED_SETTINGS = 409
ACCEPT = "Use these grade and history files from now on?"
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask, for scripts.")]


def confirm(
    server: Annotated[
        str | None, typer.Argument(metavar="SERVER", help="HOST:PORT as in cfm.yml; without it, all.")
    ] = None,
    config: SettingsPath = CFM_FILE,
    addr: LocalAddr = "",
    yes: Yes = False,
    json: AsJson = False,
) -> None:
    """Release a breaker that holds deletes, once, after showing what cfm would delete.

    Where no breaker holds, the exit code is 1. With --json and without --yes, it only shows.
    """
    from cfm.cli.render import confirm_view

    cfm = running_cfm(config, addr)
    path = ("api", "v1", "confirm", *([server] if server else []))
    with ended_by_errors():
        held = cfm.get(*path)
        if not json:
            show(confirm_view(held))
        elif not yes:
            print_json(held)
        if not held["held"]:
            raise typer.Exit(1)
        if json and not yes:
            return
        if not yes and not typer.confirm(_release(held["held"])):
            raise typer.Exit(1)
        released = cfm.post(*path)
    if json:
        print_json({**released, "would_delete": held["would_delete"]})
        return
    for one in released["released"]:
        print(f"Released at {one['server']}: cfm deletes up to {size_words(one['up_to_bytes'])} there, once.")


def _release(held: list[Any]) -> str:
    size_bytes = sum(one["would_free_bytes"] for one in held)
    where = at_servers([one["server"] for one in held])
    return f"Release the breaker {where}, so that cfm deletes up to {size_words(size_bytes)} there?"


def accept(
    config: SettingsPath = CFM_FILE, addr: LocalAddr = "", yes: Yes = False, json: AsJson = False
) -> None:
    """Accept grade and history files that contain much less than the last good ones, after showing both.

    With --json and without --yes, it only shows.
    """
    from cfm.cli.render import accept_view

    cfm = running_cfm(config, addr)
    with ended_by_errors():
        found = cfm.get("api", "v1", "metadata")
        if json and not yes:
            print_json(found)
            return
        if not json:
            show(accept_view(found))
        rejected = found["rejected"]
        waits = rejected is not None and rejected["can_be_accepted"]
        if not waits or not (yes or typer.confirm(ACCEPT)):
            raise typer.Exit(1)
        accepted = cfm.post("api", "v1", "metadata", rejected["id"])
    if json:
        print_json({**found, **accepted})
    else:
        print("Accepted. cfm reads these files again and uses them from now on.")


def cancel(
    task: Annotated[
        str, typer.Argument(metavar="TASK", help="The id of a task, or the name of the file that is copied.")
    ],
    config: SettingsPath = CFM_FILE,
    addr: LocalAddr = "",
    json: AsJson = False,
) -> None:
    """End a copy. cfm tries the file again later, as after a failure."""
    cfm = running_cfm(config, addr)
    with ended_by_errors():
        found = _under_way(task, cfm.get("api", "v1", "tasks"))
        cfm.delete("tasks", found["task"])
    if json:
        print_json({"cancelled": found})
    else:
        print(f"Cancelled: {found['file']} from {found['source']} to {found['destination']}.")


def _under_way(task: str, shown: list[Any]) -> Any:
    """The copy under way that is meant; `CfmError` where there is none."""
    by_name = {one[key]: one for one in shown for key in ("file", "task") if "ended_at" not in one}
    if task in by_name:
        return by_name[task]
    if any(task in (one["task"], one["file"]) for one in shown):
        raise CfmError(f"the task {task} is over already: there is nothing to cancel")
    near = difflib.get_close_matches(task, by_name)
    raise CfmError(f"no copy is under way with the id or file name {task}{meant(near)}")


def reload(
    config: SettingsPath = CFM_FILE,
    addr: LocalAddr = "",
    check: Annotated[
        bool, typer.Option("--check", help="Only show what the new settings would change.")
    ] = False,
    json: AsJson = False,
) -> None:
    """Make a running cfm read its settings file again. Refused settings change nothing (exit code 2).

    Limits, brakes, prefixes and `deletes` change at once. It tells which settings need a restart.
    """
    from cfm.cli.render.settings import reload_view

    cfm = running_cfm(config, addr)
    try:
        told = cfm.post("api", "v1", "reload", **({"check": "true"} if check else {}))
    except RefusedByDaemonError as error:
        fail(SettingsError(str(error)) if error.status == REFUSED_SETTINGS else error)
    except CfmError as error:
        fail(error)
    tell(told, reload_view, json=json)
