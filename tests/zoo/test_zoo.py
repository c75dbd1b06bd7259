"""Does the simulator notice?  A few bugs of the zoo, others each time; the whole of it by `make zoo`."""

from __future__ import annotations

import os
import time

from zoo.bugs import REDUNDANT, ZOO, hunt

CAUGHT_QUICKLY = 4
BUDGET_S = 60


def sample(turn: int) -> list[str]:
    """A rotating choice of those that must be caught."""
    names = [name for name in ZOO if name not in REDUNDANT]
    return [names[(turn * CAUGHT_QUICKLY + i) % len(names)] for i in range(CAUGHT_QUICKLY)]


def test_bugs_of_the_zoo_are_caught() -> None:
    turn = int(os.environ.get("ZOO_TURN", time.time() // 60))
    print(f"ZOO_TURN={turn}")
    missed = [name for name in sample(turn) if hunt(ZOO[name], BUDGET_S, first_seed=1_000 + turn) is None]
    assert not missed
