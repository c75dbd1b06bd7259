"""Bytes of a metadata file to lines and columns, so that a bad line costs itself and nothing else.

`grade_file` and `hit_history` build on this.  A file arrives in pieces of any length; `LineBlocks` cuts
them into blocks of whole lines, so that a file of gigabytes is never in memory as a whole.  Polars'
CSV reader then does no more than split: no quotes, no types, no opinion.  `reference` holds the same
rules as plain Python, line by line; tests hold the two against each other.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import polars as pl

from cfm.names import FORBIDDEN, MAX_NAME_BYTES

MAX_LINE_BYTES = 65_536
"""Longer lines occur (70 kB) and are garbage; a bound keeps what one line can cost small."""

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
BLANKS = b" \t\r"
NOT_TEXT_MARK = "\ufffd"
"""What bytes that are not UTF-8 become when decoded; NUL is treated like them."""


class Skip(enum.StrEnum):
    """Why a line was left out."""

    TOO_LONG = "too_long"
    NOT_TEXT = "not_text"
    TOO_FEW_COLUMNS = "too_few_columns"
    BAD_NAME = "bad_name"
    BAD_SIZE = "bad_size"
    DUPLICATE_NAME = "duplicate_name"
    SIZES_DIFFER = "sizes_differ"
    TORN_LAST_LINE = "torn_last_line"


@dataclass(frozen=True, slots=True)
class Reading:
    """What one metadata file said: its good lines, and how many were left out for which reason."""

    frame: pl.DataFrame
    has_header: bool
    torn: bool
    """The last line has no end: the file may still be being written."""
    skipped: Mapping[str, int]


class LineBlocks:
    """Cuts pieces of a file into blocks of whole lines; what follows the last newline is `torn`."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = pieces
        self._rest = b""

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._pieces:
            cut = piece.rfind(b"\n") + 1
            if cut:
                yield self._rest + piece[:cut]
                self._rest = b""
            # A line that is too long stays too long when it is cut here: memory stays bounded.
            self._rest = (self._rest + piece[cut:])[: MAX_LINE_BYTES + 2]

    @property
    def torn(self) -> bool:
        """Valid after the last block."""
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


def table(block: bytes, separator: str, columns: tuple[str, ...], wanted: tuple[str, ...]) -> pl.DataFrame:
    """One row a line that is not blank: `line` as it is, and the wanted columns, empty where absent."""
    text = block.replace(b"\0", NOT_TEXT_MARK.encode()) if b"\0" in block else block
    lines = _read_csv(text, "\0", ("line",), ("line",))
    fields = _read_csv(text, separator, columns, wanted)
    rows = pl.concat([lines, fields], how="horizontal")
    return rows.with_columns(pl.all().fill_null("")).filter(
        pl.col("line").str.strip_chars(BLANKS.decode()) != ""
    )


def _read_csv(text: bytes, separator: str, columns: tuple[str, ...], wanted: tuple[str, ...]) -> pl.DataFrame:
    # A first row of our own settles the number of columns, and keeps Polars from dropping a byte order
    # mark in the middle of the file (it makes that name a bad one).
    first = separator.encode() * (len(columns) - 1) + b"\n"
    frame = pl.read_csv(
        first + text,
        has_header=False,
        separator=separator,
        quote_char=None,
        encoding="utf8-lossy",
        schema=dict.fromkeys(columns, pl.String),
        columns=[columns.index(name) for name in wanted],
        truncate_ragged_lines=True,
    )
    return frame.slice(1)


def is_text() -> pl.Expr:
    return ~pl.col("line").str.contains(NOT_TEXT_MARK, literal=True)


def is_too_long() -> pl.Expr:
    return pl.col("line").str.len_bytes() > MAX_LINE_BYTES


def is_name(column: str) -> pl.Expr:
    """`names.is_file_name`, for a whole column."""
    name = pl.col(column)
    fine_length = name.str.len_bytes().is_between(1, MAX_NAME_BYTES)
    return fine_length & ~name.str.starts_with(".") & ~name.str.contains(FORBIDDEN)


def count_reasons(rows: pl.DataFrame, into: Counter[str]) -> None:
    """Adds up the column `skip`, which is null on good rows."""
    for reason, lines in rows["skip"].drop_nulls().value_counts().iter_rows():
        into[reason] += lines
