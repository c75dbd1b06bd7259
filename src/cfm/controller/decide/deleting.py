"""Delete orders in the controller's hands: decided, confirmed, sent, settled.  Pure over the state.

    a policy wishes, the kernel agrees         → ORDERED, durable with its reason
    the SAN has the file; for a surplus copy
    the server of the copy that stays has it   → asked now, believed for ten seconds
    the kernel agrees once more                → SENT, durable before the first byte, which goes out in
                                                 those ten seconds or never
    the server answers 200                     → CONFIRMED
    anything else, or nothing                  → UNKNOWN until the server was listed again

Neighbours: `core` routes events here, `tasks.orders` keeps the table's rules.
"""

from __future__ import annotations

from cfm.controller.decide.copying import ask_disk, look_at
from cfm.controller.decide.events import AskCopy, AskList, CopyAnswer, DeleteAnswer, SendDelete
from cfm.controller.decide.state import NodeState, words
from cfm.fleet.observed import BY_COPY
from cfm.model import (
    Addr,
    CopySeen,
    DeleteKind,
    DeleteOrder,
    Failure,
    File,
    Known,
    Now,
    OrderStatus,
    SanAnswer,
)
from cfm.plan import refusals
from cfm.plan.judge import Judge
from cfm.plan.refusals import Refusal
from cfm.plan.view import Departure, Reservation
from cfm.plan.wishes import Delete
from cfm.tasks.store import DropArrival, PutOrder

PATIENCE_MS = 30_000
"""How long an order waits for its confirmations before it is dropped."""
PAUSE_MS = 30_000
"""How long a file is left alone after its order was dropped for a reason in `PAUSING`."""
PAUSING = (refusals.COPY_UNCONFIRMED, refusals.SAN_UNKNOWN, refusals.ORDER_UNKNOWN)
"""What only an order finds out.  Every other reason is seen before there is one, for as long as it holds."""
NO_SUCH_FILE = 404
QUIET_MS = 10_000
"""How long after an unclear answer an old worker is left before the list that settles it: it knows no
fence, and may still carry out what it was asked."""


def order(state: NodeState, delete: Delete, room_for: File | None, now: Now) -> None:
    """Write a delete order down; nothing is sent yet.

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
    """An order from before a restart: what was not sent is dropped, what was sent is unknown."""
    if made.status is OrderStatus.CONFIRMED:
        _remember_departure(state, made, now)
        return
    if made.status is OrderStatus.DROPPED:
        return
    state.orders.recover(made, now.mono_ms)
    if made.status is OrderStatus.ORDERED:  # nothing speaks against the file: it needs no pause
        _change(state, made, OrderStatus.DROPPED, now, "cfm was restarted before it was sent")
    elif made.server not in state.fleet.records:
        if made.status is OrderStatus.SENT:
            made = _change(state, made, OrderStatus.UNKNOWN, now, "cfm was restarted")
        _drop(state, made, refusals.SERVER_UNKNOWN, now, why="its server is not in the settings any more")
    elif made.status is OrderStatus.SENT:
        _change(state, made, OrderStatus.UNKNOWN, now, "cfm was restarted before the answer came")


# ── confirming and sending ──────────────────────────────────────────────────────────────────────────────


def send_ready(state: NodeState, judge: Judge, now: Now) -> None:
    """Judge every order that waits once more: send it, wait for what it lacks, or drop it."""
    to_look_up: list[File] = []
    for made in state.orders.waiting():
        wish = Delete(made.file, made.server, made.kind, made.reason, made.keeper)
        room_for = state.orders.room_for.get(made.id)
        refusal = judge.refuse_order(wish, room_for)
        if refusal is None:
            before_ms = _confirmed_until_ms(state, made)
            state.out.effects.append(SendDelete(_change(state, made, OrderStatus.SENT, now), before_ms))
        elif refusal in _ANSWERS_MISSING and _may_still_come(state, made, now):
            if _is_to_be_looked_up(state, made, refusal, now):
                to_look_up.append(made.file)
            _ask_keeper(state, made, now)
        else:
            judge.take_back(wish, room_for)
            _drop(state, made, refusal, now)
    state.ask_san(to_look_up, now)


_ANSWERS_MISSING = (refusals.SAN_UNKNOWN, refusals.COPY_UNCONFIRMED)
"""With these an order goes on waiting for a while."""


def _confirmed_until_ms(state: NodeState, made: DeleteOrder) -> int:
    """Until when all that the order waited for counts: the SAN's word, and that of the copy that stays."""
    answers: list[Known[SanAnswer] | Known[CopySeen] | None] = [state.san.answers.get(made.file.name)]
    if made.keeper is not None:
        answers.append(state.copies.seen.get((made.file.name, made.keeper)))
    oldest_ms = min([answer.at_ms if answer is not None else 0 for answer in answers])
    return oldest_ms + state.rules.confirmation_max_age_ms


