"""Repeats are counted: the first few lines are written, then fewer and fewer, and none is forgotten."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cfm.log_repeats import FIRST_FEW, QUIET_MS, Repeats

SECOND_MS, DAY_MS = 1_000, 86_400_000


def written_in(repeats: Repeats[int], every_ms: int, lasting_ms: int, begin_ms: int = 0) -> list[int]:
    """The counts of the lines that were written, of one that comes regularly."""
    counts: list[int] = []
    for number, now_ms in enumerate(range(begin_ms, begin_ms + lasting_ms, every_ms)):
        left_out = repeats.admit("one", number, now_ms)
        if left_out is not None:
            counts.append(left_out)
    return counts


def test_what_lasts_for_a_day_is_some_dozen_lines() -> None:
    """Three servers that were down wrote 19,036 lines in a day."""
    for every_s in (1, 5, 60, 600):
        counts = written_in(Repeats(), every_s * SECOND_MS, DAY_MS)
        assert counts[:FIRST_FEW] == [0] * FIRST_FEW
        assert len(counts) <= 40
        assert sum(counts) + len(counts) >= DAY_MS // (every_s * SECOND_MS) * 0.95


def test_what_comes_once_an_hour_is_always_written() -> None:
    assert written_in(Repeats(), QUIET_MS, DAY_MS) == [0] * 24


def test_after_a_quiet_time_it_begins_anew() -> None:
    repeats = Repeats[int]()
    written_in(repeats, SECOND_MS, 600 * SECOND_MS)
    counts = written_in(repeats, SECOND_MS, 10 * SECOND_MS, 600 * SECOND_MS + QUIET_MS)
    assert counts[1:] == [0] * (FIRST_FEW - 1)
    assert counts[0] > 0


def test_the_last_one_is_written_when_no_more_come() -> None:
    repeats = Repeats[int]()
    for number in range(100):
        repeats.admit("one", number, number)
    assert repeats.ended(50_000) == []
    assert repeats.ended(70_000) == [(99, 94)]
    assert repeats.ended(70_000) == []
    assert repeats.rest() == []


lines = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 2_000_000)), max_size=300)


@given(lines)
def test_each_line_is_written_or_counted(lines: list[tuple[int, int]]) -> None:
    repeats = Repeats[int](most_kinds=3)
    now_ms, told = 0, 0
    for key, pause_ms in lines:
        now_ms += pause_ms
        left_out = repeats.admit(key, key, now_ms)
        told += 0 if left_out is None else 1 + left_out
        told += sum(1 + before for _line, before in repeats.ended(now_ms))
    told += sum(1 + before for _line, before in repeats.rest())
    assert told == len(lines)
