"""The nouns of the system, as values.

Everything here is immutable, has no behaviour that could wait, and is shared by all rooms.  Words are
those of the field: see `docs/glossary.md`.  Sizes are bytes, durations milliseconds on the monotonic
clock unless a name says otherwise; the wall clock is used for what people and other machines read,
never to measure how long something took.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Generic, NamedTuple, NewType, Protocol, TypeAlias, TypeVar

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

Addr = NewType("Addr", str)
"""A server's `host:port`, spelled exactly as `cfm.yml` spells it; it goes on the wire like this."""
Names: TypeAlias = AbstractSet[str]
"""A set of file names that nobody changes: a `frozenset`, or, for large ones, a `NameColumn`."""


def host_of(addr: Addr) -> str:
    """The host part of an address: what the hit history and old texts call a server's ip."""
    return addr.rpartition(":")[0].strip("[]")


@dataclass(frozen=True, slots=True)
class Now:
    """One reading of both clocks: `mono_ms` to measure with, `wall_ms` (unix) to tell people."""

    mono_ms: int
    wall_ms: int

    @property
    def wall_s(self) -> int:
        return self.wall_ms // 1000


class Known(NamedTuple, Generic[T_co]):
    """Something that was observed, and when its observation *began* (monotonic)."""

    value: T_co
    at_ms: int


@dataclass(frozen=True, slots=True)
class Unknown:
    """Something that was not observed: why, and since when.  Never the same as empty."""

    why: str
    since_ms: int


Observed: TypeAlias = Known[T] | Unknown


@dataclass(frozen=True, slots=True)
class File:
    """A *known* file: graded, and of a positive size in the history."""

    name: str
    rank: int
    """Line position in the grade file, from 1 = most wanted."""
    size_bytes: int
    hits: int = 0
    """Sum of the history's hit list: what it drew in the past."""
    history_ips: tuple[str, ...] = ()
    """Where the history saw it last: a hint, overridden by any list of the server itself."""


@dataclass(frozen=True, slots=True)
class DiskUsage:
    """What a worker's `/df` tells: `used = total - free`; `avail` is without root's reserve."""

    total_bytes: int
    used_bytes: int
    avail_bytes: int

    @property
    def used_percent(self) -> int:
        """As `df` computes it: `100·used/(used+avail)`, rounded half up."""
        return percent_of(self.used_bytes, self.used_bytes + self.avail_bytes)

    def ceiling_bytes(self, limit_percent: int) -> int:
        """The most that may be used: so many bytes are within the limit by `fits`, and not one more."""
        return limit_percent * (self.used_bytes + self.avail_bytes) // 100

    def above_bytes(self, limit_percent: int) -> int:
        """How far it is above its limit; negative where it is below."""
        return self.used_bytes - self.ceiling_bytes(limit_percent)


class DiskBounds(NamedTuple):
    """How full a disk is at most and at least, by its last readings together."""

    fullest: DiskUsage
    """What copies go by."""
    emptiest: DiskUsage | None
    """What deletes go by; None before two readings."""

    def with_at_least(self, used_bytes: int) -> DiskBounds:
        """The same where so much is known to be there, whatever its `/df` says."""
        full = self.fullest
        if used_bytes <= full.used_bytes:
            return self
        avail_bytes = max(0, full.used_bytes + full.avail_bytes - used_bytes)
        return DiskBounds(DiskUsage(full.total_bytes, used_bytes, avail_bytes), self.emptiest)

    def doubted_bytes(self, limit_percent: int) -> int:
        """How much of what is over the limit by the fullest is not so by the emptiest."""
        if self.emptiest is None:
            return ALL_BYTES
        return self.fullest.above_bytes(limit_percent) - self.emptiest.above_bytes(limit_percent)


ALL_BYTES = 1 << 62
"""More than any disk has."""


def percent_of(part: int, whole: int) -> int:
    """`part` in whole percents of `whole`, rounded half up; a disk without room is full."""
    return (200 * part + whole) // (2 * whole) if whole > 0 else 100


def fits(used_bytes: int, avail_bytes: int, more_bytes: int, limit_percent: int) -> bool:
    """Would `more_bytes` keep the disk within its limit?  `100·(used+more) ≤ limit·(used+avail)`."""
    return 100 * (used_bytes + more_bytes) <= limit_percent * (used_bytes + avail_bytes)