def _may_still_come(state: NodeState, made: DeleteOrder, now: Now) -> bool:
    """Has everything that was answered so far been good, and is there time for the rest?"""
    if now.mono_ms - state.orders.ordered_ms[made.id] > PATIENCE_MS:
        return False
    seen = state.copies.seen.get((made.file.name, made.keeper)) if made.keeper else None
    asked_for_it = seen is not None and seen.at_ms >= state.orders.ordered_ms[made.id]
    bad = seen is not None and (
        not seen.value.present or seen.value.size_bytes not in (None, made.file.size_bytes)
    )
    return not (asked_for_it and bad)


def _is_to_be_looked_up(state: NodeState, made: DeleteOrder, missing: Refusal, now: Now) -> bool:
    """Is its file's place on the SAN not known, or not freshly enough?  Asked along with the keeper."""
    known = state.san.answers.get(made.file.name)
    stale = known is None or now.mono_ms - known.at_ms > state.rules.confirmation_max_age_ms
    return stale or missing is refusals.SAN_UNKNOWN


def _ask_keeper(state: NodeState, made: DeleteOrder, now: Now) -> None:
    """The server of the copy that stays is asked for that copy, unless it answered just now."""
    if made.kind is not DeleteKind.SURPLUS or made.keeper is None:
        return
    seen = state.copies.seen.get((made.file.name, made.keeper))
    if seen is not None and now.mono_ms - seen.at_ms <= state.rules.confirmation_max_age_ms // 2:
        return
    record = state.fleet.records[made.keeper]
    if not record.features.ours:
        if record.listing.begin(now.mono_ms):
            state.out.effects.append(AskList(made.keeper))
    elif state.copies.ask(made.file.name, made.keeper, now.mono_ms):
        state.out.effects.append(AskCopy(made.keeper, made.file.name))


def san_is_back(state: NodeState, now: Now) -> None:
    """What waited for the source folders is decided anew, so that the least wanted file is first again."""
    state.pauses.end(refusals.SAN_UNKNOWN)
    state.san.forget_silences()
    for made in state.orders.waiting():
        if made.file.name not in state.san.answers:
            _drop(state, made, refusals.NOT_NEEDED, now, why="the source folders are back: decided anew")


def copy_seen(state: NodeState, event: CopyAnswer, now: Now) -> None:
    """A worker of ours answered about one file; no answer is not an answer."""
    state.copies.came_back(event.name, event.addr)
    if isinstance(event.answer, Failure):
        state.health.hurry(event.addr, now.mono_ms)
        waiting = state.orders.by_file.get(event.name)
        if waiting is not None and waiting.status is OrderStatus.ORDERED and waiting.keeper == event.addr:
            _drop(state, waiting, refusals.COPY_UNCONFIRMED, now, why=f"{event.addr}: {words(event.answer)}")
    else:
        state.copies.put(event.name, event.addr, event.answer, event.asked_ms)
        state.fleet.told_disk(event.addr, BY_COPY, event.answer.disk_id)
        if not event.answer.present:
            look_at(state, event.addr, now)


def copies_listed(state: NodeState, addr: Addr, names: frozenset[str], asked_ms: int) -> None:
    """One fresh list of an old worker confirms, or denies, all copies that wait for its word.

    A worker of ours is asked how large its copy is; its list only denies.
    """
    for made in state.orders.waiting():
        present = made.file.name in names
        if made.keeper == addr and not (present and state.fleet.records[addr].features.ours):
            state.copies.put(made.file.name, addr, CopySeen(present), asked_ms)


# ── outcomes ────────────────────────────────────────────────────────────────────────────────────────────


