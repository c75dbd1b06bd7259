"""Lists and disks: what was observed, what happened since, and who seems to be the same disk."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from cfm.fleet.disk_account import SIZE_SETTLED_MS
from cfm.fleet.observed import FORGOTTEN_MS, HALVED_AGAIN_MS, FleetBook
from cfm.fleet.record import BY_COPY, BY_DF, BY_LIST, Question
from cfm.model import Addr, DiskReport, DiskUsage, Known, Listing, Unknown, WorkerFeatures
from cfm.name_column import NameColumn

SOURCE, ONE, TWO = Addr("127.0.1.1:8888"), Addr("127.0.2.1:8888"), Addr("127.0.2.2:8888")


def fleet() -> FleetBook:
    return FleetBook([SOURCE], [ONE, TWO], now_ms=0)


def names(*values: str) -> Listing:
    return Listing(frozenset(values))


def df(used: int, total: int = 1000, arriving: int = 0) -> DiskReport:
    return DiskReport(DiskUsage(total, used, total - used), arriving_bytes=arriving)


def ours(book: FleetBook, addr: Addr, disk_id: str = "") -> None:
    book.introduced(addr, WorkerFeatures(ours=True, disk_id=disk_id))


# ── lists ───────────────────────────────────────────────────────────────────────────────────────────────


def test_what_did_not_answer_is_unknown_and_holds_nothing() -> None:
    book = fleet()
    book.listed(ONE, names("A", "B"), 10)
    assert book.holders["A"] == {ONE}
    book.lost(ONE, "refused", 20)
    assert isinstance(book.records[ONE].files, Unknown)
    assert not book.holders
    assert book.records[ONE].last_list == frozenset({"A", "B"})
    book.lost(ONE, "still refused", 500)
    assert book.doubtful(3_600_019, 3_600_000) == [ONE]
    assert book.doubtful(3_600_020, 3_600_000) == [], "its grace runs from when it was lost first"


def test_a_server_that_was_never_listed_is_in_doubt_from_the_start() -> None:
    book = fleet()
    assert book.doubtful(3_599_999, 3_600_000) == [ONE, TWO]
    assert book.doubtful(3_600_000, 3_600_000) == []


def test_the_first_list_is_old_and_later_ones_tell_what_appeared() -> None:
    book = fleet()
    assert book.listed(ONE, names("A"), 10).appeared == frozenset()
    assert book.listed(ONE, names("A", "B"), 20).appeared == {"B"}
    book.lost(ONE, "down", 30)
    assert book.listed(ONE, names("A", "B", "C"), 40).appeared == {"C"}


def test_a_list_that_shows_only_copies_of_ours_needs_no_new_plan() -> None:
    book = fleet()
    book.listed(TWO, names("Z"), 10)

    def plans(listing: Listing, *awaited: str) -> int:
        before = book.revision.plan
        book.listed(ONE, listing, 100, set(awaited))
        return book.revision.plan - before

    assert plans(names("A", "B"), "A", "B") == 1, "nothing was known of it"
    assert plans(names("A", "B", "C"), "C", "D") == 0
    assert plans(names("A", "B", "C", "D", "E"), "D") == 1, "somebody else brought E"
    assert plans(names("B", "C", "D", "E", "F"), "F") == 1, "A is gone"
    assert plans(names("B", "C", "D", "E", "F", "Z"), "Z") == 1, "one of two copies is surplus"
    assert plans(names("B", "C", "D", "E", "F", "Z"), "G") == 0


def test_a_list_asked_for_before_a_copy_or_a_delete_does_not_undo_it() -> None:
    book = fleet()
    book.listed(ONE, names("A", "B"), 10)
    book.deleted(ONE, "A", 1, 30)
    book.arrived(ONE, "C", 1, 30)
    assert book.listed(ONE, names("A", "B"), 20).appeared == frozenset()
    assert book.records[ONE].last_list == frozenset({"B", "C"})
    book.listed(ONE, names("A", "B"), 31)
    assert book.records[ONE].last_list == frozenset({"A", "B"}), "a later question knows better"


def test_a_list_asked_for_before_the_server_was_lost_says_nothing_of_what_came_back() -> None:
    book = fleet()
    book.listed(ONE, names("A"), 10)
    book.lost(ONE, "down", 30)
    assert not book.listed(ONE, names("A", "B"), 20).believed
    assert isinstance(book.records[ONE].files, Unknown)
    assert book.records[ONE].last_list == frozenset({"A", "B"}), "B may be there"
    assert book.listed(ONE, names("A", "B"), 30).believed


def test_half_a_list_of_an_old_worker_counts_when_it_is_seen_again() -> None:
    book = fleet()
    book.listed(ONE, names("A", "B", "C"), 10)
    assert not book.listed(ONE, names("A"), 1_000).believed
    assert not book.listed(ONE, names("A"), 1_001).believed, "the same moment"
    assert isinstance(book.records[ONE].files, Unknown)
    assert book.listed(ONE, names("A"), 1_000 + HALVED_AGAIN_MS).believed


def test_what_only_a_list_shows_that_is_not_believed_may_be_there_as_well() -> None:
    """It was copied there, say, and the list is short because the server could not read its whole disk."""
    book = fleet()
    book.listed(ONE, names("A", "B", "C"), 10)
    assert not book.listed(ONE, names("NEW"), 1_000).believed
    assert book.records[ONE].last_list == frozenset({"A", "B", "C", "NEW"})
    change = book.listed(ONE, names("A", "B", "C", "NEW"), 2_000)
    assert change.believed
    assert change.appeared == {"NEW"}
    assert book.records[ONE].last_list == frozenset({"A", "B", "C", "NEW"})
    assert not book.listed(ONE, names("NEW"), 3_000).believed
    assert book.listed(ONE, names("NEW"), 3_000 + HALVED_AGAIN_MS).appeared == frozenset()
    assert book.records[ONE].last_list == frozenset({"NEW"})


def test_a_list_that_grows_back_takes_the_suspicion_away() -> None:
    book = fleet()
    book.listed(ONE, names("A", "B", "C"), 10)
    book.listed(ONE, names("A"), 1_000)
    assert book.listed(ONE, names("A", "B", "C"), 2_000).believed
    assert not book.listed(ONE, names("A"), 100_000).believed


def test_a_worker_of_ours_is_believed_at_once() -> None:
    """It answers 500 where its disk is not mounted."""
    book = fleet()
    ours(book, ONE)
    book.listed(ONE, names("A", "B", "C"), 10)
    assert book.listed(ONE, names(), 20).believed


def test_a_question_under_way_is_repeated_where_it_came_too_early() -> None:
    asking = Question()
    assert asking.begin(1)
    assert not asking.begin(2)
    assert asking.end()
    assert asking.begin(3)
    assert not asking.end()


# ── one disk under two addresses ────────────────────────────────────────────────────────────────────────


def twins(book: FleetBook) -> dict[Addr, frozenset[Addr]]:
    views = book.server_views(90, dict.fromkeys(book.records, True))
    both = {addr: view.same_disk | view.look_alikes for addr, view in views.items()}
    return {addr: others for addr, others in both.items() if others}


def measured(book: FleetBook, one: DiskReport, two: DiskReport, at_ms: int = 1) -> None:
    book.measured(ONE, one, at_ms)
    book.measured(TWO, two, at_ms)


def test_the_same_id_is_the_same_disk_whatever_it_lists() -> None:
    book = fleet()
    ours(book, ONE, "id")
    ours(book, TWO, "id")
    book.listed(ONE, names("A"), 10)
    book.listed(TWO, names("B"), 10)
    assert twins(book) == {ONE: {TWO}, TWO: {ONE}}


def _moved(book: FleetBook, addr: Addr, to: str, by: str) -> None:
    """The worker at `addr` is another one now, on another disk, and has answered only this so far."""
    if by == BY_LIST:
        book.listed(addr, Listing(frozenset({"A"}), to), 20)
    elif by == BY_DF:
        book.measured(addr, DiskReport(DiskUsage(1000, 5, 995), disk_id=to), 20)
    else:
        book.told_disk(addr, BY_COPY, to)


def test_the_limit_that_a_server_named_for_another_disk_is_forgotten() -> None:
    """A disk that seems to have two addresses keeps the lower limit of both: it must be its own."""
    book = FleetBook([], [ONE, TWO], now_ms=0)
    up = dict.fromkeys((ONE, TWO), True)
    ours(book, ONE, "disk-a")
    book.measured(ONE, replace(df(100), limit_percent=60), 1)
    assert book.server_views(90, up)[ONE].limit_percent == 60
    ours(book, ONE, "disk-a")
    assert book.server_views(90, up)[ONE].limit_percent == 60
    ours(book, ONE, "disk-b")
    assert book.server_views(90, up)[ONE].limit_percent == 90


@pytest.mark.parametrize("by", [BY_LIST, BY_DF, BY_COPY])
def test_a_disk_that_comes_under_another_address_is_known_before_the_next_heartbeat(by: str) -> None:
    book = fleet()
    ours(book, ONE, "id-1")
    ours(book, TWO, "id-2")
    assert not twins(book)
    _moved(book, TWO, "id-1", by)
    assert twins(book) == {ONE: {TWO}, TWO: {ONE}}
    book.introduced(ONE, WorkerFeatures(ours=True, disk_id="id-2"))
    assert twins(book), "until the other one has said on which disk it is now"
    book.introduced(TWO, WorkerFeatures(ours=True, disk_id="id-1"))
    assert not twins(book), "they have changed places"


def test_who_was_told_apart_is_not_suspected_when_an_id_is_lost() -> None:
    book = fleet()
    ours(book, ONE, "id")
    ours(book, TWO, "id")
    book.listed(ONE, Listing(frozenset({"A"}), "id"), 10)
    book.listed(TWO, Listing(frozenset({"A"}), "id"), 10)
    book.introduced(TWO, WorkerFeatures(ours=True, disk_id="other"))
    book.listed(TWO, Listing(frozenset({"B"}), "other"), 20)
    book.introduced(ONE, WorkerFeatures(ours=True))
    assert not twins(book), "its disk is not mounted; it is still not the other one"


def test_answers_of_two_disks_are_those_of_a_moving_one() -> None:
    book = fleet()
    ours(book, TWO, "id-2")
    _moved(book, TWO, "id-1", BY_DF)
    assert book.server_views(90, dict.fromkeys(book.records, True))[TWO].moving_disk
    book.introduced(TWO, WorkerFeatures(ours=True, disk_id="id-1"))
    assert not book.server_views(90, dict.fromkeys(book.records, True))[TWO].moving_disk


def test_a_late_answer_about_a_copy_counts_until_the_next_list() -> None:
    book = fleet()
    ours(book, ONE, "id-1")
    ours(book, TWO, "id-2")
    _moved(book, TWO, "id-1", BY_COPY)
    book.listed(TWO, Listing(frozenset({"A"}), "id-2"), 20)
    assert not twins(book)


def test_two_ids_are_two_disks_whatever_they_list() -> None:
    book = fleet()
    ours(book, ONE, "id-1")
    ours(book, TWO, "id-2")
    measured(book, df(5), df(5))
    book.listed(ONE, names("A"), 10)
    book.listed(TWO, names("A"), 10)
    assert not twins(book)


def test_old_workers_are_suspected_by_the_same_list_and_size() -> None:
    book = fleet()
    book.listed(ONE, names("A", "B"), 10)
    book.listed(TWO, names("A", "B"), 10)
    assert twins(book), "before their sizes are known"
    measured(book, df(5), df(7))
    assert twins(book) == {ONE: {TWO}, TWO: {ONE}}
    measured(book, df(5), df(5, total=2000), at_ms=2)
    assert twins(book), "a total may dip for a moment"
    measured(book, df(5), df(5, total=2000), at_ms=2 + SIZE_SETTLED_MS)
    assert not twins(book)


def test_an_old_and_a_new_worker_on_one_disk_are_suspected() -> None:
    book = fleet()
    ours(book, ONE, "id")
    measured(book, df(5), df(5))
    book.listed(ONE, names("A", "B"), 10)
    book.listed(TWO, names("A", "B"), 10)
    assert twins(book)


def test_a_copy_that_shows_at_one_address_first_does_not_end_the_suspicion() -> None:
    book = fleet()
    measured(book, df(5), df(5))
    on_disk = ["A", "B"]
    for addr in (ONE, TWO):
        book.listed(addr, names(*on_disk), 1)
    for at_ms in range(10, 100, 10):
        book.listed(TWO, names(*on_disk), at_ms)
        on_disk.append(f"C{at_ms}")
        book.listed(ONE, names(*on_disk), at_ms + 1)
        assert twins(book), at_ms


def test_a_difference_that_lasts_ends_the_suspicion() -> None:
    book = fleet()
    measured(book, df(5), df(5))
    book.listed(ONE, names("A", "B"), 10)
    book.listed(TWO, names("A", "B"), 10)
    book.listed(ONE, names("A", "B", "C"), 20)
    book.listed(ONE, names("A", "B", "C"), 30)
    assert twins(book), "the other was not listed since"
    book.listed(TWO, names("A", "B"), 40)
    assert not twins(book)


# ── disks ───────────────────────────────────────────────────────────────────────────────────────────────


def test_a_df_that_fails_makes_the_disk_unknown_since_the_first_failure() -> None:
    book = fleet()
    book.measured(ONE, df(900), 5)
    book.disk_lost(ONE, "absurd", 10)
    book.disk_lost(ONE, "refused", 20)
    disk = book.records[ONE].disk
    assert isinstance(disk, Unknown)
    assert (disk.why, disk.since_ms) == ("refused", 10)


def test_the_lower_limit_holds() -> None:
    book = fleet()
    up = dict.fromkeys(book.records, True)
    for own, holds in ((80, 80), (95, 90), (None, 90)):
        book.measured(ONE, replace(df(5), limit_percent=own), 5)
        assert book.server_views(90, up)[ONE].limit_percent == holds


# ── whatever happens ────────────────────────────────────────────────────────────────────────────────────

NAMES = st.sampled_from("ABCDEF")
ADDRS = st.sampled_from([ONE, TWO])


class FleetMachine(RuleBasedStateMachine):
    """A true disk beside the book: the index always equals the lists, a list of ours never undoes what came
    later than its question, and nothing that is booked is negative."""

    def __init__(self) -> None:
        super().__init__()
        self.book = fleet()
        self.now_ms = 1
        self.truth: dict[Addr, set[str]] = {ONE: set(), TWO: set()}
        self.asked: dict[Addr, tuple[int, frozenset[str]]] = {}
        for addr in (ONE, TWO):
            ours(self.book, addr, addr)

    @rule(passed_ms=st.integers(1, 5_000))
    def time_passes(self, passed_ms: int) -> None:
        self.now_ms += passed_ms

    @rule(addr=ADDRS)
    def a_list_is_asked_for(self, addr: Addr) -> None:
        self.asked[addr] = self.now_ms, frozenset(self.truth[addr])
        self.now_ms += 1

    @precondition(lambda self: self.asked)
    @rule(data=st.data())
    def a_list_comes(self, data: st.DataObject) -> None:
        addr = data.draw(st.sampled_from(sorted(self.asked)))
        asked_ms, seen = self.asked.pop(addr)
        if self.book.listed(addr, Listing(seen), asked_ms).believed:
            files = self.book.records[addr].files
            assert isinstance(files, Known)
            assert files.value == self.truth[addr]

    @rule(addr=ADDRS, name=NAMES)
    def a_copy_arrives(self, addr: Addr, name: str) -> None:
        self.truth[addr].add(name)
        self.book.arrived(addr, name, 10, self.now_ms)

    @rule(addr=ADDRS, name=NAMES)
    def a_delete_is_confirmed(self, addr: Addr, name: str) -> None:
        self.truth[addr].discard(name)
        self.book.deleted(addr, name, 10, self.now_ms)

    @rule(addr=ADDRS)
    def it_is_lost(self, addr: Addr) -> None:
        self.book.lost(addr, "down", self.now_ms)
        self.now_ms += 1

    @rule(addr=ADDRS, used=st.integers(0, 1000))
    def it_is_measured(self, addr: Addr, used: int) -> None:
        self.book.measured(addr, df(used), self.now_ms)

    @invariant()
    def the_index_is_what_the_lists_say(self) -> None:
        expected: dict[str, set[Addr]] = {}
        for addr, record in self.book.records.items():
            for name in record.files.value if isinstance(record.files, Known) else ():
                expected.setdefault(name, set()).add(addr)
        found = {name: there for name in "ABCDEF" if (there := self.book.holders.get(name, frozenset()))}
        assert found == expected

    @invariant()
    def a_known_list_is_the_last_one(self) -> None:
        for record in self.book.records.values():
            if isinstance(record.files, Known):
                assert record.files.value == record.last_list

    @invariant()
    def books_are_not_negative(self) -> None:
        for record in self.book.records.values():
            assert all(booked.size_bytes > 0 for booked in (*record.account.gone, *record.account.booked))


TestFleetMachine = FleetMachine.TestCase
TestFleetMachine.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)


def test_what_happens_through_one_address_is_booked_at_all_until_each_has_shown_it() -> None:
    book = fleet()
    ours(book, ONE, "id")
    ours(book, TWO, "id")
    measured(book, df(500), df(500), 10)
    book.landed(ONE, "B", 40, 20)
    book.deleted(ONE, "A", 100, 20)
    for addr in (ONE, TWO):
        assert [b.size_bytes for b in book.records[addr].account.landed] == [40]
        assert [b.size_bytes for b in book.records[addr].account.gone] == [100]
    book.measured(ONE, df(440), 30)
    assert not book.records[ONE].account.gone
    assert book.records[TWO].account.gone, "its own usage is older"
    book.measured(TWO, df(440), 31)
    assert not book.records[TWO].account.gone
    assert not book.records[TWO].account.landed


def test_a_silent_address_does_not_gather_what_goes_on_through_another() -> None:
    book = fleet()
    ours(book, ONE, "id")
    ours(book, TWO, "id")
    measured(book, df(500), df(500), 10)
    book.disk_lost(TWO, "down", 15)
    book.landed(ONE, "B", 40, 20)
    book.deleted(ONE, "A", 100, 20)
    book.measured(ONE, df(440), 20 + FORGOTTEN_MS - 1)
    assert book.records[TWO].account.gone
    book.measured(ONE, df(440), 20 + FORGOTTEN_MS)
    assert not book.records[TWO].account.gone
    assert not book.records[TWO].account.landed


class Unreadable(NameColumn):
    """A list that is too long to be read name by name."""

    def __iter__(self) -> Iterator[str]:
        raise AssertionError("somebody reads all names")


def test_a_list_that_comes_again_is_not_read_name_by_name() -> None:
    book = FleetBook([], [ONE, TWO], now_ms=0)
    book.indexed({"/san": frozenset(f"S{number}.mpg" for number in range(200))})
    for at_ms in (1, 2):
        for addr, letter in ((ONE, "A"), (TWO, "B")):
            text = "".join(f"{letter}{number}.mpg\n" for number in range(3000)).encode()
            names = Unreadable.of_lines(text)
            assert book.listed(addr, Listing(names), at_ms).believed
            assert book.listed(addr, Listing(names), at_ms).believed
