"""What may speak against a delete, and against a bundle of deletes that makes room.

The same guards judge a wish and, later, the order that came of it, right before that is sent.  Neighbours:
`kernel` has the table of these guards; `copies` has those of the copies.
"""

from __future__ import annotations

from cfm.model import NOBODY, Addr, DeleteKind, File, Known, Side, Unknown
from cfm.plan import pauses, refusals
from cfm.plan.case import Case
from cfm.plan.guards.copies import on_san, ruled_out_ms
from cfm.plan.refusals import Refusal
from cfm.plan.view import ClusterView
from cfm.plan.wishes import Delete, MakeRoom
from cfm.plan.worth import pays

# ── every delete ────────────────────────────────────────────────────────────────────────────────────────


def deletes_on(case: Case[Delete]) -> Refusal | None:
    return None if case.view.rules.deletes_on else refusals.DELETES_OFF


def not_a_source_folder(case: Case[Delete]) -> Refusal | None:
    """On such a disk, the file is the original."""
    server = case.view.servers.get(case.wish.server)
    return refusals.SOURCE_DISK if server is not None and server.san.folder else None


def surely_no_source_folder(case: Case[Delete]) -> Refusal | None:
    """The source folder that has the original is known to be another one than the server's disk, and has just
    been found to be so before the order is sent."""
    view, server = case.view, case.view.servers[case.wish.server]
    at_ms = ruled_out_ms(view, server, case.file)
    if at_ms is None:
        return refusals.DISK_NOT_RULED_OUT
    stale = case.sending and view.now.mono_ms - at_ms > view.rules.confirmation_max_age_ms
    return refusals.DISK_NOT_RULED_OUT if stale else None


def server_known(case: Case[Delete]) -> Refusal | None:
    server = case.view.servers.get(case.wish.server)
    if server is None or not server.is_destination:
        return refusals.SERVER_UNKNOWN
    if isinstance(server.files, Unknown) and server.last_list is None:
        return refusals.NOT_LISTED_SINCE_START
    return None if server.usable else refusals.SERVER_UNKNOWN


def server_carries_out(case: Case[Delete]) -> Refusal | None:
    """A server that refused one delete would refuse the next: it is not asked for every file in turn."""
    waits = case.view.now.mono_ms < case.view.servers[case.wish.server].no_deletes_until_ms
    return refusals.SERVER_REFUSES if waits else None


def file_is_there(case: Case[Delete]) -> Refusal | None:
    files = case.view.servers[case.wish.server].files
    there = isinstance(files, Known) and case.file.name in files.value
    return None if there else refusals.NOT_NEEDED


def metadata_fresh(case: Case[Delete]) -> Refusal | None:
    view = case.view
    fresh = view.snapshot is not None and view.metadata_age_ms <= view.rules.metadata_max_age_ms
    return None if fresh else refusals.METADATA_OLD


def not_being_copied(case: Case[Delete]) -> Refusal | None:
    name, view = case.file.name, case.view
    running = name in view.task_of or any(task.file.name == name for task in view.uncut.values())
    return refusals.IN_TASK if running else None


def one_order_per_file(case: Case[Delete]) -> Refusal | None:
    return refusals.ORDER_UNKNOWN if case.file.name in case.ledger.busy_files else None


def not_lately_dropped(case: Case[Delete]) -> Refusal | None:
    """The last order for this file could not be carried out.  The reason holds for a while."""
    until_ms, reason = case.view.delete_pauses.get(case.file.name, (0, None))
    return reason if case.view.now.mono_ms < until_ms else None


def still_on_san(case: Case[Delete]) -> Refusal | None:
    return on_san(case, must_be_fresh=case.sending)


def at_rest_where_it_stays(case: Case[Delete]) -> Refusal | None:
    """What the SAN keeps must be whole.  A wish is not refused for it when the next look is due: the order
    has it made."""
    view, name = case.view, case.file.name
    refused = view.is_unrested(name) and (case.sending or not view.rest_is_over(name))
    return refusals.STILL_BEING_WRITTEN if refused else None


def within_pace(case: Case[Delete]) -> Refusal | None:
    wish = case.wish
    ordered = case.ledger.ordered.get((wish.server, wish.kind), 0)
    return refusals.PACE if ordered >= case.view.rules.pace(wish.kind) else None


# ── a surplus copy ──────────────────────────────────────────────────────────────────────────────────────


def holders_listed(case: Case[Delete]) -> Refusal | None:
    """No copy is surplus before every server that may hold the file has been listed since our start."""
    view, file = case.view, case.file
    unlisted = any(server.last_list is None and view.may_hold(server, file) for server in view.doubtful)
    return refusals.NOT_LISTED_SINCE_START if unlisted else None


