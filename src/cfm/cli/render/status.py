"""`cfm status`: a running cfm at a glance."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from cfm.cli.render import page
from cfm.cli.render.events import EVENTS_SHOWN, decisions
from cfm.cli.render.page import ROWS_SHOWN, WIDE, Json, Sized, said, stack, with_rest
from cfm.cli.render.servers import cells, some_servers
from cfm.cli.render.words import short_addr, time_words
from cfm.controller.explain.words import count_words, left_s, size_words


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


def transfers(running: Sequence[Json], width: int) -> RenderableType:
    if not running:
        return Text("no copy is running", style="dim")
    table = page.table(width)
    table.add_column("copying", ratio=3, overflow="ellipsis", no_wrap=True)
    table.add_column("rank", justify="right", no_wrap=True)
    table.add_column("from → to", no_wrap=True)
    table.add_column("progress", no_wrap=True)
    table.add_column("size", justify="right", no_wrap=True)
    if width >= WIDE:
        table.add_column("rate", justify="right", no_wrap=True)
    table.add_column("left", justify="right", no_wrap=True)
    for one in running[:ROWS_SHOWN]:
        row: list[RenderableType] = [
            said(one["file"]),
            f"{one['rank']:,}",
            said(f"{short_addr(one['source'])} → {short_addr(one['destination'])}"),
            _progress(one, 20 if width >= WIDE else 10),
            size_words(one["size_bytes"]),
            *([_rate(one["rate_bps"])] if width >= WIDE else []),
            _left(one),
        ]
        table.add_row(*row)
    return with_rest(table, len(running) - ROWS_SHOWN)


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
    deleted = totals.get("deleted_space", 0) + totals.get("deleted_surplus", 0)
    lines = [
        Text.assemble(
            ("backlog ", "bold"),
            f"{count_words(backlog['wanted'], 'wanted file', 'wanted files')} not placed",
            f", {count_words(backlog['surplus'], 'file', 'files')} with surplus copies"
            if backlog["surplus"]
            else "",
            said(f"; next: {', '.join(backlog['next'][:4])}" if backlog["next"] else "", "dim"),
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
