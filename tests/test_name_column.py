"""A column of names is a frozen set of names: whatever Python's own set says, it says, for any names."""

from __future__ import annotations

import time
import tracemalloc

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cfm.name_column import (
    PLAIN_NAMES,
    NameColumn,
    NameColumnBuilder,
    Sought,
    among,
    common,
    key_of,
    keys_in,
    keys_of,
    unusual_lines,
)
from cfm.names import is_file_name

WORDS = [
    "a",
    "A",
    "a.mpg",
    "12345678",
    "123456789",
    "1234567",
    "é" * 20,
    "x" * 255,
    " ",
    "a ",
    "%41",
    "\U0001f600",
]
NAMES = st.one_of(st.sampled_from(WORDS), st.text(min_size=1, max_size=30).filter(is_file_name))
SETS = st.frozensets(NAMES, max_size=12)


def column(names: frozenset[str], change: frozenset[str]) -> NameColumn:
    """The names as a column to which some of them came, and from which others went."""
    made = (NameColumn.of_names((names - change) | (change - names)) | (change & names)) - (change - names)
    assert isinstance(made, NameColumn)
    return made


@given(SETS, SETS, SETS, SETS)
def test_a_column_says_what_a_set_says(
    one: frozenset[str], other: frozenset[str], change: frozenset[str], more: frozenset[str]
) -> None:
    first, second = column(one, change), column(other, more)
    assert (len(first), set(first), bool(first)) == (len(one), set(one), bool(one))
    assert first == one
    assert one == first
    assert (first == second) == (one == other)
    assert (first != other) == (one != other)
    for there in (second, other):
        assert set(first | there) == one | other
        assert set(first - there) == one - other
        assert set(first & there) == one & other
        assert set(first ^ there) == one ^ other
        assert first.isdisjoint(there) == one.isdisjoint(other)
        assert (first <= there) == (one <= other)
        assert common(first, there) == len(one & other)
    assert set(one | second) == one | other
    assert set(one - second) == one - other
    assert set(one & second) == one & other
    assert set(one ^ second) == one ^ other
    assert {name for name in one | other | change if name in first} == one
    assert among(one | other | change, first) == one


@given(SETS, SETS, SETS)
def test_what_is_left_of_several_operations_can_be_read(
    one: frozenset[str], other: frozenset[str], third: frozenset[str]
) -> None:
    first, second, last = map(NameColumn.of_names, (one, other, third))
    assert set(((first | second) - last) | third) == ((one | other) - third) | third
    assert set((first ^ second) & (last | second)) == (one ^ other) & (third | other)
    assert set((first | second) - (second - last)) == (one | other) - (other - third)


@given(SETS, SETS)
def test_what_is_new_on_a_list_is_read_also_when_the_list_is_packed(
    before: frozenset[str], now: frozenset[str]
) -> None:
    text = "".join(f"{name}\n" for name in now).encode()
    for packed in (False, True):
        old, new = NameColumn.of_names(before), NameColumn.of_lines(text, NameColumn.of_names(before))
        if packed:
            old.pack()
            new.pack()
        assert set(new - old) == now - before
        assert set(new) == now


@given(st.lists(NAMES, max_size=40))
def test_a_text_of_lines_has_the_keys_of_its_names(names: list[str]) -> None:
    text = "".join(f"{name}\n" for name in names).encode()
    assert keys_in(text).tolist() == [key_of(name) for name in names] == keys_of(names).tolist()


@given(st.lists(st.text(max_size=300), max_size=5))
def test_many_names_have_the_keys_of_each(odd: list[str]) -> None:
    names = [*map(str, range(100)), *odd]
    assert keys_of(names).tolist() == [key_of(name) for name in names]


def test_no_copy_is_made_of_a_whole_text() -> None:
    """Nobody else runs while bytes are copied.  With three million names on the SAN that was for 0.7 s."""
    text = bytearray(b"".join(b"%0250d\n" % number for number in range(80_000)))
    tracemalloc.start()
    keys_in(text)
    _now_bytes, most_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most_bytes < 1.5 * len(text)


@given(st.lists(st.binary(max_size=300).map(lambda line: line.replace(b"\n", b"")), max_size=20))
def test_only_unusual_lines_can_be_no_names(lines: list[bytes]) -> None:
    unusual = set(unusual_lines(b"".join(line + b"\n" for line in lines)))
    assert unusual <= set(lines)
    for line in set(lines) - unusual:
        assert is_file_name(line.decode("ascii"))


def test_names_that_come_one_by_one_become_a_column_when_they_are_many() -> None:
    builder = NameColumnBuilder()
    names = [f"M{number}.mpg" for number in range(2 * PLAIN_NAMES + 7)]
    for name in names:
        builder.add(name)
    many = builder.finished()
    assert isinstance(many, NameColumn)
    assert set(many & frozenset(names[:3])) == set(names[:3])
    assert many == frozenset(names)
    builder = NameColumnBuilder()
    builder.add("one")
    assert builder.finished() == frozenset({"one"})


def test_two_large_sets_that_differ_much_are_told_apart_by_a_sample() -> None:
    one, alike, other = (
        NameColumn.of_names(f"M{number}.mpg" for number in range(start, start + 5000))
        for start in (0, 50, 4000)
    )
    assert one.may_be_like(alike, 75)
    assert not one.may_be_like(other, 75)


@given(SETS, SETS, SETS)
def test_names_are_found_whether_they_are_more_or_fewer_than_the_list(
    wanted: frozenset[str], there: frozenset[str], change: frozenset[str]
) -> None:
    sought = Sought(wanted)
    for names in (column(there, change), there, column(wanted | there, change), NameColumn.of_names(())):
        assert sorted(sought.among(names)) == sorted(wanted & frozenset(names))


def test_a_union_is_a_merge() -> None:
    """numpy's own took sixty times as long as to sort the keys of both, and nobody else ran meanwhile."""
    some, others = (NameColumn.of_names(f"{kind}{number}" for number in range(30_000)) for kind in "ab")
    began_s = time.thread_time()
    np.sort(np.concatenate([some.keys, others.keys]))
    sorted_s = time.thread_time()
    assert len((some | others).keys) == 60_000
    assert time.thread_time() - sorted_s < 10 * (sorted_s - began_s)


def test_the_first_names_of_many_are_read_at_once() -> None:
    """Each old worker's list is compared with a source folder like this, on the event loop.

    With a million names it was held for 0.1 s each time.
    """
    column = NameColumn.of_names(f"a{number}" for number in range(100_000))
    column.index()
    began_s = time.thread_time()
    first = next(iter(column))
    first_s = time.thread_time() - began_s
    assert first == next(iter(list(column)))
    assert first_s < 0.02 * (time.thread_time() - began_s)
