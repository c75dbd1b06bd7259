"""The plain ideal, held against brute force; and which exchanges would make a placement better."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from cfm.model import File
from cfm_lab.sim.placement import (
    Stock,
    bytes_of,
    exact_ideal,
    exchanges,
    greedy_ideal,
    hits_of,
    ideal,
    wanted_order,
    worth,
)


def _files(sizes: Sequence[int]) -> list[File]:
    """Files of these sizes, best rank first; each has more hits than the next."""
    count = len(sizes)
    return [File(f"F{i}.mpg", i, size, hits=count + 1 - i) for i, size in enumerate(sizes, start=1)]


few_files = st.lists(st.integers(1, 9), max_size=6).map(_files)
few_rooms = st.lists(st.integers(0, 14), min_size=1, max_size=3)
many_files = st.lists(st.integers(1, 9), max_size=40).map(_files)


def _all_placements(files: Sequence[File], rooms: Sequence[int]) -> list[list[File]]:
    """Every set of files that the rooms can hold, by trying each file in each room and in none."""
    found = []
    for chosen in product(range(len(rooms) + 1), repeat=len(files)):
        held = [
            bytes_of(f for f, at in zip(files, chosen, strict=True) if at == i) for i in range(len(rooms))
        ]
        if all(used <= room for used, room in zip(held, rooms, strict=True)):
            found.append([f for f, at in zip(files, chosen, strict=True) if at < len(rooms)])
    return found


def _most_hits(files: Sequence[File], rooms: Sequence[int]) -> Fraction:
    """An upper bound: all disks are one, the best hits for each byte come first, and the last file is cut."""
    left, hits = sum(rooms), Fraction(0)
    for file in sorted(files, key=lambda file: Fraction(-file.hits, file.size_bytes)):
        part_bytes = min(left, file.size_bytes)
        hits += Fraction(file.hits * part_bytes, file.size_bytes)
        left -= part_bytes
    return hits


@given(few_files, few_rooms)
def test_the_exact_ideal_is_the_first_of_all_placements_by_rank(files: list[File], rooms: list[int]) -> None:
    """Of two placements, that one is better which has the best file that only one of them has."""
    best = max(_all_placements(files, rooms), key=lambda placed: [file in placed for file in files])
    assert exact_ideal(files, rooms) == best == ideal(files, rooms)


@given(few_files, few_rooms)
def test_the_greedy_ideal_can_be_placed_and_leaves_no_room_unused(
    files: list[File], rooms: list[int]
) -> None:
    placed = greedy_ideal(files, rooms)
    possible = _all_placements(files, rooms)
    assert placed in possible
    exact = exact_ideal(files, rooms)
    assert [file in placed for file in files] <= [file in exact for file in files]
    if len(rooms) == 1:
        assert placed == exact
    smallest = min((file.size_bytes for file in files if file not in placed), default=None)
    if smallest is not None:
        assert sum(rooms) - bytes_of(placed) < smallest * len(rooms)


@given(few_files, few_rooms, st.data())
def test_the_greedy_ideal_is_by_rank_no_worse_than_what_is_there(
    files: list[File], rooms: list[int], data: st.DataObject
) -> None:
    free, there = list(rooms), dict[str, int]()
    for file in data.draw(st.permutations(files)):
        at = data.draw(st.integers(0, len(rooms) - 1))
        if file.size_bytes <= free[at]:
            free[at], there[file.name] = free[at] - file.size_bytes, at
    placed = greedy_ideal(files, rooms, there)
    assert placed in _all_placements(files, rooms)
    assert [file in placed for file in files] >= [file.name in there for file in files]


def test_a_large_file_is_worth_as_much_as_the_two_worse_ones_that_would_fit_instead() -> None:
    """By the most free disk alone it is nowhere, and what is there counted as less than the ideal."""
    files, rooms = _files([1, 4, 3, 3]), [4, 3, 0, 0]
    there = {"F1.mpg": 1, "F2.mpg": 0}
    assert [file.rank for file in greedy_ideal(files, rooms)] == [1, 3, 4]
    assert [file.rank for file in greedy_ideal(files, rooms, there)] == [1, 2]
    assert worth(there.keys(), files, rooms, there) == 1
    assert worth({"F1.mpg", "F4.mpg"}, files, rooms, {"F1.mpg": 1, "F4.mpg": 0}) < 1


@given(many_files, st.lists(st.integers(0, 40), min_size=4, max_size=6))
def test_no_ideal_has_more_hits_than_the_bound(files: list[File], rooms: list[int]) -> None:
    assert hits_of(ideal(files, rooms)) <= _most_hits(files, rooms)


@given(many_files, st.lists(st.integers(0, 40), min_size=4, max_size=6), st.data())
def test_worth_is_a_share_of_the_ideal(files: list[File], rooms: list[int], data: st.DataObject) -> None:
    best = ideal(files, rooms)
    left = data.draw(st.sets(st.sampled_from([file.name for file in best]))) if best else set()
    placed = {file.name for file in best} - left
    assert worth({file.name for file in best}, files, rooms, {}) == 1
    assert (worth(placed, files, rooms, {}) < 1) == bool(left)


@given(st.permutations(_files([3, 1, 4, 1, 5])))
def test_the_wanted_order_is_by_rank(files: list[File]) -> None:
    assert [file.rank for file in wanted_order(files)] == [1, 2, 3, 4, 5]


# ── exchanges ───────────────────────────────────────────────────────────────────────────────────────────


def _exchanges(absent: Sequence[File], *stocks: Stock) -> list[tuple[str, str, tuple[str, ...]]]:
    found = exchanges(absent, stocks, margin_percent=10, worth_percent=50)
    return [(one.file.name, one.label, tuple(file.name for file in one.goers)) for one in found]


BEST = File("BEST.mpg", 1, 300, hits=1_000)
WORSE = [File(f"W{rank}.mpg", rank, 100, hits=1_000 // rank) for rank in (40, 50, 60, 70)]


def test_a_file_that_fits_is_an_exchange_for_nothing() -> None:
    assert _exchanges([BEST], Stock("a", 299, ()), Stock("b", 300, ())) == [("BEST.mpg", "b", ())]


def test_the_worst_files_of_one_disk_make_room_and_no_more_of_them_than_it_takes() -> None:
    assert _exchanges([BEST], Stock("a", 100, tuple(WORSE))) == [("BEST.mpg", "a", ("W70.mpg", "W60.mpg"))]
    assert _exchanges([BEST], Stock("a", -1, tuple(WORSE))) == [
        ("BEST.mpg", "a", ("W70.mpg", "W60.mpg", "W50.mpg", "W40.mpg"))
    ]


def test_files_of_two_disks_make_no_room_together() -> None:
    halves = Stock("a", 0, tuple(WORSE[:2])), Stock("b", 0, tuple(WORSE[2:]))
    assert _exchanges([BEST], *halves) == []


def test_a_file_that_is_hardly_better_is_no_exchange() -> None:
    better = File("B.mpg", 50, 100, hits=20)
    assert _exchanges([better], Stock("a", 0, (File("W.mpg", 55, 100, hits=1),))) == []
    assert _exchanges([better], Stock("a", 0, (File("W.mpg", 56, 100, hits=1),))) != []


def test_two_files_for_one_that_is_little_better_are_a_loss() -> None:
    better = File("B.mpg", 50, 200, hits=20)
    pair = tuple(File(f"W{rank}.mpg", rank, 100, hits=16) for rank in (60, 61))
    assert _exchanges([better], Stock("a", 0, pair)) == []
