"""Every guard bites alone, and lets go: in a world where all is allowed, one spoiled fact refuses.

The tables below are held against the kernel's own: a guard without a case here fails the suite, and so
does a case that some other guard would have caught as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from cfm.model import CopySeen, DeleteKind, DiskUsage, Hits, Known, NotOnSan, OnSan, Retry, Unknown
from cfm.plan import kernel as k
from cfm.plan import refusals
from cfm.plan.kernel import KERNEL, Deletion
from cfm.plan.ledger import Ledger
from cfm.plan.refusals import COPY_REFUSALS, DELETE_REFUSALS, Refusal
from cfm.plan.view import ClusterView, Departure, Reservation, Rules
from plan.worlds import (
    DISK_A,
    DISK_B,
    DISK_C,
    HELD,
    LOWER,
    NEW,
    NOW,
    OURS,
    SOURCE,
    TWICE,
    on_san,
    order,
    server,
    task,
    with_server,
    world,
)

Case = tuple[Callable[..., Any], str, ClusterView, Refusal]
LOST = Unknown("no answer", NOW.mono_ms - 1000)


def san(answer: object, age_ms: int = 0) -> dict[str, Any]:
    known = Known(answer, NOW.mono_ms - age_ms)
    return {"san": {NEW.name: known, HELD.name: known, TWICE.name: known}}


def doubtful(*names: str, listed: bool = True) -> ClusterView:
    lost = server(DISK_C, names)._replace(files=LOST, last_list=frozenset(names) if listed else None)
    return replace(world([lost]), doubtful=(lost,))


FILE_CASES: list[Case] = [
    (k.paused, "our state cannot be written", world(paused=True), refusals.PAUSED),
    (k.not_an_ad, "an ad's prefix", world(rules=Rules(ad_prefixes=("NE",))), refusals.AD),
    (
        k.on_no_destination,
        "a destination lists it",
        world([server(DISK_C, {NEW.name})]),
        refusals.ALREADY_PLACED,
    ),
    (k.on_no_doubtful_destination, "a lost list has it", doubtful(NEW.name), refusals.HOLDER_UNKNOWN),
    (k.not_in_a_task, "it is being copied", world(task_of={NEW.name: task(NEW)}), refusals.IN_TASK),
    (k.not_in_a_task, "its delete is open", world(order_of={NEW.name: order(NEW)}), refusals.ORDER_UNKNOWN),
    (
        k.not_just_deleted,
        "it went an hour ago",
        world(departures={NEW.name: Departure(NOW.mono_ms - 3_600_000, NEW.rank)}),
        refusals.JUST_DELETED,
    ),
    (
        k.not_failing,
        "its pause runs",
        world(retries={NEW.name: Retry(1, NOW.mono_ms + 1, frozenset())}),
        refusals.RETRY_LATER,
    ),
    (k.surely_on_san, "not looked up yet", world(san={}), refusals.SAN_UNKNOWN),
    (
        k.surely_on_san,
        "looked up too long ago",
        world(**san(OnSan("/san/x", 100), 10_001)),
        refusals.SAN_UNKNOWN,
    ),
    (k.surely_on_san, "the SAN is silent", world(**san(LOST)), refusals.SAN_UNKNOWN),
    (k.surely_on_san, "it is not there", world(**san(NotOnSan())), refusals.NOT_ON_SAN),
    (k.surely_on_san, "it is empty there", world(**san(OnSan("/san/x", 0))), refusals.NOT_ON_SAN),
    (k.surely_on_san, "it has another size", world(**san(OnSan("/san/x", 99))), refusals.NOT_ON_SAN),
]

DESTINATION_CASES: list[Case] = [
    (k.destination_usable, "it is down", with_server(world(), DISK_B, up=False), refusals.NO_DESTINATION),
    (
        k.destination_usable,
        "its list is unknown",
        with_server(world(), DISK_B, files=LOST),
        refusals.NO_DESTINATION,
    ),
    (
        k.destination_usable,
        "it is no destination",
        with_server(world(), DISK_B, is_destination=False),
        refusals.NO_DESTINATION,
    ),
    (
        k.destination_usable,
        "it receives as many as it may",
        world(
            [server(DISK_B, features=replace(OURS, downloads=1))],
            tasks={1: task(TWICE)},
            rules=Rules(incoming_per_destination=1),
        ),
        refusals.NO_DESTINATION,
    ),
    (
        k.through_one_address,
        "its disk is used through a lower address",
        with_server(world(), DISK_B, same_disk=frozenset({DISK_A})),
        refusals.SAME_DISK_SUSPECTED,
    ),
]

PLACE_CASES: list[Case] = [
    (
        k.not_next_to_go,
        "room is being made there for a better file",
        world(
            [server(DISK_B, used_bytes=100)],
            reserved={DISK_B: Reservation(replace(HELD, rank=1), NOW.mono_ms + 1)},
        ),
        refusals.NEXT_TO_GO,
    ),
    (
        k.room_is_made,
        "what goes for it has not gone yet",
        world(
            [server(DISK_B, used_bytes=100)],
            reserved={DISK_B: Reservation(NEW, NOW.mono_ms + 1)},
            order_of={HELD.name: replace(order(HELD, DISK_B), room_for=NEW.name)},
        ),
        refusals.NO_ROOM,
    ),
    (
        k.room_is_made,
        "what goes for it has not gone yet, and its rank has moved meanwhile",
        world(
            [server(DISK_B, used_bytes=100)],
            reserved={DISK_B: Reservation(replace(NEW, rank=NEW.rank + 1), NOW.mono_ms + 1)},
            order_of={HELD.name: replace(order(HELD, DISK_B), room_for=NEW.name)},
        ),
        refusals.NO_ROOM,
    ),
    (
        k.room_is_made,
        "what goes for it has not gone yet, and the room is not kept for it any more",
        world(
            [server(DISK_B, used_bytes=100)],
            order_of={HELD.name: replace(order(HELD, DISK_B), room_for=NEW.name)},
        ),
        refusals.NO_ROOM,
    ),
    (k.within_limit, "one byte too many", world([server(DISK_B, used_bytes=801)]), refusals.NO_ROOM),
]

SOURCE_CASES: list[Case] = [
    (k.source_free, "it is down", with_server(world(), SOURCE, up=False), refusals.NO_SOURCE),
    (k.source_free, "it sends already", world(tasks={1: task(TWICE)}), refusals.NO_SOURCE),
    (k.source_free, "a zombie is still read from it", world(uncut={1: task(TWICE)}), refusals.NO_SOURCE),
    (k.source_free, "it is no source", with_server(world(), SOURCE, is_source=False), refusals.NO_SOURCE),
    (
        k.source_free,
        "it said that it is busy",
        with_server(world(), SOURCE, busy_until_ms=NOW.mono_ms + 1),
        refusals.NO_SOURCE,
    ),
]

PAIR_CASES: list[Case] = [
    (
        k.source_speaks,
        "an old cfw and a built-in transfer",
        with_server(world(), SOURCE, features=replace(OURS, serves=False)),
        refusals.NO_SOURCE,
    ),
]

SPACE = Deletion(HELD, DISK_A, DeleteKind.SPACE)
TRIM = Deletion(TWICE, DISK_A, DeleteKind.SURPLUS, keeper=DISK_B)

DELETE_CASES: list[Case] = [
    (k.delete_not_paused, "our state cannot be written", world(paused=True), refusals.PAUSED),
    (k.deletes_on, "deletes are off", world(rules=Rules(deletes_on=False)), refusals.DELETES_OFF),
    (k.delete_not_an_ad, "an ad's prefix", world(rules=Rules(ad_prefixes=("HELD", "TWICE"))), refusals.AD),
    (k.server_known, "it is down", with_server(world(), DISK_A, up=False), refusals.SERVER_UNKNOWN),
    (k.server_known, "its disk is unknown", with_server(world(), DISK_A, disk=LOST), refusals.SERVER_UNKNOWN),
    (
        k.server_known,
        "it was never listed",
        with_server(world(), DISK_A, files=LOST, last_list=None),
        refusals.NOT_LISTED_SINCE_START,
    ),
    (
        k.server_carries_out,
        "it did not carry out its last delete",
        with_server(world(), DISK_A, no_deletes_until_ms=NOW.mono_ms + 1),
        refusals.SERVER_REFUSES,
    ),
    (
        k.file_is_there,
        "its list does not have it",
        with_server(world(), DISK_A, files=Known(frozenset[str](), NOW.mono_ms)),
        refusals.NOT_NEEDED,
    ),
    (
        k.metadata_fresh,
        "the numbers are old",
        world(metadata_age_ms=2 * 86_400_000 + 1),
        refusals.METADATA_OLD,
    ),
    (k.metadata_fresh, "there are no numbers", world(snapshot=None), refusals.METADATA_OLD),
    (
        k.not_being_copied,
        "a stream of it is not cut",
        world(uncut={1: task(HELD), 2: task(TWICE)}),
        refusals.IN_TASK,
    ),
    (
        k.one_order_per_file,
        "another order for it is open",
        world(order_of={HELD.name: order(HELD, DISK_B), TWICE.name: order(TWICE, DISK_B)}),
        refusals.ORDER_UNKNOWN,
    ),
    (
        k.not_lately_dropped,
        "its last order was dropped a moment ago",
        world(
            delete_pauses=dict.fromkeys((HELD.name, TWICE.name), (NOW.mono_ms + 1, refusals.COPY_UNCONFIRMED))
        ),
        refusals.COPY_UNCONFIRMED,
    ),
    (k.still_on_san, "the SAN does not have it", world(**san(NotOnSan())), refusals.NOT_ON_SAN),
    (k.still_on_san, "the SAN is silent", world(**san(LOST)), refusals.SAN_UNKNOWN),
    (
        k.within_pace,
        "as many as may be in a minute",
        world(deletes_last_minute={(DISK_A, DeleteKind.SPACE): 30, (DISK_A, DeleteKind.SURPLUS): 300}),
        refusals.PACE,
    ),
]

SURPLUS_CASES: list[Case] = [
    (
        k.holders_listed,
        "a server that may hold it was never listed",
        doubtful(listed=False),
        refusals.NOT_LISTED_SINCE_START,
    ),
    (
        k.another_copy_stays,
        "the other copy's server is down",
        with_server(world(), DISK_B, up=False),
        refusals.LAST_COPY,
    ),
    (k.another_copy_stays, "the other copy is gone", world([server(DISK_B)]), refusals.LAST_COPY),
    (
        k.on_another_disk,
        "one disk under two addresses",
        with_server(world(), DISK_A, same_disk=frozenset({DISK_B})),
        refusals.SAME_DISK_SUSPECTED,
    ),
]


def double(**lower: Any) -> ClusterView:
    """DISK_A has a lower address as well."""
    other = server(LOWER, {HELD.name}, 950, same_disk=frozenset({DISK_A}))._replace(**lower)
    return with_server(world([other]), DISK_A, same_disk=frozenset({LOWER}))


SPACE_CASES: list[Case] = [
    (
        k.emptied_through_one_address,
        "its disk is used through a lower address",
        double(),
        refusals.SAME_DISK_SUSPECTED,
    ),
    (
        k.emptied_through_one_address,
        "its answers came from two disks, whose limits may be others",
        with_server(world(), DISK_A, moving_disk=True),
        refusals.SAME_DISK_SUSPECTED,
    ),
    (k.not_rising, "viewers want it", world(hits=Hits({HELD.name: 9})), refusals.RISING),
    (
        k.not_watched,
        "it is watched elsewhere",
        world(hits=Hits({}, frozenset({HELD.name}))),
        refusals.WATCHED,
    ),
    (
        k.not_young,
        "it came a moment ago",
        world(arrivals={(HELD.name, DISK_A): NOW.mono_ms - 1}),
        refusals.YOUNG,
    ),
    (
        k.not_young,
        "it came a moment ago by another address of the disk",
        replace(double(up=False), arrivals={(HELD.name, LOWER): NOW.mono_ms - 1}),
        refusals.YOUNG,
    ),
    (
        k.room_is_needed,
        "the disk is at its limit",
        world([server(DISK_A, {HELD.name}, 900)]),
        refusals.NOT_NEEDED,
    ),
    (
        k.breaker_closed,
        "more than a quarter would go",
        world([server(DISK_A, {HELD.name}, 950, limit_percent=70)]),
        refusals.BREAKER,
    ),
]


def ids(cases: list[Case]) -> list[str]:
    return [f"{guard.__name__}: {words}" for guard, words, _, _ in cases]


def without(guard: Callable[..., Any]) -> k.Kernel:
    """The kernel with one guard taken out."""
    fields = (
        "file_guards",
        "destination_guards",
        "place_guards",
        "source_guards",
        "pair_guards",
        "delete_guards",
        "surplus_guards",
        "space_guards",
    )
    return k.Kernel(**{name: tuple(g for g in getattr(KERNEL, name) if g is not guard) for name in fields})


def test_in_a_good_world_everything_is_allowed() -> None:
    view = world()
    ledger = Ledger(view)
    assert KERNEL.refuse_file(view, ledger, NEW) is None
    assert KERNEL.refuse_destination(view, ledger, view.servers[DISK_B]) is None
    assert KERNEL.refuse_place(view, ledger, NEW, view.servers[DISK_B]) is None
    assert KERNEL.refuse_source(view, ledger, view.servers[SOURCE]) is None
    assert KERNEL.refuse_pair(view, ledger, view.servers[SOURCE], view.servers[DISK_B]) is None
    assert KERNEL.refuse_delete(view, ledger, SPACE) is None
    assert KERNEL.refuse_delete(view, ledger, TRIM) is None


@pytest.mark.parametrize(("guard", "words", "view", "reason"), FILE_CASES, ids=ids(FILE_CASES))
def test_a_file_is_refused(guard: Any, words: str, view: ClusterView, reason: Refusal) -> None:
    assert KERNEL.refuse_file(view, Ledger(view), NEW) is reason
    assert without(guard).refuse_file(view, Ledger(view), NEW) is None


@pytest.mark.parametrize(("guard", "words", "view", "reason"), DESTINATION_CASES, ids=ids(DESTINATION_CASES))
def test_a_destination_is_refused(guard: Any, words: str, view: ClusterView, reason: Refusal) -> None:
    assert KERNEL.refuse_destination(view, Ledger(view), view.servers[DISK_B]) is reason
    assert without(guard).refuse_destination(view, Ledger(view), view.servers[DISK_B]) is None


@pytest.mark.parametrize(("guard", "words", "view", "reason"), PLACE_CASES, ids=ids(PLACE_CASES))
def test_a_place_is_refused(guard: Any, words: str, view: ClusterView, reason: Refusal) -> None:
    assert KERNEL.refuse_place(view, Ledger(view), NEW, view.servers[DISK_B]) is reason
    assert without(guard).refuse_place(view, Ledger(view), NEW, view.servers[DISK_B]) is None


@pytest.mark.parametrize(("guard", "words", "view", "reason"), SOURCE_CASES, ids=ids(SOURCE_CASES))
def test_a_source_is_refused(guard: Any, words: str, view: ClusterView, reason: Refusal) -> None:
    assert KERNEL.refuse_source(view, Ledger(view), view.servers[SOURCE]) is reason
    assert without(guard).refuse_source(view, Ledger(view), view.servers[SOURCE]) is None


@pytest.mark.parametrize(("guard", "words", "view", "reason"), PAIR_CASES, ids=ids(PAIR_CASES))
def test_a_pair_is_refused(guard: Any, words: str, view: ClusterView, reason: Refusal) -> None:
    source, place = view.servers[SOURCE], view.servers[DISK_B]
    assert KERNEL.refuse_pair(view, Ledger(view), source, place) is reason
    assert without(guard).refuse_pair(view, Ledger(view), source, place) is None


@pytest.mark.parametrize("deletion", [SPACE, TRIM], ids=["space", "surplus"])
@pytest.mark.parametrize(("guard", "words", "view", "reason"), DELETE_CASES, ids=ids(DELETE_CASES))
def test_a_delete_is_refused(
    guard: Any, words: str, view: ClusterView, reason: Refusal, deletion: Deletion
) -> None:
    assert KERNEL.refuse_delete(view, Ledger(view), deletion) is reason


@pytest.mark.parametrize(("guard", "words", "view", "reason"), SURPLUS_CASES, ids=ids(SURPLUS_CASES))
def test_a_surplus_copy_is_not_trimmed(guard: Any, words: str, view: ClusterView, reason: Refusal) -> None:
    trim = (
        TRIM
        if guard is not k.holders_listed
        else TRIM._replace(file=replace(TWICE, history_ips=("127.0.2.3",)))
    )
    assert KERNEL.refuse_delete(view, Ledger(view), trim) is reason
    assert without(guard).refuse_delete(view, Ledger(view), trim) is None


@pytest.mark.parametrize(("guard", "words", "view", "reason"), SPACE_CASES, ids=ids(SPACE_CASES))
def test_a_file_does_not_go_for_room(guard: Any, words: str, view: ClusterView, reason: Refusal) -> None:
    assert KERNEL.refuse_delete(view, Ledger(view), SPACE) is reason
    assert without(guard).refuse_delete(view, Ledger(view), SPACE) is None


def test_every_guard_has_a_case() -> None:
    def guards() -> Iterator[Callable[..., Any]]:
        for table in (
            KERNEL.file_guards, KERNEL.destination_guards, KERNEL.place_guards, KERNEL.source_guards,
            KERNEL.pair_guards, KERNEL.delete_guards, KERNEL.surplus_guards, KERNEL.space_guards,
        ):  # fmt: skip
            yield from table

    copies = (*FILE_CASES, *DESTINATION_CASES, *PLACE_CASES, *SOURCE_CASES, *PAIR_CASES)
    cases = (*copies, *DELETE_CASES, *SURPLUS_CASES, *SPACE_CASES)
    assert set(guards()) - {case[0] for case in cases} == {k.keeper_confirmed}  # see the next tests


# ── what is asked right before an order is sent ─────────────────────────────────────────────────────────


def sending(view: ClusterView) -> Refusal | None:
    return KERNEL.refuse_delete(view, Ledger(view), TRIM._replace(sending=True))


def seen(present: bool, size: int | None, age_ms: int = 0) -> dict[str, Any]:
    return {"copies_seen": {(TWICE.name, DISK_B): Known(CopySeen(present, size), NOW.mono_ms - age_ms)}}


def test_a_trim_is_sent_only_when_the_copy_that_stays_was_just_confirmed() -> None:
    assert sending(world()) is refusals.COPY_UNCONFIRMED
    assert sending(world(**seen(True, TWICE.size_bytes))) is None
    assert sending(world(**seen(True, None))) is None, "an old worker's list tells no size"
    assert sending(world(**seen(True, TWICE.size_bytes, 10_001))) is refusals.COPY_UNCONFIRMED
    assert sending(world(**seen(True, TWICE.size_bytes - 1))) is refusals.COPY_UNCONFIRMED
    assert sending(world(**seen(False, None))) is refusals.COPY_UNCONFIRMED


def test_a_delete_is_sent_only_when_the_san_was_just_asked() -> None:
    stale = world(san={HELD.name: on_san(HELD, 10_001)})
    assert KERNEL.refuse_delete(stale, Ledger(stale), SPACE) is None
    assert KERNEL.refuse_delete(stale, Ledger(stale), SPACE._replace(sending=True)) is refusals.SAN_UNKNOWN


# ── what lets go ────────────────────────────────────────────────────────────────────────────────────────


def test_brakes_let_go() -> None:
    released = world([server(DISK_A, {HELD.name}, 950, limit_percent=70)], approved_bytes={DISK_A: 250})
    assert KERNEL.refuse_delete(released, Ledger(released), SPACE) is None
    old = world(departures={NEW.name: Departure(NOW.mono_ms - 86_400_000, NEW.rank)})
    assert KERNEL.refuse_file(old, Ledger(old), NEW) is None
    moved = world(departures={NEW.name: Departure(NOW.mono_ms - 1, 6 * NEW.rank)})
    assert KERNEL.refuse_file(moved, Ledger(moved), NEW) is None
    stayed = world(arrivals={(HELD.name, DISK_A): NOW.mono_ms - 3_600_000})
    assert KERNEL.refuse_delete(stayed, Ledger(stayed), SPACE) is None


@pytest.mark.parametrize(
    "lost", [{"up": False}, {"files": LOST}, {"disk": LOST}, {"is_destination": False}], ids=str
)
def test_the_next_address_of_a_disk_is_used_where_the_lowest_is_not_usable(lost: dict[str, Any]) -> None:
    view = double(**lost)
    place = view.servers[DISK_A]
    roomy = replace(view, servers={**view.servers, DISK_A: server(DISK_A, same_disk=place.same_disk)})
    assert KERNEL.refuse_delete(view, Ledger(view), SPACE) is None
    assert KERNEL.refuse_destination(roomy, Ledger(roomy), roomy.servers[DISK_A]) is None


def test_an_order_that_waits_is_not_sent_when_its_disk_turns_out_to_have_a_lower_address() -> None:
    view = double()
    ordered = SPACE._replace(sending=True)
    assert KERNEL.refuse_delete(view, Ledger(view), ordered) is refusals.SAME_DISK_SUSPECTED


def test_room_is_not_made_while_its_orders_at_another_address_have_not_gone() -> None:
    going = replace(order(HELD, DISK_B), room_for=NEW.name)
    view = replace(
        world([server(DISK_A, used_bytes=100, same_disk=frozenset({DISK_B}))]),
        reserved={DISK_B: Reservation(NEW, NOW.mono_ms + 1)},
        order_of={HELD.name: going},
    )
    view = with_server(view, DISK_B, same_disk=frozenset({DISK_A}))
    assert KERNEL.refuse_place(view, Ledger(view), NEW, view.servers[DISK_A]) is refusals.NO_ROOM


def test_a_rising_file_outranks_all_that_is_not_protected() -> None:
    view = world(hits=Hits({NEW.name: 5}))
    assert k.outranks(view, replace(NEW, rank=1000), HELD)
    assert not k.outranks(view, HELD, NEW)
    assert not k.outranks(world(), replace(NEW, rank=850), HELD), "within the margin"


def test_room_for_a_wanted_file_is_made_only_as_far_as_it_is_short() -> None:
    for_new = SPACE._replace(room_for=NEW)
    view = world([server(DISK_A, {HELD.name}, 850)])
    assert KERNEL.refuse_delete(view, Ledger(view), for_new) is None
    roomy = world([server(DISK_A, {HELD.name}, 800)])
    assert KERNEL.refuse_delete(roomy, Ledger(roomy), for_new) is refusals.NOT_NEEDED


def test_the_names_of_the_reasons_are_the_contract() -> None:
    copy = {
        "not_known", "not_on_san", "san_unknown", "ad", "already_placed", "holder_unknown", "in_task",
        "no_room", "next_to_go", "just_deleted", "retry_later", "no_source", "no_destination", "paused",
    }  # fmt: skip
    delete = {
        "not_known", "not_on_san", "san_unknown", "ad", "rising", "watched", "young", "last_copy",
        "copy_unconfirmed", "order_unknown", "in_task", "not_listed_since_start", "server_unknown",
        "not_needed", "metadata_old", "breaker", "pace", "same_disk_suspected", "deletes_off", "paused",
    }  # fmt: skip
    assert copy <= {refusal.name for refusal in COPY_REFUSALS}
    assert delete <= {refusal.name for refusal in DELETE_REFUSALS}


def test_a_disk_is_known_by_its_usage() -> None:
    assert DiskUsage(1000, 335, 665).used_percent == 34
    assert DiskUsage(1000, 0, 0).used_percent == 100
