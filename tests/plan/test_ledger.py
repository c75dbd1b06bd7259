"""The two books of a disk: room is never credited with a delete, need never counts the same bytes twice."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from cfm.model import Booked, DeleteKind, DiskUsage, File, Known, bytes_over, fits
from cfm.plan.ledger import DiskBook, Ledger
from cfm.plan.view import ClusterView, Reservation, Rules
from plan.worlds import (
    DISK_A,
    DISK_B,
    DISK_C,
    HELD,
    NEW,
    NOW,
    SOURCE,
    TWICE,
    order,
    server,
    task,
    with_server,
    world,
)

SPACE = DeleteKind.SPACE


def disk(view: ClusterView) -> DiskBook:
    return Ledger(view).disks[DISK_B]


def at_half(**more: object) -> ClusterView:
    """DISK_B has 500 of 1000 bytes used, and a limit of 90 %."""
    return replace(world([server(DISK_B, {TWICE.name}, used_bytes=500)]), **more)  # type: ignore[arg-type]  # fields


def test_what_is_still_to_arrive_counts_as_used() -> None:
    book = disk(at_half(tasks={1: task(NEW)}, landed={DISK_B: [Booked(NOW.mono_ms, 50)]}))
    assert book.projected_bytes == 650
    assert book.room_bytes() == 250
    assert book.takes(File("X", 9, 250))
    assert not book.takes(File("X", 9, 251))


def test_what_df_contains_of_a_copy_does_not_count_again() -> None:
    running = at_half(tasks={1: task(NEW)}, arrived_bytes={1: 60})
    assert disk(running).projected_bytes == 540
    assert disk(replace(running, arrived_bytes={1: 500})).projected_bytes == 500, "never less than nothing"


def test_room_is_not_credited_with_deletes_that_df_does_not_show() -> None:
    ordered = at_half(order_of={HELD.name: order(HELD, DISK_B)}, gone={DISK_B: [Booked(NOW.mono_ms, 300)]})
    assert disk(ordered).room_bytes() == disk(at_half()).room_bytes() == 400


def test_need_counts_every_order_and_what_df_does_not_show_yet() -> None:
    full = at_half(servers={**at_half().servers, DISK_B: server(DISK_B, {HELD.name}, used_bytes=1000)})
    assert disk(full).need_bytes == 100
    assert disk(replace(full, gone={DISK_B: [Booked(NOW.mono_ms, 40)]})).need_bytes == 60
    ordered = replace(full, order_of={HELD.name: order(HELD, DISK_B)})
    assert disk(ordered).need_bytes == 0
    assert disk(ordered).over_bytes == 100, "what a breaker looks at"
    assert disk(replace(ordered, gone={DISK_B: [Booked(NOW.mono_ms, 40)]})).need_bytes == 0, "never below"


def test_reserved_room_is_for_one_file_only() -> None:
    view = at_half(reserved={DISK_B: Reservation(NEW, NOW.mono_ms + 1)})
    assert disk(view).takes(replace(NEW, size_bytes=400))
    assert not disk(view).takes(File("OTHER", 9, 301))
    assert disk(view).takes(File("OTHER", 9, 300))
    ledger = Ledger(view)
    ledger.book_copy(NEW, SOURCE, DISK_B)
    assert ledger.disks[DISK_B].reserved_for is None
    assert ledger.disks[DISK_B].takes(File("OTHER", 9, 300)), "it counts as arriving now, not twice"


def test_a_disk_of_a_server_that_is_down_or_unknown_has_no_book() -> None:
    assert DISK_A not in Ledger(world([server(DISK_A)._replace(up=False)])).disks


def test_streams_count_until_they_are_received_or_cut() -> None:
    view = world(tasks={1: task(NEW), 2: task(HELD, task_id=2)}, uncut={3: task(TWICE, task_id=3)})
    assert Ledger(view).load(SOURCE).outgoing == 3
    assert Ledger(replace(view, freed_sources={1})).load(SOURCE).outgoing == 2


def test_what_was_received_makes_way_for_as_many_more_as_may_come_in() -> None:
    view = world(tasks={1: task(NEW), 2: task(HELD, task_id=2)}, rules=Rules(incoming_per_destination=2))
    (there,) = (one for one in view.destinations if one.addr == DISK_B)
    assert not Ledger(view).may_receive(there)
    assert Ledger(replace(view, freed_sources={1})).may_receive(there)
    received = replace(view, freed_sources={1, 2})
    assert Ledger(received).may_receive(there)
    one_at_a_time = replace(received, rules=Rules(incoming_per_destination=1))
    assert not Ledger(one_at_a_time).may_receive(there), "they do not pile up"


def test_an_order_taken_out_of_the_book_leaves_no_trace() -> None:
    view = at_half()
    ledger, untouched = Ledger(view), Ledger(view)
    ledger.book_delete(HELD, DISK_B, SPACE, NEW)
    assert ledger.ordered[DISK_B, SPACE] == 1
    assert HELD.name in ledger.busy_files
    ledger.unbook_delete(HELD, DISK_B, SPACE, NEW)
    assert ledger.disks == untouched.disks
    assert +Counter(ledger.ordered) == Counter(untouched.ordered)
    assert ledger.busy_files == untouched.busy_files


SIZES = st.integers(1, 400)


@given(used=st.integers(0, 1000), limit=st.integers(1, 100), copies=st.lists(SIZES), deletes=st.lists(SIZES))
def test_copies_that_the_book_takes_keep_the_limit_whatever_is_deleted(
    used: int, limit: int, copies: list[int], deletes: list[int]
) -> None:
    usage = DiskUsage(1000, used, 1000 - used)
    place = server(DISK_B, disk=Known(usage, NOW.mono_ms), limit_percent=limit)
    ledger = Ledger(world([place]))
    taken = 0
    for number, size in enumerate(copies):
        if number < len(deletes):
            ledger.book_delete(File(f"D{number}", 99, deletes[number]), DISK_B, SPACE)
        file = File(f"C{number}", 1, size)
        assert ledger.disks[DISK_B].takes(file) == (
            fits(used, 1000 - used, taken + size, limit) and taken + size <= 1000 - used
        )
        if ledger.disks[DISK_B].takes(file):
            ledger.book_copy(file, SOURCE, DISK_B)
            taken += size
    assert not taken or 100 * (used + taken) <= limit * 1000


@given(
    used=st.integers(0, 10**13),
    avail=st.integers(0, 10**13),
    limit=st.integers(1, 100),
    size=st.integers(1, 10**13),
)
def test_a_disks_ceiling_means_what_the_model_says_of_limits(
    used: int, avail: int, limit: int, size: int
) -> None:
    book = DiskBook(DiskUsage(used + avail, used, avail), limit)
    assert book.over_bytes == bytes_over(used, avail, limit)
    assert book.takes(File("F", 1, size)) == (fits(used, avail, size, limit) and size <= avail)


@given(used=st.integers(0, 1000), limit=st.integers(1, 100), deletes=st.lists(SIZES))
def test_ordering_until_nothing_is_needed_frees_the_need_and_at_most_one_file_more(
    used: int, limit: int, deletes: list[int]
) -> None:
    usage = DiskUsage(1000, used, 1000 - used)
    ledger = Ledger(world([server(DISK_B, disk=Known(usage, NOW.mono_ms), limit_percent=limit)]))
    need = ledger.disks[DISK_B].need_bytes
    freed: list[int] = []
    for number, size in enumerate(deletes):
        if ledger.disks[DISK_B].need_bytes == 0:
            break
        ledger.book_delete(File(f"D{number}", 99, size), DISK_B, SPACE)
        freed.append(size)
        assert ledger.disks[DISK_B].need_bytes == max(0, need - sum(freed))
    assert sum(freed) < need + max(freed, default=1)


# ── one disk under two addresses ────────────────────────────────────────────────────────────────────────


def double(used_bytes: int = 1000, **more: object) -> ClusterView:
    """DISK_A and DISK_B are one disk, with a limit of 900 bytes by one and 800 by the other."""
    one = server(DISK_A, {HELD.name}, used_bytes, same_disk=frozenset({DISK_B}))
    other = server(DISK_B, {HELD.name}, used_bytes, same_disk=frozenset({DISK_A}), limit_percent=80)
    return replace(world([one, other]), **more)  # type: ignore[arg-type]  # fields


def test_what_is_under_way_at_any_address_of_a_disk_is_in_all_its_books() -> None:
    for addr in (DISK_A, DISK_B):
        leaving = Ledger(double(order_of={HELD.name: order(HELD, addr)}))
        arriving = Ledger(double(tasks={1: task(NEW, destination=addr)}))
        for book in (DISK_A, DISK_B):
            assert leaving.disks[book].need_bytes == 100
            assert arriving.disks[book].projected_bytes == 1100


def test_what_is_booked_at_any_address_of_a_disk_is_in_all_its_books() -> None:
    ledger = Ledger(double(used_bytes=500))
    ledger.book_room(NEW, DISK_A)
    assert ledger.disks[DISK_B].reserved_for == NEW
    ledger.book_copy(NEW, SOURCE, DISK_A)
    assert (ledger.disks[DISK_B].projected_bytes, ledger.disks[DISK_B].reserved_for) == (600, None)
    ledger.book_delete(HELD, DISK_A, SPACE)
    assert ledger.disks[DISK_B].leaving_bytes == 100


def test_the_lowest_limit_holds_for_a_disk_under_all_its_addresses() -> None:
    disks = Ledger(double()).disks
    assert (disks[DISK_A].limit_percent, disks[DISK_B].limit_percent) == (80, 80)


def test_an_arrival_is_seen_by_the_address_that_measured_it() -> None:
    """Another address's usage may be older: nothing is credited there."""
    ledger = Ledger(double(tasks={1: task(NEW)}, arrived_bytes={1: 60}))
    assert ledger.disks[DISK_B].projected_bytes == 1040
    assert ledger.disks[DISK_A].projected_bytes == 1100


def test_room_at_an_address_that_is_not_used_is_none() -> None:
    """An older usage there may show more of it."""
    roomy = server(DISK_B, used_bytes=100, same_disk=frozenset({DISK_A}))
    view = with_server(world([roomy]), DISK_A, same_disk=frozenset({DISK_B}))
    assert Ledger(view).largest_room_bytes() == 0
    assert Ledger(with_server(view, DISK_A, up=False)).largest_room_bytes() == 800
    assert Ledger(world([server(DISK_C, used_bytes=200)])).largest_room_bytes() == 700
