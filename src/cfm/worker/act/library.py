"""Where a file is read from: the source folders in their order, or else `base_dir`.

Files are opened for `serve.content`, in a thread and with a time-out, because a SAN may hang.  Each source
folder has threads of its own, so that a hanging folder does not hold up the others.  A folder that does not
answer, is missing or is empty is unknown.  Then the answer is never "no such file".
"""

from __future__ import annotations

import enum
import os
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from cfm.threads import ThreadPool
from cfm.worker.act.base_dir import NotPlainError, UnreadableError
from cfm.worker.act.digests import Digest, version_of
from cfm.worker.act.plain_files import entry_of, open_folder, open_plain
from cfm.worker.act.shelf import Shelf
from cfm.worker.decide.disk_entries import Entry

OPEN_S = 15.0
TURN_S: Final = 0.25
"""A thread sends for so long, and then looks for other work."""
_SEND_BYTES: Final = 1024 * 1024
_STEP_BYTES: Final = 256 * 1024
"""So much is read and hashed at a time, since it stays in the processor's cache."""


class Where(enum.StrEnum):
    SOURCE = "source"
    BASE = "base"


class ChangedError(OSError):
    """The file is no longer the version that was opened."""


class _Descriptor:
    """A descriptor that threads use, one at a time.  It is closed when no thread uses it.

    A thread that hangs in it keeps nobody who closes it: that thread closes it when it comes back.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._lock = threading.Lock()
        self._unwanted = False

    def fileno(self) -> int:
        return self._fd

    def close(self) -> None:
        self._unwanted = True  # before the lock is tried: one of both sides sees the other
        self._close_if_unused()

    @contextmanager
    def in_use(self) -> Iterator[None]:
        try:
            with self._lock:
                yield
        finally:
            if self._unwanted:
                self._close_if_unused()

    def _close_if_unused(self) -> None:
        if self._lock.acquire(blocking=False):
            try:
                fd, self._fd = self._fd, -1
                if fd >= 0:
                    os.close(fd)
            finally:
                self._lock.release()


class Outlet(_Descriptor):
    """Where the kernel sends a file to: a connection, by a descriptor of its own.

    The event loop may close the connection's own descriptor at any time, and open another file by its number.
    """

    def __init__(self, connection_fd: int) -> None:
        super().__init__(os.dup(connection_fd))

    def break_off(self) -> None:
        """Nothing more is sent.  A thread that sends, or waits for that, gets an error at once."""
        connection = socket.socket(fileno=self._fd)
        with suppress(OSError):  # the other side has closed it already
            connection.shutdown(socket.SHUT_RDWR)
        connection.detach()


class Reader(_Descriptor):
    """An open file.  Threads read and send one version of it."""

    def __init__(self, fd: int, entry: Entry) -> None:
        super().__init__(fd)
        self.entry = entry
        self._buffer = memoryview(b"")

    def send(self, outlet: Outlet, start: int, stop: int, digest: Digest) -> int:
        """Send this part, or what can be sent of it in `TURN_S`, and add that to the checksum.

        Returns how many bytes were sent.  `ChangedError` if the file changed.
        """
        position, until_s = start, time.monotonic() + TURN_S
        writable = select.poll()
        with outlet.in_use(), self.in_use():
            writable.register(outlet, select.POLLOUT)
            while position < stop and (left_s := until_s - time.monotonic()) > 0:
                if writable.poll(left_s * 1000):
                    count = self._sendfile(outlet, position, min(_SEND_BYTES, stop - position))
                    self._hash(position, position + count, digest)
                    position += count
            self._check()
        return position - start

    def hash(self, start: int, stop: int, digest: Digest) -> None:
        """Add this part to the checksum.  `ChangedError` if the file changed."""
        with self.in_use():
            self._hash(start, stop, digest)
            self._check()

    def read(self, start: int, stop: int, digest: Digest) -> bytes:
        """The same, and return the bytes."""
        data = bytearray(stop - start)
        with self.in_use():
            self._fill(start, memoryview(data))
            digest.feed(start, memoryview(data))
            self._check()
        return bytes(data)

    def _sendfile(self, outlet: Outlet, start: int, count: int) -> int:
        try:
            sent = os.sendfile(outlet.fileno(), self._fd, start, count)
        except BlockingIOError:
            return 0
        if not sent:
            raise ChangedError("the file became shorter")
        return sent

    def _hash(self, start: int, stop: int, digest: Digest) -> None:
        if not start <= digest.position < stop:  # known already, or behind a gap
            return
        self._buffer = self._buffer or memoryview(bytearray(_STEP_BYTES))
        for offset in range(start, stop, _STEP_BYTES):
            step = self._buffer[: min(_STEP_BYTES, stop - offset)]
            self._fill(offset, step)
            digest.feed(offset, step)

    def _fill(self, offset: int, buffer: memoryview) -> None:
        done = 0
        while done < len(buffer):
            count = os.preadv(self._fd, [buffer[done:]], offset + done)
            if count == 0:
                raise ChangedError("the file became shorter")
            done += count

    def _check(self) -> None:
        """Raise `ChangedError` if somebody wrote into the file since it was opened."""
        if version_of(entry_of(self.entry.name, os.fstat(self._fd))) != version_of(self.entry):
            raise ChangedError("the file was changed")


@dataclass(frozen=True, slots=True)
class Found:
    reader: Reader
    where: Where
    threads: ThreadPool
    """The threads of the folder or disk that the file was found on."""


class ContentLibrary:
    """All files that this worker can read for others."""

    def __init__(self, shelf: Shelf, disk: ThreadPool, sources: Mapping[Path, ThreadPool]) -> None:
        """`sources` has each source folder, in order, and its threads."""
        self.shelf = shelf
        self.disk = disk
        self._sources = sources

    @property
    def serves(self) -> bool:
        """Does the worker have a source folder?"""
        return bool(self._sources)

    async def find(self, name: str, *, only_base: bool = False) -> Found | None:
        """Open the file.  None where it is nowhere; `OSError` where that cannot be known."""
        unknown: OSError | None = None
        for folder, threads in () if only_base else self._sources.items():
            try:
                found = await self._open(threads, partial(_open_in, folder, name))
            except OSError as error:
                unknown = error
                continue
            if found is not None:
                return Found(found, Where.SOURCE, threads)
        found = await self._open(self.disk, partial(self._open_base, name))
        if found is None and unknown is not None:
            raise unknown
        return None if found is None else Found(found, Where.BASE, self.disk)

    def close(self, found: Found) -> None:
        """Close the file, in a thread of its folder: this may block.  It happens even if that folder hangs
        for long, since an open file keeps its room when it is deleted."""
        found.threads.finish(found.reader.close)

    async def _open(self, threads: ThreadPool, opening: Callable[[], Reader | None]) -> Reader | None:
        return await threads.run(OPEN_S, opening, _dispose)

    def _open_base(self, name: str) -> Reader | None:
        try:
            return Reader(*self.shelf.open_file(name))
        except (FileNotFoundError, NotPlainError):
            return None


def _dispose(reader: Reader | None) -> None:
    if reader is not None:
        reader.close()


def _open_in(folder: Path, name: str) -> Reader | None:
    try:
        opened = open_folder(folder)
        with opened as fd:
            return _open_or_none(fd, folder, name)
    except UnreadableError:
        raise
    except OSError as error:
        raise UnreadableError(
            f"the source folder {folder} cannot be read: {error.strerror or error}"
        ) from error


def _open_or_none(folder_fd: int, folder: Path, name: str) -> Reader | None:
    try:
        return Reader(*open_plain(folder_fd, name))
    except (FileNotFoundError, NotPlainError):
        with os.scandir(folder_fd) as entries:
            if next(entries, None) is None:
                raise UnreadableError(f"the source folder {folder} is empty: is the SAN mounted?") from None
        return None
