"""One folder on a disk, as the shelf needs it, and nothing more.

`BaseDir` is `base_dir` by its path.  `BaseDir.open()` gives a `Folder`, which stays the same folder,
whatever is mounted over the path afterwards: what was checked is what is acted on.  Each name is a single
component, and no link is ever followed.  `real_base_dir` works with directory descriptors.  The simulator
has a twin in memory, which knows what a power cut would destroy; both pass the same tests.  The shelf decides
what may be done.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Protocol

from cfm.worker.decide.disk_entries import Entry, EntryKind, Space

MARKER = ".cfw-id"
"""The file in `base_dir` that holds the disk's id."""
PROBE = ".cfw-probe-"
"""How the name of the probe file begins: an empty file in `base_dir` with a name that was never used before.

cfm looks for that name in its source folders.  Where it is found, `base_dir` is that folder.
"""
TEMP_FOLDER = "temp.downloaded"
"""Unfinished downloads are here, in a folder of `base_dir`, so that a rename makes them visible."""

TRIAL = ".cfw-trial"
"""An empty file that tries out the way of an arrival.  It is there for a moment."""


class UnreadableError(OSError):
    """A folder may be there, but cannot be read, or is not known to be ours.  The text says what to do."""


class NotPlainError(OSError):
    """Something that is not a plain file has that name."""


class TempFile(Protocol):
    """An unfinished download, open for writing."""

    def fileno(self) -> int: ...
    def size(self) -> int: ...
    def write(self, data: bytes | memoryview) -> None: ...
    def read(self, offset: int, count: int) -> bytes: ...
    def truncate(self, size_bytes: int) -> None: ...
    def sync(self) -> None: ...
    def close(self) -> None: ...


class Folder(Protocol):
    """An open `base_dir`.  Names are single components.  Each call may block, and may raise `OSError`."""

    def marker(self) -> str:
        """The id in the marker file; empty where there is no such file."""

    def make_marker(self, disk_id: str) -> None:
        """Write the marker, durably.  `FileExistsError` where there is one already."""

    def make_probe(self, name: str) -> None:
        """Make an empty file.  `FileExistsError` where there is something of that name already."""

    def remove_probes(self, but: str) -> None:
        """Unlink all probe files but this one."""

    def kinds(self) -> Iterator[tuple[str, EntryKind]]:
        """Each name in the folder, with its kind.  Bytes that are not UTF-8 come as surrogates."""

    def look(self, name: str) -> Entry | None:
        """What has that name; None where nothing has it.  Links are not followed."""

    def open_read(self, name: str) -> tuple[int, Entry]:
        """Open a plain file.  `NotPlainError` or `FileNotFoundError` where there is none."""

    def remove(self, name: str) -> None:
        """Unlink `name`.  This is durable after `sync`."""

    def sync(self) -> None:
        """Make all changes of names durable, in this folder and in the temporary one."""

    def space(self) -> Space: ...

    def temps(self) -> list[Entry]:
        """What is in the temporary folder; empty where there is no such folder."""

    def make_temp_folder(self) -> None:
        """Make the folder for unfinished downloads, if it is missing."""

    def rehearse_arrival(self) -> None:
        """Let an empty file take the way of every arrival, and remove it.  One at a time.

        It is made in the temporary folder and moved to `TRIAL`.  That fails where no inode is left, or where
        the temporary folder is another file system, before a byte of a real file is read.
        """

    def open_temp(self, temp: str, *, new: bool) -> TempFile:
        """Create (`new`) or open an unfinished download.  The temporary folder is made if it is missing."""

    def remove_temp(self, temp: str) -> None:
        """Unlink an unfinished download, if it exists."""

    def publish(self, temp: str, name: str, *, replace: bool) -> None:
        """Move `temp` to `name`.  This is durable after `sync`.

        A plain file of that name is replaced if `replace` is set, else it means `FileExistsError`.  Anything
        else of that name stays, and means `NotPlainError`.
        """


class BaseDir(Protocol):
    def open(self) -> AbstractContextManager[Folder]:
        """The folder as it is now.  `OSError` where there is none."""

    def temp_path(self, temp: str) -> str:
        """The full path of an unfinished download, for a downloader that is another program."""
