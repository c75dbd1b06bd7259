"""Does the simulator notice?  A few bugs of the zoo in turn, others each day; all of it by `make zoo`."""

from __future__ import annotations

import time

import pytest

from cfm_lab.sim.invariants import ALL, SICK_ONLY
from cfm_lab.sim.run import run_seed
from zoo.hunting import IN_SICK_WORLDS, NEEDS_SHARED_DISK, NOTICED_BY, REDUNDANT, SLOW, TEMPTED_BY, ZOO, hunt
from zoo.making import CARELESS, HIDDEN
from zoo.turn import TURN, bugs_of

BUDGET_S = 60
SAMPLE_S = 20
"""A new hunt begins only within so much work of them all."""
_spent_s: list[float] = []


@pytest.mark.parametrize("name", bugs_of(TURN))
def test_a_bug_of_the_zoo_is_caught(name: str) -> None:
    if sum(_spent_s) > SAMPLE_S:
        pytest.skip("enough for one run; `make zoo` hunts all")
    began_s = time.process_time()
    caught = hunt(name, BUDGET_S, first_seed=1)
    _spent_s.append(time.process_time() - began_s)
    assert caught is not None, f"ZOO_TURN={TURN}"


def test_every_rule_has_a_bug_that_it_alone_must_notice() -> None:
    assert {rule.number for rule in (*ALL, *SICK_ONLY)} | {"20", "25", "one leader"} == set(NOTICED_BY)
    named = [bug for bugs in NOTICED_BY.values() for bug in bugs]
    assert len(named) == len(set(named))
    assert set(named) <= set(ZOO)
    assert not set(named) & set(REDUNDANT)
    assert {f"without {guard}" for guard in HIDDEN} | NEEDS_SHARED_DISK | set(IN_SICK_WORLDS) <= set(ZOO)
    assert SLOW | set(TEMPTED_BY) | set(REDUNDANT) <= set(ZOO)


@pytest.mark.parametrize("seed", [3, 11])
def test_whatever_is_proposed_the_kernel_keeps_the_rules(seed: int) -> None:
    """The careless policies are no bug: it is the guard left out beside them that is one."""
    run = run_seed(seed, 1, CARELESS)
    assert not run.violations, "\n".join(run.story)
