"""A pause grows with each failure, and only so far."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cfm.backoff import Backoff

backoffs = st.builds(Backoff, st.integers(1, 10_000), st.integers(10_000, 2_000_000), st.integers(2, 4))


def test_a_pause_doubles_up_to_the_longest() -> None:
    backoff = Backoff(first_ms=10, longest_ms=70)
    assert [backoff.pause_ms(failures) for failures in (1, 2, 3, 4, 5)] == [10, 20, 40, 70, 70]


def test_a_pause_may_grow_by_another_factor() -> None:
    assert [Backoff(1, 100, factor=3).pause_ms(failures) for failures in (1, 2, 3)] == [1, 3, 9]


@given(backoffs, st.integers(1, 10**9))
def test_a_pause_is_within_its_bounds_and_never_shrinks(backoff: Backoff, failures: int) -> None:
    pause_ms = backoff.pause_ms(failures)
    assert backoff.first_ms <= pause_ms <= backoff.longest_ms
    assert pause_ms <= backoff.pause_ms(failures + 1)
