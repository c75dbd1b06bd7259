"""The kernel: every safety rule, each a guard of a few lines that says no with a named reason.

Policies propose, the kernel disposes: nothing is copied or deleted that a guard here refuses, whoever
asks.  A guard looks at the view and the ledger and returns a `Refusal` or None; the tables at the end of
this module are the whole rule book, in the order in which reasons are given.  Neighbours: `policies`
propose, `controller.decide.dispatch` runs the proposals, `refusals` holds the sentences.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

from cfm.model import (
    Addr,
    DeleteKind,
    File,
    Known,
    Now,
    OnSan,
    SanAnswer,
    ServerView,
    Transfer,
    Unknown,
)
from cfm.plan import refusals
from cfm.plan.ledger import Ledger
from cfm.plan.refusals import Refusal
from cfm.plan.view import ClusterView

SAN_NO_MS = 60_000
"""How long a source folder's "not here" is believed before it is asked again."""
SAN_SILENCE_MS = 5_000
"""How long after a silence the source folders are left alone for that file."""


class Deletion(NamedTuple):
    """A proposal to delete one file on one server."""

    file: File
    server: Addr
    kind: DeleteKind
    keeper: Addr | None = None
    """Surplus: the server whose copy stays."""
    room_for: File | None = None
    """Space: the wanted file that needs the room; None where the disk is over its limit."""
    sending: bool = False
    """The order exists, and its first byte is about to be sent."""


FileGuard = Callable[[ClusterView, Ledger, File], Refusal | None]
DestinationGuard = Callable[[ClusterView, Ledger, ServerView], Refusal | None]
PlaceGuard = Callable[[ClusterView, Ledger, File, ServerView], Refusal | None]
SourceGuard = Callable[[ClusterView, Ledger, ServerView], Refusal | None]
PairGuard = Callable[[ClusterView, Ledger, ServerView, ServerView], Refusal | None]
DeleteGuard = Callable[[ClusterView, Ledger, Deletion], Refusal | None]


def outranks(view: ClusterView, better: File, worse: File) -> bool:
    """Is `better` so clearly more wanted that `worse` may make room for it?"""
    if view.is_protected(worse.name):
        return False
    if better.name in view.hits.rising:
        return True
    return 100 * worse.rank > (100 + view.rules.room_margin_percent) * better.rank


# ── a copy: the file ────────────────────────────────────────────────────────────────────────────────────


def paused(view: ClusterView, _ledger: Ledger, _file: File) -> Refusal | None:
    return refusals.PAUSED if view.paused else None


def not_an_ad(view: ClusterView, _ledger: Ledger, file: File) -> Refusal | None:
    return refusals.AD if view.is_ad(file.name) else None


def on_no_destination(view: ClusterView, _ledger: Ledger, file: File) -> Refusal | None:
    return refusals.ALREADY_PLACED if view.holders.get(file.name) else None


def on_no_doubtful_destination(view: ClusterView, _ledger: Ledger, file: File) -> Refusal | None:
    doubt = view.first_look or any(view.may_hold(server, file) for server in view.doubtful)
    return refusals.HOLDER_UNKNOWN if doubt else None


def not_in_a_task(view: ClusterView, ledger: Ledger, file: File) -> Refusal | None:
    if file.name in view.order_of:
        return refusals.ORDER_UNKNOWN
    return refusals.IN_TASK if file.name in ledger.busy_files else None


def not_just_deleted(view: ClusterView, _ledger: Ledger, file: File) -> Refusal | None:
    left = view.departures.get(file.name)
    if left is None or view.now.mono_ms - left.at_ms >= view.rules.just_deleted_ms:
        return None
    really_moved = (100 + view.rules.room_margin_percent) * file.rank < 100 * left.rank
    return None if really_moved or file.name in view.hits.rising else refusals.JUST_DELETED


