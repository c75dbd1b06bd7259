"""What a look at a disk tells: values that the rules of the shelf decide upon."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class EntryKind(enum.StrEnum):
    FILE = "file"
    FOLDER = "folder"
    OTHER = "other"
    """A link, a FIFO, a socket or a device.  The worker never opens, lists, deletes or overwrites one."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What one look at a name tells."""

    name: str
    kind: EntryKind
    size_bytes: int
    held_bytes: int
    """What the file takes up on the disk.  The size of a preallocated or sparse file does not say it."""
    mtime_ns: int
    inode: int
    device: int


@dataclass(frozen=True, slots=True)
class Space:
    """The disk under a folder.  `avail_bytes` is without what is reserved for root."""

    total_bytes: int
    free_bytes: int
    avail_bytes: int
