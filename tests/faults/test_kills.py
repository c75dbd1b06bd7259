"""Killed again and again under load: the short form of `bench/kill_thousand.py`."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from cfm_lab.testing.kills import Kills

pytestmark = pytest.mark.e2e
KILLS, WITHIN_S = 15, 120.0


def test_killed_again_and_again_under_load(tmp_path: Path) -> None:
    """How soon the sources send again is the bench's to judge, on a machine that has nothing else to do."""
    kills = Kills(tmp_path, seed=random.randrange(10**6))
    print(f"seed {kills.seed}")
    kills.run(KILLS, WITHIN_S)
    print(kills.figures())
    assert not kills.problems, "\n".join(kills.problems)
    assert kills.kills >= KILLS // 5
