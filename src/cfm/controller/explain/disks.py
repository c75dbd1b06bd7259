"""Conditions of disks: with other data, or whose `/df` does not show what should be there, or be gone.

Pure.  Neighbours: `conditions` puts these among the others; `fleet.disk_account` has the accounts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from cfm.controller.explain.condition import Condition, Scene, Severity
from cfm.controller.explain.words import count_words, size_words
from cfm.fleet.record import Record
from cfm.model import Addr, Booked, DiskUsage, Known
from cfm.plan import refusals
from cfm.plan.round import Round

TOLD_AFTER_MS: Final = 30_000
"""`/df` shows most deletes and copies within a second."""
DIPS_TOLD_MS: Final = 900_000
"""For so long a disk is told of whose size has changed and did not stay so."""


FOREIGN_PERCENT: Final = 10
"""From so much of a disk on, data that is no known file is told: less is ads, and what file systems need."""
MUCH_FOREIGN_PERCENT: Final = 25


def conditions(scene: Scene, round_: Round | None) -> Iterator[Condition]:
    yield from _foreign_files(scene, round_)
    yield from _not_freed(scene)
    yield from _not_shown(scene)
    yield from _size_unsteady(scene)


def _foreign_files(scene: Scene, round_: Round | None) -> Iterator[Condition]:
    """Disks that other data takes from the library.  cfm deletes nothing that it does not know.

    Data beside `base_dir`, as on a disk that is shared, is told only where it costs something.
    """
    unreachable = round_.refused_at(refusals.LIMIT_UNREACHABLE) if round_ else set[Addr]()
    fits = round_ is None or not round_.times("copy", refusals.NO_ROOM)
    foreign = {
        addr: found
        for addr, found in _foreign(scene).items()
        if addr not in unreachable and (scene.state.stock.stock[addr].unknown_files or not fits)
    }
    there = scene.in_order(foreign)
    if there:
        total_bytes = sum(foreign[addr].used_bytes for addr in there)
        disk_bytes = sum(foreign[addr].total_bytes for addr in there)
        worst = max(one.percent for one in foreign.values())
        number = sum(scene.state.stock.stock[addr].unknown_files for addr in there)
        listed = (
            f", with {count_words(number, 'unknown file', 'unknown files')} in base_dir" if number else ""
        )
        yield Condition(
            name="foreign_files",
            level=Severity.DEGRADED if not fits or worst >= MUCH_FOREIGN_PERCENT else Severity.NOTE,
            text=f"{size_words(total_bytes)} of {size_words(disk_bytes)} {scene.at(there)} are taken by data "
            f"that is not in the grade and history files{listed}",
            remedy="look at what else is on that disk: cfm deletes no file that it does not know",
            servers=there,
            files=number or None,
            size_bytes=total_bytes,
        )


class _Foreign(NamedTuple):
    """What is used of one disk, and is no known file."""

    used_bytes: int
    total_bytes: int

    @property
    def percent(self) -> int:
        return 100 * self.used_bytes // max(1, self.total_bytes)


def _foreign(scene: Scene) -> dict[Addr, _Foreign]:
    """The disks of which so much is taken that it is told."""
    state, found = scene.state, dict[Addr, _Foreign]()
    arriving = Counter[Addr]()
    for task in state.tasks.active.values():
        arriving[task.destination] += task.file.size_bytes
    for addr, stock in state.stock.stock.items():
        record = state.fleet.records[addr]
        if not isinstance(record.disk, Known) or not isinstance(record.files, Known):
            continue
        last = record.disk.value
        if 100 * (last.used_bytes - stock.known_bytes) < FOREIGN_PERCENT * (
            last.used_bytes + last.avail_bytes
        ):
            continue  # as on nearly every disk
        account, usage = record.account, _by_two_readings(record)
        if usage is not None:
            going_bytes = account.given_up_bytes + sum(one.size_bytes for one in account.gone)
            other_bytes = usage.used_bytes - stock.known_bytes - going_bytes - arriving[addr]
            one = _Foreign(other_bytes, usage.used_bytes + usage.avail_bytes)
            if one.percent >= FOREIGN_PERCENT:
                found[addr] = one
    return found


def _by_two_readings(record: Record) -> DiskUsage | None:
    """How full the disk is at least."""
    if not isinstance(record.disk, Known):
        return None
    bounds = record.account.bounds
    return record.disk.value if bounds is None else bounds.emptiest


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
            text=f"{size_words(total_bytes)} were deleted and are not freed yet {scene.at(there)}: "
            "are files open?",
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
