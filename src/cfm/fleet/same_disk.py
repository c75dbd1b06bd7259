"""Which servers are, or may be, one disk under several addresses.  Pure.

Workers of ours name the id of their disk in every answer: the same id is the same disk.  Old workers name
none.  They are only suspected, by equal lists on disks of equal size.  Neighbours: `observed` asks and tells;
`record` has what the servers answered.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from cfm.fleet.record import Record
from cfm.model import Addr, Known

NOBODY: frozenset[Addr] = frozenset()


@dataclass(frozen=True, slots=True)
class Likeness:
    """Two lists that were equal once: the names in which they differ now, and since when."""

    differ: frozenset[str] = frozenset()
    since_ms: int = 0


class DiskSharing:
    """The addresses of each disk, by its id; and the pairs of servers that look as if they were one disk."""

    def __init__(self, records: Mapping[Addr, Record]) -> None:
        self._records = records
        self._same_disk: dict[Addr, frozenset[Addr]] = {}
        """Server → all other servers on the same disk, by its disk id."""
        self._doubles: dict[tuple[Addr, Addr], Likeness] = {}
        """Pairs of old workers that once showed equal lists on disks of equal size."""

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
        """Servers that may be on the same disk, because they showed equal lists on disks of equal size.

        This is only a suspicion: it keeps a copy from being deleted, and decides nothing else.
        """
        alike: dict[Addr, frozenset[Addr]] = {}
        for one, other in self._doubles:
            if not self._told_apart(one, other):
                alike[one] = alike.get(one, NOBODY) | {other}
                alike[other] = alike.get(other, NOBODY) | {one}
        return alike

    def _told_apart(self, one: Addr, other: Addr) -> bool:
        """Are they surely two disks, because their ids or their sizes differ?"""
        records = self._records[one], self._records[other]
        ids, others = (record.disk_ids for record in records)
        sizes = {record.disk.value.total_bytes for record in records if isinstance(record.disk, Known)}
        return len(sizes) > 1 or bool(ids and others and ids.isdisjoint(others))

    def compare(self, record: Record) -> None:
        """Compare a new list with the lists of all other servers: is it the same disk at another address?

        A copy or a delete appears in one list before it appears in the other.  So the first difference does
        not end a suspicion.  It ends when a name still differs after both servers have been listed again.
        """
        assert isinstance(record.files, Known)
        for other in self._records.values():
            if other is record or not isinstance(other.files, Known):
                continue
            alike = record.files.value == other.files.value
            if not (record.files.value if alike else self._doubles):
                continue  # the usual case: both lists are empty, or no two lists were ever equal
            pair = min(record.addr, other.addr), max(record.addr, other.addr)
            if self._told_apart(*pair):  # for good: no new suspicion when one of them loses its id later
                self._doubles.pop(pair, None)
            elif alike:
                self._doubles[pair] = Likeness()
            elif (before := self._doubles.get(pair)) is not None:
                self._still_alike(pair, before, record.files, other.files)

    def _still_alike(
        self,
        pair: tuple[Addr, Addr],
        before: Likeness,
        new: Known[frozenset[str]],
        other: Known[frozenset[str]],
    ) -> None:
        """Two lists that were equal once are not equal now."""
        asked_ms = min(new.at_ms, other.at_ms)
        differ = new.value ^ other.value
        if not before.differ or (asked_ms > before.since_ms and not differ & before.differ):
            self._doubles[pair] = Likeness(differ, new.at_ms)
        elif asked_ms > before.since_ms:
            del self._doubles[pair]


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
