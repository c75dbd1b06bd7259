"""What is on the SAN: an index in the background, and a check right before something happens to a file.

A SAN is slow and shared.  So `SanIndex` lists a source folder only when its mtime has changed, or after some
minutes.  It asks about single files only when something is about to happen to them.  Each folder has a few
threads of its own.  A mount that hangs is left alone for a while, and holds up neither the other folders nor
anything else.

Unknown is never empty.  When a folder is missing, empty, unreadable or silent, the index is unknown, and so
is every file that no other folder holds.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_
from pathlib import Path
from types import MappingProxyType

import structlog

from cfm.inputs.file_system import FileSystem, FileVersion, RealFileSystem
from cfm.inputs.seeking import folders_below, seek
from cfm.model import Known, Names, NotOnSan, Now, Observed, OnSan, ProbeSight, SanAnswer, Unknown
from cfm.name_column import NameColumnBuilder
from cfm.names import is_file_name
from cfm.threads import HungError, LifeSign, ThreadPool

log = structlog.get_logger(__name__)

POLL_S = 5.0
RESCAN_MS = 600_000
"""A folder is listed again after this time, even if its mtime has not changed."""
ANSWER_S = 5.0
PAUSE_MS = 30_000
"""How long a folder that did not answer is left alone."""
THREADS = 4
"""For each folder."""
ASKERS = 3
"""How many of these threads ask about single files.  One is left for the index."""
WAITING_EACH = 250
"""How many calls may wait for one thread.  A slow SAN is not a dead one."""
SCAN_SHARE = 20
"""The next listing waits for this many times as long as the last one took: 5 % of the SAN's time."""

NO_SIZES: Mapping[str, int] = MappingProxyType({})


@dataclass(slots=True)
class _Folder:
    """One source folder, and what is known about it."""

    path: str
    names: Observed[Names]
    threads: ThreadPool
    below: tuple[str, ...] = ()
    """The folders in it that are searched for disks, as they were when it was listed last."""
    mtime_ns: int = 0
    scanned_ms: int = 0
    scan_not_before_ms: int = 0
    paused_until_ms: int = 0
    listing: LifeSign | None = None
    """It is being listed, and gives a sign with each name."""

    def lose(self, why: str, at_ms: int) -> bool:
        """Nothing is known any more.  Returns True where this or its reason is new."""
        if isinstance(self.names, Unknown) and self.names.why == why:
            return False
        self.names = Unknown(why, at_ms)
        return True


@dataclass(frozen=True, slots=True)
class _Found:
    """What one folder said: the versions of the files that it holds, and why there may be more."""

    folder: str
    versions: Mapping[str, FileVersion]
    trouble: str | None = None

    def answer(self, name: str) -> OnSan | None:
        """None where the folder did not show such a file."""
        seen = self.versions.get(name)
        return None if seen is None else OnSan(f"{self.folder}/{name}", seen.size_bytes, seen.mtime_ns)


