"""A file system in memory whose folders can hang, fail and vanish: `inputs.file_system.FileSystem` for tests.

It passes the same conformance checks as the real one, and can be told to do what the real one does only on
bad days.  A call for a path that hangs waits until `heal` is called, as it would on a dead mount.
"""

from __future__ import annotations

import errno
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from types import TracebackType
from typing import Self

from cfm.inputs.file_system import FileVersion, OpenFile


@dataclass(slots=True)
class _Content:
    inode: int
    data: bytes
    mtime_ns: int

    def version(self) -> FileVersion:
        return FileVersion(1, self.inode, len(self.data), self.mtime_ns)


class FakeFileSystem:
    """Folders and plain files.  `hang`, `fail` and `vanish` add the faults."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        """Path → how often it was asked for."""
        self._folders: dict[str, dict[str, _Content]] = {}
        self._folder_mtimes_ns: Counter[str] = Counter()
        self._faults: dict[str, int | None] = {}
        self._spared: Counter[str] = Counter()
        self._healed = threading.Condition()
        self._ticks = 0

    def put(self, path: str, data: bytes) -> None:
        """Write a file, and make its folder.  A file that is there already is changed in place."""
        folder, name = os.path.split(path)
        files = self.make_folder(folder)
        self._ticks += 1
        if name in files:
            files[name].data, files[name].mtime_ns = data, self._ticks
        else:
            files[name] = _Content(self._ticks, data, self._ticks)
            self._folder_mtimes_ns[folder] = self._ticks

    def put_unseen(self, path: str, data: bytes) -> None:
        """Change a file in place, and leave its size and its time as they were."""
        folder, name = os.path.split(path)
        assert len(data) == len(self._folders[folder][name].data)
        self._folders[folder][name].data = data

    def replace(self, path: str, data: bytes) -> None:
        """Put another file under the same path, as a rename does."""
        self.remove(path)
        self.put(path, data)

    def remove(self, path: str) -> None:
        folder, name = os.path.split(path)
        if self._folders.get(folder, {}).pop(name, None):
            self._ticks += 1
            self._folder_mtimes_ns[folder] = self._ticks

    def make_folder(self, folder: str) -> dict[str, _Content]:
        return self._folders.setdefault(folder, {})

    def vanish(self, folder: str) -> None:
        """The folder is gone with all its files."""
        self._folders.pop(folder, None)

    def hang(self, prefix: str, after: int = 0) -> None:
        """Calls for paths with this prefix wait until `heal`.  The first `after` of them still go well."""
        self._faults[prefix] = None
        self._spared[prefix] = after

    def fail(self, prefix: str, number: int = errno.EIO) -> None:
        self._faults[prefix] = number

    def heal(self) -> None:
        with self._healed:
            self._faults.clear()
            self._healed.notify_all()

    def version(self, path: str) -> FileVersion | None:
        self._meet_fault(path)
        if path in self._folders:
            raise OSError(errno.EINVAL, "not a plain file", path)
        content = self._find(path)
        return None if content is None else content.version()

    def open(self, path: str) -> OpenFile:
        self._meet_fault(path)
        content = self._find(path)
        if content is None:
            raise FileNotFoundError(errno.ENOENT, "no such file", path)
        return _FakeFile(content, lambda: self._meet_fault(path))

    def plain_version(self, path: str) -> FileVersion | None:
        self._meet_fault(path)
        content = self._find(path)
        return None if content is None else content.version()

    def folder_mtime_ns(self, folder: str) -> int:
        self._files_in(folder)
        return self._folder_mtimes_ns[folder]

    def is_occupied(self, folder: str) -> bool:
        return bool(self._files_in(folder))

    def plain_names(self, folder: str) -> Iterator[str]:
        yield from list(self._files_in(folder))

    def folders_in(self, folder: str) -> Iterator[str]:
        self._meet_fault(f"{folder}/.")
        paths = map(PurePosixPath, self._folders)
        yield from [path.name for path in paths if str(path.parent) == folder]

    def folders_above(self, folder: str) -> list[str]:
        self._meet_fault(folder)
        return [str(path) for path in PurePosixPath(folder).parents]

    def _files_in(self, folder: str) -> dict[str, _Content]:
        self._meet_fault(folder)
        if folder not in self._folders:
            raise FileNotFoundError(errno.ENOENT, "no such folder", folder)
        return self._folders[folder]

    def _find(self, path: str) -> _Content | None:
        folder, name = os.path.split(path)
        return self._folders.get(folder, {}).get(name)

    def _meet_fault(self, path: str) -> None:
        with self._healed:
            self.asked[path] += 1
            if self._is_spared(path):
                return
            while (number := self._fault_at(path)) is None:
                self._healed.wait()
        if number:
            raise OSError(number, os.strerror(number), path)

    def _is_spared(self, path: str) -> bool:
        prefix = next((prefix for prefix in self._faults if path.startswith(prefix)), None)
        if prefix is None or not self._spared[prefix]:
            return False
        self._spared[prefix] -= 1
        return True

    def _fault_at(self, path: str) -> int | None:
        """0 where all is well; None where the call hangs."""
        return next((fault for prefix, fault in self._faults.items() if path.startswith(prefix)), 0)


class _FakeFile:
    """See `disk.OpenFile`."""

    def __init__(self, content: _Content, wait: Callable[[], None]) -> None:
        self._content, self._wait = content, wait

    def version(self) -> FileVersion:
        return self._content.version()

    def read_at(self, offset: int, count_bytes: int) -> bytes:
        self._wait()
        return self._content.data[offset : offset + count_bytes]

    def data_from(self, offset: int) -> int | None:
        """A file system that does not know its holes."""
        self._wait()
        return offset if offset < len(self._content.data) else None

    def close(self) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
