"""The policy of making room: where a wanted file fits nowhere, clearly less wanted ones go for it.

It wishes for bundles: all deletes that make the room, or none.  Of several disks that one is emptied whose
files are the least wanted.  Neighbours: `copies` has wished for the wanted files before, in vain.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from collections.abc import Set as AbstractSet
from itertools import islice, takewhile

from cfm.model import Addr, DeleteKind, File
from cfm.plan import refusals
from cfm.plan.outlook import Outlook
from cfm.plan.refusals import Refusal
from cfm.plan.view import ClusterView
from cfm.plan.wishes import Answer, Delete, MakeRoom, Wishes

FILES_TO_MAKE_ROOM_FOR = 16
"""Of the files that fit nowhere, so many are looked at."""
DISKS_TO_LOOK_AT = 8
"""For each of them, so many disks."""
OF_THE_SERVER = frozenset(
    {refusals.PAUSED, refusals.DELETES_OFF, refusals.SERVER_REFUSES, refusals.METADATA_OLD, refusals.PACE}
)
"""Refusals of one file that hold in this round for every other file there."""
OF_THE_DISK = OF_THE_SERVER | {refusals.NOT_NEEDED, refusals.NEED_UNPROVEN, refusals.FREES_LATE}
"""Refusals of one file after which no other file there is tried for the same wanted file."""


def room(outlook: Outlook) -> Wishes:
    """Where a wanted file fits nowhere and a source could send it: evict clearly less wanted ones for it.

    A source that began with a smaller file in this round counts as well.  If it did not, many small files
    would keep a better one waiting until the disks are full.
    """
    largest_bytes = outlook.largest_room_bytes
    unplaced = [file for file in outlook.no_room if file.size_bytes > largest_bytes]
    if not unplaced:
        return
    promised = outlook.promised
    free_sources = outlook.senders - len(promised)
    if free_sources <= 0:
        return
    disks = Disks(outlook)
    for file in unplaced[:FILES_TO_MAKE_ROOM_FOR]:
        if file.name in promised or outlook.view.san_is_silent(file.name):
            continue
        free_sources -= yield from _make_room(disks, file)
        if free_sources <= 0:
            return


def _make_room(disks: Disks, wanted: File) -> Generator[MakeRoom, Answer, bool]:
    """Wish for the cheapest bundle; where one of its files must stay, for the cheapest without that file.

    Returns: was one granted?
    """
    must_stay: set[tuple[Addr, str]] = set()
    victims = {addr: found for addr in disks.to_look_at(wanted) if (found := disks.victims(wanted, addr))}
    while victims:
        addr = max(victims, key=lambda one: _cheapness(victims[one]))
        answer = yield _bundle(disks.view, wanted, addr, victims[addr])
        if answer is None:
            return True
        if answer.delete is None and answer.refusal is not refusals.NOT_NEEDED:
            return False  # the wanted file itself is refused, wherever room is made
        if answer.delete is None or answer.refusal.brake or answer.refusal in OF_THE_DISK:
            if answer.delete is not None and answer.delete.file is victims[addr][0]:
                disks.close(addr, answer.refusal)
            del victims[addr]
            continue
        must_stay.add((addr, answer.delete.file.name))
        victims[addr] = disks.victims(wanted, addr, must_stay)
        if not victims[addr]:
            del victims[addr]
    return False


class Disks:
    """What may go from which disk, in one round."""

    def __init__(self, outlook: Outlook) -> None:
        self._outlook = outlook
        self.view = outlook.view
        self._closed: set[Addr] = set()
        """Where nothing may go for room, whatever for."""
        worst = ((next(self._may_go(addr), None), addr) for addr in outlook.disks)
        self._by_worst = sorted(
            ((file, addr) for file, addr in worst if file is not None), key=lambda one: (-one[0].rank, one[1])
        )
        """The least wanted file of each disk, the least wanted of all first."""

    def close(self, addr: Addr, refusal: Refusal) -> None:
        """The first file there was refused: if for a reason of the whole server, no other need be tried."""
        if refusal in OF_THE_SERVER:
            self._closed.add(addr)

    def to_look_at(self, wanted: File) -> Iterator[Addr]:
        """Disks whose least wanted file could go for it, and whose room is not kept for another file."""
        worth_it = takewhile(lambda one: _worth_asking(self.view, wanted, one[0]), self._by_worst)
        free = (addr for _worst, addr in worth_it if self._may_be_kept(addr, wanted))
        return islice(free, DISKS_TO_LOOK_AT)

    def victims(
        self, wanted: File, addr: Addr, must_stay: AbstractSet[tuple[Addr, str]] = frozenset()
    ) -> list[File]:
        """The least wanted files on a disk whose going would make the room; none where it cannot be made."""
        disk = self._outlook.disks[addr]
        if addr in self._closed or wanted.size_bytes > disk.ceiling_bytes:
            return []
        short_bytes, found = disk.short_bytes(wanted), list[File]()
        for file in self._may_go(addr):
            if short_bytes <= 0 or not _worth_asking(self.view, wanted, file):
                break
            if (addr, file.name) not in must_stay:
                found.append(file)
                short_bytes -= file.size_bytes
        return found if short_bytes <= 0 else []

    def _may_go(self, addr: Addr) -> Iterator[File]:
        return (file for file in self._outlook.may_go(addr) if file.name not in self._outlook.busy_files)

    def _may_be_kept(self, addr: Addr, wanted: File) -> bool:
        kept_for = self._outlook.disks[addr].reserved_for
        return kept_for is None or kept_for.name == wanted.name


def _worth_asking(view: ClusterView, wanted: File, worse: File) -> bool:
    """Could this file go for the wanted one at all?  Mostly not: then the kernel need not be asked."""
    rank_gap = 100 * worse.rank > (100 + view.rules.room_margin_percent) * wanted.rank
    return rank_gap or wanted.name in view.hits.rising


def _cheapness(victims: Sequence[File]) -> tuple[int, int]:
    """The best of the files that go is as little wanted as possible; then as few bytes as possible go."""
    return victims[-1].rank, -sum(file.size_bytes for file in victims)


def _bundle(view: ClusterView, wanted: File, addr: Addr, victims: Sequence[File]) -> MakeRoom:
    hits = view.hits.rising.get(wanted.name)
    worth = f"rising with {hits} hits" if hits is not None else f"rank {wanted.rank}"
    deletes = (
        Delete(
            file,
            addr,
            DeleteKind.SPACE,
            f"room: rank {file.rank} goes for {wanted.name} ({worth}), which fits nowhere",
        )
        for file in victims
    )
    return MakeRoom(wanted, addr, tuple(deletes))