def not_failing(view: ClusterView, _ledger: Ledger, file: File) -> Refusal | None:
    retry = view.retries.get(file.name)
    return refusals.RETRY_LATER if retry is not None and view.now.mono_ms < retry.not_before_ms else None


def surely_on_san(view: ClusterView, _ledger: Ledger, file: File) -> Refusal | None:
    return _san_refusal(view, file, must_be_fresh=True)


# ── a copy: the destination ─────────────────────────────────────────────────────────────────────────────


def destination_usable(view: ClusterView, ledger: Ledger, destination: ServerView) -> Refusal | None:
    usable = destination.is_destination and destination.usable
    usable = usable and ledger.may_receive(destination, view.rules.incoming_per_destination)
    return None if usable else refusals.NO_DESTINATION


def through_one_address(view: ClusterView, _ledger: Ledger, destination: ServerView) -> Refusal | None:
    """A disk under several addresses is filled through one of them, so that it is not filled twice."""
    return None if view.used_through(destination) == destination.addr else refusals.SAME_DISK_SUSPECTED


# ── a copy: the file at that destination ────────────────────────────────────────────────────────────────


def not_next_to_go(view: ClusterView, ledger: Ledger, file: File, destination: ServerView) -> Refusal | None:
    better = ledger.disks[destination.addr].reserved_for
    if better is None or better.name == file.name:
        return None
    return refusals.NEXT_TO_GO if outranks(view, better, file) else None


def room_is_made(_view: ClusterView, ledger: Ledger, file: File, destination: ServerView) -> Refusal | None:
    """Where room is made for it, it waits until all that goes has gone by that server's own answer.

    The reservation may have ended before: the orders count.
    """
    going = any((addr, file.name) in ledger.making_room for addr in destination.addresses)
    return refusals.NO_ROOM if going else None


def within_limit(_view: ClusterView, ledger: Ledger, file: File, destination: ServerView) -> Refusal | None:
    return None if ledger.disks[destination.addr].takes(file) else refusals.NO_ROOM


# ── a copy: the source ──────────────────────────────────────────────────────────────────────────────────


def source_free(view: ClusterView, ledger: Ledger, source: ServerView) -> Refusal | None:
    streams = ledger.load(source.addr).outgoing
    free = source.is_source and source.up and streams < view.rules.streams_per_source
    return None if free and view.now.mono_ms >= source.busy_until_ms else refusals.NO_SOURCE


# ── a copy: that source and that destination ────────────────────────────────────────────────────────────


def source_speaks(
    _view: ClusterView, _ledger: Ledger, source: ServerView, destination: ServerView
) -> Refusal | None:
    """The built-in transfer copies only from a worker that serves `/content`."""
    builtin = destination.features.transfer is Transfer.BUILTIN
    return refusals.NO_SOURCE if builtin and not source.features.serves else None


# ── a delete ────────────────────────────────────────────────────────────────────────────────────────────


def delete_not_paused(view: ClusterView, _ledger: Ledger, _deletion: Deletion) -> Refusal | None:
    return refusals.PAUSED if view.paused else None


def deletes_on(view: ClusterView, _ledger: Ledger, _deletion: Deletion) -> Refusal | None:
    return None if view.rules.deletes_on else refusals.DELETES_OFF


def delete_not_an_ad(view: ClusterView, _ledger: Ledger, deletion: Deletion) -> Refusal | None:
    return refusals.AD if view.is_ad(deletion.file.name) else None


def server_known(view: ClusterView, _ledger: Ledger, deletion: Deletion) -> Refusal | None:
    server = view.servers.get(deletion.server)
    if server is None or not server.is_destination:
        return refusals.SERVER_UNKNOWN
    if isinstance(server.files, Unknown) and server.last_list is None:
        return refusals.NOT_LISTED_SINCE_START
    return None if server.usable else refusals.SERVER_UNKNOWN


