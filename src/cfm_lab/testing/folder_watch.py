"""Records which names appear in some folders and vanish from them, in the order in which it happened.

The operating system keeps the record (inotify).  It has one queue for all folders, so the order of two events
on two disks is known, however close they are.  The record does not depend on what any program reports.  The
owner of a watch has to look from time to time; there is no thread.

Neighbour: `audit` judges by it.  Only local file systems can be watched like this, and tests use only those.
"""

from __future__ import annotations

import ctypes
import os
import struct
import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

_MOVED_FROM: Final = 0x40
_MOVED_TO: Final = 0x80
_CREATE: Final = 0x100
_DELETE: Final = 0x200
_MOVE_SELF: Final = 0x800
_OVERFLOW: Final = 0x4000
_IGNORED: Final = 0x8000
_ISDIR: Final = 0x40000000
_EVENTS: Final = _MOVED_FROM | _MOVED_TO | _CREATE | _DELETE
_HEAD: Final = struct.Struct("iIII")
_QUEUE_BYTES: Final = 1 << 20
_libc = ctypes.CDLL(None, use_errno=True)


class Change(NamedTuple):
    """A name has appeared on the disk of a server, or has vanished from it."""

    server: str
    name: str
    there: bool


class FolderWatch:
    """Watches `folders`, by server.  Hidden names and folders do not count."""

    def __init__(self, folders: Mapping[str, Path]) -> None:
        self.changes: list[Change] = []
        self.blind_since: int | None = None
        """How many changes were seen before some were lost, or a folder was; None: nothing was lost."""
        self._servers: dict[int, str] = {}
        self._fd = int(_libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
        if self._fd < 0:
            self._lose()
            return
        weakref.finalize(self, os.close, self._fd)
        for server, folder in folders.items():
            watch = int(_libc.inotify_add_watch(self._fd, os.fsencode(folder), _EVENTS | _MOVE_SELF))
            self._servers[watch] = server
            if watch < 0:
                self._lose()

    def look(self) -> None:
        """Read what has happened since the last look."""
        if self._fd < 0:
            return
        while (queue := self._read()) is not None:
            for watch, mask, name in _events(queue):
                self._note(watch, mask, name)

    def _read(self) -> bytes | None:
        try:
            return os.read(self._fd, _QUEUE_BYTES)
        except BlockingIOError:
            return None

    def _note(self, watch: int, mask: int, name: str) -> None:
        if mask & (_OVERFLOW | _IGNORED | _MOVE_SELF):  # the kernel's queue was full, or the folder is gone
            self._lose()
        elif mask & _EVENTS and not mask & _ISDIR and not name.startswith("."):
            change = Change(self._servers[watch], name, bool(mask & (_CREATE | _MOVED_TO)))
            # An exchange of two files is told as an arrival and then as a departure of the same name.
            exchanged = mask & _MOVED_FROM and self.changes[-1:] == [change._replace(there=True)]
            if not exchanged:
                self.changes.append(change)

    def _lose(self) -> None:
        if self.blind_since is None:
            self.blind_since = len(self.changes)


def _events(queue: bytes) -> Iterator[tuple[int, int, str]]:
    """Watch, mask and name of each."""
    at = 0
    while at < len(queue):
        watch, mask, _cookie, length = _HEAD.unpack_from(queue, at)
        at += _HEAD.size
        yield watch, mask, os.fsdecode(queue[at : at + length].rstrip(b"\0"))
        at += length