def bytes_over(used_bytes: int, avail_bytes: int, limit_percent: int) -> int:
    """How many bytes must go until the disk is at its limit; 0 where it is not strictly above."""
    return max(0, -(-(100 * used_bytes - limit_percent * (used_bytes + avail_bytes)) // 100))


class Status(enum.StrEnum):
    """A task's state inside; the old wire knows only the first three and `timeout` (see `wire`)."""

    READY = "ready"
    WORKING = "working"
    DONE = "done"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Task:
    """One copy of one file from a source to a destination: one attempt, which is never repeated."""

    id: int
    """Creation time in ns, made unique and growing; on the wire a string."""
    status: Status
    created_s: int
    changed_s: int
    file: File
    path: str
    """Full path on the source."""
    source: Addr
    destination: Addr
    copy_speed_bps: int
    reason: str
    """Why it was copied, for people."""
    window_hits: int = 0
    """Hits in the window when it was decided; 0 for a file that is not rising."""
    ended_why: str = ""
    """Why it ended, where it did not end well."""
    san_mtime_s: int | None = None
    """The mtime of the SAN's file when it was decided; None in a task of an earlier cfm."""

    @property
    def version(self) -> Version:
        """The version that the copy will have."""
        return Version(self.file.size_bytes, self.san_mtime_s)


class DeleteKind(enum.StrEnum):
    SURPLUS = "surplus"
    """One copy too many; another copy stays."""
    SPACE = "space"
    """For room on the disk; the SAN keeps the file."""


class OrderStatus(enum.StrEnum):
    """The states of a delete order.  `tasks.lifecycle` has the table of its life."""

    ORDERED = "ordered"
    SENT = "sent"
    UNKNOWN = "unknown"
    CONFIRMED = "confirmed"
    DROPPED = "dropped"


@dataclass(frozen=True, slots=True)
class DeleteOrder:
    """One file to be deleted on one server; durable, with its reason, before its first byte is sent."""

    id: int
    status: OrderStatus
    created_s: int
    changed_s: int
    file: File
    server: Addr
    kind: DeleteKind
    reason: str
    keeper: Addr | None = None
    """Surplus: the server whose copy stays, and confirms it first."""
    room_for: str | None = None
    """Space: the wanted file that room is made for; None where the disk is over its limit."""
    window_hits: int = 0
    ended_why: str = ""


class Transfer(enum.StrEnum):
    BUILTIN = "builtin"
    EXTERNAL = "external"


@dataclass(frozen=True, slots=True)
class WorkerFeatures:
    """What a worker says of itself; an old one says nothing and gets the defaults."""

    ours: bool = False
    version: str = ""
    transfer: Transfer = Transfer.EXTERNAL
    serves: bool = False
    """It serves `/content`, so that a built-in transfer can copy from it."""
    downloads: int = 1
    """How many copies it receives at a time."""
    boot_id: str = ""
    """Changes when the worker starts anew."""
    disk_id: str = ""
    """The id kept in `base_dir`: two addresses with the same one are one disk."""
    probe: str = ""
    """The name of the probe file in `base_dir`; empty where the worker has none, or is an old one."""
    clock_s: int | None = field(default=None, compare=False)
    """What its wall clock showed when it said this (unix seconds); None where it does not tell."""


OLD_WORKER = WorkerFeatures()


class Trouble(enum.StrEnum):
    """Ways in which a request to a worker did not give an answer to be used."""

    REFUSED = "refused"
    TIMEOUT = "timeout"
    BROKEN = "broken"
    STATUS = "status"
    MALFORMED = "malformed"
    ABSURD = "absurd"


@dataclass(frozen=True, slots=True)
class Failure:
    """A request that told nothing.  `status` is the HTTP status where there was one, else 0."""

    trouble: Trouble
    detail: str
    status: int = 0


@dataclass(frozen=True, slots=True)
class Listing:
    """A worker's complete file list."""

    names: Names
    disk_id: str = ""
    probe: str = ""
    """As in `WorkerFeatures`."""
    odd_lines: int = 0
    """Lines that cannot be file names; not counted as files."""
    links: int = 0
    """Links in `base_dir`, which are not listed; an old worker does not say."""
    probes: frozenset[str] = frozenset()
    """All probe files in `base_dir`, also those of other workers."""


@dataclass(frozen=True, slots=True)
class DiskReport:
    """A worker's disk usage, and its own limit where it names one (the lower limit holds)."""

    usage: DiskUsage
    limit_percent: int | None = None
    disk_id: str = ""
    arriving_bytes: int = 0
    """Unfinished downloads, contained in what is used; an old worker does not say."""


@dataclass(frozen=True, slots=True)
class CopySeen:
    """A worker's answer about one file: is it there, of which size, and on which disk."""

    present: bool
    size_bytes: int | None = None
    disk_id: str = ""
    """As in `WorkerFeatures`; empty where it was not told."""


MTIME_TOLERANCE_S = 2
"""Mtimes that differ by no more are the same: some file systems keep only every second one."""


class Version(NamedTuple):
    """Which content a copy has: what the SAN showed of the file that it was made from."""

    size_bytes: int
    mtime_s: int | None = None
    """In whole seconds; None where it is not known."""

    def is_same_as(self, other: Version) -> bool:
        """As far as both are known."""
        if self.size_bytes != other.size_bytes:
            return False
        if self.mtime_s is None or other.mtime_s is None:
            return True
        return abs(self.mtime_s - other.mtime_s) <= MTIME_TOLERANCE_S


@dataclass(frozen=True, slots=True)
class OnSan:
    """A plain file of that name lies in a source folder."""

    path: str
    """The full path of the file, its folder spelled as in the settings."""
    size_bytes: int
    mtime_ns: int = 0
    """When its content was written last, by the clock of the SAN."""

    @property
    def folder(self) -> str:
        return self.path.rpartition("/")[0]

    @property
    def version(self) -> Version:
        return Version(self.size_bytes, self.mtime_ns // 10**9)


@dataclass(frozen=True, slots=True)
class NotOnSan:
    """Every source folder answered and none holds a plain file of that name."""


SanAnswer: TypeAlias = OnSan | NotOnSan | Unknown

ProbeSight: TypeAlias = Mapping[str, str] | Unknown
"""What a search in, above and below one source folder found: name → the folder that it is in."""


@dataclass(frozen=True, slots=True)
class Hits:
    """The event log's sliding window, already reduced to what decides.

    `rising`: hits at the server that reads from the SAN, for files that reached the threshold.
    `watched`: files with as many hits at other servers.
    """

    rising: Mapping[str, int] = field(default_factory=dict)
    watched: frozenset[str] = frozenset()


class LogCondition(enum.StrEnum):
    """How well the event log is followed."""

    READING = "reading"
    """It has not been read to its end yet: since our start, or since it could not be read."""
    FOLLOWING = "following"
    BEHIND = "behind"
    """Lines come faster than they are read."""
    CLOCK_OFF = "clock_off"
    """It is followed by its own clock, which is another one than ours."""
    DOUBLED = "doubled"
    """It is followed, and most of its hits are written twice."""
    SILENT = "silent"
    """It can be read, and nothing has come for as long as hits count; or there is no log yet."""
    GONE = "gone"
    """There was a log and is none any more, or the folder is empty, as one that is not mounted."""
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class LogState:
    """The event log at one moment: what is told of it, and whether hits are known."""

    condition: LogCondition
    since_ms: int
    """When the condition began (monotonic)."""
    why: str = ""
    """One clause for people; empty for a log that is followed."""
    newest_s: int | None = None
    """Time of the newest hit in the log, by its own clock, counted or too old to count."""
    heard_ms: int | None = None
    """When a line came last (monotonic); None before the first."""
    clock_behind_s: int = 0
    """How far the log's clock is behind ours; negative: ahead."""
    behind_bytes: int = 0
    """Not read yet."""

    @property
    def hits_known(self) -> bool:
        """An empty window means that nobody watches: not so while the log cannot be read."""
        return self.condition not in _HITS_UNKNOWN


_HITS_UNKNOWN = (LogCondition.READING, LogCondition.GONE, LogCondition.UNREADABLE)


@dataclass(frozen=True, slots=True)
class Measure:
    """How much a pair of metadata files contains.  A new pair is compared with the last good measure, also
    after a restart."""

    graded_files: int
    history_files: int
    known_files: int


@dataclass(frozen=True, slots=True)
class SnapshotFacts:
    """What is said of a metadata snapshot: which pair it is, and whether it may decide anything."""

    id: str
    read_wall_s: int
    """The older mtime of the pair, unix seconds: how old the numbers are."""
    graded_files: int
    known_files: int
    skipped_lines: Mapping[str, int] = field(default_factory=dict)
    """Reason → lines left out."""
    accepted: bool = True
    why: str | None = None
    """Why it was rejected; None for an accepted one."""
    history_files: int = 0
    shrunken: bool = False
    """It was rejected only because it contains much less than the last good pair.  A person can accept it."""

    @property
    def measure(self) -> Measure:
        return Measure(self.graded_files, self.history_files, self.known_files)


class KnownStock(NamedTuple):
    """The known files on one destination, in bytes.  What else is used there is other software's."""

    known_bytes: int
    """Without ads."""
    may_go_bytes: int
    """Those that may go for room, now or when they have stayed their minimum time."""
    unknown_files: int = 0
    """Files that the server lists, and that are in no grade file or history, ads among them."""

    def changed_by(self, size_bytes: int) -> KnownStock:
        """The stock when a file has come, or, with a negative size, when one has gone."""
        return self._replace(
            known_bytes=max(0, self.known_bytes + size_bytes),
            may_go_bytes=max(0, self.may_go_bytes + size_bytes),
        )


class SanCheck(NamedTuple):
    """What is known of one server's disk and the source folders: is it one of them?"""

    probe: str = ""
    """The name of the probe file by which it is asked; empty where only the server's list can tell."""
    folder: str = ""
    """The source folder that it is, holds or lies in; empty where none is known."""
    suspected: bool = False
    """Only the server's list says so: it has all files of that folder."""
    ruled_out: Mapping[str, int] = MappingProxyType({})
    """Source folder → when it was last found to be another one (monotonic)."""

    originals: bool = False
    """What it lists are originals, and count as no copies."""


NOBODY: Final[frozenset[Addr]] = frozenset()


class HolderBook(Protocol):
    """File → the destinations that hold it.  A dictionary will do where there are few."""

    def __getitem__(self, name: str, /) -> frozenset[Addr]: ...
    def __contains__(self, name: object, /) -> bool: ...
    def get(self, name: str, otherwise: frozenset[Addr], /) -> frozenset[Addr]: ...


class ServerView(NamedTuple):
    """One server as it is known now.  A tuple: every view of the node makes one of each server."""

    addr: Addr
    is_source: bool
    is_destination: bool
    up: bool
    features: WorkerFeatures
    files: Observed[Names]
    """Its own list of this start, while it may be trusted."""
    disk: Observed[DiskUsage]
    """The last reading."""
    limit_percent: int
    bounds: DiskBounds | None = None
    """What the last readings prove together; None where they agree."""
    frees_late: bool = False
    """What was deleted there lately has freed nothing for a long time."""
    last_list: Names | None = None
    """Its last complete list of this start; None where it was never listed."""
    last_chosen_ms: int = 0
    busy_until_ms: int = 0
    """It said that it serves others; ask it again then."""
    no_deletes_until_ms: int = 0
    """It did not carry out its last delete; it is left alone until then."""
    asked_work_ms: int | None = None
    """When it asked for work last, or until when its request waits; None where that was never seen."""
    moving_disk: bool = False
    """Its last answers came from different disks: on which one it is now, its next heartbeat says."""
    same_disk: frozenset[Addr] = frozenset()
    """Servers that are the same disk under another address, by the id that it keeps."""
    look_alikes: frozenset[Addr] = frozenset()
    """Servers that seem to be the same disk under another address."""

    san: SanCheck = SanCheck()
    """Is its disk a source folder?"""

    @property
    def addresses(self) -> frozenset[Addr]:
        """All addresses of its disk."""
        return self.same_disk | {self.addr}

    @property
    def usable(self) -> bool:
        """Up, with its list and its disk known, and no source folder: nothing is decided about a server that
        is not."""
        return (
            not self.san.folder and self.up and isinstance(self.files, Known) and isinstance(self.disk, Known)
        )


Way: TypeAlias = tuple[Addr, Addr]
"""From this source to that destination."""


class Side(NamedTuple):
    """Who may be to blame for a failed copy: a source, a destination, or the pair of both."""

    source: Addr = Addr("")
    destination: Addr = Addr("")


def sides_of(way: Way) -> tuple[Side, Side, Side]:
    """Whom a copy on this way may speak against: its source, its destination, and the pair."""
    source, destination = way
    return Side(source=source), Side(destination=destination), Side(source, destination)


class Pause(NamedTuple):
    """A source, a destination or a pair that is to blame for failed copies, and is left alone for a while."""

    failures: int
    """Pauses in a row, without a success in between."""
    until_ms: int
    """Nothing is tried before; after it one task alone, until something arrives."""
    spared_until_ms: int
    """Its failures cost much time: nothing is tried before where another server could do it."""
    since_ms: int
    why: str

    @property
    def ends_ms(self) -> int:
        return max(self.until_ms, self.spared_until_ms)


class Retry(NamedTuple):
    """What is remembered of a file whose copies failed."""

    failures: int = 0
    """Failures that the file itself is charged for."""
    not_before_ms: int = 0
    """Until then a way that failed is left out for it; after a second failure, every way is."""
    avoid: frozenset[Way] = frozenset()
    """The ways on which it failed."""
    vanished: Mapping[Addr, int] = {}
    """Destinations from which its copy vanished, and until when it is not copied there."""


class Sighting(NamedTuple):
    """The version of a file that the last looks at the SAN agreed on."""

    found: OnSan
    since_ms: int
    """When the first of these looks began (monotonic)."""
    last_ms: int
    """When the last of them began."""
    changes: int = 0
    """How many versions in a row did not rest for long enough."""


class Booked(NamedTuple):
    """Bytes that a disk's last `/df` does not show yet."""

    at_ms: int
    size_bytes: int
    name: str = ""
    """The file's."""


def sum_bytes(booked: Iterable[Booked]) -> int:
    return sum(one.size_bytes for one in booked)
