"""The disk ledger: two books for each destination, both pessimistic, and the streams in use.

*Room* answers "may more come?": used bytes and all that is still to arrive, with no credit for a delete
before a fresh `/df` shows it.  *Need* answers "must something go?": used bytes less every delete that was
ordered, unknown outcomes included, so that nothing is deleted twice over for the same bytes.  A disk under
several addresses has a book for each, by that address's own `/df`; what is under way at one is in all.

A ledger is made from a `ClusterView` at each wake-up; the kernel books every yes in it, so that the next
proposal sees it.  Neighbours: `kernel` asks and books, `policies` choose by it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from cfm.model import Addr, Booked, DeleteKind, DiskUsage, File, Known, ServerView, percent_of
from cfm.plan.view import ClusterView


@dataclass(slots=True)
class DiskBook:
    """One destination's disk, in bytes."""

    usage: DiskUsage
    limit_percent: int
    arriving_bytes: int = 0
    leaving_bytes: int = 0
    room_leaving_bytes: int = 0
    """The part of it that makes room for a wanted file, not ended yet."""
    reserved_for: File | None = None
    ceiling_bytes: int = field(init=False)
    """The most bytes that may be used: as many are within the limit by `fits`, and not one more."""

    def __post_init__(self) -> None:
        whole = self.usage.used_bytes + self.usage.avail_bytes
        self.ceiling_bytes = self.limit_percent * whole // 100

    @property
    def projected_bytes(self) -> int:
        """Used, once all that is under way has arrived."""
        return self.usage.used_bytes + self.arriving_bytes

    @property
    def projected_percent(self) -> int:
        return percent_of(self.projected_bytes, self.usage.used_bytes + self.usage.avail_bytes)

    def reserved_bytes(self, but_for: str) -> int:
        """Room that is kept for another file than `but_for`."""
        other = self.reserved_for
        return other.size_bytes if other is not None and other.name != but_for else 0

    def takes(self, file: File) -> bool:
        """Would the disk stay within its limit, and have the bytes at all, with `file` on it?"""
        more_bytes = self.arriving_bytes + self.reserved_bytes(file.name) + file.size_bytes
        return more_bytes <= min(self.usage.avail_bytes, self.ceiling_bytes - self.usage.used_bytes)

    def room_bytes(self) -> int:
        """The largest file that it takes now, whoever room is kept for."""
        within_limit = self.ceiling_bytes - self.usage.used_bytes
        return max(0, min(within_limit, self.usage.avail_bytes) - self.arriving_bytes)

    @property
    def over_bytes(self) -> int:
        """Bytes above the limit as `/df` shows it, whatever was ordered since: what a breaker looks at."""
        return max(0, self.usage.used_bytes - self.ceiling_bytes)

    @property
    def need_bytes(self) -> int:
        """Bytes that must still be ordered away to be at the limit."""
        return max(0, self.over_bytes - self.leaving_bytes)

    def short_bytes(self, file: File) -> int:
        """Bytes that must still be ordered away before `file` could be taken."""
        return max(0, self.projected_bytes + file.size_bytes - self.leaving_bytes - self.ceiling_bytes)

    def plan_bytes(self, room_for: File | None) -> int:
        """What the whole plan there frees, under way or to come: what a breaker weighs."""
        if room_for is None:
            return self.over_bytes
        return self.room_leaving_bytes + self.short_bytes(room_for)


@dataclass(slots=True)
class Load:
    """What one server has under way."""

    incoming: int = 0
    finishing: int = 0
    """Copies whose bytes are all there, and which are still verified and made durable."""
    outgoing: int = 0
    unfinished: int = 0
    """Delete orders."""
    chosen: int = 0
    """How often it was chosen as a destination since the view was taken."""


IDLE = Load()