def another_copy_stays(case: Case[Delete]) -> Refusal | None:
    view, wish = case.view, case.wish
    keeper = view.servers.get(wish.keeper) if wish.keeper else None
    if keeper is None or keeper.addr == wish.server or not keeper.usable:
        return refusals.LAST_COPY
    return None if keeper.addr in view.holders.get(case.file.name, NOBODY) else refusals.LAST_COPY


def on_another_disk(case: Case[Delete]) -> Refusal | None:
    server = case.view.servers[case.wish.server]
    same = case.wish.keeper in server.same_disk | server.look_alikes
    return refusals.SAME_DISK_SUSPECTED if same else None


def keeper_not_stale(case: Case[Delete]) -> Refusal | None:
    """No copy goes in favour of one that is of an older version.  Of two stale ones either may go."""
    view, wish, name = case.view, case.wish, case.file.name
    kept_stale = wish.keeper is not None and view.is_stale(name, wish.keeper)
    return refusals.KEEPER_STALE if kept_stale and not view.is_stale(name, wish.server) else None


def keeper_confirmed(case: Case[Delete]) -> Refusal | None:
    """Before a trim is sent, the keeper has just said that it holds the whole file."""
    view, wish = case.view, case.wish
    if not case.sending or wish.keeper is None:
        return None
    seen = view.copies_seen.get((case.file.name, wish.keeper))
    if seen is None or view.now.mono_ms - seen.at_ms > view.rules.confirmation_max_age_ms:
        return refusals.COPY_UNCONFIRMED
    complete = seen.value.present and seen.value.size_bytes in (None, case.file.size_bytes)
    return None if complete else refusals.COPY_UNCONFIRMED


# ── a delete for space ──────────────────────────────────────────────────────────────────────────────────


def emptied_through_one_address(case: Case[Delete]) -> Refusal | None:
    """A disk is not emptied twice for one need.  It is not emptied at all while it is not sure which
    addresses it has, for their limits hold for it."""
    servers, server = case.view.servers, case.view.servers[case.wish.server]
    moving = any(servers[addr].moving_disk for addr in server.addresses if addr in servers)
    return None if case.ledger.is_used(server.addr) and not moving else refusals.SAME_DISK_SUSPECTED


def hits_are_known(case: Case[Delete]) -> Refusal | None:
    """While the event log cannot be read, nothing is deleted to make room.  What was watched last stays for
    the grace time, even where the disk is over its limit."""
    if case.view.unknown_hits is None:
        return None
    order = case.view.order_of.get(case.file.name)
    for_room = case.room_for is not None or (order is not None and order.room_for is not None)
    return refusals.HITS_UNKNOWN if for_room or case.view.was_watched(case.file.name) else None


def not_rising(case: Case[Delete]) -> Refusal | None:
    return refusals.RISING if case.file.name in case.view.hits.rising else None


def not_watched(case: Case[Delete]) -> Refusal | None:
    return refusals.WATCHED if case.file.name in case.view.hits.watched else None


def not_young(case: Case[Delete]) -> Refusal | None:
    """A file that was first seen under another address of the disk is as young as it was there."""
    addresses = case.view.servers[case.wish.server].addresses
    young = any(case.view.is_young(case.file.name, addr) for addr in addresses)
    return refusals.YOUNG if young else None


def room_is_needed(case: Case[Delete]) -> Refusal | None:
    """The disk is over its limit; or it is short of room for a clearly more wanted file that still waits."""
    disk, wanted, view = case.ledger.disks[case.wish.server], case.room_for, case.view
    if not disk.unordered_bytes(wanted):
        return refusals.NOT_NEEDED
    if wanted is None:
        return None
    waits = wanted.name not in view.task_of and not view.is_placed(wanted.name)
    return None if waits and view.outranks(wanted, case.file) else refusals.NOT_NEEDED


def need_is_proven(case: Case[Delete]) -> Refusal | None:
    """Two readings some time apart show the need.  One alone may be a moment's dip."""
    disk = case.ledger.disks[case.wish.server]
    unproven = 0 < disk.unordered_bytes(case.room_for) <= disk.doubted_bytes
    return refusals.NEED_UNPROVEN if unproven else None


def deletes_free_room(case: Case[Delete]) -> Refusal | None:
    """Where deletes free nothing for long, one more file goes at a time, after growing pauses."""
    waits = case.ledger.disks[case.wish.server].waits_to_free
    return refusals.FREES_LATE if waits else None


def limit_can_be_reached(case: Case[Delete]) -> Refusal | None:
    """Where all that may go leaves the disk above its limit, nothing goes: other data fills it."""
    disk, stock = case.ledger.disks[case.wish.server], case.view.stock.get(case.wish.server)
    if case.room_for is not None or stock is None:
        return None
    return refusals.LIMIT_UNREACHABLE if disk.need_bytes > stock.may_go_bytes else None


