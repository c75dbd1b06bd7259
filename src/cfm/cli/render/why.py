"""`cfm why FILE`: everything known about one file, and why it is or is not copied or deleted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cfm.cli.render.history import dated
from cfm.cli.render.page import Json, Sized, said, stack
from cfm.controller.explain.words import size_words

STORY_SHOWN: Final = 20
PLACES_SHOWN: Final = 10


def why_view(why: Json) -> RenderableType:
    """The file's facts, the reasons server by server, and its story."""

    def view(_width: int) -> RenderableType:
        title = Text.assemble((said(why["file"]).plain, "bold"))
        return stack(title, _facts_of(why), Group(*_reasons(why)), _story(why["story"]))

    return Sized(view)


def _facts_of(why: Json) -> Table:
    on_san = {True: "yes", False: "no", None: "unknown"}[why["on_san"]]
    hits = "none" if why["hits"] is None else f"{why['hits']:,}"
    facts = (
        ("known", "yes" if why["known"] else "no"),
        ("rank", "not graded" if why["rank"] is None else f"{why['rank']:,}"),
        ("hits", hits + (", rising" if why["rising"] else "") + (", watched" if why.get("watched") else "")),
        ("size", "unknown" if why["size_bytes"] is None else size_words(why["size_bytes"])),
        ("on the SAN", on_san),
        ("on", ", ".join(_holder(why, addr) for addr in why["on"]) or _nowhere(why)),
        *(("copying", f"{t['source']} → {t['destination']}, {t['status']}") for t in why["tasks"]),
    )
    for other in why.get("looks_like", ()):
        facts = (
            *facts,
            ("looks like", f"{ascii(other)[1:-1]}: another file, whose letters are encoded otherwise"),
        )
    table = Table.grid(padding=(0, 2))
    for name, fact in facts:
        table.add_row(Text(name, style="dim"), said(fact))
    return table


def _nowhere(why: Json) -> str:
    return "not known" if why["copy"]["reason"] == "holder_unknown" else "no destination"


def _holder(why: Json, addr: str) -> str:
    """A server that holds the file, and whether its copy is older than the SAN's file."""
    copies = why.get("versions", {}).get("copies", ())
    return f"{addr} (stale)" if any(one["stale"] and one["server"] == addr for one in copies) else addr


def _reasons(why: Json) -> Iterator[RenderableType]:
    yield _reason("copied", "", why["copy"])
    if not why["on"] and not why["tasks"]:
        places = why.get("places", ())
        if places:
            yield _places(places[:PLACES_SHOWN])
        if len(places) > PLACES_SHOWN:
            yield Text(f"  … and {len(places) - PLACES_SHOWN:,} more destinations", style="dim")
    for delete in why["delete"]:
        yield _reason("deleted", f" on {delete['server']}", delete)


def _reason(done: str, where: str, answer: Json) -> Text:
    may, style = (f"May be {done}", "green") if answer["allowed"] else (f"Not {done}", "yellow")
    reason = f" ({answer['reason']})" if answer["reason"] else ""
    return Text.assemble(
        (may, f"bold {style}"), said(where), said(reason, "bold"), said(f": {answer['text']}")
    )


def _places(places: Sequence[Json]) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold", style="dim")
    for one in places:
        grid.add_row(Text.assemble("  ", said(one["server"])), said(one["text"]))
    return grid


def _story(story: Sequence[Json]) -> RenderableType | None:
    if not story:
        return Text("no story: cfm has not decided anything about this file yet", style="dim")
    return Group(Text("story", style="bold"), dated(story[-STORY_SHOWN:]))
