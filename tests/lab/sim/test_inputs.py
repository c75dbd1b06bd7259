"""What the simulated inputs say is what was meant, whatever else they contain."""

from __future__ import annotations

import pytest

from cfm.inputs.event_log import parse_line
from cfm.inputs.reference import read_hit_history
from cfm.model import File, Hits, LogCondition
from cfm_lab.sim.building import _name
from cfm_lab.sim.environment import event_log, metadata

HITS = Hits({"A.mpg": 5, "B-1_x.mpg": 30}, frozenset({"B-1_x.mpg", "C.mpg"}))


@pytest.mark.parametrize("torn", [False, True])
@pytest.mark.parametrize("doubled", [False, True])
@pytest.mark.parametrize("behind_s", [0, 10_800])
def test_the_log_says_who_was_watched(torn: bool, doubled: bool, behind_s: int) -> None:
    text = event_log.text_of(HITS, torn=torn, doubled=doubled, behind_s=behind_s)
    hits, state = event_log.read(text, parse_line)
    assert hits == HITS
    assert (state.condition is LogCondition.CLOCK_OFF) is bool(behind_s)
    assert (state.condition is LogCondition.DOUBLED) is (doubled and not behind_s)


def test_the_log_cannot_name_all_files() -> None:
    odd = Hits({"A.mpg#old": 7, "A.mpg": 5}, frozenset({"C.mpg#old"}))
    assert event_log.loggable(odd) == Hits({"A.mpg": 5})


def test_servers_that_the_history_lists_twice_are_there_and_count_once() -> None:
    ips = ("10.0.2.1", "10.0.2.2")
    text = metadata.history_text([File("F005.mpg", 5, 100, history_ips=ips)])
    assert b"10.0.2.1 10.0.2.2 10.0.2.1 10.0.2.2" in text
    assert read_hit_history(text).history["F005.mpg"].ips == ips


def test_some_names_become_others_where_they_are_cut() -> None:
    assert _name(10, set()).partition("#")[0] == _name(9, set())
    assert _name(10, {9}) == "F010.mpg", "its sibling is an ad"
