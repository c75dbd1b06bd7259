"""The view: what is known at `now`, as one value.  The kernel and the policies decide by it.

`controller.decide.core` makes a view of its books each time that something may have become possible.  That is
cheap: a view refers to what the books hold, and copies nothing large.  Nobody may change what it refers to.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import NamedTuple

from cfm.backoff import Backoff
from cfm.model import (
    NOBODY,
    Addr,
    Booked,
    CopySeen,
    DeleteKind,
    DeleteOrder,
    File,
    Hits,
    HolderBook,
    Known,
    KnownStock,
    Now,
    Pause,
    Retry,
    SanAnswer,
    ServerView,
    Side,
    Sighting,
    SnapshotFacts,
    Task,
    Transfer,
    Unknown,
    host_of,
)
from cfm.plan.refusals import Refusal


@dataclass(frozen=True, slots=True)
class Rules:
    """The settings that decide, as plain numbers (see `docs/settings.md` for each)."""

    ad_prefixes: tuple[str, ...] = ()
    deletes_on: bool = True
    limit_percent: int = 90
    copy_speed_bps: int = 10_000_000
    streams_per_source: int = 1
    incoming_per_destination: int = 4
    task_timeout_ms: int = 3_600_000
    lease_ms: int = 60_000
    minimum_stay_ms: int = 3_600_000
    metadata_max_age_ms: int = 2 * 86_400_000
    space_deletes_per_minute: int = 30
    trims_per_minute: int = 300
    breaker_percent: int = 25
    confirmation_max_age_ms: int = 10_000
    room_margin_percent: int = 10
    just_deleted_ms: int = 86_400_000
    unknown_grace_ms: int = 3_600_000
    san_rest_ms: int = 5_000
    """Two looks at the SAN that lie so far apart must show the same version of a file before it is copied."""
    san_look_ms: int = 600_000
    """How often each placed file is looked at on the SAN: was it written anew?"""
    room_hold_ms: int = 120_000
    """How long deleted bytes and reserved room stay booked where `/df` does not show them."""

    def pace(self, kind: DeleteKind) -> int:
        """Deletes a minute and server."""
        return self.trims_per_minute if kind is DeleteKind.SURPLUS else self.space_deletes_per_minute


class Departure(NamedTuple):
    """What is remembered of a file that was deleted for room."""

    at_ms: int
    file: File
    """With the rank that it had then."""


class UnknownHits(NamedTuple):
    """The event log cannot be read: who watches what is unknown, which is not nobody."""

    since_ms: int
    last: frozenset[str]
    """Files that were rising or watched at the last reading.  They stay protected for the grace time."""
    is_first_reading: bool = False
    """The log is being read for the first time since our start: any file may be one of them."""


class Absence(NamedTuple):
    """A file that the SAN does not have, by the last answer of the source folders."""

    file: File
    """With the size that was asked for."""
    found_bytes: int
    """The size that it has there instead; 0 where no file has its name."""
    since_ms: int
    looks: int = 1
    """How often this was found."""
    again_ms: int = 0
    """When it is looked up again."""


class Reservation(NamedTuple):
    """Room on one destination, made for one file."""

    file: File
    until_ms: int


class Silence(NamedTuple):
    """Source folders that do not answer."""

    files: Collection[str]
    """What they were asked for in vain.  It is asked for again by a few trials only."""
    others_ms: int
    """Monotonic: before this, no other file is asked for either."""
    nobody_answers: bool
    """No folder has answered since the silence began."""


@dataclass(frozen=True, slots=True)
class ClusterView:
    """Everything known at `now`."""

    now: Now
    rules: Rules
    snapshot: SnapshotFacts | None
    """The accepted metadata in force; None before the first."""
    metadata_age_ms: int
    """How old its numbers are: by the wall clock when they were read, since then by the monotonic clock."""
    servers: Mapping[Addr, ServerView]
    doubtful: tuple[ServerView, ...] = ()
    """Destinations whose list was lost so lately that their files may still be there."""
    first_look: bool = False
    """Some destination has neither answered nor been found silent since our start: it may hold anything."""
    holders: HolderBook = field(default_factory=dict[str, frozenset[Addr]])
    """The destinations that hold a file, by lists that can be trusted.  A file that none holds is absent."""
    stale: Mapping[str, frozenset[Addr]] = field(default_factory=dict)
    """File → the servers whose copy is of another version than the SAN has."""
    hits: Hits = field(default_factory=Hits)
    unknown_hits: UnknownHits | None = None
    """None where the event log can be read, or where none is configured."""
    tasks: Mapping[int, Task] = field(default_factory=dict)
    """Unfinished tasks by id."""
    task_of: Mapping[str, Task] = field(default_factory=dict)
    """The unfinished task of a file."""
    arrived_bytes: Mapping[int, int] = field(default_factory=dict)
    """How much of a task is contained in its destination's last `/df`."""
    freed_sources: AbstractSet[int] = frozenset()
    """Unfinished tasks whose bytes have all left the source."""
    uncut: Mapping[int, Task] = field(default_factory=dict)
    """Ended tasks whose source has not yet said that it cut their stream."""
    order_of: Mapping[str, DeleteOrder] = field(default_factory=dict)
    """The unfinished delete order of a file: never more than one in the node."""
    delete_pauses: Mapping[str, tuple[int, Refusal]] = field(default_factory=dict)
    """Files whose last delete order was dropped: until when they are left alone, and why."""
    san: Mapping[str, Known[SanAnswer]] = field(default_factory=dict)
    san_silence: Silence | None = None
    """None while the source folders answer."""
    sightings: Mapping[str, Sighting] = field(default_factory=dict)
    """Since when the SAN shows the same version of a file."""
    absent: Mapping[str, Absence] = field(default_factory=dict)
    """What the SAN was found not to have, or to have with another size."""
    copies_seen: Mapping[tuple[str, Addr], Known[CopySeen]] = field(default_factory=dict)
    """What servers confirmed about single copies."""
    arrivals: Mapping[tuple[str, Addr], int] = field(default_factory=dict)
    """When a file arrived on a server, where that was seen (monotonic)."""
    departures: Mapping[str, Departure] = field(default_factory=dict)
    retries: Mapping[str, Retry] = field(default_factory=dict)
    pauses: Mapping[Side, Pause] = field(default_factory=dict)
    """Servers and pairs that are to blame for failed copies."""
    suspects: AbstractSet[Side] = frozenset()
    """Servers and pairs that failures speak against; the evidence is not enough yet."""
    landed: Mapping[Addr, list[Booked]] = field(default_factory=dict)
    """Copies that ended after the last `/df` began."""
    gone: Mapping[Addr, list[Booked]] = field(default_factory=dict)
    """Confirmed deletes that `/df` has not shown."""
    stock: Mapping[Addr, KnownStock] = field(default_factory=dict)
    """How much of each destination known files take up, by the last plan and what came and went since."""
    uncounted: AbstractSet[Addr] = frozenset()
    """Destinations that hold files which no plan has counted yet."""
    reserved: Mapping[Addr, Reservation] = field(default_factory=dict)
    deletes_last_minute: Mapping[tuple[Addr, DeleteKind], int] = field(default_factory=dict)
    approved_bytes: Mapping[Addr, int] = field(default_factory=dict)
    """How much an operator let a held breaker free."""
    paused: bool = False
    """Our own state cannot be written: no orders at all."""
    revision: int = 0
    """How often anything that is shown here had changed (see `cfm.revision`)."""

    @property
    def destinations(self) -> list[ServerView]:
        return [server for server in self.servers.values() if server.is_destination]

    @property
    def sources(self) -> list[ServerView]:
        return [server for server in self.servers.values() if server.is_source]

    def used_through(self, server: ServerView) -> Addr:
        """The one address through which a server's disk is used: the lowest one that is usable."""
        if not server.same_disk:
            return server.addr
        others = (self.servers[addr] for addr in server.same_disk if addr in self.servers)
        usable = (other.addr for other in others if other.is_destination and other.usable)
        return min([server.addr, *usable])

    def fails(self, name: str) -> bool:
        """Is the file itself charged with a failed copy?  Then nothing is deleted for it; for a file that
        viewers want now, after a second failure."""
        retry = self.retries.get(name)
        return retry is not None and retry.failures > (name in self.hits.rising)

    def vanished_from(self, name: str, addr: Addr) -> bool:
        """Did a copy of the file vanish from there lately?  That is no matter while viewers want the file."""
        retry = self.retries.get(name)
        if retry is None or name in self.hits.rising:
            return False
        return self.now.mono_ms < retry.vanished.get(addr, 0)

    def asks(self, addr: Addr) -> bool:
        """Has this destination asked for work lately?  One that does not is chosen last."""
        asked_ms = self.servers[addr].asked_work_ms
        return asked_ms is not None and self.now.mono_ms - asked_ms < ASKS_EVERY_MS

    def is_doubted(self, side: Side) -> bool:
        """Have copies failed there lately?  Then others come first, until one is to be tried."""
        pause = self.pauses.get(side)
        if pause is None:
            return side in self.suspects
        return self.now.mono_ms < pause.spared_until_ms

    def is_sick(self, addr: Addr) -> bool:
        """Have copies failed at this destination again and again, for some time?  Its room does not count
        then: what would fit there needs room elsewhere."""
        pause = self.pauses.get(Side(destination=addr))
        return pause is not None and pause.failures > 1 and self.now.mono_ms - pause.since_ms >= SICK_AFTER_MS

    def is_ad(self, name: str) -> bool:
        prefixes = self.rules.ad_prefixes
        return name.startswith(prefixes) and is_ad(name, prefixes)

    def delete_is_paused(self, name: str) -> bool:
        """Was its last delete order dropped a moment ago?"""
        return name in self.delete_pauses and self.now.mono_ms < self.delete_pauses[name][0]

    def san_is_silent(self, name: str) -> bool:
        """Is it useless to ask the source folders for this file now, because they do not answer?"""
        if san_was_silent(self.san.get(name), self.now):
            return True
        silence = self.san_silence
        return silence is not None and (name in silence.files or self.now.mono_ms < silence.others_ms)

    def expects_no_answer(self, name: str) -> bool:
        """Will the source folders say nothing of this file, as far as is known?"""
        silence = self.san_silence
        if silence is not None and (silence.nobody_answers or name in silence.files):
            return True
        return san_was_silent(self.san.get(name), self.now)

    def is_stale(self, name: str, addr: Addr) -> bool:
        """Is the copy there of another version than the SAN has, as far as that is known?"""
        return addr in self.stale.get(name, ())

    def is_placed(self, name: str) -> bool:
        return is_placed(name, self.holders, self.stale)

    def is_unrested(self, name: str) -> bool:
        """May the file on the SAN still be being written?  False where it was not looked at."""
        seen = self.sightings.get(name)
        return seen is not None and not is_at_rest(seen, self.rules.san_rest_ms, self.now)

    def keeps_changing(self, name: str) -> bool:
        """Did the file on the SAN change between two looks, and is it not at rest since then?"""
        return self.is_unrested(name) and self.sightings[name].changes > 0

    def rest_is_over(self, name: str) -> bool:
        """Is the next look at a file due that may still be being written?"""
        seen = self.sightings.get(name)
        return seen is None or self.now.mono_ms >= next_look_ms(seen, self.rules.san_rest_ms)

    def hits_of(self, file: File) -> int:
        """Hits in the window, or else the history's sum."""
        return self.hits.rising.get(file.name, file.hits)

    def may_hold(self, server: ServerView, file: File) -> bool:
        """May a doubtful server hold this file?  Its last list says so, or the history if it has no list."""
        if server.last_list is None:
            return host_of(server.addr) in file.history_ips
        return file.name in server.last_list

    def is_protected(self, name: str) -> bool:
        """Wanted by viewers now, here or at other servers, as far as that is known."""
        return name in self.hits.rising or name in self.hits.watched or self.was_watched(name)

    def was_watched(self, name: str) -> bool:
        """May it have been rising or watched when the event log was lost, less than the grace time ago?"""
        unknown = self.unknown_hits
        if unknown is None or not (unknown.is_first_reading or name in unknown.last):
            return False
        return self.now.mono_ms - unknown.since_ms < self.rules.unknown_grace_ms

    def outranks(self, better: File, worse: File) -> bool:
        """Is `better` so clearly more wanted that `worse` may make room for it?"""
        if self.is_protected(worse.name):
            return False
        if better.name in self.hits.rising:
            return True
        return 100 * worse.rank > (100 + self.rules.room_margin_percent) * better.rank

    def is_young(self, name: str, addr: Addr) -> bool:
        arrived_ms = self.arrivals.get((name, addr))
        return arrived_ms is not None and self.now.mono_ms - arrived_ms < self.rules.minimum_stay_ms


