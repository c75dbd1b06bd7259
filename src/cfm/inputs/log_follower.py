"""Follows the load balancer's event log: reads what is new, and nothing twice.

`LogReader` is the part that touches the disk, in a thread, a piece at a time: it follows the newest two
`EventLog[YYYYMMDD].log`, survives midnight, rotation, truncation and replacement, and begins a file where
the window begins (the logs are gigabytes).  `LogFollower` is the edge on the event loop: it owns the
window, so that hits grow old also while the disk does not answer.  `event_log` says what lines mean.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import structlog

from cfm.inputs.disk import Disk, OpenFile, RealDisk, Version
from cfm.inputs.event_log import Hit, HitWindow, Skipped, parse_line, times_in
from cfm.inputs.lines import MAX_LINE_BYTES
from cfm.inputs.threads import DaemonThreads
from cfm.model import Hits, Now

log = structlog.get_logger(__name__)

PIECE_BYTES = 256 * 1024
"""Read and handed over at a time: some thousand lines, a few milliseconds of the event loop."""
PROBE_BYTES = 64 * 1024
BACKLOG_BYTES = 64 * 1024 * 1024
"""When more than this is unread, what is older than the window is jumped over."""
FINGERPRINT_BYTES = 256

POLL_S = 0.25
PATIENCE_S = 5.0

_log_name = re.compile(r"EventLog\[([0-9]{8})\]\.log")


@dataclass(frozen=True, slots=True)
class Batch:
    """What one piece of reading brought."""

    hits: tuple[Hit, ...] = ()
    skipped: Mapping[str, int] = field(default_factory=dict)
    behind_bytes: int = 0
    """Still unread, whole lines or not."""
    more: bool = False
    """There is more that can be read at once."""
    files: tuple[str, ...] = ()
    trouble: str | None = None


@dataclass(slots=True)
class _Followed:
    """How far one log has been read."""

    path: str
    seen: Version | None = None
    """The state in which it was last looked into; None before that."""
    offset: int = 0
    fingerprint: bytes = b""
    """What stood right before `offset`: tells a log that grew from one that was written anew."""
    inside_line: bool = False
    """`offset` is within a line that is not wanted: what comes before its end is dropped."""


class LogReader:
    """Reads a folder's logs; for one thread at a time.  `OSError`: the folder cannot be read."""

    def __init__(self, folder: str, our_ip: str, disk: Disk) -> None:
        self._folder, self._our_ip, self._disk = folder, our_ip, disk
        self._followed: dict[str, _Followed] = {}

    def read_some(self, oldest_s: int, wall_s: int) -> Batch:
        """The next piece of what is new, older log first.  Events before `oldest_s` are not wanted."""
        names = newest_logs(self._disk.plain_names(self._folder), wall_s)
        self._followed = {name: self._followed.get(name) or self._new(name) for name in names}
        skipped: Counter[str] = Counter()
        troubles: list[str] = []
        for name, followed in self._followed.items():
            try:
                piece = self._piece(followed, oldest_s, skipped)
            except FileNotFoundError:
                continue
            except OSError as error:
                troubles.append(f"{name}: {error.strerror}")
                continue
            if piece is not None:
                hits = tuple(self._hits(piece, skipped))
                return Batch(hits, skipped, self._behind_bytes(), more=True, files=tuple(names))
        trouble = "; ".join(troubles) or None
        return Batch((), skipped, self._behind_bytes(), files=tuple(names), trouble=trouble)

    def _new(self, name: str) -> _Followed:
        return _Followed(f"{self._folder}/{name}")

    def _behind_bytes(self) -> int:
        return sum(max(0, one.seen.size_bytes - one.offset) for one in self._followed.values() if one.seen)

    def _hits(self, piece: bytes, skipped: Counter[str]) -> list[Hit]:
        hits: list[Hit] = []
        for line in piece.split(b"\n"):
            parsed = parse_line(line, self._our_ip)
            if isinstance(parsed, Hit):
                hits.append(parsed)
            elif parsed is not None:
                skipped[parsed] += 1
        return hits

    def _piece(self, followed: _Followed, oldest_s: int, skipped: Counter[str]) -> bytes | None:
        """The next whole lines of one log; None where there are none."""
        if self._disk.version(followed.path) == followed.seen and not self._unread(followed):
            return None
        with self._disk.open(followed.path) as file:
            version = file.version()
            if not _is_grown(followed, version, file):
                _begin(followed, file, version.size_bytes, oldest_s)
            elif version.size_bytes - followed.offset > BACKLOG_BYTES:
                _skip_to(followed, find_start(file, version.size_bytes, oldest_s))
            followed.seen = version
            return _next_lines(followed, file, skipped)

    def _unread(self, followed: _Followed) -> bool:
        """Is a whole piece left from last time?  (Less than that is a torn line, waiting for its end.)"""
        return followed.seen is not None and followed.seen.size_bytes - followed.offset >= MAX_LINE_BYTES


def newest_logs(names: object, wall_s: int) -> list[str]:
    raise NotImplementedError
