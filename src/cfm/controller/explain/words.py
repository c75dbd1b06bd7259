"""How numbers, sizes, times and servers are written in a sentence, on pages and in terminals.  Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from cfm.model import Addr, host_of
from cfm.sizes import size_words

__all__ = [
    "at_servers",
    "count_words",
    "left_s",
    "other_size_words",
    "short_names",
    "size_words",
    "some_of",
    "time_words",
]


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


def other_size_words(on_san_bytes: int, in_history_bytes: int) -> str:
    """What the SAN and the history say of one file: in bytes where the sizes would read alike."""
    there, here = size_words(on_san_bytes), size_words(in_history_bytes)
    if there == here:
        there, here = f"{on_san_bytes:,} B", f"{in_history_bytes:,} B"
    return f"the SAN has {there}, the history says {here}"


SETTLED_S: Final = 3
"""A copy's first reports tell little of its speed."""


def left_s(transfer: Mapping[str, Any]) -> int | None:
    """How much longer a copy takes at its speed so far; None where nobody can say, or not yet."""
    rate_bps, done = transfer["rate_bps"], transfer["bytes_done"]
    if transfer["received"] or not rate_bps or done is None or transfer["elapsed_s"] < SETTLED_S:
        return None
    return int(-(-8 * (transfer["size_bytes"] - done) // rate_bps))


def count_words(number: int, one: str, many: str) -> str:
    """`1 file`, `24,000 files`."""
    return f"{number:,} {one if number == 1 else many}"


def short_names(servers: Iterable[Addr]) -> Mapping[Addr, str]:
    """What each server is called in a sentence: its host, where no other server has the same one."""
    addrs = sorted(set(servers))
    times = Counter(map(host_of, addrs))
    return {addr: host_of(addr) if times[host_of(addr)] == 1 else addr for addr in addrs}


def some_of(names: Sequence[str]) -> str:
    """The first name and how many more there are; two are both named."""
    if len(names) <= 2:
        return " and ".join(names)
    return f"{names[0]} and {len(names) - 1:,} more"


def at_servers(names: Sequence[str]) -> str:
    """`at A`, `at A and B`, `at 9 servers: A and 8 more`."""
    return f"at {some_of(names)}" if len(names) <= 2 else f"at {len(names):,} servers: {some_of(names)}"
