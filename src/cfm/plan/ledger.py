"""The disk ledger: two books for each destination, both pessimistic, and the streams in use.

*Room* answers "may more come?".  It counts what is used and all that is still to arrive.  A delete frees no
room before a later `/df` shows it.  *Need* answers "must something go?".  It counts what is used, less every
delete that was ordered, also those of unknown outcome: nothing is deleted twice for the same bytes.  Where
the last readings of a disk differ, room goes by the fullest and need by the emptiest.  A disk under several
addresses has a book for each of them, by that address's own `/df`; what is under way at one address is in the
books of all.

A ledger is made from a `ClusterView`.  Only the `judge` books in it, so that the next wish is judged with it.
Neighbours: the guards and the `outlook` read it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from cfm.model import (
    Addr,
    DeleteKind,
    DiskBounds,
    DiskUsage,
    File,
    Known,
    ServerView,
    Task,
    Way,
    percent_of,
    sum_bytes,
)
from cfm.plan.surplus import Surplus
from cfm.plan.view import ClusterView


@dataclass(slots=True)
class DiskBook:
    """One destination's disk, in bytes."""

    usage: DiskUsage
    """As full as the disk is at most, by its last readings."""
    limit_percent: int
    doubted_bytes: int = 0
    """How much of what is over the limit, or missing for a file, other readings do not show."""
    frees_late: bool = False
    """What went lately has freed nothing for a long time: one file goes at a time."""
    arriving_bytes: int = 0
    leaving_bytes: int = 0
    room_leaving_bytes: int = 0
    """The part of it that makes room for a wanted file and has not ended yet."""
    reserved_for: File | None = None
    ceiling_bytes: int = field(init=False)
    """The most bytes that may be used: so many are within the limit by `fits`, and not one more."""
    free_bytes: int = field(init=False)
    """The most bytes that may still come if nothing is on its way; below 0 where it is over its limit."""

    def __post_init__(self) -> None:
        used_bytes, avail_bytes = self.usage.used_bytes, self.usage.avail_bytes
        self.ceiling_bytes = self.usage.ceiling_bytes(self.limit_percent)
        self.free_bytes = min(avail_bytes, self.ceiling_bytes - used_bytes)

    @property
    def projected_bytes(self) -> int:
        """What is used when all that is under way has arrived."""
        return self.usage.used_bytes + self.arriving_bytes

    @property
    def projected_percent(self) -> int:
        return percent_of(self.projected_bytes, self.usage.used_bytes + self.usage.avail_bytes)

    def reserved_bytes(self, but_for: str) -> int:
        """Room that is kept for a file other than `but_for`."""
        other = self.reserved_for
        return other.size_bytes if other is not None and other.name != but_for else 0

    def takes(self, file: File) -> bool:
        """Would the disk stay within its limit, and have the bytes at all, with `file` on it?"""
        more_bytes = self.arriving_bytes + file.size_bytes
        if self.reserved_for is not None:
            more_bytes += self.reserved_bytes(file.name)
        return more_bytes <= self.free_bytes

    def room_bytes(self) -> int:
        """The largest file that it takes now, if no room were kept for any file."""
        return max(0, self.free_bytes - self.arriving_bytes)

    @property
    def over_bytes(self) -> int:
        """Bytes above the limit as `/df` shows it, whatever was ordered since.  A breaker looks at it."""
        return max(0, self.usage.used_bytes - self.ceiling_bytes)

    @property
    def need_bytes(self) -> int:
        """Bytes that must still be ordered away to be at the limit, and that readings prove."""
        if self.waits_to_free:
            return 0
        return max(0, self.over_bytes - self.doubted_bytes - self.leaving_bytes)

    @property
    def waits_to_free(self) -> bool:
        """Does nothing more go before what went has freed its bytes, or has been given up?"""
        return self.frees_late and self.leaving_bytes > 0

    @property
    def spare_bytes(self) -> int:
        """Room that is there when all that is under way has come and gone; below 0 where some is lacking."""
        return self.ceiling_bytes + self.leaving_bytes - self.projected_bytes

    def short_bytes(self, file: File) -> int:
        """Bytes that must still be ordered away before `file` could be taken."""
        return max(0, file.size_bytes - self.spare_bytes)

    def unordered_bytes(self, room_for: File | None) -> int:
        """What must still be ordered away for the limit, or for a file, whether it is proven or not."""
        if room_for is not None:
            return self.short_bytes(room_for)
        return max(0, self.over_bytes - self.leaving_bytes)

    def plan_bytes(self, room_for: File | None) -> int:
        """What the whole plan there frees, under way or to come.  A breaker weighs it."""
        if room_for is None:
            return self.over_bytes
        return self.room_leaving_bytes + self.short_bytes(room_for)