class SanIndex:
    """Knows the names in all source folders.  `on_change` is called in the event loop when they change."""

    def __init__(
        self,
        folders: Sequence[Path],
        *,
        clock: Callable[[], Now],
        on_change: Callable[[Observed[Names]], None],
        file_system: FileSystem | None = None,
        poll_s: float = POLL_S,
        answer_s: float = ANSWER_S,
    ) -> None:
        self._clock, self._on_change = clock, on_change
        self._file_system = file_system or RealFileSystem()
        self._poll_s, self._answer_s = poll_s, answer_s
        why = "the source folders are being read" if folders else "no source folder is configured"
        self._not_yet = Unknown(why, clock().mono_ms)
        self._folders = [self._new(str(path)) for path in folders]
        self._union: Names | None = None
        """All names; None until all folders were known for the first time."""
        self._union_thread = ThreadPool("the names of all source folders", 1)
        self._telling = asyncio.Lock()

    def _new(self, path: str) -> _Folder:
        return _Folder(path, self._not_yet, ThreadPool(path, THREADS, waiting_each=WAITING_EACH))

    @property
    def names(self) -> Observed[Names]:
        """All names on the SAN.  They are known only when every folder answered and none was empty."""
        unknown = next((one.names for one in self._folders if isinstance(one.names, Unknown)), None)
        if unknown or self._union is None:
            return unknown or self._not_yet
        return Known(self._union, min(known.at_ms for known in self._known()))

    @property
    def folders(self) -> dict[str, Names]:
        """The names in each folder that is known."""
        return {one.path: one.names.value for one in self._folders if isinstance(one.names, Known)}

    @property
    def listing(self) -> Iterator[tuple[str, int, int | None]]:
        """The folders that are being listed, how many names were seen so far, and how many there were last;
        None at the first time."""
        for one in self._folders:
            if (sign := one.listing) is not None:
                yield one.path, sign.beats, len(one.names.value) if isinstance(one.names, Known) else None

    def _known(self) -> list[Known[Names]]:
        return [folder.names for folder in self._folders if isinstance(folder.names, Known)]

    async def run(self) -> None:
        """Run until cancelled, also without folders.  Each folder has its own pace."""
        try:
            await asyncio.gather(asyncio.Event().wait(), *map(self._follow, self._folders))
        finally:
            for threads in (self._union_thread, *(folder.threads for folder in self._folders)):
                threads.close()

    async def look(self) -> None:
        """Look at each folder once, and list it where that is due."""
        if any(await asyncio.gather(*map(self._refresh, self._folders))):
            await self._tell()

    async def _follow(self, folder: _Folder) -> None:
        while True:
            if await self._refresh(folder):
                await self._tell()
            await asyncio.sleep(self._poll_s)

    async def _tell(self) -> None:
        async with self._telling:
            known = self._known()
            if len(known) == len(self._folders):
                self._union = await _united([one.value for one in known], self._union_thread)
            self._on_change(self.names)

    async def _refresh(self, folder: _Folder) -> bool:
        """Look at the folder.  Returns True where what is known about it has changed."""
        at_ms = self._clock().mono_ms
        if at_ms < folder.paused_until_ms:
            return False
        try:
            mtime_ns = await folder.threads.run(
                self._answer_s, lambda: _alive(self._file_system, folder.path)
            )
            if not self._is_due(folder, mtime_ns, at_ms):
                return False
            await self._scan(folder, mtime_ns, at_ms)
        except (HungError, TimeoutError):
            folder.paused_until_ms = at_ms + PAUSE_MS
            return self._lose(folder, "does not answer", at_ms)
        except OSError as error:
            return self._lose(folder, _why(error), at_ms)
        return True

    def _is_due(self, folder: _Folder, mtime_ns: int, at_ms: int) -> bool:
        """Must the folder be listed?  If nothing has changed, this confirms what is known about it."""
        if isinstance(folder.names, Unknown):
            return True
        if at_ms < folder.scan_not_before_ms:
            return False
        if mtime_ns == folder.mtime_ns and at_ms - folder.scanned_ms < RESCAN_MS:
            folder.names = Known(folder.names.value, at_ms)
            return False
        return True

    async def _scan(self, folder: _Folder, mtime_ns: int, at_ms: int) -> None:
        try:
            names = await folder.threads.run_while_alive(
                self._answer_s, lambda sign: _names_in(self._file_system, folder, sign)
            )
            folder.below = await folder.threads.run_while_alive(
                self._answer_s, lambda sign: folders_below(self._file_system, folder.path, sign)
            )
        finally:
            folder.listing = None
        took_ms = self._clock().mono_ms - at_ms
        folder.names, folder.mtime_ns, folder.scanned_ms = Known(names, at_ms), mtime_ns, at_ms
        folder.scan_not_before_ms = at_ms + took_ms * SCAN_SHARE
        log.info("listed source folder", folder=folder.path, files=len(names), took_ms=took_ms)

    def _lose(self, folder: _Folder, why: str, at_ms: int) -> bool:
        news = folder.lose(f"{folder.path} {why}", at_ms)
        if news:
            log.warning("source folder unknown", folder=folder.path, why=why)
        return news

    async def stat_files(
        self, names: Collection[str], deadline_s: float, sizes: Mapping[str, int] = NO_SIZES
    ) -> dict[str, SanAnswer]:
        """Where each of the names is right now.  All folders are asked at once.

        The first folder that holds the file counts.  Where `sizes` has the wanted size of a file, the first
        folder that holds a file of this size counts.
        """
        at_ms = self._clock().mono_ms
        fine = [name for name in names if is_file_name(name)]
        found = await asyncio.gather(*(self._ask(folder, fine, deadline_s) for folder in self._folders))
        if not found:
            return dict.fromkeys(names, self._not_yet)
        return {name: _answer(name, found, sizes.get(name), at_ms) for name in names}

    async def seek(self, names: Collection[str], deadline_s: float) -> dict[str, ProbeSight]:
        """Look for these names in, above and below each folder.  They need not be names of known files."""
        sights = await asyncio.gather(*(self._seek(folder, names, deadline_s) for folder in self._folders))
        return {folder.path: sight for folder, sight in zip(self._folders, sights, strict=True)}

    async def _seek(self, folder: _Folder, names: Collection[str], deadline_s: float) -> ProbeSight:
        at_ms, sign = self._clock().mono_ms, LifeSign()
        if at_ms < folder.paused_until_ms:
            return Unknown(f"{folder.path} does not answer", at_ms)
        try:
            return await folder.threads.run(
                deadline_s,
                lambda: _seek_in(self._file_system, folder.path, folder.below, sorted(names), sign),
            )
        except (HungError, TimeoutError):
            if not sign.beats:
                folder.paused_until_ms = at_ms + PAUSE_MS
            return Unknown(f"{folder.path} does not answer", at_ms)
        except OSError as error:
            return Unknown(f"{folder.path} {_why(error)}", at_ms)

    async def _ask(self, folder: _Folder, names: Sequence[str], deadline_s: float) -> _Found:
        found: dict[str, FileVersion] = {}
        if self._clock().mono_ms < folder.paused_until_ms:
            return _Found(folder.path, found, f"{folder.path} does not answer")
        shares = [names[start::ASKERS] for start in range(min(ASKERS, len(names)))]
        troubles = await asyncio.gather(
            *(self._ask_some(folder, share, deadline_s, found) for share in shares or [()])
        )
        # A copy, because a thread that was given up may still come back and write.
        return _Found(folder.path, dict(found), next(filter(None, troubles), None))

    async def _ask_some(
        self, folder: _Folder, names: Sequence[str], deadline_s: float, found: dict[str, FileVersion]
    ) -> str | None:
        """Add to `found`.  Returns the reason where it may not be complete."""
        at_ms, sign = self._clock().mono_ms, LifeSign()
        try:
            await folder.threads.run(
                deadline_s, lambda: _stat(self._file_system, folder.path, names, found, sign)
            )
        except (HungError, TimeoutError):
            if not sign.beats:  # otherwise it is slow, and not dead
                folder.paused_until_ms = at_ms + PAUSE_MS
            return f"{folder.path} does not answer"
        except OSError as error:
            return f"{folder.path} {_why(error)}"
        return None


