"""What the load balancer's event log says about now: lines become hits, and hits are counted in a window.

Pure; `log_follower` reads the files and brings the lines.  A line such as

    0x40ffff,1,1527951607,Server 125.159.40.3 Selected for Client StreamID : …'s file(NAME.mpg) Request

is a hit for NAME at the server in field 4.  Enough hits at our server (the one that reads from the SAN) make
a file *rising*.  As many hits at other servers mean that the file is *watched*.

All times are those of the log, and its clock is not ours.  The window ends at the newest event; from there
our monotonic clock moves it on.  We trust the wall clock once, at the start: events that are older than the
window, or more than a minute ahead, do not count.  After that the monotonic clock carries this time on.  We
trust the wall clock again only after a minute in which no line fitted.  So a jump of the wall clock alone
changes nothing.
"""

from __future__ import annotations

import enum
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from cfm.inputs.lines import MAX_LINE_BYTES, is_blank
from cfm.model import Hits, Now

AHEAD_S = 60
"""Lines that are further ahead of our clock do not count, and do not move the window."""
DEAF_MS = 60_000
"""After so long without a line that counts, we trust the wall clock again."""
MAX_ENTRIES = 2_000_000
"""The most (second, file) pairs in the window.  When there are more, the oldest seconds are dropped early."""

_hit = re.compile(rb"0x40ffff,[^,]*,([0-9]{1,12}),Server ([^\s,]+) Selected")
_name = re.compile(rb"file\(([A-Za-z0-9._-]{1,255})\)")
_event = re.compile(rb"0x[0-9a-fA-F]+")
_times = re.compile(rb"^0x[0-9a-fA-F]+,[^,\n]*,([0-9]{1,12}),", re.MULTILINE)


class Skipped(enum.StrEnum):
    """Why a line did not count, although it should have meant something."""

    TOO_LONG = "too_long"
    NOT_TEXT = "not_text"
    GARBLED = "garbled"
    BAD_TIME = "bad_time"
    BAD_NAME = "bad_name"
    AHEAD = "ahead"


@dataclass(frozen=True, slots=True)
class Hit:
    """A viewer began to watch a file."""

    name: str
    at_s: int
    """Unix seconds, by the log's clock."""
    ours: bool
    """It was at the server that reads from the SAN."""


def parse_line(line: bytes, our_ip: str) -> Hit | Skipped | None:
    """Parse one line without its end.  None means that it is well-formed but no hit, or that it is blank."""
    if len(line) > MAX_LINE_BYTES:
        return Skipped.TOO_LONG
    if b"\0" in line or not _is_utf8(line):
        return Skipped.NOT_TEXT
    found = _hit.match(line)
    if found is None:
        return _no_hit(line)
    at_s, server = found.groups()
    name = _name.match(line, max(0, line.rfind(b"file(")))
    if name is None or name[1].startswith(b"."):
        return Skipped.BAD_NAME
    return Hit(name[1].decode(), int(at_s), server == our_ip.encode())


def _is_utf8(line: bytes) -> bool:
    try:
        return line.isascii() or bool(line.decode())
    except UnicodeDecodeError:
        return False


def _no_hit(line: bytes) -> Skipped | None:
    columns = line.split(b",", 4)
    if is_blank(line) or (_event.fullmatch(columns[0]) and columns[0] != b"0x40ffff"):
        return None
    if len(columns) < 4 or columns[0] != b"0x40ffff":
        return Skipped.GARBLED
    return None if columns[2].isdigit() else Skipped.BAD_TIME


def times_in(block: bytes) -> Iterator[int]:
    """The times of all events whose lines begin in a block, whether they are hits or not."""
    return (int(found) for found in _times.findall(block))


