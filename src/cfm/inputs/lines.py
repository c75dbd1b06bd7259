"""Cuts a metadata file into lines, so that a bad line spoils nothing but itself.

A file arrives in pieces of any length.  `LineBlocks` cuts them into blocks of whole lines, so that a file of
gigabytes is never completely in memory.  `columns` splits the blocks for `grade_file` and `hit_history`;
`reference` and `event_log` use only this module.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator

MAX_LINE_BYTES = 65_536
"""Longer lines occur (70 kB), and are garbage.  The limit bounds the cost of one line."""

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
BLANKS = b" \t\r"
NOT_TEXT_MARK = "\ufffd"
"""What bytes that are not UTF-8 become in decoded text.  NUL bytes are treated in the same way."""


class Skip(enum.StrEnum):
    """Why a line was skipped."""

    TOO_LONG = "too_long"
    NOT_TEXT = "not_text"
    TOO_FEW_COLUMNS = "too_few_columns"
    BAD_NAME = "bad_name"
    BAD_SIZE = "bad_size"
    DUPLICATE_NAME = "duplicate_name"
    SIZES_DIFFER = "sizes_differ"
    TORN_LAST_LINE = "torn_last_line"


class LineBlocks:
    """Cuts pieces of a file into blocks of whole lines.  The text after the last newline is `torn`."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = pieces
        self._rest = b""

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._pieces:
            cut = piece.rfind(b"\n") + 1
            if cut:
                yield self._rest + piece[:cut]
                self._rest = b""
            # A line that is too long stays too long when it is cut here.  So the memory is bounded.
            self._rest = (self._rest + piece[cut:])[: MAX_LINE_BYTES + 2]

    @property
    def torn(self) -> bool:
        """Does the file end within a line?  Valid after the last block."""
        return not is_blank(self._rest)


def is_blank(line: bytes) -> bool:
    return not line.strip(BLANKS)


def split_header(blocks: Iterable[bytes]) -> tuple[bytes, Iterator[bytes]]:
    """The first line that is not blank, and the blocks after it."""
    rest = iter(blocks)
    for block in rest:
        start = 0
        while start < len(block):
            end = block.index(b"\n", start)
            line = block[start:end].removeprefix(BYTE_ORDER_MARK) if start == 0 else block[start:end]
            if not is_blank(line):
                return line, _then(block[end + 1 :], rest)
            start = end + 1
    return b"", iter(())


def _then(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    if first:
        yield first
    yield from rest
