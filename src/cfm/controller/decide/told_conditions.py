"""Which conditions last, and since when: what the log and the history are told when one begins and ends.

None of it changes a decision.  The shell looks at the conditions each second while something happens.
One that is there for a moment only is not told: it must be there, or be gone, at two looks in a row.
Neighbours: `explain.conditions` finds the conditions, `act.condition_watch` looks, `core` says what is news.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from cfm.model import Addr, Now


class ConditionSeen(NamedTuple):
    """A condition at one look."""

    name: str
    level: str
    """`note`, `degraded` or `critical`."""
    text: str
    since_s: int | None = None
    """Unix time, where the condition knows itself."""
    servers: tuple[Addr, ...] = ()
    """Where it is: it belongs to the history of each of them."""


@dataclass(slots=True)
class _Lasting:
    """A condition that was seen, and what was told of it."""

    seen: ConditionSeen
    since_s: int
    told_level: str = ""
    """The level that was told; empty where nothing was."""
    is_missing: bool = False
    """It was not there at the last look."""


class ConditionChange(NamedTuple):
    """What is to be told."""

    seen: ConditionSeen
    since_s: int
    begins: bool
    """False: it ended."""


@dataclass(slots=True)
class ConditionBook:
    """The conditions of the last looks."""

    _lasting: dict[str, _Lasting] = field(default_factory=dict)

    def since_s(self, name: str) -> int | None:
        """Since when this condition is seen (unix time); None where no look has seen it."""
        one = self._lasting.get(name)
        return None if one is None else one.since_s

    def is_news(self, found: Sequence[ConditionSeen]) -> bool:
        """Would `note` change anything?"""
        told = {name: one.told_level for name, one in self._lasting.items() if not one.is_missing}
        return len(told) < len(self._lasting) or told != {one.name: one.level for one in found}

    def note(self, found: Sequence[ConditionSeen], now: Now) -> list[ConditionChange]:
        """A look saw these.  Returns what began and what ended, or changed its level, by two looks."""
        changes = [change for one in found if (change := self._there(one, now))]
        names = {one.name for one in found}
        for name in [name for name in self._lasting if name not in names]:
            one = self._lasting[name]
            if one.is_missing or not one.told_level:
                del self._lasting[name]
                if one.told_level:
                    changes.append(ConditionChange(one.seen, one.since_s, begins=False))
            one.is_missing = True
        return changes

    def _there(self, seen: ConditionSeen, now: Now) -> ConditionChange | None:
        one = self._lasting.get(seen.name)
        if one is None:
            since_s = now.wall_s if seen.since_s is None else seen.since_s
            self._lasting[seen.name] = _Lasting(seen, since_s)
            return None
        same_level = one.seen.level == seen.level
        one.seen, one.is_missing = seen, False
        if not same_level or one.told_level == seen.level:
            return None
        one.told_level = seen.level
        return ConditionChange(seen, one.since_s, begins=True)
