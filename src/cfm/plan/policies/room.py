"""The policy of making room: where a wanted file fits nowhere, clearly less wanted ones go for it.

It wishes for bundles: all deletes that make the room, or none.  Surplus copies go first.  Of unique files the
least wanted go, and of several disks that one is emptied where they are the least wanted.  Neighbours:
`copies` has wished for the wanted files before, in vain; `plan.worth` weighs what goes and what comes.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from collections.abc import Set as AbstractSet

from cfm.model import Addr, DeleteKind, File
from cfm.plan import refusals
from cfm.plan.outlook import Outlook
from cfm.plan.policies.evictions import is_looked_up
from cfm.plan.policies.trims import surplus_trim
from cfm.plan.refusals import Refusal
from cfm.plan.view import ClusterView
from cfm.plan.wishes import Answer, Delete, MakeRoom, No, Wishes
from cfm.plan.worth import Goers, pays

FILES_TO_MAKE_ROOM_FOR = 16
"""How many files room is looked for, of those for which some disk could make it."""
CHECKED_AT_MOST = 512
"""How many files are checked for that.  Files that are plainly as hopeless as one before do not count."""
DISKS_TO_LOOK_AT = 8
"""How many disks are looked at for each of them."""
OF_THE_SERVER = frozenset(
    {refusals.PAUSED, refusals.DELETES_OFF, refusals.SERVER_REFUSES, refusals.METADATA_OLD, refusals.PACE}
)
"""Refusals of one file that hold in this round for every other file there."""
OF_THE_DISK = OF_THE_SERVER | {
    refusals.NOT_NEEDED,
    refusals.NEED_UNPROVEN,
    refusals.FREES_LATE,
    refusals.SURPLUS_FIRST,
}
"""Refusals of one file after which no other file there is tried for the same wanted file."""
OF_THE_BUNDLE = (
    refusals.NOT_NEEDED, refusals.NOT_WORTH_IT, refusals.DESTINATION_IN_PAUSE,
    refusals.SOURCE_DISK, refusals.DISK_NOT_RULED_OUT, refusals.NO_DESTINATION, refusals.SAME_DISK_SUSPECTED,
    refusals.VANISHED, refusals.STALE_THERE,
)  # fmt: skip
"""Refusals of a bundle as a whole, or of its place.  All others are about the wanted file, and hold for every
bundle."""


def room(outlook: Outlook) -> Wishes:
    """Where a wanted file fits nowhere and a source could send it: evict clearly less wanted ones for it.

    A source that began with a smaller file in this round counts as well.  If it did not, many small files
    would keep a better one waiting until the disks are full.
    """
    largest_bytes = outlook.largest_room_bytes
    too_large = (file for file in outlook.no_room if file.size_bytes > largest_bytes)
    unplaced = [file for file in too_large if not outlook.view.fails(file.name)]
    if not unplaced:
        return
    promised = outlook.promised
    free_sources = outlook.senders - len(promised)
    if free_sources <= 0:
        return
    disks, tried = Disks(outlook), 0
    for file in unplaced:
        if file.name in promised or outlook.view.san_is_silent(file.name):
            continue
        if not disks.could_take(file):
            continue
        free_sources -= yield from make_room(disks, file)
        tried += 1
        if free_sources <= 0 or tried >= FILES_TO_MAKE_ROOM_FOR:
            return


def make_room(disks: Disks, wanted: File) -> Generator[MakeRoom, Answer, bool]:
    """Wish for the cheapest bundle; where one of its files must stay, for the cheapest without that file.

    Returns: was one granted, or does it only wait for the SAN?
    """
    must_stay: set[tuple[Addr, str]] = set()
    goers = {addr: found for addr in disks.to_look_at(wanted) if (found := disks.goers(wanted, addr))}
    while goers:
        addr = max(goers, key=lambda one: _cheapness(goers[one]))
        answer = yield MakeRoom(wanted, addr, tuple(goers[addr]))
        if answer is None:
            return True
        if answer.delete is None and answer.refusal not in OF_THE_BUNDLE:
            return False  # the wanted file itself is refused, wherever room is made
        if _is_looked_up(disks.view, answer):
            return True  # the answer starts a new round
        if answer.delete is None or answer.refusal.brake or answer.refusal in OF_THE_DISK:
            if answer.delete is not None and answer.delete is goers[addr][0]:
                disks.close(addr, answer.refusal)
            del goers[addr]
            continue
        must_stay.add((addr, answer.delete.file.name))
        goers[addr] = disks.goers(wanted, addr, must_stay)
        if not goers[addr]:
            del goers[addr]
    return False


def _is_looked_up(view: ClusterView, answer: No) -> bool:
    """Does the bundle wait only for the SAN, which is being asked for the files that would go?"""
    return answer.delete is not None and is_looked_up(view, answer.delete.file, answer.refusal)


class Disks:
    """What may go from which disk, in one round."""

    def __init__(self, outlook: Outlook) -> None:
        self._outlook = outlook
        self.view = outlook.view
        self._closed: set[Addr] = set()
        """Where nothing may go for room, whatever for."""
        self._goers: dict[Addr, Goers] = {}
        lists = outlook.lists.evictable
        self._listed_bytes = {
            addr: sum([file.size_bytes for file in lists.get(addr, ())]) for addr in outlook.disks
        }
        """The most bytes that may go there: a quick answer, which is mostly enough."""
        self._hopeless: list[File] = []
        """Files for which no disk can make the room."""

    def may_go(self, addr: Addr) -> Goers:
        """What may go from there, the least wanted first."""
        if addr not in self._goers:
            busy, listed = self._outlook.busy_files, self._outlook.may_go(addr)
            self._goers[addr] = Goers([file for file in listed if file.name not in busy])
        return self._goers[addr]

    def close(self, addr: Addr, refusal: Refusal) -> None:
        """The first file there was refused: if for a reason of the whole server, no other need be tried."""
        if refusal in OF_THE_SERVER:
            self._closed.add(addr)

    def could_take(self, wanted: File) -> bool:
        """Could some disk make the room, if nothing but what the lists know spoke against it?

        A file that is no smaller, no better in rank and no more drawn than a hopeless one is hopeless, too:
        so a long row of large files costs little, and does not hold up the small ones behind it.
        """
        if wanted.name not in self.view.hits.rising and any(
            wanted.size_bytes >= one.size_bytes and wanted.rank >= one.rank and wanted.hits <= one.hits
            for one in self._hopeless
        ):
            return False
        if len(self._hopeless) >= CHECKED_AT_MOST:
            return False
        if any(self._could(wanted, addr) for addr in self._listed_bytes):
            return True
        self._hopeless.append(wanted)
        return False

    def _could(self, wanted: File, addr: Addr) -> bool:
        """Would all that may go from this disk for the file be enough, and is its room kept for no other?"""
        disk = self._outlook.disks[addr]
        if not disk.short_bytes(wanted):  # it is there, or on its way: something else keeps the file away
            return False
        missing_bytes = wanted.size_bytes - disk.spare_bytes - self._outlook.surplus_bytes(addr)
        if missing_bytes > self._listed_bytes[addr] or wanted.size_bytes > disk.ceiling_bytes:
            return False
        if addr in self._closed or not self._may_be_kept(addr, wanted):
            return False
        if self.view.vanished_from(wanted.name, addr):
            return False
        return missing_bytes <= 0 or missing_bytes <= self.may_go(addr).most_bytes(self.view, wanted)

    def to_look_at(self, wanted: File) -> list[Addr]:
        """Disks that could make its room; the first ones are those whose least wanted file is the worst."""
        found = [addr for addr in self._listed_bytes if self._could(wanted, addr)]
        found.sort(key=lambda addr: (-self.may_go(addr).worst_rank, addr))
        return found[:DISKS_TO_LOOK_AT]

    def goers(
        self, wanted: File, addr: Addr, must_stay: AbstractSet[tuple[Addr, str]] = frozenset()
    ) -> list[Delete]:
        """The deletes on a disk that would make the room: surplus copies first, then the least wanted files.

        None where the room cannot be made, or is there, or on its way.
        """
        if addr in self._closed:
            return []
        short_bytes, deletes = self._outlook.disks[addr].short_bytes(wanted), list[Delete]()
        for file in self._outlook.surplus_at(addr) if short_bytes > 0 else ():
            if short_bytes > 0 and (addr, file.name) not in must_stay:
                deletes.append(surplus_trim(self._outlook, file, addr))
                short_bytes -= file.size_bytes
        if short_bytes <= 0:
            return deletes
        may_go, trimmed = self.may_go(addr), {delete.file.name for delete in deletes}
        worse = (
            file
            for file in may_go.files[: may_go.worse(self.view, wanted)]
            if (addr, file.name) not in must_stay and file.name not in trimmed
        )
        unique = self._cheapest(wanted, list(worse), short_bytes)
        return [*deletes, *(_for_room(self.view, wanted, file, addr) for file in unique)] if unique else []

    def _cheapest(self, wanted: File, worse: Sequence[File], short_bytes: int) -> list[File]:
        """Those of these files that go, the least wanted first: several that pay together, or one alone."""
        several, freed_bytes = list[File](), 0
        for file in worse:
            several.append(file)
            freed_bytes += file.size_bytes
            if freed_bytes >= short_bytes:
                break
        if freed_bytes < short_bytes:
            return []
        for file in several[::-1]:  # the best of them stay where the room is made without them
            if freed_bytes - file.size_bytes >= short_bytes:
                several.remove(file)
                freed_bytes -= file.size_bytes
        if pays(self.view, wanted, several) and len(several) <= self.view.rules.space_deletes_per_minute:
            return several
        return [file for file in worse if file.size_bytes >= short_bytes][:1]

    def _may_be_kept(self, addr: Addr, wanted: File) -> bool:
        kept_for = self._outlook.disks[addr].reserved_for
        return kept_for is None or kept_for.name == wanted.name


def _cheapness(deletes: Sequence[Delete]) -> tuple[int, int]:
    """The best of the unique files that go is as little wanted as possible; then the fewest bytes go."""
    unique = [delete.file for delete in deletes if delete.kind is DeleteKind.SPACE]
    best_rank = min((file.rank for file in unique), default=1 << 62)
    return best_rank, -sum(file.size_bytes for file in unique)


def _for_room(view: ClusterView, wanted: File, file: File, addr: Addr) -> Delete:
    hits = view.hits.rising.get(wanted.name)
    worth = f"rising with {hits} hits" if hits is not None else f"rank {wanted.rank}"
    reason = f"room: rank {file.rank} goes for {wanted.name} ({worth}), which fits nowhere"
    return Delete(file, addr, DeleteKind.SPACE, reason)
