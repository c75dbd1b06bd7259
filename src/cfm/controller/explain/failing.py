"""Conditions about what fails: servers and pairs in a pause, and files that cannot be copied.

Pure.  Neighbours: `tasks.failures` says who is to blame, `conditions` puts these among the others.
"""

from __future__ import annotations

from collections.abc import Iterator

from cfm.controller.explain.condition import Condition, Scene, Severity
from cfm.controller.explain.words import some_of, time_words
from cfm.model import Side
from cfm.plan import refusals
from cfm.plan.refusals import Refusal
from cfm.plan.round import Round

_CHARGED = 2
"""A file that failed so often is told.  After one failure it is only tried elsewhere."""
_REMEDIES = {
    refusals.SOURCE_IN_PAUSE: "check its source folders, its network and the log of its cfw",
    refusals.DESTINATION_IN_PAUSE: "check its disk and the log of its cfw",
    refusals.PAIR_IN_PAUSE: "check the network between them, and the logs of both",
}


def in_pause(scene: Scene) -> Iterator[Condition]:
    """Sources, destinations and pairs where copies fail, each kind as one condition."""
    by_kind: dict[Refusal, list[Side]] = {refusal: [] for refusal in _REMEDIES}
    for side in sorted(scene.state.failures.pauses):
        by_kind[_kind(side)].append(side)
    for refusal, sides in by_kind.items():
        if sides:
            yield _condition(scene, refusal, sides)


def _kind(side: Side) -> Refusal:
    if side.source and side.destination:
        return refusals.PAIR_IN_PAUSE
    return refusals.SOURCE_IN_PAUSE if side.source else refusals.DESTINATION_IN_PAUSE


def _condition(scene: Scene, refusal: Refusal, sides: list[Side]) -> Condition:
    pauses = scene.state.failures.pauses
    first = pauses[sides[0]]
    told = [" ".join(_words(scene, side)) for side in sides]
    number = sum(pauses[side].failures for side in sides)
    times = f" {number:,} times in a row" if number > 1 else ""
    why = f": {first.why}" if first.why else ""
    return Condition(
        name=refusal.name,
        level=Severity.DEGRADED,
        text=f"Copies {some_of(told)} failed{times}{why}; next try "
        f"{_in_words(min(pauses[side].ends_ms for side in sides) - scene.now.mono_ms)}",
        remedy=_REMEDIES[refusal],
        servers=scene.in_order(addr for side in sides for addr in side if addr),
        since_s=scene.wall_s(min(pauses[side].since_ms for side in sides)),
    )


def _in_words(pause_ms: int) -> str:
    """The pause may be over for long: where nothing is to be copied, nothing is tried."""
    return f"in {time_words(-(-pause_ms // 1000))}" if pause_ms > 0 else "with the next copy"


def _words(scene: Scene, side: Side) -> Iterator[str]:
    if side.source:
        yield f"from {scene.names[side.source]}"
    if side.destination:
        yield f"to {scene.names[side.destination]}"


_SILENT_MS = 60_000
"""A worker of ours asks at least every half minute, unless it receives all that it can."""


def not_asking(scene: Scene) -> Iterator[Condition]:
    """Destinations of ours that are up and have not asked for work for long: they take no tasks."""
    if scene.core.is_rehearsal:
        return
    state, now_ms = scene.state, scene.now.mono_ms
    there = scene.in_order(
        addr
        for addr, record in state.fleet.records.items()
        if record.is_destination
        and record.features.ours
        and state.health.is_up(addr)
        and now_ms - state.health.pulse(addr).since_ms > _SILENT_MS
        and now_ms - (record.asked_work_ms or 0) > _SILENT_MS
        and not any(task.destination == addr for task in state.tasks.active.values())
        and Side(destination=addr) not in state.failures.pauses
    )
    if there:
        yield Condition(
            name="not_asking",
            level=Severity.DEGRADED,
            text=f"No cfw asks for work {scene.at(there)}, so nothing is copied there",
            remedy="check `cfm_addr` in its cfw.yml, and the log of its cfw",
            servers=there,
        )


def files(scene: Scene, round_: Round | None) -> Iterator[Condition]:
    """Files that fail wherever they are copied to, while they wait or are tried again.

    Where there is no space for them when their pause is over, their failures keep nothing from being done.
    """
    retries, placed = scene.state.failures.retries, scene.state.fleet.holders
    failed = (name for name, retry in retries.items() if retry.failures >= _CHARGED and name not in placed)
    if names := sorted(name for name in failed if _is_due(scene, round_, name)):
        what = names[0] if len(names) == 1 else f"{len(names):,} files (such as {names[0]})"
        due_ms = min(retries[name].not_before_ms for name in names) - scene.now.mono_ms
        yield Condition(
            name=refusals.RETRY_LATER.name,
            level=Severity.DEGRADED,
            text=f"Copies of {what} failed wherever they were tried; next try {_in_words(due_ms)}",
            remedy="`cfm why FILE` and the log tell why",
            files=len(names),
            holds=True,
        )


def _is_due(scene: Scene, round_: Round | None, name: str) -> bool:
    """Is it being copied again, or as soon as its pause is over?"""
    waits = scene.now.mono_ms < scene.state.failures.retries[name].not_before_ms
    refusal = round_.why_not_copied(name) if round_ is not None else None
    return waits or name in scene.state.tasks.by_file or refusal not in (None, refusals.NO_ROOM)
