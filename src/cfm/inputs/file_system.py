"""The few things that the inputs ask of a file system, as a small interface.

`RealFileSystem` asks the operating system.  `FakeFileSystem` (in `cfm_lab.fakes`) lives in memory, and its
folders can hang, fail and vanish.  Both pass the same conformance tests.  Every call may wait for ever on a
dead mount, so callers run it in a `threads.ThreadPool`, with a time-out.

The answer `None` means that nothing is there.  An `OSError` means that nobody knows.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from cfm.mounts import file_system_of

PIECE_BYTES = 16 * 1024 * 1024
_NO_FOLDERS = 2
"""The links of a folder without folders in it: its name, and its own `.`."""
_COUNT_FOLDERS = frozenset(
    {"ext2", "ext3", "ext4", "xfs", "jfs", "zfs", "tmpfs", "nfs", "nfs4", "gfs2", "ocfs2", "lustre"}
)
"""File systems whose folders have one more link for each folder in them.  On others, such as CIFS and FUSE,
two links say nothing: there the folders are looked for."""


@dataclass(frozen=True, slots=True)
class FileVersion:
    """Which file a path names, and in which state: a changed file has another version."""

    device: int
    inode: int
    size_bytes: int
    mtime_ns: int

    @property
    def identity(self) -> tuple[int, int]:
        """It stays the same while a file grows.  A file that takes its place has another one."""
        return self.device, self.inode


class OpenFile(Protocol):
    """An open file: it stays the same file, even when its path names another one by now."""

    def version(self) -> FileVersion: ...
    def read_at(self, offset: int, count_bytes: int) -> bytes: ...
    def data_from(self, offset: int) -> int | None:
        """Where the first data at or after `offset` begins; None where nothing but a hole is left.

        A file system that does not know its holes says `offset`.
        """

    def close(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class FileSystem(Protocol):
    """A file system, as far as the inputs need it: it is only read."""

    def version(self, path: str) -> FileVersion | None:
        """The version of the plain file that the path leads to; None where nothing is there."""

    def open(self, path: str) -> OpenFile:
        """Open the plain file that the path leads to."""

    def plain_version(self, path: str) -> FileVersion | None:
        """The version of the plain file at exactly this path (links do not count); None where there is
        none."""

    def folder_mtime_ns(self, folder: str) -> int:
        """The folder's mtime, which changes when a name appears or vanishes."""

    def is_occupied(self, folder: str) -> bool:
        """Does the folder have any entry?  The folder of an unmounted disk has none."""

    def plain_names(self, folder: str) -> Iterator[str]:
        """The names of the plain files directly in the folder (the folder itself may be a link)."""

    def folders_in(self, folder: str) -> Iterator[str]:
        """The names of the folders directly in the folder.  Links do not count."""

    def folders_above(self, folder: str) -> list[str]:
        """The paths of all folders that the folder lies in, by its path and by where its links lead."""


class RealFile:
    """See `OpenFile`."""

    def __init__(self, path: str) -> None:
        # O_NONBLOCK: otherwise opening a FIFO would wait for its other end.
        self._fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            _version_of(os.fstat(self._fd), path)
        except OSError:
            self.close()
            raise

    def version(self) -> FileVersion:
        return _version_of(os.fstat(self._fd), "")

    def read_at(self, offset: int, count_bytes: int) -> bytes:
        return os.pread(self._fd, count_bytes, offset)

    def data_from(self, offset: int) -> int | None:
        try:
            return os.lseek(self._fd, offset, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return None
            if error.errno in (errno.EINVAL, errno.ENOTSUP):
                return offset
            raise

    def close(self) -> None:
        os.close(self._fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class RealFileSystem:
    """See `FileSystem`.  It has no state."""

    def version(self, path: str) -> FileVersion | None:
        with suppress(FileNotFoundError, NotADirectoryError):
            return _version_of(Path(path).stat(), path)
        return None

    def open(self, path: str) -> OpenFile:
        return RealFile(path)

    def plain_version(self, path: str) -> FileVersion | None:
        with suppress(FileNotFoundError, NotADirectoryError):
            seen = os.lstat(path)
            return _version_of(seen, path) if stat.S_ISREG(seen.st_mode) else None
        return None

    def folder_mtime_ns(self, folder: str) -> int:
        return Path(folder).stat().st_mtime_ns

    def is_occupied(self, folder: str) -> bool:
        with os.scandir(folder) as entries:
            return next(entries, None) is not None

    def plain_names(self, folder: str) -> Iterator[str]:
        with os.scandir(folder) as entries:
            yield from (entry.name for entry in entries if entry.is_file(follow_symlinks=False))

    def folders_in(self, folder: str) -> Iterator[str]:
        links = Path(folder).stat().st_nlink
        if links == _NO_FOLDERS and file_system_of(Path(folder)) in _COUNT_FOLDERS:
            return
        with os.scandir(folder) as entries:
            yield from (entry.name for entry in entries if entry.is_dir(follow_symlinks=False))

    def folders_above(self, folder: str) -> list[str]:
        path = Path(folder)
        return list(dict.fromkeys(map(str, (*path.parents, *path.resolve().parents))))


def pieces_of(file: OpenFile, piece_bytes: int = PIECE_BYTES) -> Iterator[bytes]:
    """The whole file from its start, piece by piece."""
    offset = 0
    while piece := file.read_at(offset, piece_bytes):
        offset += len(piece)
        yield piece


def _version_of(seen: os.stat_result, path: str) -> FileVersion:
    if not stat.S_ISREG(seen.st_mode):
        raise OSError(errno.EINVAL, "not a plain file", path)
    return FileVersion(seen.st_dev, seen.st_ino, seen.st_size, seen.st_mtime_ns)
