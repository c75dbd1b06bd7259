"""The page of one file: what is known of it, where it is, and why it is or is not copied or deleted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from cfm.controller.serve.html import Child, Html, tag
from cfm.controller.serve.pages import cells, tables
from cfm.controller.serve.pages.cells import Names
from cfm.controller.serve.pages.frame import Json, Page, facts, heading, page, section, table
from cfm.controller.serve.pages.overview import decisions
from cfm.controller.serve.pages.parts import Content, Part

PLACES_SHOWN: Final = 200
_NOTHING: Final = "Nothing about it is in the history."


def file_page(found: Json, names: Names, now_s: int) -> Page:
    """`found`: what `cfm why` shows."""
    name, tasks, story = str(found["file"]), found["tasks"], found["story"]
    return page(
        name,
        "",
        heading(name),
        _answer(found),
        _facts(found, now_s),
        section("transfers", "Being copied", tables.transfers(tasks, names)) if tasks else None,
        _copies(found, names, now_s),
        _places(found, names),
        section("story", "Its story", decisions(story, now_s, len(story), also_small=True, empty=_NOTHING)),
        _names("alike", "Other names that look the same", found["looks_like"]),
        _names("near", "Did you mean", found["near"]),
    )


def _answer(found: Json) -> Html:
    """In one sentence: is it placed, or why not?"""
    if found["on"]:
        number = len(found["on"])
        words = f"It is on {number} destination{'s' if number > 1 else ''}"
        words += "; viewers want it now." if found["rising"] or found["watched"] else "."
        return _verdict_line("Placed", words, "good")
    if not found["exists"]:
        words = "No file is called so: it is not graded, and neither a destination nor the SAN has it."
        return _verdict_line("Unknown", words, "held")
    copy = found["copy"]
    level = "Wanted" if copy["allowed"] or found["known"] else "Not known"
    words = copy["text"][:1].upper() + copy["text"][1:]
    reason = tag("code", copy["reason"]) if copy["reason"] else ""
    return _verdict_line(level, [words.rstrip("."), ". ", reason], "held")


def _verdict_line(level: str, words: Child, mood: str) -> Html:
    line = tag("span", words, cls="line")
    return tag("p", tag("span", level, cls="level"), line, cls=f"verdict {mood}")


def _facts(found: Json, now_s: int) -> Part:
    on_san = {True: "yes", False: "no, or with another size", None: "unknown"}[found["on_san"]]
    wanted = [word for word in ("rising", "watched") if found[word]]
    pairs: list[tuple[str, Child]] = [
        ("Rank", cells.number(found["rank"]) or "not graded"),
        ("Hits", cells.number(found["hits"]) or "0"),
        ("Rising or watched", " and ".join(wanted) or "no"),
        ("Size", cells.size(found["size_bytes"]) or "unknown"),
        ("On the SAN", on_san),
    ]
    if (version := found["versions"]["san"]) is not None:
        pairs.append(("Version on the SAN", _version(version, now_s)))
    return facts("facts", pairs)


def _version(version: Mapping[str, Any], now_s: int) -> str:
    size, mtime_s = cells.size(version["size_bytes"]), version["mtime_at"]
    return f"{size}, written {cells.moment(mtime_s, now_s)}" if mtime_s is not None else size


def _copies(found: Json, names: Names, now_s: int) -> Content:
    if not found["on"]:
        return None
    deletes = {one["server"]: one for one in found["delete"]}
    rows = [
        (
            str(place),
            (
                cells.server(copy["server"], names),
                tag("span", "stale: the SAN has a newer one", cls="bad") if copy["stale"] else "current",
                _version(copy["version"], now_s) if copy["version"] else "not known",
                _verdict(deletes.get(copy["server"])),
            ),
        )
        for place, copy in enumerate(found["versions"]["copies"])
    ]
    columns = ("Server", "Copy", "Version~", "May it be deleted?")
    return section("copies", "Where it is", table("copies", columns, rows, empty=""))


def _verdict(one: Json | None) -> Child:
    if one is None:
        return ""
    mark = tag("strong", "yes" if one["allowed"] else "no", cls="yes" if one["allowed"] else "no")
    return [mark, f": {one['text']} ", tag("code", one["reason"]) if one["reason"] else ""]


def _places(found: Json, names: Names) -> Content:
    if not found["places"]:
        return None
    best = sorted(found["places"], key=lambda one: (not one["allowed"], -(one["room_bytes"] or 0)))
    rows = [
        (
            str(number),
            (
                cells.server(one["server"], names),
                _verdict(one),
                cells.size(one["room_bytes"]),
                cells.number(one["worst_rank"]),
            ),
        )
        for number, one in enumerate(best[:PLACES_SHOWN])
    ]
    columns = ("Destination", "May it be copied there now?", "Room#~", "Worst rank that may go#~*")
    title = "Server by server"
    return section("places", title, table("places", columns, rows, empty=""))


def _names(id_: str, title: str, names: Sequence[str]) -> Content:
    if not names:
        return None
    return section(id_, title, tag("ul", [tag("li", cells.file(name)) for name in names]))
