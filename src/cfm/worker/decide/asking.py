"""When, and how, a worker asks its cfm for work.

Pure; a part of the book in `downloads`.  A cfm of ours holds the request open until there is work.  An old
cfm answers it with 404: the worker then polls its list, and tries the waiting request again now and then, in
case cfm was upgraded.  A cfm that is down is tried with short pauses, so that its restart costs little time.
The first answer says whom this worker belongs to.  Until then the worker must refuse deletes, so it does not
wait for work before it has heard from cfm.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cfm.backoff import Backoff
from cfm.worker.decide.download_events import Ask, AskOutcome

PROBE_MS: Final = 60_000
"""How often an old cfm is asked whether it was upgraded."""
EMPTY_ASK_MS: Final = 250
"""The shortest time between two waiting requests that bring nothing."""
CFM_IS_DOWN: Final = Backoff(first_ms=100, longest_ms=2_000)
USELESS_OFFER: Final = Backoff(first_ms=200, longest_ms=5_000)


@dataclass(slots=True)
class AskSchedule:
    """The next question for work: when it may go out, and in which form."""

    poll_ms: int
    how: Ask = Ask.NOW
    out: bool = False
    """A question was sent, and its answer has not come yet."""
    since_ms: int = 0
    """When the last question was sent."""
    not_before_ms: int = 0
    probe_ms: int = 0
    misses: int = 0
    """How many times in a row cfm was down."""
    refusals: int = 0
    """How many offers in a row came to nothing."""

    def start(self, now_ms: int) -> Ask:
        """The question goes out now; in which form."""
        self.out, self.since_ms = True, now_ms
        return Ask.WAIT if self.how is Ask.LIST and now_ms >= self.probe_ms else self.how

    def brought_nothing(self, outcome: AskOutcome, now_ms: int) -> None:
        self.out = False
        self.misses = self.misses + 1 if outcome is AskOutcome.DOWN else 0
        self.not_before_ms = now_ms + self._pause_ms(outcome, now_ms)
        if outcome is AskOutcome.OLD:
            self.how, self.probe_ms = Ask.LIST, now_ms + PROBE_MS
        elif outcome is AskOutcome.NEW:
            self.how = Ask.WAIT
        elif outcome is not AskOutcome.DOWN:
            self._has_heard()

    def brought_offer(self, now_ms: int) -> None:
        self.out, self.misses, self.not_before_ms = False, 0, now_ms
        self._has_heard()

    def offer_was_useless(self, now_ms: int) -> None:
        """Pause, so that an offer that comes to nothing is not repeated without end."""
        self.refusals += 1
        self.not_before_ms = now_ms + USELESS_OFFER.pause_ms(self.refusals)

    def cfm_spoke(self) -> None:
        """It runs again: what is left of a long pause would be lost."""
        if self.misses:
            self.not_before_ms = min(self.not_before_ms, self.since_ms + CFM_IS_DOWN.first_ms)

    def copy_began(self) -> None:
        self.refusals = 0

    def _has_heard(self) -> None:
        if self.how is Ask.NOW:
            self.how = Ask.WAIT

    def _pause_ms(self, outcome: AskOutcome, now_ms: int) -> int:
        if outcome is AskOutcome.DOWN:
            return CFM_IS_DOWN.pause_ms(self.misses)
        if outcome is AskOutcome.REFUSED:
            return self.poll_ms
        if outcome is AskOutcome.EMPTY:
            return self.poll_ms if self.how is Ask.LIST else max(0, self.since_ms + EMPTY_ASK_MS - now_ms)
        return 0
