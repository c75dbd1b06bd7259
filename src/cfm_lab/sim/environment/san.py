"""The simulated SAN: one source folder with the whole library.

The folder may be unmounted, and its files may vanish or change.  In some worlds cfm sees it as two folders,
one of which does not answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cfm.model import NotOnSan, OnSan, SanAnswer, Unknown

FOLDER = "/san"
ANSWER_MS = 3
HUNG_MS = 5_000
"""How long cfm waits for a folder that hangs."""
PAUSE_MS = 30_000
"""For so long cfm then leaves that folder alone."""


@dataclass(slots=True)
class SanFile:
    size_bytes: int
    version: int = 0


class San:
    """The source folder."""

    def __init__(self) -> None:
        self.files: dict[str, SanFile] = {}
        self.mounted = True
        self.gone_ms: dict[str, int] = {}
        """File that has vanished or changed → when it was last there in its old form."""
        self.unreadable: frozenset[str] = frozenset()
        """Files that are there, but that nobody can read."""
        self.silent: frozenset[str] = frozenset()
        """The files of the folder that does not answer cfm.  Its sources can read them."""
        self.hangs = False
        """That folder does not even say that it is not there."""
        self._left_alone_until_ms = 0

    def answer(self, name: str, now_ms: int) -> SanAnswer:
        """What cfm sees when it looks for one file.  An empty folder counts as unmounted."""
        if not self.mounted or not self.files:
            return Unknown("the source folder is empty or gone", now_ms)
        if name in self.silent:
            return Unknown("one of the source folders does not answer", now_ms)
        found = self.files.get(name)
        return NotOnSan() if found is None else OnSan(f"{FOLDER}/{name}", found.size_bytes)

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
        return None if found is None else (found.size_bytes, found.version)

    def holds(self, name: str, size_bytes: int) -> bool:
        """Is the file there with this size?  It does not matter here whether the folder is mounted."""
        found = self.files.get(name)
        return found is not None and found.size_bytes == size_bytes

    def held_since(self, name: str, size_bytes: int, since_ms: int) -> bool:
        """Was the file there with this size at some moment since then?"""
        return self.holds(name, size_bytes) or self.gone_ms.get(name, -1) >= since_ms

    def change(self, name: str, size_bytes: int | None, now_ms: int) -> None:
        """A file vanishes (`size_bytes` is None) or gets another size."""
        self.gone_ms[name] = now_ms
        if size_bytes is None:
            self.files.pop(name, None)
        else:
            before = self.files.get(name)
            self.files[name] = SanFile(size_bytes, before.version + 1 if before else 0)

    def mend(self, sizes: Mapping[str, int]) -> None:
        """Everything is as it should be again."""
        self.mounted = True
        for name, size_bytes in sizes.items():
            self.files[name] = SanFile(size_bytes)
