"""The truth about the disks, and whether the programs keep their promises.

`look` lists the files on all disks.  `Truth` compares each look with the last one, with what cfm says that it
did, and with the right content of every file.  It trusts no program: a violation is something that was seen
on a disk.  All of it is pure except `look` and `digest_of`.  Neighbour: `play` brings the looks, decisions
and digests.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

import xxhash

from cfm.demo.library import AD_PREFIX
from cfm.model import Addr

TEMPORARY: Final = "temp.downloaded"
TOLD_WITHIN_S: Final = 5.0
"""cfm reports a copy or a delete only when it is settled.  The disks may show it earlier by so much."""
BACK_FOR_S: Final = 10.0
"""A server that has been back for less than this may hold files that were copied elsewhere meanwhile."""
Event: TypeAlias = Mapping[str, Any]


class CopyPlace(NamedTuple):
    """A file on a server."""

    server: Addr
    name: str


@dataclass(frozen=True, slots=True)
class DiskLook:
    """What one disk holds: the visible files with their sizes, and the bytes of unfinished copies."""

    files: Mapping[str, int]
    arriving_bytes: int

    @property
    def used_bytes(self) -> int:
        return sum(self.files.values()) + self.arriving_bytes


DiskLooks: TypeAlias = Mapping[Addr, DiskLook]


def look(disks: Mapping[Addr, Path]) -> DiskLooks:
    """Look at all disks."""
    return {
        addr: DiskLook(dict(_files(disk)), sum(size for _, size in _files(disk / TEMPORARY)))
        for addr, disk in disks.items()
    }


def _files(folder: Path) -> Iterator[tuple[str, int]]:
    try:
        entries = list(os.scandir(folder))
    except FileNotFoundError:
        return
    for entry in entries:
        try:
            if entry.is_file(follow_symlinks=False) and not entry.name.startswith("."):
                yield entry.name, entry.stat(follow_symlinks=False).st_size
        except FileNotFoundError:
            continue


def digest_of(path: Path) -> str | None:
    """The digest of a file's content; None where the file has vanished meanwhile."""
    try:
        return xxhash.xxh3_128_hexdigest(path.read_bytes())
    except FileNotFoundError:
        return None


