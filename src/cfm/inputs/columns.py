"""Blocks of lines to columns, fast: what the parsers of the metadata files have in common.

Polars' CSV reader does no more than split here: no quotes, no types, no opinion.  What makes a line a
bad one is said once, as expressions over whole columns; `reference` says the same as plain Python, line
by line, and tests hold the two against each other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from cfm.inputs.lines import BLANKS, MAX_LINE_BYTES, NOT_TEXT_MARK
from cfm.names import FORBIDDEN, MAX_NAME_BYTES


@dataclass(frozen=True, slots=True)
class Reading:
    """What one metadata file said: its good lines, and how many were left out for which reason."""

    frame: pl.DataFrame
    has_header: bool
    torn: bool
    """The last line has no end: the file may still be being written."""
    skipped: Mapping[str, int]


def table(block: bytes, separator: str, columns: tuple[str, ...], wanted: tuple[str, ...]) -> pl.DataFrame:
    """One row a line that is not blank: `line` as it is, and the wanted columns, empty where absent."""
    text = block.replace(b"\0", NOT_TEXT_MARK.encode()) if b"\0" in block else block
    lines = _read_csv(text, "\0", ("line",), ("line",))
    fields = _read_csv(_with_its_returns(text, separator.encode()), separator, columns, wanted)
    rows = pl.concat([lines, fields], how="horizontal")
    return rows.with_columns(pl.all().fill_null("")).filter(
        pl.col("line").str.strip_chars(BLANKS.decode()) != ""
    )


def _with_its_returns(text: bytes, separator: bytes) -> bytes:
    """Polars takes one carriage return off the end of every field, not of the last alone; so that a name or a
    size keeps what it came with, it gets one more."""
    at_an_end = b"\r" + separator
    return text.replace(at_an_end, b"\r" + at_an_end) if at_an_end in text else text


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
