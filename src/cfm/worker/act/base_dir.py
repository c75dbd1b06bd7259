"""One folder on a disk, as the shelf needs it, and nothing more.

`BaseDir` is `base_dir` by its path; `BaseDir.open()` gives a `Folder`, which stays the same folder whatever
is mounted over the path afterwards, so that what was checked is what is acted on.  Every name is a single
component, and no link is ever followed.  `RealBaseDir` works by directory descriptors; `MemoryBaseDir` (see
`memory_base_dir`) is its twin for the simulator, which knows what a power cut would take.  Both pass the same
checks.  What may be done is decided in `shelf`; here it is only done.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Protocol

from cfm.worker.decide.disk_entries import Entry, EntryKind, Space

MARKER = ".cfw-id"
"""The file in `base_dir` that holds the disk's id."""
TEMP_FOLDER = "temp.downloaded"
"""Unfinished downloads lie here, in a folder of `base_dir`, so that a rename makes them visible."""

_MARKER_BYTES = 128
_READ_DIR = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# O_NONBLOCK: a FIFO that is swapped in between the look and the open must not hang us.
_READ_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_NEW_FILE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OLD_FILE = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC

_RENAME_NOREPLACE = 1
_RENAME_EXCHANGE = 2


class UnreadableError(OSError):
    """A folder may be there, but cannot be read, or is not known to be ours.  The text says what to do."""


class NotPlainError(OSError):
    """Something that is not a plain file stands at that name."""


class TempFile(Protocol):
    """An unfinished download, open for writing."""

    def fileno(self) -> int: ...
    def size(self) -> int: ...
    def write(self, data: bytes) -> None: ...
    def read(self, offset: int, count: int) -> bytes: ...
    def truncate(self, size_bytes: int) -> None: ...
    def sync(self) -> None: ...
    def close(self) -> None: ...


class Folder(Protocol):
    """An open `base_dir`.  Names are single components; all calls may block, and raise `OSError`."""

    def marker(self) -> str:
        """The id in the marker file; empty where there is none (or something that is no marker)."""

    def make_marker(self, disk_id: str) -> None:
        """Write the marker so that it survives a power cut; `FileExistsError` where there is one."""

    def kinds(self) -> Iterator[tuple[str, EntryKind]]:
        """Every name in the folder, odd bytes as surrogates, with its kind."""

    def look(self, name: str) -> Entry | None:
        """What stands at `name`, links not followed; None where nothing does."""

    def open_read(self, name: str) -> tuple[int, Entry]:
        """A plain file's descriptor, and what it is; `NotPlainError`, `FileNotFoundError`."""

    def remove(self, name: str) -> None:
        """Unlink `name`; durable after `sync`."""

    def sync(self) -> None:
        """Make all changes of names in the folder, and in the temporary one, durable."""

    def space(self) -> Space: ...

    def temps(self) -> list[Entry]:
        """What lies in the temporary folder; empty where there is none."""

    def make_temp_folder(self) -> None:
        """Make the folder for unfinished downloads, where it is missing."""

    def open_temp(self, temp: str, *, new: bool) -> TempFile:
        """Create (`new`) or open an unfinished download; the temporary folder is made where needed."""

    def remove_temp(self, temp: str) -> None:
        """Unlink an unfinished download, where it exists."""

    def publish(self, temp: str, name: str, *, replace: bool) -> None:
        """Move `temp` to `name`.  A plain file that stands there is replaced only where `replace`, else
        `FileExistsError`; anything else there stays: `NotPlainError`.  Durable after `sync`."""


class BaseDir(Protocol):
    def open(self) -> AbstractContextManager[Folder]:
        """The folder as it is now; `OSError` where there is none."""

    def temp_path(self, temp: str) -> str:
        """The full path of an unfinished download, for a downloader that is another program."""


def kind_of(mode: int) -> EntryKind:
    if stat.S_ISREG(mode):
        return EntryKind.FILE
    return EntryKind.FOLDER if stat.S_ISDIR(mode) else EntryKind.OTHER


