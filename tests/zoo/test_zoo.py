"""Does the simulator notice?  A few bugs of the zoo that must be caught at once; all of it by `make zoo`."""

from __future__ import annotations

import pytest

from zoo.bugs import ZOO, hunt

CAUGHT_AT_ONCE = (
    "no fsync of files",
    "no epoch is checked",
    "without keeper_confirmed",
    "without on_no_destination",
    "without metadata_fresh",
)
BUDGET_S = 60


@pytest.mark.parametrize("name", CAUGHT_AT_ONCE)
def test_a_bug_of_the_zoo_is_caught(name: str) -> None:
    assert hunt(ZOO[name], BUDGET_S, first_seed=1) is not None
