"""Conditions: what an operator should know about this node now, worst first.

Equal troubles of several servers are one condition.  A healthy node has none.  Pure: made from the core's
state and its last round.  Neighbours: `inputs`, `servers`, `disks`, `failing` and others find them, `held`
those that come from refusals; `verdict` makes one sentence of the worst, `parts` shows them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from cfm.controller.decide.core import Core
from cfm.controller.explain import disks, failing, held, inputs, servers, whose_disks
from cfm.controller.explain.condition import Condition, Scene, Severity
from cfm.controller.explain.content import being_written, stale_copies
from cfm.controller.explain.health import Activity, Doing
from cfm.controller.explain.ours import own_troubles
from cfm.controller.explain.words import count_words, size_words
from cfm.model import Now, OrderStatus
from cfm.plan import refusals
from cfm.plan.ledger import Ledger
from cfm.plan.round import Round

WORST_FIRST = (Severity.CRITICAL, Severity.DEGRADED, Severity.NOTE)


def conditions(core: Core, round_: Round | None, activity: Activity, now: Now) -> tuple[Condition, ...]:
    """All conditions, worst first; those of one severity in the order in which they are looked for."""
    found = (_with_since(core, one) for one in _all(Scene(core, activity, now), round_))
    return tuple(sorted(found, key=lambda one: WORST_FIRST.index(one.level)))


def _with_since(core: Core, one: Condition) -> Condition:
    """A condition that does not know since when it is so was seen at a look."""
    return one if one.since_s is not None else replace(one, since_s=core.state.conditions.since_s(one.name))


def _all(scene: Scene, round_: Round | None) -> Iterator[Condition]:
    """First what stops or holds everything, then what is about single servers, then single files."""
    yield from _own_state(scene)
    yield from own_troubles(scene)
    yield from _slow_plans(scene)
    yield from whose_disks.source_disks(scene)
    yield from whose_disks.copied_markers(scene)
    yield from inputs.metadata(scene)
    yield from inputs.source_folders(scene)
    yield from inputs.event_log(scene)
    decided = round_ if scene.state.snapshot is not None else None
    if decided is not None:
        yield from held.brakes(scene, decided)
        yield from held.not_ruled_out(scene, decided)
        yield from held.over_limit(scene, decided)
        yield from held.unreachable(scene, decided)
    yield from servers.conditions(scene)
    yield from disks.conditions(scene, decided)
    yield from failing.in_pause(scene)
    yield from failing.files(scene, decided)
    yield from failing.not_asking(scene)
    if decided is not None:
        yield from held.waiting(scene, decided)
        yield from held.pace(scene, decided)
        yield from held.no_space(scene, decided)
    yield from _deletes_off(scene, decided)
    yield from _kept_away(scene, decided)
    yield from _unknown_deletes(scene)
    yield from stale_copies(scene)
    yield from being_written(scene)
    yield from whose_disks.links(scene)
    yield from _released_breakers(scene)


# ── cfm itself ──────────────────────────────────────────────────────────────────────────────────────────


def _own_state(scene: Scene) -> Iterator[Condition]:
    if why := scene.state.store_trouble:
        yield Condition(
            name="state_not_writable",
            level=Severity.CRITICAL,
            text=f"cfm is paused because it cannot write its own state: {why}",
            remedy=refusals.PAUSED.release,
        )


SLOW_PLAN_MS: Final = 30_000
"""A full plan of ten million files takes less, on a host that has the processors and the memory for it."""


def _slow_plans(scene: Scene) -> Iterator[Condition]:
    """What is decided meanwhile comes from the lists of the plan before."""
    lasting_ms = scene.core.plans.lasting_ms(scene.now)
    if lasting_ms >= SLOW_PLAN_MS:
        yield Condition(
            name="plans_slow",
            level=Severity.DEGRADED,
            text=f"A full plan takes {lasting_ms // 1000:,} s, and new ranks count only so much later",
            remedy="give this host more memory or processors, or find what else loads it",
        )


def _deletes_off(scene: Scene, round_: Round | None) -> Iterator[Condition]:
    """It is a person's wish, and does harm only where something should be deleted."""
    if not scene.state.rules.deletes_on:
        some_wait = round_ is not None and round_.times("delete", refusals.DELETES_OFF) > 0
        yield Condition(
            name=refusals.DELETES_OFF.name,
            level=Severity.DEGRADED if some_wait else Severity.NOTE,
            text="Deletes are switched off, and some are needed" if some_wait else "Deletes are switched off",
            remedy=refusals.DELETES_OFF.release,
            holds=True,
        )


MUCH_ROOM_PERCENT: Final = 10
"""So much of a disk is more than what is left when the last file does not fit."""


def _kept_away(scene: Scene, round_: Round | None) -> Iterator[Condition]:
    """Files that went to make room, and are not copied back yet, although a disk has much room.

    That is so for some minutes after other data has left a disk, or for the whole time where that happened
    before.  While other files are wanted, they get the room.
    """
    busy = scene.activity.doing in (Doing.WORKING, Doing.STARTING) or scene.activity.waiting
    room_bytes = 0 if busy or round_ is None else _much_room_bytes(round_.ledger)
    if round_ is None or not room_bytes:
        return
    away = [name for name in scene.state.departures.left if not round_.view.is_placed(name)]
    if away:
        words = count_words(len(away), "file that was deleted", "files that were deleted")
        room = size_words(room_bytes)
        yield Condition(
            name=refusals.JUST_DELETED.name,
            level=Severity.NOTE,
            text=f"{words} to make room may not come back yet, though a disk has {room} free",
            remedy="wait (`remover.just_deleted_sec`), or raise the limit and run `cfm reload`",
            files=len(away),
        )


def _much_room_bytes(ledger: Ledger) -> int:
    """The room of the disk that has the most; 0 where none has much."""
    disks = (disk for addr, disk in ledger.disks.items() if ledger.is_used(addr))
    rooms = ((disk.room_bytes(), disk.ceiling_bytes) for disk in disks)
    return max((room for room, limit in rooms if 100 * room >= MUCH_ROOM_PERCENT * limit), default=0)


def _released_breakers(scene: Scene) -> Iterator[Condition]:
    if released := scene.state.settings.approved_bytes:
        there, total_bytes = scene.in_order(released), sum(released.values())
        yield Condition(
            name="breaker_released",
            level=Severity.NOTE,
            text=f"An operator released the breaker for {size_words(total_bytes)} {scene.at(there)}",
            servers=there,
            size_bytes=total_bytes,
        )


def _unknown_deletes(scene: Scene) -> Iterator[Condition]:
    orders = scene.state.orders
    unknown = [order for order in orders.active.values() if order.status is OrderStatus.UNKNOWN]
    if unknown:
        there = scene.in_order(order.server for order in unknown)
        what = count_words(len(unknown), "delete has", "deletes have")
        yield Condition(
            name=refusals.ORDER_UNKNOWN.name,
            level=Severity.NOTE,
            text=f"{what} an unknown outcome {scene.at(there)}",
            remedy="nothing to do: cfm lists the server again to find out",
            servers=there,
            files=len(unknown),
            size_bytes=sum(order.file.size_bytes for order in unknown),
            since_s=scene.wall_s(min(orders.unknown_ms[order.id] for order in unknown)),
        )
