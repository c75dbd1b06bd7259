"""What one server holds: its facts, and a page of its files, as JSON values.

Neighbours: `act.lister` finds the page in the metadata; `report` tells of all servers.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

from cfm.controller.decide.core import Core
from cfm.controller.explain.parts import Json
from cfm.controller.explain.report import servers_json, transfer_json
from cfm.model import Addr, File, Known, Names, Now, host_of


@dataclass(frozen=True, slots=True)
class ServerContent:
    """A server, and the names that it holds, as of one moment."""

    facts: Json
    names: Names
    """Those of its last list, where the present one is unknown."""
    addresses: frozenset[Addr]
    """All addresses of its disk."""


def held_by(core: Core, addr: Addr, now: Now) -> ServerContent:
    """What this server holds, which the settings name."""
    record = core.state.fleet.records[addr]
    known = isinstance(record.files, Known)
    names = record.files.value if isinstance(record.files, Known) else record.last_list or frozenset()
    [facts] = [one for one in servers_json(core, core.state.view(now)) if one["addr"] == addr]
    tasks = [t.id for t in core.state.tasks.active.values() if addr in (t.source, t.destination)]
    transfers = [transfer_json(core, task_id, now) for task_id in sorted(tasks)]
    listed = known or record.last_list is not None
    facts |= {"at": now.wall_s, "transfers": transfers, "listed": listed, "list_is_old": listed and not known}
    return ServerContent(facts, names, core.state.fleet.addresses(addr))


def only_there(core: Core, held: ServerContent) -> list[str]:
    """The names of which no other server is known to have a copy.

    It may run beside the core: each look at its index of holders is one step.
    """
    holders = core.state.fleet.holders
    return [name for name in held.names if holders.get(name, held.addresses) <= held.addresses]


def page_json(core: Core, held: ServerContent, rows: Sequence[File | str], offset: int, sums: Json) -> Json:
    """A server with one page of its files.  Where its list was never read, the sums are null.

    `rows`: known files, and the bare names of the others.
    """
    if not held.facts["listed"]:
        sums = dict.fromkeys(sums)
    shown = [_row(core, held, one) for one in rows]
    return {**held.facts, "files_by_rank": {**sums, "offset": offset, "rows": shown}}


def _row(core: Core, held: ServerContent, file: File | str) -> Json:
    name = file if isinstance(file, str) else file.name
    holders = core.state.fleet.holders.get(name, held.addresses)
    row: Json = {
        "file": name,
        "rank": None,
        "hits": None,
        "size_bytes": None,
        "on": sorted(holders),
        "unique": holders <= held.addresses,
        "stale": held.facts["addr"] in core.state.versions.stale.get(name, frozenset()),
    }
    if isinstance(file, File):
        row |= {"rank": file.rank, "hits": core.state.hits.rising.get(name, file.hits)}
        row["size_bytes"] = file.size_bytes
    return row


def server_of(core: Core, name: str) -> Addr | None:
    """The server that is meant: by its address, or by its host where no other server has the same."""
    if name in core.state.fleet.records:
        return Addr(name)
    found = _of_host(core, name)
    return found[0] if len(found) == 1 else None


def _of_host(core: Core, host: str) -> list[Addr]:
    return [one for one in core.state.fleet.records if host_of(one) == host]


def near_servers(core: Core, addr: str) -> list[Addr]:
    """Servers that somebody may have meant who wrote `addr`: those of that host, or spelled like it."""
    servers = list(core.state.fleet.records)
    return _of_host(core, addr) or [Addr(near) for near in difflib.get_close_matches(addr, servers, n=3)]
