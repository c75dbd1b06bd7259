"""The books count what may make something possible, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from cfm.controller.decide.absences import AbsenceBook
from cfm.controller.decide.books import (
    ArrivalBook,
    CopyBook,
    HitBook,
    MetadataBook,
    PauseBook,
    ReservationBook,
    RuleBook,
    StoreBook,
)
from cfm.controller.decide.departures import DepartureBook
from cfm.controller.decide.moments import Moments
from cfm.controller.decide.san_book import SanBook
from cfm.fleet.disk_account import APART_MS, UnderWay
from cfm.fleet.health import HealthBook
from cfm.fleet.observed import FleetBook
from cfm.fleet.record import BY_COPY
from cfm.model import (
    Addr,
    CopySeen,
    DeleteKind,
    DeleteOrder,
    DiskReport,
    DiskUsage,
    File,
    Hits,
    Listing,
    NotOnSan,
    Now,
    OnSan,
    OrderStatus,
    SnapshotFacts,
    Status,
    Task,
    Unknown,
    WorkerFeatures,
)
from cfm.plan import refusals
from cfm.plan.view import Departure, Reservation, Rules
from cfm.revision import Revision
from cfm.tasks.book import Run, TaskBook
from cfm.tasks.failures import Blame, FailureBook
from cfm.tasks.lifecycle import OrderEvent, TaskEvent
from cfm.tasks.orders import OrderBook

ONE, TWO = Addr("127.0.2.1:1"), Addr("127.0.2.2:1")
FILE = File("F.mpg", 1, 100)
NOW = Now(1_000, 1_700_000_000_000)
ORDER = DeleteOrder(1, OrderStatus.ORDERED, 0, 0, FILE, ONE, DeleteKind.SURPLUS, "surplus", keeper=TWO)
TASK = Task(1, Status.READY, 0, 0, FILE, "/san/F.mpg", ONE, TWO, 1, "wanted")
USAGE = DiskUsage(1000, 500, 500)
Counted = tuple[int, int, int]
NOTHING, DISPATCH, ORDERS, PLAN, BOTH = (0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 0, 1)


def counted(revision: Revision, change: Callable[[], object]) -> Counted:
    """Which counters grew: those for dispatches, for orders and for plans."""
    before = replace(revision)
    change()
    return (
        int(revision.dispatch > before.dispatch),
        int(revision.orders > before.orders),
        int(revision.plan > before.plan),
    )


def test_tasks() -> None:
    book, revision = TaskBook(), Revision()
    book.revision = revision
    assert counted(revision, lambda: book.add(TASK, Run(0, 0))) == NOTHING
    assert counted(revision, lambda: book.change(TASK, TaskEvent.TAKEN, NOW)) == NOTHING
    taken = book.active[1]
    assert counted(revision, lambda: book.arrived_so_far(TWO, 10, 0)) == NOTHING
    assert counted(revision, lambda: book.change(taken, TaskEvent.PROGRESSED, NOW)) == NOTHING
    assert counted(revision, lambda: book.change(taken, TaskEvent.ALL_RECEIVED, NOW)) == DISPATCH
    assert counted(revision, lambda: book.change(taken, TaskEvent.ALL_RECEIVED, NOW)) == NOTHING
    assert counted(revision, lambda: book.change(taken, TaskEvent.REPORTED_FAILED, NOW)) == DISPATCH


def test_what_is_left_of_tasks() -> None:
    book = TaskBook()
    book.add(TASK, Run(0, 0))
    taken = book.change(TASK, TaskEvent.TAKEN, NOW)
    assert counted(book.revision, lambda: book.change(taken, TaskEvent.TIMED_OUT, NOW)) == DISPATCH
    assert counted(book.revision, lambda: book.stream_cut(1, NOW)) == DISPATCH
    assert counted(book.revision, lambda: book.stream_cut(1, NOW)) == NOTHING
    book.add(replace(TASK, id=2), Run(0, 0))
    assert counted(book.revision, lambda: book.change(book.active[2], TaskEvent.CALLED_DONE, NOW)) == DISPATCH
    (unproven,) = book.unproven.values()
    assert counted(book.revision, lambda: book.change(unproven, TaskEvent.LISTED, NOW)) == DISPATCH


def test_failures() -> None:
    book, way = FailureBook(), (ONE, TWO)
    assert counted(book.revision, lambda: book.succeeded(FILE.name, way, 0)) == NOTHING
    assert counted(book.revision, lambda: book.failed(FILE.name, way, 0)) == DISPATCH
    assert counted(book.revision, lambda: book.succeeded(FILE.name, way, 0)) == DISPATCH
    assert counted(book.revision, lambda: book.failed("x", way, 0, blame=Blame.SOURCE, sure=True)) == BOTH
    assert counted(book.revision, lambda: book.succeeded("y", way, 0)) == BOTH


def test_orders() -> None:
    book = OrderBook()
    assert counted(book.revision, lambda: book.heard_of(FILE.name)) == NOTHING
    assert counted(book.revision, lambda: book.add(ORDER, 0)) == ORDERS
    assert counted(book.revision, lambda: book.heard_of(FILE.name)) == ORDERS
    assert counted(book.revision, lambda: book.change(ORDER, OrderEvent.SENT, NOW)) == NOTHING
    assert counted(book.revision, lambda: book.heard_of(FILE.name)) == NOTHING, "it does not wait any more"
    assert counted(book.revision, lambda: book.change(book.active[1], OrderEvent.UNCLEAR, NOW)) == DISPATCH
    assert (
        counted(book.revision, lambda: book.change(book.active[1], OrderEvent.LISTED_THERE, NOW)) == DISPATCH
    )


def test_who_is_up() -> None:
    book = HealthBook([ONE], interval_ms=1_000, misses_to_down=2, now_ms=0)
    assert counted(book.revision, lambda: book.answered(ONE, 0)) == DISPATCH
    assert counted(book.revision, lambda: book.answered(ONE, 1)) == NOTHING
    assert counted(book.revision, lambda: book.missed(ONE, "refused", 2)) == NOTHING
    assert counted(book.revision, lambda: book.missed(ONE, "refused", 3)) == BOTH
    assert counted(book.revision, lambda: book.missed(ONE, "refused", 4)) == NOTHING


def test_what_servers_are() -> None:
    book = FleetBook([ONE], [TWO], now_ms=0)
    ours = WorkerFeatures(ours=True, boot_id="a", disk_id="disk")
    assert counted(book.revision, lambda: book.introduced(TWO, ours)) == DISPATCH
    assert counted(book.revision, lambda: book.introduced(TWO, ours)) == NOTHING
    assert counted(book.revision, lambda: book.introduced(TWO, replace(ours, boot_id="b"))) == NOTHING
    assert counted(book.revision, lambda: book.told_disk(TWO, BY_COPY, "disk")) == NOTHING
    assert counted(book.revision, lambda: book.told_disk(TWO, BY_COPY, "other")) == DISPATCH
    assert counted(book.revision, lambda: book.is_busy(ONE, 9)) == DISPATCH
    assert counted(book.revision, lambda: book.chosen(ONE, 9)) == NOTHING
    assert counted(book.revision, lambda: book.refused_delete(TWO, 9)) == DISPATCH
    assert counted(book.revision, lambda: book.refused_delete(TWO, 9)) == NOTHING


def test_what_servers_hold() -> None:
    book = FleetBook([ONE], [ONE, TWO], now_ms=0)
    listing = Listing(frozenset({FILE.name}))
    assert counted(book.revision, lambda: book.lost(TWO, "refused", 1)) == DISPATCH, "its first answer"
    assert counted(book.revision, lambda: book.lost(TWO, "refused", 2)) == NOTHING
    assert counted(book.revision, lambda: book.listed(TWO, listing, 3)) == BOTH
    assert counted(book.revision, lambda: book.listed(TWO, listing, 4)) == NOTHING
    assert counted(book.revision, lambda: book.listed(TWO, Listing(frozenset({"G.mpg"})), 5)) == BOTH
    assert counted(book.revision, lambda: book.arrived(TWO, FILE.name, 100, 6)) == DISPATCH
    assert counted(book.revision, lambda: book.listed(ONE, listing, 7)) == BOTH
    assert counted(book.revision, lambda: book.arrived(ONE, FILE.name, 100, 8)) == BOTH, "a second copy"
    assert counted(book.revision, lambda: book.deleted(ONE, FILE.name, 100, 9)) == DISPATCH
    assert counted(book.revision, lambda: book.lost(TWO, "refused", 10)) == DISPATCH


def test_what_disks_show() -> None:
    book = FleetBook([ONE], [TWO], now_ms=0)

    def measured(
        addr: Addr, at_ms: int, *, used_bytes: int = 500, limit_percent: int | None = None
    ) -> Counted:
        usage = replace(USAGE, used_bytes=used_bytes, avail_bytes=1000 - used_bytes)
        report = DiskReport(usage, limit_percent)
        return counted(book.revision, lambda: book.measured(addr, report, at_ms))

    assert measured(TWO, 1) == NOTHING, "its list is not known"
    book.listed(TWO, Listing(frozenset()), 2)
    assert measured(TWO, 3) == NOTHING
    assert measured(TWO, 1 + APART_MS) == DISPATCH, "the second reading proves the first"
    assert measured(TWO, 2 + APART_MS) == NOTHING
    assert measured(TWO, 3 + APART_MS, used_bytes=600) == DISPATCH
    assert measured(TWO, 3 + 2 * APART_MS, used_bytes=600) == DISPATCH, "it is proven as well"
    assert measured(TWO, 4 + 2 * APART_MS, used_bytes=600, limit_percent=50) == BOTH
    later_ms = 5 + 2 * APART_MS
    assert counted(book.revision, lambda: book.disk_lost(TWO, "refused", later_ms)) == DISPATCH
    assert counted(book.revision, lambda: book.disk_lost(TWO, "refused", later_ms)) == NOTHING
    assert measured(TWO, later_ms, used_bytes=600, limit_percent=50) == DISPATCH
    assert measured(ONE, later_ms) == measured(ONE, later_ms, used_bytes=700) == NOTHING, "a mere source"


def test_bytes_that_were_under_way_are_no_news() -> None:
    book = FleetBook([ONE], [TWO], now_ms=0)
    book.listed(TWO, Listing(frozenset()), 1)
    for at_ms in (2, 2 + APART_MS):
        book.measured(TWO, DiskReport(USAGE), at_ms)
    later = DiskReport(DiskUsage(1000, 540, 460), arriving_bytes=40)

    def news(before_bytes: int, coming_bytes: int) -> Counted:
        way = UnderWay(before_bytes, coming_bytes, told_bytes=before_bytes - coming_bytes)
        return counted(book.revision, lambda: book.measured(TWO, later, 3 + APART_MS, way))

    assert news(100, 60) == NOTHING
    assert news(60, 0) == DISPATCH, "they were not there after all"


def test_what_people_told() -> None:
    revision = Revision()
    rules = RuleBook(revision, Rules())
    assert counted(revision, lambda: rules.approve({ONE: 5})) == DISPATCH
    assert counted(revision, lambda: rules.end_approval(ONE)) == NOTHING
    assert counted(revision, lambda: rules.change(Rules(limit_percent=50))) == BOTH
    store = StoreBook(revision)
    assert counted(revision, lambda: store.failed("full")) == DISPATCH
    assert counted(revision, store.recovered) == DISPATCH


def test_metadata_and_hits() -> None:
    revision = Revision()
    metadata, facts = MetadataBook(revision), SnapshotFacts("s", NOW.wall_s, 1, 1)
    assert counted(revision, lambda: metadata.accept(facts, 0, NOW)) == BOTH
    assert counted(revision, lambda: metadata.reject(facts, NOW)) == NOTHING
    book, hits = HitBook(revision), Hits({FILE.name: 3})
    assert counted(revision, lambda: book.change(hits, ())) == BOTH
    assert counted(revision, lambda: book.change(hits, ())) == NOTHING
    assert counted(revision, lambda: book.change(hits, (FILE,))) == DISPATCH, "now it is known which file"
    assert counted(revision, lambda: book.change(Hits({FILE.name: 4}), (FILE,))) == DISPATCH


def test_what_the_san_said() -> None:
    revision = Revision()
    orders = OrderBook(revision=revision)
    book, found = SanBook(revision, orders, AbsenceBook(revision)), OnSan("/san/F.mpg", 100)
    assert book.ask([FILE], NOW, ahead=True) == {FILE.name: 100}
    assert counted(revision, lambda: book.answered({FILE.name: found}, 1)) == NOTHING, "it was asked ahead"
    assert counted(revision, lambda: book.answered({FILE.name: found}, 2)) == DISPATCH
    orders.add(ORDER, 0)
    assert counted(revision, lambda: book.answered({FILE.name: found}, 3)) == ORDERS
    assert counted(revision, lambda: book.indexed(frozenset(), "", 0)) == PLAN
    assert counted(revision, book.forget_silences) == BOTH
    assert counted(revision, lambda: book.forget_old(5)) == NOTHING
    book.answered({"G.mpg": NotOnSan(), "H.mpg": Unknown("silent", 6)}, 6)
    assert counted(revision, lambda: book.forget_old(7)) == NOTHING


def test_a_look_that_was_never_answered_does_not_explain_a_later_answer() -> None:
    """It asked for the version of a copy, and knew no size of the history; the later one does."""
    absences = AbsenceBook(Revision())
    book = SanBook(Revision(), OrderBook(), absences)
    book.ask([FILE], NOW, ahead=True, for_versions=True)
    book.forget_old(NOW.mono_ms)
    book.ask([FILE], NOW, ahead=False)
    book.answered({FILE.name: NotOnSan()}, NOW.mono_ms)
    assert FILE.name in absences.absent


def test_what_the_san_does_not_have_counts_when_it_is_found_and_when_it_is_over() -> None:
    revision = Revision()
    book = AbsenceBook(revision)
    assert counted(revision, lambda: book.heard(FILE, Unknown("silent", 1), 1)) == NOTHING
    assert counted(revision, lambda: book.heard(FILE, OnSan("/san/F.mpg", 100), 1)) == NOTHING
    assert counted(revision, lambda: book.heard(FILE, OnSan("/san/F.mpg", 99), 2)) == BOTH
    assert counted(revision, lambda: book.heard(FILE, OnSan("/san/F.mpg", 99), 3)) == NOTHING
    assert counted(revision, lambda: book.heard(FILE, NotOnSan(), 4)) == BOTH
    assert counted(revision, lambda: book.heard(FILE, OnSan("/san/F.mpg", 100), 5)) == BOTH


def test_what_servers_said_of_copies() -> None:
    revision = Revision()
    orders = OrderBook(revision=revision)
    book, seen = CopyBook(revision, orders), CopySeen(present=True, size_bytes=100)
    assert counted(revision, lambda: book.put(FILE.name, TWO, seen, 1)) == DISPATCH
    orders.add(ORDER, 0)
    assert counted(revision, lambda: book.put(FILE.name, TWO, seen, 2)) == ORDERS
    assert book.ask(FILE.name, TWO, 3)
    assert not book.ask(FILE.name, TWO, 4), "it is under way"
    assert counted(revision, lambda: book.came_back(FILE.name, TWO)) == NOTHING
    assert counted(revision, lambda: book.drop(FILE.name, TWO, 10)) == NOTHING
    book.put(FILE.name, TWO, seen, 9)
    assert not book.seen, "it was asked before the copy was deleted"
    book.put(FILE.name, TWO, seen, 11)
    assert book.seen


def test_what_holds_back_a_file_counts_when_it_goes() -> None:
    revision = Revision()
    arrivals, departures = ArrivalBook(revision), DepartureBook(revision)
    assert counted(revision, lambda: arrivals.put(FILE.name, ONE, 1)) == NOTHING
    assert counted(revision, lambda: arrivals.grown_up(0)) == NOTHING
    assert counted(revision, lambda: arrivals.grown_up(1)) == PLAN
    assert counted(revision, lambda: departures.put(FILE.name, Departure(1, FILE), (ONE, "disk"))) == NOTHING
    assert counted(revision, lambda: departures.forget_old(0)) == NOTHING
    assert counted(revision, lambda: departures.forget_old(1)) == BOTH, "the last plan left it out"


def test_room_that_was_kept_counts_when_others_may_have_it() -> None:
    revision = Revision()
    book = ReservationBook(revision)
    assert counted(revision, lambda: book.reserve(ONE, Reservation(FILE, 10))) == NOTHING
    assert counted(revision, lambda: book.use(FILE, ONE)) == NOTHING, "the copy takes it"
    book.reserve(ONE, Reservation(FILE, 10))
    assert counted(revision, lambda: book.use(FILE, TWO)) == DISPATCH
    book.reserve(ONE, Reservation(FILE, 10))
    assert counted(revision, lambda: book.forget_old(9)) == NOTHING
    assert counted(revision, lambda: book.forget_old(10)) == DISPATCH


def test_pauses() -> None:
    revision = Revision()
    book = PauseBook(revision)
    assert counted(revision, lambda: book.pause(FILE.name, 10, refusals.SAN_UNKNOWN)) == BOTH
    assert counted(revision, lambda: book.end(refusals.COPY_UNCONFIRMED)) == NOTHING
    assert counted(revision, lambda: book.end(refusals.SAN_UNKNOWN)) == DISPATCH


@pytest.mark.parametrize(
    ("pause_ends_ms", "retry_due_ms", "expected"),
    [(None, None, NOTHING), (11, 12, NOTHING), (10, None, DISPATCH), (None, 10, BOTH), (10, 10, BOTH)],
)
def test_a_moment_counts_when_it_has_come(
    pause_ends_ms: int | None, retry_due_ms: int | None, expected: Counted
) -> None:
    revision = Revision()
    moments = Moments(revision, 0)
    moments.set(pause_ends_ms=pause_ends_ms, retry_due_ms=retry_due_ms)
    assert counted(revision, lambda: moments.come(10)) == expected
    assert counted(revision, lambda: moments.full_look_is_due(10, 60_000)) == BOTH
    assert counted(revision, lambda: moments.full_look_is_due(11, 60_000)) == NOTHING
    assert counted(revision, lambda: moments.look_again(at_orders=True, at_everything=False)) == ORDERS
    assert counted(revision, lambda: moments.look_again(at_orders=False, at_everything=True)) == DISPATCH
