"""`cfm backlog`, `cfm search`, `cfm trends`: what is still to come, where things are, and what went on."""

from __future__ import annotations

from typing import Annotated

import typer

from cfm.cli.asking import MOST_ROWS, LocalAddr, running_cfm
from cfm.cli.common import CFM_FILE, AsJson, SettingsPath, ended_by_errors
from cfm.cli.history import Offset
from cfm.cli.output import tell

Limit = Annotated[
    int, typer.Option("-n", "--limit", min=1, max=MOST_ROWS, metavar="N", help="Show at most this many.")
]


def backlog(
    config: SettingsPath = CFM_FILE,
    addr: LocalAddr = "",
    limit: Limit = 40,
    offset: Offset = 0,
    json: AsJson = False,
) -> None:
    """Show the wanted files that are on no destination, the most wanted first, and why each waits."""
    from cfm.cli.render.finding import backlog_view

    with ended_by_errors():
        found = running_cfm(config, addr).get("api", "v1", "backlog", limit=limit, offset=offset)
    tell(found, backlog_view, json=json)


def search(
    text: Annotated[str, typer.Argument(metavar="TEXT", help="A part of the name of a file or a server.")],
    config: SettingsPath = CFM_FILE,
    addr: LocalAddr = "",
    json: AsJson = False,
) -> None:
    """Find graded files and servers by a part of their name. Exit code 1 if there is none."""
    from cfm.cli.render.finding import search_view

    with ended_by_errors():
        found = running_cfm(config, addr).get("api", "v1", "search", q=text)
    tell(found, search_view, json=json)
    if not found["files"] and not found["servers"]:
        raise typer.Exit(1)


def trends(config: SettingsPath = CFM_FILE, addr: LocalAddr = "", json: AsJson = False) -> None:
    """Show how busy the sources were, what was copied and freed, and who served the viewers, hour by hour."""
    from cfm.cli.render.finding import trends_view

    with ended_by_errors():
        found = running_cfm(config, addr).get("api", "v1", "trends")
    tell(found, trends_view, json=json)
