"""What the controller does with delete orders: it makes, confirms, sends and settles them.  Pure functions.

    a policy wishes, and the judge grants      → ORDERED, durable with its reason
    the SAN has the file; for a surplus copy
    the server of the copy that stays has it   → asked now, and believed for ten seconds
    the judge grants it once more              → SENT, durable before the first byte; the byte goes out
                                                 within those ten seconds or never
    the server answers 200                     → CONFIRMED
    the server answers anything else, or not   → UNKNOWN until the server was listed again

Answers become events of `tasks.lifecycle` here.  Neighbours: `core` and `observing` route events here,
`tasks.orders` keeps the orders.
"""

from __future__ import annotations

from cfm.controller.decide import coming_back
from cfm.controller.decide.books import DROP_PAUSE
from cfm.controller.decide.events import AskCopy, DeleteAnswer, ListAnswer, SendDelete
from cfm.controller.decide.looking import ask_disk, ask_list, look_at
from cfm.controller.decide.state import NodeState, words
from cfm.model import (
    Addr,
    CopySeen,
    DeleteKind,
    DeleteOrder,
    Failure,
    File,
    Known,
    Names,
    Now,
    OnSan,
    OrderStatus,
    SanAnswer,
)
from cfm.plan import refusals
from cfm.plan.judge import Judge
from cfm.plan.refusals import Refusal
from cfm.plan.view import Reservation, next_look_ms
from cfm.plan.wishes import Delete
from cfm.tasks.lifecycle import OrderEvent
from cfm.tasks.orders import MINUTE_MS
from cfm.tasks.store import DropArrival, DropCopy, PutOrder

PATIENCE_MS = 30_000
"""How long an order waits for its confirmations before it is dropped."""
PAUSE_MS = DROP_PAUSE.first_ms
"""How long a file is left alone after its order was dropped once for a reason in `PAUSING`."""
PAUSING = (
    refusals.COPY_UNCONFIRMED,
    refusals.SAN_UNKNOWN,
    refusals.ORDER_UNKNOWN,
    refusals.STILL_BEING_WRITTEN,
    refusals.DISK_NOT_RULED_OUT,
)
"""Reasons that only an order finds out.  Every other reason is seen before an order is made."""
NO_SUCH_FILE = 404
QUIET_MS = 10_000
"""How long we wait after an unclear answer of an old worker before we ask for the list that settles it.  An
old worker knows no fence, and may still carry out what it was asked."""


def order(state: NodeState, delete: Delete, room_for: File | None, now: Now) -> None:
    """Write a delete order down.  Nothing is sent yet.

    `room_for`: the wanted file that it makes room for, if it is part of a bundle.
    """
    made = DeleteOrder(
        id=state.next_id(now),
        status=OrderStatus.ORDERED,
        created_s=now.wall_s,
        changed_s=now.wall_s,
        file=delete.file,
        server=delete.server,
        kind=delete.kind,
        reason=delete.reason,
        keeper=delete.keeper,
        room_for=room_for.name if room_for is not None else None,
        window_hits=state.hits.rising.get(delete.file.name, 0),
    )
    state.orders.add(made, now.mono_ms, room_for)
    if room_for is not None:
        until_ms = now.mono_ms + state.rules.room_hold_ms
        state.reservations.reserve(delete.server, Reservation(room_for, until_ms))
    state.out.changes.append(PutOrder(made))


def recover(state: NodeState, made: DeleteOrder, now: Now) -> None:
    """Take over an order from before a restart.  If it was not sent it is dropped, else it is unknown."""
    # Only whole seconds are kept: it counts as if it were made at the end of that second.
    ago_ms = max(0, now.wall_ms - 1000 * made.created_s - 999)
    if ago_ms < MINUTE_MS:
        state.orders.count(made, now.mono_ms - ago_ms)
    if made.status is OrderStatus.CONFIRMED:
        coming_back.went(state, made, now)
        return
    if made.status is OrderStatus.DROPPED:
        return
    state.orders.recover(made, now.mono_ms)
    not_sent = made.status is OrderStatus.ORDERED
    before = "it was sent" if not_sent else "the answer came"
    made = _change(state, made, OrderEvent.CFM_RESTARTED, now, f"cfm was restarted before {before}")
    record = state.fleet.records.get(made.server)
    if made.status is OrderStatus.UNKNOWN and (record is None or not record.is_destination):
        why = "its server is not a destination any more"
        _drop(state, made, OrderEvent.SERVER_UNKNOWN, refusals.SERVER_UNKNOWN, now, why)


