"""Watches the two metadata files, and hands on each pair when both files have stopped changing.

`AtRest` is pure: it knows which version of a file was seen, and for how long it has not changed.  `read_pair`
reads one pair, in a thread.  `MetadataWatch` looks at both files a few times a second.  (It uses `stat`,
because notifications do not work on network mounts.)  When both have not changed for a second, it reads the
pair, has it judged (`snapshot.judge`), and calls back.  A bad pair is reported once, not at every look.
Now and then (`event_timeout_sec`) it looks whether files that seem unchanged have another content.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import polars as pl
import structlog
import xxhash

from cfm.inputs.file_system import FileSystem, FileVersion, OpenFile, RealFileSystem, pieces_of
from cfm.inputs.grade_file import read_grade_file
from cfm.inputs.hit_history import read_hit_history
from cfm.inputs.snapshot import Candidate, Snapshot, SourceFile, build, is_unfinished, judge, pair_id
from cfm.model import Measure, Now, SnapshotFacts
from cfm.threads import HungError, LifeSign, ThreadPool

log = structlog.get_logger(__name__)

REST_MS = 1_000
"""Size and mtime must not have changed for this long before a file is read."""
RESTLESS_MS = 30_000
"""A file that keeps changing for this long is reported."""
LONG_AGO_MS = 60_000
"""An mtime that is this old is surely past, although another machine's clock wrote it."""

POLL_S = 0.25
STAT_TIMEOUT_S = 5.0
READ_PATIENCE_S = 30.0
REREAD_S = 3_600

Versions: TypeAlias = tuple[FileVersion, FileVersion]


class ChangedWhileReadError(Exception):
    """The file changed while it was read.  The next look sees the new version."""


class AtRest:
    """One file: which version is there, and since when."""

    def __init__(self) -> None:
        self._version: FileVersion | None = None
        self._since_ms = 0
        self._restless_since_ms: int | None = None
        self._changes = 0

    def saw(self, version: FileVersion | None, now: Now) -> None:
        """Take note of the version that is there now; None where the file is missing or does not answer."""
        if version is None:
            self._changes += self._version is not None
            self._version, self._restless_since_ms = None, None
        elif version != self._version:
            self._changes += self._version is not None
            self._version, self._since_ms = version, now.mono_ms
            if self._restless_since_ms is None:
                self._restless_since_ms = now.mono_ms
        elif self.rested_ms(now) >= REST_MS:
            self._restless_since_ms = None

    def rested_ms(self, now: Now) -> int:
        """For how long it has not changed; 0 where it is missing."""
        return now.mono_ms - self._since_ms if self._version is not None else 0

    def restless_ms(self, now: Now) -> int:
        """For how long it has kept changing."""
        return 0 if self._restless_since_ms is None else now.mono_ms - self._restless_since_ms

    def settled_ms(self, now: Now) -> int:
        """As `rested_ms`.  At the first look an old mtime counts as well, so that a start need not wait."""
        age_ms = _age_ms(self._version, now) if self._version is not None else 0
        return max(self.rested_ms(now), age_ms if not self._changes and age_ms >= LONG_AGO_MS else 0)


def _age_ms(version: FileVersion, now: Now) -> int:
    return now.wall_ms - version.mtime_ns // 1_000_000


class BytesRead:
    """How far the reading of a pair is.  The reading thread writes it, everybody may look."""

    def __init__(self) -> None:
        self.done = 0
        self.total = 0


def read_pair(
    paths: tuple[str, str], file_system: FileSystem, sign: LifeSign, read: BytesRead | None = None
) -> tuple[Candidate, Versions]:
    """Read and join both files; `read` tells meanwhile how far that is.

    Raises:
        OSError: a file cannot be read.
        ChangedWhileReadError: a file changed meanwhile; try again.
    """
    grade_path, history_path = paths
    with file_system.open(grade_path) as grade_file, file_system.open(history_path) as history_file:
        read = read or BytesRead()
        files = _Reading(grade_path, grade_file, sign, read), _Reading(history_path, history_file, sign, read)
        grade = read_grade_file(files[0].pieces())
        history = read_hit_history(files[1].pieces())
        candidate = build(grade, history, (files[0].source(), files[1].source()))
        return candidate, (files[0].version, files[1].version)


def read_pair_id(paths: tuple[str, str], file_system: FileSystem, sign: LifeSign) -> str:
    """Read both files without understanding them: which content have they?  It raises as `read_pair` does."""
    grade_path, history_path = paths
    with file_system.open(grade_path) as grade_file, file_system.open(history_path) as history_file:
        read = BytesRead()
        files = _Reading(grade_path, grade_file, sign, read), _Reading(history_path, history_file, sign, read)
        for file in files:
            for _piece in file.pieces():
                pass
        return pair_id((files[0].source(), files[1].source()))