def surplus_goes_first(case: Case[Delete]) -> Refusal | None:
    """No unique file goes while surplus copies on that disk, which may go as well, would make the same room.

    This is asked when an order is made.  One that is made already was the best that could be done then.
    """
    if case.sending:
        return None
    disk, wanted = case.ledger.disks[case.wish.server], case.room_for
    needed_bytes = disk.need_bytes if wanted is None else disk.short_bytes(wanted)
    surplus_bytes = case.ledger.surplus_bytes(case.wish.server)
    would_do = surplus_bytes > 0 and surplus_bytes >= min(case.file.size_bytes, needed_bytes)
    return refusals.SURPLUS_FIRST if would_do else None


def breaker_closed(case: Case[Delete]) -> Refusal | None:
    """No plan frees more than a share of what is used, nor of the known files there, without an operator.

    For a wanted file as many bytes may go as come.
    """
    disk = case.ledger.disks[case.wish.server]
    allowed_bytes = let_through_bytes(case.view, case.wish.server, disk.usage.used_bytes, case.room_for)
    return refusals.BREAKER if disk.plan_bytes(case.room_for) > allowed_bytes else None


def let_through_bytes(view: ClusterView, server: Addr, used_bytes: int, room_for: File | None = None) -> int:
    """What the breaker of a server lets one plan free: a share, or what an operator released."""
    stock = view.stock.get(server)
    share_bytes = view.rules.breaker_percent * used_bytes // 100
    if stock is not None:
        known_bytes = view.rules.breaker_percent * stock.known_bytes // 100
        share_bytes = min(share_bytes, max(known_bytes, room_for.size_bytes if room_for is not None else 0))
    return max(share_bytes, view.approved_bytes.get(server, 0))


# ── a bundle that makes room: asked when its deletes are booked ─────────────────────────────────────────


def all_for_this_room(case: Case[MakeRoom]) -> Refusal | None:
    server, deletes = case.wish.server, case.wish.deletes
    fit = all(delete.server == server for delete in deletes)
    return None if deletes and fit else refusals.NOT_NEEDED


def destination_takes_copies(case: Case[MakeRoom]) -> Refusal | None:
    """Where copies fail, nothing is deleted for one, but for the trial that follows a pause.

    A full disk could not be tried otherwise: its pause would go on long after its trouble has ended.  Where
    the trial fails as well, its room is still there for the next one.
    """
    view, server = case.view, case.wish.server
    if Side(destination=server) not in view.pauses:
        return None
    rests = pauses.destination_rests(view, case.ledger, server)
    if not rests and pauses.is_spared(view, Side(destination=server)):
        rests = pauses.another_makes_room(view, case.ledger, server)
    return refusals.DESTINATION_IN_PAUSE if rests else None


def it_does_not_fail(case: Case[MakeRoom]) -> Refusal | None:
    """Nothing is deleted for a file that fails wherever it is copied to."""
    return refusals.RETRY_LATER if case.view.fails(case.file.name) else None


def kept_for_no_other(case: Case[MakeRoom]) -> Refusal | None:
    """Room that is kept on that disk for another file stays kept for it."""
    kept_bytes = case.ledger.disks[case.wish.server].reserved_bytes(but_for=case.file.name)
    return refusals.NOT_NEEDED if kept_bytes else None


def not_promised_elsewhere(case: Case[MakeRoom]) -> Refusal | None:
    """Room for one file is made in one place."""
    promised = case.ledger.promised(but_at=case.wish.server)
    return refusals.NOT_NEEDED if case.file.name in promised else None


def fits_nowhere(case: Case[MakeRoom]) -> Refusal | None:
    """Nothing is deleted for a file that some destination takes as it is."""
    disks, ledger = case.ledger.disks.items(), case.ledger
    takes = any(
        disk.takes(case.file) for addr, disk in disks if ledger.is_used(addr) and addr not in ledger.sick
    )
    return refusals.NOT_NEEDED if takes else None


def makes_enough_room(case: Case[MakeRoom]) -> Refusal | None:
    short_bytes = case.ledger.disks[case.wish.server].short_bytes(case.file)
    return refusals.NOT_NEEDED if short_bytes else None


def worth_its_room(case: Case[MakeRoom]) -> Refusal | None:
    """All that goes is worth clearly less than what comes.  A surplus copy costs nothing."""
    going = [delete.file for delete in case.wish.deletes if delete.kind is DeleteKind.SPACE]
    return None if pays(case.view, case.file, going) else refusals.NOT_WORTH_IT
