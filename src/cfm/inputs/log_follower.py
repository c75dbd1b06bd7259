"""Follows the load balancer's event log: it reads everything that is new, and nothing twice.

`LogReader` reads from the disk, in a thread, one piece at a time.  It follows the newest two
`EventLog[YYYYMMDD].log`, and survives midnight, rotation, truncation and replacement.  It starts a file where
the window begins, because the logs have gigabytes.  `LogFollower` runs in the event loop and owns the window,
so that hits grow old even while the disk does not answer.  `event_log` says what the lines mean.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import structlog

from cfm.inputs.event_log import Hit, HitWindow, Skipped, parse_line, times_in
from cfm.inputs.file_system import FileSystem, FileVersion, OpenFile, RealFileSystem
from cfm.inputs.lines import MAX_LINE_BYTES
from cfm.model import Hits, Now
from cfm.threads import ThreadPool

log = structlog.get_logger(__name__)

PIECE_BYTES = 256 * 1024
"""What is read and handed over at a time: some thousand lines, which cost the event loop a few
milliseconds."""
PROBE_BYTES = 64 * 1024
BACKLOG_BYTES = 64 * 1024 * 1024
"""When more than this is unread, the part that is older than the window is skipped."""
FINGERPRINT_BYTES = 256

POLL_S = 0.25
PATIENCE_S = 5.0

_log_name = re.compile(r"EventLog\[([0-9]{8})\]\.log")


@dataclass(frozen=True, slots=True)
class Batch:
    """The result of reading one piece."""

    hits: tuple[Hit, ...] = ()
    skipped: Mapping[str, int] = field(default_factory=dict)
    behind_bytes: int = 0
    """What is still unread, including unfinished lines."""
    more: bool = False
    """There is more to read at once."""
    files: tuple[str, ...] = ()
    trouble: str | None = None


@dataclass(slots=True)
class _Followed:
    """How far one log has been read."""

    path: str
    seen: FileVersion | None = None
    """The version that was last opened; None before the first time."""
    offset: int = 0
    drained: bool = False
    """The last reading came to the end.  There is more only when the file changes."""
    fingerprint: bytes = b""
    """The bytes right before `offset`.  They show whether a log grew or was written anew."""
    inside_line: bool = False
    """`offset` may be within a line that is not wanted.  Everything up to the end of this line is dropped."""

    def begin(self, offset: int) -> None:
        self.offset, self.fingerprint = offset, b""
        self.inside_line = offset > 0

    def begin_later(self, offset: int) -> None:
        if offset > self.offset:
            self.begin(offset)

    def advance(self, read: bytes) -> None:
        self.offset += len(read)
        self.fingerprint = (self.fingerprint + read)[-FINGERPRINT_BYTES:]


class LogReader:
    """Reads the logs of a folder, in one thread at a time.  `OSError` means that the folder cannot be
    read."""

    def __init__(
        self, folder: str, our_ip: str, file_system: FileSystem, backlog_bytes: int = BACKLOG_BYTES
    ) -> None:
        self._folder, self._our_ip, self._file_system = folder, our_ip, file_system
        self._backlog_bytes = backlog_bytes
        self._followed: dict[str, _Followed] = {}

    def read_some(self, oldest_s: int, wall_s: int) -> Batch:
        """Read the next new piece, from the older log first.  Events before `oldest_s` are not wanted."""
        names = newest_logs(self._file_system.plain_names(self._folder), wall_s)
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
        """The next whole lines of one log; None where nothing is new.  They may all be older than wanted."""
        if followed.drained and self._file_system.version(followed.path) == followed.seen:
            return None
        with self._file_system.open(followed.path) as file:
            version = file.version()
            size_bytes = version.size_bytes
            if not _is_grown(followed, version, file):
                log.info("reading event log from its window", file=followed.path, size_bytes=size_bytes)
                followed.begin(find_start(file, size_bytes, oldest_s))
            elif size_bytes - followed.offset > self._backlog_bytes:
                followed.begin_later(find_start(file, size_bytes, oldest_s))
            followed.seen = version
            return _next_lines(followed, file, skipped)


def newest_logs(names: Iterable[str], wall_s: int) -> list[str]:
    """The two logs to follow, the older one first.  A date that is still to come in every time zone is
    wrong."""
    tomorrow = datetime.fromtimestamp(wall_s, UTC) + timedelta(days=1)
    dated = sorted(name for name in names if _log_name.fullmatch(name))
    possible = [name for name in dated if name <= f"EventLog[{tomorrow:%Y%m%d}].log"]
    return (possible or dated)[-2:]


def find_start(file: OpenFile, size_bytes: int, oldest_s: int) -> int:
    """An offset before the first event that is wanted.  The search starts at the end, in growing steps."""
    step = PIECE_BYTES
    while (offset := size_bytes - step) > 0:
        newest_s = max(times_in(file.read_at(offset, PROBE_BYTES)), default=oldest_s)
        if newest_s < oldest_s:
            return offset
        step *= 2
    return 0


def _is_grown(followed: _Followed, version: FileVersion, file: OpenFile) -> bool:
    """Is this the log that was read before, perhaps with more at its end?  (A copy of it counts as the
    same.)"""
    before = followed.fingerprint
    return (
        followed.seen is not None
        and version.size_bytes >= followed.offset
        and file.read_at(followed.offset - len(before), len(before)) == before
    )


def _next_lines(followed: _Followed, file: OpenFile, skipped: Counter[str]) -> bytes | None:
    piece = file.read_at(followed.offset, PIECE_BYTES)
    followed.drained = len(piece) < PIECE_BYTES
    start = piece.find(b"\n") + 1 if followed.inside_line else 0
    end = piece.rfind(b"\n") + 1
    if end:
        followed.inside_line = False
        followed.advance(piece[:end])
        return piece[start:end]
    if len(piece) > MAX_LINE_BYTES:  # the line is too long: drop it up to its end
        skipped[Skipped.TOO_LONG] += not followed.inside_line
        followed.inside_line = True
    if followed.inside_line:
        followed.advance(piece)
    return None if followed.drained else b""


@dataclass(frozen=True, slots=True)
class LogStatus:
    """How far the event log has been followed."""

    files: tuple[str, ...] = ()
    last_s: int | None = None
    """The time of the last event that counted, by the log's clock."""
    lag_s: int | None = None
    """How far this is behind our wall clock: nothing happened, the log comes late, or the clocks differ."""
    behind_bytes: int = 0
    skipped: Mapping[str, int] = field(default_factory=dict)
    trouble: str | None = None