def entry_of(name: str, found: os.stat_result) -> Entry:
    return Entry(
        name=name,
        kind=kind_of(found.st_mode),
        size_bytes=found.st_size,
        held_bytes=found.st_blocks * 512,
        mtime_ns=found.st_mtime_ns,
        inode=found.st_ino,
        device=found.st_dev,
    )


def look_in(folder_fd: int, name: str) -> Entry | None:
    try:
        return entry_of(name, os.stat(name, dir_fd=folder_fd, follow_symlinks=False))
    except FileNotFoundError:
        return None


def open_plain(folder_fd: int, name: str, flags: int = _READ_FILE) -> tuple[int, Entry]:
    """Open `name` under `folder_fd` if it is a plain file, and the very one that was looked at."""
    before = look_in(folder_fd, name)
    if before is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
    if before.kind is not EntryKind.FILE:
        raise NotPlainError(errno.EINVAL, "not a plain file", name)
    try:
        fd = os.open(name, flags, dir_fd=folder_fd)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO, errno.EISDIR):  # swapped since the look
            raise NotPlainError(errno.EINVAL, "not a plain file", name) from error
        raise
    found = entry_of(name, os.fstat(fd))
    if found.kind is not EntryKind.FILE:
        os.close(fd)
        raise NotPlainError(errno.EINVAL, "not a plain file", name)
    return fd, found


@contextmanager
def open_folder(path: Path | str, dir_fd: int | None = None, flags: int = 0) -> Iterator[int]:
    fd = os.open(path, _READ_DIR | flags, dir_fd=dir_fd)
    try:
        yield fd
    finally:
        os.close(fd)


