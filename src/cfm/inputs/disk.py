"""The few things that the inputs ask of a file system, as a small interface.

`RealDisk` asks the operating system; `fake_disk.FakeDisk` is an in-memory one whose folders can hang,
fail and vanish, and passes the same conformance checks.  All of it may wait for ever on a dead mount:
callers run it in `threads.DaemonThreads`, with a time-out.

What is not there is `None`; what cannot be told is an `OSError`.
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

PIECE_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Version:
    """Which file a path names, and which state of it: changed content shows as another version."""

    device: int
    inode: int
    size_bytes: int
    mtime_ns: int

    @property
    def identity(self) -> tuple[int, int]:
        """The same for a file that grew, another for one that was put in its place."""
        return self.device, self.inode


class OpenFile(Protocol):
    """A file held open: it stays the same one though its path may name another by now."""

    def version(self) -> Version: ...
    def read_at(self, offset: int, count_bytes: int) -> bytes: ...
    def close(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Disk(Protocol):
    """A file system, as far as the inputs need it."""

    def version(self, path: str) -> Version | None:
        """Of the plain file that the path leads to; None where nothing is there."""

    def open(self, path: str) -> OpenFile:
        """The plain file that the path leads to."""

    def plain_size(self, path: str) -> int | None:
        """Size of the plain file at exactly this path (no link); None where there is no such thing."""

    def folder_mtime_ns(self, folder: str) -> int:
        """Changes when a name comes or goes."""

    def is_occupied(self, folder: str) -> bool:
        """Has the folder any entry at all?  An unmounted one has none."""

    def plain_names(self, folder: str) -> Iterator[str]:
        """Names of the plain files directly in the folder (which may itself be a link)."""


class RealFile:
    """See `OpenFile`."""

    def __init__(self, path: str) -> None:
        # O_NONBLOCK: opening a FIFO would wait for its other end.
        self._fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            _version_of(os.fstat(self._fd), path)
        except OSError:
            self.close()
            raise

    def version(self) -> Version:
        return _version_of(os.fstat(self._fd), "")

    def read_at(self, offset: int, count_bytes: int) -> bytes:
        return os.pread(self._fd, count_bytes, offset)

    def close(self) -> None:
        os.close(self._fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class RealDisk:
    """See `Disk`; stateless."""

    def version(self, path: str) -> Version | None:
        with suppress(FileNotFoundError, NotADirectoryError):
            return _version_of(Path(path).stat(), path)
        return None

    def open(self, path: str) -> OpenFile:
        return RealFile(path)

    def plain_size(self, path: str) -> int | None:
        with suppress(FileNotFoundError, NotADirectoryError):
            seen = os.lstat(path)
            return seen.st_size if stat.S_ISREG(seen.st_mode) else None
        return None

    def folder_mtime_ns(self, folder: str) -> int:
        return Path(folder).stat().st_mtime_ns

    def is_occupied(self, folder: str) -> bool:
        with os.scandir(folder) as entries:
            return next(entries, None) is not None

    def plain_names(self, folder: str) -> Iterator[str]:
        with os.scandir(folder) as entries:
            yield from (entry.name for entry in entries if entry.is_file(follow_symlinks=False))


def pieces_of(file: OpenFile, piece_bytes: int = PIECE_BYTES) -> Iterator[bytes]:
    """The whole file from its beginning, piece by piece."""
    offset = 0
    while piece := file.read_at(offset, piece_bytes):
        offset += len(piece)
        yield piece


def _version_of(seen: os.stat_result, path: str) -> Version:
    if not stat.S_ISREG(seen.st_mode):
        raise OSError(errno.EINVAL, "not a plain file", path)
    return Version(seen.st_dev, seen.st_ino, seen.st_size, seen.st_mtime_ns)
