"""Who is to blame for a failed copy, and for how long it is left alone."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from cfm.model import Addr, Now, Pause, Side
from cfm.tasks.failures import (
    BAD_FILE_REMEMBERED_MS,
    FILE_PAUSE,
    LAST_PAUSE_MS,
    SIDE_PAUSE,
    SPARED_TIMES,
    STAYS_MS,
    VANISH_PAUSE,
    Blame,
    FailureBook,
)
from cfm.tasks.store import DropPause, PutPause

S1, S2 = Addr("127.0.1.1:1"), Addr("127.0.1.2:1")
D1, D2, D3 = Addr("127.0.2.1:1"), Addr("127.0.2.2:1"), Addr("127.0.2.3:1")
SOURCE = Side(source=S1)
PLACE = Side(destination=D1)
PAIR = Side(S1, D1)


def book(sources: tuple[Addr, ...] = (S1, S2), destinations: tuple[Addr, ...] = (D1, D2, D3)) -> FailureBook:
    return FailureBook(sources, destinations)


def at(ms: int) -> Now:
    return Now(ms, 1_700_000_000_000 + ms)


# ── who is to blame ─────────────────────────────────────────────────────────────────────────────────────


def test_one_failure_blames_no_server_and_leaves_other_ways_open() -> None:
    failures = book()
    failures.failed("a", (S1, D1), 0)
    assert not failures.pauses
    assert failures.retries["a"].failures == 1
    assert failures.retries["a"].avoid == {(S1, D1)}


def test_a_source_that_fails_for_several_files_is_to_blame_and_they_are_not() -> None:
    failures = book()
    for name, destination in (("a", D1), ("b", D2), ("c", D1)):
        failures.failed(name, (S1, destination), 0, "it answered 404")
    assert failures.pauses == {SOURCE: Pause(1, 10_000, 10_000, 0, "it answered 404")}
    assert all(retry.failures == 0 for retry in failures.retries.values())


def test_a_destination_that_fails_from_several_sources_is_to_blame() -> None:
    failures = book()
    for name, source in (("a", S1), ("b", S2), ("c", S1)):
        failures.failed(name, (source, D1), 0)
    assert set(failures.pauses) == {PLACE}


def test_where_only_one_pair_fails_the_pair_is_to_blame() -> None:
    failures = book()
    for name in "abc":
        failures.failed(name, (S1, D1), 0)
        failures.succeeded(f"{name}1", (S1, D2), 0)
        failures.succeeded(f"{name}2", (S2, D1), 0)
    assert set(failures.pauses) == {PAIR}


def test_the_only_source_of_a_node_leaves_the_destination_to_blame() -> None:
    failures = book(sources=(S1,))
    for name in "abc":
        failures.failed(name, (S1, D1), 0)
    assert set(failures.pauses) == {PLACE}


def test_the_only_destination_of_a_node_leaves_the_source_to_blame() -> None:
    failures = book(destinations=(D1,))
    for name in "abc":
        failures.failed(name, (S1, D1), 0)
    assert set(failures.pauses) == {SOURCE}


def test_two_files_are_enough_where_a_failure_took_long() -> None:
    failures = book()
    failures.failed("a", (S1, D1), 0, cost_ms=120_000)
    failures.failed("b", (S1, D2), 0, cost_ms=120_000)
    assert set(failures.pauses) == {SOURCE}


def test_a_dear_failure_blames_who_is_left_when_the_file_arrives_elsewhere() -> None:
    for arrived, guilty in (
        ((S1, D2), PLACE),
        ((S2, D1), SOURCE),
        ((S2, D2), PAIR),
    ):
        failures = book()
        failures.failed("a", (S1, D1), 0, cost_ms=120_000)
        failures.succeeded("a", arrived, 1_000)
        assert set(failures.pauses) == {guilty}


def test_a_cheap_failure_blames_nobody_when_the_file_arrives_elsewhere() -> None:
    failures = book()
    failures.failed("a", (S1, D1), 0)
    failures.succeeded("a", (S1, D2), 1_000)
    assert not failures.pauses
    assert PLACE in failures.accusers


def test_what_a_server_in_pause_explains_accuses_nobody_when_the_file_arrives() -> None:
    """A trial of a hung destination fails, and the destination is repaired, or the file goes elsewhere."""
    for arrived in ((S2, D1), (S2, D2)):
        failures = book()
        failures.failed("x", (S1, D1), 0, blame=Blame.DESTINATION, sure=True)
        failures.failed("a", (S1, D1), 10_000, cost_ms=120_000)
        failures.succeeded("a", arrived, 200_000)
        assert set(failures.pauses) <= {PLACE}


def test_a_source_whose_destinations_hang_one_after_the_other_is_cleared_and_they_are_not() -> None:
    failures = book(sources=(S1,))
    for name, destination in (("a", D1), ("a", D2), ("b", D3)):
        failures.failed(name, (S1, destination), 0, cost_ms=120_000)
    assert set(failures.pauses) == {SOURCE}
    for name in "ab":
        failures.succeeded(name, (S1, Addr("127.0.2.4:1")), 20_000)
    assert set(failures.pauses) == {Side(destination=addr) for addr in (D1, D2, D3)}


def test_a_success_in_between_clears_the_evidence() -> None:
    failures = book()
    for name, destination in (("a", D1), ("b", D2)):
        failures.failed(name, (S1, destination), 0)
    failures.succeeded("x", (S1, D3), 0)
    failures.failed("c", (S1, D1), 0)
    assert not failures.pauses


def test_a_file_that_fails_from_several_sources_at_several_places_is_to_blame_alone() -> None:
    failures = book()
    for number, way in enumerate(((S1, D1), (S2, D2), (S1, D3), (S2, D1))):
        failures.failed("bad", way, 100_000 * number)
    assert failures.retries["bad"].failures == 4
    assert not failures.pauses


def test_files_that_fail_everywhere_acquit_the_servers_that_they_accused() -> None:
    failures = book()
    for name, destination in (("a", D1), ("b", D2), ("c", D3)):
        failures.failed(name, (S1, destination), 0)
    assert set(failures.pauses) == {SOURCE}
    failures.failed("a", (S2, D2), 0)
    assert not failures.pauses, "two files are not enough evidence"
    assert failures.retries["a"].failures == 1


def test_what_says_nothing_of_the_file_is_not_charged_to_it() -> None:
    failures = book()
    failures.failed("a", (S1, D1), 0, blame=Blame.DESTINATION, sure=True)
    assert set(failures.pauses) == {PLACE}
    assert not failures.retries


def test_what_an_operator_cancels_speaks_against_no_server() -> None:
    failures = book()
    for name in "abcd":
        failures.failed(name, (S1, D1), 0, blame=Blame.FILE)
    assert not failures.pauses
    assert not failures.accusers


# ── pauses ──────────────────────────────────────────────────────────────────────────────────────────────


def blamed(now_ms: int = 0, cost_ms: int = 0) -> FailureBook:
    failures = book()
    failures.failed("a", (S1, D1), now_ms, blame=Blame.SOURCE, sure=True, cost_ms=cost_ms)
    return failures


def test_pauses_grow_with_each_trial_that_fails_and_one_success_clears_them() -> None:
    failures, now_ms = blamed(), 0
    for number in range(2, 12):
        now_ms = failures.pauses[SOURCE].until_ms
        failures.failed(f"f{number}", (S1, D2), now_ms)
        pause = failures.pauses[SOURCE]
        assert pause.failures == number
        assert pause.until_ms - now_ms == SIDE_PAUSE.pause_ms(number)
    assert pause.until_ms - now_ms == SIDE_PAUSE.longest_ms
    failures.succeeded("x", (S1, D1), now_ms)
    assert not failures.pauses


def test_a_success_that_nobody_verified_says_little_of_a_source_that_failed_elsewhere() -> None:
    """An old worker believes any size: each of its copies ended the pause of a source with other sizes."""
    failures = book()
    for name, place in (("a", D1), ("b", D2), ("c", D1)):
        failures.failed(name, (S1, place), 0)
    before = failures.pauses[SOURCE]
    failures.succeeded("x", (S1, D3), 1_000, verified=False)
    assert failures.pauses[SOURCE] == before
    failures.succeeded("x", (S1, D2), 1_000, verified=False)
    assert not failures.pauses, "it is better there than it was"
    for name, place in (("a", D1), ("b", D2), ("c", D1)):
        failures.failed(name, (S1, place), 2_000)
    failures.succeeded("x", (S1, D3), 3_000)
    assert not failures.pauses


def test_what_began_before_the_pause_does_not_make_it_longer() -> None:
    failures = blamed()
    before = failures.pauses[SOURCE]
    failures.failed("b", (S1, D1), 5_000)
    assert failures.pauses[SOURCE] == before


def test_a_trial_with_a_file_that_is_itself_bad_says_nothing_new() -> None:
    failures = book()
    for way in ((S2, D1), (S2, D2)):
        failures.failed("bad", way, 0)
    failures.failed("a", (S1, D1), 0, blame=Blame.SOURCE, sure=True)
    before = failures.pauses[SOURCE]
    failures.failed("bad", (S1, D1), before.until_ms)
    assert failures.pauses[SOURCE] == before, "the next trial may begin at once"
    failures.failed("bad", (S1, D1), before.until_ms, blame=Blame.SOURCE, sure=True)
    assert failures.pauses[SOURCE].failures == 2, "where the cause is sure, it was not the file"


def test_while_all_servers_of_a_role_are_in_pause_the_last_one_is_tried_more_often() -> None:
    """Perhaps the files are to blame: the only source rested for twenty minutes after each bad file."""
    failures, now_ms = blamed(), 0
    for number in range(12):
        failures.failed(f"f{number}", (S1, D2), now_ms := failures.pauses[SOURCE].until_ms)
    failures.failed("g", (S2, D1), now_ms, blame=Blame.SOURCE, sure=True)
    other = Side(source=S2)
    for number in range(12):
        failures.failed(f"g{number}", (S2, D2), now_ms := failures.pauses[other].until_ms)
    assert failures.pauses[other].until_ms - now_ms == LAST_PAUSE_MS
    failures.failed("h", (S1, D1), now_ms := now_ms + SIDE_PAUSE.longest_ms)
    assert failures.pauses[SOURCE].until_ms - now_ms == LAST_PAUSE_MS


def test_a_dear_failure_spares_the_server_for_many_times_as_long() -> None:
    assert blamed(cost_ms=60_000).pauses[SOURCE].spared_until_ms == 60_000 * SPARED_TIMES
    assert blamed(cost_ms=1_000).pauses[SOURCE].spared_until_ms == SIDE_PAUSE.first_ms


def test_a_restarted_server_is_tried_at_once_and_its_failures_are_not_forgotten() -> None:
    failures = blamed(cost_ms=60_000)
    failures.restarted(S1, 2_000)
    assert failures.pauses[SOURCE].ends_ms == 2_000
    failures.failed("b", (S1, D2), 3_000)
    assert failures.pauses[SOURCE].failures == 2


def test_a_restarted_server_is_tried_again_on_each_of_its_pairs() -> None:
    for addr in PAIR:
        failures = book()
        failures.failed("a", (S1, D1), 0, cost_ms=120_000)
        failures.succeeded("a", (S2, D2), 1_000)
        assert failures.pauses[PAIR].ends_ms > 2_000
        failures.restarted(addr, 2_000)
        assert failures.pauses[PAIR].ends_ms == 2_000


def test_a_source_that_is_always_busy_is_asked_less_and_less() -> None:
    failures = book()
    pauses_ms = [failures.source_is_busy(S1) for _time in range(10)]
    assert pauses_ms == sorted(pauses_ms)
    assert pauses_ms[-1] == 120_000
    failures.succeeded("a", (S1, D1), 0)
    assert failures.source_is_busy(S1) == pauses_ms[0]


@given(st.lists(st.integers(0, 10**7), max_size=30))
def test_the_pauses_of_a_file_grow_up_to_half_an_hour(gaps_ms: list[int]) -> None:
    failures, now_ms, last_ms = book(), 0, 0
    for number, gap_ms in enumerate(gaps_ms, 1):
        now_ms += gap_ms
        failures.failed("a", (S1, D1 if number % 2 else D2), now_ms)
        retry = failures.retries["a"]
        pause_ms = retry.not_before_ms - now_ms
        assert FILE_PAUSE.first_ms <= pause_ms <= FILE_PAUSE.longest_ms
        assert pause_ms >= last_ms
        assert retry.failures == number
        last_ms = pause_ms
    assert not failures.pauses


def test_what_was_not_tried_for_long_is_forgotten_and_a_bad_file_later() -> None:
    failures = blamed()
    failures.failed("a", (S2, D1), 0)
    for number in range(4):
        failures.failed("bad", (S2, D3), number)
    failures.forget_old(2 * FILE_PAUSE.longest_ms)
    assert failures.pauses
    assert "a" in failures.retries
    failures.forget_old(2 * FILE_PAUSE.longest_ms + 20_000)
    assert not failures.pauses
    assert not failures.accusers
    assert set(failures.retries) == {"bad"}
    failures.forget_old(BAD_FILE_REMEMBERED_MS + 100_000)
    assert not failures.retries


def test_the_next_moment_is_that_of_the_first_pause_that_ends() -> None:
    failures = blamed(cost_ms=60_000)
    failures.failed("a", (S2, D2), 500)
    assert failures.next_file_due_ms(500) == 10_500
    assert failures.next_side_due_ms(500) == 10_000
    assert failures.next_side_due_ms(10_000) == 60_000 * SPARED_TIMES
    assert failures.next_side_due_ms(60_000 * SPARED_TIMES) is None


# ── copies that vanish ──────────────────────────────────────────────────────────────────────────────────


@dataclass
class Losing:
    """A destination from which a second hand removes what arrives."""

    failures: FailureBook
    now_ms: int = 1_000

    def copy(self, name: str, *, stays: bool = False) -> None:
        """The file arrives; a list is asked for when it has stayed long enough, or soon."""
        self.failures.succeeded(name, (S1, D1), self.now_ms)
        self.now_ms += STAYS_MS if stays else 5_000
        names = frozenset({name}) if stays else frozenset[str]()
        self.failures.listed(D1, names, self.now_ms, self.now_ms)


def test_a_place_where_copies_vanish_is_to_blame_until_one_stays() -> None:
    there = Losing(book())
    there.copy("a")
    assert not there.failures.pauses
    there.copy("b")
    assert there.failures.pauses[PLACE].failures == 1
    for number in range(2, 6):
        there.now_ms = there.failures.pauses[PLACE].until_ms
        there.copy(f"f{number}")
        assert there.failures.pauses[PLACE].failures == number
    there.copy("x", stays=True)
    assert not there.failures.pauses


def test_where_copies_vanish_a_trial_is_rare_from_the_first_one_on() -> None:
    """Each is a whole copy in vain."""
    there = Losing(book())
    there.copy("a")
    there.copy("b")
    assert there.failures.pauses[PLACE].until_ms - there.now_ms == VANISH_PAUSE.first_ms
    there.now_ms = there.failures.pauses[PLACE].until_ms
    there.copy("c")
    assert there.failures.pauses[PLACE].until_ms - there.now_ms == 2 * VANISH_PAUSE.first_ms


def test_while_a_new_copy_must_stay_nothing_else_is_tried_there() -> None:
    there = Losing(book())
    there.copy("a")
    there.copy("b")
    there.now_ms = there.failures.pauses[PLACE].until_ms
    there.failures.succeeded("c", (S1, D1), there.now_ms)
    assert there.failures.pauses[PLACE].until_ms == there.now_ms + STAYS_MS
    assert there.failures.watched == {D1}


def test_where_the_new_copy_was_deleted_nobody_looks_for_it_for_ever() -> None:
    there = Losing(book())
    there.copy("a")
    there.copy("b")
    there.failures.succeeded("c", (S1, D1), there.now_ms)
    there.failures.ordered_away("c", D1)
    there.failures.forget_old(there.failures.pauses[PLACE].ends_ms + 2 * FILE_PAUSE.longest_ms)
    assert not there.failures.pauses
    assert not there.failures.watched


def test_a_file_does_not_go_again_to_a_place_from_which_it_vanished() -> None:
    there = Losing(book())
    there.copy("a")
    assert set(there.failures.retries["a"].vanished) == {D1}
    assert there.failures.retries["a"].failures == 0, "elsewhere it may be copied at once"
    there.failures.succeeded("a", (S1, D2), there.now_ms)
    assert set(there.failures.retries["a"].vanished) == {D1}


def test_a_file_that_vanishes_from_two_places_is_charged_itself() -> None:
    failures = book()
    for number, place in enumerate((D1, D2)):
        failures.succeeded("a", (S1, place), 1_000 * number)
        failures.listed(place, frozenset(), 1_000 * number + 500, 1_000 * number + 500)
    assert failures.retries["a"].failures == 1


def test_what_we_delete_has_not_vanished_and_an_older_list_says_nothing() -> None:
    failures = book()
    failures.succeeded("a", (S1, D1), 1_000)
    assert failures.listed(D1, frozenset(), 999, 2_000).names == ()
    failures.ordered_away("a", D1)
    assert failures.listed(D1, frozenset(), 3_000, 3_000).names == ()


# ── over a restart ──────────────────────────────────────────────────────────────────────────────────────


def test_pauses_survive_a_restart() -> None:
    failures = blamed(cost_ms=60_000)
    for number in range(4):
        failures.failed("bad", (S2, D3), number)
    rows = [one for one in failures.take_changes(at(1_000)) if isinstance(one, PutPause)]
    assert [(row.side, row.file_name) for row in rows] == [(SOURCE, ""), (Side(), "bad")]
    again = book()
    for row in rows:
        again.recover(row, at(501_000))
    assert again.pauses[SOURCE].failures == 1
    assert again.pauses[SOURCE].until_ms == 501_000
    assert abs(again.pauses[SOURCE].spared_until_ms - 60_000 * SPARED_TIMES) <= 1_000
    assert again.retries["bad"].failures == 4


def test_a_file_that_a_server_was_to_blame_for_is_not_charged_after_a_restart_either() -> None:
    failures = book()
    for number in range(3):
        failures.failed("a", (S1, D1), 100_000 * number)
    stored = [one for one in failures.take_changes(at(300_000)) if isinstance(one, PutPause)]
    assert [row.file_name for row in stored] == ["a"]
    for name, source in (("b", S1), ("c", S2)):
        failures.failed(name, (source, D1), 300_000)
    assert failures.retries["a"].failures == 0
    assert DropPause(Side(), "a") in list(failures.take_changes(at(300_000)))


def test_after_a_restart_nothing_else_is_tried_where_a_new_copy_must_stay() -> None:
    there = Losing(book())
    there.copy("a")
    there.copy("b")
    there.now_ms = there.failures.pauses[PLACE].until_ms
    list(there.failures.take_changes(at(there.now_ms)))
    there.failures.succeeded("c", (S1, D1), there.now_ms)
    again = book()
    for row in there.failures.take_changes(at(there.now_ms)):
        assert isinstance(row, PutPause)
        again.recover(row, at(there.now_ms))
    assert again.pauses[PLACE].until_ms == there.now_ms + STAYS_MS


def test_a_wall_clock_that_jumped_makes_no_pause_longer_than_the_longest() -> None:
    again = book()
    again.recover(PutPause(SOURCE, "", 1, 9_999_999_999, 9_999_999_999, 0, ""), at(1_000))
    assert again.pauses[SOURCE].until_ms <= 1_000 + SIDE_PAUSE.longest_ms


def test_nothing_is_written_where_nothing_changed_and_an_end_is_written_once() -> None:
    failures = blamed()
    assert len(list(failures.take_changes(at(0)))) == 1
    assert not list(failures.take_changes(at(0)))
    failures.succeeded("x", (S1, D1), 0)
    assert list(failures.take_changes(at(0))) == [DropPause(SOURCE, "")]
    failures.failed("once", (S2, D1), 0)
    failures.succeeded("once", (S2, D1), 0)
    assert not list(failures.take_changes(at(0))), "a short pause is not worth a row"
