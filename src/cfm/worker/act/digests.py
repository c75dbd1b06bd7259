"""Checksums (xxh3, 128 bits) of files that are read anyway.

Each stream feeds what it reads.  A stream that resumes an interrupted one goes on from there.  After one
complete copy the checksum is known, and nobody has to read the file again for it.  Files are told apart by
what their ETag is made of.  Threads feed, at most one at a time for a file.
"""

from __future__ import annotations

import base64
import threading
from collections import OrderedDict

import xxhash

from cfm.worker.decide.disk_entries import Entry


def etag_of(entry: Entry) -> str:
    """A strong ETag: another version of a file differs in size, time or inode."""
    return f'"{entry.size_bytes:x}-{entry.mtime_ns:x}-{entry.inode:x}"'


def version_of(entry: Entry) -> tuple[int, int, int, int]:
    """What tells one version of a file from another on this machine."""
    return entry.device, entry.inode, entry.size_bytes, entry.mtime_ns


class Digest:
    """The checksum of one version of a file, as far as the file was read."""

    def __init__(self, size_bytes: int) -> None:
        self.size_bytes = size_bytes
        self.position = 0
        self._hash = xxhash.xxh3_128()
        self._lock = threading.Lock()

    def feed(self, offset: int, data: memoryview) -> None:
        """Take in what was read at `offset`.  Bytes that are known already are left out.  Bytes after a gap
        are too."""
        with self._lock:
            end = offset + len(data)
            if offset <= self.position < end:
                self._hash.update(data[self.position - offset :])
                self.position = end

    @property
    def known(self) -> bytes | None:
        """The digest, big-endian, once the whole file was read; None before."""
        return self._hash.digest() if self.position == self.size_bytes else None


class Digests:
    """The checksums of the `most` files that were read last."""

    def __init__(self, most: int = 1000) -> None:
        self._most = most
        self._digests: OrderedDict[tuple[int, int, int, int], Digest] = OrderedDict()

    def of(self, entry: Entry) -> Digest:
        version = version_of(entry)
        digest = self._digests.setdefault(version, Digest(entry.size_bytes))
        self._digests.move_to_end(version)
        if len(self._digests) > self._most:
            self._digests.popitem(last=False)
        return digest

    def forget(self, entry: Entry) -> None:
        """Drop the checksum.  The file changed while it was read, so what was fed belongs to no version."""
        self._digests.pop(version_of(entry), None)


def wants_digest(header: str | None) -> bool:
    """Does `Want-Repr-Digest` (RFC 9530) ask for ours?"""
    wishes = (wish.strip().partition("=") for wish in (header or "").split(","))
    return any(name == "xxh3-128" and weight.strip() != "0" for name, _, weight in wishes)


def repr_digest(digest: bytes) -> str:
    return f"xxh3-128=:{base64.b64encode(digest).decode()}:"
