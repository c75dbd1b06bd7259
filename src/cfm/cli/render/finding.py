"""The views of `cfm backlog`, `cfm search` and `cfm trends`."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from cfm.cli.render import page
from cfm.cli.render.page import WIDE, Json, Sized, said, stack
from cfm.cli.render.words import clock_words
from cfm.controller.explain.words import count_words, size_words

_HOUR_S = 3600


def backlog_view(found: Json) -> RenderableType:
    """Each wanted file with its reason."""

    def view(width: int) -> RenderableType:
        words = count_words(found["total"], "wanted file is", "wanted files are")
        title = said(f"{words} on no destination", "bold")
        if not found["rows"]:
            return title
        table = page.table(width)
        for column in ("rank", "size"):
            table.add_column(column, justify="right", no_wrap=True)
        page.name_column(table, (row["file"] for row in found["rows"]), width, is_last=width < WIDE)
        if width >= WIDE:
            table.add_column("why it is not placed", ratio=3, overflow="fold")
        for row in found["rows"]:
            table.add_row(f"{row['rank']:,}", size_words(row["size_bytes"]), *_name_and_why(row, width))
        rest = found["total"] - found["offset"] - len(found["rows"])
        return stack(title, page.with_rest(table, rest, page.MORE_ROWS))

    return Sized(view)


def _name_and_why(row: Json, width: int) -> tuple[RenderableType, ...]:
    """In a narrow terminal the reason stands below the name, which can be copied so."""
    if width >= WIDE:
        return said(row["file"]), said(row["why"])
    return (Group(said(row["file"]), said(row["why"], "dim")),)


def search_view(found: Json) -> RenderableType:
    """Servers, then files by rank with where they are."""
    if not found["files"] and not found["servers"]:
        return said(f"No graded file and no server has {found['text']} in its name.", "dim")
    more = "… only the first {} files are shown; a longer part of the name finds fewer"
    return stack(
        *(said(addr, "bold") for addr in found["servers"]),
        Sized(lambda width: _hits(found["files"], width)) if found["files"] else None,
        Text(more.format(len(found["files"])), style="dim") if found["more"] else None,
    )


def _hits(files: Sequence[Json], width: int) -> RenderableType:
    table = page.table(width)
    table.add_column("rank", justify="right", no_wrap=True)
    page.name_column(table, (file["file"] for file in files), width)
    table.add_column("on", ratio=1, overflow="fold")
    for file in files:
        rank = "–" if file["rank"] is None else f"{file['rank']:,}"
        where = said(", ".join(file["on"])) if file["on"] else said("no destination", "dim")
        table.add_row(rank, said(file["file"]), where)
    return table


def trends_view(found: Json) -> RenderableType:
    """A row for each hour of the last day, the newest first."""

    def view(width: int) -> RenderableType:
        table = page.table(width)
        for column in ("from", "sources busy", "copied", "freed", "hits from disks"):
            table.add_column(column, justify="right", no_wrap=True)
        for row in _hours(found["day"], found["at"]):
            table.add_row(*row)
        return table

    return Sized(view)


def _hours(day: Json, at_s: int) -> Iterator[tuple[str, ...]]:
    """The steps of each hour together, the last hour first."""
    steps, each = len(day["copied_bytes"]), _HOUR_S // day["step_s"]
    for end in range(steps, 0, -each):
        first = max(0, end - each)
        sums = {name: sum(day[name][first:end]) for name in day if isinstance(day[name], list)}
        lasted_s = day["lasted_s"][first:end]
        busy_s = sum(map(operator.mul, day["sources_busy"][first:end], lasted_s))
        yield (
            clock_words(at_s - sum(day["lasted_s"][first:])),
            f"{100 * busy_s / (sum(lasted_s) or 1):.0f} %",
            size_words(int(sums["copied_bytes"])),
            size_words(int(sums["freed_bytes"])),
            _share(sums["hits_on_disks"], sums["hits_on_san"]),
        )


def _share(disks: float, san: float) -> str:
    return f"{100 * disks / (disks + san):.0f} % of {disks + san:,.0f}" if disks + san else "no hits"