# ── confirming and sending ──────────────────────────────────────────────────────────────────────────────


def send_ready(state: NodeState, judge: Judge, now: Now) -> None:
    """Judge every order that waits once more.  Then send it, wait for a missing answer, or drop it."""
    to_look_up: list[File] = []
    to_tell_apart: set[Addr] = set()
    for made in state.orders.waiting():
        wish = Delete(made.file, made.server, made.kind, made.reason, made.keeper)
        room_for = state.orders.room_for.get(made.id)
        refusal = judge.refuse_order(wish, room_for)
        if refusal is None:
            before_ms = _confirmed_until_ms(state, made)
            sent = _change(state, made, OrderEvent.SENT, now)
            for addr in state.fleet.addresses(made.server):
                state.failures.ordered_away(made.file.name, addr)
            probe = state.fleet.source_disks.check(made.server).probe
            state.out.effects.append(SendDelete(sent, before_ms, probe))
        elif refusal in _ANSWERS_MISSING and _may_still_come(state, made, now):
            if _is_to_be_looked_up(state, made, refusal, now):
                to_look_up.append(made.file)
            to_tell_apart.add(made.server)
            _ask_keeper(state, made, now)
        else:
            judge.take_back(wish, room_for)
            _drop(state, made, OrderEvent.REVOKED, refusal, now)
    state.ask_san(to_look_up, now)
    half_ms = state.rules.confirmation_max_age_ms // 2
    disks = state.fleet.source_disks
    state.seek_names(disks.names(sorted(to_tell_apart), asked_before_ms=now.mono_ms - half_ms), now)


_ANSWERS_MISSING = (
    refusals.SAN_UNKNOWN,
    refusals.COPY_UNCONFIRMED,
    refusals.STILL_BEING_WRITTEN,
    refusals.DISK_NOT_RULED_OUT,
)
"""For these reasons an order goes on waiting for a while."""


def _confirmed_until_ms(state: NodeState, made: DeleteOrder) -> int:
    """Until when the answers count that the order waited for: of the SAN, and about the copy that stays."""
    on_san = state.san.answers.get(made.file.name)
    answers: list[Known[SanAnswer] | Known[CopySeen] | None] = [on_san]
    if made.keeper is not None:
        answers.append(state.copies.seen.get((made.file.name, made.keeper)))
    oldest_ms = min([answer.at_ms if answer is not None else 0 for answer in answers])
    if on_san is not None and isinstance(on_san.value, OnSan):
        ruled_out = state.fleet.source_disks.check(made.server).ruled_out
        oldest_ms = min(oldest_ms, ruled_out.get(on_san.value.folder, 0))
    return oldest_ms + state.rules.confirmation_max_age_ms


def _may_still_come(state: NodeState, made: DeleteOrder, now: Now) -> bool:
    """Were all answers good so far, and is there time for the others?"""
    if now.mono_ms - state.orders.ordered_ms[made.id] > PATIENCE_MS:
        return False
    seen = state.copies.seen.get((made.file.name, made.keeper)) if made.keeper else None
    asked_for_it = seen is not None and seen.at_ms >= state.orders.ordered_ms[made.id]
    bad = seen is not None and (
        not seen.value.present or seen.value.size_bytes not in (None, made.file.size_bytes)
    )
    return not (asked_for_it and bad)


