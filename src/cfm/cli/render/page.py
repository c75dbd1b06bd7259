"""The frame of every view: text that comes from outside, tables, and the verdict with its conditions.

Whatever comes from outside (names, reasons) goes through `said`, so that no markup and no control character
reaches the terminal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from cfm.cli.render.words import time_words
from cfm.controller.explain.health import Activity, Doing, activity_words
from cfm.logs import escaped

Json: TypeAlias = Mapping[str, Any]
View: TypeAlias = Callable[[int], RenderableType]

NO_END: Final = 100_000
"""The width of a pipe, where nothing is cut or folded."""
WIDE: Final = 100
"""From so many columns on there is room for what is only good to know."""
ROOMY: Final = 160
"""From so many columns on, everything about a copy or a delete has a column."""
ROWS_SHOWN: Final = 40
MORE_ROWS: Final = "`--limit` and `--offset` show them"
HEALTH_STYLES: Final = {"ok": "green", "busy": "green", "degraded": "yellow", "critical": "red"}
CONDITION_STYLES: Final = {"critical": "red", "degraded": "yellow", "note": "cyan"}


@dataclass(frozen=True, slots=True)
class Sized:
    """A renderable that is made for the width it gets."""

    view: View

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        del console
        yield self.view(options.max_width)


def stack(*parts: RenderableType | None) -> Group:
    """The parts that there are, one below the other."""
    return Group(*(part for part in parts if part is not None))


def said(value: object, style: str = "") -> Text:
    """Text from outside: it is never markup, and nothing in it moves the cursor."""
    return Text(escaped(str(value)), style=style)


def table(width: int, title: str = "") -> Table:
    return Table(
        box=box.SIMPLE_HEAD,
        width=width if width < NO_END else None,
        title=Text(title, style="bold") if title else None,
        title_justify="left",
        padding=(0, 1),
        pad_edge=False,
        header_style="dim",
    )


def name_column(shown: Table, names: Iterable[str], width: int, *, is_last: bool = False) -> None:
    """The column of file names.  One that takes less than half of the width is not folded.

    `is_last`: no column behind it takes what is left of the width, so this one does.
    """
    widest = min(max((len(escaped(name)) for name in names), default=16), width // 2)
    if is_last:
        shown.add_column("file", ratio=1, overflow="fold")
    else:
        shown.add_column("file", overflow="fold", min_width=widest, max_width=widest)


def with_rest(shown: Table, rest: int, options: str = "") -> RenderableType:
    """A table, and how many rows it does not show; `options`: what shows them."""
    how = f" ({options})" if options else ""
    return Group(shown, Text(f"… and {rest:,} more{how}", style="dim")) if rest > 0 else shown


# ── the verdict ─────────────────────────────────────────────────────────────────────────────────────────


def verdict(value: Json) -> Text:
    """The line on top; its colour comes from the health."""
    style = HEALTH_STYLES.get(str(value["health"]), "yellow")
    return Text.assemble(("● ", style), said(value["verdict"], "bold"))


def headline(status: Json) -> Text:
    """Health and what goes on: two things, for a node that is degraded may well be idle.

    The conditions stand below, and the verdict would say the worst one twice.
    """
    style = HEALTH_STYLES.get(str(status["health"]), "yellow")
    doing = status["activity"]
    words = activity_words(
        Activity(Doing(doing["doing"]), doing["copies"], doing["deletes"], doing["waiting"])
    )
    now = words or str(doing["doing"])
    return Text.assemble(
        ("● ", style),
        said(f"health {status['health']}", "bold"),
        said(f" · now: {now[0].lower()}{now[1:]}", "bold"),
    )


def conditions(found: Sequence[Json], at_s: int | None = None) -> RenderableType | None:
    """What should be known, worst first, each with its remedy; and how long it has been so by `at_s`."""
    return Group(*(_condition(one, at_s) for one in found)) if found else None


def _condition(one: Json, at_s: int | None) -> Table:
    """Where it is folded, its lines stand below each other."""
    style = CONDITION_STYLES.get(str(one["level"]), "yellow")
    is_timed = at_s is not None and one["since_at"] is not None
    since = f" (for {time_words(at_s - one['since_at'])})" if at_s is not None and is_timed else ""
    words = Text.assemble(
        said(one["name"], f"bold {style}"),
        said(f": {one['text']}"),
        (since, "dim"),
        said(f" → {one['remedy']}" if one["remedy"] else "", "cyan"),
    )
    grid = Table.grid(padding=(0, 1))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row(said(one["level"], style), words)
    return grid