def is_placed(name: str, holders: HolderBook, stale: Mapping[str, frozenset[Addr]]) -> bool:
    """Does a destination hold it that is not known to hold another version of it?"""
    return not holders.get(name, NOBODY) <= stale.get(name, NOBODY)


def is_ad(name: str, prefixes: tuple[str, ...]) -> bool:
    """Does other software own this file?  An empty prefix counts for nothing."""
    return name.startswith(prefixes) and any(prefix and name.startswith(prefix) for prefix in prefixes)


def can_send(source: ServerView, destination: ServerView) -> bool:
    """Do the two fit together?  The built-in transfer copies only from a worker that serves `/content`."""
    return source.features.serves or destination.features.transfer is not Transfer.BUILTIN


ASKS_EVERY_MS = 60_000
"""A destination that has not asked for work for so long may not take it."""
SICK_AFTER_MS = 120_000
"""A destination where copies fail for so long is sick."""
SAN_SILENCE_MS = 5_000
"""The source folders did not answer for a file: they are not asked for it again for so long."""


def san_was_silent(asked: Known[SanAnswer] | None, now: Now) -> bool:
    """Did the source folders not answer for a file a moment ago?"""
    if asked is None or not isinstance(asked.value, Unknown):
        return False
    return now.mono_ms - asked.at_ms <= SAN_SILENCE_MS


LONG_AGO_MS = 2 * 86_400_000
"""A file that was written so long ago by its mtime is at rest at the first look.  No clock that is off by a
day makes a file that is being written look as old."""
LONGEST_LOOK_PAUSE_MS = 120_000
"""The longest pause between two looks at a file that keeps changing."""


def is_at_rest(seen: Sighting, rest_ms: int, now: Now) -> bool:
    """Do two looks some time apart agree?  An mtime in the future says nothing, for or against it."""
    written_ms = seen.found.mtime_ns // 1_000_000
    return seen.last_ms - seen.since_ms >= rest_ms or now.wall_ms - written_ms >= LONG_AGO_MS


def next_look_ms(seen: Sighting, rest_ms: int) -> int:
    """When the SAN is asked again for a file that is not at rest: later each time that it has changed."""
    pauses = Backoff(rest_ms, max(rest_ms, LONGEST_LOOK_PAUSE_MS))
    return seen.since_ms + pauses.pause_ms(seen.changes + 1)
