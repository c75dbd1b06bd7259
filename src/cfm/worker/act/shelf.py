"""The shelf: what a worker lists, measures, deletes, lends out and takes in under `base_dir`.

This is the last check before a disk is touched; `decide.shelf_rules` has its rules.  Each call opens
`base_dir` anew and looks at its marker first.  A folder that is unmounted, replaced or covered is therefore
*unreadable*, and never empty.  Calls block: `serve.api` and the download agent make them in threads.  The
disk itself is behind `base_dir.BaseDir`, so that the simulator runs the same shelf on a disk in memory.
"""

from __future__ import annotations

import errno
import os
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from cfm.errors import CfmError
from cfm.model import fits
from cfm.names import is_file_name
from cfm.worker.act.base_dir import (
    MARKER,
    PROBE,
    BaseDir,
    Folder,
    NotPlainError,
    TempFile,
    UnreadableError,
)
from cfm.worker.act.disk_lock import DiskLocks
from cfm.worker.decide.disk_entries import Entry, EntryKind
from cfm.worker.decide.shelf_rules import (
    DeletionOutcome,
    Inventory,
    MarkerVerdict,
    Receipt,
    Usage,
    deletion_objection,
    is_probe_name,
    judge_marker,
    makes_sense,
    no_arrival,
    quota_space,
    temp_name,
)


class DeclinedError(CfmError):
    """The shelf refuses this file, or refuses it now.  The text says why."""


class NoArrivalError(DeclinedError):
    """Nothing can arrive on this shelf, whatever its name: the disk does not let it."""


class SharedError(UnreadableError):
    """Another worker on this machine uses this very `base_dir`."""


