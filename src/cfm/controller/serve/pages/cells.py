"""Small things on a page: links, states, bars, numbers and times."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Final, TypeAlias
from urllib.parse import quote

from cfm.controller.explain.words import left_s, short_names, size_words
from cfm.controller.serve.html import Child, Html, tag
from cfm.model import Addr

Names: TypeAlias = Mapping[str, str]
"""Address → what the server is called on a page."""
NO_NAMES: Final[Names] = MappingProxyType({})


def names_of(servers: Iterable[Mapping[str, Any]]) -> Names:
    """Short names for all servers of the node."""
    return {str(addr): name for addr, name in short_names(Addr(s["addr"]) for s in servers).items()}


# ── names, which link to what they name ─────────────────────────────────────────────────────────────────


def file(name: str) -> Html:
    """A file, and a link to everything about it."""
    return tag("a", name, attrs={"href": file_path(name)}, cls="file")


def file_and_why(name: str, why: str) -> Child:
    """A file, and below it, where the page is narrow, what else stands in a column of its own (`~`)."""
    return [file(name), tag("small", why, cls="narrow")]


def setting(key: str) -> Html:
    """A key; where it is folded, it is folded after a dot or an underline."""
    parts = re.split(r"(?<=[._])", key)
    return tag(
        "code", [[tag("wbr") if place else None, one] for place, one in enumerate(parts)], cls="setting"
    )


def server(addr: str | None, names: Names = NO_NAMES) -> Html:
    """A server by its short name, and a link to everything about it."""
    if not addr:
        return Html("")
    return tag("a", names.get(addr, addr), attrs={"href": server_path(addr)}, cls="server")


def servers(addrs: Sequence[str], names: Names = NO_NAMES, most: int = 8) -> Child:
    """Several of them; of many the first, and how many more there are."""
    shown: list[Child] = []
    for addr in addrs[:most]:
        shown += [", " if shown else "", server(addr, names)]
    return [*shown, f" and {len(addrs) - most:,} more" if len(addrs) > most else ""]


def file_path(name: str) -> str:
    return "/file/" + quote(name, safe="", errors="surrogateescape")


def server_path(addr: str) -> str:
    return "/server/" + quote(addr, safe=":", errors="surrogateescape")


def sentence(text: str) -> list[Child]:
    """A text of ours with a capital, a full stop, and what stands between backticks as code.

    Texts of conditions have neither of the first two, for they also stand within lines.
    """
    text = text[:1].upper() + text[1:]
    return marked(text if text.endswith((".", "?", "!")) else f"{text}.")


def marked(text: str) -> list[Child]:
    """A text with what stands between backticks as code; one backtick alone is itself."""
    pieces = text.split("`")
    if len(pieces) % 2 == 0:
        return [text]
    return [tag("code", piece) if place % 2 else piece for place, piece in enumerate(pieces) if piece]


# ── states and bars ─────────────────────────────────────────────────────────────────────────────────────


def state(server: Mapping[str, Any]) -> Html:
    """Is it up; and what is unknown about it, and why."""
    word = str(server["state"])
    note = tag("small", server["why"]) if server["why"] else None
    return Html(tag("span", word, cls=f"state {word}") + (" " + note if note else ""))


def disk_words(server: Mapping[str, Any]) -> str:
    """The bar of a disk in words."""
    if server["used_percent"] is None:
        return "use unknown"
    coming = server.get("projected_percent")
    more = f", {coming} % with what is coming" if coming and coming > server["used_percent"] else ""
    limit = f", limit {server['limit_percent']} %" if server["limit_percent"] else ""
    return f"{server['used_percent']} % used{more}{limit}"


def is_over(server: Mapping[str, Any]) -> bool:
    """Is its disk above its limit?"""
    used = server["used_percent"]
    return used is not None and used > (server["limit_percent"] or 100)


def disk_bar(server: Mapping[str, Any]) -> Html | str:
    """Use, what is coming, and the limit as a line across; a word where the use is not known."""
    if server["used_percent"] is None:
        return tag("span", "unknown", cls="quiet")
    used, limit = int(server["used_percent"]), int(server["limit_percent"] or 100)
    coming = max(used, int(server.get("projected_percent") or 0))
    return bar(
        ((coming, "coming"), (used, "over" if used > limit else "used")), disk_words(server), mark=limit
    )


def progress(transfer: Mapping[str, Any]) -> Html | str:
    if transfer.get("bytes_done") is None:
        return str(transfer["status"])
    done = 100 * int(transfer["bytes_done"]) // max(1, int(transfer["size_bytes"]))
    words = "being verified" if transfer["received"] else f"{done} %"
    return Html(bar(((done, "moved"),), words) + tag("small", words))


def bar(parts: Sequence[tuple[int, str]], label: str, *, mark: int | None = None) -> Html:
    """Parts of a whole in percent, the longest first; each is drawn over the one before it."""
    rects = [tag("rect", attrs={"width": 100, "height": 10}, cls="whole")]
    for percent_, cls in parts:
        rects.append(tag("rect", attrs={"width": min(100, max(0, percent_)), "height": 10}, cls=cls))
    if mark is not None:
        rects.append(tag("rect", attrs={"x": min(99, mark), "width": 1, "height": 10}, cls="limit"))
    shape = {"viewBox": "0 0 100 10", "preserveAspectRatio": "none", "role": "img", "aria-label": label}
    return tag("svg", rects, attrs=shape, cls="bar")


# ── numbers and times ───────────────────────────────────────────────────────────────────────────────────


def size(size_bytes: int | None) -> str:
    return size_words(size_bytes) if size_bytes is not None else ""


def rate(rate_bps: int | None) -> str:
    """Bits per second, as networks are sold."""
    if rate_bps is None:
        return ""
    for unit, per in (("Gbit/s", 10**9), ("Mbit/s", 10**6)):
        if rate_bps >= per:
            return f"{rate_bps / per:.1f} {unit}"
    return f"{rate_bps / 1000:.0f} kbit/s"


def percent(value: int | None) -> str:
    return f"{value} %" if value is not None else ""


def count(value: int | None) -> str:
    return f"{value:,}" if value is not None else "unknown"


def number(value: int | None) -> str:
    """The same where nothing is to be shown for what is not known."""
    return f"{value:,}" if value is not None else ""


def span(seconds: int) -> str:
    """A duration in one unit: `3 hours`."""
    for size_s, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size_s:
            return f"{seconds // size_s} {unit}"
    return "1 second" if seconds == 1 else f"{seconds} seconds"


def left(transfer: Mapping[str, Any]) -> str:
    """How long a copy still takes."""
    seconds = left_s(transfer)
    return "" if seconds is None else span(seconds)


def time_of_day(unix_s: float) -> str:
    return datetime.fromtimestamp(unix_s, UTC).astimezone().strftime("%H:%M:%S")


def moment(unix_s: float, now_s: float) -> str:
    """The time of day, with its date where that is another day."""
    then, now = (datetime.fromtimestamp(at, UTC).astimezone() for at in (unix_s, now_s))
    return then.strftime("%H:%M:%S" if then.date() == now.date() else "%Y-%m-%d %H:%M")
