"""The sliding window over the event log: hits of the last minutes, each counted once.

Pure.  `event_log` parses the lines, `log_follower` brings them here.  Hits at our server (the one that reads
from the SAN) make a file *rising* once they reach a threshold.  As many hits at other servers mean that the
file is *being watched*.

A hit counts once, by its StreamID, time and file.  So a log may be restored, rewritten, cut at the front or
read again without counting anything twice.  A line without a StreamID cannot be told from another one like
it, and counts each time.  A log in which most hits are written twice is told as such.

Three clocks meet here: the log's, our wall clock and our monotonic clock.  These are the rules:

1. The window ends at the newest event that counted.  The monotonic clock carries this end on.
2. What a log holds when we open it is judged by our wall clock: an event counts if it is younger than the
   window, and no more than a minute ahead.  So the old events of a log that stood still do not count.
3. A line that is written while we follow the log (a *live* line) says what the log's clock shows now.  If
   live lines do not fit the window, the log's clock is another one than ours, and the window moves to it:
   * at once, if nothing has counted since our start and the line is behind our wall clock;
   * otherwise when such lines have agreed with each other (one clock, ticking as ours does) for a minute in
     which no line fitted; for five seconds if nothing has counted since our start.
   A burst of old lines (a copy, a late flush) does not tick like a clock, and a single line from the future
   has nobody who agrees with it: neither moves the window.
4. Lines that agree with our wall clock are right again after a minute in which no line fitted; live ones
   at once if the window had followed another clock.  Our wall clock alone moves nothing when it jumps.

Hits that were counted before the window moved keep their age.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import NamedTuple

from cfm.inputs.event_log import Hit, Skipped
from cfm.model import Hits, Now

AHEAD_S = 60
"""Lines further than this ahead of our clock do not count.  Lines this close to each other agree."""
DEAF_MS = 60_000
"""The window moves to another clock only after so long without a line that fitted."""
FIRST_STEADY_MS = 5_000
"""How long the lines of another clock must agree, where nothing has counted since our start."""
MAX_ENTRIES = 2_000_000
"""The most (second, file) pairs and StreamIDs in the window.  When there are more, the oldest seconds are
dropped early."""
TWICE_FROM = 5
"""A few lines may come twice where a log is exchanged; so many do not."""


@dataclass(slots=True)
class _Second:
    """What counted within one second."""

    counts: Counter[tuple[str, bool]] = field(default_factory=Counter)
    streams: set[int] = field(default_factory=set)
    """Hashes: they only have to tell the hits of one second apart."""
    repeats: int = 0
    """Live lines whose hit had counted before."""

    @property
    def entries(self) -> int:
        return len(self.counts) + len(self.streams)


class _Reading(NamedTuple):
    """What another clock showed, and when."""

    at_s: int
    mono_ms: int

    def agrees(self, at_s: int, now: Now) -> bool:
        return abs(at_s - self.at_s - (now.mono_ms - self.mono_ms) // 1000) <= AHEAD_S


class HitWindow:
    """The hits of the last `term_s` seconds, counted by file, at our server and at others.

    Inside, all times are the log's times minus `_shift_s`.  The shift is 0 until the window moves to another
    clock.  It keeps the age of the hits that were counted before.
    """

    def __init__(self, term_s: int, base: int, started: Now) -> None:
        self._term_s, self._base = term_s, max(1, base)
        self._started = started
        self._newest_s, self._newest_at_ms = started.wall_s, started.mono_ms
        self._counted_at_ms = started.mono_ms
        self._last_s: int | None = None
        self._behind_s = 0
        self._shift_s = 0
        self._other_clock: _Reading | None = None
        self._oldest_s = started.wall_s - term_s + 1
        self._seconds: defaultdict[int, _Second] = defaultdict(_Second)
        self._entries = self._within = self._repeats = 0
        self._totals: dict[bool, Counter[str]] = {True: Counter(), False: Counter()}
        self._reached: dict[bool, set[str]] = {True: set(), False: set()}
        self._hits: Hits | None = Hits()
        self.counted = {True: 0, False: 0}
        """Hits since our start, at our server and at the others."""

    @property
    def last_s(self) -> int | None:
        """The time of the last event that counted, by the log's clock."""
        return self._last_s

    @property
    def behind_s(self) -> int:
        """How far the log's clock was behind ours when a live event counted last; negative: ahead."""
        return self._behind_s

    @property
    def remembered(self) -> int:
        """How many (second, file) pairs and StreamIDs the window holds: at most `MAX_ENTRIES`."""
        return self._entries

    @property
    def comes_twice(self) -> bool:
        """Is at least every second hit in the window written twice?  What is only read again is not."""
        return self._repeats >= max(TWICE_FROM, self._within // 2)

    def oldest_s(self, now: Now) -> int:
        """Older events do not count any more; by the log's clock."""
        self._expire(now)
        return self._oldest_s + self._shift_s

    def add(self, hit: Hit, now: Now, *, live: bool = False) -> Skipped | None:
        """Count a hit, unless it is too old, from the future or counted before.

        `live`: its line was written while the log was being followed.
        """
        at_s = hit.at_s - self._shift_s
        if not self._is_plausible(at_s, now):
            if not self._moves(hit.at_s, now, live=live):
                return Skipped.AHEAD if at_s >= self._oldest_s else None
            at_s = hit.at_s - self._shift_s
        if not self._count(at_s, hit):
            self._seconds[at_s].repeats += live
            self._repeats += live
            return Skipped.REPEATED
        if self._last_s is None or at_s > self._end_s(now):
            self._newest_s, self._newest_at_ms = at_s, now.mono_ms
        self._last_s, self._counted_at_ms, self._other_clock = hit.at_s, now.mono_ms, None
        if live:
            self._behind_s = now.wall_s - hit.at_s
        while self._entries > MAX_ENTRIES:
            self._drop_oldest()
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

    def _moves(self, at_s: int, now: Now, *, live: bool) -> bool:
        """Does a line that does not fit show another clock (rules 3 and 4)?  Then the window moves to it."""
        deaf = now.mono_ms - self._counted_at_ms >= DEAF_MS
        if abs(at_s - now.wall_s) <= AHEAD_S:
            moves = deaf or (live and self._shift_s != 0)
        else:
            moves = live and self._is_steady(at_s, now, deaf=deaf)
        if moves:
            self._shift_s = at_s - max(self._end_s(now), self._oldest_s)
        return moves

    def _is_steady(self, at_s: int, now: Now, *, deaf: bool) -> bool:
        if self._other_clock is None or not self._other_clock.agrees(at_s, now):
            self._other_clock = _Reading(at_s, now.mono_ms)
        steady_ms = now.mono_ms - self._other_clock.mono_ms
        if self._last_s is None:
            return at_s < now.wall_s or steady_ms >= FIRST_STEADY_MS
        return deaf and steady_ms >= DEAF_MS

    def _count(self, at_s: int, hit: Hit) -> bool:
        """False where the same hit was counted before."""
        second, key = self._seconds[at_s], (hit.name, hit.ours)
        if hit.stream:
            stream = hash((hit.stream, hit.name))
            if stream in second.streams:
                return False
            second.streams.add(stream)
            self._entries += 1
        self._entries += key not in second.counts
        self._within += 1
        second.counts[key] += 1
        self.counted[hit.ours] += 1
        self._change(hit.name, hit.ours, 1)
        return True

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
        second = self._seconds.pop(self._oldest_s, None) or _Second()
        self._oldest_s += 1
        self._entries -= second.entries
        self._within -= second.counts.total()
        self._repeats -= second.repeats
        for (name, ours), count in second.counts.items():
            self._change(name, ours, -count)
