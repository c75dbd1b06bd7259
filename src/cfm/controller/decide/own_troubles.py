"""What is wrong with cfm itself, for as long as it lasts.  The core keeps it, and the status shows it.

None of it changes a decision.  (Whether the state can be written does; that is in `books.StoreBook`.)
Neighbours: the shell tells the core of it by `events.OwnTrouble`, `explain.ours` makes conditions of it.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import NamedTuple

from cfm.model import Now


class OwnTroubleKind(enum.StrEnum):
    """What may be wrong.  The value is the name of its condition, and never changes."""

    JOB_FAILING = "job_failing"
    """A background job failed, and is started again after a pause."""
    SETTINGS_REFUSED = "settings_refused"
    """The settings were read again and are wrong; the old ones stay in force."""
    RESTART_NEEDED = "restart_needed"
    """Settings were changed that are taken in at the next start only."""
    STATE_LOG_LARGE = "state_log_large"
    """Somebody reads our state for so long that its log cannot be emptied."""
    LINES_LOST = "log_lines_lost"
    """Lines of our log were lost, because nobody took them."""
    FOLLOWS = "follows"
    """Another of several cfm leads, or nobody does; this one only looks."""
    DATABASE_AWAY = "database_away"
    """The database with the state does not answer."""
    LEASE_NEARLY_LOST = "lease_nearly_lost"
    """The lease was renewed late, or not at all; then another cfm leads soon."""
    DATABASE_SLOW = "database_slow"
    """The database with the state answers slowly."""
    EPOCH_BEHIND = "epoch_behind"
    """Workers have heard a higher epoch than the database tells: somebody has put an old one back."""
    NO_FOLLOWER = "no_follower"
    """No other cfm would go on if this one fell."""
    PLAN_FAILING = "plan_failing"
    """A full plan ended by an error; the lists of the last one stay in force."""


class TroubleNote(NamedTuple):
    """One trouble: its kind, what it is about, why, and since when."""

    kind: OwnTroubleKind
    subject: str
    why: str
    since_s: int
    """Unix time."""


@dataclass(slots=True)
class OwnTroubleBook:
    """The troubles that last, by kind and subject."""

    _lasting: dict[tuple[OwnTroubleKind, str], TroubleNote] = field(default_factory=dict)

    def note(self, kind: OwnTroubleKind, subject: str, why: str, now: Now) -> None:
        """Begin or change a trouble, or end it where `why` is empty.  It keeps the time of its beginning."""
        before = self._lasting.pop((kind, subject), None)
        if why:
            since_s = before.since_s if before is not None else now.wall_s
            self._lasting[kind, subject] = TroubleNote(kind, subject, why, since_s)

    def of(self, kind: OwnTroubleKind) -> list[TroubleNote]:
        """The troubles of one kind, the oldest first."""
        found = [one for one in self._lasting.values() if one.kind is kind]
        return sorted(found, key=lambda one: (one.since_s, one.subject))
