"""cfm's JSON as a person reads it in a terminal: the plan, the status, one file's reasons.

Pure: it takes values as `controller.explain.report` makes them and returns rich renderables, which read well
from 80 columns on.  Whatever came from outside (names, reasons) goes through `said`, so that no markup and no
control character reaches the terminal.  Neighbours: the commands in this package print these, `cli.demo`
shows them live.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from cfm.logs import escaped

Json: TypeAlias = Mapping[str, Any]
View: TypeAlias = Callable[[int], RenderableType]

WIDE: Final = 100
"""From so many columns on there is room for what is only good to know."""
EVENTS_SHOWN: Final = 8
ROWS_SHOWN: Final = 40
STORY_SHOWN: Final = 20
PAUSED_VERDICTS: Final = ("Paused", "Doing nothing")
STATE_STYLES: Final = {"up": "green", "down": "bold red", "unknown": "yellow"}
_UNITS: Final = ("B", "kB", "MB", "GB", "TB", "PB")


# ── the views ───────────────────────────────────────────────────────────────────────────────────────────


def status_view(
    status: Json, recent_events: Sequence[Json] = (), *, events_shown: int = EVENTS_SHOWN
) -> RenderableType:
    """A running cfm at a glance: verdict, servers, copies, backlog, brakes, the last decisions."""

    def view(width: int) -> RenderableType:
        parts: list[RenderableType | None] = [
            _verdict(status["verdict"], held=bool(status["brakes"])),
            _brakes(status["brakes"]),
            _notes(status.get("notes", ())),
            _servers(status["servers"], width),
            _transfers(status["transfers"], width),
            _backlog(status),
            _decisions(recent_events, events_shown, width),
        ]
        return _stack(parts)

    return Sized(view)


def plan_view(plan: Json) -> RenderableType:
    """What would happen now and why, and how often what was refused; the verdict first."""

    def view(width: int) -> RenderableType:
        copies, deletes = plan["copies"], plan["deletes"]
        parts: list[RenderableType | None] = [
            _verdict(plan["verdict"]),
            _snapshot(plan["snapshot"]),
            _servers(plan["servers"], width),
            _plan_table("would copy", copies, ("source", "destination"), width),
            _plan_table("would delete", deletes, ("server", "kind"), width),
            _refusals(plan),
        ]
        return _stack(parts)

    return Sized(view)


def why_view(why: Json) -> RenderableType:
    """Everything known about one file, and why it is or is not copied, is or is not deleted."""

    def view(_width: int) -> RenderableType:
        parts: list[RenderableType | None] = [
            Text.assemble((said(why["file"]).plain, "bold")),
            _facts_of(why),
            Group(*_reasons(why)),
            _story(why["story"]),
        ]
        return _stack(parts)

    return Sized(view)


def confirm_view(held: Json) -> RenderableType:
    """What the breakers hold back, before somebody lets it go: servers, bytes, and the first files."""

    def view(width: int) -> RenderableType:
        if not held["held"]:
            return Text("No breaker holds: there is nothing to confirm.", style="green")
        lines = [
            Text.assemble(
                ("● ", "yellow"),
                said(one["server"], "bold"),
                f": {size_words(one['would_free_bytes'])} would go",
            )
            for one in held["held"]
        ]
        return Group(*lines, _plan_table("would delete", held["would_delete"], ("server", "kind"), width))

    return Sized(view)


@dataclass(frozen=True, slots=True)
class Sized:
    """A renderable that is made for the width it gets."""

    view: View

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        del console
        yield self.view(options.max_width)


def _stack(parts: Sequence[RenderableType | None]) -> Group:
    return Group(*(part for part in parts if part is not None))


# ── parts of several views ──────────────────────────────────────────────────────────────────────────────


def said(value: object, style: str = "") -> Text:
    """Text from outside: never markup, and nothing in it moves the cursor."""
    return Text(escaped(str(value)), style=style)


def _verdict(verdict: str, *, held: bool = False) -> Text:
    style = "red" if verdict.startswith(PAUSED_VERDICTS) else "yellow" if held else "green"
    return Text.assemble(("● ", style), said(verdict, "bold"))


def _notes(notes: Sequence[str]) -> RenderableType | None:
    """What is no matter of the moment, and should be known all the same."""
    return Group(*(Text.assemble(("note ", "cyan"), said(note)) for note in notes)) if notes else None


def _brakes(brakes: Sequence[Json]) -> RenderableType | None:
    if not brakes:
        return None
    lines = [
        Text.assemble(
            ("brake ", "yellow"),
            said(brake["name"], "bold yellow"),
            said(f" at {brake['server']}" if brake["server"] else ""),
            said(f": {brake['text']}"),
            said(f" → {brake['release']}" if brake["release"] else "", "cyan"),
        )
        for brake in brakes
    ]
    return Group(*lines)


def _servers(servers: Sequence[Json], width: int) -> Table:
    wide = width >= WIDE
    table = _table(width)
    table.add_column("server", no_wrap=True)
    table.add_column("role", no_wrap=True)
    table.add_column("state", no_wrap=True)
    table.add_column("disk against its limit" if wide else "disk", no_wrap=True)
    table.add_column("used", justify="right", no_wrap=True)
    table.add_column("files", justify="right", no_wrap=True)
    if wide:
        table.add_column("size", justify="right", no_wrap=True)
    table.add_column("now", ratio=1, overflow="ellipsis", no_wrap=True)
    for server in servers:
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
        table.add_row(*cells)
    return table


def _role(server: Json) -> str:
    short = {"source": "src", "destination": "dst"}
    return "+".join(short[role] for role in server["role"])


def _disk_bar(server: Json, width: int) -> Text:
    """Used space as a bar, its limit as a line in it."""
    if "destination" not in server["role"]:
        return Text("")
    if server["used_percent"] is None:
        return Text("?" * width, style="dim yellow")
    used, limit = server["used_percent"], server["limit_percent"] or 100
    filled, mark = _cells(used, width), min(width - 1, _cells(limit, width))
    colour = "red" if used > limit else "green" if used < limit - 5 else "cyan"
    bar = Text("█" * filled, style=colour) + Text("░" * (width - filled), style="dim")
    return Text.assemble(bar[:mark], ("│", "bold white"), bar[mark + 1 :])


def _cells(percent: int, width: int) -> int:
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


def _snapshot(snapshot: Json) -> Text:
    if not snapshot["accepted"]:
        return Text.assemble("metadata: ", ("none in force", "red"), said(f" ({snapshot['why']})"))
    skipped = sum(snapshot["skipped_lines"].values())
    words = (
        f"metadata: {snapshot['known_files']:,} known of {snapshot['graded_files']:,} graded files, "
        f"{snapshot['rising_files']:,} rising, {time_words(snapshot['age_s'])} old"
    )
    left_out = f", {skipped:,} lines left out" if skipped else ""
    newer = said(f"; the newest is not used: {snapshot['why']}", "yellow") if snapshot["why"] else Text("")
    return Text.assemble((words + left_out, "dim"), newer)


# ── status ──────────────────────────────────────────────────────────────────────────────────────────────


def _transfers(transfers: Sequence[Json], width: int) -> RenderableType:
    if not transfers:
        return Text("no copy under way", style="dim")
    table = _table(width)
    table.add_column("copying", ratio=3, overflow="ellipsis", no_wrap=True)
    table.add_column("rank", justify="right", no_wrap=True)
    table.add_column("from → to", no_wrap=True)
    table.add_column("progress", no_wrap=True)
    table.add_column("size", justify="right", no_wrap=True)
    if width >= WIDE:
        table.add_column("rate", justify="right", no_wrap=True)
    table.add_column("left", justify="right", no_wrap=True)
    for one in transfers[:ROWS_SHOWN]:
        cells: list[RenderableType] = [
            said(one["file"]),
            f"{one['rank']:,}",
            said(f"{short_addr(one['source'])} → {short_addr(one['destination'])}"),
            _progress(one, 20 if width >= WIDE else 10),
            size_words(one["size_bytes"]),
            *([_rate(one["rate_bps"])] if width >= WIDE else []),
            _left(one),
        ]
        table.add_row(*cells)
    return _with_rest(table, len(transfers) - ROWS_SHOWN)


def _progress(transfer: Json, width: int) -> Text:
    if transfer["received"]:
        return Text("verifying".ljust(width), style="green")
    if transfer["bytes_done"] is None or transfer["status"] == "ready":
        return Text(str(transfer["status"]).ljust(width), style="dim")
    filled = _cells(100 * transfer["bytes_done"] // max(1, transfer["size_bytes"]), width)
    return Text("━" * filled, style="green") + Text("╌" * (width - filled), style="dim")


def _rate(rate_bps: int | None) -> str:
    return f"{rate_bps / 1e6:.1f} Mbit/s" if rate_bps else ""


def _left(transfer: Json) -> str:
    """How much longer at the rate so far."""
    rate_bps, done = transfer["rate_bps"], transfer["bytes_done"]
    if transfer["received"] or not rate_bps or done is None:
        return ""
    return time_words(-(-8 * (transfer["size_bytes"] - done) // rate_bps))


def _backlog(status: Json) -> RenderableType:
    backlog, totals = status["backlog"], status["totals"]
    deleted = totals.get("deleted_space", 0) + totals.get("deleted_surplus", 0)
    lines = [
        Text.assemble(
            ("backlog ", "bold"),
            f"{backlog['wanted']:,} wanted and not placed, {backlog['surplus']:,} with surplus copies",
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


def _decisions(events: Sequence[Json], shown: int, width: int) -> RenderableType | None:
    told = [event for event in events if event.get("level") != "debug"]
    if not told or shown < 1:
        return None
    lines = [Text("last decisions", style="bold")]
    lines.extend(_event_line(event) for event in told[-shown:])
    for line in lines:
        line.truncate(width, overflow="ellipsis")
    return Group(*lines)


def _event_line(event: Json) -> Text:
    style = {"warning": "yellow", "error": "red"}.get(str(event.get("level")), "")
    return Text.assemble(
        (f"{clock_words(event['at'])} ", "dim"), said(event_words(event), style or _event_style(event))
    )


def _event_style(event: Json) -> str:
    styles = {"copied file": "green", "deleted file": "magenta", "file rises": "bold magenta"}
    return styles.get(str(event["event"]), "")


EVENT_SENTENCES: Final[Mapping[str, str]] = {
    "copied file": "copied {file} to {server} ({reason})",
    "copy starts": "copy of {file} starts: {source} → {server} ({reason})",
    "copy done": "copied {file} to {server}, by its worker's word ({reason})",
    "copy failed": "copy of {file} to {server} failed: {because}; again in {again_in_s} s",
    "copy ended": "copy of {file} to {server} ended: {because}",
    "deleted file": "deleted {file} on {server} ({reason})",
    "delete ordered": "{file} is to be deleted on {server} ({reason})",
    "delete sent": "{file} is being deleted on {server} ({reason})",
    "delete dropped": "the delete of {file} on {server} was given up: {because}",
    "delete unclear": "the delete of {file} on {server} is unclear: {because}",
    "file rises": "{file} rises: {hits} hits in the window",
    "server is up": "{server} is up",
    "server is down": "{server} is down: {because}",
    "metadata accepted": "new metadata in force: {known} known of {graded} graded files",
    "metadata rejected": "new metadata is not used: {because}",
    "breaker released": "an operator released the breaker at {server}",
}
"""What is said of an event; one that is not here is told by its name and facts."""


def event_words(event: Json) -> str:
    """A decision as one sentence."""
    sentence = EVENT_SENTENCES.get(str(event["event"]))
    try:
        if sentence is not None:
            return sentence.format_map(event)
    except KeyError:
        pass  # a fact is missing: told plainly below
    facts = ", ".join(f"{key} {value}" for key, value in event.items() if key not in ("at", "event", "level"))
    return f"{event['event']}: {facts}" if facts else str(event["event"])


# ── plan ────────────────────────────────────────────────────────────────────────────────────────────────


def _plan_table(title: str, deeds: Sequence[Json], where: tuple[str, str], width: int) -> RenderableType:
    if not deeds:
        return Text(f"{title}: nothing", style="dim")
    total = size_words(sum(deed["size_bytes"] for deed in deeds))
    table = _table(width, title=f"{title}: {len(deeds):,} files, {total}")
    table.add_column("file", ratio=2, overflow="fold", min_width=16)
    table.add_column("rank", justify="right", no_wrap=True)
    table.add_column("hits", justify="right", no_wrap=True)
    table.add_column("size", justify="right", no_wrap=True)
    for column in where:
        table.add_column(column, overflow="fold")
    if width >= WIDE:
        table.add_column("why", ratio=3)
    for deed in deeds[:ROWS_SHOWN]:
        cells: list[RenderableType] = [
            said(deed["file"]),
            f"{deed['rank']:,}",
            f"{deed['hits']:,}",
            size_words(deed["size_bytes"]),
            *(said(deed[column]) for column in where),
        ]
        if width >= WIDE:
            table.add_row(*cells, said(deed["reason"]))
        else:
            table.add_row(Group(said(deed["file"]), said(deed["reason"], "dim")), *cells[1:])
    return _with_rest(table, len(deeds) - ROWS_SHOWN)


def _refusals(plan: Json) -> RenderableType | None:
    """How often each reason was given, among the refusals shown, and one example."""
    refusals, total = plan["refusals"], plan["refusals_total"]
    if not total:
        return None
    reasons: dict[tuple[str, str], list[Json]] = {}
    for refused in refusals:
        reasons.setdefault((refused["action"], refused["reason"]), []).append(refused)
    some = f", of which {len(refusals):,} are looked at here" if total > len(refusals) else ""
    lines = [Text(f"refused: {total:,}{some}", style="bold")]
    for (action, reason), those in sorted(reasons.items()):
        first = those[0]
        where = f" on {first['server']}" if first["server"] else ""
        lines.append(
            Text.assemble(
                f"  {action} ",
                said(reason, "yellow"),
                f" × {len(those):,}: ",
                said(first.get("text", "")),
                said(f" (such as {first['file']}{where})", "dim"),
            )
        )
    return Group(*lines)


# ── why ─────────────────────────────────────────────────────────────────────────────────────────────────


def _facts_of(why: Json) -> Table:
    on_san = {True: "yes", False: "no", None: "unknown"}[why["on_san"]]
    hits = "none" if why["hits"] is None else f"{why['hits']:,}"
    facts = (
        ("known", "yes" if why["known"] else "no"),
        ("rank", "not graded" if why["rank"] is None else f"{why['rank']:,}"),
        ("hits", hits + (", rising" if why["rising"] else "") + (", watched" if why.get("watched") else "")),
        ("size", "unknown" if why["size_bytes"] is None else size_words(why["size_bytes"])),
        ("on the SAN", on_san),
        ("on", ", ".join(why["on"]) or "no destination"),
        *(("copying", f"{t['source']} → {t['destination']}, {t['status']}") for t in why["tasks"]),
    )
    table = Table.grid(padding=(0, 2))
    for name, fact in facts:
        table.add_row(Text(name, style="dim"), said(fact))
    return table


def _reasons(why: Json) -> Iterator[Text]:
    yield _reason("copy", "", why["copy"])
    for delete in why["delete"]:
        yield _reason("delete", f" on {delete['server']}", delete)


def _reason(action: str, where: str, answer: Json) -> Text:
    verdict = ("yes", "green") if answer["allowed"] else ("no", "yellow")
    reason = f" {answer['reason']}" if answer["reason"] else ""
    return Text.assemble(
        (action, "bold"), said(where), ": ", verdict, said(reason, "bold"), said(f": {answer['text']}")
    )


def _story(story: Sequence[Json]) -> RenderableType | None:
    if not story:
        return Text("no story yet: nothing was decided about it", style="dim")
    lines = [Text("story", style="bold"), *(_event_line(event) for event in list(story)[-STORY_SHOWN:])]
    return Group(*lines)


# ── words ───────────────────────────────────────────────────────────────────────────────────────────────


def size_words(size_bytes: int) -> str:
    """Bytes in powers of ten, as disks are sold: `1.5 MB`."""
    value, unit = float(size_bytes), 0
    while value >= 1000 and unit < len(_UNITS) - 1:
        value, unit = value / 1000, unit + 1
    return f"{value:.0f} {_UNITS[unit]}" if unit == 0 or value >= 100 else f"{value:.1f} {_UNITS[unit]}"


def time_words(seconds: int) -> str:
    """A duration in its two largest units: `2 h 5 min`."""
    for size_s, name, below_s, below in (
        (86400, "d", 3600, "h"),
        (3600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if seconds >= size_s:
            rest = seconds % size_s // below_s
            return f"{seconds // size_s} {name}" + (f" {rest} {below}" if rest else "")
    return f"{max(0, seconds)} s"


def clock_words(unix_s: float) -> str:
    """Local time of day."""
    return datetime.fromtimestamp(unix_s, UTC).astimezone().strftime("%H:%M:%S")


def short_addr(addr: str) -> str:
    """The host alone, where lines are short; ports are in the table of servers."""
    return addr.rpartition(":")[0] or addr


def _table(width: int, title: str = "") -> Table:
    return Table(
        box=box.SIMPLE_HEAD,
        width=width,
        title=Text(title, style="bold") if title else None,
        title_justify="left",
        padding=(0, 1),
        pad_edge=False,
        header_style="dim",
    )


def _with_rest(table: Table, rest: int) -> RenderableType:
    return Group(table, Text(f"… and {rest:,} more", style="dim")) if rest > 0 else table
