"""Conditions: what an operator should know about this node now, worst first.

Equal troubles of several servers are one condition.  A healthy node has none.  Pure: made from the core's
state and its last round.  Neighbours: `inputs`, `servers`, `disks`, `failing` and others find them, `held`
those that come from refusals; `verdict` makes one sentence of the worst, `parts` shows them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from cfm.controller.decide.core import Core
from cfm.controller.explain import disks, failing, held, inputs, servers, whose_disks
from cfm.controller.explain.condition import Condition, Scene, Severity
from cfm.controller.explain.content import being_written, stale_copies
from cfm.controller.explain.health import Activity
from cfm.controller.explain.ours import own_troubles
from cfm.controller.explain.words import count_words, size_words
from cfm.model import Now, OrderStatus
from cfm.plan import refusals
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
    yield from failing.files(scene)
    yield from failing.not_asking(scene)
    if decided is not None:
        yield from held.waiting(scene, decided)
        yield from held.pace(scene, decided)
        yield from held.too_large(scene, decided)
        yield from held.no_space(scene, decided)
    yield from _deletes_off(scene, decided)
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
