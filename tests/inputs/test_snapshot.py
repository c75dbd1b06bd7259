"""A pair is accepted or rejected as a whole, always with the reason."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import polars as pl
import pytest

from cfm.inputs import reference
from cfm.inputs.grade_file import read_grade_file
from cfm.inputs.hit_history import read_hit_history
from cfm.inputs.snapshot import COLUMNS, Candidate, SourceFile, build, joined, judge
from cfm.model import File, Measure

DATA = Path(__file__).parents[1] / "data"
GRADE = (DATA / "grade.info").read_bytes()
HISTORY = (DATA / "hitcount.history").read_bytes()
AGES_MS = 60_000


def pair(grade: bytes, history: bytes) -> Candidate:
    sources = tuple(
        SourceFile("", len(data), when, f"{len(data):016x}") for when, data in enumerate((grade, history), 7)
    )
    return build(read_grade_file([grade]), read_hit_history([history]), (sources[0], sources[1]))


@cache
def good() -> Candidate:
    return pair(GRADE, HISTORY)


def made(graded: int, known: int, *, history: int | None = None) -> Candidate:
    """`known` files known of `graded`, of `history` in the history."""
    names = [f"f{number}" for number in range(graded)]
    others = [f"h{number}" for number in range((graded if history is None else history) - known)]
    lines = "".join(f"{name},0,0,5,\n" for name in (*names[:known], *others))
    return pair(b"filename\n" + "\n".join([*names, ""]).encode(), b"historyheader:1\n" + lines.encode())


def test_the_samples() -> None:
    """58 files and 5 ads are graded, two of the 60 named files are not; two have no size."""
    facts = good().snapshot.facts
    ads = good().snapshot.frame["name"].str.contains("^M64|^MN1").sum()
    assert (facts.graded_files, facts.known_files, ads, facts.read_wall_s) == (63, 61, 5, 7)
    assert facts.skipped_lines == {
        "grade_not_text": 1,
        "history_bad_size": 1,
        "history_too_few_columns": 1,
        "history_too_long": 1,
        "history_torn_last_line": 1,
    }
    assert judge(good(), None, AGES_MS) is None


def test_names_are_told_apart_where_their_hashes_are_not() -> None:
    graded = pl.DataFrame({"rank": [1, 2, 3], "name": ["a", "bb", "c"]})
    history = pl.DataFrame({"name": ["c", "dd", "a"], "size_bytes": [3, 4, 1], "hits": 0, "history_ips": ""})
    wanted = [(1, "a", 1, 0, ""), (2, "bb", None, None, None), (3, "c", 3, 0, "")]
    assert joined(graded, history).rows() == wanted
    assert joined(graded, history, lambda name: name.str.len_bytes()).rows() == wanted
    assert joined(graded, history[1:], lambda name: name.str.len_bytes())["size_bytes"].to_list() == [
        1,
        None,
        None,
    ]


def test_the_frame_is_sorted_by_rank_and_looked_up_by_name() -> None:
    snapshot = good().snapshot
    assert tuple(snapshot.frame.columns) == COLUMNS
    assert snapshot.frame["rank"].is_sorted()
    name = "MWGI3J35SGL1500001_K20180220000000.mpg"
    assert snapshot.file(name) is None
    name = "MWGI9D10SGL1000051_K20180310003057.mpg"
    assert snapshot.file(name) == File(name, 11, 3_481_000_000, 128, ("127.0.2.1",))
    assert snapshot.files([name, "none"]) == {name: snapshot.file(name)}
    assert snapshot.graded(name) == 11
    assert snapshot.graded("M33F9H43SGL1000051_K20180424133931.mpg") == 47
    assert snapshot.file("M33F9H43SGL1000051_K20180424133931.mpg") is None
    assert snapshot.graded("only-in-history_K20180101000000.mpg") is None


def test_a_torn_last_line_is_waited_for_then_dropped() -> None:
    assert "no end" in (judge(good(), None, 9_999) or "")
    assert judge(good(), None, 10_000) is None
    assert judge(pair(GRADE, HISTORY[: HISTORY.rindex(b"\n") + 1]), None, 1_000) is None


@pytest.mark.parametrize(
    ("grade", "history", "why"),
    [
        (b"", HISTORY, "the grade file is empty"),
        (GRADE, b"", "the history is empty"),
        (GRADE[GRADE.index(b"\n") + 1 :], HISTORY, "the grade file does not begin with its header"),
        (GRADE, HISTORY[HISTORY.index(b"\n") + 1 :], "the history does not begin with its header"),
        (b"filename\n", HISTORY, "the grade file has no line that counts"),
        (GRADE, b"historyheader:1\n", "the history has no line that counts"),
        (b"filename\na\n", b"historyheader:1\nb,0,0,5,\n", "no graded file has a size in the history"),
        (HISTORY, GRADE, "the grade file does not begin with its header"),
    ],
)
def test_what_never_decides(grade: bytes, history: bytes, why: str) -> None:
    assert judge(pair(grade, history), None, AGES_MS) == why


@pytest.mark.parametrize(
    ("candidate", "why"),
    [
        (made(100, 80), None),
        (made(50, 50), None),
        (made(49, 49, history=100), "less than half of the last good reading: 49 graded files, 100 before"),
        (
            made(100, 45, history=49),
            "less than half of the last good reading: 49 files in the history, 100 before",
        ),
        (made(100, 39), "less than half of the last good reading: 39 known files, 80 before"),
        (made(250, 90), "grade file and history fit together much less than before"),
        (made(200, 90), None),
        (made(1000, 1000), None),
    ],
)
def test_compared_with_the_last_good_pair(candidate: Candidate, why: str | None) -> None:
    verdict = judge(candidate, Measure(100, 100, 80), AGES_MS)
    assert verdict is None if why is None else (verdict or "").startswith(why)


def lines_of(data: bytes) -> list[int]:
    """Where a line has just ended, and where one is torn: all the cuts that can differ."""
    ends = [at + 1 for at, byte in enumerate(data) if byte == 10]
    return [cut for end in ends for cut in (end, end + 1) if cut <= len(data)]


@pytest.mark.parametrize("which", ["grade", "history"])
def test_a_cut_file_is_rejected_or_tells_the_truth_about_fewer_files(which: str) -> None:
    whole = set(good().snapshot.frame.drop("history_ips").rows())
    accepted = 0
    for cut in lines_of(GRADE if which == "grade" else HISTORY):
        candidate = pair(GRADE[:cut], HISTORY) if which == "grade" else pair(GRADE, HISTORY[:cut])
        if judge(candidate, good().measure, AGES_MS) is None:
            accepted += 1
            assert set(candidate.snapshot.frame.drop("history_ips").rows()) <= whole
            assert 2 * candidate.measure.known_files >= good().measure.known_files
    assert 60 < accepted < 100


def test_a_cut_at_any_byte_is_a_cut_after_its_last_whole_line() -> None:
    """So that the test above has seen every byte."""
    for cut in range(0, len(GRADE), 3):
        torn, whole = (
            reference.read_grade_file(GRADE[:end]) for end in (cut, GRADE.rfind(b"\n", 0, cut) + 1)
        )
        assert torn.graded == whole.graded
    history = HISTORY[: HISTORY.index(b"xxxx") + 500]
    for cut in range(0, len(history), 13):
        torn, whole = (
            reference.read_hit_history(history[:end]) for end in (cut, history.rfind(b"\n", 0, cut) + 1)
        )
        assert torn.history == whole.history


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("KBCD_K2018", ["KBCD_K20180101.mpg"]),  # a part of it
        ("kbcd", ["KBCD_K20180101.mpg"]),
        ("KBCD_K20180102.mpg", ["KBCD_K20180101.mpg"]),
        ("XBCD_K20180101.mpg", ["KBCD_K20180101.mpg"]),
        ("KBDC_K20180101.mpg", ["KBCD_K20180101.mpg"]),
        ("nothing like it", []),
        ("", []),
    ],
)
def test_near_names_are_found(written: str, meant: list[str]) -> None:
    grade = b"filename\nKBCD_K20180101.mpg\nother.avi\n"
    snapshot = pair(grade, b"historyheader:1\nother.avi,0,0,5,\n").snapshot
    assert snapshot.near(written) == meant