def _is_to_be_looked_up(state: NodeState, made: DeleteOrder, missing: Refusal, now: Now) -> bool:
    """Must the SAN be asked for its file, because what is known of it is missing or too old?"""
    if missing is refusals.STILL_BEING_WRITTEN:
        seen = state.san.sightings[made.file.name]
        return now.mono_ms >= next_look_ms(seen, state.rules.san_rest_ms)
    known = state.san.answers.get(made.file.name)
    stale = known is None or now.mono_ms - known.at_ms > state.rules.confirmation_max_age_ms
    return stale or missing is refusals.SAN_UNKNOWN


def _ask_keeper(state: NodeState, made: DeleteOrder, now: Now) -> None:
    """Ask the server of the copy that stays for that copy, unless it answered just now."""
    if made.kind is not DeleteKind.SURPLUS or made.keeper is None:
        return
    seen = state.copies.seen.get((made.file.name, made.keeper))
    if seen is not None and now.mono_ms - seen.at_ms <= state.rules.confirmation_max_age_ms // 2:
        return
    record = state.fleet.records[made.keeper]
    if not record.features.ours:
        ask_list(state, made.keeper, now)
    elif state.copies.ask(made.file.name, made.keeper, now.mono_ms):
        state.out.effects.append(AskCopy(made.keeper, made.file.name))


def san_is_back(state: NodeState, now: Now) -> None:
    """Orders that waited for the source folders are decided anew: the least wanted file comes first again."""
    state.pauses.end(refusals.SAN_UNKNOWN)
    state.san.forget_silences()
    for made in state.orders.waiting():
        if made.file.name not in state.san.answers:
            why = "the source folders are back: decided anew"
            _drop(state, made, OrderEvent.REVOKED, refusals.NOT_NEEDED, now, why)


def keeper_silent(state: NodeState, name: str, addr: Addr, failure: Failure, now: Now) -> None:
    """A server did not answer about its copy.  An order that waits for that copy is dropped."""
    waiting = state.orders.by_file.get(name)
    if waiting is not None and waiting.status is OrderStatus.ORDERED and waiting.keeper == addr:
        why = f"{addr}: {words(failure)}"
        _drop(state, waiting, OrderEvent.REVOKED, refusals.COPY_UNCONFIRMED, now, why)


def copies_listed(state: NodeState, addr: Addr, names: Names, asked_ms: int) -> None:
    """A new list of an old worker says of each copy that an order waits for whether it is there.

    A worker of ours is also asked how large its copy is, so its list can only say that a copy is not there.
    """
    for made in state.orders.waiting():
        present = made.file.name in names
        if made.keeper == addr and not (present and state.fleet.records[addr].features.ours):
            state.copies.put(made.file.name, addr, CopySeen(present), asked_ms)


# ── outcomes ────────────────────────────────────────────────────────────────────────────────────────────


def answered(state: NodeState, event: DeleteAnswer, now: Now) -> None:
    """200 means that the file is gone.  After any other answer nobody knows, until the server is listed."""
    made = state.orders.active.get(event.order_id)
    if made is None or made.status is not OrderStatus.SENT:
        return
    if event.answer == 200:
        _gone(state, made, OrderEvent.ANSWERED_200, now, "its server answered 200")
        return
    why = words(event.answer) if isinstance(event.answer, Failure) else f"its server answered {event.answer}"
    made = _change(state, made, OrderEvent.UNCLEAR, now, why)
    state.say("delete unclear", facts(made), level="warning", because=why)
    if isinstance(event.answer, Failure):
        state.health.hurry(made.server, now.mono_ms)
    elif event.answer != NO_SUCH_FILE:
        state.fleet.refused_delete(made.server, now.mono_ms)
    look_at(state, made.server, now)


