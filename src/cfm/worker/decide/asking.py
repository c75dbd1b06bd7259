"""When, and how, a worker asks its cfm for work.

Pure; a part of the book of `downloads`.  A cfm of ours holds the request open until there is work; an old one
answers it 404 and is polled instead, and asked again now and then whether it has become a new one.  A cfm
that is down is tried with short pauses, so that a restart of it is hardly noticed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cfm.worker.decide.download_events import Answer, Ask

PROBE_MS: Final = 60_000
"""How often an old cfm is asked whether it is a new one by now."""
EMPTY_ASK_MS: Final = 250
"""Empty answers to waiting requests are not asked for faster than this."""


@dataclass(slots=True)
class Asking:
    """When and how cfm is asked for work."""

    poll_ms: int
    how: Ask = Ask.WAIT
    out: bool = False
    since_ms: int = 0
    not_before_ms: int = 0
    probe_ms: int = 0
    misses: int = 0
    refusals: int = 0

    def start(self, now_ms: int) -> Ask:
        self.out, self.since_ms = True, now_ms
        return Ask.WAIT if self.how is Ask.LIST and now_ms >= self.probe_ms else self.how

    def answered(self, answer: Answer, now_ms: int) -> None:
        self.out = False
        self.misses = self.misses + 1 if answer is Answer.DOWN else 0
        self.not_before_ms = now_ms + self._pause_ms(answer, now_ms)
        if answer is Answer.OLD:
            self.how, self.probe_ms = Ask.LIST, now_ms + PROBE_MS
        elif answer is Answer.NEW:
            self.how = Ask.WAIT

    def offered(self, now_ms: int) -> None:
        self.out, self.misses, self.not_before_ms = False, 0, now_ms

    def rest(self, now_ms: int) -> None:
        """An offer came to nothing before it began: the same one must not come round in circles."""
        self.not_before_ms = now_ms + growing_ms(200, self.refusals, 5_000)
        self.refusals += 1

    def _pause_ms(self, answer: Answer, now_ms: int) -> int:
        if answer is Answer.DOWN:
            return growing_ms(100, self.misses - 1, 2_000)
        if answer is Answer.REFUSED:
            return self.poll_ms
        if answer is Answer.EMPTY:
            return self.poll_ms if self.how is Ask.LIST else max(0, self.since_ms + EMPTY_ASK_MS - now_ms)
        return 0


def growing_ms(first_ms: int, tries: int, most_ms: int) -> int:
    """A pause that doubles with each try."""
    return min(most_ms, first_ms << min(tries, 16))
