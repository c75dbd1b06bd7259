"""Times of day and addresses in a few characters; `controller.explain.words` has sizes and counts."""

from __future__ import annotations

from datetime import UTC, datetime

from cfm.controller.explain.words import time_words

__all__ = ["clock_words", "short_addr", "time_words"]


def clock_words(unix_s: float) -> str:
    """Local time of day."""
    return datetime.fromtimestamp(unix_s, UTC).astimezone().strftime("%H:%M:%S")


def moment_words(unix_s: float) -> str:
    """Local date and time."""
    return datetime.fromtimestamp(unix_s, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def short_addr(addr: str) -> str:
    """The host alone, where lines are short.  The table of servers shows the ports."""
    return addr.rpartition(":")[0] or addr
