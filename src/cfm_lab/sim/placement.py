"""The plain ideal: which files should be placed, by rank alone; and how good what is placed is beside it.

Pure, and knows nothing of cfm: files in the order in which they are wanted, and the room of each disk.
Neighbours: `inventory` reads both from a world, `rest` and `goodput` judge by them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from itertools import accumulate
from types import MappingProxyType
from typing import Final, NamedTuple

from cfm.model import File

FEW_FILES: Final = 12
FEW_DISKS: Final = 3


def wanted_order(files: Iterable[File]) -> list[File]:
    """The files by rank, best first."""
    return sorted(files, key=lambda file: file.rank)


def ideal(
    files: Sequence[File], rooms: Sequence[int], there: Mapping[str, int] = MappingProxyType({})
) -> list[File]:
    """The best set of files for these disks: the exact one where there are few, or else the greedy one.

    `files` is in the order in which they are wanted, `rooms` has the bytes that each disk can take.  `there`
    says on which disk a file is already, by its place in `rooms`.
    """
    few = len(files) <= FEW_FILES and len(rooms) <= FEW_DISKS
    return exact_ideal(files, rooms) if few else greedy_ideal(files, rooms, there)


def greedy_ideal(
    files: Sequence[File], rooms: Sequence[int], there: Mapping[str, int] = MappingProxyType({})
) -> list[File]:
    """Each file in turn stays where it is, or goes to the disk with the most free room, or nowhere.

    What is there proves that it fits together.  Without that, a large file may find no disk with the room,
    and the two worse ones that get it instead would count as better than what is there.
    """
    free = list(rooms)
    placed = []
    for file in files:
        disk: int | None = there.get(file.name)
        if disk is None or file.size_bytes > free[disk]:
            disk = max(range(len(free)), key=free.__getitem__, default=None)
        if disk is not None and file.size_bytes <= free[disk]:
            free[disk] -= file.size_bytes
            placed.append(file)
    return placed


def exact_ideal(files: Sequence[File], rooms: Sequence[int]) -> list[File]:
    """A file is left out only if there is no way to place it together with all better ones."""
    placed: list[File] = []
    for file in files:
        if _can_hold([*placed, file], tuple(rooms)):
            placed.append(file)
    return placed


def _can_hold(files: Sequence[File], rooms: tuple[int, ...]) -> bool:
    if not files:
        return True
    largest = max(files, key=lambda file: file.size_bytes)
    rest = [file for file in files if file is not largest]
    for free in set(rooms):
        if largest.size_bytes <= free:
            at = rooms.index(free)
            if _can_hold(rest, (*rooms[:at], free - largest.size_bytes, *rooms[at + 1 :])):
                return True
    return False


def worth(
    placed: AbstractSet[str],
    files: Sequence[File],
    rooms: Sequence[int],
    there: Mapping[str, int],
    *,
    staying_hits: int = 0,
) -> float:
    """The hits of what is placed, as a share of those of the ideal; at most 1.

    `there`: see `ideal`.  `staying_hits`: those of files that are not among `files`, and are placed in both.

    The greedy ideal goes by rank, so small files of worse ranks may together have more hits.
    """
    best = staying_hits + hits_of(ideal(files, rooms, there))
    held = staying_hits + hits_of(file for file in files if file.name in placed)
    return min(1.0, held / best) if best else 1.0


def hits_of(files: Iterable[File]) -> int:
    return sum(file.hits for file in files)


def bytes_of(files: Iterable[File]) -> int:
    return sum(file.size_bytes for file in files)


# ── exchanges ───────────────────────────────────────────────────────────────────────────────────────────


class Stock(NamedTuple):
    """One disk, as it is."""

    label: str
    free_bytes: int
    """Below its limit; negative where it is above."""
    goers: tuple[File, ...]
    """What may go from it, in any order."""


class Exchange(NamedTuple):
    """A file that is nowhere, and the worse ones of one disk that should make its room."""

    file: File
    label: str
    goers: tuple[File, ...]


def exchanges(
    absent: Iterable[File], stocks: Collection[Stock], *, margin_percent: int, worth_percent: int
) -> Iterator[Exchange]:
    """The exchanges that would make the placement clearly better, the best file first.

    Clearly: each file that goes is worse in rank by the margin, and together they have at most
    `worth_percent` of the hits of the file that comes.
    """
    for file in wanted_order(absent):
        for stock in stocks:
            goers = _goers(file, stock, margin_percent)
            if goers is not None and 100 * hits_of(goers) <= worth_percent * file.hits:
                yield Exchange(file, stock.label, goers)
                break


def _goers(file: File, stock: Stock, margin_percent: int) -> tuple[File, ...] | None:
    """The fewest of the clearly worse files, worst first, that make the room; None where they cannot."""
    need_bytes = file.size_bytes - stock.free_bytes
    worse = [one for one in stock.goers if (100 + margin_percent) * file.rank < 100 * one.rank]
    worse.sort(key=lambda one: -one.rank)
    made_bytes = [0, *accumulate(one.size_bytes for one in worse)]
    fewest = next((count for count, made in enumerate(made_bytes) if made >= need_bytes), None)
    return None if fewest is None else tuple(worse[:fewest])