@dataclass(slots=True)
class Load:
    """What one server has under way."""

    incoming: int = 0
    finishing: int = 0
    """Copies whose bytes are all there, and which are being verified and made durable."""
    outgoing: int = 0
    unfinished: int = 0
    """Delete orders."""
    chosen: int = 0
    """How often it was chosen as a destination since the view was taken."""

    @property
    def receives(self) -> bool:
        return self.incoming + self.finishing > 0


IDLE = Load()


class Ledger:
    """What disks and sources have promised: by one view, and by what was booked since."""

    def __init__(self, view: ClusterView) -> None:
        destinations = view.destinations
        self.disks: dict[Addr, DiskBook] = {
            server.addr: _disk_book(view, server) for server in destinations if server.usable
        }
        doubled = [server for server in destinations if server.same_disk]
        self._addresses = {server.addr: server.addresses for server in doubled}
        """All addresses of each disk that has several."""
        used_through_other = (one.addr for one in doubled if view.used_through(one) != one.addr)
        self.unused = tuple(addr for addr in used_through_other if addr in self.disks)
        """Addresses through which their disk is not used, for it has a lower one."""
        sick = frozenset(addr for addr in self.disks if view.is_sick(addr)) if view.pauses else frozenset()
        self.sick = sick if len(sick) < len(self.disks) else frozenset[Addr]()
        """Destinations that take no copies for long: their room does not count, unless there is no other."""
        self._pairs: dict[Way, int] = {}
        """How many copies are under way on each pair."""
        self._rules, self._now_ms = view.rules, view.now.mono_ms
        self.changes = 0
        """How often something was booked, or taken back."""
        self._largest_room = -1, 0
        """What `largest_room_bytes` found, and after how many changes."""
        self.ordered = dict(view.deletes_last_minute)
        """Deletes of the last minute, by server and kind."""
        self.surplus = Surplus(view, ())
        self._surplus_bytes: dict[Addr, tuple[int, int]] = {}
        """What `surplus_bytes` found for each server, and after how many changes."""
        self._loads: dict[Addr, Load] = {}
        self._making_room: dict[tuple[Addr, str], int] = {}
        """(server, wanted file) → how many deletes that make room for it are under way there."""
        self._kept = {addr: kept.file for addr, kept in view.reserved.items()} if view.reserved else {}
        """The wanted file that room is kept for, by server."""
        self.busy_files: set[str] = set(view.task_of) | set(view.order_of)
        for task in view.uncut.values():
            self._load(task.source).outgoing += 1
        for task in view.tasks.values():
            self._enter_task(task, view)
        for order in view.order_of.values():
            self._load(order.server).unfinished += 1
            self._leave(order.server, order.file.size_bytes, order.room_for)

    def _enter_task(self, task: Task, view: ClusterView) -> None:
        """A task that is under way: what it still brings, and the streams that it takes."""
        way = task.source, task.destination
        self._pairs[way] = self._pairs.get(way, 0) + 1
        if task.id in view.freed_sources:
            self._load(task.destination).finishing += 1
        else:
            self._load(task.destination).incoming += 1
            self._load(task.source).outgoing += 1
        for addr, disk in self._books(task.destination):
            # Nobody has said how much of it the `/df` of another address contains.
            arrived_bytes = view.arrived_bytes.get(task.id, 0) if addr == task.destination else 0
            disk.arriving_bytes += max(0, task.file.size_bytes - arrived_bytes)

    def load(self, addr: Addr) -> Load:
        """What is under way at a server; to be read only."""
        return self._loads.get(addr, IDLE)

    def _load(self, addr: Addr) -> Load:
        if addr not in self._loads:
            self._loads[addr] = Load()
        return self._loads[addr]

    def may_send(self, source: ServerView) -> bool:
        """Is it up, and has it a stream to spare?"""
        streams = self.load(source.addr).outgoing
        free = source.is_source and source.up and streams < self._rules.streams_per_source
        return free and self._now_ms >= source.busy_until_ms

    def may_receive(self, destination: ServerView) -> bool:
        """May one copy more go there?  cfm has a highest number of copies, and the worker has its own.

        A copy whose bytes have all arrived no longer counts, though it is still being made durable: the next
        copy does not wait for the disk.  But such copies must not pile up where the disk is slow.
        """
        cap = min(self._rules.incoming_per_destination, destination.features.downloads)
        load = self.load(destination.addr)
        return load.incoming < cap and load.incoming + load.finishing < 2 * cap

    def copies_on(self, source: Addr, destination: Addr) -> int:
        """How many copies are under way from this source to that destination."""
        return self._pairs.get((source, destination), 0)

    def is_used(self, addr: Addr) -> bool:
        """Is the disk used through this address?  Of several addresses of one disk, only one is."""
        return addr not in self.unused

    def makes_room(self, addr: Addr, wanted: File) -> bool:
        """Are deletes under way, at any address of this disk, that make room for the wanted file?"""
        if not self._making_room:
            return False
        if (addresses := self._addresses.get(addr)) is None:
            return (addr, wanted.name) in self._making_room
        return any((one, wanted.name) in self._making_room for one in addresses)

    def promised(self, but_at: Addr | None = None) -> set[str]:
        """Wanted files for which room is kept at a server, and is there or still comes."""
        kept = ((addr, wanted) for addr, wanted in self._kept.items() if addr != but_at)
        return {wanted.name for addr, wanted in kept if self._still_comes(addr, wanted)}

    def _still_comes(self, addr: Addr, wanted: File) -> bool:
        """Is the room there, or being made, or about to show in `/df`?

        Where an order for it was dropped and the room falls short, it is planned anew.  That waits while
        something arrives there, for the bytes of an arrival are counted twice: by `/df` and by its task.
        """
        if (addr, wanted.name) in self._making_room:
            return True
        disk = self.disks.get(addr)
        return disk is not None and (disk.short_bytes(wanted) == 0 or disk.arriving_bytes > 0)

    def surplus_at(self, addr: Addr) -> list[File]:
        """The surplus copies that may go from there, and are not about to."""
        return [file for file in self.surplus.at(addr) if file.name not in self.busy_files]

    def surplus_bytes(self, addr: Addr) -> int:
        """The room that they would make."""
        if not self.surplus.listed:
            return 0
        known = self._surplus_bytes.get(addr)
        if known is None or known[0] != self.changes:
            size_bytes = sum(file.size_bytes for file in self.surplus_at(addr))
            self._surplus_bytes[addr] = known = self.changes, size_bytes
        return known[1]

    # ── booking: for the judge alone ────────────────────────────────────────────────────────────────────

    def book_copy(self, file: File, source: Addr, destination: Addr) -> None:
        self.changes += 1
        self._load(destination).incoming += 1
        self._load(destination).chosen += 1
        self._load(source).outgoing += 1
        self._pairs[source, destination] = self.copies_on(source, destination) + 1
        self.busy_files.add(file.name)
        for _addr, disk in self._books(destination):
            disk.arriving_bytes += file.size_bytes
            if disk.reserved_for is not None and disk.reserved_for.name == file.name:
                disk.reserved_for = None

    def book_delete(self, file: File, server: Addr, kind: DeleteKind, room_for: File | None = None) -> None:
        self.changes += 1
        self.ordered[server, kind] = self.ordered.get((server, kind), 0) + 1
        self._load(server).unfinished += 1
        self.busy_files.add(file.name)
        self._leave(server, file.size_bytes, room_for.name if room_for is not None else None)

    def unbook_delete(self, file: File, server: Addr, kind: DeleteKind, room_for: File | None = None) -> None:
        """Take a delete out of the books again."""
        self.changes += 1
        self.ordered[server, kind] = self.ordered.get((server, kind), 0) - 1
        self._load(server).unfinished -= 1
        self.busy_files.discard(file.name)
        self._leave(server, file.size_bytes, room_for.name if room_for is not None else None, sign=-1)

    def book_room(self, file: File, server: Addr) -> None:
        """Room is being made on `server` for `file`: no other file may take it."""
        self.changes += 1
        self._kept[server] = file
        for _addr, disk in self._books(server):
            disk.reserved_for = file

    # ── sums ────────────────────────────────────────────────────────────────────────────────────────────

    def largest_room_bytes(self) -> int:
        """The largest file that any disk takes.

        Addresses through which no disk is used do not count: their `/df` may be older.  Neither do sick
        destinations.
        """
        if self._largest_room[0] != self.changes:
            left_out = (*self.unused, *self.sick)
            rooms = (disk.room_bytes() for addr, disk in self.disks.items() if addr not in left_out)
            self._largest_room = self.changes, max(rooms, default=0)
        return self._largest_room[1]

    def largest_disk_bytes(self) -> int | None:
        """The most that any disk may ever hold; None where none is known."""
        return max((disk.ceiling_bytes for disk in self.disks.values()), default=None)

    def _leave(self, server: Addr, size_bytes: int, room_for: str | None, sign: int = 1) -> None:
        for _addr, disk in self._books(server):
            disk.leaving_bytes += sign * size_bytes
            disk.room_leaving_bytes += sign * size_bytes if room_for is not None else 0
        if room_for is not None:
            self._making_room[server, room_for] = self._making_room.get((server, room_for), 0) + sign
            if not self._making_room[server, room_for]:
                del self._making_room[server, room_for]

    def _books(self, addr: Addr) -> Iterator[tuple[Addr, DiskBook]]:
        """The books of all addresses of the disk at `addr`, as far as there are any."""
        for one in self._addresses.get(addr, (addr,)):
            if (disk := self.disks.get(one)) is not None:
                yield one, disk


def _disk_book(view: ClusterView, server: ServerView) -> DiskBook:
    assert isinstance(server.disk, Known)
    reservation = view.reserved.get(server.addr)
    limit_percent = server.limit_percent
    for other in sorted(server.same_disk) if server.same_disk else ():
        if other in view.servers:
            reservation = reservation or view.reserved.get(other)
            limit_percent = min(limit_percent, view.servers[other].limit_percent)
    bounds = server.bounds or DiskBounds(server.disk.value, server.disk.value)
    landed_bytes = sum_bytes(view.landed.get(server.addr, ()))
    if (stock := view.stock.get(server.addr)) is not None:
        bounds = bounds.with_at_least(stock.known_bytes - landed_bytes)
    return DiskBook(
        usage=bounds.fullest,
        limit_percent=limit_percent,
        doubted_bytes=bounds.doubted_bytes(limit_percent),
        frees_late=server.frees_late,
        arriving_bytes=landed_bytes,
        leaving_bytes=sum_bytes(view.gone.get(server.addr, ())),
        reserved_for=reservation.file if reservation else None,
    )
