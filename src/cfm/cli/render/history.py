"""`cfm history`: what happened to a file, to a server, or at all; the newest last, as one reads a log."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import RenderableType
from rich.table import Table

from cfm.cli.render.events import event_style
from cfm.cli.render.page import Json, said
from cfm.cli.render.words import moment_words
from cfm.controller.explain.sentences import event_words


def history_view(found: Json) -> RenderableType:
    events = found["events"]
    if not events:
        about = f" about {found['about']}" if found["about"] else ""
        return said(f"Nothing is remembered{about}.", "dim")
    return dated(events[::-1])


def dated(events: Sequence[Json]) -> Table:
    """Each event with its date and time; where it is folded, its lines stand below each other."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True, style="dim")
    grid.add_column(overflow="fold")
    for event in events:
        grid.add_row(moment_words(event["at"]), said(event_words(event), event_style(event)))
    return grid
