"""The controller's whole memory of its node, and the box of what is to be done about it.

`copying`, `deleting` and `observing` are functions over this one state; `core` calls them.  Nothing here
waits, and nothing reads a clock or a file: an event and `now` come in, changes for the store and effects go
into the outbox.  What is remembered lies in books.  A book is changed by its own methods alone, and all books
of a node count in one `Revision` what must be decided anew.  Neighbour: `books` holds the small ones.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from cfm.controller.decide.absences import AbsenceBook
from cfm.controller.decide.books import (
    ArrivalBook,
    CopyBook,
    HitBook,
    MetadataBook,
    PauseBook,
    ReservationBook,
    RuleBook,
    StockBook,
    StoreBook,
    StrangerBook,
)
from cfm.controller.decide.departures import DepartureBook
from cfm.controller.decide.events import AskSan, Say, SeekNames
from cfm.controller.decide.own_troubles import OwnTroubleBook
from cfm.controller.decide.san_book import SanBook
from cfm.controller.decide.step import Outbox
from cfm.controller.decide.told_conditions import ConditionBook
from cfm.controller.decide.versions import VersionBook
from cfm.fleet.disk_account import APART_MS
from cfm.fleet.health import HealthBook
from cfm.fleet.observed import FleetBook
from cfm.model import Addr, Failure, File, Hits, Known, LogState, Now, Side, SnapshotFacts
from cfm.plan.kernel import KERNEL, Kernel
from cfm.plan.outlook import Policy
from cfm.plan.policies import POLICIES
from cfm.plan.view import ClusterView, Rules, UnknownHits, is_placed
from cfm.revision import Revision
from cfm.tasks.book import TaskBook
from cfm.tasks.failures import FailureBook
from cfm.tasks.orders import OrderBook
from cfm.tasks.rates import RateBook

FACTS_KEPT_MS = 120_000
"""How long single answers about files are kept; none is believed that long."""
SIGHTINGS_KEPT_MS = 600_000
"""How long it is remembered which version of a file the SAN showed.  By then the file has come to its turn,
or it is looked at once more ahead of its turn."""

NS_PER_MS = 1_000_000


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
    id_salt: int = 0
    """A number of this start alone, below `NS_PER_MS`: see `NodeState.next_id`."""

    def has_way(self, source: Addr, destination: Addr) -> bool:
        """Are both servers in these roles in the settings?  A restart may have changed that."""
        return self.has_side(Side(source, destination))

    def has_side(self, side: Side) -> bool:
        """The same for a source, a destination, a pair, or nobody."""
        source, destination = side
        return (not source or source in self.sources) and (
            not destination or destination in self.destinations
        )


class NodeState:
    """Everything that the controller remembers between two events."""

    def __init__(self, config: NodeConfig, last_id: int, now: Now, *, one_look: bool = False) -> None:
        """`one_look`: everything is looked at only once, so one reading of a disk has to do."""
        revision = Revision()
        servers = (*config.sources, *config.destinations)
        self.config = config
        self.kernel: Kernel = KERNEL
        self.policies: tuple[Policy, ...] = POLICIES
        self.last_id = last_id
        self.out = Outbox()
        self._silent_files: tuple[tuple[int, int], int] = (-1, -1), 0
        """After which changes they were counted last, and how many there were."""
        self.counts: Counter[str] = Counter()
        """Deeds since the start, for metrics and the verdict."""
        self.server_counts: Counter[tuple[Addr, str, str]] = Counter()
        """Copies that ended well or failed, by server, its role (`source` or `destination`) and outcome."""

        self.revision = revision
        self.fleet = FleetBook(
            config.sources,
            config.destinations,
            now_ms=now.mono_ms,
            revision=revision,
            apart_ms=0 if one_look else APART_MS,
        )
        self.health = HealthBook(
            dict.fromkeys(servers),
            interval_ms=config.heartbeat_interval_ms,
            misses_to_down=config.misses_to_down,
            now_ms=now.mono_ms,
            revision=revision,
        )
        self.tasks = TaskBook(revision=revision)
        self.failures = FailureBook(config.sources, config.destinations, revision)
        self.rates = RateBook()
        self.orders = OrderBook(revision=revision)
        self.settings = RuleBook(revision, config.rules)
        self.metadata = MetadataBook(revision)
        self.popular = HitBook(revision)
        self.own_store = StoreBook(revision)
        self.own_troubles = OwnTroubleBook()
        self.conditions = ConditionBook()
        self.absences = AbsenceBook(revision)
        self.san = SanBook(revision, self.orders, self.absences)
        self.copies = CopyBook(revision, self.orders)
        self.versions = VersionBook(revision)
        self.arrivals = ArrivalBook(revision)
        self.departures = DepartureBook(revision)
        self.reservations = ReservationBook(revision)
        self.stock = StockBook(revision)
        self.pauses = PauseBook(revision)
        self.strangers = StrangerBook()

        self.unsure_arrivals: dict[Addr, list[str]] = {}
        """Files that appeared on a disk of which it is not known yet whether it is a source folder."""
        self.told_source_disks: dict[Addr, str] = {}
        """Which source folder the log said last that a server's disk is."""
        self._sending_since_ms: dict[Addr, int] = {}
        self._sent_ms: Counter[Addr] = Counter()
        self._moves_seen = -1

    # ── what is asked for most ──────────────────────────────────────────────────────────────────────────

    @property
    def rules(self) -> Rules:
        return self.settings.rules

    @property
    def snapshot(self) -> SnapshotFacts | None:
        """The metadata in force."""
        return self.metadata.facts

    @property
    def rejected(self) -> SnapshotFacts | None:
        """The newest reading of the metadata, where it was not accepted."""
        return self.metadata.rejected

    @property
    def hits(self) -> Hits:
        return self.popular.hits

    @property
    def log(self) -> LogState | None:
        """The event log; None where none is configured."""
        return self.popular.log

    @property
    def unknown_hits(self) -> UnknownHits | None:
        """What is known of hits while the event log cannot be read."""
        return self.popular.unknown

    @property
    def store_trouble(self) -> str:
        """Why our own state cannot be written; empty where it can."""
        return self.own_store.trouble

    # ── the account of the sources ──────────────────────────────────────────────────────────────────────

    def note_sources(self, now: Now) -> None:
        """Keep the account of how long each source has been sending."""
        if self.tasks.moves == self._moves_seen:
            return
        self._moves_seen = self.tasks.moves
        sending = {task.source for task in self.tasks.sending()}
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
        """Unique, growing, and the creation time in ns as far as the clock allows.

        The clock gives milliseconds; below them each start has digits of its own.  Where an old backup of the
        state was put back, or a standby had not the latest commits, and the clock is behind as well, ids of
        before would otherwise come again, and workers may still report on those.
        """
        self.last_id = max(self.last_id + 1, now.wall_ms * NS_PER_MS + self.config.id_salt)
        return self.last_id

    def count_copy(self, source: Addr, destination: Addr, outcome: str) -> None:
        """A copy ended, for the counters of both its servers."""
        self.server_counts[source, "source", outcome] += 1
        self.server_counts[destination, "destination", outcome] += 1

    def say(
        self,
        event: str,
        facts: Mapping[str, object] | None = None,
        *,
        level: str = "info",
        about: tuple[str, ...] = (),
        **more: object,
    ) -> None:
        """One line for the log, and for whoever asks later why (see `Say`)."""
        self.last_id += 1
        self.out.effects.append(Say(event, level, {**(facts or {}), **more}, self.last_id, about))

    def ask_san(self, files: Sequence[File], now: Now, *, ahead: bool = False) -> None:
        """Look files up on the SAN, unless that is being done, or it is silent.

        `ahead`: for later; the answer makes nothing possible.
        """
        if files and (sizes := self.san.ask(files, now, ahead=ahead)):
            self.out.effects.append(AskSan(sizes))

    def look_at_versions(self, files: Sequence[File], now: Now) -> None:
        """Look up which versions of these placed files the SAN has.  Nothing waits for the answer."""
        if files and (sizes := self.san.ask(files, now, ahead=True, for_versions=True)):
            self.out.effects.append(AskSan(sizes))

    def try_san_again(self, now: Now) -> None:
        """While the SAN is silent, ask it now and then for a few of the files that it did not answer for."""
        if sizes := self.san.try_again(now):
            self.out.effects.append(AskSan(sizes))

    def seek_names(self, names: frozenset[str], now: Now) -> None:
        """Look for names in the source folders, unless that is being done."""
        new = self.san.seek(names, now.mono_ms)
        if new:
            self.out.effects.append(SeekNames(new))

    def view(self, now: Now, rules: Rules | None = None) -> ClusterView:
        """What is known at `now`, for the kernel and the policies.  `rules`: others than those in force."""
        rules = rules or self.rules
        is_up = {addr: self.health.is_up(addr) for addr in self.fleet.records}
        servers = self.fleet.server_views(rules.limit_percent, is_up)
        doubtful = self.fleet.doubtful(now.mono_ms, rules.unknown_grace_ms)
        return ClusterView(
            now=now,
            rules=rules,
            snapshot=self.snapshot,
            metadata_age_ms=self.metadata.age_ms(now),
            servers=servers,
            doubtful=tuple(servers[addr] for addr in doubtful),
            first_look=any(True for _addr in self.unseen()),
            holders=self.fleet.holders,
            stale=self.versions.stale,
            hits=self.hits,
            unknown_hits=self.unknown_hits,
            tasks=self.tasks.active,
            task_of={**self.tasks.by_file, **{t.file.name: t for t in self.tasks.unproven.values()}},
            arrived_bytes={i: run.shown_bytes for i, run in self.tasks.runs.items() if run.shown_bytes},
            freed_sources=self.tasks.received.keys(),
            uncut=self.tasks.uncut,
            order_of=self.orders.by_file,
            delete_pauses=self.pauses.paused,
            san=self.san.answers,
            san_silence=self.san.silence.now,
            sightings=self.san.sightings,
            absent=self.absences.absent,
            copies_seen=self.copies.seen,
            arrivals=self.arrivals.arrived_ms,
            departures=self.departures.left,
            retries=self.failures.retries,
            pauses=self.failures.pauses,
            suspects=self.failures.accusers.keys(),
            landed={a: booked for a, r in self.fleet.records.items() if (booked := r.account.booked)},
            gone={a: r.account.gone for a, r in self.fleet.records.items() if r.account.gone},
            stock=self.stock.stock,
            uncounted=self._uncounted(),
            reserved=self.reservations.reserved,
            deletes_last_minute=self.orders.last_minute(now.mono_ms),
            approved_bytes=self.settings.approved_bytes,
            paused=bool(self.store_trouble),
            revision=self.revision.dispatch,
        )

    def _uncounted(self) -> frozenset[Addr]:
        """Destinations with files that the last plan did not count yet."""
        destinations = (record for record in self.fleet.records.values() if record.is_destination)
        return frozenset(
            record.addr
            for record in destinations
            if record.addr not in self.stock.stock and isinstance(record.files, Known) and record.files.value
        )

    def being_written(self, now: Now) -> dict[str, int]:
        """Files that change on the SAN, and until when they are left alone."""
        return self.san.restless(self.rules.san_rest_ms, now)

    def left_alone_after_failures(self, now: Now) -> list[str]:
        """Files whose copy failed, and which are not tried again yet."""
        retries = self.failures.retries.items()
        failed = ((name, retry) for name, retry in retries if retry.failures > 1)
        waiting = (name for name, retry in failed if retry.not_before_ms > now.mono_ms)
        return [name for name in waiting if not self.is_placed(name)]

    def silent_files(self) -> int:
        """How many files on no destination wait for a source folder that does not answer.

        There may be tens of thousands, and each verdict asks: they are counted when something has changed.
        """
        changes = self.revision.dispatch, self.revision.plan
        if self._silent_files[0] != changes:
            self._silent_files = changes, sum(not self.is_placed(name) for name in self.san.silence.names)
        return self._silent_files[1]

    def is_placed(self, name: str) -> bool:
        return is_placed(name, self.fleet.holders, self.versions.stale)

    def next_file_due_ms(self, now: Now) -> int | None:
        """When the next file may be tried again that failed, or was being written."""
        written_ms = min(self.being_written(now).values(), default=None)
        failed_ms = self.failures.next_file_due_ms(now.mono_ms)
        return soonest(failed_ms, self.pauses.next_end_ms(now.mono_ms), written_ms)

    def doubt_ends_ms(self, now: Now) -> int | None:
        """When the files of the next server that fell silent count as lost."""
        return self.fleet.doubt_ends_ms(now.mono_ms, self.rules.unknown_grace_ms)

    def next_server_due_ms(self, now: Now) -> int | None:
        """When the next server that refused something, or failed, may be asked again."""
        due_ms = self.failures.next_side_due_ms(now.mono_ms)
        for record in self.fleet.records.values():
            for until_ms in (record.busy_until_ms, record.no_deletes_until_ms):
                if until_ms > now.mono_ms:
                    due_ms = soonest(due_ms, until_ms)
        return due_ms

    def unseen(self) -> Iterator[Addr]:
        """Destinations that were neither found down, nor listed or asked in vain for their list."""
        for record in self.fleet.records.values():
            never_listed = record.is_destination and record.never_answered
            if never_listed and self.health.pulse(record.addr).up is not False:
                yield record.addr

    def forget_old(self, now: Now) -> None:
        """Keep every book small: what is too old to decide anything goes."""
        self.san.forget_old(now.mono_ms - FACTS_KEPT_MS)
        self.san.forget_sightings(now.mono_ms - SIGHTINGS_KEPT_MS)
        self.copies.forget_old(now.mono_ms - FACTS_KEPT_MS)
        self.departures.forget_old(now.mono_ms - self.rules.just_deleted_ms)
        self.reservations.forget_old(now.mono_ms)
        self.pauses.forget_old(now.mono_ms)
        self.tasks.forget_old(now.mono_ms)
        self.failures.forget_old(now.mono_ms)


def soonest(*moments_ms: int | None) -> int | None:
    """The first of the moments that there are."""
    return min([moment_ms for moment_ms in moments_ms if moment_ms is not None], default=None)


def words(failure: Failure) -> str:
    """A failure as a person reads it."""
    return failure.detail or failure.trouble.value
