"""Simulated nodes with several cfm: the rules hold.  `tests/zoo/leases.py` takes each guard away."""

from __future__ import annotations

from cfm_lab.sim import several
from cfm_lab.sim.environment.rng import Rng
from cfm_lab.sim.run import run_seed


def test_a_node_with_three_cfm_keeps_the_rules() -> None:
    run = run_seed(1, 1, controllers=3)
    assert run.violations == []
    assert several.draw(Rng(1).fork("hosts")) <= run.happened


def test_faults_that_nobody_asks_for_do_not_happen() -> None:
    """So `--shrink` can take one after the other away."""
    run = run_seed(1, 1, only=frozenset({"host_stopped", "answer_lost"}), controllers=2)
    assert run.faults.keys() <= {"host_stopped", "answer_lost"}
    assert run.faults["host_stopped"] > 0
