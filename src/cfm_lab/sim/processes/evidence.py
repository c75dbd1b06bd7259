"""What a controller could know: every answer that really reached it, kept apart from its own books.

The invariants hold decisions against this, and not against the product's own view.  So a mistake in a book
cannot excuse itself.  All times are of the controller's monotonic clock.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from cfm.controller.decide import events as ev
from cfm.controller.decide.state import NodeConfig
from cfm.model import (
    Addr,
    CopySeen,
    DiskReport,
    DiskUsage,
    Failure,
    Hits,
    Listing,
    LogState,
    Names,
    NotOnSan,
    Now,
    OnSan,
    SanAnswer,
    SnapshotFacts,
    WorkerFeatures,
)
from cfm.plan.view import Rules

READINGS_KEPT = 200


class DiskReading(NamedTuple):
    """What a `/df` showed."""

    asked_ms: int
    usage: DiskUsage
    settled_bytes: int
    """What was used, without unfinished downloads."""
    still_since_ms: int
    """When the first of the readings was asked for that showed just as much, up to this one."""


class ServerEvidence:
    """The last answers of one server."""

    __slots__ = (
        "_first_ms", "_told", "disk", "disk_asked_ms", "disk_ids", "features", "list_asked_ms",
        "list_failed_ms", "lists", "misses", "names", "own_limit_percent", "readings", "up",
    )  # fmt: skip

    def __init__(self) -> None:
        self.features: WorkerFeatures | None = None
        self.up = False
        self.misses = 0
        self.names: Names | None = None
        """Its last list since the start, also if that is in doubt by now."""
        self.list_asked_ms = 0
        self.list_failed_ms: int | None = None
        """Since when its list is in doubt: it failed, or the server went down."""
        self.lists = 0
        self.disk: DiskReport | None = None
        self.disk_asked_ms = 0
        self.readings: deque[DiskReading] = deque(maxlen=READINGS_KEPT)
        """Its last readings of this disk."""
        self._first_ms = 0
        """When the first of them all was asked for."""
        self.own_limit_percent: int | None = None
        """Its limit as it last told it, also if its disk is unknown by now."""
        self.disk_ids: frozenset[str] = frozenset()
        """The ids of all disks that it may be on."""
        self._told: dict[type[ev.Event], str] = {}
        """Kind of answer → the disk that the last such answer came from, since a heartbeat named another."""

    def introduced(self, features: WorkerFeatures) -> None:
        """A heartbeat told what it is, and on which disk."""
        if self.features is not None and self.features.disk_id != features.disk_id:
            self.own_limit_percent = None
            self._told.clear()
        self.features = features
        self._on_disks()

    def told_disk(self, by: type[ev.Event], disk_id: str) -> None:
        """An answer came from that disk."""
        self._told[by] = disk_id
        self._on_disks()

    def listed(self, disk_id: str) -> None:
        """A list came from that disk.  It replaces what answers about single copies told of disks."""
        self._told.pop(ev.CopyAnswer, None)
        self.told_disk(ev.ListAnswer, disk_id)

    def _on_disks(self) -> None:
        itself = self.features.disk_id if self.features is not None else ""
        self.disk_ids = frozenset({itself, *self._told.values()} - {""})

    def measured(self, report: DiskReport, asked_ms: int) -> None:
        """A reading came."""
        if self.disk is not None and self.disk.disk_id != report.disk_id:
            self.readings.clear()
        settled_bytes = report.usage.used_bytes - report.arriving_bytes
        last = self.readings[-1] if self.readings else None
        self._first_ms = self._first_ms if last is not None else asked_ms
        still = last is not None and last.settled_bytes == settled_bytes
        since_ms = last.still_since_ms if last is not None and still else asked_ms
        self.readings.append(DiskReading(asked_ms, report.usage, settled_bytes, since_ms))
        self.disk, self.disk_asked_ms = report, asked_ms

    @property
    def unmoved_since_ms(self) -> int:
        """When the first of its last readings was asked for that show just as much."""
        return self.readings[-1].still_since_ms if self.readings else self.disk_asked_ms

    @property
    def never_moved(self) -> bool:
        """Do all readings show just as much?  Then it may have stood still before the first of them."""
        return self.unmoved_since_ms == self._first_ms

    def may_hold(self, name: str, since_ms: int) -> bool:
        """May a file be there that arrived then?  Not if a later list is without it."""
        return self.names is None or name in self.names or self.list_asked_ms < since_ms

    @property
    def usable(self) -> bool:
        listed = self.names is not None and self.list_failed_ms is None
        return self.up and listed and self.disk is not None


class Evidence:
    """Everything one running controller was told."""

    def __init__(self, config: NodeConfig | None = None, now: Now = Now(0, 0)) -> None:  # noqa: B008 - a value
        self.started = now
        self.started_ms = now.mono_ms
        self.rules = config.rules if config else Rules()
        self.limit_raised_ms = 0
        """When an operator raised the limit last."""
        self.destinations = config.destinations if config else ()
        self.servers: dict[Addr, ServerEvidence] = {}
        if config is not None:
            self.servers = {addr: ServerEvidence() for addr in (*config.sources, *config.destinations)}
        self.san: dict[str, tuple[SanAnswer, int]] = {}
        self.same_since: dict[str, tuple[OnSan, int, int]] = {}
        """File → what the last looks at the SAN agreed on, and when the first and the last of them began."""
        self.copies: dict[tuple[str, Addr], tuple[CopySeen, int]] = {}
        self.hits = Hits()
        self.hits_lost_ms: int | None = None
        """Since when the event log cannot be read; None where it can."""
        self.last_watched: frozenset[str] = frozenset()
        """Who was rising or watched when the log was lost."""
        self.snapshot: SnapshotFacts | None = None
        self.snapshot_ms = 0
        self.store_trouble = False
        self.confirmed = False
        """Has an operator released a breaker since this cfm began, or before it, as its state says?"""
        self.misses_to_down = config.misses_to_down if config else 2

    def note(self, event: ev.Event, now: Now) -> None:
        """An event is about to be handled."""
        if isinstance(event, ev.HeartbeatAnswer):
            self._heartbeat(self.servers[event.addr], event.answer, now)
        elif isinstance(event, ev.ListAnswer):
            self._listed(event.addr, event.asked_ms, event.answer, now)
        elif isinstance(event, ev.DiskAnswer):
            self._measured(self.servers[event.addr], event)
        else:
            self._note_other(event, now)

    def _note_other(self, event: ev.Event, now: Now) -> None:
        if isinstance(event, ev.SanAnswers):
            for name, found in event.answers.items():
                self.san[name] = (found, event.asked_ms)
                self._looked(name, found, event.asked_ms)
        elif isinstance(event, ev.CopyAnswer):
            if not isinstance(event.answer, Failure):
                self.copies[event.name, event.addr] = (event.answer, event.asked_ms)
                self.servers[event.addr].told_disk(ev.CopyAnswer, event.answer.disk_id)
        elif isinstance(event, ev.HitsChanged):
            self.hits = event.hits
        elif isinstance(event, ev.LogChanged):
            self._log_changed(event.state, now)
        elif isinstance(event, ev.SnapshotAccepted):
            self.snapshot, self.snapshot_ms = event.facts, now.mono_ms
        elif isinstance(event, ev.RulesChanged):
            self._rules_changed(event.rules, now)
        elif isinstance(event, ev.StoreTrouble | ev.StoreRecovered):
            self.store_trouble = isinstance(event, ev.StoreTrouble)

    def _rules_changed(self, rules: Rules, now: Now) -> None:
        if rules.limit_percent > self.rules.limit_percent:
            self.limit_raised_ms = now.mono_ms
        self.rules = rules

    def _looked(self, name: str, found: SanAnswer, asked_ms: int) -> None:
        before = self.same_since.get(name)
        if isinstance(found, OnSan) and (before is None or asked_ms > before[2]):
            since_ms = before[1] if before is not None and before[0] == found else asked_ms
            self.same_since[name] = (found, since_ms, asked_ms)
        elif isinstance(found, NotOnSan):
            self.same_since.pop(name, None)

    def rested(self, name: str, now: Now) -> bool:
        """Did two looks at the SAN some time apart show the same file, or was it written days ago?"""
        found, since_ms, last_ms = self.same_since.get(name, (None, 0, 0))
        if found is None:
            return False
        days_ago = now.wall_ms - found.mtime_ns // 1_000_000 >= 2 * 86_400_000
        return days_ago or last_ms - since_ms >= self.rules.san_rest_ms

    def _log_changed(self, log: LogState, now: Now) -> None:
        if log.hits_known:
            self.hits_lost_ms, self.last_watched = None, frozenset()
        elif self.hits_lost_ms is None:
            self.hits_lost_ms = now.mono_ms
            self.last_watched = frozenset(self.hits.rising) | self.hits.watched

    def _measured(self, heard: ServerEvidence, event: ev.DiskAnswer) -> None:
        if isinstance(event.answer, Failure):
            heard.disk = None
        elif heard.up:
            heard.measured(event.answer, event.asked_ms)
            heard.own_limit_percent = event.answer.limit_percent
            heard.told_disk(ev.DiskAnswer, event.answer.disk_id)

    def _heartbeat(self, heard: ServerEvidence, answer: WorkerFeatures | Failure, now: Now) -> None:
        if isinstance(answer, Failure):
            heard.misses += 1
            if heard.misses >= self.misses_to_down:
                heard.up, heard.disk = False, None
                if heard.list_failed_ms is None:
                    heard.list_failed_ms = now.mono_ms
        else:
            heard.introduced(answer)
            heard.up, heard.misses = True, 0

    def _listed(self, addr: Addr, asked_ms: int, answer: Listing | Failure, now: Now) -> None:
        heard = self.servers[addr]
        if isinstance(answer, Failure):
            if heard.list_failed_ms is None:
                heard.list_failed_ms = now.mono_ms
        elif heard.up:  # a server that counts as down is not believed before a heartbeat says that it is up
            heard.names, heard.list_asked_ms, heard.list_failed_ms = answer.names, asked_ms, None
            heard.lists += 1
            heard.listed(answer.disk_id)

    def holders(self, name: str) -> list[Addr]:
        """Servers that are up, and whose last list shows the file and is not in doubt."""
        return [
            addr
            for addr, heard in self.servers.items()
            if heard.up and heard.names is not None and heard.list_failed_ms is None and name in heard.names
        ]

    # ── one disk under several addresses ────────────────────────────────────────────────────────────────

    def addresses(self, addr: Addr) -> list[Addr]:
        """All addresses of the disk at `addr`, by the ids that our workers tell."""
        ids = self._disk_ids(addr)
        same = [one for one in self.destinations if not ids.isdisjoint(self._disk_ids(one))]
        return same or [addr]

    def used_through(self, addr: Addr) -> Addr:
        """The one address through which that disk has to be used: the lowest usable one."""
        return min((one for one in self.addresses(addr) if self.servers[one].usable), default=addr)

    def limit_percent(self, addr: Addr) -> int:
        """The lowest limit that cfm or a worker names for that disk."""
        own = (self.servers[one].own_limit_percent for one in self.addresses(addr))
        return min(self.rules.limit_percent, *(limit for limit in own if limit), 100)

    def _disk_ids(self, addr: Addr) -> frozenset[str]:
        heard = self.servers.get(addr)
        return heard.disk_ids if heard is not None else frozenset()