class _Reading:
    """One open file while it is read.  Its version before and after must be the same."""

    def __init__(self, path: str, file: OpenFile, sign: LifeSign, read: BytesRead) -> None:
        self.version = file.version()
        self._path, self._file, self._sign, self._read = path, file, sign, read
        read.total += self.version.size_bytes
        self._digest = xxhash.xxh3_64()

    def pieces(self) -> Iterator[bytes]:
        for piece in pieces_of(self._file):
            self._digest.update(piece)
            yield piece
            self._read.done += len(piece)
            self._sign.beat()

    def source(self) -> SourceFile:
        self._sign.beat()
        if self._file.version() != self.version:
            raise ChangedWhileReadError(self._path)
        return SourceFile(
            self._path, self.version.size_bytes, self.version.mtime_ns // 10**9, self._digest.hexdigest()
        )


def look_once(
    grade_path: Path,
    history_path: Path,
    now: Now,
    file_system: FileSystem | None = None,
    last_good: Measure | None = None,
    sign: LifeSign | None = None,
) -> Snapshot | SnapshotFacts:
    """Look once, without waiting, for `cfm plan`: the pair as it is, or why it is rejected.

    There is no time to see whether the files still change.  Their age by `now`, the real clock, decides
    instead.
    """
    paths = str(grade_path), str(history_path)
    try:
        candidate, versions = read_pair(paths, file_system or RealFileSystem(), sign or LifeSign())
    except OSError as error:
        return rejected(f"{error.filename or 'metadata'} cannot be read: {error.strerror}")
    except ChangedWhileReadError as error:
        return rejected(f"{error} changed while it was read")
    settled_ms = min(abs(_age_ms(version, now)) for version in versions)
    why = "still changing" if settled_ms < REST_MS else judge(candidate, last_good, settled_ms)
    return candidate.snapshot if why is None else rejected(why, candidate)


def rejected(why: str, candidate: Candidate | None = None) -> SnapshotFacts:
    """The facts about a pair that is rejected or could not be read."""
    facts = candidate.snapshot.facts if candidate else SnapshotFacts("", 0, 0, 0)
    return replace(facts, accepted=False, why=why)


@dataclass(frozen=True, slots=True)
class _Judged:
    """The last pair that was read.  It is kept so that the pair is read only once."""

    versions: Versions
    candidate: Candidate | None
    """None when the pair was rejected, because nobody needs its ten million rows."""
    rejected: SnapshotFacts | None = None
    waiting: bool = True

    @property
    def id(self) -> str:
        facts = self.candidate.snapshot.facts if self.candidate else self.rejected
        return facts.id if facts else ""


