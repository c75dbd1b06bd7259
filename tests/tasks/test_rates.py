"""Which copy is too slow to go on."""

from __future__ import annotations

from cfm.tasks.rates import FAR_BELOW, REMEMBERED_MS, RateBook

SPEED_BPS = 10_000_000


def test_far_below_the_speed_of_the_task_is_too_slow_where_nothing_else_is_known() -> None:
    rates = RateBook()
    assert rates.is_too_slow(8_000, SPEED_BPS, 0)
    assert not rates.is_too_slow(SPEED_BPS // FAR_BELOW + 1, SPEED_BPS, 0)


def test_on_a_network_that_is_slow_everywhere_nothing_is_too_slow() -> None:
    rates = RateBook()
    rates.note(9_000, 0)
    assert not rates.is_too_slow(8_000, SPEED_BPS, 0)


def test_a_speed_that_was_set_too_high_does_not_count() -> None:
    rates = RateBook()
    rates.note(SPEED_BPS, 0)
    assert not rates.is_too_slow(SPEED_BPS // 2, 1_000 * SPEED_BPS, 0)


def test_the_best_speed_is_forgotten_after_an_hour() -> None:
    rates = RateBook()
    rates.note(SPEED_BPS, 0)
    rates.note(10_000, REMEMBERED_MS)
    assert rates.best_bps(REMEMBERED_MS) == SPEED_BPS
    assert rates.best_bps(2 * REMEMBERED_MS) == 10_000
    assert rates.best_bps(4 * REMEMBERED_MS) is None


def test_without_any_speed_to_compare_with_nothing_is_too_slow() -> None:
    assert not RateBook().is_too_slow(1, 0, 0)
