"""Searching the graded files for a part of a name."""

from __future__ import annotations

import polars as pl

from cfm.inputs.snapshot import Snapshot
from cfm.model import SnapshotFacts

NAMES = ["MXA_K2018.mpg", "mxb_k2018.mpg", "other(1).mpg", "MXC_K2019.mpg"]


def snapshot(unsized: list[str]) -> Snapshot:
    frame = pl.DataFrame({"rank": range(1, len(NAMES) + 1), "name": NAMES})
    first = len(NAMES) + 1
    others = pl.DataFrame({"rank": range(first, first + len(unsized)), "name": unsized})
    return Snapshot(frame, SnapshotFacts("", 0, 5, 4), others)


def test_files_are_found_by_rank_as_they_are_written() -> None:
    found = snapshot(["mxd.mpg"]).containing("mx", 10)
    assert found == [(2, NAMES[1]), (5, "mxd.mpg")]


def test_the_case_does_not_matter_where_nothing_has_it_so() -> None:
    assert snapshot([]).containing("mxc_k", 10) == [(4, NAMES[3])]
    assert snapshot([]).containing("OTHER", 10) == [(3, NAMES[2])]
    assert snapshot(["mxd.mpg"]).containing("Mxd", 10) == [(5, "mxd.mpg")]


def test_what_is_asked_for_is_no_pattern() -> None:
    assert snapshot([]).containing("(1).", 10) == [(3, "other(1).mpg")]
    assert snapshot([]).containing("M.A", 10) == []


def test_no_more_are_found_than_are_wanted() -> None:
    assert snapshot(["mxd.mpg"]).containing("mx", 1) == [(2, NAMES[1])]
