"""`base_dir` on a real disk, by directory descriptors."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from cfm.worker.act.base_dir import MARKER, PROBE, TEMP_FOLDER, TRIAL, Folder, NotPlainError, TempFile
from cfm.worker.act.plain_files import look_in, open_folder, open_plain
from cfm.worker.decide.disk_entries import Entry, EntryKind, Space

_MARKER_BYTES = 128
_NEW_FILE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OLD_FILE = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC

FLUSH_BYTES = 32 * 1024 * 1024
"""After so much was written, the kernel is told to bring it to the disk."""

_SYNC_FILE_RANGE_WRITE = 2
_RENAME_NOREPLACE = 1
_RENAME_EXCHANGE = 2


class RealTempFile:
    """An unfinished download on a real disk."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._fresh_bytes = 0

    def fileno(self) -> int:
        return self._fd

    def size(self) -> int:
        return os.fstat(self._fd).st_size

    def write(self, data: bytes | memoryview) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]
        self._fresh_bytes += len(data)
        if self._fresh_bytes >= FLUSH_BYTES:
            self._fresh_bytes = 0
            # The disk begins now, so that little is left when `sync` waits for it.  What fails, fails there.
            _libc.sync_file_range(self._fd, 0, 0, _SYNC_FILE_RANGE_WRITE)

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

    def make_probe(self, name: str) -> None:
        os.close(os.open(name, _NEW_FILE, 0o644, dir_fd=self._fd))

    def remove_probes(self, but: str) -> None:
        with os.scandir(self._fd) as found:
            names = [entry.name for entry in found if entry.name.startswith(PROBE) and entry.name != but]
        for name in names:
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=self._fd)

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

    def rehearse_arrival(self) -> None:
        self.make_temp_folder()
        with self._temp_folder() as temp_fd:
            _unlink_if_there(TRIAL, temp_fd)  # a power cut may have left one, here or there
            _unlink_if_there(TRIAL, self._fd)
            os.close(os.open(TRIAL, _NEW_FILE, 0o600, dir_fd=temp_fd))
            try:
                os.rename(TRIAL, TRIAL, src_dir_fd=temp_fd, dst_dir_fd=self._fd)
            finally:
                _unlink_if_there(TRIAL, temp_fd)
        os.unlink(TRIAL, dir_fd=self._fd)

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


def _unlink_if_there(name: str, folder_fd: int) -> None:
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder_fd)


_libc = ctypes.CDLL(None, use_errno=True)
_libc.sync_file_range.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)


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
