"""Simulated nodes with several cfm: the rules hold, and each guard that is taken away is noticed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cfm.controller.decide.leadership import Leadership, LeaderState
from cfm_lab.fakes.shared_store import SharedStore
from cfm_lab.sim.environment.parts import PARTS, Parts
from cfm_lab.sim.run import run_seed


class CountsFromTheAnswer(Leadership):
    """The lease begins when the answer has come, and not before the question was sent."""

    def _held(self, _asked_ms: int, epoch: int, now_ms: int) -> None:
        super()._held(now_ms, epoch, now_ms)


class StopsWhenTold(Leadership):
    """It acts until somebody tells it that it was deposed."""

    @property
    def acts_until_ms(self) -> int:
        return 2**62 if self.state in (LeaderState.LEADING, LeaderState.LAPSED) else 0


class WritesWithoutEpoch(SharedStore):
    """A commit does not ask whose the lease is."""

    def _require_held(self) -> None:
        pass


def test_a_node_with_three_cfm_keeps_the_rules() -> None:
    run = run_seed(1, 1, controllers=3)
    assert run.violations == []


@pytest.mark.parametrize(
    "parts",
    [
        replace(PARTS, leadership=CountsFromTheAnswer),
        replace(PARTS, leadership=StopsWhenTold),
        replace(PARTS, shared_store=WritesWithoutEpoch),
    ],
    ids=["counts from the answer", "stops when told", "writes without the epoch"],
)
def test_a_guard_that_is_missing_is_noticed(parts: Parts) -> None:
    worlds = (run_seed(seed, 1, parts, controllers=2, stop_early=True) for seed in range(1, 40))
    found = next((run.violations[0] for run in worlds if run.violations), None)
    assert found is not None
    assert found.invariant == "one leader"
