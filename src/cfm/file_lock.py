"""The lock on a state file: one process at a time, on a file system where locks mean something.

Neighbours: `tasks.sqlite_store` (the state of cfm) and `worker.act.state` (the state of a worker) take the
lock before they open their database.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from cfm.errors import StateError
from cfm.mounts import network_file_system


class FileLock:
    """A lock file beside the state file.  The kernel frees the lock when the process ends, however it ends.

    It is a file of its own: when a process closes any descriptor of a database, SQLite's own locks are lost.
    """

    def __init__(self, state: Path, program: str) -> None:
        """`program` is the kind of program that uses the state: `cfm` or `cfw`."""
        self._path = state.with_name(state.name + ".lock")
        self._program = program
        self._fd: int | None = None

    def take(self) -> None:
        """Take the lock.

        Raises:
            StateError: another process has it, or the folder lies on a network file system.
            OSError: the lock file cannot be made or opened.
        """
        _refuse_network_file_system(self._path.parent)
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(fd, 20).decode("ascii", "replace").strip()
            os.close(fd)
            raise StateError(
                f"another {self._program} uses it (process {holder or 'unknown'}): stop that one first"
            ) from None
        except OSError:
            os.close(fd)
            raise
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        self._fd = fd

    def release(self) -> None:
        """Give the lock back; nothing happens where it was not taken."""
        # The file stays.  If it were removed, a third process could lock a new one beside a waiting second.
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def _refuse_network_file_system(folder: Path) -> None:
    """SQLite's locks and shared memory do not work between machines, and an fsync there is only a promise."""
    kind = network_file_system(folder)
    if kind is not None:
        raise StateError(f"it lies on a network file system ({kind}): put it on a local disk")
