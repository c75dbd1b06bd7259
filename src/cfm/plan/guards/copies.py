"""What may speak against a copy: the file, the place, the moment, the SAN.

The guards of the file also judge the file that a `MakeRoom` is for, for room is only made for a file that may
be copied.  Neighbours: `kernel` has the table of these guards; `deletes` has those of the deletes.
"""

from __future__ import annotations

from cfm.model import NOBODY, File, OnSan, SanAnswer, ServerView, Side, Transfer, Unknown
from cfm.plan import pauses, refusals
from cfm.plan.case import Case
from cfm.plan.refusals import Refusal
from cfm.plan.view import ClusterView, can_send
from cfm.plan.wishes import Copy, Wish

SAN_NO_MS = 60_000
"""How long the source folders are believed when they say that they do not have a file."""


# ── the file ────────────────────────────────────────────────────────────────────────────────────────────


def not_paused(case: Case[Wish]) -> Refusal | None:
    return refusals.PAUSED if case.view.paused else None


def not_an_ad(case: Case[Wish]) -> Refusal | None:
    return refusals.AD if case.view.is_ad(case.file.name) else None


def on_no_destination(case: Case[Wish]) -> Refusal | None:
    """A file whose every copy is stale is copied again.  The copies stay until the new one has arrived."""
    return refusals.ALREADY_PLACED if case.view.is_placed(case.file.name) else None


def on_no_doubtful_destination(case: Case[Wish]) -> Refusal | None:
    view = case.view
    doubt = view.first_look or (view.doubtful and any(view.may_hold(one, case.file) for one in view.doubtful))
    return refusals.HOLDER_UNKNOWN if doubt else None


def not_in_a_task(case: Case[Wish]) -> Refusal | None:
    if case.file.name not in case.ledger.busy_files:
        return None
    return refusals.ORDER_UNKNOWN if case.file.name in case.view.order_of else refusals.IN_TASK


def not_just_deleted(case: Case[Wish]) -> Refusal | None:
    view, file = case.view, case.file
    left = view.departures.get(file.name)
    if left is None or view.now.mono_ms - left.at_ms >= view.rules.just_deleted_ms:
        return None
    really_moved = (100 + view.rules.room_margin_percent) * file.rank < 100 * left.file.rank
    return None if really_moved or file.name in view.hits.rising else refusals.JUST_DELETED


def not_failing(case: Case[Wish]) -> Refusal | None:
    """After a first failure the file is tried elsewhere at once; after a second one it waits."""
    retry = case.view.retries.get(case.file.name)
    waits = retry is not None and retry.failures > 1 and case.view.now.mono_ms < retry.not_before_ms
    return refusals.RETRY_LATER if waits else None


def not_missing_on_san(case: Case[Wish]) -> Refusal | None:
    return _said_no(case)


# ── the place ───────────────────────────────────────────────────────────────────────────────────────────


def not_to_a_source_folder(case: Case[Copy]) -> Refusal | None:
    """Nothing is copied onto the SAN.  A worker that has a probe file is told apart within moments."""
    server = case.view.servers.get(case.wish.destination)
    if server is None:
        return None
    if server.san.folder:
        return refusals.SOURCE_DISK
    unknown = server.san.probe and ruled_out_ms(case.view, server, case.file) is None
    return refusals.DISK_NOT_RULED_OUT if unknown else None


def destination_usable(case: Case[Copy]) -> Refusal | None:
    """The ledger has a book for each destination that is up, with its list and its disk known.

    Until a plan has counted what is there, its `/df` alone would say how much room it has.
    """
    usable = case.wish.destination in case.ledger.disks and case.wish.destination not in case.view.uncounted
    return None if usable else refusals.NO_DESTINATION


def through_one_address(case: Case[Copy]) -> Refusal | None:
    """A disk under several addresses is filled through one of them, so that it is not filled twice."""
    return None if case.ledger.is_used(case.wish.destination) else refusals.SAME_DISK_SUSPECTED


def replaced_where_it_can_be(case: Case[Copy]) -> Refusal | None:
    """Where an older version lies, a verified copy takes its place in one step.  Nobody else can do that."""
    destination = case.view.servers[case.wish.destination]
    if destination.addr not in case.view.holders.get(case.file.name, NOBODY):
        return None
    features = destination.features
    able = features.ours and features.transfer is Transfer.BUILTIN
    return None if able else refusals.STALE_THERE


def not_next_to_go(case: Case[Copy]) -> Refusal | None:
    disk, file = case.ledger.disks.get(case.wish.destination), case.file
    better = disk.reserved_for if disk is not None else None
    if better is None or better.name == file.name:
        return None
    return refusals.NEXT_TO_GO if case.view.outranks(better, file) else None


def room_is_made(case: Case[Copy]) -> Refusal | None:
    """A file for which room is made waits until all that makes room has gone, by that server's own answer.

    The orders count, not the reservation: that may have ended before.
    """
    going = case.ledger.makes_room(case.wish.destination, case.file)
    return refusals.NO_ROOM if going else None


def within_limit(case: Case[Copy]) -> Refusal | None:
    """A destination whose disk is not known is no matter of this guard: `destination_usable` refuses it."""
    disk = case.ledger.disks.get(case.wish.destination)
    return None if disk is None or disk.takes(case.file) else refusals.NO_ROOM


# ── the moment ──────────────────────────────────────────────────────────────────────────────────────────


