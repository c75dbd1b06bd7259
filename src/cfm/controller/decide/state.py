"""The controller's whole memory of its node, and the box of what is to be done about it.

`copying`, `deleting` and `observing` are functions over this one state; `core` calls them.  Nothing here
waits, reads a clock or a file: an event and `now` come in, changes for the store and effects go into the
outbox.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cfm.controller.decide.events import AskSan, Effect, Say
from cfm.fleet.health import HealthBook
from cfm.fleet.observed import FleetBook
from cfm.model import (
    Addr,
    CopySeen,
    Failure,
    File,
    Hits,
    Known,
    NotOnSan,
    Now,
    SanAnswer,
    SnapshotFacts,
    Status,
    Task,
)
from cfm.plan.kernel import KERNEL, Kernel
from cfm.plan.outlook import Policy
from cfm.plan.policies import POLICIES
from cfm.plan.refusals import Refusal
from cfm.plan.view import ClusterView, Departure, Reservation, Rules, san_was_silent
from cfm.tasks.book import RetryBook, TaskBook
from cfm.tasks.orders import OrderBook
from cfm.tasks.store import Change

FACTS_KEPT_MS = 120_000
"""How long single answers about files are kept; none is believed that long."""


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """Who belongs to the node, and how often it is looked at."""

    sources: tuple[Addr, ...]
    destinations: tuple[Addr, ...]
    rules: Rules
    heartbeat_interval_ms: int = 30_000
    misses_to_down: int = 2
    full_look_ms: int = 60_000
    """The longest time between two full looks at all servers."""


@dataclass(slots=True)
class Outbox:
    """What one event led to: rows to be made durable, and what is to be done."""

    changes: list[Change] = field(default_factory=list)
    effects: list[Effect] = field(default_factory=list)

    def take(self) -> tuple[list[Change], list[Effect]]:
        taken = self.changes, self.effects
        self.changes, self.effects = [], []
        return taken


@dataclass(slots=True)
class NodeState:
    """Everything that the controller remembers between two events."""

    config: NodeConfig
    rules: Rules
    fleet: FleetBook
    health: HealthBook
    last_id: int = 0
    kernel: Kernel = KERNEL
    policies: tuple[Policy, ...] = POLICIES
    tasks: TaskBook = field(default_factory=TaskBook)
    orders: OrderBook = field(default_factory=OrderBook)
    retries: RetryBook = field(default_factory=RetryBook)
    out: Outbox = field(default_factory=Outbox)
    snapshot: SnapshotFacts | None = None
    rejected: SnapshotFacts | None = None
    """The newest reading, where it was not accepted."""
    snapshot_mono_ms: int = 0
    snapshot_age_ms: int = 0
    hits: Hits = field(default_factory=Hits)
    san: dict[str, Known[SanAnswer]] = field(default_factory=dict)
    san_asked: dict[str, int] = field(default_factory=dict)
    """Files that the SAN is being asked for, and since when."""
    san_ahead: set[str] = field(default_factory=set)
    """Those of them that nothing waits for yet."""
    copies_seen: dict[tuple[str, Addr], Known[CopySeen]] = field(default_factory=dict)
    copies_asked: dict[tuple[str, Addr], int] = field(default_factory=dict)
    arrivals: dict[tuple[str, Addr], int] = field(default_factory=dict)
    departures: dict[str, Departure] = field(default_factory=dict)
    reserved: dict[Addr, Reservation] = field(default_factory=dict)
    approved_bytes: dict[Addr, int] = field(default_factory=dict)
    unproven: dict[str, Task] = field(default_factory=dict)
    """Copies that an old worker called done; its next list proves or disproves them."""
    delete_pauses: dict[str, tuple[int, Refusal]] = field(default_factory=dict)
    """Files whose delete order was dropped: until when they are left alone, and why."""
    cut_again_ms: dict[int, int] = field(default_factory=dict)
    """When a source is told again to cut a stream that it has not said to be cut."""
    store_trouble: str = ""
    wants_dispatch: bool = True
    """Something may be possible that was not: all policies are asked."""
    wants_orders: bool = False
    """A delete order may be ready to be sent, or to be dropped, and nothing else has changed."""
    wants_plan: bool = True
    counts: Counter[str] = field(default_factory=Counter)
    """Deeds since the start, for metrics and the verdict."""

    _sending_since_ms: dict[Addr, int] = field(default_factory=dict)
    _sent_ms: Counter[Addr] = field(default_factory=Counter)

    def note_sources(self, now: Now) -> None:
        """Keep the account of how long each source has been sending."""
        if not self.tasks.moved:
            return
        self.tasks.moved = False
        active, freed = self.tasks.active.values(), self.tasks.freed
        sending = {task.source for task in active if task.status is Status.WORKING and task.id not in freed}
        if sending == self._sending_since_ms.keys():
            return
        for addr in sending - self._sending_since_ms.keys():
            self._sending_since_ms[addr] = now.mono_ms
        for addr in self._sending_since_ms.keys() - sending:
            self._sent_ms[addr] += now.mono_ms - self._sending_since_ms.pop(addr)

    def source_busy_ms(self, now: Now) -> dict[Addr, int]:
        """How long each source has been sending since our start."""
        running = {addr: now.mono_ms - since for addr, since in self._sending_since_ms.items()}
        return {addr: self._sent_ms[addr] + running.get(addr, 0) for addr in self.config.sources}

    def next_id(self, now: Now) -> int:
        """Unique, growing, and the creation time in ns as far as the clock allows."""
        self.last_id = max(self.last_id + 1, now.wall_ms * 1_000_000)
        return self.last_id

    def say(
        self, event: str, facts: Mapping[str, object] | None = None, *, level: str = "info", **more: object
    ) -> None:
        """One line for the log, and for whoever asks later why."""
        self.out.effects.append(Say(event, level, {**(facts or {}), **more}))

    def ask_san(self, files: Sequence[File], now: Now, *, ahead: bool = False) -> None:
        """Look files up on the SAN, unless that is being done, or it was silent a moment ago.

        `ahead`: for later; the answer makes nothing possible.
        """
        if not files:
            return
        open_ = (file for file in files if file.name not in self.san_asked)
        due = (file for file in open_ if not san_was_silent(self.san.get(file.name), now))
        sizes = {file.name: file.size_bytes for file in due}
        if sizes:
            self.san_asked.update(dict.fromkeys(sizes, now.mono_ms))
            self.out.effects.append(AskSan(sizes))
        if ahead:
            self.san_ahead.update(sizes)
        else:
            self.san_ahead.difference_update(file.name for file in files)

    def metadata_age_ms(self, now: Now) -> int:
        """A wall clock that jumps back makes nothing younger: since the reading, the monotonic one counts."""
        if self.snapshot is None:
            return 0
        by_wall_ms = now.wall_ms - self.snapshot.read_wall_s * 1000
        return max(by_wall_ms, self.snapshot_age_ms + now.mono_ms - self.snapshot_mono_ms, 0)

    def view(self, now: Now) -> ClusterView:
        """What is known at `now`, for the kernel and the policies."""
        is_up = {addr: self.health.is_up(addr) for addr in self.fleet.records}
        servers = self.fleet.server_views(self.rules.limit_percent, is_up)
        doubtful = self.fleet.doubtful(now.mono_ms, self.rules.unknown_grace_ms)
        return ClusterView(
            now=now,
            rules=self.rules,
            snapshot=self.snapshot,
            metadata_age_ms=self.metadata_age_ms(now),
            servers=servers,
            doubtful=tuple(servers[addr] for addr in doubtful),
            first_look=any(self._never_looked_at(addr) for addr in self.config.destinations),
            holders=self.fleet.holders,
            hits=self.hits,
            tasks=self.tasks.active,
            task_of={**self.tasks.by_file, **self.unproven},
            arrived_bytes={i: run.shown_bytes for i, run in self.tasks.runs.items() if run.shown_bytes},
            freed_sources=self.tasks.freed,
            uncut=self.tasks.uncut,
            order_of=self.orders.by_file,
            delete_pauses=self.delete_pauses,
            san=self.san,
            copies_seen=self.copies_seen,
            arrivals=self.arrivals,
            departures=self.departures,
            retries=self.retries.retries,
            landed={a: r.landed for a, r in self.fleet.records.items() if r.landed},
            gone={a: r.gone for a, r in self.fleet.records.items() if r.gone},
            reserved=self.reserved,
            deletes_last_minute=self.orders.last_minute(now.mono_ms),
            approved_bytes=self.approved_bytes,
            paused=bool(self.store_trouble),
        )

    def left_alone(self, now: Now) -> list[str]:
        """Files that would only be refused for a while: a plan looks beyond them."""
        dropped = (name for name, (until_ms, _) in self.delete_pauses.items() if until_ms > now.mono_ms)
        missing = (name for name, asked in self.san.items() if isinstance(asked.value, NotOnSan))
        return [*self.left_alone_after_failures(now), *dropped, *missing]

    def left_alone_after_failures(self, now: Now) -> list[str]:
        """Files whose copy failed, and which are not tried again yet."""
        retries = self.retries.retries.items()
        waiting = (name for name, retry in retries if retry.not_before_ms > now.mono_ms)
        return [name for name in waiting if name not in self.fleet.holders]

    def next_file_due_ms(self, now: Now) -> int | None:
        """When the next file that was left alone after a failure may be tried again."""
        pauses = self.delete_pauses.values()
        dropped = min([until_ms for until_ms, _why in pauses if until_ms > now.mono_ms], default=None)
        return soonest(self.retries.next_due_ms(now.mono_ms), dropped)

    def doubt_ends_ms(self, now: Now) -> int | None:
        """When the files of the next server that fell silent count as lost."""
        return self.fleet.doubt_ends_ms(now.mono_ms, self.rules.unknown_grace_ms)

    def next_server_due_ms(self, now: Now) -> int | None:
        """When the next server that refused something may be asked again."""
        due_ms: int | None = None
        for record in self.fleet.records.values():
            for until_ms in (record.busy_until_ms, record.no_deletes_until_ms):
                if until_ms > now.mono_ms:
                    due_ms = soonest(due_ms, until_ms)
        return due_ms

    def _never_looked_at(self, addr: Addr) -> bool:
        """Neither found down, nor listed or asked in vain for its list."""
        return self.fleet.records[addr].never_answered and self.health.pulse(addr).up is not False

    def forget_old(self, now: Now) -> None:
        """Keep every book small: what is too old to decide anything goes."""
        before_ms = now.mono_ms - FACTS_KEPT_MS
        missing = [fact for fact in self.san.values() if isinstance(fact.value, NotOnSan)]
        if any(fact.at_ms <= before_ms for fact in missing):
            self.wants_plan = self.wants_dispatch = True  # the last plan left them out, or the kernel refused
        self.san = {name: fact for name, fact in self.san.items() if fact.at_ms > before_ms}
        self.san_asked = {name: at_ms for name, at_ms in self.san_asked.items() if at_ms > before_ms}
        self.san_ahead &= self.san_asked.keys()
        self.copies_seen = {key: fact for key, fact in self.copies_seen.items() if fact.at_ms > before_ms}
        self.copies_asked = {key: at_ms for key, at_ms in self.copies_asked.items() if at_ms > before_ms}
        kept_ms = now.mono_ms - self.rules.just_deleted_ms
        departures = {name: left for name, left in self.departures.items() if left.at_ms > kept_ms}
        self.wants_dispatch = self.wants_dispatch or len(departures) < len(self.departures)
        self.departures = departures
        self.delete_pauses = {n: p for n, p in self.delete_pauses.items() if p[0] > now.mono_ms}
        self.tasks.forget_old(now.mono_ms)
        self.retries.forget_old(now.mono_ms)


def soonest(*moments_ms: int | None) -> int | None:
    """The first of the moments that there are."""
    return min([moment_ms for moment_ms in moments_ms if moment_ms is not None], default=None)


def words(failure: Failure) -> str:
    """A failure as a person reads it."""
    status = f" {failure.status}" if failure.status else ""
    return f"{failure.trouble}{status}: {failure.detail}" if failure.detail else f"{failure.trouble}{status}"
