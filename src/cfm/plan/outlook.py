"""The outlook: all that a policy may read.

It tells what is known, what the last plan listed, and what the books promise: who is free, how much room
there is, what must go.  It helps to choose well, and no more: it has no guard in it and cannot book.  Whether
something may be done, the kernel says when a policy wishes for it.  Neighbours: `judge` makes an outlook and
books; `policies` read it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from cfm.model import NOBODY, Addr, File, ServerView, Side
from cfm.plan.ledger import Ledger
from cfm.plan.pauses import destination_rests, is_spared, pair_rests, source_rests
from cfm.plan.shortlist import Shortlist
from cfm.plan.view import ClusterView, can_send
from cfm.plan.wishes import Wishes


class Disk(Protocol):
    """A destination's disk with all that is booked there, in bytes; to be read only."""

    @property
    def limit_percent(self) -> int: ...
    @property
    def ceiling_bytes(self) -> int: ...
    @property
    def reserved_for(self) -> File | None: ...
    @property
    def arriving_bytes(self) -> int: ...
    @property
    def projected_percent(self) -> int: ...
    @property
    def over_bytes(self) -> int: ...
    @property
    def need_bytes(self) -> int: ...
    @property
    def spare_bytes(self) -> int: ...
    def room_bytes(self) -> int: ...
    def short_bytes(self, file: File) -> int: ...


class RoundOutlook(Protocol):
    """What became of the wishes so far; to be read only."""

    @property
    def no_room(self) -> Sequence[File]: ...
    @property
    def ask_san(self) -> Sequence[File]: ...


class LoadOutlook(Protocol):
    """What one server has under way; to be read only."""

    @property
    def receives(self) -> bool: ...
    @property
    def unfinished(self) -> int: ...
    @property
    def chosen(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Openings:
    """Where the next copy could begin, whatever it is of."""

    sources: tuple[ServerView, ...]
    """They may send now, to some destination."""
    destinations: tuple[ServerView, ...]
    """They may receive now, from some of these sources."""
    largest_room_bytes: int
    """The largest file that any of these destinations takes."""


class Outlook:
    """What a policy may read, as of the last wish that was booked."""

    def __init__(self, view: ClusterView, lists: Shortlist, ledger: Ledger, round_: RoundOutlook) -> None:
        self.view = view
        self.lists = lists
        self._ledger = ledger
        self._round = round_
        self._changes = ledger.changes
        """How often the ledger had changed when the openings were found."""
        self._openings, self._trials = self._open_now()
        self.senders = len(self._openings.sources)
        """How many sources could send when the round began."""

    @property
    def disks(self) -> Mapping[Addr, Disk]:
        """The disks of all destinations that are usable."""
        return self._ledger.disks

    def load(self, addr: Addr) -> LoadOutlook:
        return self._ledger.load(addr)

    @property
    def busy_files(self) -> AbstractSet[str]:
        """Files that are being copied or deleted."""
        return self._ledger.busy_files

    def may_go(self, addr: Addr) -> Iterator[File]:
        """What may go from `addr`, the least wanted first: not what has gone since the plan was made."""
        holders = self.view.holders
        return (file for file in self.lists.evictable.get(addr, ()) if addr in holders.get(file.name, NOBODY))

    def surplus_at(self, addr: Addr) -> list[File]:
        """The surplus copies that may go from there, and are not about to."""
        return self._ledger.surplus_at(addr)

    def surplus_bytes(self, addr: Addr) -> int:
        """The room that they would make."""
        return self._ledger.surplus_bytes(addr)

    @property
    def no_room(self) -> Sequence[File]:
        """Files that were wished for in this round and found no room, the most wanted first."""
        return self._round.no_room

    @property
    def waits_for_san(self) -> bool:
        """Is the SAN asked for a file of this round?  Its answer starts a new round."""
        return bool(self._round.ask_san)

    @property
    def promised(self) -> AbstractSet[str]:
        """Files for which room is kept somewhere, and which is there or still comes."""
        return self._ledger.promised()

    @property
    def openings(self) -> Openings:
        """Where the next copy could begin."""
        self._look_again()
        return self._openings

    @property
    def trials(self) -> Openings:
        """Where one copy could begin to see whether a destination works again that cost much time."""
        self._look_again()
        return self._trials

    def _look_again(self) -> None:
        if self._changes != self._ledger.changes:
            self._changes = self._ledger.changes
            self._openings, self._trials = self._open_now()

    @property
    def largest_room_bytes(self) -> int:
        """The largest file that any destination takes, be it free or busy."""
        return self._ledger.largest_room_bytes()

    def _open_now(self) -> tuple[Openings, Openings]:
        """Where copies could begin, and where trials could."""
        ledger, view = self._ledger, self.view
        known = [server for server in self.view.destinations if server.addr in ledger.disks]
        free = [
            one for one in view.sources if ledger.may_send(one) and not source_rests(view, ledger, one.addr)
        ]
        sources = [source for source in free if any(can_send(source, to) for to in known)]
        open_ = [
            to
            for to in known
            if ledger.may_receive(to)
            and ledger.is_used(to.addr)
            and not destination_rests(view, ledger, to.addr)
            and any(self._fit(source, to) for source in sources)
        ]
        healthy, spared = list[ServerView](), list[ServerView]()
        for to in open_:
            (spared if is_spared(view, Side(destination=to.addr)) else healthy).append(to)
        return self._as_openings(sources, healthy), self._as_openings(sources, spared)

    def _as_openings(self, sources: Iterable[ServerView], destinations: Sequence[ServerView]) -> Openings:
        rooms = [self._ledger.disks[to.addr].room_bytes() for to in destinations]
        return Openings(tuple(sources), tuple(destinations), max(rooms, default=-1))

    def _fit(self, source: ServerView, to: ServerView) -> bool:
        resting = pair_rests(self.view, self._ledger, source.addr, to.addr)
        return can_send(source, to) and not resting


Policy: TypeAlias = Callable[[Outlook], Wishes]
"""One policy: a generator of wishes.  It keeps nothing from one round to the next."""
