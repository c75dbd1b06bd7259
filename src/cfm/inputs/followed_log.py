"""One event log, held open, and how far it has been read: only what is new, through everything logs do.

Neighbours: `log_reader` says which logs are followed, and when one is given up.  `event_log` says what the
lines mean.  What happens to logs, and what is done about it:

- A log that grew is read on from where the last reading ended.  A *fingerprint* of what stood right before
  that place tells it from a log that was written anew; this one is begun again where the window begins.
- The window's beginning is searched from the end of the file, in growing steps: logs are gigabytes.
- A *hole* (cut by copytruncate while its writer goes on at the old offset) is jumped over.  The file system
  is asked where data goes on.  One that does not know is read forward, and never twice.
- *Zeros* may be blocks that have not arrived yet (a log on NFS).  The lines behind them count at once; the
  place itself is read again for some seconds.  Zeros at the very end have not been written yet.
- A torn last line is read again when it is whole.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import structlog

from cfm.inputs.event_log import Skipped, times_in
from cfm.inputs.file_system import FileVersion, OpenFile

log = structlog.get_logger(__name__)

PIECE_BYTES = 256 * 1024
"""What is read and handed over at a time: some thousand lines, which cost the event loop a few
milliseconds."""
PROBE_BYTES = 64 * 1024
ZEROS_BYTES = 4 * 1024 * 1024
"""Read at a time where only zeros are looked for."""
BACKLOG_BYTES = 64 * 1024 * 1024
"""When more than this is unread, the part that is older than the window is skipped."""
FINGERPRINT_BYTES = 256
SETTLE_MS = 5_000
"""How long zeros are read again."""
PATCH_BYTES = 1024 * 1024
MAX_PATCHES = 8
"""Larger places of zeros, and more of them, are not read again."""


@dataclass(frozen=True, slots=True)
class Patch:
    """A place that read as zeros, from the beginning of its first line to where the next one begins."""

    start: int
    end: int
    until_ms: int


class FollowedLog:
    """Reads one log; for one thread at a time.  Every method that reads may raise `OSError`."""

    def __init__(
        self, path: str, file: OpenFile, *, settle_ms: int = SETTLE_MS, backlog_bytes: int = BACKLOG_BYTES
    ) -> None:
        self.path = path
        self.identity = file.version().identity
        self.is_open = True
        self.is_live = False
        """Were the last lines written while the log was being followed?"""
        self._file = file
        self._settle_ms, self._backlog_bytes = settle_ms, backlog_bytes
        self._seen: FileVersion | None = None
        """The version that was last read; None before the first time."""
        self._begun = False
        self._offset = 0
        self._live_from = 0
        """What lies behind this offset was written while the log was being followed."""
        self._fingerprint = b""
        self._inside_line = False
        """The offset may be within a line that is not wanted: everything up to its end is dropped."""
        self._drained = False
        """The last reading came to the end.  There is more only when the file changes."""
        self._again_until_ms = 0
        """Until then the end is read again though the file does not change: it ended in zeros."""
        self._searched_bytes = 0
        """The size at which the beginning of the window was last searched."""
        self._zeros_to = 0
        """Nothing but zeros was read between the offset and here."""
        self._patches: list[Patch] = []

    @property
    def behind_bytes(self) -> int:
        """What is still unread, including unfinished lines."""
        return max(0, self._seen.size_bytes - self._offset) if self._seen else 0

    def close(self) -> None:
        if self.is_open:
            self.is_open = False
            self._file.close()

    def go_on_from(self, other: FollowedLog) -> None:
        """This one has taken the other's place: perhaps it is a copy, and is read on where that one ended."""
        self._begun, self._offset, self._fingerprint = other._begun, other._offset, other._fingerprint
        self._inside_line, self._live_from = other._inside_line, other._live_from

    def next_lines(self, oldest_s: int, now_ms: int, skipped: Counter[str]) -> list[bytes] | None:
        """The next whole lines; None where nothing is new.  They may all be older than wanted."""
        version = self._file.version()
        changed = version != self._seen
        if self._drained and not changed and now_ms >= self._again_until_ms:
            return None
        if changed:
            self._look_around(version, oldest_s)
            self._seen = version
        piece = self._file.read_at(self._offset, PIECE_BYTES)
        end = piece.rfind(b"\n") + 1
        self.is_live = self._offset >= self._live_from
        self._drained = len(piece) < PIECE_BYTES
        if changed:
            self._again_until_ms = now_ms + self._settle_ms if b"\0" in piece[end:] else 0
        if end:
            return self._whole_lines(piece[:end], now_ms, skipped)
        return None if self._drained else self._without_end(piece, now_ms, skipped)

    def patched_lines(self, now_ms: int, skipped: Counter[str]) -> list[bytes]:
        """The lines of places that were zeros and are no more, or were for too long."""
        lines: list[bytes] = []
        waiting: list[Patch] = []
        for patch in self._patches:
            block = self._file.read_at(patch.start, patch.end - patch.start)
            if b"\0" in block and now_ms < patch.until_ms:
                waiting.append(patch)
                continue
            for line in block.split(b"\n"):
                if b"\0" in line:
                    skipped[Skipped.NOT_TEXT] += 1
                else:
                    lines.append(line)
        self._patches = waiting
        return lines

    def _look_around(self, version: FileVersion, oldest_s: int) -> None:
        """The file changed: did it only grow?  And is so much unread that the first of it is too old?"""
        size_bytes = version.size_bytes
        if not self._is_grown(size_bytes):
            log.info("reading event log from its window", file=self.path, size_bytes=size_bytes)
            self._begin(find_start(self._file, size_bytes, oldest_s))
            self._live_from = self._searched_bytes = size_bytes
            self._patches.clear()
        elif size_bytes - max(self._offset, self._searched_bytes) > self._backlog_bytes:
            start = find_start(self._file, size_bytes, oldest_s)
            self._searched_bytes = size_bytes
            if start > self._offset:
                self._begin(start)

    def _is_grown(self, size_bytes: int) -> bool:
        """Is this the log that was read before, perhaps with more at its end?  (A copy counts as it.)"""
        before = self._fingerprint
        return (
            self._begun
            and size_bytes >= self._offset
            and self._file.read_at(self._offset - len(before), len(before)) == before
        )

    def _begin(self, offset: int) -> None:
        self._begun = True
        self._offset, self._fingerprint, self._inside_line = offset, b"", offset > 0
        self._zeros_to = 0

    def _advance(self, read: bytes) -> None:
        self._offset += len(read)
        self._fingerprint = (self._fingerprint + read)[-FINGERPRINT_BYTES:]

    def _whole_lines(self, block: bytes, now_ms: int, skipped: Counter[str]) -> list[bytes]:
        lines = block.split(b"\n")[:-1]
        start = self._offset
        if self._inside_line:
            start += len(lines[0]) + 1
            _, zeros, rest = lines.pop(0).rpartition(b"\0")
            if zeros:  # what comes after them is a line of its own
                lines, start = [rest, *lines], start - len(rest) - 1
        if b"\0" in block:
            lines = self._without_zeros(lines, start, now_ms, skipped)
        self._inside_line = False
        self._advance(block)
        return lines

    def _without_zeros(
        self, lines: list[bytes], start: int, now_ms: int, skipped: Counter[str]
    ) -> list[bytes]:
        """A line with zeros in it is read again later; what follows the last zero is a line of its own."""
        kept: list[bytes] = []
        for line in lines:
            if b"\0" in line:
                zeros_end = line.rfind(b"\0") + 1
                if line.startswith(b"0x", zeros_end):
                    kept.append(line[zeros_end:])
                else:
                    zeros_end = len(line)
                self._read_again(start, start + zeros_end, now_ms, skipped, Skipped.NOT_TEXT)
            else:
                kept.append(line)
            start += len(line) + 1
        return kept

    def _without_end(self, piece: bytes, now_ms: int, skipped: Counter[str]) -> list[bytes] | None:
        """A whole piece without the end of a line: zeros, of which only the end counts, or garbage."""
        zeros_end = piece.rfind(b"\0") + 1
        if not zeros_end:
            skipped[Skipped.TOO_LONG] += not self._inside_line
            self._inside_line = True
            self._advance(piece)
            return []
        start = self._offset + zeros_end
        data = start if zeros_end < len(piece) else self._data_from(start)
        if data is None:
            self._drained = self._zeros_to >= self._size_bytes  # zeros to the end: not written yet
            return None if self._drained else []
        if not self._inside_line:
            self._read_again(self._offset, data, now_ms, skipped, Skipped.ZEROS)
        self._offset, self._fingerprint, self._inside_line = data, b"", False
        return []

    @property
    def _size_bytes(self) -> int:
        return self._seen.size_bytes if self._seen else 0

    def _data_from(self, start: int) -> int | None:
        """Where something other than zeros comes at or after `start`; None where it was not found yet."""
        data = self._file.data_from(start)
        if data is None:
            self._zeros_to = self._size_bytes
            return None
        if data == start:
            data = max(start, self._zeros_to)
        block = self._file.read_at(data, ZEROS_BYTES)
        rest = block.lstrip(b"\0")
        self._zeros_to = data + len(block) - len(rest)
        return self._zeros_to if rest else None

    def _read_again(self, start: int, end: int, now_ms: int, skipped: Counter[str], lost: Skipped) -> None:
        """Remember a place of zeros, unless there are too many of them or it is too large."""
        if self._settle_ms and end - start <= PATCH_BYTES and len(self._patches) < MAX_PATCHES:
            self._patches.append(Patch(start, end, now_ms + self._settle_ms))
        else:
            skipped[lost] += 1


def find_start(file: OpenFile, size_bytes: int, oldest_s: int) -> int:
    """An offset before the first event that is wanted.  The search starts at the end, in growing steps.

    What lies before a hole is older than it, and not wanted.
    """
    step, text_seen = PROBE_BYTES, False
    while (offset := size_bytes - step) > 0:
        probe = file.read_at(offset, PROBE_BYTES)
        times = list(times_in(probe))
        if (times and max(times) < oldest_s) or (text_seen and not probe.strip(b"\0")):
            return offset
        text_seen = text_seen or bool(probe.strip(b"\0"))
        step = max(2 * step, PIECE_BYTES)
    return 0
