"""What is told of the event log: followed, silent, gone, unreadable, behind, doubled, or by another clock.

Pure.  `log_follower` notes here what each reading brought; the controller gets the state as a value, because
hits are unknown while the log cannot be read.
"""

from __future__ import annotations

from cfm.inputs.event_log import Batch
from cfm.inputs.hit_window import AHEAD_S, HitWindow
from cfm.model import LogCondition, LogState, Now

BEHIND_MS = 10_000
"""How long the end of the log is not reached before we count as behind."""


class LogWatch:
    """Remembers when the log was read to its end, and when something came from it."""

    def __init__(self, folder: str, term_ms: int, started: Now) -> None:
        self._folder, self._term_ms = folder, term_ms
        self._caught_up = False
        self._end_ms = started.mono_ms
        """When the end of the log was reached last."""
        self._line_ms = started.mono_ms
        self._live = False
        """Has a line been written since we follow the log?"""
        self._newest_s: int | None = None
        self._state = LogState(LogCondition.READING, started.mono_ms, "it has not been read to its end yet")

    @property
    def state(self) -> LogState:
        return self._state

    def note(self, batch: Batch, window: HitWindow, now: Now) -> LogState:
        """What one reading brought, and what is to be told of the log since."""
        if batch.lines:
            self._line_ms, self._live = now.mono_ms, self._live or batch.live
            times = [hit.at_s for hit in batch.hits if hit.at_s <= now.wall_s + AHEAD_S]
            self._newest_s = max([*times, self._newest_s or 0]) or None
        if batch.trouble or batch.gone:
            self._caught_up = False
        elif not batch.more:
            self._caught_up, self._end_ms = True, now.mono_ms
        condition, why = self._judge(batch, window, now)
        same = condition is self._state.condition
        self._state = LogState(
            condition,
            self._state.since_ms if same else now.mono_ms,
            why,
            newest_s=max(filter(None, (window.last_s, self._newest_s)), default=None),
            heard_ms=self._line_ms if batch.lines else self._state.heard_ms,
            clock_behind_s=window.behind_s,
            behind_bytes=batch.behind_bytes,
        )
        return self._state

    def _judge(self, batch: Batch, window: HitWindow, now: Now) -> tuple[LogCondition, str]:
        if batch.trouble:
            return LogCondition.UNREADABLE, batch.trouble
        if batch.gone:
            return LogCondition.GONE, f"there is no EventLog[YYYYMMDD].log in {self._folder}"
        if batch.none_yet:
            return LogCondition.SILENT, f"there is no EventLog[YYYYMMDD].log in {self._folder} yet"
        if not self._caught_up:
            return LogCondition.READING, "it has not been read to its end yet"
        if now.mono_ms - self._end_ms >= BEHIND_MS:
            return LogCondition.BEHIND, "its lines come faster than they are read"
        if now.mono_ms - self._line_ms >= self._term_ms:
            return LogCondition.SILENT, f"nothing has come for {self._term_ms // 60_000} minutes or more"
        if self._stands_still(now):
            return LogCondition.SILENT, f"its last event is older than {self._term_ms // 60_000} minutes"
        if abs(window.behind_s) > AHEAD_S:
            side = "behind" if window.behind_s > 0 else "ahead of"
            return LogCondition.CLOCK_OFF, f"its clock is {side} ours; hits count by the log's own time"
        if window.comes_twice:
            return LogCondition.DOUBLED, "each hit is there twice, and counts once"
        return LogCondition.FOLLOWING, ""

    def _stands_still(self, now: Now) -> bool:
        """Was the log dead already when we opened it?  Its own times tell, as long as it says nothing new."""
        newest_s = self._newest_s
        return not self._live and newest_s is not None and 1000 * (now.wall_s - newest_s) >= self._term_ms
