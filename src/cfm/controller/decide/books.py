"""The controller's small books: what people and files told, what single answers said, what holds back a file.

Each book is changed by its own methods alone, and they count in the node's `Revision` what may make something
possible.  What only holds something back is not counted when it comes, but when it goes.  The larger books
are `tasks.book`, `tasks.orders` and `fleet`.  Neighbours: `state` puts all books together; `copying`,
`deleting` and `observing` change them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from cfm.backoff import Backoff
from cfm.model import (
    Addr,
    CopySeen,
    File,
    Hits,
    Known,
    KnownStock,
    LogCondition,
    LogState,
    Measure,
    Now,
    SnapshotFacts,
)
from cfm.plan import refusals
from cfm.plan.refusals import Refusal
from cfm.plan.view import Reservation, Rules, UnknownHits
from cfm.revision import Revision
from cfm.tasks.orders import OrderBook

# ── what people and files told ──────────────────────────────────────────────────────────────────────────


@dataclass(slots=True)
class RuleBook:
    """The settings that decide, and how much an operator let held breakers free."""

    revision: Revision
    rules: Rules
    approved_bytes: dict[Addr, int] = field(default_factory=dict)

    def change(self, rules: Rules) -> None:
        """What an operator let go was let go under the old rules: a new limit is confirmed anew."""
        self.rules = rules
        self.approved_bytes.clear()
        self.revision.dispatch += 1
        self.revision.plan += 1

    def approve(self, sizes: Mapping[Addr, int]) -> None:
        """An operator lets the breakers of these servers free so many bytes."""
        self.approved_bytes.update(sizes)
        self.revision.dispatch += 1

    def end_approval(self, addr: Addr) -> None:
        """Nothing is left to free there: the next time it is confirmed anew."""
        del self.approved_bytes[addr]


@dataclass(slots=True)
class MetadataBook:
    """Which metadata is in force, and how old it is."""

    revision: Revision
    facts: SnapshotFacts | None = None
    rejected: SnapshotFacts | None = None
    """The newest reading, where it was not accepted."""
    rejected_since_s: int | None = None
    """Unix time since when no reading was accepted; None while the newest one is."""
    measure: Measure | None = None
    """How much the last accepted metadata contained, before a restart or since."""
    _accepted_ms: int = 0
    _age_then_ms: int = 0

    def accept(self, facts: SnapshotFacts, age_ms: int, now: Now) -> None:
        self.facts, self.rejected, self.rejected_since_s = facts, None, None
        self._accepted_ms, self._age_then_ms = now.mono_ms, age_ms
        self.revision.dispatch += 1
        self.revision.plan += 1

    def measured(self, measure: Measure | None) -> bool:
        """So much is in the metadata in force, or was in the last one before a restart.  Is that new?"""
        is_new, self.measure = measure != self.measure, measure
        return is_new

    def reject(self, facts: SnapshotFacts, now: Now) -> None:
        """What was in force stays in force."""
        self.rejected = facts
        if self.rejected_since_s is None:
            self.rejected_since_s = now.wall_s

    def age_ms(self, now: Now) -> int:
        """A wall clock that jumps back makes nothing younger: since the reading, the monotonic one counts."""
        if self.facts is None:
            return 0
        by_wall_ms = now.wall_ms - self.facts.read_wall_s * 1000
        return max(by_wall_ms, self._age_then_ms + now.mono_ms - self._accepted_ms, 0)


@dataclass(slots=True)
class HitBook:
    """What viewers want now, and the known files among it."""

    revision: Revision
    hits: Hits = field(default_factory=Hits)
    rising_files: tuple[File, ...] = ()
    log: LogState | None = None
    """The event log; None where none is configured."""
    unknown: UnknownHits | None = None
    """Since when the log cannot be read, and what was watched last; None while it can."""
    _was_known: bool = False
    """The log has been read to its end since our start."""

    def change(self, hits: Hits, rising_files: tuple[File, ...]) -> tuple[list[str], list[str]]:
        """The window moved, or the same names are other files now.

        Returns the names that rise anew, and those that rise no more.
        """
        new, gone = hits.rising.keys() - self.hits.rising.keys(), self.hits.rising.keys() - hits.rising.keys()
        if hits.rising.keys() != self.hits.rising.keys():
            self.revision.plan += 1
        if hits != self.hits or rising_files != self.rising_files:
            self.revision.dispatch += 1
        self.hits, self.rising_files = hits, rising_files
        return sorted(new), sorted(gone)

    def log_changed(self, log: LogState, now: Now) -> None:
        """While the log cannot be read, hits are unknown; what was watched last is remembered."""
        before = self.unknown
        if log.hits_known:
            self.unknown, self._was_known = None, True
        else:
            last = frozenset(self.hits.rising.keys() | self.hits.watched)
            is_first = log.condition is LogCondition.READING and not self._was_known
            self.unknown = (before or UnknownHits(now.mono_ms, last))._replace(is_first_reading=is_first)
        if self.unknown != before:
            self.revision.dispatch += 1
            self.revision.plan += 1
        self.log = log

    def forget_last(self, before_ms: int) -> None:
        """What was watched at the last reading is protected for the grace time, and not for ever."""
        unknown = self.unknown
        if unknown and (unknown.last or unknown.is_first_reading) and unknown.since_ms <= before_ms:
            self.unknown = UnknownHits(unknown.since_ms, frozenset())
            self._was_known = True  # nobody waits for it any more
            self.revision.dispatch += 1
            self.revision.plan += 1


@dataclass(slots=True)
class StoreBook:
    """Whether our own state can be written.  While it cannot, there are no orders and no tasks."""

    revision: Revision
    trouble: str = ""

    def failed(self, why: str) -> None:
        self.trouble = why
        self.revision.dispatch += 1

    def recovered(self) -> None:
        self.trouble = ""
        self.revision.dispatch += 1


# ── what single answers said ────────────────────────────────────────────────────────────────────────────


@dataclass(slots=True)
class CopyBook:
    """What servers said of single copies on them."""

    revision: Revision
    orders: OrderBook
    seen: dict[tuple[str, Addr], Known[CopySeen]] = field(default_factory=dict)
    asked_ms: dict[tuple[str, Addr], int] = field(default_factory=dict)
    """Copies that their servers are being asked for, and since when."""
    gone_ms: dict[tuple[str, Addr], int] = field(default_factory=dict)
    """When a copy was deleted: what was asked before says nothing any more."""

    def ask(self, name: str, addr: Addr, now_ms: int) -> bool:
        """Ask now?  False where that question is under way."""
        if (name, addr) in self.asked_ms:
            return False
        self.asked_ms[name, addr] = now_ms
        return True

    def came_back(self, name: str, addr: Addr) -> None:
        """A question was answered, or it failed."""
        self.asked_ms.pop((name, addr), None)

    def put(self, name: str, addr: Addr, seen: CopySeen, at_ms: int) -> None:
        if at_ms <= self.gone_ms.get((name, addr), at_ms - 1):
            return
        self.seen[name, addr] = Known(seen, at_ms)
        if not self.orders.heard_of(name):
            self.revision.dispatch += 1

    def drop(self, name: str, addr: Addr, now_ms: int) -> None:
        """The copy was deleted.  What its server said of it allows nothing."""
        self.gone_ms[name, addr] = now_ms
        self.seen.pop((name, addr), None)

    def forget_old(self, before_ms: int) -> None:
        self.seen = {key: known for key, known in self.seen.items() if known.at_ms > before_ms}
        self.asked_ms = {key: at_ms for key, at_ms in self.asked_ms.items() if at_ms > before_ms}
        self.gone_ms = {key: at_ms for key, at_ms in self.gone_ms.items() if at_ms > before_ms}


# ── what holds back a file ──────────────────────────────────────────────────────────────────────────────


@dataclass(slots=True)
class ArrivalBook:
    """When a file arrived on a server, where that was seen: a young file does not go for room."""

    revision: Revision
    arrived_ms: dict[tuple[str, Addr], int] = field(default_factory=dict)

    def put(self, name: str, addr: Addr, at_ms: int) -> None:
        self.arrived_ms[name, addr] = at_ms

    def drop(self, name: str, addr: Addr) -> bool:
        """The file was deleted there.  Returns True where it was still young."""
        return self.arrived_ms.pop((name, addr), None) is not None

    def grown_up(self, before_ms: int) -> list[tuple[str, Addr]]:
        """Forget, and return, the files that have stayed their minimum time: plans left them out."""
        gone = [key for key, at_ms in self.arrived_ms.items() if at_ms <= before_ms]
        for key in gone:
            del self.arrived_ms[key]
        self.revision.plan += bool(gone)
        return gone


@dataclass(slots=True)
class StockBook:
    """How much of each destination known files take up."""

    revision: Revision
    stock: dict[Addr, KnownStock] = field(default_factory=dict)
    moved_bytes: Counter[Addr] = field(default_factory=Counter[Addr])
    """What our copies have brought to each destination since our start, less what our deletes removed."""

    def counted(self, stock: Mapping[Addr, KnownStock]) -> None:
        """A plan has counted them."""
        if stock != self.stock:
            self.stock = dict(stock)
            self.revision.dispatch += 1

    def changed(self, addr: Addr, size_bytes: int) -> None:
        """A copy of ours came or, with a negative size, was deleted by our order.

        Who tells it counts that as a change.
        """
        self.moved_bytes[addr] += size_bytes
        if addr in self.stock:
            self.stock[addr] = self.stock[addr].changed_by(size_bytes)


@dataclass(slots=True)
class ReservationBook:
    """Room on a destination that was made, or is being made, for one file."""

    revision: Revision
    reserved: dict[Addr, Reservation] = field(default_factory=dict)

    def reserve(self, addr: Addr, reservation: Reservation) -> None:
        self.reserved[addr] = reservation

    def use(self, file: File, destination: Addr) -> None:
        """A copy of the file begins.  Where room was made for it elsewhere, that is anybody's now."""
        for addr in [addr for addr, room in self.reserved.items() if room.file.name == file.name]:
            del self.reserved[addr]
            self.revision.dispatch += addr != destination

    def release(self, addr: Addr) -> None:
        del self.reserved[addr]
        self.revision.dispatch += 1

    def forget_old(self, now_ms: int) -> None:
        for addr in [addr for addr, room in self.reserved.items() if room.until_ms <= now_ms]:
            self.release(addr)