class Shelf:
    """`base_dir` and its rules.  All methods block, and may be called from any thread.

    They raise `OSError` where the disk cannot be used (`UnreadableError` where it is not known to be ours),
    and `DeclinedError` where the shelf refuses.
    """

    def __init__(
        self,
        disk: BaseDir,
        *,
        disk_id: str | None,
        new_id: str,
        remember: Callable[[str], None],
        disk_locks: DiskLocks,
        limit_percent: int,
        quota_bytes: int | None = None,
        new_probe: Callable[[], str] = lambda: secrets.token_hex(8),
    ) -> None:
        """`disk_id` is the one in the worker's state.

        At the very first start it is None.  `new_id` then becomes the id, and `remember` makes it durable.
        `new_probe` gives a token for the name of a probe file; it gives none twice.
        """
        self._disk = disk
        self._disk_id = disk_id
        self._new_id = new_id
        self._remember = remember
        self._disk_locks = disk_locks
        self._held = False
        self._quota_bytes = quota_bytes
        self._seen_id = ""
        self._new_probe = new_probe
        self._probe = ""
        self._probe_renewed = False
        self._source_folder = ""
        self._withheld: dict[str, str] = {}
        """Who keeps the disk from being used → why."""
        self._receiving: dict[str, Receipt] = {}
        self._books = threading.Lock()
        """For `_receiving`.  It is never held while somebody waits for a disk."""
        self._recognising = threading.Lock()
        self._rehearsing = threading.Lock()
        self._changing = threading.Lock()
        """Held while a file becomes visible, is replaced or is unlinked, and while room is counted."""
        self.limit_percent = limit_percent

    @property
    def seen_disk_id(self) -> str:
        """The disk's id at the last look; empty if that look did not find our disk."""
        return self._seen_id

    @property
    def seen_probe(self) -> str:
        """The name of the probe file in `base_dir` at the last look; empty where none can be made."""
        return self._probe if self._seen_id else ""

    @property
    def source_folder(self) -> str:
        """The source folder that `base_dir` is, holds or lies in, as far as that is known."""
        return self._source_folder

    def is_in_source_folder(self, folder: str) -> None:
        """Somebody found `base_dir` to be this source folder, or to lie in it, or around it.

        Its files are originals, or may be: the disk is not used.  An empty `folder` takes this back.  The
        first time, the probe file gets another name: somebody may have copied the old one to that folder.
        """
        if folder and not self._probe_renewed:
            self._probe_renewed, self._probe = True, ""
        self._source_folder = folder
        self.withhold(
            "cfm",
            f"base_dir and the source folder {folder} are the same, or one lies in the other: name a "
            f"base_dir outside of every source folder in cfw.yml, start cfw again, and remove {MARKER} from "
            f"the source folder"
            if folder
            else "",
        )

    def withhold(self, by: str, why: str) -> None:
        """The disk is not used from now on, for this reason.  An empty `why` takes back what `by` said."""
        withheld = {**self._withheld, by: why}
        self._withheld = {who: said for who, said in withheld.items() if said}  # threads may be reading it

    def check(self) -> str:
        """Look whether the disk is there and ours.  Returns its id."""
        with self._opened():
            return self.seen_disk_id

    def inventory(self) -> Inventory:
        """All plain files.  Each delete that was accepted before this call is done by now, or has failed."""
        with self._changing:
            pass  # wait for a delete that may be under way; each later one asks `allowed` again
        with self._opened() as folder:
            found = list(folder.kinds())
            probes = tuple(sorted(name for name, _kind in found if is_probe_name(name)))
            shown = [(name, kind) for name, kind in found if name[:1] != "."]
            plain = [name for name, kind in shown if kind is EntryKind.FILE]
            links = sum(kind is EntryKind.OTHER for _name, kind in shown)
            names = sorted(filter(is_file_name, plain))
            return Inventory(tuple(names), self._seen_id, len(plain) - len(names), links, probes)

    def usage(self) -> Usage:
        with self._opened() as folder:
            return self._usage(folder, folder.temps())

    def room_for(self, size_bytes: int) -> bool:
        """Would the disk stay within its limit with `size_bytes` more?  What is arriving counts in full."""
        with self._opened() as folder, self._changing:  # a file that appeared meanwhile would count twice
            temps = folder.temps()
            usage = self._usage(folder, temps)
            pending = self._pending_bytes({temp.name: self._taken(temp) for temp in temps})
        return fits(usage.used_bytes + pending, usage.avail_bytes - pending, size_bytes, self.limit_percent)

    def delete(
        self, name: str, allowed: Callable[[], bool] = lambda: True, probe: str | None = None
    ) -> DeletionOutcome:
        """Delete one plain file, durably.  `allowed` is asked when nothing can come in between any more.

        `probe`: the probe file of the folder that the order is for.  cfm has just not found it on the SAN.
        """
        with self._changing, self._opened() as folder:
            here = probe is None or (is_probe_name(probe) and folder.look(probe) is not None)
            there = folder.look(name) if is_file_name(name) else None
            receiving = name in self._receiving
            objection = deletion_objection(there, receiving=receiving, allowed=allowed(), here=here)
            if objection is not None:
                return objection
            try:
                folder.remove(name)
            except FileNotFoundError:
                return DeletionOutcome.ABSENT
            except IsADirectoryError:
                return DeletionOutcome.NOT_PLAIN
            folder.sync()
            return DeletionOutcome.DELETED

    def open_file(self, name: str) -> tuple[int, Entry]:
        """Open a plain file, which the caller closes.  Also raises `FileNotFoundError`, `NotPlainError`."""
        if not is_file_name(name):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
        with self._opened() as folder:
            return folder.open_read(name)

    def begin(self, name: str, task_id: int, size_bytes: int | None) -> Receipt:
        """Reserve a place for a file.  `DeclinedError` where there is no room, or something is in the way."""
        if not is_file_name(name):
            raise DeclinedError("the file name is not a single plain path component")
        with self._opened() as folder:
            there = folder.look(name)
            if there is not None and there.kind is not EntryKind.FILE:
                raise DeclinedError("something in base_dir that is not a plain file has that name")
            self._rehearse_arrival(folder)  # this also makes the temporary folder
        temp = temp_name(name, task_id)
        receipt = Receipt(name, task_id, size_bytes, temp, self._disk.temp_path(temp))
        self._reserve(receipt)
        return receipt

    def try_out(self) -> None:
        """Could a file arrive?  `NoArrivalError` where it could not."""
        with self._opened() as folder:
            self._rehearse_arrival(folder)

    def _rehearse_arrival(self, folder: Folder) -> None:
        with self._rehearsing:
            try:
                folder.rehearse_arrival()
            except OSError as error:
                raise NoArrivalError(no_arrival(error, folder.space())) from error

    def create(self, receipt: Receipt) -> TempFile:
        """Make a new, empty temporary file for the built-in transfer.  What is there already is removed."""
        with self._opened() as folder:
            folder.remove_temp(receipt.temp)
            return folder.open_temp(receipt.temp, new=True)

    def reopen(self, receipt: Receipt) -> TempFile:
        """Open the temporary file that an external downloader or an interrupted transfer left."""
        with self._opened() as folder:
            return folder.open_temp(receipt.temp, new=False)

    def publish(self, receipt: Receipt, *, verified: bool) -> None:
        """Make a complete file visible, durably: first its content, then its name.

        Only a `verified` copy (its size and checksum are the source's) replaces a plain file of that name,
        since nothing can be lost by it.  In each other case something in the way means `DeclinedError`.
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
        """Give the place back, and remove what was received.  The place is free even if the disk fails."""
        self._end(receipt)
        with self._opened() as folder:
            folder.remove_temp(receipt.temp)

    def clean(self) -> int:
        """Remove litter: temporary files that nobody is receiving.  Returns how many there were."""
        with self._opened() as folder:
            folder.remove_probes(but=self._probe)
            temps = [temp.name for temp in folder.temps() if temp.kind is not EntryKind.FOLDER]
            with self._books:  # after the look: whoever receives takes a place before it makes a file
                ours = {receipt.temp for receipt in self._receiving.values()}
            litter = [temp for temp in temps if temp not in ours]
            for temp in litter:
                folder.remove_temp(temp)
            return len(litter)

    @contextmanager
    def _opened(self) -> Iterator[Folder]:
        """Open `base_dir`, once it is known to be ours."""
        recognised = False
        try:
            with self._disk.open() as folder:
                self._recognise(folder)
                recognised = True
                for why in self._withheld.values():
                    raise UnreadableError(why)
                yield folder
        except OSError as error:
            if recognised:  # it comes from what was done in the folder
                raise
            self._seen_id = ""
            if isinstance(error, UnreadableError):
                raise
            raise UnreadableError(f"base_dir cannot be used: {error.strerror or error}") from error

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
            self._keep_probe(folder)

    def _keep_probe(self, folder: Folder) -> None:
        """See to it that a probe file is in this folder.

        A new one gets a new name: what was found out by the old name, may be true of another folder only.
        Without one (the disk is full, or read-only) the worker works all the same.
        """
        if self._probe and folder.look(self._probe) is not None:
            return
        name = PROBE + self._new_probe()
        try:
            folder.make_probe(name)
        except OSError:
            name = ""
        self._probe = name

    def _adopt(self, marker: str) -> None:
        self._hold(marker)
        self._remember(marker)
        self._disk_id = marker

    def _hold(self, marker: str) -> None:
        if not self._held and not self._disk_locks.hold(marker):
            raise SharedError("another cfw on this machine uses the same base_dir")
        self._held = True

    def _refuse(self, verdict: MarkerVerdict, marker: str) -> None:
        if verdict is MarkerVerdict.LOST:
            raise UnreadableError(
                f"base_dir has lost its marker {MARKER}: is the disk mounted? "
                f"(If you want to use this new, empty disk: echo {self._disk_id} > {MARKER} in it.)"
            )
        if self._disk_locks.is_held(marker):
            raise SharedError("another cfw on this machine uses the same base_dir")
        raise UnreadableError(
            f"base_dir has the marker of another disk: is the right disk mounted? "
            f"(If you want to use this disk: echo {self._disk_id} > {MARKER} in it.)"
        )

    def _usage(self, folder: Folder, temps: list[Entry]) -> Usage:
        arriving = sum(map(self._taken, temps))
        if self._quota_bytes is None:
            space = folder.space()
        else:
            space = quota_space(self._quota_bytes, _visible_bytes(folder) + arriving)
        if not makes_sense(space):
            raise OSError(errno.EIO, "the file system reports figures that make no sense")
        # btrfs estimates what is available, and may name a little more than is free.
        avail_bytes = min(space.avail_bytes, space.free_bytes)
        return Usage(space.total_bytes, space.free_bytes, avail_bytes, arriving, self._seen_id)

    def _taken(self, entry: Entry) -> int:
        """What a file takes up.  A quota counts sizes; a disk counts blocks."""
        return entry.held_bytes if self._quota_bytes is None else entry.size_bytes

    def _pending_bytes(self, held: dict[str, int]) -> int:
        """How many bytes are still to be written of all that is being received."""
        with self._books:
            receipts = list(self._receiving.values())
        return sum(max(0, (one.size_bytes or 0) - held.get(one.temp, 0)) for one in receipts)

    def _reserve(self, receipt: Receipt) -> None:
        """Book the place first, then ask for room.  Two at once may both be refused, but never both be let
        in."""
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
            raise DeclinedError(f"no room: the disk would exceed its limit of {self.limit_percent} %")

    def _end(self, receipt: Receipt) -> None:
        with self._books:
            if self._receiving.get(receipt.name) == receipt:
                del self._receiving[receipt.name]


def _visible_bytes(folder: Folder) -> int:
    names = [name for name, kind in folder.kinds() if kind is EntryKind.FILE and name != MARKER]
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
