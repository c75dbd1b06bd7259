"""What of a plan's lists stays in force while the next plan is made."""

from __future__ import annotations

import pytest

from cfm.controller.decide.planning import Planning
from cfm.model import Addr, File, Now
from cfm.plan.shortlist import Shortlist
from cfm.revision import Revision

HERE = Addr("127.0.2.1:8888")
GOOD, BAD = File("GOOD.mpg", 1, 100), File("BAD.mpg", 9, 100)


@pytest.mark.parametrize("was_too_old", [False, True])
def test_nothing_is_evicted_by_the_ranks_of_metadata_that_are_replaced(was_too_old: bool) -> None:
    plans = Planning(Revision(), 0)
    plans.take(Shortlist("first", (GOOD,), 1, (BAD,), 1, {HERE: (BAD,)}, cut=False))
    plans.metadata_changed(Now(1_000, 1_000), was_too_old=was_too_old)
    assert plans.shortlist.wanted == (GOOD,)
    assert plans.shortlist.surplus == (() if was_too_old else (BAD,))
    assert plans.shortlist.evictable == {}
