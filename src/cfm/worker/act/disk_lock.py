"""Who else uses this disk: other workers of this machine, and the source folders.

A worker holds its disk's id as the name of a socket, which the kernel frees at its death, and which (unlike
a lock on a file of the disk) does not keep the disk from being unmounted.  `shelf` asks for it before it
uses `base_dir`; `program` asks at start whether `base_dir` and the source folders lie in each other.
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
        """Keep others from using this disk; False where one does already."""

    def is_held(self, disk_id: str) -> bool:
        """Does another worker use this disk?"""


class NoOtherWorkers:
    """No other workers: for the simulator, and for tests of other things."""

    def hold(self, disk_id: str) -> bool:  # noqa: ARG002 - the protocol's argument
        return True

    def is_held(self, disk_id: str) -> bool:  # noqa: ARG002 - the protocol's argument
        return False


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
    """A socket in the abstract name space, which is no file; None where the name is taken."""
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
    """A source folder that is `base_dir`, lies in it, or contains it, by device and inode; or None.

    Folders that do not exist, or cannot be looked at, overlap with nothing yet.
    """
    base = _way_up(base_dir)
    for folder in source_dirs:
        source = _way_up(folder)
        if base and source and (base[0] in source or source[0] in base):
            return folder
    return None


def _way_up(folder: Path) -> list[tuple[int, int]]:
    """Device and inode of the folder and of all above it; empty where it cannot be looked at."""
    try:
        place = folder.resolve(strict=True)
        return [(found.st_dev, found.st_ino) for found in map(os.stat, (place, *place.parents))]
    except OSError:
        return []
