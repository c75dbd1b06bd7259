"""Which confirmed deletes `/df` does not show yet: what was freed is credited once, and not for minutes."""

from __future__ import annotations

from cfm.fleet.observed import AHEAD_MS, FleetBook
from cfm.model import Addr, DiskReport, DiskUsage

HERE = Addr("127.0.2.1:8888")
HOLD_MS = 120_000


def book(used_bytes: int) -> FleetBook:
    fleet = FleetBook((), (HERE,), now_ms=0)
    df(fleet, used_bytes, 1)
    return fleet


def df(fleet: FleetBook, used_bytes: int, asked_ms: int, arriving_bytes: int = 0) -> list[int]:
    """A `/df` comes; the sizes of the deletes that are still credited."""
    usage = DiskUsage(1000, used_bytes, 1000 - used_bytes)
    fleet.measured(HERE, DiskReport(usage, arriving_bytes=arriving_bytes), asked_ms, HOLD_MS)
    return [gone.size_bytes for gone in fleet.records[HERE].gone]


def test_a_delete_is_credited_until_df_shows_it() -> None:
    fleet = book(900)
    fleet.deleted(HERE, "a", 100, 10)
    assert df(fleet, 900, 20) == [100]
    assert df(fleet, 800, 30) == []


def test_a_delete_that_df_showed_before_its_answer_came_is_not_credited() -> None:
    fleet = book(900)
    fleet.deleted(HERE, "a", 100, 10)
    assert df(fleet, 700, 15) == []  # b has gone too; its answer comes later
    fleet.deleted(HERE, "b", 100, 20)
    assert df(fleet, 700, 25) == []


def test_bytes_that_arrive_do_not_hide_a_delete() -> None:
    fleet = book(900)
    fleet.deleted(HERE, "a", 100, 10)
    assert df(fleet, 880, 20, arriving_bytes=80) == []
    fleet.landed(HERE, 150, 30)
    fleet.deleted(HERE, "c", 50, 40)
    assert df(fleet, 950, 45) == [50]


def test_what_others_freed_long_ago_explains_no_delete_of_ours() -> None:
    fleet = book(900)
    assert df(fleet, 500, 10) == []
    assert df(fleet, 500, 10 + AHEAD_MS) == []
    fleet.deleted(HERE, "a", 100, 20 + AHEAD_MS)
    assert df(fleet, 500, 30 + AHEAD_MS) == [100]


def test_a_file_open_for_a_viewer_is_credited_for_minutes_and_no_longer() -> None:
    fleet = book(900)
    fleet.deleted(HERE, "a", 100, 10)
    assert df(fleet, 900, 10 + HOLD_MS - 1) == [100]
    assert df(fleet, 900, 10 + HOLD_MS) == []