DROP_PAUSE = Backoff(first_ms=30_000, longest_ms=1_800_000)
"""How long a file is left alone after its order was dropped, so that no order is made again and again."""


@dataclass(slots=True)
class PauseBook:
    """Files whose delete order was dropped: until when they are left alone, and why."""

    revision: Revision
    paused: dict[str, tuple[int, Refusal]] = field(default_factory=dict)
    _drops: dict[str, tuple[int, int]] = field(default_factory=dict)
    """How often in a row a file's order was dropped, and when its last pause ends."""

    def pause(self, name: str, now_ms: int, why: Refusal) -> None:
        """Leave a file alone, longer each time; a new plan looks beyond it.

        A delete that was not carried out is its server's fault, and is not charged to the file.
        """
        drops = 1 if why is refusals.ORDER_UNKNOWN else self._drops.get(name, (0, 0))[0] + 1
        until_ms = now_ms + DROP_PAUSE.pause_ms(drops)
        self._drops[name] = drops, until_ms
        self.paused[name] = until_ms, why
        self.revision.dispatch += 1  # there is another moment at which something is possible
        self.revision.plan += 1

    def end(self, why: Refusal) -> None:
        """What these files were left alone for is over."""
        kept = {name: pause for name, pause in self.paused.items() if pause[1] is not why}
        self.revision.dispatch += len(kept) < len(self.paused)
        for name in self.paused.keys() - kept.keys():
            self._drops.pop(name, None)
        self.paused = kept

    def names(self, now_ms: int) -> list[str]:
        return [name for name, (until_ms, _why) in self.paused.items() if until_ms > now_ms]

    def next_end_ms(self, now_ms: int) -> int | None:
        ends_ms = [until_ms for until_ms, _why in self.paused.values() if until_ms > now_ms]
        return min(ends_ms, default=None)

    def forget_old(self, now_ms: int) -> None:
        """What has ended holds nothing back any more, whether or not it is remembered."""
        self.paused = {name: pause for name, pause in self.paused.items() if pause[0] > now_ms}
        long_ago_ms = now_ms - DROP_PAUSE.longest_ms
        self._drops = {name: drops for name, drops in self._drops.items() if drops[1] > long_ago_ms}


STRANGE_MS = 60_000
"""A worker without valid credentials asks again every few seconds.  After this silence it is no stranger."""


@dataclass(slots=True)
class StrangerBook:
    """Servers whose requests had no valid credentials.  They make nothing possible, so nothing is counted."""

    seen_ms: dict[Addr, tuple[int, int]] = field(default_factory=dict)
    """The first and the last moment."""

    def heard(self, addr: Addr, now_ms: int) -> bool:
        """Such a request came.  Returns: is that new?"""
        is_new = addr not in self.lately(now_ms)
        first_ms = now_ms if is_new else self.seen_ms[addr][0]
        self.seen_ms[addr] = first_ms, now_ms
        return is_new

    def lately(self, now_ms: int) -> dict[Addr, int]:
        """The servers that are like that now, and since when."""
        return {addr: first for addr, (first, last) in self.seen_ms.items() if now_ms - last < STRANGE_MS}
