"""The tables of the pages: disks, servers, copies, deletes, rising files, files of a server, the backlog."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from cfm.controller.explain.words import count_words
from cfm.controller.serve.html import Html, tag
from cfm.controller.serve.pages import cells, charts
from cfm.controller.serve.pages.cells import Names
from cfm.controller.serve.pages.frame import Json, table
from cfm.controller.serve.pages.parts import Part, part

MATRIX_SIDE: Final = 24
"""The most rows and columns of the matrix; the busiest are shown."""


def disks(servers: Sequence[Json], names: Names) -> Part | Html:
    rows = [
        (
            str(place),
            (
                [cells.server(server["addr"], names), " ", _trouble(server)],
                cells.disk_bar(server),
                cells.percent(server["used_percent"]),
                cells.percent(server["projected_percent"]),
                cells.percent(server["limit_percent"]),
                cells.size(server["room_bytes"]),
                cells.count(server["files"]),
                cells.number(server["receiving"] or None),
            ),
        )
        for place, server in enumerate(servers)
    ]
    columns = (
        "Destination",
        "Disk!",
        "Used#!",
        "With what comes#~!",
        "Limit#",
        "Room#",
        "Files#",
        "Receives#~*",
    )
    return table("disks", columns, rows, empty="cfm.yml names no destination.")


def _trouble(server: Json) -> Html | None:
    """A healthy server needs no word."""
    return None if server["state"] == "up" and not server["why"] else cells.state(server)


def strip(servers: Sequence[Json], names: Names) -> Part:
    """A column for each disk, so that hundreds are seen at once."""
    return part(
        "div", "strip", [_column(place, one, names) for place, one in enumerate(servers)], cls="strip"
    )


def _column(place: int, server: Json, names: Names) -> Part:
    used, limit = server["used_percent"], int(server["limit_percent"] or 100)
    mood = server["state"] if server["state"] != "up" else "over" if cells.is_over(server) else "used"
    height = max(2, int(used)) if used is not None else 100
    rects = [
        tag("rect", attrs={"width": 10, "height": height, "y": 100 - height}, cls=mood),
        tag("rect", attrs={"width": 10, "height": 1, "y": 100 - limit}, cls="limit"),
    ]
    label = f"{names.get(server['addr'], server['addr'])}: {server['state']}, {cells.disk_words(server)}"
    return part(
        "a",
        f"disk-{place}",
        tag(
            "svg",
            rects,
            attrs={"viewBox": "0 0 10 100", "preserveAspectRatio": "none", "aria-hidden": "true"},
        ),
        attrs={"href": cells.server_path(server["addr"]), "aria-label": label, "title": label},
    )


def servers(all_: Sequence[Json], names: Names) -> Part | Html:
    rows = [
        (
            str(place),
            (
                cells.server(server["addr"], names),
                ", ".join(server["role"]),
                cells.state(server),
                cells.disk_bar(server) if "destination" in server["role"] else "",
                cells.number(server["files"]),
                _program(server),
                server["transfer"] if "destination" in server["role"] else "",
                cells.number(server["sending"] or None),
                cells.number(server["receiving"] or None),
                count_words(len(server["pauses"]), "pause", "pauses") if server["pauses"] else "",
            ),
        )
        for place, server in enumerate(all_)
    ]
    columns = ("Server", "Role", "State", "Disk", "Files#", "Program~", "Transfer~", "Sends#*",
               "Receives#*", "Failures*")  # fmt: skip
    return table("servers", columns, rows, empty="cfm.yml names no server.")


def _program(server: Json) -> str:
    if server["ours"]:
        return f"cfw {server['version']}"
    return "old cfw" if server["state"] == "up" else ""


def transfers(all_: Sequence[Json], names: Names) -> Part | Html:
    rows = [
        (
            transfer["task"],
            (
                cells.file(transfer["file"]),
                f"{transfer['rank']:,}",
                cells.server(transfer["source"], names),
                cells.server(transfer["destination"], names),
                cells.progress(transfer),
                cells.size(transfer["size_bytes"]),
                cells.rate(transfer["rate_bps"] or None),
                cells.left(transfer),
                why_copied(transfer),
            ),
        )
        for transfer in all_
    ]
    columns = (
        "File",
        "Rank#~",
        "From~",
        "To",
        "Progress!",
        "Size#~",
        "Speed#!~",
        "Left#!",
        "Why this file, and why there~",
    )
    return table("transfers", columns, rows, empty="No copy is running.")


def why_copied(transfer: Json) -> str:
    """Why this file, and why to that server."""
    full = transfer.get("projected_percent")
    there = f"; with it that disk is {full} % full" if full is not None else ""
    return f"{transfer['reason']}{there}"


def matrix(transfers: Sequence[Json], all_: Sequence[Json], names: Names) -> Html:
    """How many copies run from each source to each destination, and where copies fail."""
    running: dict[tuple[str, str], int] = {}
    for one in transfers:
        way = one["source"], one["destination"]
        running[way] = running.get(way, 0) + 1
    failing = {(p["source"], p["destination"]) for server in all_ for p in server["pauses"]}
    sources = _busiest((s["addr"] for s in all_ if "source" in s["role"]), (way[0] for way in running))
    destinations = _busiest((s["addr"] for s in all_ if "destination" in s["role"]), (w[1] for w in running))
    if not sources or not destinations:
        return tag("p", "There is no way for a copy.", cls="quiet")
    head = [tag("td", "")] + [
        tag("th", tag("span", names.get(addr, addr)), attrs={"scope": "col"}) for addr in destinations
    ]
    rows = [
        tag(
            "tr",
            tag("th", names.get(source, source), attrs={"scope": "row"}),
            [_cell(running.get((source, addr), 0), _fails(failing, source, addr)) for addr in destinations],
        )
        for source in sources
    ]
    left_out = sum("source" in s["role"] for s in all_) + sum("destination" in s["role"] for s in all_)
    left_out -= len(sources) + len(destinations)
    more = f" {left_out:,} servers at rest are not shown." if left_out else ""
    shown = tag("table", tag("thead", tag("tr", head)), tag("tbody", rows), cls="matrix")
    words = f"Rows are sources, columns destinations; a number is copies that run.{more}"
    return Html(tag("p", words, cls="note quiet") + tag("div", shown, cls="wide"))


def _busiest(addrs: Iterable[str], busy: Iterable[str]) -> list[str]:
    """The busy ones and as many others as there is place for, in the order of the settings."""
    all_, first = list(dict.fromkeys(addrs)), set(busy)
    kept = sorted(all_, key=lambda addr: addr not in first)[:MATRIX_SIDE]
    return [addr for addr in all_ if addr in kept]


def _fails(failing: set[tuple[str | None, str | None]], source: str, destination: str) -> bool:
    return bool({(source, destination), (source, None), (None, destination)} & failing)


def _cell(copies: int, fails: bool) -> Html:
    if copies:
        return tag("td", copies, cls="fails busy" if fails else "busy")
    return tag("td", tag("span", "fails", cls="bad") if fails else "·", cls="fails" if fails else "quiet")


def deletes(all_: Sequence[Json], names: Names) -> Part | Html:
    rows = [
        (
            one["order"],
            (
                cells.file_and_why(one["file"], one["reason"]),
                cells.server(one["server"], names),
                one["kind"],
                one["status"],
                one["reason"],
            ),
        )
        for one in all_
    ]
    return table(
        "deletes", ("File", "Server", "Kind~", "Status", "Why~"), rows, empty="No delete is running."
    )


def rising(all_: Sequence[Json], curves: Mapping[str, Sequence[int]]) -> Part | Html:
    """Most hits first; the curve is of the last ten minutes."""
    rows = [
        (
            str(one["rank"]),
            (
                cells.file(one["file"]),
                charts.curve(curves[one["file"]], f"its hits lately, {one['hits']:,} now")
                if len(curves.get(one["file"], ())) > 1
                else "",
                f"{one['hits']:,}",
                f"{one['rank']:,}",
            ),
        )
        for one in sorted(all_, key=lambda one: -int(one["hits"]))
    ]
    columns = ("File", "Lately~", "Hits#", "Rank#")
    return table("rising", columns, rows, empty="No file is rising.")


def backlog(all_: Sequence[Json], names: Names) -> Part | Html:
    rows = [
        (
            str(file["rank"]),
            (
                f"{file['rank']:,}",
                cells.file_and_why(file["file"], file["why"]),
                cells.size(file["size_bytes"]),
                f"{file['hits']:,}",
                file["why"],
                cells.servers(file["on"], names),
            ),
        )
        for file in all_
    ]
    columns = ("Rank#", "File", "Size#", "Hits#~", "Why it is not placed~", "An old copy is on*")
    return table("backlog", columns, rows, empty="Every wanted file is on a destination.")


def files(all_: Sequence[Json], names: Names) -> Part | Html:
    """Files of one server, most wanted first."""
    rows = [
        (
            str(place),
            (
                cells.number(file["rank"]),
                cells.file(file["file"]),
                cells.size(file["size_bytes"]),
                cells.number(file["hits"]),
                tag("span", "only here", cls="quiet") if file["unique"] else cells.servers(file["on"], names),
                tag("span", "stale", cls="bad") if file["stale"] else "",
            ),
        )
        for place, file in enumerate(all_)
    ]
    columns = ("Rank#", "File", "Size#", "Hits#", "On", "Version*")
    return table("files", columns, rows, empty="There are none.")