def server_carries_out(view: ClusterView, _ledger: Ledger, deletion: Deletion) -> Refusal | None:
    """One refused delete is a hint that the next would be refused too: not every file is tried in turn."""
    until_ms = view.servers[deletion.server].no_deletes_until_ms
    return refusals.SERVER_REFUSES if not deletion.sending and view.now.mono_ms < until_ms else None


def file_is_there(view: ClusterView, _ledger: Ledger, deletion: Deletion) -> Refusal | None:
    server = view.servers[deletion.server]
    there = isinstance(server.files, Known) and deletion.file.name in server.files.value
    return None if there else refusals.NOT_NEEDED


def metadata_fresh(view: ClusterView, _ledger: Ledger, _deletion: Deletion) -> Refusal | None:
    fresh = view.snapshot is not None and view.metadata_age_ms <= view.rules.metadata_max_age_ms
    return None if fresh else refusals.METADATA_OLD


def not_being_copied(view: ClusterView, _ledger: Ledger, deletion: Deletion) -> Refusal | None:
    name = deletion.file.name
    running = name in view.task_of or any(task.file.name == name for task in view.uncut.values())
    return refusals.IN_TASK if running else None


def one_order_per_file(_view: ClusterView, ledger: Ledger, deletion: Deletion) -> Refusal | None:
    if deletion.sending:
        return None
    return refusals.ORDER_UNKNOWN if deletion.file.name in ledger.busy_files else None


def not_lately_dropped(view: ClusterView, _ledger: Ledger, deletion: Deletion) -> Refusal | None:
    """The last order for it could not be carried out: its reason holds for a while."""
    until_ms, reason = view.delete_pauses.get(deletion.file.name, (0, None))
    return reason if not deletion.sending and view.now.mono_ms < until_ms else None


def still_on_san(view: ClusterView, _ledger: Ledger, deletion: Deletion) -> Refusal | None:
    return _san_refusal(view, deletion.file, must_be_fresh=deletion.sending)


def within_pace(view: ClusterView, ledger: Ledger, deletion: Deletion) -> Refusal | None:
    if deletion.sending:
        return None
    ordered = ledger.ordered.get((deletion.server, deletion.kind), 0)
    return refusals.PACE if ordered >= view.rules.pace(deletion.kind) else None


# ── a surplus copy ──────────────────────────────────────────────────────────────────────────────────────


def holders_listed(view: ClusterView, _ledger: Ledger, deletion: Deletion) -> Refusal | None:
    """No file is trimmed until every server that may hold it has been listed since our start."""
    unlisted = any(
        server.last_list is None and view.may_hold(server, deletion.file) for server in view.doubtful
    )
    return refusals.NOT_LISTED_SINCE_START if unlisted else None


def another_copy_stays(view: ClusterView, _ledger: Ledger, deletion: Deletion) -> Refusal | None:
    keeper = view.servers.get(deletion.keeper) if deletion.keeper else None
    if keeper is None or keeper.addr == deletion.server or not keeper.usable:
        return refusals.LAST_COPY
    return None if keeper.addr in view.holders.get(deletion.file.name, ()) else refusals.LAST_COPY


def on_another_disk(view: ClusterView, _ledger: Ledger, deletion: Deletion) -> Refusal | None:
    server = view.servers[deletion.server]
    same = deletion.keeper in server.same_disk | server.look_alikes
    return refusals.SAME_DISK_SUSPECTED if same else None


def keeper_confirmed(view: ClusterView, _ledger: Ledger, deletion: Deletion) -> Refusal | None:
    if not deletion.sending or deletion.keeper is None:
        return None
    seen = view.copies_seen.get((deletion.file.name, deletion.keeper))
    fresh = seen is not None and view.now.mono_ms - seen.at_ms <= view.rules.confirmation_max_age_ms
    if seen is None or not fresh or not seen.value.present:
        return refusals.COPY_UNCONFIRMED
    complete = seen.value.size_bytes in (None, deletion.file.size_bytes)
    return None if complete else refusals.COPY_UNCONFIRMED


