"""What goes is worth clearly less than what comes, and how far what may go reaches is answered exactly."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from cfm.model import File, Hits
from cfm.plan.worth import Goers, pays
from plan.worlds import NEW, world

GB = 10**9


def file(rank: int, size_bytes: int = GB, hits: int = 0) -> File:
    return File(f"F{rank}.mpg", rank, size_bytes, hits)


def test_two_files_do_not_go_for_one_that_is_little_better() -> None:
    view = world()
    assert not pays(view, file(1, 3 * GB), [file(2, 3 * GB), file(3)])
    assert not pays(view, file(100, 3 * GB), [file(111, 3 * GB), file(112)])
    assert pays(view, file(100, 3 * GB), [file(900, 3 * GB), file(901)])


def test_one_file_alone_is_weighed_by_the_margin_of_ranks_only() -> None:
    assert pays(world(), file(100), [file(111)])


def test_hits_speak_for_a_file_as_well_as_ranks() -> None:
    assert pays(world(), file(100, hits=1000), [file(120, hits=10), file(121, hits=10)])
    assert not pays(world(), file(100, hits=30), [file(120, hits=10), file(121, hits=10)])


def test_a_rising_file_is_worth_more_than_any() -> None:
    rising = world(hits=Hits({NEW.name: 9}))
    assert pays(rising, NEW, [file(2), file(3)])


wanted = st.builds(lambda rank, hits: File("W.mpg", rank, 1, hits), st.integers(1, 300), st.integers(0, 50))
goers = st.lists(
    st.builds(file, st.integers(1, 300), st.integers(1, 40), st.integers(0, 50)),
    max_size=8,
    unique_by=lambda one: one.rank,
)


@given(wanted, goers, st.booleans())
def test_what_may_go_reaches_as_far_as_its_first_files_pay(
    better: File, files: list[File], rising: bool
) -> None:
    view = world(hits=Hits({better.name: 9} if rising else {}))
    files.sort(key=lambda one: -one.rank)
    worse = [one for one in files if view.outranks(better, one)]
    firsts = [worse[:number] for number in range(len(worse) + 1)]
    paying = [sum(one.size_bytes for one in some) for some in firsts if pays(view, better, some)]
    alone = [one.size_bytes for one in worse]
    assert Goers(files).most_bytes(view, better) == max(paying + alone)
    assert Goers(files).worse(view, better) == len(worse)


def test_ranks_of_nothing_are_no_trouble() -> None:
    assert Goers([]).most_bytes(world(), replace(NEW, rank=1)) == 0