def answered(state: NodeState, event: DeleteAnswer, now: Now) -> None:
    """200 means gone; everything else means that nobody knows until the server has been listed again."""
    made = state.orders.active.get(event.order_id)
    if made is None or made.status is not OrderStatus.SENT:
        return
    if event.answer == 200:
        _gone(state, made, now, "its server answered 200")
        return
    why = words(event.answer) if isinstance(event.answer, Failure) else f"its server answered {event.answer}"
    made = _change(state, made, OrderStatus.UNKNOWN, now, why)
    state.say("delete unclear", facts(made), level="warning", because=why)
    if isinstance(event.answer, Failure):
        state.health.hurry(made.server, now.mono_ms)
    elif event.answer != NO_SUCH_FILE:
        state.fleet.refused_delete(made.server, now.mono_ms)
    look_at(state, made.server, now)


def settle(state: NodeState, addr: Addr, names: frozenset[str], asked_ms: int, now: Now) -> None:
    """A new list of a server decides its unknown orders."""
    for made in state.orders.unknown_at(addr):
        quiet_ms = 0 if state.fleet.records[made.server].features.ours else QUIET_MS
        if state.orders.unknown_ms[made.id] + quiet_ms > asked_ms:
            continue
        if made.file.name in names:
            _drop(state, made, refusals.ORDER_UNKNOWN, now, why="listed again: it is still there")
        else:
            _gone(state, made, now, "listed again: it is gone")


def next_relist_ms(state: NodeState, now: Now) -> int | None:
    """When an old worker may be listed to settle what it left unclear."""
    if not state.orders.unknown_ms:
        return None
    due = [
        state.orders.unknown_ms[made.id] + QUIET_MS
        for made in state.orders.active.values()
        if made.id in state.orders.unknown_ms and not state.fleet.records[made.server].features.ours
    ]
    return min((due_ms for due_ms in due if due_ms > now.mono_ms), default=None)


def _gone(state: NodeState, made: DeleteOrder, now: Now, how: str) -> None:
    name, addr = made.file.name, made.server
    made = _change(state, made, OrderStatus.CONFIRMED, now, how)
    state.fleet.deleted(addr, name, made.file.size_bytes, now.mono_ms)
    if state.arrivals.drop(name, addr):
        state.out.changes.append(DropArrival(name, addr))
    state.copies.drop(name, addr)
    _remember_departure(state, made, now)
    state.counts[f"deleted_{made.kind}"] += 1
    state.counts["deleted_bytes"] += made.file.size_bytes
    state.say("deleted file", facts(made))
    for one in sorted(state.fleet.addresses(addr)):
        if one == addr or state.health.is_up(one):
            ask_disk(state, one, now)


def _remember_departure(state: NodeState, made: DeleteOrder, now: Now) -> None:
    """What went for room is not copied back for a while; a surplus copy left another one behind."""
    if made.kind is DeleteKind.SPACE:
        ago_ms = max(0, 1000 * (now.wall_s - made.changed_s))
        state.departures.put(made.file.name, Departure(now.mono_ms - ago_ms, made.file.rank))


def _drop(state: NodeState, made: DeleteOrder, refusal: Refusal, now: Now, why: str = "") -> None:
    _change(state, made, OrderStatus.DROPPED, now, why or refusal.text)
    if refusal in PAUSING:
        state.pauses.pause(made.file.name, now.mono_ms + PAUSE_MS, refusal)
    reserved = state.reservations.reserved.get(made.server)
    if reserved and reserved.file.name == made.room_for and not _room_is_being_made(state, made):
        state.reservations.release(made.server)
    state.say("delete dropped", facts(made), level="debug", because=why or refusal.text)


def _room_is_being_made(state: NodeState, made: DeleteOrder) -> bool:
    """Does another order on that server make room for the same file?"""
    others = state.orders.active.values()
    return any(o.server == made.server and o.room_for == made.room_for for o in others)


def _change(state: NodeState, made: DeleteOrder, status: OrderStatus, now: Now, why: str = "") -> DeleteOrder:
    changed = state.orders.change(made, status, now, why)
    state.out.changes.append(PutOrder(changed))
    return changed


def facts(made: DeleteOrder) -> dict[str, object]:
    """What is said of an order."""
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
