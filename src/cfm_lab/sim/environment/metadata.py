"""The metadata files of a simulated node: what their producer writes, and the two files on cfm's disk.

The producer knows the true ranks and sizes; faults spoil what it writes.  Neighbour:
`processes.metadata_watch` reads the files for cfm.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from cfm.model import File


@dataclass(frozen=True, slots=True)
class MetadataVersion:
    """The content of one of the two files."""

    data: bytes
    mtime_s: int
    good: bool = True
    """Nobody has spoiled it: it says what its producer meant."""


def grade_text(files: Sequence[File]) -> bytes:
    """A grade file, in which each file stands in the line of its rank."""
    lines = ["filename\tweightcount\tbitrate\tgrade\tsumHitCount\thistoryCount\tTargetCopyCount"]
    at = 1
    for file in sorted(files, key=lambda f: f.rank):
        while at < file.rank:  # a rank that belongs to no known file
            lines.append(f"UNSIZED{at}.mpg\t1\t6000000\t{at}\t0\t0\t1")
            at += 1
        lines.append(f"{file.name}\t{1000 - at}\t6000000\t{at}\t{file.hits}\t0\t1")
        at += 1
    return "\n".join(lines).encode() + b"\n"


DOUBLED: Final = 5
"""Every fifth file has each of its servers listed twice.  They still count once."""


def history_text(files: Sequence[File]) -> bytes:
    lines = ["historyheader:1524047082"]
    lines += [
        f"{f.name},1508301143,6399785,{f.size_bytes},{' '.join(_ips(f))},2,0,0,1={f.hits}"
        for f in sorted(files, key=lambda f: f.name)
    ]
    return "\n".join(lines).encode() + b"\n"


def _ips(file: File) -> tuple[str, ...]:
    return file.history_ips * (2 if file.rank % DOUBLED == 0 else 1)


class MetadataFiles:
    """The two files on cfm's disk."""

    def __init__(self) -> None:
        self.grade: MetadataVersion | None = None
        self.history: MetadataVersion | None = None
        self.older: tuple[MetadataVersion, MetadataVersion] | None = None
        self.changes = 0
        self.on_change: Callable[[], None] = lambda: None

    def put(self, grade: MetadataVersion | None, history: MetadataVersion | None) -> None:
        if self.grade is not None and self.history is not None and self.older is None:
            self.older = (self.grade, self.history)
        self.grade, self.history = grade, history
        self.changes += 1
        self.on_change()
