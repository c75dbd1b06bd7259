"""Simulated disks: the disk in memory, which can also fail, and which has a witness.

The content of a file is eight bytes that name the file, and then zeros up to its size.  That is enough to
tell a good copy from a rotten one, and 20 GB cost no more than one byte.  A `DiskWitness` is told of every
file that a worker removes or makes visible.
"""

from __future__ import annotations

import errno
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from cfm.worker.act.base_dir import Folder
from cfm.worker.decide.disk_entries import EntryKind, Space
from cfm_lab.fakes.memory_base_dir import Inode, MemoryBaseDir, MemoryFolder


def content_of(name: str, version: int = 0) -> bytes:
    """The first bytes of a good copy of that file."""
    return zlib.crc32(name.encode()).to_bytes(4, "big") + version.to_bytes(4, "big")


class DiskWitness(Protocol):
    """Who is told what workers do on a disk."""

    def unlinked(self, disk: SimDisk, name: str, node: Inode) -> None: ...

    def published(self, disk: SimDisk, name: str, node: Inode, replaced: Inode | None) -> None: ...

    def vanished(self, disk: SimDisk, name: str) -> None:
        """Other software has removed a file."""

    def touched(self, disk: SimDisk, name: str) -> None:
        """A worker is about to use this name."""


class SimDisk(MemoryBaseDir):
    """One disk.  `version` grows with every change that a list or a `/df` could show."""

    def __init__(self, label: str, total_bytes: int, witness: DiskWitness) -> None:
        super().__init__(total_bytes, reserved_bytes=total_bytes // 50)
        self.label = label
        self.witness = witness
        self.version = 0
        self.hung_until_ms = 0
        self.names_synced = True
        self.keeps_open = False
        """Players have every file open that is removed: its bytes stay used."""
        self.open_bytes = 0
        """Removed, and not freed yet."""

    @contextmanager
    def open(self) -> Iterator[Folder]:
        self.fail("open")
        if not self.mounted:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "base_dir")
        yield SimFolder(self)

    # ── the truth ───────────────────────────────────────────────────────────────────────────────────────

    def holds(self, name: str, size_bytes: int) -> bool:
        """Is there a complete, good copy?"""
        node = self.names.get(name)
        return (
            node is not None
            and node.kind is EntryKind.FILE
            and node.size_bytes == size_bytes
            and node.data[:4] == content_of(name)[:4]
        )

    @property
    def used_bytes(self) -> int:
        nodes = (*self.names.values(), *self.temp_names.values())
        return self.open_bytes + sum(node.size_bytes for node in nodes)

    # ── what other software does ────────────────────────────────────────────────────────────────────────

    def place(self, name: str, size_bytes: int, content: bytes, kind: EntryKind = EntryKind.FILE) -> Inode:
        node = self.put(name, size_bytes, kind)
        node.data = bytearray(content)
        node.sync()
        self.version += 1
        return node

    def went(self, name: str) -> None:
        """A worker has removed a file."""

    def came(self, name: str, node: Inode) -> None:
        """A worker has made a file visible."""

    def lose(self, name: str) -> None:
        """A file goes, and does not come back by a power cut."""
        self.names.pop(name, None)
        self.went(name)
        self._synced[0].pop(name, None)
        self.version += 1

    def lose_to_others(self, name: str) -> None:
        """Other software removes a file, and the witness is told."""
        if name in self.names:
            self.lose(name)
            self.witness.vanished(self, name)

    def break_call(self, call: str, error: int) -> None:
        self.failing[call] = error
        self.version += 1

    def mend_call(self, call: str) -> None:
        self.failing.pop(call, None)
        self.version += 1

    def mount(self, *, mounted: bool) -> None:
        self.mounted = mounted
        self.version += 1

    def crash(self) -> None:
        super().crash()
        self.version += 1

    def visible(self) -> list[str]:
        """The names of plain files, without the marker."""
        return [n for n, node in self.names.items() if node.kind is EntryKind.FILE and n[0] != "."]

    def image(self) -> dict[str, tuple[int, bytes, EntryKind]]:
        """A copy of what is durable.  `restore` can put it back later."""
        return {n: (k.synced_bytes, bytes(k.synced_data), k.kind) for n, k in self._synced[0].items()}

    def restore(self, image: dict[str, tuple[int, bytes, EntryKind]]) -> None:
        self.names, self.temp_names = {}, {}
        self._synced = ({}, {})
        for name, (size_bytes, content, kind) in image.items():
            self.place(name, size_bytes, content, kind)

    def node_sync(self, node: Inode) -> None:
        self.fail("fsync")
        node.sync()


class SimFolder(MemoryFolder):
    """An open folder of a `SimDisk`."""

    def __init__(self, disk: SimDisk) -> None:
        super().__init__(disk)
        self._watched = disk

    def remove(self, name: str) -> None:
        disk = self._watched
        disk.witness.touched(disk, name)
        node = disk.names.get(name)
        super().remove(name)
        disk.open_bytes += node.size_bytes if disk.keeps_open and node is not None else 0
        disk.went(name)
        disk.version += 1
        if node is not None:
            disk.witness.unlinked(disk, name, node)

    def publish(self, temp: str, name: str, *, replace: bool) -> None:
        disk = self._watched
        disk.witness.touched(disk, name)
        replaced = disk.names.get(name)
        super().publish(temp, name, replace=replace)
        disk.version += 1
        node = disk.names[name]
        disk.came(name, node)
        disk.witness.published(disk, name, node, replaced)

    def open_temp(self, temp: str, *, new: bool) -> SimTempFile:
        disk = self._watched
        disk.witness.touched(disk, temp)
        super().open_temp(temp, new=new)
        disk.version += 1
        return SimTempFile(disk, disk.temp_names[temp])

    def remove_temp(self, temp: str) -> None:
        super().remove_temp(temp)
        self._watched.version += 1

    def space(self) -> Space:
        disk = self._watched
        disk.fail("space")
        space, open_bytes = super().space(), disk.open_bytes
        free_bytes = max(0, space.free_bytes - open_bytes)
        return Space(space.total_bytes, free_bytes, max(0, space.avail_bytes - open_bytes))


class SimTempFile:
    """A temporary file whose disk may be full or broken."""

    def __init__(self, disk: SimDisk, node: Inode) -> None:
        self._disk = disk
        self.node = node

    def fileno(self) -> int:
        raise OSError(errno.EBADF, "a simulated file has no descriptor")

    def size(self) -> int:
        return self.node.size_bytes

    def write(self, data: bytes | memoryview) -> None:
        self._disk.fail("write")
        self.node.data.extend(data)
        self.node.size_bytes = max(self.node.size_bytes, len(self.node.data))
        self._disk.version += 1

    def grow(self, size_bytes: int) -> None:
        """Write zeros up to `size_bytes`."""
        disk = self._disk
        disk.fail("write")
        more_bytes = size_bytes - self.node.size_bytes
        if more_bytes > disk.total_bytes - disk.reserved_bytes - disk.used_bytes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.node.size_bytes = size_bytes
        disk.version += 1

    def read(self, offset: int, count: int) -> bytes:
        return bytes(self.node.data[offset : offset + count])

    def truncate(self, size_bytes: int) -> None:
        del self.node.data[size_bytes:]
        self.node.size_bytes = size_bytes
        self._disk.version += 1

    def sync(self) -> None:
        self._disk.node_sync(self.node)

    def close(self) -> None:
        return None
