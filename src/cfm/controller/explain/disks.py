"""Conditions of disks whose `/df` does not show what should be there, or what should be gone.

Pure.  Neighbours: `conditions` puts these among the others; `fleet.disk_account` has the accounts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from cfm.controller.explain.condition import Condition, Scene, Severity
from cfm.controller.explain.words import size_words
from cfm.model import Addr, Booked, Known

TOLD_AFTER_MS: Final = 30_000
"""`/df` shows most deletes and copies within a second."""
DIPS_TOLD_MS: Final = 900_000
"""For so long a disk is told of whose size has changed and did not stay so."""


def conditions(scene: Scene) -> Iterator[Condition]:
    yield from _not_freed(scene)
    yield from _not_shown(scene)
    yield from _size_unsteady(scene)


def _not_freed(scene: Scene) -> Iterator[Condition]:
    """Files were deleted, and their bytes are still used."""
    accounts = {addr: record.account for addr, record in scene.state.fleet.records.items()}
    late = {addr: _late(scene, account.gone) for addr, account in accounts.items()}
    awaited = {
        addr: account.given_up_bytes + sum(one.size_bytes for one in late[addr])
        for addr, account in accounts.items()
    }
    there = scene.in_order(addr for addr, size in awaited.items() if _is_worth_telling(scene, addr, size))
    if there:
        total_bytes = sum(awaited[addr] for addr in there)
        yield Condition(
            name="not_freed",
            level=Severity.DEGRADED,
            text=f"{size_words(total_bytes)} deleted and not freed yet {scene.at(there)}: open files?",
            remedy="players may have the files open: `lsof +L1` there tells which",
            servers=there,
            size_bytes=total_bytes,
            since_s=_since_s(scene, [one for addr in there for one in late[addr]]),
        )


def _not_shown(scene: Scene) -> Iterator[Condition]:
    """Copies arrived, and `/df` does not show them, although the server lists them."""
    late: Mapping[Addr, list[Booked]] = {
        addr: found
        for addr, record in scene.state.fleet.records.items()
        if (found := _late(scene, record.account.overdue))
        and _is_worth_telling(scene, addr, sum(one.size_bytes for one in found))
    }
    there = scene.in_order(late)
    if there:
        total_bytes = sum(one.size_bytes for found in late.values() for one in found)
        yield Condition(
            name="df_stands_still",
            level=Severity.DEGRADED,
            text=f"`/df` does not show {size_words(total_bytes)} that arrived {scene.at(there)}",
            remedy="check what its cfw measures; cfm counts the copies itself meanwhile",
            servers=there,
            size_bytes=total_bytes,
            since_s=_since_s(scene, [one for found in late.values() for one in found]),
        )


def _size_unsteady(scene: Scene) -> Iterator[Condition]:
    """The size of a disk changes, and changes back."""
    since_ms = scene.now.mono_ms - DIPS_TOLD_MS
    times_of = {addr: record.account.dips_ms for addr, record in scene.state.fleet.records.items()}
    dips = {addr: times for addr, times in times_of.items() if times and times[1] > since_ms}
    there = scene.in_order(dips)
    if there:
        yield Condition(
            name="disk_size_changes",
            level=Severity.DEGRADED,
            text=f"The disk size that `/df` tells changes and changes back {scene.at(there)}",
            remedy="look for other data on the same storage; one reading decides nothing",
            servers=there,
            since_s=scene.wall_s(min(times[0] for times in dips.values())),
        )


def _late(scene: Scene, booked: Iterable[Booked]) -> list[Booked]:
    return [one for one in booked if scene.now.mono_ms - one.at_ms >= TOLD_AFTER_MS]


def _is_worth_telling(scene: Scene, addr: Addr, size_bytes: int) -> bool:
    """Less than a ten thousandth of a disk may be what other software wrote meanwhile."""
    usage = scene.state.fleet.records[addr].disk
    total_bytes = usage.value.total_bytes if isinstance(usage, Known) else 0
    return size_bytes > total_bytes // 10_000


def _since_s(scene: Scene, booked: Iterable[Booked]) -> int | None:
    since_ms = min((one.at_ms for one in booked), default=None)
    return None if since_ms is None else scene.wall_s(since_ms)
