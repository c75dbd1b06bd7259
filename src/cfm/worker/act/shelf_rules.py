"""What the shelf decides, as values and functions of values.  Pure.

`shelf` asks these about what it found on the disk; the tables of the tests beside them are the rules.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass

from xxhash import xxh3_128_hexdigest

from cfm.errors import CfmError
from cfm.worker.act.base_dir import Entry, EntryKind, Space

MAX_NAME_BYTES = 255
_DISK_ID = re.compile(r"[0-9A-Za-z-]{8,64}", re.ASCII)


class UnreadableError(OSError):
    """`base_dir` is there, perhaps, but is not known to be ours; the text says what to do."""


class SharedError(UnreadableError):
    """Another worker on this machine uses this very `base_dir`."""


class DeclinedError(CfmError):
    """The shelf does not take this file (now); the text says why."""


class MarkerVerdict(enum.Enum):
    OURS = enum.auto()
    MAKE = enum.auto()
    ADOPT = enum.auto()
    LOST = enum.auto()
    FOREIGN = enum.auto()


def judge_marker(known: str | None, marker: str) -> MarkerVerdict:
    """`known` is the disk's id in our state, `marker` the one in `base_dir` ("" where there is none)."""
    if known is None and not marker:
        return MarkerVerdict.MAKE
    if known is None and _DISK_ID.fullmatch(marker):
        return MarkerVerdict.ADOPT
    if not marker:
        return MarkerVerdict.LOST
    return MarkerVerdict.OURS if marker == known else MarkerVerdict.FOREIGN


class Deletion(enum.Enum):
    """What became of an order to delete."""

    DELETED = enum.auto()
    ABSENT = enum.auto()
    NOT_PLAIN = enum.auto()
    RECEIVING = enum.auto()
    OVERTAKEN = enum.auto()
    """The order was no longer to be obeyed when its turn came."""


def deletion_objection(there: Entry | None, *, receiving: bool, allowed: bool) -> Deletion | None:
    """Why the file that stands there may not be deleted; None where it may."""
    if not allowed:
        return Deletion.OVERTAKEN
    if receiving:
        return Deletion.RECEIVING
    if there is None:
        return Deletion.ABSENT
    return None if there.kind is EntryKind.FILE else Deletion.NOT_PLAIN


@dataclass(frozen=True, slots=True)
class Inventory:
    """A complete list of the plain files in `base_dir`."""

    names: tuple[str, ...]
    """In byte order."""
    disk_id: str
    odd: int = 0
    """Plain files whose names are none that we could speak of; they are not in `names`."""

    @property
    def text(self) -> bytes:
        return "".join(f"{name}\n" for name in self.names).encode()

    @staticmethod
    def etag(text: bytes) -> str:
        # Of the content: an mtime may stand still while the list changes twice within one clock tick.
        return f'"{xxh3_128_hexdigest(text)}"'


@dataclass(frozen=True, slots=True)
class Usage:
    """The disk as `/df` tells it; `used_bytes` contains `arriving_bytes`."""

    total_bytes: int
    free_bytes: int
    avail_bytes: int
    arriving_bytes: int
    disk_id: str

    @property
    def used_bytes(self) -> int:
        return self.total_bytes - self.free_bytes


@dataclass(frozen=True, slots=True)
class Receipt:
    """A place on the shelf for one file that is being received; it counts as used until it is ended."""

    name: str
    task_id: int
    size_bytes: int | None
    """None: an old cfm, which does not say."""
    temp: str
    path: str
    """The temporary file's full path, for an external downloader."""


def quota_space(quota_bytes: int, used_bytes: int) -> Space:
    """A quota as if it were a disk; what is over it makes the disk larger, so that it is just full."""
    free = max(0, quota_bytes - used_bytes)
    return Space(max(quota_bytes, used_bytes), free, free)


def temp_name(name: str, task_id: int) -> str:
    """`NAME.ID`, as the old downloader has it; a name that would be too long is digested."""
    plain = f"{name}.{task_id}"
    if len(plain.encode()) <= MAX_NAME_BYTES:
        return plain
    return f"{xxh3_128_hexdigest(name.encode())}.{task_id}"
