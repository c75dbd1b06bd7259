"""What a disk's readings prove, and what they do not show yet."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cfm.fleet.disk_account import (
    APART_MS,
    FIRST_DOUBTED_MS,
    FREED_LATE,
    LANDED_LATE_MS,
    Claim,
    DiskAccount,
    UnderWay,
)
from cfm.fleet.observed import FleetBook
from cfm.model import ALL_BYTES, Addr, DiskReport, DiskUsage, Known, Listing, Unknown

HERE = Addr("127.0.2.1:8888")
NOTHING = UnderWay()
MINUTE_MS = 60_000


@dataclass
class Disk:
    """The book of one destination, and the readings that come."""

    fleet: FleetBook = field(default_factory=lambda: FleetBook((), (HERE,), now_ms=0))

    @property
    def account(self) -> DiskAccount:
        return self.fleet.records[HERE].account

    def shows(
        self,
        used: int,
        at_ms: int,
        *,
        total: int = 1000,
        arriving: int = 0,
        way: UnderWay = NOTHING,
        disk: str = "",
    ) -> None:
        usage = DiskUsage(total, used, total - used)
        self.fleet.measured(HERE, DiskReport(usage, None, disk, arriving), at_ms, way, limit_percent=90)

    def settled(self, used: int) -> int:
        """Two readings agree; the time of the second."""
        self.shows(used, 1)
        self.shows(used, 1 + APART_MS)
        assert self.account.bounds is None
        return 1 + APART_MS

    def over(self, limit_percent: int = 90) -> int:
        """So many bytes are proven to be above the limit; negative: below."""
        assert isinstance(self.account.usage, Known)
        bounds, usage = self.account.bounds, self.account.usage.value
        emptiest: DiskUsage | None = usage if bounds is None else bounds.emptiest
        return -ALL_BYTES if emptiest is None else emptiest.above_bytes(limit_percent)

    def fullest(self) -> DiskUsage:
        assert isinstance(self.account.usage, Known)
        return self.account.bounds.fullest if self.account.bounds else self.account.usage.value

    @property
    def landed(self) -> list[int]:
        return [booked.size_bytes for booked in self.account.landed]

    @property
    def gone(self) -> list[int]:
        return [booked.size_bytes for booked in self.account.gone]


def disk(used: int = 900) -> Disk:
    made = Disk()
    made.settled(used)
    return made


def assert_two_readings_prove(one: Disk, *, used: int, limit_percent: int, over: int) -> None:
    """The first one alone proves no need."""
    one.shows(used, MINUTE_MS)
    assert one.over(limit_percent) <= 0
    one.shows(used, MINUTE_MS + APART_MS)
    assert one.over(limit_percent) == over


# ── what our own doing explains ─────────────────────────────────────────────────────────────────────────


def test_a_copy_that_was_shown_before_it_was_told_explains_no_second_growth() -> None:
    one = disk(700)
    one.shows(800, MINUTE_MS, way=UnderWay(before_bytes=100, coming_bytes=100))
    assert one.over() == -200, "its task still brings what is shown already"
    one.fleet.landed(HERE, "F1.mpg", 100, MINUTE_MS + 1)
    one.shows(950, MINUTE_MS + 2)
    assert one.over() == -100
    one.shows(950, MINUTE_MS + 2 + APART_MS)
    assert one.over() == 50


def test_a_delete_that_was_shown_before_it_was_told_explains_no_growth() -> None:
    one = disk(900)
    one.shows(800, MINUTE_MS, way=UnderWay(going_bytes=100))
    assert one.over() == -100
    one.fleet.deleted(HERE, "F1.mpg", 100, MINUTE_MS + 1)
    one.shows(850, MINUTE_MS + 2)
    assert one.over() == -100
    one.shows(850, MINUTE_MS + 2 + APART_MS)
    assert one.over() == -50


def test_an_unfinished_download_that_counts_as_still_to_come_proves_no_need() -> None:
    one = disk(900)
    untold = UnderWay(before_bytes=100, coming_bytes=100)
    one.shows(940, MINUTE_MS, arriving=40, way=untold)
    assert one.over() == 0
    one.shows(940, MINUTE_MS + 1, arriving=40, way=UnderWay(100, 60, told_bytes=40))
    assert one.over() == 40
    one.fleet.landed(HERE, "F1.mpg", 100, MINUTE_MS + 2)  # it is booked as a whole until the next reading
    assert one.over() == 0
    one.shows(1000, MINUTE_MS + 3)
    assert one.over() == 100


def test_an_unfinished_download_of_others_proves_a_need_as_far_as_two_readings_show_it() -> None:
    """Another cfm has begun it, so nobody here knows how large it gets, or whether it comes to its end."""
    one = disk(900)
    one.shows(940, MINUTE_MS, arriving=40)
    assert one.over() == 0
    one.shows(970, MINUTE_MS + APART_MS, arriving=70)
    assert one.over() == 40
    one.shows(900, MINUTE_MS + APART_MS + 1)
    assert one.over() == 0


# ── one reading proves nothing ──────────────────────────────────────────────────────────────────────────


def test_the_first_reading_proves_no_need_and_the_second_does() -> None:
    one = Disk()
    one.shows(950, 1)
    assert one.over() < 0
    one.shows(950, APART_MS)
    assert one.over() < 0, "too soon after the first"
    one.shows(950, 1 + APART_MS)
    assert one.over() == 50


def test_a_total_that_dips_once_proves_nothing_and_is_asked_again_soon() -> None:
    one = disk(500)
    one.shows(500, 60_000, total=520)
    assert one.over() < 0
    assert one.fullest().avail_bytes == 20, "but nothing is copied beside it"
    assert one.fleet.second_readings == {HERE: 60_000 + APART_MS}
    one.shows(500, 60_000 + APART_MS)
    assert one.over() < 0
    assert one.fullest().avail_bytes == 20, "that the disk is large again is not proven either"
    one.shows(500, 60_000 + 2 * APART_MS)
    assert one.account.bounds is None
    assert not one.fleet.second_readings


def test_a_total_that_dips_again_and_again_proves_nothing() -> None:
    one = disk(500)
    for minute in range(1, 600):
        one.shows(500, minute * MINUTE_MS, total=1000 if minute % 2 else 520)
        assert one.over() < 0


def test_a_disk_that_is_really_over_its_limit_is_seen_within_seconds() -> None:
    one = disk(500)
    one.shows(950, 60_000)
    one.shows(960, 60_000 + APART_MS)
    assert one.over() == 50, "so much both readings show"
    one.shows(960, 60_000 + 2 * APART_MS)
    assert one.over() == 60


def test_a_need_that_shrinks_is_believed_at_once() -> None:
    one = disk(980)
    one.shows(920, 60_000)
    assert one.over() == 20


def test_room_that_nobody_made_is_believed_when_it_is_seen_twice() -> None:
    one = disk(800)
    one.shows(100, 60_000, total=9000)
    assert one.fullest() == DiskUsage(9000, 800, 200)
    one.shows(100, 60_000 + APART_MS, total=9000)
    assert one.fullest() == DiskUsage(9000, 100, 8900)


def test_room_that_our_deletes_made_is_believed_at_once() -> None:
    one = disk(900)
    one.fleet.deleted(HERE, "a", 100, 60_000)
    one.shows(800, 60_001)
    assert one.account.bounds is None


def test_what_our_copies_brought_is_proven_at_once() -> None:
    one = disk(880)
    one.fleet.landed(HERE, "a", 40, 60_000)
    one.shows(920, 60_001)
    assert one.over() == 20


def test_another_disk_is_measured_from_the_beginning() -> None:
    one = disk(100)
    one.shows(100, 60_000, disk="one-disk-id")
    one.shows(950, 70_000, disk="another-disk-id")
    assert one.over() < 0
    assert one.fullest().used_bytes == 950
    one.shows(950, 70_000 + APART_MS, disk="another-disk-id")
    assert one.over() == 50


def test_second_readings_of_a_disk_that_never_agrees_are_asked_for_less_and_less() -> None:
    one = disk(950)
    asked, at_ms = 0, 60_000
    for used in range(951, 1000):
        one.shows(used, at_ms)
        due_ms = one.fleet.second_readings.get(HERE)
        if due_ms is None:
            break
        asked, at_ms = asked + 1, due_ms
    assert at_ms > 40 * MINUTE_MS


@given(st.lists(st.tuples(st.integers(0, 1000), st.integers(1, 3 * APART_MS)), min_size=1, max_size=30))
def test_a_claim_never_exceeds_what_two_readings_some_time_apart_show(shown: list[tuple[int, int]]) -> None:
    claim, at_ms, seen = Claim(), 0, list[tuple[int, int]]()
    for figure, later_ms in shown:
        at_ms += later_ms
        seen.append((at_ms, figure))
        claim.show(figure, at_ms)
        assert claim.value is None or claim.value <= figure
        pairs = [
            min(value for time, value in seen if begin <= time <= end)
            for begin, _one in seen
            for end, _other in seen
            if end - begin >= APART_MS
        ]
        assert claim.value is None or claim.value <= max(pairs)


# ── what was deleted, and is not shown ──────────────────────────────────────────────────────────────────


def test_a_delete_is_credited_until_df_shows_it() -> None:
    one = disk(900)
    one.fleet.deleted(HERE, "a", 100, 60_000)
    one.shows(900, 60_010)
    assert one.gone == [100]
    one.shows(800, 60_020)
    assert one.gone == []


def test_a_delete_that_df_showed_before_its_answer_came_is_not_credited() -> None:
    one = disk(900)
    one.fleet.deleted(HERE, "a", 100, 60_000)
    one.shows(700, 60_010, way=UnderWay(going_bytes=100))  # b has gone too; its answer comes later
    assert one.gone == []
    one.fleet.deleted(HERE, "b", 100, 60_020)
    one.shows(700, 60_030)
    assert one.gone == []


def test_bytes_that_arrive_do_not_hide_a_delete() -> None:
    one = disk(900)
    one.fleet.deleted(HERE, "a", 100, 60_000)
    one.shows(880, 60_010, arriving=80)
    assert one.gone == []
    one.fleet.landed(HERE, "b", 150, 60_020)
    one.fleet.deleted(HERE, "c", 50, 60_030)
    one.shows(950, 60_040)
    assert one.gone == [50]


def test_what_others_freed_explains_no_delete_of_ours() -> None:
    one = disk(900)
    one.shows(500, 60_000)
    one.fleet.deleted(HERE, "a", 100, 60_010)
    one.shows(500, 60_020)
    assert one.gone == [100]


def test_a_delete_that_frees_nothing_is_waited_for_longer_each_time() -> None:
    one, at_ms = disk(1000), 60_000
    for late in range(1, 5):
        one.fleet.deleted(HERE, f"f{late}", 100, at_ms)
        one.shows(1000, at_ms + FREED_LATE.pause_ms(late) - 1)
        assert one.gone == [100]
        one.shows(1000, at_ms + FREED_LATE.pause_ms(late))
        assert one.gone == []
        assert one.account.frees_late
        assert one.account.given_up_bytes == 100 * late
        at_ms += FREED_LATE.pause_ms(late) + 1
    one.fleet.deleted(HERE, "last", 100, at_ms)
    one.shows(900, at_ms + 1)
    assert not one.account.frees_late, "one that frees its bytes ends the pauses"


def test_a_file_frees_all_its_bytes_or_none() -> None:
    one = disk(900)
    one.fleet.deleted(HERE, "large", 300, 60_000)
    one.fleet.deleted(HERE, "small", 50, 60_000)
    one.shows(650, 60_010)  # others wrote 100 bytes meanwhile; `small` may be open
    assert one.gone == [50]


# ── what landed, and is not shown ───────────────────────────────────────────────────────────────────────


def test_landed_bytes_count_until_a_later_df_shows_them() -> None:
    one = disk(100)
    one.fleet.landed(HERE, "a", 40, 60_000)
    one.shows(100, 59_000)
    assert one.landed == [40], "it was asked for before"
    one.shows(100, 60_010)
    assert one.landed == [40], "it does not show it"
    one.shows(140, 60_020)
    assert one.landed == []


def test_what_lands_while_df_stands_still_counts_for_hours() -> None:
    one = disk(100)
    for number in range(1, 40):
        one.fleet.landed(HERE, f"f{number}", 10, number * 20 * MINUTE_MS)
        one.shows(100, number * 20 * MINUTE_MS + 1)
        assert sum(one.landed) == 10 * number
    one.shows(490, 800 * MINUTE_MS)
    assert one.landed == []


def test_a_copy_and_a_delete_of_nearly_one_size_make_up_for_each_other() -> None:
    one = disk(700)
    one.fleet.landed(HERE, "a", 130, 60_000)
    one.fleet.deleted(HERE, "b", 129, 60_001)
    one.shows(700, 61_000)
    assert (one.landed, one.gone) == ([], [])


def test_a_df_that_lags_shows_the_first_copies_first() -> None:
    one = disk(100)
    for number, size in enumerate((30, 40, 50)):
        one.fleet.landed(HERE, str(number), size, 60_000 + number)
    one.shows(130, 70_000)
    assert one.landed == [40, 50]


def test_a_copy_that_came_while_as_much_was_removed_does_not_count_for_ever() -> None:
    one = disk(100)
    one.fleet.landed(HERE, "a", 40, 60_000)
    one.shows(100, 60_010)
    assert one.landed == [40], "as where `/df` stands still"
    one.shows(90, 70_000)
    assert one.landed == [], "a disk that moves would have shown it"


def test_a_copy_that_came_while_more_was_removed_is_shown() -> None:
    one = disk(500)
    one.fleet.landed(HERE, "a", 40, 60_000)
    one.shows(350, 60_010)
    assert one.landed == []


def test_where_df_moves_a_little_a_copy_is_not_expected_for_ever() -> None:
    one = Disk()
    one.shows(10_000, 1, total=20_000)
    one.fleet.landed(HERE, "a", 640, 60_000)
    for used, at_ms in ((10_001, 60_010), (10_002, 70_000), (10_003, 80_000)):
        one.shows(used, at_ms, total=20_000)
        assert one.landed == [640]
    one.shows(10_003, 60_000 + LANDED_LATE_MS, total=20_000)
    assert one.landed == []


def test_copies_that_were_under_way_before_the_first_reading_are_not_booked_twice() -> None:
    one = Disk()
    one.shows(140, 1, way=UnderWay(40, 40))
    one.fleet.landed(HERE, "a", 40, 10)
    one.shows(141, 20)
    assert one.landed == []


@pytest.mark.parametrize(("disk_id", "doubted_ms"), [("", LANDED_LATE_MS), ("ours", FIRST_DOUBTED_MS)])
def test_what_the_first_reading_may_show_counts_for_copies_for_a_while(disk_id: str, doubted_ms: int) -> None:
    """A `/df` may have stood still since before the copy began: a further copy would pass the limit.  But to
    wait for ever would be to use a full disk no more: nothing moves there until room is made."""
    one = Disk()
    one.shows(140, 1, way=UnderWay(40, 40), disk=disk_id)
    one.fleet.landed(HERE, "a", 40, 10)
    for at_ms in (20, doubted_ms // 2, doubted_ms + 9):
        one.shows(140, at_ms, disk=disk_id)
        assert one.fullest().used_bytes == 180
        assert one.over(70) <= 0
    one.shows(140, doubted_ms + 10, disk=disk_id)
    assert one.fullest().used_bytes == 140
    assert one.landed == []


def test_what_the_first_reading_may_show_is_shown_by_one_that_differs() -> None:
    one = Disk()
    one.shows(140, 1, way=UnderWay(40, 40))
    one.fleet.landed(HERE, "a", 40, 10)
    one.shows(140, 20)
    one.shows(100, 30)
    assert one.landed == []


@pytest.mark.parametrize("way", [UnderWay(40, 40), NOTHING])
def test_what_the_first_reading_may_show_is_not_waited_for_in_the_place_of_the_next_copy(
    way: UnderWay,
) -> None:
    """One copy too many was waited for, and no room was made on a full disk.

    It may be told before the first answer comes: then nothing is under way any more.
    """
    one = Disk()
    one.shows(140, 1, way=way)
    one.fleet.landed(HERE, "told later", 40, 10)
    one.shows(140, 20)
    one.fleet.landed(HERE, "next", 40, 30)
    one.shows(180, 40)
    assert one.landed == []
    assert one.fullest().used_bytes == 180


def test_what_we_do_there_is_soon_read_again() -> None:
    """The pause grew while copies came and went, and the last doubt of a busy disk waited for a minute."""
    one = disk(700)
    one.fleet.listed(HERE, Listing(frozenset({"old"})), 2)
    for at_ms in (MINUTE_MS, 2 * MINUTE_MS, 3 * MINUTE_MS, 4 * MINUTE_MS):
        one.shows(700 + at_ms // 1_000, at_ms)
    assert one.fleet.second_readings[HERE] > at_ms + APART_MS
    one.fleet.copy_ended(HERE, "a", 40, at_ms + 1)
    one.shows(960, at_ms + 2)
    assert one.fleet.second_readings[HERE] == at_ms + 2 + APART_MS


def test_what_came_before_the_first_reading_explains_no_growth_after_it() -> None:
    """The first reading may show it already.  Then others have grown, and one reading does not prove that."""
    one = Disk()
    one.fleet.landed(HERE, "before", 40, 5)
    one.shows(680, 10, way=UnderWay(40, 40))
    one.fleet.landed(HERE, "told later", 40, 20)
    one.shows(680, 10 + APART_MS)
    assert_two_readings_prove(one, used=720, limit_percent=70, over=20)


def test_what_a_moving_df_has_not_shown_explains_no_growth_later() -> None:
    """Others removed as much as a copy brought, so no reading shows it.  Later they grow as much again."""
    one = disk(700)
    one.shows(680, 8_000)
    one.fleet.landed(HERE, "a", 40, 10_000)
    one.shows(680, 20_000)
    one.fleet.deleted(HERE, "b", 30, 25_000)
    one.shows(650, 30_000)
    assert (one.landed, one.gone) == ([40], [])
    assert_two_readings_prove(one, used=690, limit_percent=68, over=10)


def test_a_copy_that_df_showed_before_it_was_reported_is_not_booked() -> None:
    """An old worker tells nothing of its unfinished downloads; ours tells that it is done a moment later."""
    one = disk(100)
    for used, at_ms in ((110, 60_000), (130, 61_000), (140, 62_000)):
        one.shows(used, at_ms, way=UnderWay(40, 40))
    one.fleet.landed(HERE, "a", 40, 62_500)
    one.shows(140, 63_000)
    assert one.landed == []
    assert one.fullest().used_bytes == 140


def test_what_a_list_does_not_show_has_not_landed() -> None:
    one = disk(100)
    one.fleet.landed(HERE, "a", 40, 60_000)
    one.fleet.listed(HERE, Listing(frozenset()), 59_000)
    assert one.landed == [40]
    one.fleet.listed(HERE, Listing(frozenset()), 61_000)
    assert one.landed == []


def test_what_a_list_does_not_show_may_use_room_until_the_next_reading() -> None:
    """An old worker calls a failed copy done, and what came of it lies on the disk all the same."""
    one = disk(100)
    one.fleet.landed(HERE, "a", 40, 60_000)
    one.fleet.listed(HERE, Listing(frozenset()), 60_000)
    assert [booked.size_bytes for booked in one.account.booked] == [40]
    one.shows(140, 60_010)
    assert not one.account.booked


def test_a_copy_that_shows_before_it_was_told_proves_no_need_twice() -> None:
    """Its bytes still count as coming, so they may not count as used as well."""
    one, coming = disk(500), UnderWay(coming_bytes=40)
    one.shows(540, 60_000, way=coming)
    one.shows(540, 60_000 + APART_MS, way=coming)
    assert one.over() == 500 - 900
    one.fleet.landed(HERE, "a", 40, 66_000)
    assert one.over() + sum(booked.size_bytes for booked in one.account.booked) == 540 - 900
    one.shows(540, 67_000)
    assert one.over() == 540 - 900


def test_a_copy_that_failed_counts_until_the_next_reading() -> None:
    one = disk(100)
    one.fleet.copy_ended(HERE, "a", 40, 60_000)
    assert [booked.size_bytes for booked in one.account.booked] == [40]
    one.shows(100, 60_010)
    assert not one.account.booked


def test_what_landed_and_what_went_between_two_readings_make_up_for_each_other() -> None:
    one = disk(500)
    one.fleet.landed(HERE, "a", 40, 60_000)
    one.fleet.deleted(HERE, "b", 40, 60_000)
    one.shows(500, 60_010)
    assert (one.landed, one.gone) == ([], [])


def test_a_disk_that_answers_again_keeps_its_account() -> None:
    one = disk(100)
    one.fleet.landed(HERE, "a", 40, 60_000)
    one.fleet.disk_lost(HERE, "down", 61_000)
    assert isinstance(one.account.usage, Unknown)
    assert one.account.bounds is None
    one.shows(140, 62_000)
    assert one.landed == []


ACTS = st.lists(
    st.tuples(st.sampled_from(["lands", "goes", "is measured"]), st.integers(1, 100)), max_size=40
)


@given(ACTS)
def test_a_truthful_df_leaves_nothing_booked(acts: list[tuple[str, int]]) -> None:
    one, used, at_ms = disk(500), 500, 60_000
    for number, (act, size) in enumerate(acts):
        at_ms += 1
        if act == "lands" and used + size <= 1000:
            used += size
            one.fleet.landed(HERE, str(number), size, at_ms)
        elif act == "goes" and used >= size:
            used -= size
            one.fleet.deleted(HERE, str(number), size, at_ms)
        else:
            one.shows(used, at_ms)
            assert (one.landed, one.gone) == ([], [])
            assert one.over() <= used - 900


@given(ACTS)
def test_a_df_that_stands_still_never_hides_what_landed(acts: list[tuple[str, int]]) -> None:
    one, used, at_ms = disk(500), 500, 60_000
    for number, (act, size) in enumerate(acts):
        at_ms += 20 * MINUTE_MS
        if act == "lands":
            used += size
            one.fleet.landed(HERE, str(number), size, at_ms)
        one.shows(500, at_ms)
        assert 500 + sum(one.landed) >= used - used // 8
