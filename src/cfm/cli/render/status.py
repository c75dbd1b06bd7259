"""`cfm status`: a running cfm at a glance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rich.console import Group, RenderableType
from rich.text import Text

from cfm.cli.render import page
from cfm.cli.render.events import EVENTS_SHOWN, decisions
from cfm.cli.render.page import ROWS_SHOWN, WIDE, Json, Sized, said, stack, with_rest
from cfm.cli.render.servers import cells, some_servers
from cfm.cli.render.words import short_addr, time_words
from cfm.controller.explain.words import count_words, left_s, size_words
from cfm.logs import escaped


def status_view(
    status: Json, recent_events: Sequence[Json] = (), *, events_shown: int = EVENTS_SHOWN
) -> RenderableType:
    """Health and conditions, servers, copies, the backlog, the last decisions."""

    def view(width: int) -> RenderableType:
        return stack(
            page.headline(status),
            _under_way(status),
            page.conditions(status["conditions"], status["at"]),
            _leadership(status),
            some_servers(status["servers"], width),
            transfers(status["transfers"], width),
            _backlog(status),
            decisions(recent_events, events_shown, width),
        )

    return Sized(view)


def _under_way(status: Json) -> RenderableType | None:
    """How far long work is.  A cfm of before says nothing of it."""
    found = status.get("progress", ())
    return said("; ".join(one["text"] for one in found), "cyan") if found else None


def _leadership(status: Json) -> Text | None:
    """Of several cfm: who leads, and which others there are."""
    found = status.get("leadership")
    if found is None:
        return None
    leader = found["leader"]
    who = f"{leader['addr']} leads" if leader else "nobody leads"
    others = ", ".join(one["addr"] for one in found["others"]) or "none"
    return said(
        f"{who} in epoch {found['epoch']}; this cfm is {found['state']}; others here: {others}", "dim"
    )


def check_view(status: Json) -> RenderableType:
    """For monitors: the health and the verdict, and one line for each other condition that needs somebody.

    The verdict is the worst condition.  Where it was cut, that condition has its line as well.
    """
    wrong = [one for one in status["conditions"] if one["level"] != "note"]
    if wrong and wrong[0]["text"] in status["verdict"]:
        del wrong[0]
    first = said(f"{status['health']}: {status['verdict']}")
    return stack(first, page.conditions(wrong, status["at"]))


_EXTRAS: Final = (("rate", 11), ("size", 8), ("left", 8))
"""What is only good to know of a copy, with its width; the first goes first where names need the place."""


def transfers(running: Sequence[Json], width: int) -> RenderableType:
    if not running:
        return Text("no copy is running", style="dim")
    shown = running[:ROWS_SHOWN]
    bar = 20 if width >= WIDE else 6
    extras = _extras(shown, width, bar)
    table = page.table(width)
    table.add_column("copying", ratio=3, overflow="ellipsis", no_wrap=True)
    table.add_column("rank", justify="right", no_wrap=True)
    table.add_column("from → to", no_wrap=True)
    table.add_column("done", no_wrap=True)
    for name in ("size", "rate", "left"):
        if name in extras:
            table.add_column(name, justify="right", no_wrap=True)
    for one in shown:
        cells = {"size": size_words(one["size_bytes"]), "rate": _rate(one["rate_bps"]), "left": _left(one)}
        row: list[RenderableType] = [
            said(one["file"]),
            f"{one['rank']:,}",
            said(_way(one)),
            _progress(one, bar),
            *(cell for name, cell in cells.items() if name in extras),
        ]
        table.add_row(*row)
    return with_rest(table, len(running) - ROWS_SHOWN)


def _extras(running: Sequence[Json], width: int, bar: int) -> Sequence[str]:
    """Which extras there is place for beside the names."""
    longest = min(NAME_LENGTH, max(len(escaped(one["file"])) for one in running))
    others = max(len(_way(one)) + len(f"{one['rank']:,}".rjust(4)) for one in running)
    left = width - longest - others - bar - 4 * _BETWEEN
    kept = list(_EXTRAS)
    while sum(size + _BETWEEN for _name, size in kept) > left and kept:
        del kept[0]
    return [name for name, _size in kept]


NAME_LENGTH: Final = 40
"""A longer name may be cut."""
_BETWEEN: Final = 3
"""Blanks between two columns."""


def _way(transfer: Json) -> str:
    return f"{short_addr(transfer['source'])} → {short_addr(transfer['destination'])}"


def _progress(transfer: Json, width: int) -> Text:
    if transfer["received"]:
        return Text("verifying".ljust(width), style="green")
    if transfer["bytes_done"] is None or transfer["status"] == "ready":
        return Text(str(transfer["status"]).ljust(width), style="dim")
    filled = cells(100 * transfer["bytes_done"] // max(1, transfer["size_bytes"]), width)
    return Text("━" * filled, style="green") + Text("╌" * (width - filled), style="dim")


def _rate(rate_bps: int | None) -> str:
    return f"{rate_bps / 1e6:.1f} Mbit/s" if rate_bps else ""


def _left(transfer: Json) -> str:
    seconds = left_s(transfer)
    return "" if seconds is None else time_words(seconds)


def _backlog(status: Json) -> RenderableType:
    backlog, totals = status["backlog"], status["totals"]
    no_space = backlog["pending"]["no_space_files"]
    deleted = totals.get("deleted_space", 0) + totals.get("deleted_surplus", 0)
    lines = [
        Text.assemble(
            ("backlog ", "bold"),
            f"{count_words(backlog['wanted'], 'wanted file', 'wanted files')} not placed",
            f" ({no_space:,} without space)" if no_space else "",
            f", {count_words(backlog['surplus'], 'file', 'files')} with surplus copies"
            if backlog["surplus"]
            else "",
            said(f"; next: {', '.join(backlog['next'][:4])}" if backlog["wanted"] > no_space else "", "dim"),
        ),
        Text.assemble(
            ("so far ", "bold"),
            f"{totals.get('copied_files', 0):,} copied ({size_words(totals.get('copied_bytes', 0))}), ",
            f"{deleted:,} deleted ({size_words(totals.get('deleted_bytes', 0))}), ",
            f"{totals.get('failed_copies', 0):,} copies failed",
        ),
    ]
    if status["rising"]:
        rising = ", ".join(f"{one['file']} ({one['hits']} hits)" for one in status["rising"][:6])
        lines.append(Text.assemble(("rising ", "bold magenta"), said(rising)))
    for line in lines:
        line.no_wrap, line.overflow = True, "ellipsis"
    return Group(*lines)