class HitWindow:
    """The hits of the last `term_s` seconds, counted by file, at our server and at others.

    Inside, all times are the log's times minus `_shift_s`.  The shift is 0 until a clock was set and the
    window had to follow it.  It keeps the age of the hits that were counted before.
    """

    def __init__(self, term_s: int, base: int, started: Now) -> None:
        self._term_s, self._base = term_s, max(1, base)
        self._started = started
        self._newest_s, self._newest_at_ms = started.wall_s, started.mono_ms
        self._counted_at_ms = started.mono_ms
        self._last_s: int | None = None
        self._shift_s = 0
        self._oldest_s = started.wall_s - term_s + 1
        self._seconds: defaultdict[int, Counter[tuple[str, bool]]] = defaultdict(Counter)
        self._entries = 0
        self._totals: dict[bool, Counter[str]] = {True: Counter(), False: Counter()}
        self._reached: dict[bool, set[str]] = {True: set(), False: set()}
        self._hits: Hits | None = Hits()

    @property
    def last_s(self) -> int | None:
        """The time of the last event that counted, by the log's clock."""
        return self._last_s

    def oldest_s(self, now: Now) -> int:
        """Older events do not count any more; by the log's clock."""
        self._expire(now)
        return self._oldest_s + self._shift_s

    def add(self, hit: Hit, now: Now) -> Skipped | None:
        """Count a hit.  One that is too old is ignored; for one from the future the reason is returned."""
        at_s = hit.at_s - self._shift_s
        if not self._is_plausible(at_s, now):
            if not self._is_resynced(hit.at_s, now):
                return Skipped.AHEAD if at_s >= self._oldest_s else None
            at_s = hit.at_s - self._shift_s
        if self._last_s is None or at_s > self._end_s(now):
            self._newest_s, self._newest_at_ms = at_s, now.mono_ms
        self._last_s, self._counted_at_ms = hit.at_s, now.mono_ms
        self._count(at_s, hit)
        return None

    def hits(self, now: Now) -> Hits:
        """What the window says now.  It is the same object as long as nothing has changed."""
        self._expire(now)
        if self._hits is None:
            ours = self._totals[True]
            rising = {name: ours[name] for name in sorted(self._reached[True])}
            self._hits = Hits(rising, frozenset(self._reached[False]))
        return self._hits

    def _end_s(self, now: Now) -> int:
        return self._newest_s + (now.mono_ms - self._newest_at_ms) // 1000

    def _is_plausible(self, at_s: int, now: Now) -> bool:
        since_start_s = (now.mono_ms - self._started.mono_ms) // 1000
        return self._oldest_s <= at_s <= self._started.wall_s + since_start_s + AHEAD_S

    def _is_resynced(self, at_s: int, now: Now) -> bool:
        """Follow a clock that was set, or a machine that slept: lines that fit the wall clock count again."""
        deaf = now.mono_ms - self._counted_at_ms >= DEAF_MS
        if not deaf or abs(at_s - now.wall_s) > AHEAD_S:
            return False
        self._shift_s = at_s - max(self._end_s(now), self._oldest_s)
        return True

    def _count(self, at_s: int, hit: Hit) -> None:
        second, key = self._seconds[at_s], (hit.name, hit.ours)
        self._entries += key not in second
        second[key] += 1
        self._change(hit.name, hit.ours, 1)
        while self._entries > MAX_ENTRIES:
            self._drop_oldest()

    def _change(self, name: str, ours: bool, by: int) -> None:
        totals, reached = self._totals[ours], self._reached[ours]
        totals[name] += by
        was, reaches = name in reached, totals[name] >= self._base
        if reaches and not was:
            reached.add(name)
        elif was and not reaches:
            reached.remove(name)
        if was != reaches or (reaches and ours):
            self._hits = None
        if not totals[name]:
            del totals[name]

    def _expire(self, now: Now) -> None:
        first_s = self._end_s(now) - self._term_s + 1
        while self._oldest_s < first_s and self._seconds:
            self._drop_oldest()
        self._oldest_s = max(self._oldest_s, first_s)

    def _drop_oldest(self) -> None:
        second = self._seconds.pop(self._oldest_s, Counter())
        self._oldest_s += 1
        self._entries -= len(second)
        for (name, ours), count in second.items():
            self._change(name, ours, -count)