@dataclass(slots=True)
class Truth:
    """What was seen on the disks since the start, and which promises were broken."""

    quotas: Mapping[Addr, int]
    limit_percent: int
    digests: Mapping[str, str]
    sizes: Mapping[str, int]
    streams_per_source: int = 1
    files_delivered: int = 0
    bytes_delivered: int = 0
    files_deleted: int = 0
    violations: list[str] = field(default_factory=list)
    disks: DiskLooks = field(default_factory=dict)
    """The newest look."""
    _before: DiskLooks = field(default_factory=dict)
    _unexplained: dict[CopyPlace, float] = field(default_factory=dict)
    """Files that vanished, and when that was seen, until cfm reports their deletes."""
    _explained: dict[CopyPlace, float] = field(default_factory=dict)
    """Deletes that cfm reported before the files were seen to vanish."""
    _unseen: dict[CopyPlace, float] = field(default_factory=dict)
    """Copies that cfm reported, and that were not seen yet."""
    _arrived: dict[CopyPlace, float] = field(default_factory=dict)
    _up_since: dict[Addr, float] = field(default_factory=dict)
    _rising: list[frozenset[str]] = field(default_factory=list)
    _untold_until_s: float = -math.inf

    # ── what comes in ───────────────────────────────────────────────────────────────────────────────────

    def begin(self, disks: DiskLooks) -> None:
        """Take the disks as they are at the start."""
        self.disks = self._before = disks

    def saw(self, disks: DiskLooks, at_s: float) -> list[CopyPlace]:
        """Take a new look.  Returns the files that appeared; their content must be compared next."""
        self._before, self.disks = self.disks, disks
        appeared = [place for place in _places(disks) if place.name not in self._before[place.server].files]
        gone = [place for place in _places(self._before) if place.name not in disks[place.server].files]
        for place in appeared:
            self._appeared(place, at_s)
        for place in gone:
            self._went(place, at_s)
        self._limits(disks)
        self._overdue(at_s)
        return appeared

    def read(self, place: CopyPlace, digest: str | None) -> None:
        """A file that appeared was read."""
        if digest is not None and digest != self.digests.get(place.name):
            self.violations.append(f"{place.name} on {place.server} has the wrong content")

    def told(self, event: Event, at_s: float) -> None:
        """cfm reports something that it did."""
        what = event.get("event")
        if what == "file stopped rising":  # the statuses before it are out of date
            self._rising = [names - {event["file"]} for names in self._rising]
        if what not in ("deleted file", "copied file"):
            return
        place = CopyPlace(event["server"], event["file"])
        if what == "deleted file":
            self._deleted(place, str(event["kind"]), at_s)
        else:
            self._copied(place, at_s)

    def status(self, status: Event) -> None:
        """cfm reports what it is doing.  No source may send more streams than it is allowed to."""
        streams = Counter(one["source"] for one in status["transfers"] if not one["received"])
        for source, number in streams.items():
            if number > self.streams_per_source:
                self.violations.append(f"{source} sends {number} files at a time")
        self._rising = [*self._rising[-1:], frozenset(one["file"] for one in status["rising"])]

    def died(self, server: Addr) -> None:
        """The server died.  Its files count as lost until it is back."""
        self._up_since[server] = math.inf

    def came_back(self, server: Addr, at_s: float) -> None:
        self._up_since[server] = at_s

    def leader_died(self, until_s: float) -> None:
        """What the last leader did in its last moment may never be reported, or late."""
        self._untold_until_s = until_s

    # ── what is promised ────────────────────────────────────────────────────────────────────────────────

    def _appeared(self, place: CopyPlace, at_s: float) -> None:
        size = self.disks[place.server].files[place.name]
        self.files_delivered += 1
        self.bytes_delivered += size
        self._arrived[place] = at_s
        self._unseen.pop(place, None)
        if size != self.sizes.get(place.name):
            self.violations.append(f"{place.name} on {place.server} is visible with {size} bytes")

    def _went(self, place: CopyPlace, at_s: float) -> None:
        self.files_deleted += 1
        if place.name.startswith(AD_PREFIX):
            self.violations.append(f"the ad {place.name} on {place.server} was deleted")
        if self._explained.pop(place, None) is None:
            self._unexplained[place] = at_s

    def _deleted(self, place: CopyPlace, kind: str, at_s: float) -> None:
        came_and_went = self._unseen.pop(place, None) is not None  # it came and vanished between two looks
        if not came_and_went and self._unexplained.pop(place, None) is None:
            self._explained[place] = at_s
        told = any(one.name == place.name and one.server != place.server for one in self._unseen)
        if kind == "surplus" and not self._others(place) and not told:  # `told`: a copy since the last look
            self.violations.append(f"the last copy of {place.name} was deleted on {place.server} as surplus")
        if kind == "space" and len(self._rising) == 2 and all(place.name in names for names in self._rising):
            self.violations.append(f"{place.name} was deleted on {place.server} for space while it rises")

    def _copied(self, place: CopyPlace, at_s: float) -> None:
        if place.name not in self.disks[place.server].files and place not in self._arrived:
            self._unseen[place] = at_s
        doubled = [s for s in self._others(place) if at_s - self._up_since.get(s, 0.0) > BACK_FOR_S]
        if doubled and all(place.name in self._before[server].files for server in doubled):
            self.violations.append(f"{place.name} was copied to {place.server}, but {doubled[0]} holds it")

    def _others(self, place: CopyPlace) -> list[Addr]:
        """The other servers that hold this file, now or at the last look."""
        return [
            server
            for server in self.disks
            if server != place.server
            and (place.name in self.disks[server].files or place.name in self._before[server].files)
        ]

    def _limits(self, disks: DiskLooks) -> None:
        """No disk may be filled above its limit.  (It may already be above it at the start.)"""
        for server in self._over(disks):
            grown = disks[server].used_bytes > self._before[server].used_bytes
            if grown:
                self.violations.append(f"{server} was filled above its limit")

    def _overdue(self, at_s: float) -> None:
        for place, since_s in list(self._unexplained.items()):
            if at_s - since_s > TOLD_WITHIN_S:
                del self._unexplained[place]
                if since_s > self._untold_until_s:
                    self.violations.append(
                        f"{place.name} vanished from {place.server}, and cfm reported no delete"
                    )
        for place, since_s in list(self._unseen.items()):
            if at_s - since_s > TOLD_WITHIN_S:
                del self._unseen[place]
                self.violations.append(
                    f"cfm reported a copy of {place.name} to {place.server}, but it is not there"
                )
        for book in (self._explained, self._arrived):
            for place in [place for place, since_s in book.items() if at_s - since_s > 2 * TOLD_WITHIN_S]:
                del book[place]

    # ── how it stands ───────────────────────────────────────────────────────────────────────────────────

    def holders(self, names: Collection[str] | None = None) -> dict[str, list[Addr]]:
        """File → the servers that hold it."""
        found: dict[str, list[Addr]] = {}
        for place in _places(self.disks):
            if names is None or place.name in names:
                found.setdefault(place.name, []).append(place.server)
        return found

    def surplus_copies(self) -> int:
        """How many copies there are beyond the first one of each file.  Ads do not count."""
        return sum(
            len(servers) - 1 for name, servers in self.holders().items() if not name.startswith(AD_PREFIX)
        )

    def over_limit_servers(self) -> int:
        return len(self._over(self.disks))

    def _over(self, disks: DiskLooks) -> list[Addr]:
        return [
            addr
            for addr, disk in disks.items()
            if 100 * disk.used_bytes > self.limit_percent * max(self.quotas[addr], disk.used_bytes)
        ]


def _places(disks: DiskLooks) -> Iterable[CopyPlace]:
    return (CopyPlace(addr, name) for addr, disk in disks.items() for name in disk.files)
