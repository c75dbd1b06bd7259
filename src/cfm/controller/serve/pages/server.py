"""The pages of servers: all of them, and everything about one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from urllib.parse import quote

from cfm.controller.explain.trends import DISK_UNKNOWN, DOWN, NOT_SEEN, Trends
from cfm.controller.serve.html import Child, Html, tag
from cfm.controller.serve.pages import cells, charts, tables
from cfm.controller.serve.pages.cells import Names
from cfm.controller.serve.pages.frame import (
    Json,
    Page,
    facts,
    heading,
    page,
    pager,
    section,
    table,
)
from cfm.controller.serve.pages.overview import decisions, trouble_first
from cfm.controller.serve.pages.parts import Content, Part
from cfm.model import Addr

EVENTS_SHOWN: Final = 30


def servers_page(status: Json, first: int, rows: int) -> Page:
    """All servers, those with trouble first."""
    all_, names = sorted(status["servers"], key=trouble_first), cells.names_of(status["servers"])
    shown = all_[first : first + rows]
    up = sum(server["state"] == "up" for server in all_)
    return page(
        "Servers",
        "/servers",
        heading("Servers", " ", tag("small", f"{up:,} of {len(all_):,} are up", cls="quiet")),
        section(
            "servers",
            "Trouble first, then the fullest",
            tables.servers(shown, names),
            pager("/servers", first, len(shown), len(all_), rows),
        ),
    )


def server_page(
    found: Json, status: Json, trends: Trends, happened: Json, first: int, rows: int, *, unique: bool
) -> Page:
    """Everything about one server.  `found`: its facts and a page of its files; `unique`: of its alone.

    `happened`: the newest of its history.
    """
    addr, names = str(found["addr"]), cells.names_of(status["servers"])
    concerned = [one for one in status["conditions"] if addr in one["servers"]]
    return page(
        addr,
        "/servers",
        heading(addr, " ", tag("small", ", ".join(found["role"]), cls="quiet")),
        _conditions(concerned),
        _facts(found),
        _over_time(trends, addr),
        section("transfers", "Copies now", tables.transfers(found["transfers"], names)),
        section("pauses", "Failures", _pauses(found["pauses"], names, found["at"])),
        section("events", "What arrived, what went, and why", *_history(happened, addr, found["at"])),
        _files(found, names, first, rows, unique=unique) if "destination" in found["role"] else None,
    )


def _history(happened: Json, addr: str, now_s: int) -> tuple[Child, Child]:
    events = happened["events"]
    shown = decisions(events[::-1], now_s, len(events), empty="Nothing is in the history.")
    path = f"/history?about={quote(addr, safe='')}"
    return shown, tag("p", tag("a", "All of its history", attrs={"href": path}), cls="pager")


def _conditions(found: Sequence[Json]) -> Content:
    if not found:
        return None
    lines = [
        tag(
            "li",
            tag("strong", one["name"]),
            ": ",
            cells.sentence(one["text"]),
            " ",
            cells.sentence(one["remedy"]) if one["remedy"] else "",
            cls=one["level"],
        )
        for one in found
    ]
    return section("conditions", "Conditions here", tag("ul", lines), cls="conditions")


def _facts(found: Json) -> Part:
    disk: list[tuple[str, Child]] = []
    if "destination" in found["role"]:
        disk = [
            ("Disk", [cells.disk_bar(found), tag("small", cells.disk_words(found))]),
            ("Size", cells.size(found["total_bytes"]) or "unknown"),
            ("Room for copies", cells.size(found["room_bytes"]) or "none is copied there now"),
            ("On its way", cells.size(found["arriving_bytes"]) or "unknown"),
            ("About to go", cells.size(found["leaving_bytes"]) or "unknown"),
            ("Receives", found["receiving"]),
        ]
    sends: list[tuple[str, Child]] = [("Sends", found["sending"])] if "source" in found["role"] else []
    program = f"cfw {found['version']}" if found["ours"] else "an earlier cfw"
    return facts(
        "facts",
        [
            ("State", cells.state(found)),
            *disk,
            *sends,
            ("Program", program if found["state"] == "up" else "unknown"),
            ("Transfer", found["transfer"] if found["state"] == "up" else "unknown"),
            *([("Files", cells.count(found["files"]))] if disk else []),
        ],
    )


def _over_time(trends: Trends, addr: str) -> Part:
    codes = trends.shown.states(Addr(addr))
    down = sum(code == DOWN for code in codes)
    unknown = sum(code == DISK_UNKNOWN for code in codes)
    full = [code for code in codes if code < NOT_SEEN]
    words = f"{full[-1]} % used" if full else "not known"
    for what, steps in (("down", down), ("its disk unknown", unknown)):
        words += f"; {what} for {cells.span(steps * trends.shown.step_s)}" if steps else ""
    svg = charts.states(codes, f"State and disk over time: {words}")
    shown = charts.picture("Disk, and when it was down", words, svg, len(codes), trends.shown.step_s, "100 %")
    return section("over-time", "Over time", shown)


def _pauses(pauses: Sequence[Json], names: Names, at_s: int) -> Part | Html:
    rows = [
        (
            str(place),
            (
                cells.server(pause["source"], names) if pause["source"] else "any source",
                cells.server(pause["destination"], names) if pause["destination"] else "any destination",
                pause["failures"],
                pause["why"] or "",
                cells.span(max(0, pause["until_at"] - at_s)),
            ),
        )
        for place, pause in enumerate(pauses)
    ]
    columns_ = ("From", "To", "Failures in a row#", "The last one", "Next try in#")
    return table("pauses", columns_, rows, empty="No copy from or to it fails.")


def _files(found: Json, names: Names, first: int, rows: int, *, unique: bool) -> Part:
    files, path = found["files_by_rank"], cells.server_path(found["addr"])
    if not found["listed"]:
        return section("files", "Files", tag("p", "Its list has not been read yet.", cls="quiet"))
    choice = tag(
        "nav",
        tag("a", "All files", attrs={"href": path, "aria-current": None if unique else "page"}),
        tag(
            "a", "Only here", attrs={"href": f"{path}?only=here", "aria-current": "page" if unique else None}
        ),
        attrs={"aria-label": "Which files"},
        cls="choice",
    )
    what = "that are on no other server" if unique else "on it"
    note = (
        f"{files['total']:,} files {what}; {files['known']:,} are known, with "
        f"{cells.size(files['known_bytes'])}."
    )
    if found["list_is_old"]:
        note += " This is its last list: the present one is unknown."
    return section(
        "files",
        "Files by rank",
        choice,
        tables.files(files["rows"], names),
        pager(path, first, len(files["rows"]), files["total"], rows, "&only=here" if unique else ""),
        note=note,
    )