def settle(state: NodeState, event: ListAnswer, names: Names, now: Now) -> None:
    """A new list of a server settles its unknown orders.

    The question for it may have waited for its turn, and an order may have become unknown meanwhile.  Nothing
    has told a worker of ours that such an order is void: it may still carry the order out after the list.
    """
    fenced = state.fleet.records[event.addr].features.ours
    for made in state.orders.settled_by(event.addr, event.asked_ms, _quiet_ms(state, event.addr)):
        if fenced and (event.fence is None or made.id >= event.fence):
            continue
        if made.file.name in names:
            why = "listed again: it is still there"
            _drop(state, made, OrderEvent.LISTED_THERE, refusals.ORDER_UNKNOWN, now, why)
        else:
            _gone(state, made, OrderEvent.LISTED_GONE, now, "listed again: it is gone")


def settles_from_ms(state: NodeState, made: DeleteOrder) -> int | None:
    """From when on a list must be asked for, so that it settles this order; None for one that is clear."""
    return state.orders.settles_from_ms(made, _quiet_ms(state, made.server))


def _quiet_ms(state: NodeState, addr: Addr) -> int:
    return 0 if state.fleet.records[addr].features.ours else QUIET_MS


def next_relist_ms(state: NodeState, now: Now) -> int | None:
    """When the next old worker may be listed to settle an order that it left unclear."""
    if not state.orders.unknown_ms:
        return None
    due = (settles_from_ms(state, made) for made in state.orders.active.values())
    return min((due_ms for due_ms in due if due_ms is not None and due_ms > now.mono_ms), default=None)


def _gone(state: NodeState, made: DeleteOrder, event: OrderEvent, now: Now, how: str) -> None:
    name, addr = made.file.name, made.server
    made = _change(state, made, event, now, how)
    state.fleet.deleted(addr, name, made.file.size_bytes, now.mono_ms)
    state.stock.changed(addr, -made.file.size_bytes)
    if state.arrivals.drop(name, addr):
        state.out.changes.append(DropArrival(name, addr))
    # At another address of this disk the copy is gone, too, where it is one disk: somebody may have copied
    # its id.  So the other address keeps what it lists, and its copy must be confirmed anew.
    for one in state.fleet.addresses(addr):
        state.copies.drop(name, one, now.mono_ms)
    if state.versions.lost(name, addr):
        state.out.changes.append(DropCopy(name, addr))
    coming_back.went(state, made, now)
    state.counts[f"deleted_{made.kind}"] += 1
    state.counts["deleted_bytes"] += made.file.size_bytes
    state.say("deleted file", facts(made))
    for one in sorted(state.fleet.addresses(addr)):
        if one == addr or state.health.is_up(one):
            ask_disk(state, one, now)


def _drop(
    state: NodeState, made: DeleteOrder, event: OrderEvent, refusal: Refusal, now: Now, why: str = ""
) -> None:
    """The file stays; `event` and `refusal` say why the order is over."""
    _change(state, made, event, now, why or refusal.text)
    if refusal in PAUSING:
        state.pauses.pause(made.file.name, now.mono_ms, refusal)
    reserved = state.reservations.reserved.get(made.server)
    if reserved and reserved.file.name == made.room_for and not _room_is_being_made(state, made):
        state.reservations.release(made.server)
    state.say("delete dropped", facts(made), level="debug", because=why or refusal.text)


def _room_is_being_made(state: NodeState, made: DeleteOrder) -> bool:
    """Does another order on that server make room for the same file?"""
    others = state.orders.active.values()
    return any(o.server == made.server and o.room_for == made.room_for for o in others)


def _change(state: NodeState, made: DeleteOrder, event: OrderEvent, now: Now, why: str = "") -> DeleteOrder:
    changed = state.orders.change(made, event, now, why)
    if changed is not made:
        state.out.changes.append(PutOrder(changed))
    return changed


def facts(made: DeleteOrder) -> dict[str, object]:
    """What the log says of an order."""
    return {
        "file": made.file.name,
        "server": made.server,
        "kind": made.kind,
        "rank": made.file.rank,
        "size_bytes": made.file.size_bytes,
        "hits": made.window_hits or made.file.hits,
        "reason": made.reason,
        "order": str(made.id),
    }
