"""The rules of the shelf: what a worker lists, counts, deletes, lends out and takes in under `base_dir`.

This is the last check before a disk is touched.  Each call opens `base_dir` anew and looks at its marker
first, so that an unmounted, replaced or covered folder is *unreadable* and never empty.  Calls block: `api`
and `downloads` make them in a `blocking.Pool`.  The disk itself is behind `disk.Disk`, so that the simulator
runs these rules on a disk in memory.
"""

from __future__ import annotations

import enum
import errno
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from xxhash import xxh3_128_hexdigest

from cfm.errors import CfmError
from cfm.model import fits
from cfm.names import is_file_name
from cfm.worker.claims import Claims
from cfm.worker.disk import MARKER, Disk, Entry, Folder, Kind, NotPlainError, Space, TempFile

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
    return None if there.kind is Kind.FILE else Deletion.NOT_PLAIN


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


class Shelf:
    """`base_dir` and its rules.  All methods block and may be called from any thread.

    They raise `OSError` where the disk cannot be used (`UnreadableError` where it is not known to be ours),
    and `DeclinedError` where the shelf will not.
    """

    def __init__(
        self,
        disk: Disk,
        *,
        disk_id: str | None,
        new_id: str,
        remember: Callable[[str], None],
        claims: Claims,
        limit_percent: int,
        quota_bytes: int | None = None,
    ) -> None:
        """`disk_id` is the one in our state; None at the very first start, when `new_id` becomes it, and
        `remember` makes it durable."""
        self._disk = disk
        self._disk_id = disk_id
        self._new_id = new_id
        self._remember = remember
        self._claims = claims
        self._held = False
        self._quota_bytes = quota_bytes
        self._seen_id = ""
        self._receiving: dict[str, Receipt] = {}
        self._books = threading.Lock()
        """Guards `_receiving`; never held while a disk is waited for."""
        self._recognising = threading.Lock()
        self._changing = threading.Lock()
        """Held while a visible file is unlinked or replaced."""
        self.limit_percent = limit_percent

    @property
    def seen_disk_id(self) -> str:
        """The disk's id as of the last look; empty where that look did not find our disk."""
        return self._seen_id

    def check(self) -> str:
        """Look whether the disk is there and ours; its id."""
        with self._opened():
            return self.seen_disk_id

    def inventory(self) -> Inventory:
        """All plain files.  A delete that was let through before this call has happened, or failed."""
        with self._changing:
            pass  # wait for the one that may be on its way; all later ones ask `allowed` again
        with self._opened() as folder:
            plain = [name for name, kind in folder.kinds() if kind is Kind.FILE and name[:1] != "."]
            names = sorted(filter(is_file_name, plain))
            return Inventory(tuple(names), self._seen_id, len(plain) - len(names))

    def usage(self) -> Usage:
        with self._opened() as folder:
            return self._usage(folder, folder.temps())

    def room_for(self, size_bytes: int) -> bool:
        """Would the disk stay within its limit with `size_bytes` more, all that is arriving counted whole?"""
        with self._opened() as folder:
            temps = folder.temps()
            usage = self._usage(folder, temps)
        pending = self._pending_bytes({temp.name: self._taken(temp) for temp in temps})
        return fits(usage.used_bytes + pending, usage.avail_bytes - pending, size_bytes, self.limit_percent)

    def delete(self, name: str, allowed: Callable[[], bool] = lambda: True) -> Deletion:
        """Delete one plain file, durably.  `allowed` is asked again when nothing can come in between."""
        with self._changing, self._opened() as folder:
            there = folder.look(name)
            receiving = name in self._receiving
            objection = deletion_objection(there, receiving=receiving, allowed=allowed())
            if objection is not None:
                return objection
            try:
                folder.remove(name)
            except FileNotFoundError:
                return Deletion.ABSENT
            except IsADirectoryError:
                return Deletion.NOT_PLAIN
            folder.sync()
            return Deletion.DELETED

    def open_file(self, name: str) -> tuple[int, Entry]:
        """A descriptor of a plain file, to be closed by the caller; `FileNotFoundError`, `NotPlainError`."""
        with self._opened() as folder:
            return folder.open_read(name)

    def begin(self, name: str, task_id: int, size_bytes: int | None) -> Receipt:
        """Reserve a place for a file: `DeclinedError` without room, or where something is in the way."""
        if not is_file_name(name):
            raise DeclinedError("the file name is not a single plain path component")
        with self._opened() as folder:
            there = folder.look(name)
        if there is not None and there.kind is not Kind.FILE:
            raise DeclinedError("something that is not a plain file has that name")
        temp = temp_name(name, task_id)
        receipt = Receipt(name, task_id, size_bytes, temp, self._disk.temp_path(temp))
        self._reserve(receipt)
        return receipt

    def create(self, receipt: Receipt) -> TempFile:
        """A new, empty temporary file for the built-in transfer; what an attempt left there is dropped."""
        with self._opened() as folder:
            folder.remove_temp(receipt.temp)
            return folder.open_temp(receipt.temp, new=True)

    def reopen(self, receipt: Receipt) -> TempFile:
        """The temporary file as an external downloader, or an interrupted transfer, left it."""
        with self._opened() as folder:
            return folder.open_temp(receipt.temp, new=False)

    def publish(self, receipt: Receipt, *, verified: bool) -> None:
        """Make a complete file visible, durably: file, then name.

        A plain file of that name is replaced only by a `verified` copy (size and checksum are the
        source's), since that can lose nothing; else `DeclinedError`, as where anything else stands there.
        """
        with self._opened() as folder:
            _make_durable(folder, receipt)
            with self._changing:
                try:
                    folder.publish(receipt.temp, receipt.name, replace=verified)
                except (FileExistsError, NotPlainError) as error:
                    raise DeclinedError(f"{error.strerror}: {receipt.name}") from error
            self._end(receipt)
            folder.sync()

    def abandon(self, receipt: Receipt) -> None:
        """Give the place back and drop what was received; the place is free even if the disk fails."""
        self._end(receipt)
        with self._opened() as folder:
            folder.remove_temp(receipt.temp)

    def clean(self) -> int:
        """Drop the litter of earlier lives: temporary files that nobody is receiving; how many."""
        with self._opened() as folder:
            with self._books:
                ours = {receipt.temp for receipt in self._receiving.values()}
            temps = [temp.name for temp in folder.temps() if temp.kind is not Kind.FOLDER]
            litter = [temp for temp in temps if temp not in ours]
            for temp in litter:
                folder.remove_temp(temp)
            return len(litter)

    @contextmanager
    def _opened(self) -> Iterator[Folder]:
        """`base_dir`, once it is known to be ours."""
        with ExitStack() as stack:
            try:
                folder = stack.enter_context(self._disk.open())
                self._recognise(folder)
            except OSError as error:
                self._seen_id = ""
                if isinstance(error, UnreadableError):
                    raise
                raise UnreadableError(f"base_dir cannot be used: {error.strerror or error}") from error
            yield folder

    def _recognise(self, folder: Folder) -> None:
        with self._recognising:
            marker = folder.marker()
            match judge_marker(self._disk_id, marker):
                case MarkerVerdict.MAKE:
                    folder.make_marker(self._new_id)
                    self._adopt(self._new_id)
                case MarkerVerdict.ADOPT:
                    self._adopt(marker)
                case MarkerVerdict.OURS:
                    self._hold(marker)
                case MarkerVerdict.LOST | MarkerVerdict.FOREIGN as verdict:
                    self._refuse(verdict, marker)
            self._seen_id = marker or self._new_id

    def _adopt(self, marker: str) -> None:
        self._hold(marker)
        self._remember(marker)
        self._disk_id = marker

    def _hold(self, marker: str) -> None:
        if not self._held and not self._claims.hold(marker):
            raise SharedError("another cfw on this machine uses the same base_dir")
        self._held = True

    def _refuse(self, verdict: MarkerVerdict, marker: str) -> None:
        if verdict is MarkerVerdict.LOST:
            raise UnreadableError(
                f"base_dir has lost its marker {MARKER}: is the disk mounted? "
                f"(if this new, empty disk is meant: echo {self._disk_id} > {MARKER} in it)"
            )
        if self._claims.is_held(marker):
            raise SharedError("another cfw on this machine uses the same base_dir")
        raise UnreadableError(
            f"base_dir holds the marker of another disk: is the right one mounted? "
            f"(if this disk is meant: echo {self._disk_id} > {MARKER} in it)"
        )

    def _usage(self, folder: Folder, temps: list[Entry]) -> Usage:
        arriving = sum(map(self._taken, temps))
        if self._quota_bytes is None:
            space = folder.space()
        else:
            space = quota_space(self._quota_bytes, _visible_bytes(folder) + arriving)
        if space.total_bytes <= 0 or not 0 <= space.avail_bytes <= space.free_bytes <= space.total_bytes:
            raise OSError(errno.EIO, "the file system's figures make no sense")
        return Usage(space.total_bytes, space.free_bytes, space.avail_bytes, arriving, self._seen_id)

    def _taken(self, entry: Entry) -> int:
        """What a file takes away: a quota counts sizes, a disk counts blocks."""
        return entry.held_bytes if self._quota_bytes is None else entry.size_bytes

    def _pending_bytes(self, held: dict[str, int]) -> int:
        """What is still to be written of all that is being received."""
        with self._books:
            receipts = list(self._receiving.values())
        return sum(max(0, (one.size_bytes or 0) - held.get(one.temp, 0)) for one in receipts)

    def _reserve(self, receipt: Receipt) -> None:
        """Booked first, then asked: two at once may both be declined, but never both be let in."""
        with self._books:
            if receipt.name in self._receiving:
                raise DeclinedError("the file is being received already")
            self._receiving[receipt.name] = receipt
        fits_in = False
        try:
            fits_in = self.room_for(0)
        finally:
            if not fits_in:
                self._end(receipt)
        if not fits_in:
            raise DeclinedError(f"no room: {self.limit_percent} % of the disk would be exceeded")

    def _end(self, receipt: Receipt) -> None:
        with self._books:
            if self._receiving.get(receipt.name) == receipt:
                del self._receiving[receipt.name]


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


def _visible_bytes(folder: Folder) -> int:
    names = [name for name, kind in folder.kinds() if kind is Kind.FILE and name != MARKER]
    looks = (folder.look(name) for name in names)
    return sum(entry.size_bytes for entry in looks if entry is not None)


def _make_durable(folder: Folder, receipt: Receipt) -> None:
    temp = folder.open_temp(receipt.temp, new=False)
    try:
        if receipt.size_bytes is not None and temp.size() != receipt.size_bytes:
            raise DeclinedError(f"received {temp.size()} bytes instead of {receipt.size_bytes}")
        temp.sync()
    finally:
        temp.close()
