"""The verdict: how the node is, as a level, one line for people, and the facts that it is made of.

Whoever decides something by the verdict reads its level and its facts, never the words of its line.  Pure:
made from the core's state at one moment.  Neighbours: `activity` and `conditions` find the facts, `report`
puts the verdict on top of everything that it tells.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cfm.controller.decide.core import Core
from cfm.controller.explain.activity import Activity, Doing, activity
from cfm.controller.explain.condition import Condition, Severity
from cfm.controller.explain.conditions import conditions
from cfm.controller.explain.words import count_words
from cfm.model import Now
from cfm.plan.round import Round

LINE_LENGTH = 200
"""The most characters of a verdict's line."""


class Level(enum.StrEnum):
    """How the node is, in one word."""

    OK = "ok"
    """All that is wanted is done."""
    BUSY = "busy"
    """Something is being done."""
    HELD = "held"
    """Something that should be done is held back: by a brake, or because it waits for something."""
    TROUBLE = "trouble"
    """Something is broken."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """How the node is."""

    level: Level
    line: str
    """One line of at most `LINE_LENGTH` characters, worst first."""
    activity: Activity
    conditions: tuple[Condition, ...]
    """Worst first."""


def verdict(core: Core, round_: Round | None, now: Now) -> Verdict:
    """The verdict by the core's state and this round."""
    doing = activity(core, round_, now)
    found = conditions(core, round_, doing, now)
    return Verdict(level_of(doing, found), line_of(doing, found), doing, found)


def level_of(doing: Activity, found: Sequence[Condition]) -> Level:
    """What is broken counts more than what is held back, and that more than what is being done."""
    if any(one.level is Severity.CRITICAL for one in found):
        return Level.TROUBLE
    if any(one.level is Severity.DEGRADED and not one.holds for one in found):
        return Level.TROUBLE
    if any(one.holds for one in found):
        return Level.HELD
    return Level.BUSY if doing.doing in _BUSY else Level.OK


_BUSY = (Doing.WORKING, Doing.STARTING, Doing.PLANNING)


# ── the line ────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class _Clause:
    text: str
    remedy: str = ""
    holds: bool = False

    def words(self, *, with_remedy: bool) -> str:
        """The clause as a sentence; whatever came from outside stays on one line."""
        text = f"{self.text} ({self.remedy})" if with_remedy and self.remedy else self.text
        return " ".join(text.split()).rstrip(".") + "."


def line_of(doing: Activity, found: Sequence[Condition]) -> str:
    """What is wrong, then what goes on, then the notes: as much of it as fits, the worst first."""
    wrong = [_clause(one) for one in found if one.level is not Severity.NOTE]
    notes = [_clause(one) for one in found if one.level is Severity.NOTE]
    work = [_Clause(text)] if (text := activity_words(doing)) else []
    clauses = [*wrong, *work, *notes]
    if not clauses:
        return "Waiting."
    for line in _shorter_and_shorter(clauses):
        if len(line) <= LINE_LENGTH:
            return line
    return clauses[0].words(with_remedy=False)[: LINE_LENGTH - 1] + "…"


def _clause(one: Condition) -> _Clause:
    return _Clause(one.text, one.remedy, one.holds)


def _shorter_and_shorter(clauses: Sequence[_Clause]) -> Iterator[str]:
    """First the remedies go, those of the last clauses first and those of brakes last; then the last clauses.

    The worst brake keeps its remedy as long as it fits: an operator must be told how to release it.
    """
    for kept in range(len(clauses), 0, -1):
        brakes_first = sorted(range(kept), key=lambda place: not clauses[place].holds)
        least = 1 if clauses[brakes_first[0]].holds else 0
        for remedies in range(kept, least - 1, -1):
            yield _joined(clauses, kept, frozenset(brakes_first[:remedies]))
    for kept in range(len(clauses), 0, -1):
        yield _joined(clauses, kept, frozenset())


def _joined(clauses: Sequence[_Clause], kept: int, with_remedies: frozenset[int]) -> str:
    told = [clause.words(with_remedy=place in with_remedies) for place, clause in enumerate(clauses[:kept])]
    left_out = len(clauses) - kept
    return " ".join([*told, *([f"And {left_out} more: see `cfm status`."] if left_out else [])])


def activity_words(doing: Activity) -> str:
    """What goes on, as a clause; empty where a condition says why nothing does."""
    match doing.doing:
        case Doing.WORKING:
            return f"{_counted(doing)} running{_still_wanted(doing)}"
        case Doing.STARTING:
            return f"{_counted(doing)} to start{_still_wanted(doing)}"
        case Doing.PLANNING:
            return "Planning"
        case Doing.IDLE:
            return "Idle"
        case Doing.WAITING | Doing.STOPPED:
            return ""


def _counted(doing: Activity) -> str:
    """`2 copies and 1 delete`."""
    copies = [count_words(doing.copies, "copy", "copies")] if doing.copies else []
    deletes = [count_words(doing.deletes, "delete", "deletes")] if doing.deletes else []
    return " and ".join([*copies, *deletes])


def _still_wanted(doing: Activity) -> str:
    more = "more wanted" if doing.copies else "wanted"
    files = count_words(doing.waiting, f"{more} file is", f"{more} files are")
    return f"; {files} not placed" if doing.waiting else ""