def _alive(file_system: FileSystem, folder: str) -> int:
    """The folder's mtime.  `OSError` where the folder is missing, or empty like the folder of an unmounted
    disk."""
    mtime_ns = file_system.folder_mtime_ns(folder)
    if not file_system.is_occupied(folder):
        raise FileNotFoundError(errno.ENODATA, "is empty", folder)
    return mtime_ns


def _names_in(file_system: FileSystem, folder: _Folder, sign: LifeSign) -> Names:
    names = NameColumnBuilder()
    folder.listing = sign
    for name in file_system.plain_names(folder.path):
        sign.beat()
        if is_file_name(name):
            names.add(name)
    return names.finished()


def _seek_in(
    file_system: FileSystem, folder: str, below: Sequence[str], names: Sequence[str], sign: LifeSign
) -> dict[str, str]:
    found = seek(file_system, folder, below, names, sign)
    _alive(file_system, folder)  # last: only after this is a name that was not found really not there
    return found


def _stat(
    file_system: FileSystem, folder: str, names: Iterable[str], found: dict[str, FileVersion], sign: LifeSign
) -> None:
    """Add each file at once, so that the answers before a hang count.  A file of 0 bytes does not count."""
    for name in names:
        seen = file_system.plain_version(f"{folder}/{name}")
        if seen is not None and seen.size_bytes:
            found[name] = seen
        sign.beat()
    _alive(file_system, folder)  # last: only after this is a file that was not found really not there


async def _united(sets: Sequence[Names], thread: ThreadPool) -> Names:
    """In a thread, because ten million names take a second.  The thread is no folder's: a folder may hang."""
    return sets[0] if len(sets) == 1 else await thread.run(None, lambda: reduce(or_, sets))


def _answer(name: str, found: Sequence[_Found], size_bytes: int | None, at_ms: int) -> SanAnswer:
    there = [answer for one in found if (answer := one.answer(name)) is not None]
    fitting = [answer for answer in there if size_bytes in (None, answer.size_bytes)]
    trouble = next((one.trouble for one in found if one.trouble), None)
    if fitting:
        return fitting[0]
    if trouble:
        return Unknown(trouble, at_ms)
    return there[0] if there else NotOnSan()


def _why(error: OSError) -> str:
    match error.errno:
        case errno.ENODATA:
            return "is empty"
        case errno.ENOENT | errno.ENOTDIR:
            return "is missing"
    return f"cannot be read: {error.strerror}"
