"""The conditions about cfm itself: what fails, and has to be mended by whoever runs it.

Each kind of trouble is one row of a table, and one condition however many things it is about.  Pure.
Neighbours: `decide.own_troubles` keeps the troubles; `conditions` puts these conditions among all others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from cfm.controller.decide.own_troubles import OwnTroubleKind
from cfm.controller.explain.condition import Condition, Scene, Severity


class TroubleWords(NamedTuple):
    """How one kind of trouble is told."""

    level: Severity
    text: str
    """`{subject}` and `{why}` are those of the oldest trouble of this kind."""
    remedy: str
    """`{subject}` as in the text."""


OWN_TROUBLES: Final[Mapping[OwnTroubleKind, TroubleWords]] = {
    OwnTroubleKind.DATABASE_AWAY: TroubleWords(
        Severity.CRITICAL,
        "The database with the state does not answer: {why}",
        "see to the database; copies that run go on, and cfm goes on by itself when it is back",
    ),
    OwnTroubleKind.FOLLOWS: TroubleWords(
        Severity.NOTE,
        "This cfm follows and gives no orders: {why}",
        "ask the one that leads",
    ),
    OwnTroubleKind.LEASE_NEARLY_LOST: TroubleWords(
        Severity.DEGRADED,
        "The lease of this cfm was nearly lost: {why}",
        "see to the database and the network to it, or set a longer state.lease_sec",
    ),
    OwnTroubleKind.DATABASE_SLOW: TroubleWords(
        Severity.DEGRADED,
        "The database with the state is slow: {why}",
        "see to its load and its disk; each copy waits for some commits",
    ),
    OwnTroubleKind.EPOCH_BEHIND: TroubleWords(
        Severity.CRITICAL,
        "Workers refuse the orders of this cfm, as the database was put back to an older state: {why}",
        "stop all cfm, raise the epoch with `UPDATE cfm.lease SET epoch = {subject}`, and start them",
    ),
    OwnTroubleKind.NO_FOLLOWER: TroubleWords(
        Severity.DEGRADED,
        "No other cfm would go on if this one fell: {why}",
        "start cfm on another host",
    ),
    OwnTroubleKind.PLAN_FAILING: TroubleWords(
        Severity.DEGRADED,
        "The full plan fails, so the old lists stay in force: {why}",
        "see the log; cfm tries it again",
    ),
    OwnTroubleKind.STATE_LOG_LARGE: TroubleWords(
        Severity.DEGRADED,
        "The log of cfm's state has grown to {why}: somebody has been reading cfm.db for long",
        "end that shell or backup; the log is emptied at the next commits",
    ),
    OwnTroubleKind.LINES_LOST: TroubleWords(
        Severity.DEGRADED,
        "Lines of cfm's log are lost, because nobody takes them: {why}",
        "read its standard error, or repair the disk of `log_dir`",
    ),
    OwnTroubleKind.SETTINGS_REFUSED: TroubleWords(
        Severity.DEGRADED,
        "The changed settings are refused, and the old ones stay in force: {why}",
        "correct cfm.yml and run `cfm reload`; `cfm check` names every mistake",
    ),
    OwnTroubleKind.RESTART_NEEDED: TroubleWords(
        Severity.NOTE,
        "Changed settings wait for a restart of cfm: {why}",
        "restart cfm; running copies go on",
    ),
    OwnTroubleKind.JOB_FAILING: TroubleWords(
        Severity.DEGRADED,
        "A background job of cfm fails ({subject}): {why}",
        "see the log; cfm starts it again",
    ),
}
_LONGEST_WHY: Final = 100


def own_troubles(scene: Scene) -> Iterator[Condition]:
    for kind, words in OWN_TROUBLES.items():
        if found := scene.state.own_troubles.of(kind):
            first, more = found[0], len(found) - 1
            text = words.text.format(subject=first.subject, why=_short(first.why))
            yield Condition(
                name=kind.value,
                level=words.level,
                text=f"{text} (and {more} more)" if more else text,
                remedy=words.remedy.format(subject=first.subject),
                since_s=first.since_s,
            )


def _short(why: str) -> str:
    return why if len(why) <= _LONGEST_WHY else f"{why[: _LONGEST_WHY - 1]}…"
