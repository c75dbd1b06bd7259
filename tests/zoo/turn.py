"""Which bugs of the zoo this test run hunts: others each day, the same for the same `ZOO_TURN`."""

from __future__ import annotations

import os

from zoo.hunting import REDUNDANT, SLOW, ZOO

SAMPLE = 6
TURN = int(os.environ["ZOO_TURN"])
"""Set for all test processes alike by `tests/conftest.py`, and shown in the header of the run."""


def bugs_of(turn: int) -> list[str]:
    """A few from all over the zoo; every bug that is not slow has its turn before one comes again."""
    names = [name for name in ZOO if name not in REDUNDANT and name not in SLOW]
    turns = -(-len(names) // SAMPLE)
    return names[turn % turns :: turns]
