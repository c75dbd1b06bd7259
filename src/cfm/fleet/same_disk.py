"""Which servers are, or may be, one disk under several addresses.  Pure.

Workers of ours name the id of their disk in every answer: the same id is the same disk.  Old workers name
none.  They are only suspected, by lists that are nearly the same, on disks of equal size.  Neighbours:
`likeness` compares two lists; `observed` asks and tells; `record` has what the servers answered.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from cfm.fleet.likeness import Likeness, likeness, surely_unlike
from cfm.fleet.record import Record
from cfm.model import NOBODY, Addr, Known, Names


class DiskSharing:
    """The addresses of each disk, by its id; and the pairs of servers that look as if they were one disk."""

    def __init__(self, records: Mapping[Addr, Record]) -> None:
        self._records = records
        self._same_disk: dict[Addr, frozenset[Addr]] = {}
        """Server → all other servers on the same disk, by its disk id."""
        self._likenesses: dict[tuple[Addr, Addr], Likeness] = {}
        """Pairs of servers whose lists were alike once, on disks of equal size."""
        self._compared: dict[Addr, tuple[Names, frozenset[str], frozenset[int]]] = {}
        """What each server's list was, and its disk, when it was compared with all others last."""

    def look_at_ids(self, record: Record) -> bool:
        """Collect the disks that a server may be on.  Returns True where they are others than before."""
        disk_ids = frozenset({record.features.disk_id, *record.told_disks.values()} - {""})
        if disk_ids == record.disk_ids:
            return False
        record.disk_ids = disk_ids
        self._same_disk = _same_disks(self._records.values())
        return True

    def others(self, addr: Addr) -> frozenset[Addr]:
        """The other addresses of the disk at `addr`, by its id."""
        return self._same_disk.get(addr, NOBODY)

    def look_alikes(self) -> dict[Addr, frozenset[Addr]]:
        """Servers that may be on the same disk, because their lists are alike and their disks of one size.

        This is only a suspicion: it keeps a copy from being deleted, and decides nothing else.
        """
        alike: dict[Addr, frozenset[Addr]] = {}
        for (one, other), known in self._likenesses.items():
            if not known.apart and not self._told_apart(one, other):
                alike[one] = alike.get(one, NOBODY) | {other}
                alike[other] = alike.get(other, NOBODY) | {one}
        return alike

    def copied_markers(self) -> frozenset[Addr]:
        """Servers that have one disk id, and two disks: somebody copied a disk with its marker.

        A worker of ours lists all probe files in its `base_dir`.  On one disk, each lists that of the other.
        """
        return frozenset(
            addr
            for addr, others in self._same_disk.items()
            for other in others
            if _are_two_folders(self._records[addr], self._records[other])
        )

    def _told_apart(self, one: Addr, other: Addr) -> bool:
        """Are they surely two disks, because their ids or their sizes differ?"""
        records = self._records[one], self._records[other]
        ids, others = (record.disk_ids for record in records)
        known = all(isinstance(record.disk, Known) for record in records)
        sizes, other_sizes = (record.account.sizes for record in records)
        return (known and sizes.isdisjoint(other_sizes)) or bool(ids and others and ids.isdisjoint(others))

    def compare(self, record: Record) -> bool:
        """Compare a new list with the lists of all other servers: is it the same disk at another address?

        Returns True where a suspicion began or ended.
        """
        assert isinstance(record.files, Known)
        changed = False
        seen = record.files.value, record.disk_ids, record.account.sizes
        before = self._compared.get(record.addr)
        # By identity: what is no other list is the same object, and 300 servers have 45,000 pairs.
        unchanged = before is not None and seen[0] is before[0] and seen[1:] == before[1:]
        self._compared[record.addr] = seen
        for other in list(self._worth_comparing(record, seen[0], unchanged=unchanged)):
            assert isinstance(other.files, Known)
            pair = min(record.addr, other.addr), max(record.addr, other.addr)
            if self._told_apart(*pair):  # for good: no new suspicion when one of them loses its id later
                self._likenesses.pop(pair, None)
                continue
            alike = self._likenesses.get(pair)
            known = likeness(alike, record.files, other.files)
            changed |= _is_suspicion(alike) != _is_suspicion(known)
            if known is not None:
                self._likenesses[pair] = known
            else:
                self._likenesses.pop(pair, None)
        return changed

    def _worth_comparing(self, record: Record, names: Names, *, unchanged: bool) -> Iterator[Record]:
        """The servers whose lists were like this one's, or may be now."""
        once_alike = {one for pair in self._likenesses if record.addr in pair for one in pair}
        for other in self._records.values():
            if other is record or not isinstance(other.files, Known):
                continue
            if other.addr in once_alike or not (unchanged or surely_unlike(names, other.files.value)):
                yield other


def _is_suspicion(known: Likeness | None) -> bool:
    return known is not None and not known.apart


def _are_two_folders(one: Record, other: Record) -> bool:
    """Have both been listed since each other's probe file was known, and neither has that of the other?"""
    if not (isinstance(one.files, Known) and isinstance(other.files, Known)):
        return False
    if one.probe not in one.probes or other.probe not in other.probes:
        return False
    later = one.files.at_ms > other.probe_since_ms and other.files.at_ms > one.probe_since_ms
    return later and one.probe not in other.probes and other.probe not in one.probes


def _same_disks(records: Iterable[Record]) -> dict[Addr, frozenset[Addr]]:
    """Destination → the other destinations that are on the same disk, by its id."""
    by_id: dict[str, set[Addr]] = {}
    for record in records:
        for disk_id in record.disk_ids if record.is_destination else ():
            by_id.setdefault(disk_id, set()).add(record.addr)
    twins: dict[Addr, set[Addr]] = {}
    for group in by_id.values():
        for addr in group if len(group) > 1 else ():
            twins.setdefault(addr, set()).update(group - {addr})
    return {addr: frozenset(others) for addr, others in twins.items()}
