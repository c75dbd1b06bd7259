"""The verdict: the health of the node, one sentence for people, and the facts that both are made of.

Whoever decides something by the verdict reads its health and its facts, never the words of its line.  Pure:
made from the core's state at one moment.  Neighbours: `activity` and `conditions` find the facts, `report`
puts the verdict on top of everything that it tells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cfm.controller.decide.core import Core
from cfm.controller.explain.activity import activity
from cfm.controller.explain.condition import Condition, Severity
from cfm.controller.explain.conditions import conditions
from cfm.controller.explain.health import Activity, Doing, Health, activity_words
from cfm.controller.explain.words import count_words
from cfm.model import Now
from cfm.plan.round import Round

LINE_LENGTH = 200
"""The most characters of a verdict's line."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """How the node is."""

    health: Health
    line: str
    """One sentence of at most `LINE_LENGTH` characters, from the worst condition."""
    activity: Activity
    conditions: tuple[Condition, ...]
    """Worst first."""


def verdict(core: Core, round_: Round | None, now: Now) -> Verdict:
    """The verdict by the core's state and this round."""
    doing = activity(core, round_, now)
    found = conditions(core, round_, doing, now)
    return Verdict(health_of(doing, found), line_of(doing, found), doing, found)


def health_of(doing: Activity, found: Sequence[Condition]) -> Health:
    """The worst condition decides.  Notes leave a node as good as it is."""
    levels = {one.level for one in found}
    if Severity.CRITICAL in levels:
        return Health.CRITICAL
    if Severity.DEGRADED in levels:
        return Health.DEGRADED
    return Health.BUSY if doing.doing in _BUSY else Health.OK


_BUSY = (Doing.WORKING, Doing.STARTING, Doing.WAITING, Doing.PLANNING)


# ── the line ────────────────────────────────────────────────────────────────────────────────────────────


def line_of(doing: Activity, found: Sequence[Condition]) -> str:
    """The worst condition as a sentence, and how many more there are.

    Where nothing is wrong: what goes on, and the first note.
    """
    wrong = [one for one in found if one.level is not Severity.NOTE]
    if not wrong:
        return _line_of_good(activity_words(doing), found)
    others = len(wrong) - 1
    more = f"; {count_words(others, 'more condition', 'more conditions')}" if others else ""
    return _longest_that_fits(wrong[0], more)


def _line_of_good(work: str, notes: Sequence[Condition]) -> str:
    if not notes:
        return f"{work or 'Waiting'}."
    line = " ".join(filter(None, (work and f"{work}.", _longest_that_fits(notes[0]))))
    if len(line) <= LINE_LENGTH:
        return line
    return f"{work}." if work else _cut(line)


def _ended(sentence: str) -> str:
    return sentence if sentence.endswith((".", "?", "!")) else f"{sentence}."


def _longest_that_fits(one: Condition, more: str = "") -> str:
    """The remedy goes first, then the count of the others, then the end of the text."""
    text, remedy = _plain(one.text), f" ({_plain(one.remedy)})" if one.remedy else ""
    for line in map(_ended, (f"{text}{remedy}{more}", f"{text}{more}", text)):
        if len(line) <= LINE_LENGTH:
            return line
    return _cut(text)


def _plain(text: str) -> str:
    """Whatever came from outside stays on one line."""
    return " ".join(text.split()).rstrip(".")


def _cut(text: str) -> str:
    return text[: LINE_LENGTH - 1] + "…"