class LogFollower:
    """Keeps the window up to date for as long as `run` runs.

    `on_hits` is called in the event loop whenever the hits in the window have changed.
    """

    def __init__(
        self,
        folder: Path,
        our_ip: str,
        *,
        term_s: int,
        base: int,
        clock: Callable[[], Now],
        on_hits: Callable[[Hits], None],
        file_system: FileSystem | None = None,
        poll_s: float = POLL_S,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._folder = folder
        self._reader = LogReader(str(folder), our_ip, file_system or RealFileSystem())
        self._window = HitWindow(term_s, base, clock())
        self._clock, self._on_hits = clock, on_hits
        self._poll_s, self._patience_s = poll_s, patience_s
        self._threads = ThreadPool("event-log", 1)
        self._reading: asyncio.Task[Batch] | None = None
        self._last = Batch()
        self._skipped: Counter[str] = Counter()
        self._told = Hits()

    def status(self) -> LogStatus:
        last_s = self._window.last_s
        lag_s = None if last_s is None else self._clock().wall_s - last_s
        last = self._last
        return LogStatus(last.files, last_s, lag_s, last.behind_bytes, dict(self._skipped), last.trouble)

    async def run(self) -> None:
        """Run until cancelled."""
        try:
            while True:
                if not await self.look():
                    await asyncio.sleep(self._poll_s)
        finally:
            if self._reading:
                self._reading.cancel()
            self._threads.close()

    async def look(self) -> bool:
        """Read one piece, and say whether there is more.  Hits grow old even when nothing is read."""
        batch = await self._next_batch()
        now = self._clock()
        self._skipped.update(batch.skipped)
        self._skipped.update(skip for hit in batch.hits if (skip := self._window.add(hit, now)))
        self._note(batch)
        hits = self._window.hits(now)
        if hits != self._told:
            self._told = hits
            self._on_hits(hits)
        return batch.more

    async def _next_batch(self) -> Batch:
        """The next piece, if it comes in time.

        A reading that takes too long goes on, and the next call waits for it again: what it read is not read
        twice.
        """
        if self._reading is None:
            now = self._clock()
            oldest_s = self._window.oldest_s(now)
            self._reading = asyncio.create_task(
                self._threads.run(None, lambda: self._reader.read_some(oldest_s, now.wall_s))
            )
        done, _ = await asyncio.wait((self._reading,), timeout=self._patience_s)
        if not done:
            return self._troubled(f"{self._folder} does not answer")
        reading, self._reading = self._reading, None
        try:
            return reading.result()
        except OSError as error:
            return self._troubled(f"{self._folder} cannot be read: {error.strerror}")

    def _troubled(self, trouble: str) -> Batch:
        return Batch(files=self._last.files, behind_bytes=self._last.behind_bytes, trouble=trouble)

    def _note(self, batch: Batch) -> None:
        if batch.trouble != self._last.trouble:
            log.warning("event log", folder=str(self._folder), trouble=batch.trouble or "over")
        self._last = batch


def replay(
    folder: Path, our_ip: str, *, term_s: int, base: int, now: Now, file_system: FileSystem | None = None
) -> tuple[Hits, LogStatus]:
    """What the window says at `now`, from the logs as they are.  This is for a single look, without
    following."""
    reader, window = (
        LogReader(str(folder), our_ip, file_system or RealFileSystem()),
        HitWindow(term_s, base, now),
    )
    skipped: Counter[str] = Counter()
    try:
        while (batch := reader.read_some(window.oldest_s(now), now.wall_s)).more:
            skipped.update(batch.skipped)
            skipped.update(skip for hit in batch.hits if (skip := window.add(hit, now)))
    except OSError as error:
        return Hits(), LogStatus(trouble=f"{folder} cannot be read: {error.strerror}")
    last_s = window.last_s
    lag_s = None if last_s is None else now.wall_s - last_s
    status = LogStatus(batch.files, last_s, lag_s, batch.behind_bytes, dict(skipped), batch.trouble)
    return window.hits(now), status
