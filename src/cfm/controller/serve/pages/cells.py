"""Small things in a page: names, states, bars, numbers and times."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from cfm.controller.explain.words import size_words
from cfm.controller.serve.html import Html, tag


def name(file: str) -> Html:
    return tag("code", file)


def state(server: Mapping[str, Any]) -> Html:
    """Is it up; and what is unknown about it, and why."""
    word = str(server["state"])
    note = tag("small", server["why"]) if server["why"] else None
    return Html(tag("span", word, cls=f"state {word}") + (" " + note if note else ""))


def disk_bar(server: Mapping[str, Any]) -> Html | str:
    """Use as a bar, with the limit as a line across it; a word where the use is not known."""
    if server["used_percent"] is None:
        return "unknown"
    used, limit = int(server["used_percent"]), int(server["limit_percent"] or 100)
    return _bar(used, f"{used} % used, limit {limit} %", cls="over" if used > limit else "used", mark=limit)


def progress(transfer: Mapping[str, Any]) -> Html | str:
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


def size(size_bytes: int | None) -> str:
    return size_words(size_bytes) if size_bytes is not None else ""


def rate(rate_bps: int | None) -> str:
    return f"{rate_bps / 1e6:.1f} Mbit/s" if rate_bps is not None else ""


def percent(value: int | None) -> str:
    return f"{value} %" if value is not None else ""


def count(value: int | None) -> str:
    return f"{value:,}" if value is not None else "unknown"


def span(seconds: int) -> str:
    """A duration in one unit: `3 hours`."""
    for size_s, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size_s:
            return f"{seconds // size_s} {unit}"
    return f"{seconds} seconds"


def time_of_day(unix_s: int) -> str:
    return datetime.fromtimestamp(unix_s, UTC).astimezone().strftime("%H:%M:%S")
