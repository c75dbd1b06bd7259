"""Times and addresses in a few characters; `controller.explain.words` has sizes and counts."""

from __future__ import annotations

from datetime import UTC, datetime


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


def moment_words(unix_s: float) -> str:
    """Local date and time."""
    return datetime.fromtimestamp(unix_s, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def short_addr(addr: str) -> str:
    """The host alone, where lines are short.  The table of servers shows the ports."""
    return addr.rpartition(":")[0] or addr
