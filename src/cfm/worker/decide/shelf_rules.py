"""The rules of the shelf.

Pure.  `act.shelf` asks these functions about what it found on the disk.
"""

from __future__ import annotations

import enum
import errno
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from xxhash import xxh3_128_hexdigest

from cfm.worker.decide.disk_entries import Entry, EntryKind, Space

MAX_NAME_BYTES = 255
_DISK_ID = re.compile(r"[0-9A-Za-z-]{8,64}", re.ASCII)
_PROBE_NAME = re.compile(r"\.cfw-probe-[0-9A-Za-z-]{1,64}", re.ASCII)


class MarkerVerdict(enum.Enum):
    OURS = enum.auto()
    MAKE = enum.auto()
    """Neither the worker nor the disk has an id yet: make one."""
    ADOPT = enum.auto()
    """The worker has no id yet: take the disk's."""
    LOST = enum.auto()
    FOREIGN = enum.auto()


def judge_marker(known: str | None, marker: str) -> MarkerVerdict:
    """Is this disk ours?

    Args:
        known: the disk's id in the worker's state; None before its first start.
        marker: the id in `base_dir`; empty where there is none.
    """
    if known is None and not marker:
        return MarkerVerdict.MAKE
    if known is None and _DISK_ID.fullmatch(marker):
        return MarkerVerdict.ADOPT
    if not marker:
        return MarkerVerdict.LOST
    return MarkerVerdict.OURS if marker == known else MarkerVerdict.FOREIGN


class DeletionOutcome(enum.Enum):
    """What became of an order to delete a file."""

    DELETED = enum.auto()
    ABSENT = enum.auto()
    NOT_PLAIN = enum.auto()
    RECEIVING = enum.auto()
    OVERTAKEN = enum.auto()
    """When its turn came, the order was no longer to be obeyed."""
    ELSEWHERE = enum.auto()
    """The order is for a folder with another probe file.  cfm has not ruled out that this one is the SAN."""


DELETION_STATUS: Final[Mapping[DeletionOutcome, int]] = {
    DeletionOutcome.DELETED: 200,
    DeletionOutcome.ABSENT: 404,
    DeletionOutcome.NOT_PLAIN: 406,
    DeletionOutcome.RECEIVING: 409,
    DeletionOutcome.OVERTAKEN: 409,
    DeletionOutcome.ELSEWHERE: 409,
}
"""The HTTP status by which cfm hears of the outcome."""


def is_probe_name(name: str) -> bool:
    """Can this be the name of a probe file?"""
    return _PROBE_NAME.fullmatch(name) is not None


def deletion_objection(
    there: Entry | None, *, receiving: bool, allowed: bool, here: bool
) -> DeletionOutcome | None:
    """Why the file of that name must not be deleted; None where it may be.

    `here`: this is the folder that the order is for.
    """
    if not allowed:
        return DeletionOutcome.OVERTAKEN
    if not here:
        return DeletionOutcome.ELSEWHERE
    if receiving:
        return DeletionOutcome.RECEIVING
    if there is None:
        return DeletionOutcome.ABSENT
    return None if there.kind is EntryKind.FILE else DeletionOutcome.NOT_PLAIN


@dataclass(frozen=True, slots=True)
class Inventory:
    """A complete list of the plain files in `base_dir`."""

    names: tuple[str, ...]
    """In byte order."""
    disk_id: str
    odd: int = 0
    """How many plain files have names that cannot be sent.  They are not in `names`."""
    links: int = 0
    """How many links there are, or other things that are neither a plain file nor a folder.  An old worker
    lists what links lead to."""
    probes: tuple[str, ...] = ()
    """All probe files: those of other workers are there where the disk is theirs as well."""

    @property
    def text(self) -> bytes:
        return "".join(f"{name}\n" for name in self.names).encode()

    @staticmethod
    def etag(text: bytes) -> str:
        # Made of the content: a folder's mtime may stay the same if the list changes twice in one clock tick.
        return f'"{xxh3_128_hexdigest(text)}"'


@dataclass(frozen=True, slots=True)
class Usage:
    """The disk as `/df` shows it.  `used_bytes` contains `arriving_bytes`."""

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
    """A place on the shelf for one file that is being received.  It counts as used until it is given back."""

    name: str
    task_id: int
    size_bytes: int | None
    """None: an old cfm, which does not say it."""
    temp: str
    path: str
    """The full path of the temporary file, for an external downloader."""


def no_arrival(error: OSError, space: Space) -> str:
    """Why no file can arrive, where an empty one could not."""
    if error.errno == errno.EXDEV:
        return "no file can arrive: temp.downloaded is on another file system than base_dir"
    if error.errno == errno.ENOSPC and space.avail_bytes > 0:
        return "no file can arrive: the disk has no inodes left (see `df -i`)"
    return f"no file can arrive in base_dir: {error.strerror or error}"


def makes_sense(space: Space) -> bool:
    """Can these figures of a file system be true?"""
    total_bytes = space.total_bytes
    return 0 <= space.free_bytes <= total_bytes > 0 <= space.avail_bytes <= total_bytes


def quota_space(quota_bytes: int, used_bytes: int) -> Space:
    """A quota, as if it were a disk.  Where more is used than the quota allows, the disk is exactly full."""
    free = max(0, quota_bytes - used_bytes)
    return Space(max(quota_bytes, used_bytes), free, free)


def temp_name(name: str, task_id: int) -> str:
    """`NAME.ID`, as the old downloader has it.  A name that would be too long is replaced by its digest."""
    plain = f"{name}.{task_id}"
    if len(plain.encode()) <= MAX_NAME_BYTES:
        return plain
    return f"{xxh3_128_hexdigest(name.encode())}.{task_id}"
