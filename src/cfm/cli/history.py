"""`cfm history`, `cfm server`, `cfm unique`: what happened, and what one server holds."""

from __future__ import annotations

from typing import Annotated

import typer

from cfm.cli.asking import LocalAddr, history_of, running_cfm
from cfm.cli.common import CFM_FILE, AsJson, SettingsPath, ended_by_errors
from cfm.cli.output import tell, tell_of

Limit = Annotated[int, typer.Option("-n", "--limit", min=1, metavar="N", help="Show at most this many.")]
Offset = Annotated[int, typer.Option("--offset", min=0, metavar="N", help="Skip this many files first.")]
Server = Annotated[
    str, typer.Argument(metavar="SERVER", help="HOST:PORT as in cfm.yml, or HOST if only one server has it.")
]


def history(
    about: Annotated[
        str,
        typer.Argument(
            metavar="FILE|SERVER",
            help="What it is about; `/deletes` for all deletes. Without it: everything.",
        ),
    ] = "",
    config: SettingsPath = CFM_FILE,
    addr: LocalAddr = "",
    limit: Limit = 50,
    json: AsJson = False,
) -> None:
    """Show what happened to a file, to a server, or in the whole node. The newest comes last.

    It tells of decisions and their reasons, of conditions that began and ended, and of what operators did.
    """
    from cfm.cli.render.history import history_view

    cfm = running_cfm(config, addr)
    with ended_by_errors():
        found = history_of(cfm, about, limit)
    tell_of(about, "file or server", found, history_view, exists=found["known"], json=json)


def server(
    server: Annotated[
        str, typer.Argument(metavar="list|SERVER", help="HOST:PORT as in cfm.yml, or HOST; `list` for all.")
    ] = "list",
    config: SettingsPath = CFM_FILE,
    addr: LocalAddr = "",
    limit: Limit = 20,
    offset: Offset = 0,
    json: AsJson = False,
) -> None:
    """Show all servers, or one: its disk, its copies, and its files, the most wanted first."""
    from cfm.cli.render.page import Sized
    from cfm.cli.render.server import server_view
    from cfm.cli.render.servers import servers

    cfm = running_cfm(config, addr)
    with ended_by_errors():
        if server == "list":
            found = cfm.get("api", "v1", "servers")
        else:
            path = ("api", "v1", "servers", server)
            found = cfm.rows(*path, rows_in="files_by_rank", limit=limit, offset=offset)
    if server == "list":
        tell(found, lambda all_: Sized(lambda width: servers(all_, width)), json=json)
    else:
        tell(found, server_view, json=json)


def unique(
    server: Server,
    config: SettingsPath = CFM_FILE,
    addr: LocalAddr = "",
    limit: Limit = 20,
    offset: Offset = 0,
    json: AsJson = False,
) -> None:
    """Show the files of which a server has the only copy: what the node would miss without this server."""
    from cfm.cli.render.server import unique_view

    cfm = running_cfm(config, addr)
    with ended_by_errors():
        path = ("api", "v1", "servers", server, "unique")
        found = cfm.rows(*path, rows_in="files_by_rank", limit=limit, offset=offset)
    tell(found, unique_view, json=json)