class Ledger:
    """What the disks and the sources have promised, as of one view and the yeses since."""

    def __init__(self, view: ClusterView) -> None:
        destinations = view.destinations
        self.disks: dict[Addr, DiskBook] = {
            server.addr: _disk_book(view, server) for server in destinations if server.usable
        }
        doubled = [server for server in destinations if server.same_disk]
        self._addresses = {server.addr: server.addresses for server in doubled}
        """All addresses of each disk that has several."""
        self._unused = {server.addr for server in doubled if view.used_through(server) != server.addr}
        self.ordered = dict(view.deletes_last_minute)
        """Deletes of the last minute, by server and kind."""
        self._loads: dict[Addr, Load] = {}
        self.making_room = {(o.server, o.room_for) for o in view.order_of.values() if o.room_for is not None}
        """(server, wanted file): orders that make room for it are under way there."""
        self.busy_files: set[str] = set(view.task_of) | set(view.order_of)
        for task in view.uncut.values():
            self._load(task.source).outgoing += 1
        for task in view.tasks.values():
            if task.id in view.freed_sources:
                self._load(task.destination).finishing += 1
            else:
                self._load(task.destination).incoming += 1
                self._load(task.source).outgoing += 1
            for addr, disk in self._books(task.destination):
                # How much of it another address's `/df` contains, nobody has said.
                arrived_bytes = view.arrived_bytes.get(task.id, 0) if addr == task.destination else 0
                disk.arriving_bytes += max(0, task.file.size_bytes - arrived_bytes)
        for order in view.order_of.values():
            self._load(order.server).unfinished += 1
            self._leave(order.server, order.file, for_room=order.room_for is not None)

    def load(self, addr: Addr) -> Load:
        """What is under way at a server, to be read only."""
        return self._loads.get(addr, IDLE)

    def _load(self, addr: Addr) -> Load:
        if addr not in self._loads:
            self._loads[addr] = Load()
        return self._loads[addr]

    def may_receive(self, destination: ServerView, most: int) -> bool:
        """Does it bear one copy more?  `most` is cfm's own number; the worker has one too.

        What only has to be made durable comes in no more: the next copy need not wait for the disk.  But it
        may not pile up where the disk is slower than the sources.
        """
        cap = min(most, destination.features.downloads)
        load = self.load(destination.addr)
        return load.incoming < cap and load.incoming + load.finishing < 2 * cap

    def book_copy(self, file: File, source: Addr, destination: Addr) -> None:
        self._load(destination).incoming += 1
        self._load(destination).chosen += 1
        self._load(source).outgoing += 1
        self.busy_files.add(file.name)
        for _addr, disk in self._books(destination):
            disk.arriving_bytes += file.size_bytes
            if disk.reserved_for is not None and disk.reserved_for.name == file.name:
                disk.reserved_for = None

    def book_delete(self, file: File, server: Addr, kind: DeleteKind, *, for_room: bool) -> None:
        self.ordered[server, kind] = self.ordered.get((server, kind), 0) + 1
        self._load(server).unfinished += 1
        self.busy_files.add(file.name)
        self._leave(server, file, for_room=for_room)

    def unbook_delete(self, file: File, server: Addr, kind: DeleteKind, *, for_room: bool) -> None:
        """Take an order's bytes out of the book again, to ask anew whether they must go."""
        self.ordered[server, kind] = self.ordered.get((server, kind), 0) - 1
        self._load(server).unfinished -= 1
        self.busy_files.discard(file.name)
        self._leave(server, file, for_room=for_room, sign=-1)

    def book_room(self, file: File, server: Addr) -> None:
        """Room is being made on `server` for `file`: nothing else may take it."""
        for _addr, disk in self._books(server):
            disk.reserved_for = file

    def largest_room_bytes(self, among: Iterable[Addr] | None = None) -> int:
        """The largest file that any disk, or any `among` them, takes.

        An address through which none is used may only seem to.
        """
        largest_bytes = 0
        for addr in self.disks if among is None else among:
            if addr not in self._unused:
                largest_bytes = max(largest_bytes, self.disks[addr].room_bytes())
        return largest_bytes

    def largest_disk_bytes(self) -> int | None:
        """The most that any disk may ever hold; None where none is known."""
        return max((disk.ceiling_bytes for disk in self.disks.values()), default=None)

    def _leave(self, server: Addr, file: File, *, for_room: bool, sign: int = 1) -> None:
        for _addr, disk in self._books(server):
            disk.leaving_bytes += sign * file.size_bytes
            disk.room_leaving_bytes += sign * file.size_bytes if for_room else 0

    def _books(self, addr: Addr) -> Iterator[tuple[Addr, DiskBook]]:
        """The books of the disk at `addr`, of every address that it has, where they are kept."""
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
    return DiskBook(
        usage=server.disk.value,
        limit_percent=limit_percent,
        arriving_bytes=_sum_bytes(view.landed, server.addr),
        leaving_bytes=_sum_bytes(view.gone, server.addr),
        reserved_for=reservation.file if reservation else None,
    )


def _sum_bytes(booked: Mapping[Addr, list[Booked]], addr: Addr) -> int:
    return sum(one.size_bytes for one in booked[addr]) if addr in booked else 0