class MetadataWatch:
    """Follows the pair for as long as `run` runs, and calls back in the event loop.

    `on_snapshot` gets each accepted pair.  It also gets the pair in use once more when trouble that was
    reported is over.  `on_rejected` gets each reason once for each version.  `last_good` is the measure of
    the pair that was in use before a restart, if somebody kept it.
    """

    def __init__(
        self,
        grade_path: Path,
        history_path: Path,
        *,
        clock: Callable[[], Now],
        on_snapshot: Callable[[Snapshot], None],
        on_rejected: Callable[[SnapshotFacts], None],
        last_good: Measure | None = None,
        file_system: FileSystem | None = None,
        stat_timeout_s: float = STAT_TIMEOUT_S,
        read_patience_s: float = READ_PATIENCE_S,
        reread_s: int = REREAD_S,
    ) -> None:
        """`reread_s`: a rewrite that leaves size and mtime as they were is noticed within this time."""
        self._paths = str(grade_path), str(history_path)
        self._clock = clock
        self._on_snapshot, self._on_rejected = on_snapshot, on_rejected
        self._file_system = file_system or RealFileSystem()
        self._stat_timeout_s, self._read_patience_s = stat_timeout_s, read_patience_s
        self._pools = tuple(ThreadPool(f"metadata-{path}", 2) for path in self._paths)
        self._reader = ThreadPool("metadata-read", 2)
        self._at_rest = AtRest(), AtRest()
        self._judged: _Judged | None = None
        self._reread_ms, self._read_at_ms = 1000 * reread_s, 0
        self._told: tuple[object, ...] = ()
        self.last_good = last_good
        """The measure of the pair in use, or of the one before a restart."""
        self._let_in = ""
        """The id of the pair that a person accepts, however little it contains."""
        self.reading: BytesRead | None = None
        """How far the reading of a pair is; None while none is read."""

    async def run(self) -> None:
        """Run until cancelled."""
        try:
            while True:
                await self.look()
                await asyncio.sleep(POLL_S)
        finally:
            for pool in (*self._pools, self._reader):
                pool.close()

    async def look(self) -> None:
        """Look at both files once, and do what follows from it."""
        seen = await asyncio.gather(*map(self._version, range(2)))
        now = self._clock()
        for tracker, found in zip(self._at_rest, seen, strict=True):
            tracker.saw(found if isinstance(found, FileVersion) else None, now)
        grade, history = seen
        if isinstance(grade, str) or isinstance(history, str):
            self._reject("; ".join(found for found in seen if isinstance(found, str)))
        elif min(tracker.rested_ms(now) for tracker in self._at_rest) >= REST_MS:
            await self._at_rest_now((grade, history))
        elif self._judged is None and min(tracker.settled_ms(now) for tracker in self._at_rest) >= REST_MS:
            # At a start, the reading begins while it is seen whether the files are at rest.
            self._judged = await self._read((grade, history))
        elif max(tracker.restless_ms(now) for tracker in self._at_rest) >= RESTLESS_MS:
            self._reject("still changing")

    async def _version(self, which: int) -> FileVersion | str:
        """The version that is there, or the reason in words why it is not known."""
        path = self._paths[which]
        try:
            version = await self._pools[which].run(
                self._stat_timeout_s, lambda: self._file_system.version(path)
            )
        except (HungError, TimeoutError):
            return f"{path} does not answer"
        except OSError as error:
            return f"{path} cannot be read: {error.strerror}"
        return f"{path} is missing" if version is None else version

    async def _at_rest_now(self, versions: Versions) -> None:
        judged = self._judged
        if judged is None or judged.versions != versions or await self._has_other_content(judged):
            judged = await self._read(versions)
        if judged is not None:
            self._judge(judged)

    async def _has_other_content(self, judged: _Judged) -> bool:
        """Were files rewritten that look unchanged?  This costs a reading, so it is asked rarely."""
        now_ms = self._clock().mono_ms
        if now_ms - self._read_at_ms < self._reread_ms:
            return False
        self._read_at_ms = now_ms
        try:
            found = await self._reader.run_while_alive(
                self._read_patience_s, lambda sign: read_pair_id(self._paths, self._file_system, sign)
            )
        except (HungError, TimeoutError, OSError, ChangedWhileReadError) as error:
            log.debug("cannot look whether the metadata was rewritten", why=str(error))
            return False
        return found != judged.id

    async def _read(self, versions: Versions) -> _Judged | None:
        self._read_at_ms = self._clock().mono_ms
        self.reading = far = BytesRead()
        try:
            candidate, read = await self._reader.run_while_alive(
                self._read_patience_s, lambda sign: read_pair(self._paths, self._file_system, sign, far)
            )
        except (HungError, TimeoutError):
            self._reject("reading the metadata files takes too long: the disk does not answer")
        except OSError as error:
            self._reject(f"{error.filename or 'metadata'} cannot be read: {error.strerror}")
        except pl.exceptions.PolarsError as error:
            self._reject(f"metadata cannot be parsed: {error}")
        except ChangedWhileReadError:
            log.debug("metadata changed while it was read")
        else:
            return _Judged(versions, candidate) if read == versions else None
        finally:
            self.reading = None
        return None

    def _judge(self, judged: _Judged) -> None:
        now = self._clock()
        settled_ms = min(tracker.settled_ms(now) for tracker in self._at_rest)
        self._judged = judged = self._verdict(judged, settled_ms)
        if judged.rejected:
            self._tell_rejected(judged.rejected, judged.versions)
        elif judged.candidate and not judged.waiting and self._once("accepted", judged.versions, judged.id):
            self.last_good = judged.candidate.measure
            self._on_snapshot(judged.candidate.snapshot)

    def _verdict(self, judged: _Judged, settled_ms: int) -> _Judged:
        candidate = judged.candidate
        if not judged.waiting or candidate is None or is_unfinished(candidate, settled_ms):
            return judged
        facts = candidate.snapshot.facts
        let_in = facts.id == self._let_in
        why = judge(candidate, None if let_in else self.last_good, settled_ms)
        if why is None:
            self._let_in = ""
            return replace(judged, waiting=False)
        shrunken = judge(candidate, None, settled_ms) is None
        told = replace(rejected(why, candidate), shrunken=shrunken)
        return _Judged(judged.versions, None, told, waiting=False)

    # ── a person accepts what was rejected ──────────────────────────────────────────────────────────────

    @property
    def held(self) -> SnapshotFacts | None:
        """The newest pair, where only its measure speaks against it; None where there is nothing to
        accept."""
        facts = self._judged.rejected if self._judged is not None else None
        return facts if facts is not None and facts.shrunken else None

    def take_measure(self, last_good: Measure | None) -> None:
        """Another cfm led until now, and let in metadata of this measure last: judge by that from now on."""
        if last_good is not None and last_good != self.last_good:
            self.last_good, self._judged, self._told = last_good, None, ()

    def accept(self, pair_id: str) -> bool:
        """Let in the pair that is held, once.  False where that is another one by now.

        It is read again and judged anew, for all that may be wrong with it but its measure.
        """
        if self.held is None or self.held.id != pair_id:
            return False
        self._let_in, self._judged, self._told = pair_id, None, ()
        return True

    def _reject(self, why: str) -> None:
        self._tell_rejected(rejected(why), None)

    def _tell_rejected(self, facts: SnapshotFacts, versions: Versions | None) -> None:
        if self._once(facts.why, versions, facts.id):
            self._on_rejected(facts)

    def _once(self, *said: object) -> bool:
        told, self._told = self._told, said
        return told != said
