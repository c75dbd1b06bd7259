"""What happens in the demo, and when.  Pure: a timetable of acts, which is repeated with other servers.

Each act is something that viewers do, or that happens to a server.  What follows is up to cfm.  Neighbour:
`play` carries out the acts, and describes each of them in words.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Final


class ActKind(enum.StrEnum):
    """What happens at the start of an act."""

    OPEN = "open"
    DISCOVER = "discover"
    NEW_TASTE = "new taste"
    FAIL_OVER = "fail over"
    """Only where there are several cfm."""
    KILL = "kill"
    REVIVE = "revive"
    REST = "rest"


@dataclass(frozen=True, slots=True)
class Act:
    """One act, `at_s` seconds after the start.  `turn` counts the rounds, so that another server dies each
    time."""

    at_s: float
    kind: ActKind
    turn: int


ROUND_S: Final = 60.0
_ROUND: Final = (
    (0.0, ActKind.OPEN),
    (14.0, ActKind.DISCOVER),
    (22.0, ActKind.NEW_TASTE),
    (27.0, ActKind.FAIL_OVER),
    (34.0, ActKind.KILL),
    (42.0, ActKind.REVIVE),
    (50.0, ActKind.REST),
)
SHORTEST_ROUND_S: Final = 20.0


def timetable(seconds: float | None) -> Iterator[Act]:
    """The acts in order.  `seconds` gives a whole number of rounds, which end at rest; None gives no end."""
    if seconds is None:
        for turn in count():
            yield from _round(turn, turn * ROUND_S, ROUND_S)
    rounds = max(1, int((seconds or 0) // ROUND_S))
    length_s = max(SHORTEST_ROUND_S, (seconds or 0) / rounds)
    for turn in range(rounds):
        yield from _round(turn, turn * length_s, length_s)


def _round(turn: int, begins_s: float, length_s: float) -> Iterator[Act]:
    """The acts of one round.  Only the first round has the opening act."""
    for at_s, kind in _ROUND:
        if turn == 0 or kind is not ActKind.OPEN:
            yield Act(begins_s + at_s * length_s / ROUND_S, kind, turn)