def source_free(case: Case[Copy]) -> Refusal | None:
    source = case.view.servers.get(case.wish.source)
    return None if source is not None and case.ledger.may_send(source) else refusals.NO_SOURCE


def source_speaks(case: Case[Copy]) -> Refusal | None:
    servers = case.view.servers
    fit = can_send(servers[case.wish.source], servers[case.wish.destination])
    return None if fit else refusals.NO_SOURCE


def destination_free(case: Case[Copy]) -> Refusal | None:
    free = case.ledger.may_receive(case.view.servers[case.wish.destination])
    return None if free else refusals.NO_DESTINATION


def source_not_in_pause(case: Case[Copy]) -> Refusal | None:
    view, source = case.view, case.wish.source
    side = Side(source=source)
    if side not in view.pauses:
        return None
    rests = pauses.source_rests(view, case.ledger, source)
    if not rests and pauses.is_spared(view, side):
        rests = pauses.another_source(view, source, case.wish.destination)
    return refusals.SOURCE_IN_PAUSE if rests else None


def destination_not_in_pause(case: Case[Copy]) -> Refusal | None:
    view, destination = case.view, case.wish.destination
    side = Side(destination=destination)
    if side not in view.pauses:
        return None
    rests = pauses.destination_rests(view, case.ledger, destination)
    if not rests and pauses.is_spared(view, side):
        rests = pauses.another_destination(view, case.ledger, destination, case.wish.source, case.file)
    return refusals.DESTINATION_IN_PAUSE if rests else None


def pair_not_in_pause(case: Case[Copy]) -> Refusal | None:
    """The pair itself may be to blame; or this file has just failed on it."""
    view, ledger = case.view, case.ledger
    way = case.wish.source, case.wish.destination
    retry = view.retries.get(case.file.name)
    if retry is not None and way in retry.avoid and view.now.mono_ms < retry.not_before_ms:
        return refusals.PAIR_IN_PAUSE
    if Side(*way) not in view.pauses:
        return None
    rests = pauses.pair_rests(view, ledger, *way)
    if not rests and pauses.is_spared(view, Side(*way)):
        rests = pauses.another_source(view, *way) or pauses.another_destination(
            view, ledger, way[1], way[0], case.file
        )
    return refusals.PAIR_IN_PAUSE if rests else None


def not_vanished_there(case: Case[Copy]) -> Refusal | None:
    """A file does not go again to a place from which its copy vanished, unless viewers want it now."""
    return refusals.VANISHED if case.view.vanished_from(case.file.name, case.wish.destination) else None


# ── the SAN ─────────────────────────────────────────────────────────────────────────────────────────────


def at_rest_on_san(case: Case[Wish]) -> Refusal | None:
    """A file that is still being written may have its final size already."""
    return refusals.STILL_BEING_WRITTEN if case.view.is_unrested(case.file.name) else None


def surely_on_san(case: Case[Wish]) -> Refusal | None:
    return on_san(case, must_be_fresh=True)


def on_san(case: Case[Wish], *, must_be_fresh: bool) -> Refusal | None:
    """A "no" or a silence refuses while it is recent.  A "yes" may have to be fresh.

    What has not to be fresh yet is asked for next.  While the SAN is silent, that is useless.
    """
    if (refusal := _said_no(case)) is not None:
        return refusal
    view, name = case.view, case.file.name
    asked = view.san.get(name)
    needs_answer = must_be_fresh or view.expects_no_answer(name)
    if asked is None:
        return refusals.SAN_UNKNOWN if needs_answer else None
    age_ms = view.now.mono_ms - asked.at_ms
    if is_on_san(asked.value, case.file):
        stale = needs_answer and age_ms > view.rules.confirmation_max_age_ms
        return refusals.SAN_UNKNOWN if stale else None
    if isinstance(asked.value, Unknown):
        return refusals.SAN_UNKNOWN if needs_answer else None
    return refusals.SAN_UNKNOWN if must_be_fresh else None


def _said_no(case: Case[Wish]) -> Refusal | None:
    """The file is missing on the SAN, or has another size there, by an answer that still counts."""
    view, file = case.view, case.file
    if (absence := view.absent.get(file.name)) is not None and absence.found_bytes != file.size_bytes:
        return refusals.OTHER_SIZE if absence.found_bytes else refusals.NOT_ON_SAN
    asked = view.san.get(file.name)
    if asked is None or isinstance(asked.value, Unknown) or is_on_san(asked.value, file):
        return None
    if view.now.mono_ms - asked.at_ms > SAN_NO_MS:
        return None
    has_another = isinstance(asked.value, OnSan) and asked.value.size_bytes > 0
    return refusals.OTHER_SIZE if has_another else refusals.NOT_ON_SAN


def ruled_out_ms(view: ClusterView, server: ServerView, file: File) -> int | None:
    """When the source folder that has this file was last found to be another one than the server's disk.

    Where that folder is not known, other guards see to it: there is nothing to be ruled out yet.
    """
    asked = view.san.get(file.name)
    if asked is None or not isinstance(asked.value, OnSan):
        return view.now.mono_ms
    return server.san.ruled_out.get(asked.value.folder)


def is_on_san(answer: SanAnswer, file: File) -> bool:
    """Does a plain file of this name and of exactly this size lie there?"""
    return isinstance(answer, OnSan) and answer.size_bytes == file.size_bytes