# ── a delete for room ───────────────────────────────────────────────────────────────────────────────────


def emptied_through_one_address(view: ClusterView, _ledger: Ledger, deletion: Deletion) -> Refusal | None:
    """Nor is it emptied twice for the same need; and not at all while it is not sure which addresses it has,
    and thus which limits hold for it."""
    server = view.servers[deletion.server]
    moving = any(view.servers[addr].moving_disk for addr in server.addresses if addr in view.servers)
    return None if view.used_through(server) == server.addr and not moving else refusals.SAME_DISK_SUSPECTED


def not_rising(view: ClusterView, _ledger: Ledger, deletion: Deletion) -> Refusal | None:
    return refusals.RISING if deletion.file.name in view.hits.rising else None


def not_watched(view: ClusterView, _ledger: Ledger, deletion: Deletion) -> Refusal | None:
    return refusals.WATCHED if deletion.file.name in view.hits.watched else None


def not_young(view: ClusterView, _ledger: Ledger, deletion: Deletion) -> Refusal | None:
    """Nor does a file age by being seen under another address of its disk."""
    addresses = view.servers[deletion.server].addresses
    return refusals.YOUNG if any(view.is_young(deletion.file.name, addr) for addr in addresses) else None


def room_is_needed(view: ClusterView, ledger: Ledger, deletion: Deletion) -> Refusal | None:
    disk = ledger.disks[deletion.server]
    wanted = deletion.room_for
    if wanted is None:
        return None if disk.need_bytes > 0 else refusals.NOT_NEEDED
    worth_it = outranks(view, wanted, deletion.file) and disk.short_bytes(wanted) > 0
    return None if worth_it else refusals.NOT_NEEDED


def breaker_closed(view: ClusterView, ledger: Ledger, deletion: Deletion) -> Refusal | None:
    disk = ledger.disks[deletion.server]
    plan_bytes = disk.plan_bytes(deletion.room_for)
    share_bytes = view.rules.breaker_percent * disk.usage.used_bytes // 100
    allowed_bytes = max(share_bytes, view.approved_bytes.get(deletion.server, 0))
    return refusals.BREAKER if plan_bytes > allowed_bytes else None


def san_was_silent(asked: Known[SanAnswer] | None, now: Now) -> bool:
    """Did the source folders not answer for a file a moment ago?  Then they are left alone for it."""
    if asked is None or not isinstance(asked.value, Unknown):
        return False
    return now.mono_ms - asked.at_ms <= SAN_SILENCE_MS


def _san_refusal(view: ClusterView, file: File, *, must_be_fresh: bool) -> Refusal | None:
    """A recent "no" or silence refuses; a yes must be fresh where something is about to happen."""
    asked = view.san.get(file.name)
    age_ms = view.now.mono_ms - asked.at_ms if asked else 0
    answer = asked.value if asked else None
    if isinstance(answer, OnSan) and answer.size_bytes == file.size_bytes:
        stale = must_be_fresh and age_ms > view.rules.confirmation_max_age_ms
        return refusals.SAN_UNKNOWN if stale else None
    if answer is None or isinstance(answer, Unknown):
        return refusals.SAN_UNKNOWN if must_be_fresh or san_was_silent(asked, view.now) else None
    return refusals.NOT_ON_SAN if age_ms <= SAN_NO_MS else refusals.SAN_UNKNOWN if must_be_fresh else None


