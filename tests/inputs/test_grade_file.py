"""Ranks are line positions; a bad line costs itself."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cfm.inputs.columns import is_name
from cfm.inputs.grade_file import read_grade_file
from cfm.names import is_file_name

HEADER = b"filename\tweightcount\tbitrate\n"


def ranks(data: bytes) -> dict[str, int]:
    return {name: rank for rank, name in read_grade_file([data]).frame.rows()}


def test_rank_counts_lines_that_are_not_blank_and_bad_lines_keep_their_position() -> None:
    data = HEADER + b"a\t1\t1\t9\n\n \t\r\nb\r\n.bad\t1\nc\xff\t1\nd\0\t1\n" + b"x" * 70_000 + b"\ne\n"
    reading = read_grade_file([data])
    assert reading.frame.rows() == [(1, "a"), (2, "b"), (7, "e")]
    assert reading.skipped == {"bad_name": 1, "not_text": 2, "too_long": 1}


def test_of_a_name_that_comes_twice_the_first_counts() -> None:
    reading = read_grade_file([HEADER, b"a\nb\na\n", b"b\nc\n"])
    assert reading.frame.rows() == [(1, "a"), (2, "b"), (5, "c")]
    assert reading.skipped == {"duplicate_name": 2}


def test_a_last_line_without_end_is_left_out_and_said() -> None:
    reading = read_grade_file([HEADER + b"a\nb"])
    assert reading.frame.rows() == [(1, "a")]
    assert reading.torn
    assert reading.skipped == {"torn_last_line": 1}


@pytest.mark.parametrize(
    "header", [b"filename\n", b"FileName\tx\r\n", b"\xef\xbb\xbffilename\tx\n", b"\n\nfilename\t\n"]
)
def test_headers(header: bytes) -> None:
    assert ranks(header + b"a\n") == {"a": 1}


@pytest.mark.parametrize(
    "data", [b"", b"\n", b"a\tb\n", b"filename", b"filename2\t1\na\n", b"\0\n", b"historyheader:1\na\n"]
)
def test_without_header_nothing_is_read(data: bytes) -> None:
    reading = read_grade_file([data])
    assert not reading.has_header
    assert reading.frame.is_empty()


def test_quotes_and_separators_of_other_formats_mean_nothing() -> None:
    assert ranks(HEADER + b'"a\n#b\nc,d\t"\n\xef\xbb\xbfe\n') == {'"a': 1, "#b": 2, "c,d": 3}


@given(st.text(st.characters(codec="utf-8", exclude_characters="\n\r\t\0"), max_size=260))
def test_columns_and_single_names_are_checked_by_one_law(name: str) -> None:
    assert pl.DataFrame({"name": [name]}).select(is_name("name")).item() is is_file_name(name)
