"""The pages that are long lists: the backlog, deletes, history, settings, and what a search found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

from cfm.controller.explain.words import count_words
from cfm.controller.serve.html import Child, Html, tag
from cfm.controller.serve.pages import cells, tables
from cfm.controller.serve.pages.cells import Names
from cfm.controller.serve.pages.frame import Json, Page, heading, page, pager, section, table
from cfm.controller.serve.pages.overview import decisions
from cfm.controller.serve.pages.parts import Part
from cfm.plan.refusals import COPY_REFUSALS, DELETE_REFUSALS

DONE_SHOWN: Final = 50
_TEXTS: Final = {one.name: one for one in (*COPY_REFUSALS, *DELETE_REFUSALS)}


def backlog_page(found: Json, names: Names, rows: int) -> Page:
    """The wanted files that are on no destination, best first, with the reason of each."""
    total, listed = found["total"], found["listed"]
    note = f"The last plan lists the first {listed:,} of them." if listed < total else None
    return page(
        "Backlog",
        "/backlog",
        heading("Backlog"),
        section(
            "backlog",
            f"{count_words(total, 'wanted file is', 'wanted files are')} on no destination",
            tables.backlog(found["rows"], names),
            pager("/backlog", found["offset"], len(found["rows"]), listed, rows),
            note=note,
        ),
    )


def deletes_page(status: Json, plan: Json, done: Json) -> Page:
    """Deletes that run, those that are refused, by reason, and the history of the others (`done`)."""
    names = cells.names_of(status["servers"])
    totals = status["totals"]
    deleted = totals.get("deleted_surplus", 0) + totals.get("deleted_space", 0)
    note = (
        f"Since the start of cfm {count_words(deleted, 'file was', 'files were')} deleted: "
        f"{totals.get('deleted_surplus', 0):,} surplus, {totals.get('deleted_space', 0):,} for space; "
        f"{cells.size(totals.get('deleted_bytes', 0))}."
    )
    return page(
        "Deletes",
        "/deletes",
        heading("Deletes"),
        section("running", "Now", tables.deletes(status["deletes"], names)),
        section("refused", "Refused in the last round, by reason", _refused(plan), note=_REFUSED_NOTE),
        section("would", "What would go if deletes were on", _would(plan["would_delete"], names))
        if plan["would_delete"]
        else None,
        _happened(
            "done",
            "What was deleted, the newest first",
            done,
            "/deletes?",
            status["at"],
            empty="Nothing was deleted, as far as the history goes back.",
            note=note,
        ),
    )


_REFUSED_NOTE: Final = "What would be deleted if a safety rule did not forbid it."


def _refused(plan: Json) -> Part | Html:
    """Each reason: how often, what it means, who can release it, and one example."""
    examples: dict[str, Json] = {}
    for refused in plan["refusals"]:
        if refused["action"] == "delete":
            examples.setdefault(refused["reason"], refused)
    counts = sorted(plan["refusal_counts"]["delete"].items(), key=lambda one: -one[1])
    rows = [
        (
            reason,
            (
                tag("code", reason),
                f"{number:,}",
                _TEXTS[reason].text,
                cells.marked(_TEXTS[reason].release or "nothing: it ends by itself"),
                _example(examples.get(reason)),
            ),
        )
        for reason, number in counts
        if reason in _TEXTS
    ]
    columns = ("Reason", "Times#", "What it means", "What to do", "Such as~")
    return table("refused", columns, rows, empty="No delete is refused.")


def _example(one: Json | None) -> Child:
    return "" if one is None else [cells.file(one["file"]), " on ", cells.server(one["server"])]


def _would(deletes: Sequence[Json], names: Names) -> Part | Html:
    rows = [
        (
            str(place),
            (
                cells.file_and_why(one["file"], one["reason"]),
                cells.server(one["server"], names),
                one["kind"],
                one["reason"],
            ),
        )
        for place, one in enumerate(deletes[:DONE_SHOWN])
    ]
    return table("would", ("File", "Server", "Kind~", "Why~"), rows, empty="Nothing would go.")


def history_page(found: Json, about: str, now_s: float) -> Page:
    """What happened, the newest first; `about`: only what names this file or server."""
    value: dict[str, str | int | None] = {
        "type": "search",
        "name": "about",
        "value": about,
        "aria-label": "Only what names this file or server",
        "placeholder": "Only what names this file or server",
        "maxlength": 255,
    }
    form = tag("form", tag("input", attrs=value), attrs={"action": "/history", "method": "get"}, cls="filter")
    title = f"What happened to {about}" if about else "What happened, the newest first"
    path = f"/history?about={quote(about, safe='')}&"
    return page(
        "History",
        "/history",
        heading("History"),
        form,
        _happened("events", title, found, path, now_s, empty="Nothing is in the history."),
    )


def _happened(
    id_: str, title: str, found: Json, path: str, now_s: float, *, empty: str, note: Child = None
) -> Part:
    """A page of the history, the newest first, with a link to what is older."""
    events = found["events"]
    more = tag("a", "Older", attrs={"href": f"{path}before={found['before']}", "rel": "next"})
    older = (
        tag("nav", more, attrs={"aria-label": "Rows"}, cls="pager") if events and found["before"] else None
    )
    shown = decisions(list(reversed(events)), now_s, len(events), empty=empty)
    return section(id_, title, shown, older, note=note)


def settings_page(found: Json) -> Page:
    """The settings in force, each with the place that it comes from."""
    rows = [
        (str(place), (cells.setting(one["key"]), _value(one["value"]), _from(one), _later(one)))
        for place, one in enumerate(found["settings"])
    ]
    note = f"Read from {found['file']}." if found["file"] else "No settings file was read."
    columns = ("Setting", "In force", "From", "At the next start*")
    return page(
        "Settings",
        "/settings",
        heading("Settings"),
        section("settings", "In force", table("settings", columns, rows, empty="There are none."), note=note),
    )


def _value(value: object) -> Child:
    if isinstance(value, list):
        lines = [[tag("br") if place else None, tag("code", str(one))] for place, one in enumerate(value)]
        return lines or tag("span", "none", cls="quiet")
    if value is None:
        return tag("span", "not set", cls="quiet")
    return tag(
        "code", {True: "on", False: "off"}.get(value, str(value)) if isinstance(value, bool) else str(value)
    )


def _from(one: Json) -> Child:
    return f"line {one['line']}" if one["line"] else tag("span", "default", cls="quiet")


def _later(one: Json) -> Child:
    return _value(one["at_next_start"]) if "at_next_start" in one else ""


def search_page(asked: str, found: Mapping[str, Any], names: Names) -> Page:
    """Files and servers whose names contain what was asked for."""
    files, servers = found["files"], found["servers"]
    rows = [
        (str(place), (cells.file(one["file"]), cells.number(one["rank"]), cells.servers(one["on"], names)))
        for place, one in enumerate(files)
    ]
    more = " These are the first of them." if found["more"] else ""
    listed = tag("ul", [tag("li", cells.server(addr)) for addr in servers]) if servers else None
    shown = table(
        "files",
        ("File", "Rank#", "On"),
        rows,
        empty="No graded file has that in its name."
        if servers
        else "No graded file and no server has that in its name.",
    )
    return page(
        f"Search: {asked}" if asked else "Search",
        "",
        heading(f"Search for {asked}" if asked else "Search"),
        section("servers", "Servers", listed) if listed else None,
        section("files", "Files", shown, note=f"By rank.{more}" if files else None),
        asked=asked,
    )


def refusal_page(status: int, why: str) -> Page:
    """What is said of an address that leads nowhere."""
    title = "Not found" if status == 404 else "Not possible"
    return page(title, "", heading(title), tag("p", cells.sentence(why)))
