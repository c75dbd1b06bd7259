"""A `base_dir` in memory that knows what a power cut would take, for the simulator and for tests.

Names and contents exist twice: as everybody sees them, and as they were at the last sync.  After `crash()`
only the synced ones are left.  A file may be larger than what was written into it; it then ends in zeros, so
that files of 20 GB cost nothing.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from cfm.worker.act.base_dir import MARKER, PROBE, TEMP_FOLDER, Folder, NotPlainError, TempFile
from cfm.worker.decide.disk_entries import Entry, EntryKind, Space


@dataclass(slots=True, eq=False)
class Inode:
    """A file, a folder, or something else with a name."""

    kind: EntryKind = EntryKind.FILE
    data: bytearray = field(default_factory=bytearray)
    size_bytes: int = 0
    mtime_ns: int = 0
    inode: int = 0
    synced_data: bytes = b""
    synced_bytes: int = 0

    def sync(self) -> None:
        self.synced_data, self.synced_bytes = bytes(self.data), self.size_bytes

    def crash(self) -> None:
        self.data, self.size_bytes = bytearray(self.synced_data), self.synced_bytes


class MemoryTempFile:
    def __init__(self, node: Inode) -> None:
        self._node = node

    def fileno(self) -> int:
        raise OSError(errno.EBADF, "a file in memory has no descriptor")

    def size(self) -> int:
        return self._node.size_bytes

    def write(self, data: bytes | memoryview) -> None:
        node = self._node
        node.data.extend(bytes(node.size_bytes - len(node.data)))
        node.data.extend(data)
        node.size_bytes = len(node.data)

    def read(self, offset: int, count: int) -> bytes:
        node = self._node
        count = max(0, min(count, node.size_bytes - offset))
        return bytes(node.data[offset : offset + count]).ljust(count, b"\0")

    def truncate(self, size_bytes: int) -> None:
        del self._node.data[size_bytes:]
        self._node.size_bytes = size_bytes

    def sync(self) -> None:
        self._node.sync()

    def close(self) -> None:
        return None


class MemoryBaseDir:
    """`base_dir` in memory.  `failing` names calls that raise the given error (`{"sync": errno.EIO}`)."""

    def __init__(self, total_bytes: int, reserved_bytes: int = 0) -> None:
        self.total_bytes = total_bytes
        self.reserved_bytes = reserved_bytes
        self.mounted = True
        self.failing: dict[str, int] = {}
        self._names: dict[str, Inode] = {}
        self.temp_names: dict[str, Inode] = {}
        self.before_temps: Callable[[], None] | None = None
        """Called once, right before the unfinished downloads are listed: something happens meanwhile."""
        self._synced: tuple[dict[str, Inode], dict[str, Inode]] = ({}, {})
        self._made = 0

    @property
    def names(self) -> dict[str, Inode]:
        """What everybody sees."""
        return self._names

    @names.setter
    def names(self, names: dict[str, Inode]) -> None:
        self._names = names

    @contextmanager
    def open(self) -> Iterator[Folder]:
        self.fail("open")
        if not self.mounted:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "base_dir")
        yield MemoryFolder(self)

    def temp_path(self, temp: str) -> str:
        return f"/{TEMP_FOLDER}/{temp}"

    def put(self, name: str, size_bytes: int, kind: EntryKind = EntryKind.FILE) -> Inode:
        """Place a file as other software would, and sync it."""
        node = self.names[name] = self.new_node(kind)
        node.size_bytes = size_bytes
        node.sync()
        self._synced[0][name] = node
        return node

    def crash(self) -> None:
        """A power cut: names and contents that were not synced are gone."""
        names, temp_names = self._synced
        self.names, self.temp_names = dict(names), dict(temp_names)
        for node in (*names.values(), *temp_names.values()):
            node.crash()

    def new_node(self, kind: EntryKind = EntryKind.FILE) -> Inode:
        self._made += 1
        return Inode(kind, inode=self._made, mtime_ns=self._made)

    def sync_names(self) -> None:
        self._synced = (dict(self.names), dict(self.temp_names))

    def fail(self, call: str) -> None:
        number = self.failing.get(call)
        if number is not None:
            raise OSError(number, os.strerror(number))


class MemoryFolder:
    def __init__(self, disk: MemoryBaseDir) -> None:
        self._disk = disk

    def marker(self) -> str:
        node = self._disk.names.get(MARKER)
        return "" if node is None or node.kind is not EntryKind.FILE else node.data.decode().strip()

    def make_marker(self, disk_id: str) -> None:
        if MARKER in self._disk.names:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), MARKER)
        node = self._disk.new_node()
        node.data = bytearray(disk_id.encode() + b"\n")
        node.size_bytes = len(node.data)
        node.sync()
        self._disk.names[MARKER] = node
        self._disk.sync_names()

    def make_probe(self, name: str) -> None:
        self._disk.fail("make_probe")
        if name in self._disk.names:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name)
        self._disk.names[name] = self._disk.new_node()

    def remove_probes(self, but: str) -> None:
        for name in [name for name in self._disk.names if name.startswith(PROBE) and name != but]:
            del self._disk.names[name]

    def kinds(self) -> Iterator[tuple[str, EntryKind]]:
        self._disk.fail("kinds")
        if self._disk.temp_names:
            yield TEMP_FOLDER, EntryKind.FOLDER
        for name, node in list(self._disk.names.items()):
            yield name, node.kind

    def look(self, name: str) -> Entry | None:
        node = self._disk.names.get(name)
        return None if node is None else _entry(name, node)

    def open_read(self, name: str) -> tuple[int, Entry]:
        raise OSError(errno.EBADF, "a file in memory has no descriptor", name)

    def remove(self, name: str) -> None:
        self._disk.fail("remove")
        _plain(self._disk.names, name)
        del self._disk.names[name]

    def sync(self) -> None:
        self._disk.fail("sync")
        self._disk.sync_names()

    def space(self) -> Space:
        disk = self._disk
        nodes = (*disk.names.values(), *disk.temp_names.values())
        free = max(0, disk.total_bytes - sum(node.size_bytes for node in nodes))
        return Space(disk.total_bytes, free, max(0, free - disk.reserved_bytes))

    def temps(self) -> list[Entry]:
        happens, self._disk.before_temps = self._disk.before_temps, None
        if happens is not None:
            happens()
        return [_entry(name, node) for name, node in self._disk.temp_names.items()]

    def make_temp_folder(self) -> None:
        """Nothing to do: the folder is always there."""

    def rehearse_arrival(self) -> None:
        self._disk.fail("open_temp")
        self._disk.fail("rename")

    def open_temp(self, temp: str, *, new: bool) -> TempFile:
        self._disk.fail("open_temp")
        if not new:
            return MemoryTempFile(_plain(self._disk.temp_names, temp))
        if temp in self._disk.temp_names:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), temp)
        node = self._disk.temp_names[temp] = self._disk.new_node()
        return MemoryTempFile(node)

    def remove_temp(self, temp: str) -> None:
        self._disk.temp_names.pop(temp, None)

    def publish(self, temp: str, name: str, *, replace: bool) -> None:
        node = _plain(self._disk.temp_names, temp)
        there = self._disk.names.get(name)
        if there is not None and there.kind is not EntryKind.FILE:
            raise NotPlainError(errno.EEXIST, "something that is not a plain file is in the way", name)
        if there is not None and not replace:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name)
        self._disk.names[name] = node
        del self._disk.temp_names[temp]


def _entry(name: str, node: Inode) -> Entry:
    return Entry(name, node.kind, node.size_bytes, node.size_bytes, node.mtime_ns, node.inode, 0)


def _plain(names: dict[str, Inode], name: str) -> Inode:
    node = names.get(name)
    if node is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
    if node.kind is EntryKind.FOLDER:
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), name)
    if node.kind is not EntryKind.FILE:
        raise NotPlainError(errno.EINVAL, "not a plain file", name)
    return node
