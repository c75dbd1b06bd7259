"""Lists of one disk are hardly ever equal, as they are taken at different moments; two disks get apart."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cfm.fleet.likeness import Likeness, are_alike, likeness
from cfm.model import Known

FILES = frozenset(f"F{number:03}.mpg" for number in range(100))


def listed(at_ms: int, *gone: str, more: tuple[str, ...] = ()) -> Known[frozenset[str]]:
    return Known(FILES.difference(gone).union(more), at_ms)


def is_suspected(known: Likeness | None) -> bool:
    return known is not None and not known.apart


@given(st.lists(st.sampled_from(["come", "go"]), min_size=2, max_size=12), st.booleans())
def test_one_disk_with_a_life_of_its_own_stays_suspected(deeds: list[str], other_first: bool) -> None:
    """Between any two lists a file comes or goes, so that no two lists are ever equal."""
    disk, known, lists = set(FILES), None, [listed(0), listed(0)]
    for moment, deed in enumerate(deeds):
        if deed == "come":
            disk.add(f"N{moment}.mpg")
        else:
            disk.discard(min(disk))
        here = (moment + other_first) % 2
        lists[here] = Known(frozenset(disk), moment + 1)
        known = likeness(known, lists[here], lists[1 - here])
        assert is_suspected(known)


def test_a_name_that_stays_different_tells_two_disks_apart() -> None:
    known = likeness(None, listed(1, "F001.mpg"), listed(0))
    assert is_suspected(known)
    known = likeness(known, listed(2), listed(1, "F001.mpg"))
    assert is_suspected(known), "the other server has not been listed since"
    known = likeness(known, listed(3, "F001.mpg"), listed(2))
    assert not is_suspected(known)
    known = likeness(known, listed(4), listed(3, "F001.mpg"))
    assert not is_suspected(known), "and no new suspicion follows from the same difference"
    known = likeness(known, listed(5), listed(4))
    assert is_suspected(known), "but it does when nothing differs any more"


def test_far_apart_lists_raise_no_suspicion_and_end_one() -> None:
    other = Known(frozenset(sorted(FILES)[:60]), 0)
    assert likeness(None, listed(1), other) is None
    known = likeness(None, listed(1), listed(0))
    for at_ms in (2, 3, 4, 5):
        known = likeness(known, listed(at_ms), Known(other.value, at_ms))
    assert known is None


def test_empty_lists_are_not_alike() -> None:
    assert not are_alike(frozenset(), frozenset())
    assert not are_alike(FILES, frozenset())


def test_long_lists_are_told_by_a_sample_first() -> None:
    one = frozenset(f"A{number}" for number in range(5_000))
    other = frozenset(f"B{number}" for number in range(5_000))
    assert not are_alike(one, other)
    assert are_alike(one, one - {"A1", "A2"})
