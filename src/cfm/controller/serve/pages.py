"""The dashboards: plain pages for people, which need no script and refresh themselves.

Pure: the JSON of `report` comes in, a whole page goes out.  Nothing is inline that the strict policy of
`web.answers` would stop: bars are SVG with attributes, and all looks are in `style.css`.  `html` sees to
it that a name can say nothing to a browser.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any, Final, TypeAlias

from cfm.controller.serve.html import Child, Html, tag

Json: TypeAlias = Mapping[str, Any]

STYLE: Final = files("cfm.controller").joinpath("style.css").read_text(encoding="utf-8")

REFRESH_S: Final = 2
PAGES: Final = (
    ("/", "Overview"),
    ("/dashboard", "Copies"),
    ("/dashboard/hb", "Servers"),
    ("/dashboard/filemetas", "Backlog"),
)
_UNITS: Final = ("B", "kB", "MB", "GB", "TB", "PB")
_PROBLEM_VERDICTS: Final = ("Paused", "Doing nothing")


# ── pages ───────────────────────────────────────────────────────────────────────────────────────────────


def index_page(status: Json) -> str:
    """The node at a glance: the verdict, what holds it back, the disks, what viewers want now."""
    return _page(
        "/",
        status,
        _verdict(status),
        _brakes(status["brakes"]),
        _notes(status.get("notes", ())),
        _figures(status),
        _section("Disks", _disk_table(status["servers"])),
        _section("Copies now", _transfer_table(status["transfers"])),
        _section("Rising", _rising_table(status["rising"])),
        _section("Metadata", _snapshot(status["snapshot"])),
    )


def dashboard_page(status: Json, tasks: Sequence[Json]) -> str:
    """Copies and deletes under way, and the task list as workers see it (`GET /tasks`)."""
    return _page(
        "/dashboard",
        status,
        _verdict(status),
        _brakes(status["brakes"]),
        _notes(status.get("notes", ())),
        _section("Copies now", _transfer_table(status["transfers"])),
        _section("Deletes now", _delete_table(status["deletes"])),
        _section("Tasks", _task_table(tasks)),
    )


def heartbeat_page(status: Json) -> str:
    """Every server: is it there, what is it, and what is wrong with it."""
    return _page("/dashboard/hb", status, _section("Servers", _server_table(status["servers"])))


def filemetas_page(rows: Sequence[Json], total: int) -> str:
    """The wanted files that are on no destination, best first; `total` where only the first are shown."""
    shown = f"the first {len(rows)} of {total:,}" if len(rows) < total else f"{total:,}"
    body = _table(
        ("Rank#", "File", "Size#", "Hits#", "On"),
        (
            (
                f"{row['rank']:,}",
                _name(row["file"]),
                _size(row["size_bytes"]),
                f"{row['hits']:,}",
                _on(row["on"]),
            )
            for row in rows
        ),
        empty="Every wanted file is on a destination.",
    )
    return _page("/dashboard/filemetas", None, _section(f"Wanted and on no destination: {shown}", body))


# ── the frame of a page ─────────────────────────────────────────────────────────────────────────────────


def _page(path: str, status: Json | None, *content: Child) -> str:
    title = dict(PAGES)[path]
    head = tag(
        "head",
        tag("meta", attrs={"charset": "utf-8"}),
        tag("meta", attrs={"name": "viewport", "content": "width=device-width, initial-scale=1"}),
        tag("meta", attrs={"http-equiv": "refresh", "content": REFRESH_S}),
        tag("meta", attrs={"name": "color-scheme", "content": "light dark"}),
        tag("title", f"cfm: {title}"),
        tag("link", attrs={"rel": "stylesheet", "href": "/static/style.css"}),
    )
    links = [
        tag("a", name, attrs={"href": link, **({"aria-current": "page"} if link == path else {})})
        for link, name in PAGES
    ]
    header = tag("header", tag("strong", "cfm"), tag("nav", links), _as_of(status))
    body = tag("body", header, tag("main", content))
    return "<!doctype html>\n" + tag("html", head, body, attrs={"lang": "en"}) + "\n"


def _as_of(status: Json | None) -> Html | None:
    return tag("span", f"as of {_time(status['at'])}", cls="quiet") if status else None


def _section(title: str, *content: Child) -> Html:
    return tag("section", tag("h2", title), content)


def _table(columns: Sequence[str], rows: Iterable[Sequence[Child]], *, empty: str) -> Html:
    """A table; a column whose title ends in `#` holds numbers.  `empty` stands where it has no rows."""
    classes = ["number" if column.endswith("#") else "" for column in columns]
    lines = [
        tag("tr", [tag("td", cell, cls=cls) for cell, cls in zip(row, classes, strict=True)]) for row in rows
    ]
    if not lines:
        return tag("p", empty, cls="quiet")
    titles = [
        tag("th", column.rstrip("#"), cls=cls, attrs={"scope": "col"})
        for column, cls in zip(columns, classes, strict=True)
    ]
    table = tag("table", tag("thead", tag("tr", titles)), tag("tbody", lines))
    return tag("div", table, cls="wide")


# ── parts ───────────────────────────────────────────────────────────────────────────────────────────────


def _verdict(status: Json) -> Html:
    verdict = str(status["verdict"])
    mood = "bad" if verdict.startswith(_PROBLEM_VERDICTS) else "held" if status["brakes"] else "good"
    return tag("p", verdict, cls=f"verdict {mood}")


def _notes(notes: Sequence[str]) -> Html | None:
    """What is no matter of the moment, and should be known all the same."""
    return tag("section", *(tag("p", note) for note in notes), cls="notes") if notes else None


def _brakes(brakes: Sequence[Json]) -> Html | None:
    if not brakes:
        return None
    lines = [
        tag(
            "li",
            tag("strong", brake["name"]),
            f" at {brake['server']}" if brake["server"] else "",
            f": {brake['text']}. ",
            tag("em", f"To release: {brake['release']}") if brake["release"] else None,
        )
        for brake in brakes
    ]
    return tag("section", tag("h2", "Brakes"), tag("ul", lines), cls="held")


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
        ("copied", f"{totals.get('copied_files', 0):,} ({_size(totals.get('copied_bytes', 0))})"),
        ("deleted", f"{deleted:,} ({_size(totals.get('deleted_bytes', 0))})"),
        ("failed copies", f"{totals.get('failed_copies', 0):,}"),
    )
    return tag(
        "dl", [tag("div", tag("dt", name), tag("dd", value)) for name, value in figures], cls="figures"
    )


def _disk_table(servers: Sequence[Json]) -> Html:
    rows = [
        (
            server["addr"],
            _state(server),
            _disk_bar(server),
            _percent(server["used_percent"]),
            _percent(server["limit_percent"]),
            _size(server["total_bytes"]),
            _count(server["files"]),
            server["receiving"],
        )
        for server in servers
        if "destination" in server["role"]
    ]
    columns = ("Destination", "State", "Disk", "Used#", "Limit#", "Size#", "Files#", "Receiving#")
    return _table(columns, rows, empty="cfm.yml names no destination.")


def _server_table(servers: Sequence[Json]) -> Html:
    rows = [
        (
            server["addr"],
            ", ".join(server["role"]),
            _state(server),
            f"cfw {server['version']}" if server["ours"] else "old cfw" if server["state"] == "up" else "",
            server["transfer"] if "destination" in server["role"] else "",
            server["sending"] if "source" in server["role"] else "",
            server["receiving"] if "destination" in server["role"] else "",
            server["why"],
        )
        for server in servers
    ]
    columns = ("Server", "Role", "State", "Program", "Transfer", "Sending#", "Receiving#", "Why")
    return _table(columns, rows, empty="cfm.yml names no server.")


def _transfer_table(transfers: Sequence[Json]) -> Html:
    rows = [
        (
            _name(transfer["file"]),
            f"{transfer['rank']:,}",
            transfer["source"],
            transfer["destination"],
            _progress(transfer),
            _size(transfer["size_bytes"]),
            _rate(transfer["rate_bps"]),
            transfer["reason"],
        )
        for transfer in transfers
    ]
    columns = ("File", "Rank#", "From", "To", "Progress", "Size#", "Rate#", "Why")
    return _table(columns, rows, empty="No copy is under way.")


def _delete_table(deletes: Sequence[Json]) -> Html:
    rows = [(_name(d["file"]), d["server"], d["kind"], d["status"], d["reason"]) for d in deletes]
    return _table(("File", "Server", "Kind", "Status", "Why"), rows, empty="No delete is under way.")


def _task_table(tasks: Sequence[Json]) -> Html:
    rows = [
        (
            tag("code", task["id"]),
            _time(task["ctime"]),
            tag("span", task["status"], cls=f"task {task['status']}"),
            _name(task["file_name"]),
            f"{task['grade']:,}",
            task["src_addr"],
            task["dst_addr"],
        )
        for task in reversed(tasks)
    ]
    columns = ("Id", "Made", "Status", "File", "Rank#", "From", "To")
    return _table(columns, rows, empty="No task in the last ten minutes.")


def _rising_table(rising: Sequence[Json]) -> Html:
    rows = [(_name(file["file"]), f"{file['hits']:,}", f"{file['rank']:,}") for file in rising]
    return _table(("File", "Hits in the window#", "Rank#"), rows, empty="No file rises.")


def _snapshot(snapshot: Json) -> Html:
    skipped = sum(snapshot["skipped_lines"].values())
    said = (
        f"{snapshot['known_files']:,} known of {snapshot['graded_files']:,} graded files, "
        f"{_span(snapshot['age_s'])} old, {skipped:,} lines left out."
        if snapshot["accepted"]
        else "No grade and history files are in force."
    )
    why = (
        tag("p", f"The newest reading is not used: {snapshot['why']}", cls="bad") if snapshot["why"] else None
    )
    return Html(tag("p", said) + (why or ""))


# ── small things ────────────────────────────────────────────────────────────────────────────────────────


def _name(name: str) -> Html:
    return tag("code", name)


def _on(servers: Sequence[str]) -> str:
    return ", ".join(servers)


def _state(server: Json) -> Html:
    state = str(server["state"])
    note = tag("small", server["why"]) if server["why"] else None
    return Html(tag("span", state, cls=f"state {state}") + (" " + note if note else ""))


def _disk_bar(server: Json) -> Html | str:
    """Use as a bar, the limit as a line across it; nothing where the use is not known."""
    if server["used_percent"] is None:
        return "unknown"
    used, limit = int(server["used_percent"]), int(server["limit_percent"] or 100)
    return _bar(used, f"{used} % used, limit {limit} %", cls="over" if used > limit else "used", mark=limit)


def _progress(transfer: Json) -> Html | str:
    if transfer["bytes_done"] is None:
        return str(transfer["status"])
    done = 100 * int(transfer["bytes_done"]) // max(1, int(transfer["size_bytes"]))
    return _bar(done, "verifying" if transfer["received"] else f"{done} %", cls="moved")


def _bar(percent: int, label: str, *, cls: str, mark: int | None = None) -> Html:
    rects = [
        tag("rect", attrs={"width": 100, "height": 10}, cls="whole"),
        tag("rect", attrs={"width": min(100, max(0, percent)), "height": 10}, cls=cls),
    ]
    if mark is not None:
        rects.append(tag("rect", attrs={"x": mark - 1, "width": 1, "height": 10}, cls="limit"))
    shape = {"viewBox": "0 0 100 10", "preserveAspectRatio": "none", "role": "img", "aria-label": label}
    return tag("svg", rects, attrs=shape, cls="bar")


def _size(size_bytes: int | None) -> str:
    """Bytes with three figures or so, in powers of ten, as disks are sold."""
    if size_bytes is None:
        return ""
    value, unit = float(size_bytes), 0
    while value >= 1000 and unit < len(_UNITS) - 1:
        value, unit = value / 1000, unit + 1
    return f"{value:.0f} {_UNITS[unit]}" if unit == 0 or value >= 100 else f"{value:.1f} {_UNITS[unit]}"


def _rate(rate_bps: int | None) -> str:
    return f"{rate_bps / 1e6:.1f} Mbit/s" if rate_bps is not None else ""


def _percent(value: int | None) -> str:
    return f"{value} %" if value is not None else ""


def _count(value: int | None) -> str:
    return f"{value:,}" if value is not None else "unknown"


def _span(seconds: int) -> str:
    for size_s, name in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size_s:
            return f"{seconds // size_s} {name}"
    return f"{seconds} seconds"


def _time(unix_s: int) -> str:
    return datetime.fromtimestamp(unix_s, UTC).astimezone().strftime("%H:%M:%S")
