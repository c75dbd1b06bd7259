"""One folder on a disk, as the shelf needs it, and nothing more.

`BaseDir` is `base_dir` by its path.  `BaseDir.open()` gives a `Folder`, which stays the same folder,
whatever is mounted over the path afterwards: what was checked is what is acted on.  Each name is a single
component, and no link is ever followed.  `RealBaseDir` works with directory descriptors.  The simulator has
a twin in memory, which knows what a power cut would destroy; both pass the same tests.  The shelf decides
what may be done.
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
"""Unfinished downloads are here, in a folder of `base_dir`, so that a rename makes them visible."""

_MARKER_BYTES = 128
_READ_DIR = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# O_NONBLOCK: somebody may put a FIFO there between the look and the open; it must not block us.
_READ_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_NEW_FILE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OLD_FILE = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC

_RENAME_NOREPLACE = 1
_RENAME_EXCHANGE = 2


class UnreadableError(OSError):
    """A folder may be there, but cannot be read, or is not known to be ours.  The text says what to do."""


class NotPlainError(OSError):
    """Something that is not a plain file has that name."""


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
    """An open `base_dir`.  Names are single components.  Each call may block, and may raise `OSError`."""

    def marker(self) -> str:
        """The id in the marker file; empty where there is no such file."""

    def make_marker(self, disk_id: str) -> None:
        """Write the marker, durably.  `FileExistsError` where there is one already."""

    def kinds(self) -> Iterator[tuple[str, EntryKind]]:
        """Each name in the folder, with its kind.  Bytes that are not UTF-8 come as surrogates."""

    def look(self, name: str) -> Entry | None:
        """What has that name, links not followed; None where nothing has."""

    def open_read(self, name: str) -> tuple[int, Entry]:
        """Open a plain file.  `NotPlainError` or `FileNotFoundError` where there is none."""

    def remove(self, name: str) -> None:
        """Unlink `name`.  This is durable after `sync`."""

    def sync(self) -> None:
        """Make all changes of names durable, in this folder and in the temporary one."""

    def space(self) -> Space: ...

    def temps(self) -> list[Entry]:
        """What is in the temporary folder; empty where there is no such folder."""

    def make_temp_folder(self) -> None:
        """Make the folder for unfinished downloads, if it is missing."""

    def open_temp(self, temp: str, *, new: bool) -> TempFile:
        """Create (`new`) or open an unfinished download.  The temporary folder is made if it is missing."""

    def remove_temp(self, temp: str) -> None:
        """Unlink an unfinished download, if it exists."""

    def publish(self, temp: str, name: str, *, replace: bool) -> None:
        """Move `temp` to `name`.  This is durable after `sync`.

        A plain file of that name is replaced if `replace` is set, else it means `FileExistsError`.  Anything
        else of that name stays, and means `NotPlainError`.
        """


class BaseDir(Protocol):
    def open(self) -> AbstractContextManager[Folder]:
        """The folder as it is now.  `OSError` where there is none."""

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
    """Open `name` under `folder_fd` if it is a plain file."""
    before = look_in(folder_fd, name)
    if before is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
    if before.kind is not EntryKind.FILE:
        raise NotPlainError(errno.EINVAL, "not a plain file", name)
    try:
        fd = os.open(name, flags, dir_fd=folder_fd)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO, errno.EISDIR):  # it was replaced since the look
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
    """An unfinished download on a real disk."""

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
        # It is written under another name and moved: a marker is always whole, and none is overwritten.
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
        # Exchange first, then look: what somebody put there since the first look is put back, not destroyed.
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
    """Call `renameat2(2)`, which Python does not offer.  It raises `OSError` as `os.rename` does."""
    if _libc.renameat2(from_fd, os.fsencode(old), to_fd, os.fsencode(new), flags) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), old, None, new)


def _rename_without_replacing(from_fd: int, old: str, to_fd: int, new: str) -> None:
    """Move a plain file.  `FileExistsError` where anything has the new name, however short a time."""
    try:
        _renameat2(from_fd, old, to_fd, new, _RENAME_NOREPLACE)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
            raise
        # This file system has no RENAME_NOREPLACE.  A hard link never replaces a file either.
        os.link(old, new, src_dir_fd=from_fd, dst_dir_fd=to_fd, follow_symlinks=False)
        os.unlink(old, dir_fd=from_fd)
