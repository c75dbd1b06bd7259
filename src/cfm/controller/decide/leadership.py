"""Who leads: what one of several cfm may conclude from what it hears of the lease.  Pure.

The state has a lease in the database (see `tasks.postgres_store`).  Whoever holds it leads.  A leader asks
for it again long before it ends, and stops acting when it may have ended: counted by its own monotonic clock,
from the moment before the last question that was answered with "it is yours" was sent, less a margin.  So it
stops in time whether or not the database answers, however late the answer came, and whatever any wall clock
says.  A program that was stopped for long (SIGSTOP, a busy host) finds the same when it goes on, because it
looks at its clock before each deed.

A lease that has ended is still ours while nobody has taken it: nobody else wrote, so what we know is still
true.  When somebody else has taken it, what we know is of a former epoch; then the program begins anew.

`LEADER_LIFE` is the whole table; `docs/several-cfm.md` shows it.  Neighbours: `controller.act.lease_keeper`
asks the database, `controller.act.loop` asks `may_act` before each deed, and the simulator does both.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from cfm.tasks.lifecycle import IllegalChangeError
from cfm.tasks.store import LeaseSeen


class LeaderState(enum.StrEnum):
    FOLLOWING = "following"
    """Another cfm leads, or nobody is known to. This one watches, and takes the lease when it has ended."""
    LEADING = "leading"
    """The lease is ours, and our clock says that it lasts. This one acts."""
    LAPSED = "lapsed"
    """Our clock says that the lease may have ended, and nobody is known to have taken it. This one waits."""
    DEPOSED = "deposed"
    """Another cfm has taken the lease. This one ends, and begins anew as a follower."""
    RESIGNED = "resigned"
    """This one gave the lease up, or no longer wants it."""


class LeaderEvent(enum.StrEnum):
    HELD = "held"
    """The database says that the lease is ours now."""
    NOT_OURS = "not ours"
    """The database says that another cfm has the lease, or had it last."""
    RAN_OUT = "ran out"
    """Our clock says that the lease may have ended."""
    GIVEN_UP = "given up"
    """This program is about to end, or an operator wants another cfm to lead."""


_S, _E = LeaderState, LeaderEvent

LEADER_LIFE: Final[Mapping[LeaderState, Mapping[LeaderEvent, LeaderState]]] = {
    _S.FOLLOWING: {
        _E.HELD: _S.LEADING,
        _E.GIVEN_UP: _S.RESIGNED,
        _E.NOT_OURS: _S.FOLLOWING,
    },
    _S.LEADING: {
        _E.RAN_OUT: _S.LAPSED,
        _E.NOT_OURS: _S.DEPOSED,
        _E.GIVEN_UP: _S.RESIGNED,
        _E.HELD: _S.LEADING,
    },
    _S.LAPSED: {
        _E.HELD: _S.LEADING,
        _E.NOT_OURS: _S.DEPOSED,
        _E.GIVEN_UP: _S.RESIGNED,
    },
    _S.DEPOSED: {
        _E.HELD: _S.DEPOSED,
        _E.NOT_OURS: _S.DEPOSED,
        _E.GIVEN_UP: _S.DEPOSED,
    },
    _S.RESIGNED: {
        _E.HELD: _S.RESIGNED,
        _E.NOT_OURS: _S.RESIGNED,
        _E.GIVEN_UP: _S.RESIGNED,
    },
}

ENDED: Final = frozenset({_S.DEPOSED, _S.RESIGNED})
"""From here nothing leads back: whoever wants to lead again begins anew."""

AFTER_END_MS: Final = 5
"""A follower asks again so long after the lease ends: the end is told in whole milliseconds, and who asks in
the last one would be told to wait once more."""


@dataclass(frozen=True, slots=True)
class LeaseTerms:
    """How long the lease is, and how it is asked for.  All in milliseconds."""

    lease_ms: int = 3_000
    renew_ms: int = 1_000
    """How often a leader asks for the lease again."""
    margin_ms: int = 500
    """How long before its end a leader stops acting: for a deed that is under way, and clocks that drift."""
    watch_ms: int = 300
    """How often a follower asks who has the lease."""
    retry_ms: int = 200
    """How soon a question without an answer is asked again."""
    answer_ms: int = 1_000
    """How long an answer is waited for."""

    def __post_init__(self) -> None:
        if self.renew_ms + self.answer_ms >= self.lease_ms - self.margin_ms:
            raise ValueError("one renewal that fails would cost the lease")


class Leadership:
    """What one cfm knows of the lease.  Each question about it is begun with `asked` and ended with
    `answered`."""

    def __init__(self, terms: LeaseTerms, now_ms: int, *, rests_ms: int = 0) -> None:
        """`now_ms` is monotonic, as all times here are.  The lease is not asked for during `rests_ms`."""
        self.terms = terms
        self.state = LeaderState.FOLLOWING
        self.epoch = 0
        """Ours; 0 before we have led."""
        self.seen: LeaseSeen | None = None
        """What the database said last."""
        self.seen_ms: int | None = None
        """When it was asked for that."""
        self.trouble: str | None = None
        """Why it does not answer; None where it does."""
        self.since_ms = now_ms
        """When the state began."""
        self.next_ms = now_ms + rests_ms
        """When the database is asked next."""
        self._acts_until_ms = now_ms

    @property
    def has_ended(self) -> bool:
        return self.state in ENDED

    @property
    def acts_until_ms(self) -> int:
        """Until when we may act if nothing else is heard; in the past where we may not."""
        return self._acts_until_ms if self.state is LeaderState.LEADING else 0

    @property
    def told_epoch(self) -> int:
        """The epoch that the database told last."""
        return 0 if self.seen is None else self.seen.epoch

    def may_act(self, now_ms: int) -> bool:
        """May something be done now that only a leader may do?  Asked right before each deed."""
        return now_ms < self.acts_until_ms

    def left_ms(self, now_ms: int) -> int:
        """For how long we may act from now on if the database does not answer any more."""
        return max(0, self.acts_until_ms - now_ms)

    def look_at_clock(self, now_ms: int) -> None:
        """Time has passed."""
        if self.state is LeaderState.LEADING and now_ms >= self._acts_until_ms:
            self._change(LeaderEvent.RAN_OUT, now_ms)

    def next_look_ms(self) -> int:
        """When something is due: a question, or a look at the clock."""
        return min(self.next_ms, self._acts_until_ms) if self.state is LeaderState.LEADING else self.next_ms

    def asked(self, now_ms: int) -> None:
        """The database is being asked for the lease."""
        self.next_ms = now_ms + self.terms.answer_ms + self.terms.retry_ms

    def answered(self, asked_ms: int, seen: LeaseSeen | str, now_ms: int) -> None:
        """What came of a question that was sent after `asked_ms`: what was seen, or why nothing was."""
        if isinstance(seen, str):
            self.trouble = seen
            self.next_ms = now_ms + self.terms.retry_ms
            self.look_at_clock(now_ms)
            return
        self.trouble = None
        self.seen, self.seen_ms = seen, asked_ms
        if seen.ours and self.epoch in (0, seen.epoch):
            self._held(asked_ms, seen.epoch, now_ms)
        else:
            self._change(LeaderEvent.NOT_OURS, now_ms)
            self.next_ms = now_ms + min(self.terms.watch_ms, seen.left_ms + AFTER_END_MS)
        self.look_at_clock(now_ms)

    def give_up(self, now_ms: int) -> None:
        """From now on nothing is done any more; whoever keeps the lease may be told afterwards."""
        self._change(LeaderEvent.GIVEN_UP, now_ms)

    def _held(self, asked_ms: int, epoch: int, now_ms: int) -> None:
        self._change(LeaderEvent.HELD, now_ms)
        if self.state is not LeaderState.LEADING:
            return
        self.epoch = epoch
        self._acts_until_ms = asked_ms + self.terms.lease_ms - self.terms.margin_ms
        self.next_ms = max(now_ms, asked_ms + self.terms.renew_ms)

    def _change(self, event: LeaderEvent, now_ms: int) -> None:
        row = LEADER_LIFE[self.state]
        if event not in row:
            raise IllegalChangeError(f"a cfm that is {self.state} knows no event `{event}`")
        if row[event] is not self.state:
            self.state, self.since_ms = row[event], now_ms
