"""The table of servers, with each disk against its limit, and the line about the metadata."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cfm.cli.render.page import NO_END, WIDE, Json, said, table
from cfm.cli.render.words import time_words
from cfm.controller.explain.words import size_words

SERVERS_SHOWN: Final = 20
STATE_STYLES: Final = {"up": "green", "down": "bold red", "unknown": "yellow"}


def some_servers(all_: Sequence[Json], width: int) -> RenderableType:
    """In a terminal, of many servers those that are worth a look; a pipe gets them all."""
    if width >= NO_END or len(all_) <= SERVERS_SHOWN:
        return servers(all_, width)
    shown = sorted(all_, key=_worth_a_look)[:SERVERS_SHOWN]
    left_out = sum(is_in_trouble(one) for one in all_) - sum(map(is_in_trouble, shown))
    words = f"{left_out:,} of them in trouble too" if left_out > 0 else "none in trouble"
    rest = f"… and {len(all_) - len(shown):,} more servers, {words} (`cfm server` shows all)"
    return Group(servers(shown, width), Text(rest, style="dim"))


def _worth_a_look(server: Json) -> tuple[bool, bool, int]:
    """Trouble first, then what copies, then the fullest; else the order of the settings."""
    copies = server.get("sending") or server.get("receiving")
    return not is_in_trouble(server), not copies, -(server["used_percent"] or 0)


def is_in_trouble(server: Json) -> bool:
    used = server["used_percent"]
    is_over = used is not None and used > (server["limit_percent"] or 100)
    return server["state"] != "up" or bool(server["why"]) or is_over


def servers(all_: Sequence[Json], width: int) -> Table:
    wide = width >= WIDE
    shown = table(width)
    shown.add_column("server", no_wrap=True)
    shown.add_column("role", no_wrap=True)
    shown.add_column("state", no_wrap=True)
    shown.add_column("disk against its limit" if wide else "disk", no_wrap=True)
    shown.add_column("used", justify="right", no_wrap=True)
    shown.add_column("files", justify="right", no_wrap=True)
    if wide:
        shown.add_column("size", justify="right", no_wrap=True)
    shown.add_column("now", ratio=1, overflow="ellipsis", no_wrap=True)
    for server in all_:
        cells: list[RenderableType] = [
            said(server["addr"]),
            _role(server),
            said(server["state"], STATE_STYLES.get(server["state"], "")),
            _disk_bar(server, 30 if wide else 16),
            _percent(server),
            _files(server),
            *([_disk_size(server)] if wide else []),
            _doing(server),
        ]
        shown.add_row(*cells)
    return shown


def _role(server: Json) -> str:
    short = {"source": "src", "destination": "dst"}
    return "+".join(short[role] for role in server["role"])


def _disk_bar(server: Json, width: int) -> Text:
    """Used space as a bar, with the limit as a line across it."""
    if "destination" not in server["role"]:
        return Text("")
    if server["used_percent"] is None:
        return Text("?" * width, style="dim yellow")
    used, limit = server["used_percent"], server["limit_percent"] or 100
    filled, mark = cells(used, width), min(width - 1, cells(limit, width))
    colour = "red" if used > limit else "green" if used < limit - 5 else "cyan"
    bar = Text("█" * filled, style=colour) + Text("░" * (width - filled), style="dim")
    return Text.assemble(bar[:mark], ("│", "bold white"), bar[mark + 1 :])


def cells(percent: int, width: int) -> int:
    """How many of a bar's cells are filled."""
    return max(0, min(width, round(percent * width / 100)))


def _percent(server: Json) -> Text:
    if "destination" not in server["role"]:
        return Text("")
    used, limit = server["used_percent"], server["limit_percent"]
    if used is None:
        return Text("?", style="yellow")
    return Text(f"{used} %", style="bold red" if used > (limit or 100) else "")


def _files(server: Json) -> Text:
    if "destination" not in server["role"]:
        return Text("")
    return Text("?", style="yellow") if server["files"] is None else Text(f"{server['files']:,}")


def _disk_size(server: Json) -> str:
    is_shown = "destination" in server["role"] and server["total_bytes"] is not None
    return size_words(server["total_bytes"]) if is_shown else ""


def _doing(server: Json) -> Text:
    if server["why"]:
        return said(server["why"], "yellow")
    doing = []
    if server.get("sending"):
        doing.append(f"sending {server['sending']}")
    if server.get("receiving"):
        doing.append(f"receiving {server['receiving']}")
    return Text(", ".join(doing), style="" if doing else "dim")


def snapshot(facts: Json) -> Text:
    """The grade and history files that cfm decides by."""
    if not facts["accepted"]:
        return Text.assemble("metadata: ", ("no valid files", "red"), said(f" ({facts['why']})"))
    skipped = sum(facts["skipped_lines"].values())
    words = (
        f"metadata: {facts['known_files']:,} of {facts['graded_files']:,} graded files are known, "
        f"{facts['rising_files']:,} rising, {time_words(facts['age_s'])} old"
    )
    left_out = f", {skipped:,} lines skipped" if skipped else ""
    newer = said(f"; the newest files are rejected: {facts['why']}", "yellow") if facts["why"] else Text("")
    return Text.assemble((words + left_out, "dim"), newer)
