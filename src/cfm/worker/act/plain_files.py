"""Looking at names in an open folder, and opening plain files there, by descriptors.

No link is followed, and nothing but a plain file is opened.  `real_base_dir` and `library` use it.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cfm.worker.act.base_dir import NotPlainError
from cfm.worker.decide.disk_entries import Entry, EntryKind

_READ_DIR = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# O_NONBLOCK: somebody may put a FIFO there between the look and the open; it must not block us.
_READ_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


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
