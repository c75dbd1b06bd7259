"""The timetable: acts in order, in the time there is, and rest at the end."""

from __future__ import annotations

from itertools import islice, pairwise

import pytest

from cfm.demo.scenario import ActKind, timetable


@pytest.mark.parametrize("seconds", [20.0, 30.0, 60.0, 100.0, 180.0])
def test_the_acts_fit_into_the_time_and_end_at_rest(seconds: float) -> None:
    acts = list(timetable(seconds))
    assert acts[0].kind is ActKind.OPEN
    assert acts[-1].kind is ActKind.REST
    assert acts[-1].at_s < seconds
    assert all(one.at_s < next_.at_s for one, next_ in pairwise(acts))
    assert [act.kind for act in acts].count(ActKind.OPEN) == 1


@pytest.mark.parametrize("seconds", [60.0, 180.0, None])
def test_who_was_killed_comes_back_before_the_next_one_dies(seconds: float | None) -> None:
    dead = 0
    for act in islice(timetable(seconds), 30):
        dead += {ActKind.KILL: 1, ActKind.REVIVE: -1}.get(act.kind, 0)
        assert dead in (0, 1)
        assert dead == 0 or act.kind is not ActKind.REST


def test_without_an_end_it_goes_on() -> None:
    turns = [act.turn for act in islice(timetable(None), 40)]
    assert turns[-1] >= 6
