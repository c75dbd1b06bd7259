"""The simulated SAN: one source folder with the whole library.

The folder may be unmounted, and its files may vanish or change.  In some worlds cfm sees it as two folders,
one of which does not answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from cfm.model import NotOnSan, OnSan, ProbeSight, SanAnswer, Unknown
from cfm_lab.fakes.memory_base_dir import MemoryBaseDir

FOLDER = "/san"
ANSWER_MS = 3
HUNG_MS = 5_000
"""How long cfm waits for a folder that hangs."""
PAUSE_MS = 30_000
"""For so long cfm then leaves that folder alone."""


HALF = 1 << 31
"""In the version of what was read of a file while somebody wrote it: no such file was ever meant."""


@dataclass(frozen=True, slots=True)
class SanFile:
    size_bytes: int
    version: int = 0
    written_ms: int | None = None
    """When it was written last; None: long ago."""
    writing: bool = False
    """Somebody is writing it, and it has its final size already."""
    ahead_ms: int = 0
    """How far its mtime is ahead of the clock of the SAN."""


class San:
    """The source folder.  `now_ms` tells the true time."""

    def __init__(self, now_ms: Callable[[], int] = lambda: 0) -> None:
        self._now_ms = now_ms
        self.clock_wall_ms = 0
        """What the clock of the SAN shows at the beginning.  Nobody sets it."""
        self.files: dict[str, SanFile] = {}
        self._before: dict[str, SanFile] = {}
        """What the files were before they vanished or changed for a while."""
        self.mounted = True
        self.gone_ms: dict[str, int] = {}
        """File that has vanished or changed → when it was last there in its old form."""
        self.unreadable: frozenset[str] = frozenset()
        """Files that are there, but that nobody can read."""
        self.silent: frozenset[str] = frozenset()
        """The files of the folder that does not answer cfm.  Its sources can read them."""
        self.hangs = False
        """That folder does not even say that it is not there."""
        self.asked_in_vain = 0
        """How often a file was asked for again that had not been answered for."""
        self._unanswered: set[str] = set()
        self._left_alone_until_ms = 0
        self.disks: list[MemoryBaseDir] = []
        """The disks of servers that are this folder: there is none in a healthy node.  What one worker keeps
        there besides the library, the others keep there too."""

    def answer(self, name: str, now_ms: int) -> SanAnswer:
        """What cfm sees when it looks for one file.  An empty folder counts as unmounted."""
        answer = self._answer(name, now_ms)
        if isinstance(answer, Unknown):
            self.asked_in_vain += name in self._unanswered
            self._unanswered.add(name)
        return answer

    def _answer(self, name: str, now_ms: int) -> SanAnswer:
        if not self.mounted or not self.files:
            return Unknown("the source folder is empty or gone", now_ms)
        if name in self.silent:
            return Unknown("one of the source folders does not answer", now_ms)
        found = self.files.get(name)
        if found is None:
            return NotOnSan()
        return OnSan(f"{FOLDER}/{name}", found.size_bytes, self.mtime_ns(found))

    def mtime_ns(self, file: SanFile) -> int:
        written_ms = self._now_ms() if file.writing else file.written_ms
        if written_ms is None:
            return 0
        return 1_000_000 * (self.clock_wall_ms + written_ms + file.ahead_ms)

    def seek(self, names: frozenset[str], now_ms: int) -> dict[str, ProbeSight]:
        """Which of the names lie in the folders that cfm sees, by folder."""
        if not self.mounted or not self.files:
            return {FOLDER: Unknown("the source folder is empty or gone", now_ms)}
        there = [self.files.keys(), *(disk.names.keys() for disk in self.disks)]
        found = (name for name in names if any(name in one for one in there))
        return {FOLDER: {name: FOLDER for name in found if name not in self.silent}}

    def folders(self) -> dict[str, frozenset[str]]:
        """The names in those folders that cfm can list."""
        return {FOLDER: frozenset(self.files) - self.silent} if self.mounted and self.files else {}

    def index(self) -> frozenset[str] | None:
        return frozenset(self.files) if self.mounted and self.files and not self.silent else None

    def answer_ms(self, now_ms: int) -> int:
        """How long cfm waits for an answer about some files."""
        if not self.hangs or now_ms < self._left_alone_until_ms:
            return ANSWER_MS
        self._left_alone_until_ms = now_ms + PAUSE_MS
        return HUNG_MS

    def read(self, name: str) -> tuple[int, int] | None:
        """Size and version of a file, as a source reads it; None where it cannot be read."""
        found = self.files.get(name) if self.mounted and name not in self.unreadable else None
        return None if found is None else (found.size_bytes, found.version | (HALF if found.writing else 0))

    def holds(self, name: str, size_bytes: int) -> bool:
        """Is the whole file there with this size?  It does not matter here whether the folder is mounted."""
        found = self.files.get(name)
        return found is not None and found.size_bytes == size_bytes and not found.writing

    def held_since(self, name: str, size_bytes: int, since_ms: int) -> bool:
        """Was the file there with this size at some moment since then?"""
        return self.holds(name, size_bytes) or self.gone_ms.get(name, -1) >= since_ms

    # ── what happens to files ───────────────────────────────────────────────────────────────────────────

    def change(self, name: str, size_bytes: int | None) -> None:
        """A file vanishes (`size_bytes` is None) or gets another size, until it is put back."""
        before = self.files.get(name)
        self.gone_ms[name] = self._now_ms()
        if before is not None:
            self._before.setdefault(name, before)
        if size_bytes is None:
            self.files.pop(name, None)
        else:
            version = before.version + 1 if before is not None else 1
            self.files[name] = SanFile(size_bytes, version, self._now_ms())

    def put_back(self, names: Iterable[str]) -> None:
        """These files are again what they were before they vanished or changed."""
        for name in names:
            if (before := self._before.pop(name, None)) is not None:
                self.files[name] = before

    def begin_writing(self, name: str) -> bool:
        """Somebody writes a file anew, which keeps its size.  False where it is not there now."""
        before = self.files.get(name)
        if before is None or before.writing or name in self._before:
            return False
        self.gone_ms[name] = self._now_ms()
        self.files[name] = SanFile(before.size_bytes, before.version + 1, self._now_ms(), writing=True)
        return True

    def end_writing(self, name: str, ahead_ms: int = 0) -> None:
        found = self.files.get(name)
        if found is not None and found.writing:
            written_ms = self._now_ms()
            self.files[name] = replace(found, writing=False, written_ms=written_ms, ahead_ms=ahead_ms)

    def mend(self, names: Iterable[str]) -> None:
        """Everything is as it should be again."""
        self.mounted = True
        self.put_back(names)
        for name in names:
            self.end_writing(name)
