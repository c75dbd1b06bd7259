"""Who may use a state: one process at a time, on a file system where locks and fsync mean something.

Neighbour: `tasks.sqlite_store`, which takes the lock before it opens anything.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from cfm.errors import StateError
from cfm.mounts import network_file_system


class StateLock:
    """A lock file beside the state.  The kernel frees it when the process ends, however it ends.

    It is a file of its own, because closing any descriptor of the database would drop SQLite's own locks.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd: int | None = None

    def take(self) -> None:
        """Raises StateError, with the holder's process id where it is known, if another has it."""
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(fd, 20).decode("ascii", "replace").strip()
            os.close(fd)
            raise StateError(
                f"another cfm uses it (process {holder or 'unknown'}): stop that one first"
            ) from None
        except OSError:
            os.close(fd)
            raise
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        self._fd = fd

    def release(self) -> None:
        # The file stays: were it removed, a third process could lock a new one beside a waiting second.
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def refuse_network_file_system(folder: Path) -> None:
    """Raises StateError where the folder lies on a network file system.

    SQLite's locks and shared memory do not hold between machines, and an fsync there is a promise only.
    """
    kind = network_file_system(folder)
    if kind is not None:
        raise StateError(f"it lies on a network file system ({kind}): put it on a local disk")
