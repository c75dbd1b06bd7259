"""Who else uses this disk: other workers on this machine, and the source folders.

A worker holds its disk's id as the name of a socket.  The kernel frees the name when the worker dies.
Unlike a lock on a file of the disk, it does not prevent the disk from being unmounted.  `shelf` takes the
lock before it uses `base_dir`.  At the start, `program` asks whether `base_dir` and a source folder lie in
each other.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol


class DiskLocks(Protocol):
    def hold(self, disk_id: str) -> bool:
        """Keep other workers from using this disk.  False if one of them uses it already."""

    def is_held(self, disk_id: str) -> bool:
        """Does another worker use this disk?"""


class SocketDiskLocks:
    def __init__(self) -> None:
        self._held: dict[str, socket.socket] = {}

    def hold(self, disk_id: str) -> bool:
        if disk_id not in self._held:
            found = _bind(disk_id)
            if found is None:
                return False
            self._held[disk_id] = found
        return True

    def is_held(self, disk_id: str) -> bool:
        found = _bind(disk_id)
        if found is not None:
            found.close()
        return found is None and disk_id not in self._held

    def close(self) -> None:
        while self._held:
            self._held.popitem()[1].close()


def _bind(disk_id: str) -> socket.socket | None:
    """Bind a socket in the abstract name space, which is no file.  None where the name is taken."""
    found = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        found.bind(f"\0cfw-disk-{disk_id}")
    except OSError as error:
        found.close()
        if error.errno == errno.EADDRINUSE:
            return None
        raise
    return found


def overlap(base_dir: Path, source_dirs: Iterable[Path]) -> Path | None:
    """The first source folder that is `base_dir`, lies in it, or contains it; None where there is none.

    Folders are compared by device and inode.  A folder that does not exist counts as separate for now.
    `OSError` where one cannot be looked at: then nobody knows.
    """
    base = _way_up(base_dir)
    for folder in source_dirs:
        source = _way_up(folder)
        if base and source and (base[0] in source or source[0] in base):
            return folder
    return None


def _way_up(folder: Path) -> list[tuple[int, int]]:
    """Device and inode of the folder and of each folder above it; empty where it does not exist."""
    try:
        place = folder.resolve(strict=True)
        return [(found.st_dev, found.st_ino) for found in map(os.stat, (place, *place.parents))]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except RuntimeError:  # this is how Python calls a link that leads to itself
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(folder)) from None
