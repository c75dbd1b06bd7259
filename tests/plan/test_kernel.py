"""Every guard bites alone, and lets go: in a world where all is allowed, one spoiled fact refuses.

A rogue policy yields each wish of the tables below as it is.  The judge lets none through, and the policy
hears why.  Without the guard the wish is granted: each guard has a case that it alone forbids.  The tables
are held against the kernel's own: a guard without a case here fails the suite.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from typing import Any, NamedTuple

import pytest

from cfm.model import (
    OLD_WORKER,
    Addr,
    Booked,
    CopySeen,
    DeleteKind,
    DiskBounds,
    DiskUsage,
    File,
    Hits,
    Known,
    KnownStock,
    NotOnSan,
    OnSan,
    Pause,
    Retry,
    SanCheck,
    Side,
    Sighting,
    Transfer,
    Unknown,
)
from cfm.plan import refusals
from cfm.plan.guards import copies as c
from cfm.plan.guards import deletes as d
from cfm.plan.judge import Judge
from cfm.plan.kernel import KERNEL, Kernel
from cfm.plan.ledger import Ledger
from cfm.plan.outlook import Outlook
from cfm.plan.refusals import COPY_REFUSALS, DELETE_REFUSALS, Refusal
from cfm.plan.round import Round
from cfm.plan.view import Absence, ClusterView, Departure, Reservation, Rules, UnknownHits
from cfm.plan.wishes import Answer, Copy, Delete, MakeRoom, Wish, Wishes
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
    shortlist,
    task,
    with_server,
    world,
)


class Case(NamedTuple):
    """A forbidden wish, the guard that forbids it, and why."""

    guard: Callable[..., Any]
    words: str
    view: ClusterView
    reason: Refusal
    wish: Wish
    alone: bool = True
    """Nothing else is against it."""
    surplus: tuple[File, ...] = ()
    """The surplus copies that the plan listed."""


COPY = Copy(NEW, SOURCE, DISK_B, "rogue")
SPACE = Delete(HELD, DISK_A, DeleteKind.SPACE, "rogue")
TRIM = Delete(TWICE, DISK_A, DeleteKind.SURPLUS, "rogue", keeper=DISK_B)
ROOM = MakeRoom(NEW, DISK_A, (SPACE,))
WIDE, NEAR = replace(NEW, name="WIDE.mpg", size_bytes=200), File("NEAR.mpg", 8, 100)
LOST = Unknown("no answer", NOW.mono_ms - 1000)


def san(answer: object, age_ms: int = 0) -> dict[str, Any]:
    known = Known(answer, NOW.mono_ms - age_ms)
    return {"san": {NEW.name: known, HELD.name: known, TWICE.name: known}}


def seen_for(span_ms: int, since_ago_ms: int = 5_000, mtime_s: int = NOW.wall_s) -> dict[str, Any]:
    """All looks in a span of time showed the same version, which was written a moment ago."""
    since_ms = NOW.mono_ms - since_ago_ms
    found = OnSan("/san/x", 100, mtime_s * 10**9)
    sighting = Sighting(found, since_ms, since_ms + span_ms)
    return {"sightings": {NEW.name: sighting, HELD.name: sighting, TWICE.name: sighting}}


def doubtful(*names: str, listed: bool = True) -> ClusterView:
    lost = server(DISK_C, names)._replace(files=LOST, last_list=frozenset(names) if listed else None)
    return replace(world([lost]), doubtful=(lost,))


def paused(side: Side, until_ms: int, spared_ms: int = 0) -> dict[Side, Pause]:
    """This server or pair has a pause, which ends so long after now."""
    return {side: Pause(1, NOW.mono_ms + until_ms, NOW.mono_ms + spared_ms, NOW.mono_ms, "it fails")}


def in_pause(side: Side, until_ms: int, spared_ms: int = 0, **more: Any) -> ClusterView:
    return world([server(DISK_C)], pauses=paused(side, until_ms, spared_ms), **more)


def full(**more: Any) -> ClusterView:
    """Nothing takes NEW, and HELD may go for it."""
    return world([server(DISK_A, {HELD.name, TWICE.name}, 880), server(DISK_B, {TWICE.name}, 900)], **more)


def double(**lower: Any) -> ClusterView:
    """DISK_A has a lower address as well."""
    other = server(LOWER, {HELD.name}, 950, same_disk=frozenset({DISK_A}))._replace(**lower)
    return with_server(world([other]), DISK_A, same_disk=frozenset({LOWER}))


FILE_CASES = [
    Case(c.not_paused, "our state cannot be written", world(paused=True), refusals.PAUSED, COPY),
    Case(c.not_an_ad, "an ad's prefix", world(rules=Rules(ad_prefixes=("NE",))), refusals.AD, COPY),
    Case(
        c.on_no_destination,
        "a destination lists it",
        world([server(DISK_C, {NEW.name})]),
        refusals.ALREADY_PLACED,
        COPY,
    ),
    Case(
        c.on_no_destination,
        "of two copies one is stale",
        world(
            [server(DISK_A, {NEW.name}), server(DISK_C, {NEW.name})],
            stale={NEW.name: frozenset({DISK_C})},
        ),
        refusals.ALREADY_PLACED,
        COPY,
    ),
    Case(
        c.on_no_doubtful_destination,
        "a lost list has it",
        doubtful(NEW.name),
        refusals.HOLDER_UNKNOWN,
        COPY,
    ),
    Case(c.not_in_a_task, "it is being copied", world(task_of={NEW.name: task(NEW)}), refusals.IN_TASK, COPY),
    Case(
        c.not_in_a_task,
        "its delete is open",
        world(order_of={NEW.name: order(NEW)}),
        refusals.ORDER_UNKNOWN,
        COPY,
    ),
    Case(
        c.not_just_deleted,
        "it went an hour ago",
        world(departures={NEW.name: Departure(NOW.mono_ms - 3_600_000, NEW)}),
        refusals.JUST_DELETED,
        COPY,
    ),
    Case(
        c.not_failing,
        "its pause runs",
        world(retries={NEW.name: Retry(2, NOW.mono_ms + 1)}),
        refusals.RETRY_LATER,
        COPY,
    ),
    Case(
        c.not_missing_on_san,
        "it was not there a while ago, and is there in another size",
        world(**san(OnSan("/san/x", 99))),
        refusals.OTHER_SIZE,
        COPY,
        alone=False,
    ),
    Case(
        c.not_missing_on_san,
        "it is not there",
        world(**san(NotOnSan())),
        refusals.NOT_ON_SAN,
        COPY,
        alone=False,
    ),
    Case(
        c.not_missing_on_san,
        "it is empty there",
        world(**san(OnSan("/san/x", 0))),
        refusals.NOT_ON_SAN,
        COPY,
        alone=False,
    ),
]

PLACE_CASES = [
    Case(
        c.destination_usable,
        "no plan has counted its files",
        world(uncounted={DISK_B}),
        refusals.NO_DESTINATION,
        COPY,
    ),
    Case(
        c.destination_usable,
        "it is down",
        with_server(world(), DISK_B, up=False),
        refusals.NO_DESTINATION,
        COPY,
    ),
    Case(
        c.destination_usable,
        "its list is unknown",
        with_server(world(), DISK_B, files=LOST),
        refusals.NO_DESTINATION,
        COPY,
    ),
    Case(
        c.destination_usable,
        "it is no destination",
        with_server(world(), DISK_B, is_destination=False),
        refusals.NO_DESTINATION,
        COPY,
    ),
    Case(
        c.not_to_a_source_folder,
        "the SAN is mounted there",
        with_server(world(), DISK_B, san=SanCheck("probe", "/san")),
        refusals.SOURCE_DISK,
        COPY,
        alone=False,
    ),
    Case(
        c.not_to_a_source_folder,
        "it is not known yet whether its disk is the folder that has the file",
        with_server(world(), DISK_B, san=SanCheck("probe", ruled_out={"/other": NOW.mono_ms})),
        refusals.DISK_NOT_RULED_OUT,
        COPY,
    ),
    Case(
        c.through_one_address,
        "its disk is used through a lower address",
        with_server(world(), DISK_B, same_disk=frozenset({DISK_A})),
        refusals.SAME_DISK_SUSPECTED,
        COPY,
    ),
    Case(
        c.not_vanished_there,
        "its copy vanished from there",
        world(retries={NEW.name: Retry(vanished={DISK_B: NOW.mono_ms + 1})}),
        refusals.VANISHED,
        COPY,
    ),
    Case(
        c.replaced_where_it_can_be,
        "an older version lies there, and its worker has no built-in transfer",
        world(
            [server(DISK_B, {NEW.name}, features=replace(OURS, transfer=Transfer.EXTERNAL))],
            stale={NEW.name: frozenset({DISK_B})},
        ),
        refusals.STALE_THERE,
        COPY,
    ),
    Case(
        c.replaced_where_it_can_be,
        "an older version lies there, at an old worker",
        world([server(DISK_B, {NEW.name}, features=OLD_WORKER)], stale={NEW.name: frozenset({DISK_B})}),
        refusals.STALE_THERE,
        COPY,
    ),
    Case(
        c.not_next_to_go,
        "room is being made for a better file",
        world(
            [server(DISK_B, used_bytes=100)],
            reserved={DISK_B: Reservation(replace(HELD, rank=1), NOW.mono_ms + 1)},
        ),
        refusals.NEXT_TO_GO,
        COPY,
    ),
    Case(
        c.room_is_made,
        "what goes for it has not gone yet",
        world(
            [server(DISK_B, used_bytes=100)],
            reserved={DISK_B: Reservation(NEW, NOW.mono_ms + 1)},
            order_of={HELD.name: replace(order(HELD, DISK_B), room_for=NEW.name)},
        ),
        refusals.NO_ROOM,
        COPY,
    ),
    Case(
        c.room_is_made,
        "what goes for it has not gone yet, and its rank has moved meanwhile",
        world(
            [server(DISK_B, used_bytes=100)],
            reserved={DISK_B: Reservation(replace(NEW, rank=NEW.rank + 1), NOW.mono_ms + 1)},
            order_of={HELD.name: replace(order(HELD, DISK_B), room_for=NEW.name)},
        ),
        refusals.NO_ROOM,
        COPY,
    ),
    Case(
        c.room_is_made,
        "what goes for it has not gone yet, and the room is not kept for it any more",
        world(
            [server(DISK_B, used_bytes=100)],
            order_of={HELD.name: replace(order(HELD, DISK_B), room_for=NEW.name)},
        ),
        refusals.NO_ROOM,
        COPY,
    ),
    Case(
        c.within_limit, "one byte too many", world([server(DISK_B, used_bytes=801)]), refusals.NO_ROOM, COPY
    ),
]

TURN_CASES = [
    Case(
        c.source_not_in_pause,
        "its pause runs",
        in_pause(Side(source=SOURCE), until_ms=1),
        refusals.SOURCE_IN_PAUSE,
        COPY,
    ),
    Case(
        c.destination_not_in_pause,
        "its pause runs",
        in_pause(Side(destination=DISK_B), until_ms=1),
        refusals.DESTINATION_IN_PAUSE,
        COPY,
    ),
    Case(
        c.destination_not_in_pause,
        "its failures cost much time, and another disk takes the file",
        in_pause(Side(destination=DISK_B), until_ms=0, spared_ms=1),
        refusals.DESTINATION_IN_PAUSE,
        COPY,
    ),
    Case(
        c.destination_not_in_pause,
        "its pause is over, and one copy is being tried",
        in_pause(Side(destination=DISK_B), until_ms=0, tasks={1: replace(task(TWICE), source=DISK_C)}),
        refusals.DESTINATION_IN_PAUSE,
        COPY,
    ),
    Case(
        c.pair_not_in_pause,
        "its pause runs",
        in_pause(Side(SOURCE, DISK_B), until_ms=1),
        refusals.PAIR_IN_PAUSE,
        COPY,
    ),
    Case(
        c.pair_not_in_pause,
        "the file has just failed on it",
        world(retries={NEW.name: Retry(1, NOW.mono_ms + 1, frozenset({(SOURCE, DISK_B)}))}),
        refusals.PAIR_IN_PAUSE,
        COPY,
    ),
    Case(c.source_free, "it is down", with_server(world(), SOURCE, up=False), refusals.NO_SOURCE, COPY),
    Case(c.source_free, "it sends already", world(tasks={1: task(TWICE)}), refusals.NO_SOURCE, COPY),
    Case(
        c.source_free,
        "a zombie is still read from it",
        world(uncut={1: task(TWICE)}),
        refusals.NO_SOURCE,
        COPY,
    ),
    Case(
        c.source_free,
        "it is no source",
        with_server(world(), SOURCE, is_source=False),
        refusals.NO_SOURCE,
        COPY,
    ),
    Case(
        c.source_free,
        "it said that it is busy",
        with_server(world(), SOURCE, busy_until_ms=NOW.mono_ms + 1),
        refusals.NO_SOURCE,
        COPY,
    ),
    Case(
        c.source_speaks,
        "an old cfw and a built-in transfer",
        with_server(world(), SOURCE, features=replace(OURS, serves=False)),
        refusals.NO_SOURCE,
        COPY,
    ),
    Case(
        c.destination_free,
        "it receives as many as it may",
        world(
            [server(DISK_B, features=replace(OURS, downloads=1)), server(DISK_C)],
            tasks={1: replace(task(TWICE), source=DISK_C)},
            rules=Rules(incoming_per_destination=1),
        ),
        refusals.NO_DESTINATION,
        COPY,
    ),
]

ABSENT = {file.name: Absence(file, 99, 0) for file in (NEW, HELD, TWICE)}
"""What the SAN was found to have with another size."""

SAN_CASES = [
    Case(c.at_rest_on_san, "seen once", world(**seen_for(0)), refusals.STILL_BEING_WRITTEN, COPY),
    Case(
        c.at_rest_on_san,
        "it has rested for too short a time",
        world(**seen_for(4_999)),
        refusals.STILL_BEING_WRITTEN,
        COPY,
    ),
    Case(c.surely_on_san, "not looked up yet", world(san={}), refusals.SAN_UNKNOWN, COPY),
    Case(
        c.surely_on_san,
        "looked up too long ago",
        world(**san(OnSan("/san/x", 100), 10_001)),
        refusals.SAN_UNKNOWN,
        COPY,
    ),
    Case(c.surely_on_san, "the SAN is silent", world(**san(LOST)), refusals.SAN_UNKNOWN, COPY),
    Case(
        c.surely_on_san,
        "it was not there a while ago",
        world(**san(NotOnSan(), 60_001)),
        refusals.SAN_UNKNOWN,
        COPY,
    ),
]


def of_any_delete(
    guard: Callable[..., Any], words: str, view: ClusterView, reason: Refusal, alone: bool = True
) -> list[Case]:
    return [Case(guard, words, view, reason, wish, alone) for wish in (SPACE, TRIM)]


DELETE_CASES = [
    *of_any_delete(c.not_paused, "our state cannot be written", world(paused=True), refusals.PAUSED),
    *of_any_delete(
        d.deletes_on, "deletes are off", world(rules=Rules(deletes_on=False)), refusals.DELETES_OFF
    ),
    *of_any_delete(
        c.not_an_ad, "an ad's prefix", world(rules=Rules(ad_prefixes=("HELD", "TWICE"))), refusals.AD
    ),
    *(
        Case(
            d.at_rest_where_it_stays,
            "the SAN's file was seen once, a moment ago",
            world(**seen_for(0, since_ago_ms=1)),
            refusals.STILL_BEING_WRITTEN,
            wish,
            alone=wish is TRIM,
        )
        for wish in (SPACE, TRIM)
    ),
    *of_any_delete(
        d.not_a_source_folder,
        "the SAN is mounted there",
        with_server(world(), DISK_A, san=SanCheck("probe", "/san")),
        refusals.SOURCE_DISK,
        alone=False,
    ),
    *of_any_delete(
        d.surely_no_source_folder,
        "it is not known yet whether its disk is the folder that has the file",
        with_server(world(), DISK_A, san=SanCheck("probe", ruled_out={"/other": NOW.mono_ms})),
        refusals.DISK_NOT_RULED_OUT,
    ),
    *of_any_delete(
        d.surely_no_source_folder,
        "its list lacks no file of that folder so far",
        with_server(world(), DISK_A, san=SanCheck()),
        refusals.DISK_NOT_RULED_OUT,
    ),
    Case(d.server_known, "it is down", with_server(world(), DISK_A, up=False), refusals.SERVER_UNKNOWN, TRIM),
    Case(
        d.server_known,
        "its disk is unknown",
        with_server(world(), DISK_A, disk=LOST),
        refusals.SERVER_UNKNOWN,
        TRIM,
    ),
    *of_any_delete(
        d.server_known,
        "it was never listed",
        with_server(world(), DISK_A, files=LOST, last_list=None),
        refusals.NOT_LISTED_SINCE_START,
        alone=False,
    ),
    *of_any_delete(
        d.server_carries_out,
        "it did not carry out its last delete",
        with_server(world(), DISK_A, no_deletes_until_ms=NOW.mono_ms + 1),
        refusals.SERVER_REFUSES,
    ),
    *of_any_delete(
        d.file_is_there,
        "its list does not have it",
        with_server(world(), DISK_A, files=Known(frozenset[str](), NOW.mono_ms)),
        refusals.NOT_NEEDED,
    ),
    *of_any_delete(
        d.metadata_fresh,
        "the numbers are old",
        world(metadata_age_ms=2 * 86_400_000 + 1),
        refusals.METADATA_OLD,
    ),
    *of_any_delete(d.metadata_fresh, "there are no numbers", world(snapshot=None), refusals.METADATA_OLD),
    *of_any_delete(
        d.not_being_copied,
        "a stream of it is not cut",
        world(uncut={1: task(HELD), 2: task(TWICE)}),
        refusals.IN_TASK,
    ),
    *of_any_delete(
        d.one_order_per_file,
        "another order for it is open",
        world(order_of={HELD.name: order(HELD, DISK_B), TWICE.name: order(TWICE, DISK_B)}),
        refusals.ORDER_UNKNOWN,
    ),
    *of_any_delete(
        d.not_lately_dropped,
        "its last order was dropped a moment ago",
        world(
            delete_pauses=dict.fromkeys((HELD.name, TWICE.name), (NOW.mono_ms + 1, refusals.COPY_UNCONFIRMED))
        ),
        refusals.COPY_UNCONFIRMED,
    ),
    *(
        case
        for words, answer, reason in (
            ("the SAN does not have it", NotOnSan(), refusals.NOT_ON_SAN),
            ("it has another size there", OnSan("/san/x", 99), refusals.OTHER_SIZE),
            ("the SAN is silent", LOST, refusals.SAN_UNKNOWN),
        )
        for case in (
            Case(d.still_on_san, words, world(**san(answer)), reason, SPACE, alone=False),
            Case(d.still_on_san, words, world(**san(answer)), reason, TRIM),
        )
    ),
    Case(
        d.still_on_san,
        "it was not there, long ago, and is looked up again only later",
        world(absent=ABSENT),
        refusals.OTHER_SIZE,
        TRIM,
    ),
    *of_any_delete(
        d.within_pace,
        "as many as may be in a minute",
        world(deletes_last_minute={(DISK_A, DeleteKind.SPACE): 30, (DISK_A, DeleteKind.SURPLUS): 300}),
        refusals.PACE,
    ),
]

SURPLUS_CASES = [
    Case(
        d.holders_listed,
        "a server that may hold it was never listed",
        doubtful(listed=False),
        refusals.NOT_LISTED_SINCE_START,
        TRIM._replace(file=replace(TWICE, history_ips=("127.0.2.3",))),
    ),
    Case(
        d.keeper_not_stale,
        "the copy that would stay is of an older version",
        world(stale={TWICE.name: frozenset({DISK_B})}),
        refusals.KEEPER_STALE,
        TRIM,
    ),
    Case(
        d.another_copy_stays,
        "the other copy's server is down",
        with_server(world(), DISK_B, up=False),
        refusals.LAST_COPY,
        TRIM,
    ),
    Case(d.another_copy_stays, "the other copy is gone", world([server(DISK_B)]), refusals.LAST_COPY, TRIM),
    Case(
        d.another_copy_stays,
        "it would keep itself",
        world(),
        refusals.LAST_COPY,
        TRIM._replace(keeper=DISK_A),
    ),
    Case(d.another_copy_stays, "no keeper is named", world(), refusals.LAST_COPY, TRIM._replace(keeper=None)),
    Case(
        d.on_another_disk,
        "one disk under two addresses",
        with_server(world(), DISK_A, same_disk=frozenset({DISK_B})),
        refusals.SAME_DISK_SUSPECTED,
        TRIM,
    ),
]

SPACE_CASES = [
    Case(
        d.emptied_through_one_address,
        "its disk is used through a lower address",
        double(),
        refusals.SAME_DISK_SUSPECTED,
        SPACE,
    ),
    Case(
        d.emptied_through_one_address,
        "its answers came from two disks, whose limits may be others",
        with_server(world(), DISK_A, moving_disk=True),
        refusals.SAME_DISK_SUSPECTED,
        SPACE,
    ),
    Case(
        d.hits_are_known,
        "it was watched when the event log was lost",
        world(unknown_hits=UnknownHits(NOW.mono_ms, frozenset({HELD.name}))),
        refusals.HITS_UNKNOWN,
        SPACE,
    ),
    Case(
        d.hits_are_known,
        "nobody knows who watches it",
        full(unknown_hits=UnknownHits(NOW.mono_ms, frozenset())),
        refusals.HITS_UNKNOWN,
        ROOM,
    ),
    Case(
        d.surplus_goes_first,
        "a surplus copy there brings the disk back to its limit",
        world(),
        refusals.SURPLUS_FIRST,
        SPACE,
        surplus=(TWICE,),
    ),
    Case(d.not_rising, "viewers want it", world(hits=Hits({HELD.name: 9})), refusals.RISING, SPACE),
    Case(
        d.not_watched,
        "it is watched elsewhere",
        world(hits=Hits({}, frozenset({HELD.name}))),
        refusals.WATCHED,
        SPACE,
    ),
    Case(
        d.not_young,
        "it came a moment ago",
        world(arrivals={(HELD.name, DISK_A): NOW.mono_ms - 1}),
        refusals.YOUNG,
        SPACE,
    ),
    Case(
        d.not_young,
        "it came a moment ago by another address of the disk",
        replace(double(up=False), arrivals={(HELD.name, LOWER): NOW.mono_ms - 1}),
        refusals.YOUNG,
        SPACE,
    ),
    Case(
        d.room_is_needed,
        "the disk is at its limit",
        world([server(DISK_A, {HELD.name}, 900)]),
        refusals.NOT_NEEDED,
        SPACE,
    ),
    Case(
        d.need_is_proven,
        "one reading alone shows the disk",
        with_server(world(), DISK_A, bounds=DiskBounds(DiskUsage(1000, 950, 50), None)),
        refusals.NEED_UNPROVEN,
        SPACE,
    ),
    Case(
        d.need_is_proven,
        "one reading shows a smaller disk than the one before it",
        with_server(world(), DISK_A, bounds=DiskBounds(DiskUsage(1000, 950, 50), DiskUsage(2000, 950, 1050))),
        refusals.NEED_UNPROVEN,
        SPACE,
    ),
    Case(
        d.deletes_free_room,
        "what went lately frees nothing",
        replace(with_server(world(), DISK_A, frees_late=True), gone={DISK_A: [Booked(NOW.mono_ms - 1, 10)]}),
        refusals.FREES_LATE,
        SPACE,
    ),
    Case(
        d.limit_can_be_reached,
        "other data fills the disk",
        world(stock={DISK_A: KnownStock(known_bytes=900, may_go_bytes=49)}),
        refusals.LIMIT_UNREACHABLE,
        SPACE,
    ),
    Case(
        d.breaker_closed,
        "more than a quarter of the known files would go",
        world(stock={DISK_A: KnownStock(known_bytes=199, may_go_bytes=199)}),
        refusals.BREAKER,
        SPACE,
    ),
    Case(
        d.breaker_closed,
        "more than a quarter would go",
        world([server(DISK_A, {HELD.name}, 950, limit_percent=70)]),
        refusals.BREAKER,
        SPACE,
    ),
]

OTHER = File("OTHER.mpg", 1, 50)
ROOM_CASES = [
    Case(
        c.not_vanished_there,
        "a copy of the file vanished from that place",
        full(retries={NEW.name: Retry(vanished={DISK_A: NOW.mono_ms + 1})}),
        refusals.VANISHED,
        ROOM,
    ),
    Case(
        c.not_to_a_source_folder,
        "that place may be a source folder",
        with_server(full(), DISK_A, san=SanCheck("probe")),
        refusals.DISK_NOT_RULED_OUT,
        ROOM,
        alone=False,
    ),
    Case(
        d.destination_takes_copies,
        "copies to that place fail, and its pause runs",
        full(pauses=paused(Side(destination=DISK_A), until_ms=1)),
        refusals.DESTINATION_IN_PAUSE,
        ROOM,
    ),
    Case(
        d.destination_takes_copies,
        "copies to that place fail and cost much time, and there is another disk",
        full(pauses=paused(Side(destination=DISK_A), until_ms=0, spared_ms=1)),
        refusals.DESTINATION_IN_PAUSE,
        ROOM,
    ),
    Case(
        d.it_does_not_fail,
        "the file has failed elsewhere",
        full(retries={NEW.name: Retry(1)}),
        refusals.RETRY_LATER,
        ROOM,
    ),
    Case(
        d.room_is_needed,
        "what would go is nearly as much wanted",
        full(),
        refusals.NOT_NEEDED,
        MakeRoom(replace(NEW, rank=850), DISK_A, (SPACE,)),
    ),
    Case(
        d.room_is_needed,
        "the file before it makes room enough",
        full(),
        refusals.NOT_NEEDED,
        MakeRoom(NEW, DISK_A, (SPACE, SPACE._replace(file=replace(TWICE, rank=800)))),
    ),
    Case(
        d.all_for_this_room, "nothing is in it", full(), refusals.NOT_NEEDED, MakeRoom(NEW, DISK_A, ()), False
    ),
    Case(
        d.all_for_this_room,
        "a copy on another disk is slipped in",
        full(),
        refusals.NOT_NEEDED,
        MakeRoom(NEW, DISK_A, (SPACE, TRIM._replace(server=DISK_B, keeper=DISK_A))),
    ),
    Case(
        d.surplus_goes_first,
        "a surplus copy there makes the room",
        full(),
        refusals.SURPLUS_FIRST,
        ROOM,
        surplus=(TWICE,),
    ),
    Case(
        d.worth_its_room,
        "two files would go for one that is three ranks better",
        world(
            [server(DISK_A, {HELD.name, NEAR.name}, 880), server(DISK_B, (), 900)],
            san={file.name: on_san(file) for file in (WIDE, HELD, NEAR)},
        ),
        refusals.NOT_WORTH_IT,
        MakeRoom(WIDE, DISK_A, (SPACE, SPACE._replace(file=NEAR))),
    ),
    Case(
        d.kept_for_no_other,
        "the room there is kept for another file",
        full(reserved={DISK_A: Reservation(OTHER, NOW.mono_ms + 1)}),
        refusals.NOT_NEEDED,
        ROOM,
    ),
    Case(
        d.not_promised_elsewhere,
        "room for it is on its way on another disk",
        full(reserved={DISK_B: Reservation(NEW, NOW.mono_ms + 1)}, landed={DISK_B: [Booked(NOW.mono_ms, 1)]}),
        refusals.NOT_NEEDED,
        ROOM,
    ),
    Case(
        d.fits_nowhere,
        "another disk takes it as it is",
        world([server(DISK_A, {HELD.name}, 880)]),
        refusals.NOT_NEEDED,
        ROOM,
    ),
    Case(
        d.makes_enough_room,
        "it would still not fit",
        full(san={f.name: on_san(f) for f in (replace(NEW, size_bytes=200), HELD)}),
        refusals.NOT_NEEDED,
        MakeRoom(replace(NEW, size_bytes=200), DISK_A, (SPACE,)),
    ),
]

CASES = [
    *FILE_CASES, *PLACE_CASES, *TURN_CASES, *SAN_CASES, *DELETE_CASES, *SURPLUS_CASES, *SPACE_CASES,
    *ROOM_CASES,
]  # fmt: skip
AT_SENDING = {d.keeper_confirmed}
"""Guards that bite only right before an order is sent: see below."""


def ask(
    view: ClusterView, *wishes: Wish, kernel: Kernel = KERNEL, surplus: tuple[File, ...] = ()
) -> tuple[list[Answer], Round]:
    """What a policy hears that yields just these wishes, and what became of them."""
    heard: list[Answer] = []

    def rogue(_outlook: Outlook) -> Wishes:
        for wish in wishes:
            answer = yield wish
            heard.append(answer)

    round_ = Judge(view, kernel).run([rogue], shortlist(surplus=surplus))
    return heard, round_


def refused(
    view: ClusterView, wish: Wish, kernel: Kernel = KERNEL, surplus: tuple[File, ...] = ()
) -> Refusal | None:
    (answer,), _round = ask(view, wish, kernel=kernel, surplus=surplus)
    return answer.refusal if answer is not None else None


def without(guard: Callable[..., Any]) -> Kernel:
    """The kernel with one guard taken out, wherever it stands."""
    tables = {field.name: getattr(KERNEL, field.name) for field in fields(KERNEL)}
    return Kernel(**{name: tuple(g for g in table if g is not guard) for name, table in tables.items()})


def books(ledger: Ledger) -> tuple[object, ...]:
    """All that is booked."""
    ordered = {key: number for key, number in ledger.ordered.items() if number}
    loads = {addr: ledger.load(addr) for addr in (SOURCE, DISK_A, DISK_B, DISK_C, LOWER)}
    return ledger.disks, ordered, loads, ledger.busy_files, ledger.promised()


@pytest.mark.parametrize("wish", [COPY, SPACE, TRIM], ids=["copy", "space", "surplus"])
def test_in_a_good_world_everything_is_granted(wish: Wish) -> None:
    heard, round_ = ask(world(), wish)
    assert heard == [None]
    assert round_.booked == [wish]


def test_room_is_granted_by_surplus_copies_alone_and_before_unique_files() -> None:
    trims = MakeRoom(NEW, DISK_A, (TRIM,))
    assert refused(full(), trims, surplus=(TWICE,)) is None
    wide = replace(full(), san={**full().san, WIDE.name: on_san(WIDE)})
    assert refused(wide, MakeRoom(WIDE, DISK_A, (TRIM, SPACE)), surplus=(TWICE,)) is None
    assert refused(wide, MakeRoom(WIDE, DISK_A, (SPACE, TRIM)), surplus=(TWICE,)) is refusals.SURPLUS_FIRST


def test_on_a_full_node_room_is_granted() -> None:
    heard, round_ = ask(full(), ROOM)
    assert heard == [None]
    assert round_.booked == [ROOM]
    assert list(round_.deletes_for()) == [(SPACE, NEW)]


@pytest.mark.parametrize("case", CASES, ids=[f"{case.guard.__name__}: {case.words}" for case in CASES])
def test_no_rogue_policy_gets_a_forbidden_wish_through(case: Case) -> None:
    (answer,), round_ = ask(case.view, case.wish, surplus=case.surplus)
    assert answer is not None
    assert answer.refusal is case.reason
    assert not round_.booked
    assert books(round_.ledger) == books(Ledger(case.view)), "nothing is booked, not even in part"
    if case.alone:
        assert refused(case.view, case.wish, without(case.guard), case.surplus) is None


def test_every_guard_has_a_case() -> None:
    def guards() -> Iterator[Callable[..., Any]]:
        for field in fields(KERNEL):
            yield from getattr(KERNEL, field.name)

    assert set(guards()) - {case.guard for case in CASES} == AT_SENDING


NOWHERE = Addr("127.9.9.9:8888")


@pytest.mark.parametrize(
    ("wish", "reason"),
    [
        (COPY._replace(destination=NOWHERE), refusals.NO_DESTINATION),
        (COPY._replace(source=NOWHERE), refusals.NO_SOURCE),
        (COPY._replace(source=DISK_B), refusals.NO_SOURCE),
        (COPY._replace(destination=SOURCE), refusals.NO_DESTINATION),
        (SPACE._replace(server=NOWHERE), refusals.SERVER_UNKNOWN),
        (SPACE._replace(server=SOURCE), refusals.SERVER_UNKNOWN),
        (TRIM._replace(keeper=NOWHERE), refusals.LAST_COPY),
        (MakeRoom(NEW, NOWHERE, (SPACE,)), refusals.NOT_NEEDED),
        (MakeRoom(NEW, NOWHERE, (SPACE._replace(server=NOWHERE),)), refusals.SERVER_UNKNOWN),
        (MakeRoom(HELD, DISK_A, (SPACE,)), refusals.NOT_NEEDED),
    ],
    ids=str,
)
def test_nonsense_is_refused_like_anything_else(wish: Wish, reason: Refusal) -> None:
    view = full() if isinstance(wish, MakeRoom) else world()
    (answer,), round_ = ask(view, wish)
    assert answer is not None
    assert answer.refusal is reason
    assert not round_.booked


def test_each_wish_is_judged_with_what_was_granted_before() -> None:
    again = COPY._replace(destination=DISK_C)
    other = COPY._replace(file=replace(NEW, name="NEXT.mpg", rank=6))
    view = world([server(DISK_C)], san={f.name: on_san(f) for f in (NEW, HELD, TWICE, other.file)})
    heard, round_ = ask(view, COPY, again, other, SPACE, SPACE, TRIM)
    reasons = [answer.refusal if answer else None for answer in heard]
    assert reasons == [None, refusals.IN_TASK, refusals.NO_SOURCE, None, refusals.ORDER_UNKNOWN, None]
    assert round_.booked == [COPY, SPACE, TRIM]


# ── what is asked right before an order is sent ─────────────────────────────────────────────────────────


def at_sending(view: ClusterView, wish: Delete, room_for: File | None = None) -> Refusal | None:
    """What is said of an order that was made of this wish and waits to be sent."""
    made = replace(
        order(wish.file, wish.server, wish.kind),
        keeper=wish.keeper,
        room_for=room_for.name if room_for is not None else None,
    )
    paced = {**view.deletes_last_minute}
    paced[wish.server, wish.kind] = paced.get((wish.server, wish.kind), 0) + 1
    view = replace(view, order_of={**view.order_of, wish.file.name: made}, deletes_last_minute=paced)
    judge, untouched = Judge(view, KERNEL), Ledger(view)
    refusal = judge.refuse_order(wish, room_for)
    assert books(judge.round.ledger) == books(untouched), "it is in the books as before"
    return refusal


def seen(present: bool, size: int | None, age_ms: int = 0) -> dict[str, Any]:
    return {"copies_seen": {(TWICE.name, DISK_B): Known(CopySeen(present, size), NOW.mono_ms - age_ms)}}


def test_a_trim_is_sent_only_when_the_copy_that_stays_was_just_confirmed() -> None:
    assert at_sending(world(), TRIM) is refusals.COPY_UNCONFIRMED
    assert at_sending(world(**seen(True, TWICE.size_bytes)), TRIM) is None
    assert at_sending(world(**seen(True, None)), TRIM) is None, "an old worker's list tells no size"
    assert at_sending(world(**seen(True, TWICE.size_bytes, 10_001)), TRIM) is refusals.COPY_UNCONFIRMED
    assert at_sending(world(**seen(True, TWICE.size_bytes - 1)), TRIM) is refusals.COPY_UNCONFIRMED
    assert at_sending(world(**seen(False, None)), TRIM) is refusals.COPY_UNCONFIRMED


def test_a_file_whose_every_copy_is_stale_is_copied_elsewhere_or_where_it_lies() -> None:
    elsewhere = world([server(DISK_C, {NEW.name})], stale={NEW.name: frozenset({DISK_C})})
    assert refused(elsewhere, COPY) is None
    there = world([server(DISK_B, {NEW.name})], stale={NEW.name: frozenset({DISK_B})})
    assert refused(there, COPY) is None


def test_of_two_stale_copies_either_may_go() -> None:
    both = world(stale={TWICE.name: frozenset({DISK_A, DISK_B})})
    assert refused(both, TRIM) is None
    assert refused(world(stale={TWICE.name: frozenset({DISK_A})}), TRIM) is None, "the stale one goes"


def test_a_delete_is_sent_only_when_the_san_was_just_asked() -> None:
    stale = world(san={file.name: on_san(file, 10_001) for file in (HELD, TWICE)})
    assert refused(stale, TRIM) is None
    assert at_sending(stale, TRIM) is refusals.SAN_UNKNOWN
    assert refused(stale, SPACE) is refusals.SAN_UNKNOWN, "no order is made only to be dropped"
    assert at_sending(stale, SPACE) is refusals.SAN_UNKNOWN


def test_what_the_san_has_with_another_size_counts_again_when_the_history_has_that_size() -> None:
    assert refused(world(absent=ABSENT), COPY) is refusals.OTHER_SIZE
    gone = {NEW.name: ABSENT[NEW.name]._replace(found_bytes=0)}
    assert refused(world(absent=gone), COPY) is refusals.NOT_ON_SAN
    grown = replace(NEW, size_bytes=99)
    view = world(absent=ABSENT, san={NEW.name: on_san(grown)})
    assert refused(view, COPY._replace(file=grown)) is None


@pytest.mark.parametrize(
    "case",
    [case for case in (*DELETE_CASES, *SPACE_CASES) if case.wish is SPACE],
    ids=lambda case: f"{case.guard.__name__}: {case.words}",
)
def test_every_guard_is_asked_once_more_before_an_order_is_sent(case: Case) -> None:
    assert isinstance(case.wish, Delete)
    if case.guard is d.one_order_per_file:
        assert at_sending(case.view, case.wish) is None, "its own order is not another one"
    elif case.guard is d.surplus_goes_first:
        assert at_sending(case.view, case.wish) is None, "it was the best when it was made"
    else:
        assert at_sending(case.view, case.wish) is case.reason


def test_a_delete_is_sent_only_when_what_the_san_keeps_is_at_rest() -> None:
    once = world(**seen_for(0))
    assert refused(once, TRIM) is None, "the next look is due: the order has it made"
    assert refused(once, SPACE) is refusals.STILL_BEING_WRITTEN, "the next look is made before the order"
    assert at_sending(once, SPACE) is refusals.STILL_BEING_WRITTEN
    assert at_sending(world(**seen_for(5_000)), SPACE) is None


@pytest.mark.parametrize("mtime_s", [0, NOW.wall_s - 2 * 86_400])
def test_what_was_written_days_ago_is_at_rest_at_the_first_look(mtime_s: int) -> None:
    assert refused(world(**seen_for(0, mtime_s=mtime_s)), COPY) is None


@pytest.mark.parametrize("ahead_s", [-86_400, 0, 1, 86_400, 10 * 365 * 86_400])
def test_whatever_the_clocks_say_two_looks_decide(ahead_s: int) -> None:
    mtime_s = NOW.wall_s + ahead_s
    assert refused(world(**seen_for(0, mtime_s=mtime_s)), COPY) is refusals.STILL_BEING_WRITTEN
    assert refused(world(**seen_for(5_000, mtime_s=mtime_s)), COPY) is None


def test_a_rest_of_no_time_is_no_rule() -> None:
    assert refused(world(**seen_for(0), rules=Rules(san_rest_ms=0)), COPY) is None


def test_an_order_is_not_counted_against_itself() -> None:
    assert at_sending(world(), SPACE) is None, "its bytes are still needed"
    others = Rules().space_deletes_per_minute - 1
    assert at_sending(world(deletes_last_minute={(DISK_A, DeleteKind.SPACE): others}), SPACE) is None


def test_an_order_for_room_is_judged_by_the_file_that_it_is_for_also_when_its_reservation_is_over() -> None:
    assert at_sending(full(), SPACE, NEW) is None
    assert at_sending(full(), SPACE) is refusals.NOT_NEEDED, "the disk is not over its limit"
    there = {one: full().holders[one] for one in (HELD.name, TWICE.name)}
    placed = full(holders={**there, NEW.name: frozenset({DISK_B})})
    assert at_sending(placed, SPACE, NEW) is refusals.NOT_NEEDED, "it has found a place elsewhere"
    coming = full(task_of={NEW.name: task(NEW)})
    assert at_sending(coming, SPACE, NEW) is refusals.NOT_NEEDED


def test_an_order_that_waits_is_not_sent_when_its_disk_turns_out_to_have_a_lower_address() -> None:
    assert at_sending(double(), SPACE) is refusals.SAME_DISK_SUSPECTED


# ── what lets go ────────────────────────────────────────────────────────────────────────────────────────


def test_brakes_let_go() -> None:
    released = world([server(DISK_A, {HELD.name}, 950, limit_percent=70)], approved_bytes={DISK_A: 250})
    assert refused(released, SPACE) is None
    old = world(departures={NEW.name: Departure(NOW.mono_ms - 86_400_000, NEW)})
    assert refused(old, COPY) is None
    moved = world(departures={NEW.name: Departure(NOW.mono_ms - 1, replace(NEW, rank=6 * NEW.rank))})
    assert refused(moved, COPY) is None
    stayed = world(arrivals={(HELD.name, DISK_A): NOW.mono_ms - 3_600_000})
    assert refused(stayed, SPACE) is None


@pytest.mark.parametrize(
    "lost", [{"up": False}, {"files": LOST}, {"disk": LOST}, {"is_destination": False}], ids=str
)
def test_the_next_address_of_a_disk_is_used_where_the_lowest_is_not_usable(lost: dict[str, Any]) -> None:
    view = double(**lost)
    place = view.servers[DISK_A]
    roomy = replace(view, servers={**view.servers, DISK_A: server(DISK_A, same_disk=place.same_disk)})
    assert refused(view, SPACE) is None
    assert refused(roomy, COPY._replace(destination=DISK_A)) is None


def test_room_is_not_made_while_its_orders_at_another_address_have_not_gone() -> None:
    going = replace(order(HELD, DISK_B), room_for=NEW.name)
    view = replace(
        world([server(DISK_A, used_bytes=100, same_disk=frozenset({DISK_B}))]),
        reserved={DISK_B: Reservation(NEW, NOW.mono_ms + 1)},
        order_of={HELD.name: going},
    )
    view = with_server(view, DISK_B, same_disk=frozenset({DISK_A}))
    assert refused(view, COPY._replace(destination=DISK_A)) is refusals.NO_ROOM


def test_a_rising_file_outranks_all_that_is_not_protected() -> None:
    view = world(hits=Hits({NEW.name: 5}))
    assert view.outranks(replace(NEW, rank=1000), HELD)
    assert not view.outranks(HELD, NEW)
    assert not world().outranks(replace(NEW, rank=850), HELD), "within the margin"


def test_while_hits_are_unknown_the_limit_is_kept_and_no_order_for_room_is_sent() -> None:
    view = world(unknown_hits=UnknownHits(NOW.mono_ms, frozenset({"OTHER.mpg"})))
    assert refused(view, SPACE) is None
    assert at_sending(view, SPACE, NEW) is refusals.HITS_UNKNOWN
    assert at_sending(view, SPACE) is None


def test_what_was_watched_when_the_log_was_lost_is_protected_for_the_grace_time() -> None:
    since_ms = NOW.mono_ms - Rules().unknown_grace_ms
    for age_ms, protected in ((1, True), (0, False)):
        view = world(unknown_hits=UnknownHits(since_ms + age_ms, frozenset({HELD.name})))
        assert view.is_protected(HELD.name) is protected
        assert not view.is_protected(NEW.name)


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