FILE_GUARDS: tuple[FileGuard, ...] = (
    paused,
    not_an_ad,
    on_no_destination,
    on_no_doubtful_destination,
    not_in_a_task,
    not_just_deleted,
    not_failing,
    surely_on_san,
)
DESTINATION_GUARDS: tuple[DestinationGuard, ...] = (destination_usable, through_one_address)
PLACE_GUARDS: tuple[PlaceGuard, ...] = (not_next_to_go, room_is_made, within_limit)
SOURCE_GUARDS: tuple[SourceGuard, ...] = (source_free,)
PAIR_GUARDS: tuple[PairGuard, ...] = (source_speaks,)
DELETE_GUARDS: tuple[DeleteGuard, ...] = (
    delete_not_paused,
    deletes_on,
    delete_not_an_ad,
    server_known,
    server_carries_out,
    file_is_there,
    metadata_fresh,
    not_being_copied,
    one_order_per_file,
    not_lately_dropped,
    still_on_san,
    within_pace,
)
SURPLUS_GUARDS: tuple[DeleteGuard, ...] = (
    holders_listed,
    another_copy_stays,
    on_another_disk,
    keeper_confirmed,
)
SPACE_GUARDS: tuple[DeleteGuard, ...] = (
    emptied_through_one_address,
    not_rising,
    not_watched,
    not_young,
    room_is_needed,
    breaker_closed,
)


@dataclass(frozen=True, slots=True)
class Kernel:
    """The rule book as a value.  The product uses `KERNEL`; a test may take a guard out, to see it missed."""

    file_guards: tuple[FileGuard, ...] = FILE_GUARDS
    destination_guards: tuple[DestinationGuard, ...] = DESTINATION_GUARDS
    place_guards: tuple[PlaceGuard, ...] = PLACE_GUARDS
    source_guards: tuple[SourceGuard, ...] = SOURCE_GUARDS
    pair_guards: tuple[PairGuard, ...] = PAIR_GUARDS
    delete_guards: tuple[DeleteGuard, ...] = DELETE_GUARDS
    surplus_guards: tuple[DeleteGuard, ...] = SURPLUS_GUARDS
    space_guards: tuple[DeleteGuard, ...] = SPACE_GUARDS

    def refuse_file(self, view: ClusterView, ledger: Ledger, file: File) -> Refusal | None:
        """Why `file` must not be copied, wherever to."""
        for guard in self.file_guards:
            if (refusal := guard(view, ledger, file)) is not None:
                return refusal
        return None

    def refuse_destination(
        self, view: ClusterView, ledger: Ledger, destination: ServerView
    ) -> Refusal | None:
        """Why `destination` may receive nothing more now, whichever file it is."""
        for guard in self.destination_guards:
            if (refusal := guard(view, ledger, destination)) is not None:
                return refusal
        return None

    def refuse_place(
        self, view: ClusterView, ledger: Ledger, file: File, destination: ServerView
    ) -> Refusal | None:
        """Why `file` must not be copied to `destination`, which may receive something."""
        for guard in self.place_guards:
            if (refusal := guard(view, ledger, file, destination)) is not None:
                return refusal
        return None

    def refuse_source(self, view: ClusterView, ledger: Ledger, source: ServerView) -> Refusal | None:
        """Why `source` may send nothing now, wherever to."""
        for guard in self.source_guards:
            if (refusal := guard(view, ledger, source)) is not None:
                return refusal
        return None

    def refuse_pair(
        self, view: ClusterView, ledger: Ledger, source: ServerView, destination: ServerView
    ) -> Refusal | None:
        """Why `source`, which may send, can send nothing to `destination`."""
        for guard in self.pair_guards:
            if (refusal := guard(view, ledger, source, destination)) is not None:
                return refusal
        return None

    def refuse_delete(self, view: ClusterView, ledger: Ledger, deletion: Deletion) -> Refusal | None:
        """Why this deletion must not be ordered, or, when `sending`, not be sent now."""
        by_kind = self.surplus_guards if deletion.kind is DeleteKind.SURPLUS else self.space_guards
        for guard in chain(self.delete_guards, by_kind):
            if (refusal := guard(view, ledger, deletion)) is not None:
                return refusal
        return None


KERNEL = Kernel()
