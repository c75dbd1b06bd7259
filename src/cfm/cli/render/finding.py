"""The views of `cfm backlog`, `cfm search` and `cfm trends`."""

from __future__ import annotations

import operator
from collections.abc import Iterator

from rich.console import RenderableType
from rich.text import Text

from cfm.cli.render import page
from cfm.cli.render.page import Json, Sized, said, stack
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
        table.add_column("file", ratio=2, overflow="fold", min_width=16)
        table.add_column("why it is not placed", ratio=3, overflow="fold")
        for row in found["rows"]:
            table.add_row(
                f"{row['rank']:,}", size_words(row["size_bytes"]), said(row["file"]), said(row["why"])
            )
        rest = found["total"] - found["offset"] - len(found["rows"])
        return stack(title, page.with_rest(table, rest))

    return Sized(view)


def search_view(found: Json) -> RenderableType:
    """Servers, then files by rank with where they are."""
    if not found["files"] and not found["servers"]:
        return said(f"Nothing has {found['text']} in its name.", "dim")
    more = Text(f"… only the first {len(found['files'])} are shown", style="dim") if found["more"] else None
    return stack(*(said(addr, "bold") for addr in found["servers"]), *map(_hit, found["files"]), more)


def _hit(file: Json) -> Text:
    rank = f"rank {file['rank']:,}" if file["rank"] is not None else "not graded"
    where = f"on {', '.join(file['on'])}" if file["on"] else "on no destination"
    return Text.assemble(said(file["file"]), (f"  {rank}, ", "dim"), said(where, "dim"))


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
