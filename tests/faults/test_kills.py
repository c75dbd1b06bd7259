"""Killed again and again under load: the short form of `bench/kill_thousand.py`."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from cfm.testing.kills import Kills

pytestmark = pytest.mark.e2e
SHORT, SHORT_S = 4, 20.0
LONG, LONG_S = 25, 150.0


def _killed(root: Path, number: int, within_s: float) -> Kills:
    kills = Kills(root, seed=random.randrange(10**6))
    print(f"seed {kills.seed}")
    kills.run(number, within_s)
    print(kills.figures())
    assert not kills.problems, "\n".join(kills.problems)
    return kills


@pytest.mark.quick
def test_a_few_kills_under_load(tmp_path: Path) -> None:
    assert _killed(tmp_path, SHORT, SHORT_S).kills


def test_kills_under_load(tmp_path: Path) -> None:
    """How soon the sources send again is measured by the bench, on a machine that has nothing else to do."""
    assert _killed(tmp_path, LONG, LONG_S).kills >= LONG // 5
