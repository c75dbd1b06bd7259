"""The simulator itself: a minute of worlds, seeds that once failed, and the same luck twice."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from cfm_lab.sim.environment import faults, profile
from cfm_lab.sim.environment.rng import Rng
from cfm_lab.sim.fault_events.table import FAULTS
from cfm_lab.sim.run import run_seed, run_seeds

SOURCE = Path(__file__).parents[3] / "src"
CPU_S = int(os.environ.get("SIMULATE_CPU_S", "8"))
FIRST_SEED = int(os.environ["SIMULATE_SEED"])
"""New worlds in each run; the header of the run says which, and the variable repeats them."""
ONCE_FAILED = (
    37, 38, 100, 104, 107, 128, 303, 306, 307, 400, 412, 439, 447, 489, 496, 694, 699, 748, 1074, 1285, 1443,
    1501, 1534, 2000, 3116, 3135, 3208, 3276, 3402, 5417, 6036, 10226, 11002, 11064, 11146, 11322,
    1795904292, 1795920878, 1795927275,
)  # fmt: skip
"""Seeds that found a mistake once, in the product or in the simulator."""


def test_a_short_simulation_breaks_no_rule() -> None:
    report = run_seeds(FIRST_SEED, 2, 10_000, cpu_s=CPU_S)
    failed = report.first_failed
    assert not failed, f"cfm simulate --hours 2 --seed {failed.seed}\n" + "\n".join(failed.story)
    assert sum(report.checks.values()) > 1_000


@pytest.mark.parametrize("seed", ONCE_FAILED[:: max(1, len(ONCE_FAILED) // 4)])
def test_seeds_that_once_failed(seed: int) -> None:
    run = run_seed(seed, 2)
    assert not run.violations, "\n".join(run.story)


@pytest.mark.parametrize("seed", [900, 903])
def test_a_disk_under_two_addresses_is_one_disk(seed: int) -> None:
    """One was emptied twice for the same need, the other filled past its limit."""
    drawn = profile.draw(Rng(seed).fork("profile"))
    run = run_seed(seed, 1, plan=replace(drawn, shared_disk=True, old=0))
    assert not run.violations, "\n".join(run.story)


def test_a_world_without_faults_rests_and_breaks_nothing() -> None:
    run = run_seed(7, 1, only=frozenset())
    assert not run.violations
    assert run.checks["20"] == 1


@pytest.mark.parametrize("hash_seed", ["0", "4711"])
def test_the_same_seed_is_the_same_world(hash_seed: str) -> None:
    code = "from cfm_lab.sim.run import run_seed; print(run_seed(5, 1).digest)"
    env = {"PYTHONPATH": str(SOURCE), "PYTHONHASHSEED": hash_seed, "PATH": os.environ["PATH"]}
    found = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert int(found.stdout) == run_seed(5, 1).digest


def test_every_event_fault_has_its_function() -> None:
    events = {name for name, kind in faults.KINDS.items() if kind.form is faults.Form.EVENT}
    assert events == set(FAULTS)
    assert len(faults.KINDS) >= 45
