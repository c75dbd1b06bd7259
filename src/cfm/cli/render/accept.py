"""`cfm accept`: what the rejected grade and history files contain, beside the last good ones."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cfm.cli.render.page import Json, said

_ROWS = (
    ("graded_files", "files in the grade file"),
    ("history_files", "files in the history"),
    ("known_files", "known files (in both)"),
)


def accept_view(metadata: Json) -> RenderableType:
    """Why the newest files are rejected, and their numbers beside the last good ones."""
    rejected = metadata["rejected"]
    if rejected is None:
        return Text("No grade and history files are rejected: there is nothing to accept.", style="green")
    why = Text.assemble(("● ", "yellow"), said(rejected["why"] or "", "bold"))
    if not rejected["can_be_accepted"]:
        return Group(why, Text("These files cannot be accepted as they are: repair them.", style="red"))
    return Group(why, _numbers(rejected, metadata["last_good"]), _consequence(metadata))


def _numbers(rejected: Json, last_good: Json | None) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_row("", Text("last good", style="dim"), Text("rejected", style="dim"))
    for key, words in _ROWS:
        before = "–" if last_good is None else f"{last_good[key]:,}"
        table.add_row(Text(words, style="dim"), before, f"{rejected[key]:,}")
    return table


def _consequence(metadata: Json) -> Text:
    placed, known = metadata["files_on_destinations"], metadata["rejected"]["known_files"]
    return Text(
        f"{placed:,} files lie on the destinations. With the new files at most {known:,} of them stay known. "
        "cfm neither copies nor deletes a file that is not known."
    )