class RealTempFile:
    """An unfinished download on a real disk; `fileno()` is what libcurl and fsync work on."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def fileno(self) -> int:
        return self._fd

    def size(self) -> int:
        return os.fstat(self._fd).st_size

    def write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]

    def read(self, offset: int, count: int) -> bytes:
        return os.pread(self._fd, count, offset)

    def truncate(self, size_bytes: int) -> None:
        os.ftruncate(self._fd, size_bytes)
        os.lseek(self._fd, size_bytes, os.SEEK_SET)

    def sync(self) -> None:
        os.fsync(self._fd)

    def close(self) -> None:
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)


class RealFolder:
    """`base_dir` by its descriptor."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def marker(self) -> str:
        try:
            fd, _ = open_plain(self._fd, MARKER)
        except (FileNotFoundError, NotPlainError):
            return ""
        try:
            return os.read(fd, _MARKER_BYTES).decode("ascii", "replace").strip()
        finally:
            os.close(fd)

    def make_marker(self, disk_id: str) -> None:
        # Written beside and linked: a marker that is there is whole, and none is ever overwritten.
        beside = f"{MARKER}.{disk_id}"
        with suppress(FileNotFoundError):
            os.unlink(beside, dir_fd=self._fd)
        fd = os.open(beside, _NEW_FILE, 0o644, dir_fd=self._fd)
        try:
            os.write(fd, disk_id.encode() + b"\n")
            os.fsync(fd)
        finally:
            os.close(fd)
        try:
            _rename_without_replacing(self._fd, beside, self._fd, MARKER)
        except OSError:
            os.unlink(beside, dir_fd=self._fd)
            raise
        os.fsync(self._fd)

    def kinds(self) -> Iterator[tuple[str, EntryKind]]:
        with os.scandir(self._fd) as found:
            for entry in found:
                if entry.is_file(follow_symlinks=False):
                    yield entry.name, EntryKind.FILE
                else:
                    folder = entry.is_dir(follow_symlinks=False)
                    yield entry.name, EntryKind.FOLDER if folder else EntryKind.OTHER

    def look(self, name: str) -> Entry | None:
        return look_in(self._fd, name)

    def open_read(self, name: str) -> tuple[int, Entry]:
        return open_plain(self._fd, name)

    def remove(self, name: str) -> None:
        os.unlink(name, dir_fd=self._fd)

    def sync(self) -> None:
        with suppress(FileNotFoundError), self._temp_folder() as temp_fd:
            os.fsync(temp_fd)
        os.fsync(self._fd)

    def space(self) -> Space:
        found = os.fstatvfs(self._fd)
        unit = found.f_frsize
        return Space(found.f_blocks * unit, found.f_bfree * unit, found.f_bavail * unit)

    def temps(self) -> list[Entry]:
        try:
            with self._temp_folder() as temp_fd, os.scandir(temp_fd) as found:
                looks = (look_in(temp_fd, entry.name) for entry in found)
                return [entry for entry in looks if entry is not None]
        except FileNotFoundError:
            return []

    def make_temp_folder(self) -> None:
        with suppress(FileExistsError):
            os.mkdir(TEMP_FOLDER, 0o755, dir_fd=self._fd)

    def open_temp(self, temp: str, *, new: bool) -> TempFile:
        self.make_temp_folder()
        with self._temp_folder() as temp_fd:
            if new:
                return RealTempFile(os.open(temp, _NEW_FILE, 0o644, dir_fd=temp_fd))
            fd, found = open_plain(temp_fd, temp, _OLD_FILE)
            os.lseek(fd, found.size_bytes, os.SEEK_SET)
            return RealTempFile(fd)

    def remove_temp(self, temp: str) -> None:
        with suppress(FileNotFoundError), self._temp_folder() as temp_fd:
            os.unlink(temp, dir_fd=temp_fd)

    def publish(self, temp: str, name: str, *, replace: bool) -> None:
        with self._temp_folder() as temp_fd:
            try:
                _rename_without_replacing(temp_fd, temp, self._fd, name)
            except FileExistsError:
                self._replace(temp_fd, temp, name, allowed=replace)

    def _replace(self, temp_fd: int, temp: str, name: str, *, allowed: bool) -> None:
        there = look_in(self._fd, name)
        if there is not None and there.kind is not EntryKind.FILE:
            raise NotPlainError(errno.EEXIST, "something that is not a plain file is in the way", name)
        if not allowed:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name)
        # Exchanged, then looked at: what was swapped in since the look is put back, not destroyed.
        _renameat2(temp_fd, temp, self._fd, name, _RENAME_EXCHANGE)
        out = look_in(temp_fd, temp)
        if out is not None and out.kind is not EntryKind.FILE:
            _renameat2(temp_fd, temp, self._fd, name, _RENAME_EXCHANGE)
            raise NotPlainError(errno.EEXIST, "something that is not a plain file is in the way", name)
        os.unlink(temp, dir_fd=temp_fd)

    def _temp_folder(self) -> AbstractContextManager[int]:
        return open_folder(TEMP_FOLDER, self._fd, os.O_NOFOLLOW)


class RealBaseDir:
    def __init__(self, base_dir: Path) -> None:
        self._path = base_dir

    @contextmanager
    def open(self) -> Iterator[Folder]:
        with open_folder(self._path) as fd:
            yield RealFolder(fd)

    def temp_path(self, temp: str) -> str:
        return str(self._path / TEMP_FOLDER / temp)


_libc = ctypes.CDLL(None, use_errno=True)


def _renameat2(from_fd: int, old: str, to_fd: int, new: str, flags: int) -> None:
    """`renameat2(2)`, which Python does not offer; `OSError` as `os.rename` would raise it."""
    if _libc.renameat2(from_fd, os.fsencode(old), to_fd, os.fsencode(new), flags) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), old, None, new)


def _rename_without_replacing(from_fd: int, old: str, to_fd: int, new: str) -> None:
    """Move a plain file; `FileExistsError` where anything stands at `new`, were it put there just now."""
    try:
        _renameat2(from_fd, old, to_fd, new, _RENAME_NOREPLACE)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
            raise
        # A file system without RENAME_NOREPLACE: a hard link never replaces either.
        os.link(old, new, src_dir_fd=from_fd, dst_dir_fd=to_fd, follow_symlinks=False)
        os.unlink(old, dir_fd=from_fd)
