"""Searching the graded files for a part of a name."""

from __future__ import annotations

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from cfm.inputs.snapshot import Snapshot
from cfm.model import SnapshotFacts

NAMES = ["MXA_K2018.mpg", "mxb_k2018.mpg", "other(1).mpg", "MXC_K2019.mpg", "ÉTÉ_2020.mpg"]


def snapshot(unsized: list[str]) -> Snapshot:
    frame = pl.DataFrame({"rank": range(1, len(NAMES) + 1), "name": NAMES})
    first = len(NAMES) + 1
    others = pl.DataFrame({"rank": range(first, first + len(unsized)), "name": unsized})
    return Snapshot(frame, SnapshotFacts("", 0, 5, 4), others)


def test_files_are_found_by_rank_whatever_the_case() -> None:
    found = snapshot(["mxd.mpg"]).containing("mx", 10)
    assert found == [(1, NAMES[0]), (2, NAMES[1]), (4, NAMES[3]), (6, "mxd.mpg")]
    assert snapshot([]).containing("mxc_k", 10) == [(4, NAMES[3])]
    assert snapshot([]).containing("OTHER", 10) == [(3, NAMES[2])]


def test_what_is_asked_for_is_no_pattern() -> None:
    assert snapshot([]).containing("(1).", 10) == [(3, "other(1).mpg")]
    assert snapshot([]).containing("M.A", 10) == []


def test_no_more_are_found_than_are_wanted() -> None:
    assert snapshot(["mxd.mpg"]).containing("mx", 1) == [(1, NAMES[0])]


@given(st.sampled_from([*NAMES, "mxd.mpg", "none 2018"]), st.data())
def test_a_part_of_a_name_is_found_in_any_case_and_nothing_else_is(name: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(name) - 1))
    part = name[start : data.draw(st.integers(start + 1, len(name)))]
    asked = "".join(data.draw(st.sampled_from([one.lower(), one.upper()])) for one in part)
    expected = [one for one in [*NAMES, "mxd.mpg"] if asked.lower() in one.lower()]
    assert [one for _rank, one in snapshot(["mxd.mpg"]).containing(asked, 10)] == expected
