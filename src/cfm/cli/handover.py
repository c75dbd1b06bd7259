"""`cfm handover`: lets another cfm lead, or prepares the change from the earlier cfm to ours, or back.

Neighbours: `hand_lead_over` does the first, `controller.act.handover` the others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cfm.cli.asking import LocalAddr, running_cfm
from cfm.cli.common import AsJson, SettingsPath, fail, print_json, settings_from
from cfm.cli.hand_lead_over import hand_lead_over
from cfm.config import CfmSettings, load_cfm
from cfm.errors import CfmError, SettingsError
from cfm.logs import escaped, setup_logging

if TYPE_CHECKING:
    from cfm.controller.act.handover import WayBack, WayHere

DEFAULT = Path("cfm.yml")
ToOld = Annotated[bool, typer.Option("--to-old", help="Go back to the earlier cfm. Stop this cfm before.")]
FromOld = Annotated[
    bool, typer.Option("--from-old", help="Come from the earlier cfm. Run this before you stop it.")
]


def handover(
    config: SettingsPath = DEFAULT,
    addr: LocalAddr = "",
    to_old_: ToOld = False,
    from_old_: FromOld = False,
    json: AsJson = False,
) -> None:
    """Let another of several cfm lead; or, with an option, change between the earlier cfm and this one.

    Each may be run again. The exit code is 1 if something could not be handed over; it says what.
    """
    if not (to_old_ or from_old_):
        hand_lead_over(running_cfm(config, addr), json=json)
        return
    from cfm.controller.act.handover import from_old, to_old

    if to_old_ and from_old_:
        fail(SettingsError("say one way: --to-old or --from-old"))
    settings = settings_from(config, load_cfm)
    setup_logging("error", None, "cfm")
    try:
        if to_old_:
            back = asyncio.run(to_old(settings))
            tell, lines, fine = _back_json(back), _back_lines(back, settings), not back.not_freed
        else:
            here = asyncio.run(from_old(settings))
            tell, lines, fine = _here_json(here), _here_lines(here), not here.left_out
    except CfmError as error:
        fail(error)
    if json:
        print_json(tell)
    else:
        for line in lines:
            print(escaped(line))
    raise typer.Exit(0 if fine else 1)


def _back_json(done: WayBack) -> dict[str, object]:
    return {
        "freed": sorted(done.freed),
        "old_workers": sorted(done.old),
        "not_freed": [{"server": addr, "why": why} for addr, why in sorted(done.not_freed.items())],
        "ended_tasks": [str(task.id) for task in done.ended_tasks],
        "old_cfm_runs": done.old_cfm_runs,
        "removed_tasks": [str(task_id) for task_id in done.removed_tasks],
    }


def _back_lines(done: WayBack, settings: CfmSettings) -> Iterator[str]:
    yield f"{_number(len(done.freed), 'worker')} freed: they obey the earlier cfm now"
    if done.old:
        yield f"{_number(len(done.old), 'server')} with an earlier cfw: nothing to do there"
    if done.ended_tasks:
        yield f"{_number(len(done.ended_tasks), 'task')} ended; the earlier cfm makes its own"
    for addr, why in sorted(done.not_freed.items()):
        yield f"not freed: {addr} ({why}); run this again, or `cfw release` on that server"
    if settings.security.configured:
        yield "the earlier cfm has no credentials: remove `security` from each cfw.yml, and restart those cfw"
    if done.old_cfm_runs:
        yield f"{_number(len(done.removed_tasks), 'stale task')} taken off the list of the earlier cfm"
    else:
        yield "now start the earlier cfm, and run this again: it takes stale tasks off its list"


def _here_json(done: WayHere) -> dict[str, object]:
    return {
        "taken_over": [
            {"id": str(task.id), "file": task.file.name, "server": task.destination}
            for task in done.taken_over
        ],
        "left_out": [{"file": name, "why": why} for name, why in sorted(done.left_out.items())],
    }


def _here_lines(done: WayHere) -> Iterator[str]:
    yield f"{_number(len(done.taken_over), 'task')} of the earlier cfm taken over"
    for name, why in sorted(done.left_out.items()):
        yield f"not taken over: {name} ({why}); it may be copied twice, and the surplus copy is trimmed"
    yield "now stop the earlier cfm, and start this one"


def _number(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
