"""The four pages, and what stands on top of them: the verdict, its conditions, notes and figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from cfm.controller.serve.html import Child, Html, tag
from cfm.controller.serve.pages import cells, tables
from cfm.controller.serve.pages.frame import Json, page, section

_HEALTH_CLASSES: Final = {"ok": "good", "busy": "good", "degraded": "held", "critical": "bad"}
"""The colour of a verdict, by the health."""


def index_page(status: Json) -> str:
    """The node at a glance: the verdict, what is wrong, the disks, what viewers want now."""
    return page(
        "/",
        status,
        *_top(status),
        _figures(status),
        section("Disks", tables.disks(status["servers"])),
        section("Copies now", tables.transfers(status["transfers"])),
        section("Rising", tables.rising(status["rising"])),
        section("Metadata", _snapshot(status["snapshot"])),
    )


def dashboard_page(status: Json, tasks: Sequence[Json]) -> str:
    """Copies and deletes that are running, and the task list as workers see it (`GET /tasks`)."""
    return page(
        "/dashboard",
        status,
        *_top(status),
        section("Copies now", tables.transfers(status["transfers"])),
        section("Deletes now", tables.deletes(status["deletes"])),
        section("Tasks", tables.tasks(tasks)),
    )


def heartbeat_page(status: Json) -> str:
    """Every server: whether it is up, what it is, and what is wrong with it."""
    return page("/dashboard/hb", status, section("Servers", tables.servers(status["servers"])))


def filemetas_page(rows: Sequence[Json], total: int) -> str:
    """The wanted files that are on no destination, best first; `total` where only the first are shown."""
    shown = f"the first {len(rows)} of {total:,}" if len(rows) < total else f"{total:,}"
    title = f"Wanted files on no destination: {shown}"
    return page("/dashboard/filemetas", None, section(title, tables.backlog(rows)))


# ── the top of a page ───────────────────────────────────────────────────────────────────────────────────


def _top(status: Json) -> tuple[Child, ...]:
    return _verdict(status), _conditions(status), _notes(status.get("notes", ()))


def _verdict(status: Json) -> Html:
    mood = _HEALTH_CLASSES.get(str(status["health"]), "held")
    return tag("p", status["verdict"], cls=f"verdict {mood}")


def _conditions(status: Json) -> Html | None:
    if not status["conditions"]:
        return None
    lines = [_condition(condition, status["at"]) for condition in status["conditions"]]
    return tag("section", tag("h2", "Conditions"), tag("ul", lines), cls="conditions")


def _condition(condition: Json, at_s: int) -> Html:
    """What is so, for how long, at which servers, and what to do about it."""
    since_s, servers = condition["since_at"], condition["servers"]
    details = [
        *([f"for {cells.span(max(0, at_s - since_s))}"] if since_s is not None else []),
        *([", ".join(servers)] if len(servers) > 1 else []),
    ]
    return tag(
        "li",
        tag("strong", condition["name"]),
        f": {condition['text']}. ",
        tag("em", f"What to do: {condition['remedy']}. ") if condition["remedy"] else None,
        tag("small", "; ".join(details)) if details else None,
        cls=str(condition["level"]),
    )


def _notes(notes: Sequence[str]) -> Html | None:
    """What is always so, and should be known."""
    return tag("section", *(tag("p", note) for note in notes), cls="notes") if notes else None


def _figures(status: Json) -> Html:
    """The numbers that one looks for first."""
    totals, backlog = status["totals"], status["backlog"]
    deleted = totals.get("deleted_surplus", 0) + totals.get("deleted_space", 0)
    servers = status["servers"]
    figures = (
        ("servers up", f"{sum(s['state'] == 'up' for s in servers)} of {len(servers)}"),
        ("wanted, not placed", f"{backlog['wanted']:,}"),
        ("surplus copies", f"{backlog['surplus']:,}"),
        ("rising files", f"{len(status['rising']):,}"),
        ("copied", f"{totals.get('copied_files', 0):,} ({cells.size(totals.get('copied_bytes', 0))})"),
        ("deleted", f"{deleted:,} ({cells.size(totals.get('deleted_bytes', 0))})"),
        ("failed copies", f"{totals.get('failed_copies', 0):,}"),
    )
    return tag(
        "dl", [tag("div", tag("dt", name), tag("dd", value)) for name, value in figures], cls="figures"
    )


def _snapshot(snapshot: Json) -> Html:
    if not snapshot["accepted"]:
        return tag("p", f"cfm has no valid grade and history files: {snapshot['why']}", cls="bad")
    skipped = sum(snapshot["skipped_lines"].values())
    text = (
        f"{snapshot['known_files']:,} of {snapshot['graded_files']:,} graded files are known; the files are "
        f"{cells.span(snapshot['age_s'])} old; {skipped:,} lines were skipped."
    )
    rejected = f"The newest files are rejected: {snapshot['why']}"
    return Html(tag("p", text) + (tag("p", rejected, cls="bad") if snapshot["why"] else ""))
