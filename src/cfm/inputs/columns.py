"""Turns blocks of lines into columns: what the fast parsers of the metadata files have in common.

Polars' CSV reader only splits lines here; it handles no quotes and no types.  The rules for bad lines are
expressions over whole columns.  `reference` has the same rules in plain Python, line by line, and tests
compare the two.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import polars as pl

from cfm.inputs.lines import BLANKS, MAX_LINE_BYTES, NOT_TEXT_MARK
from cfm.names import FORBIDDEN, MAX_NAME_BYTES


@dataclass(frozen=True, slots=True)
class Reading:
    """The content of one metadata file: its good lines, and how many lines were skipped for which reason."""

    frame: pl.DataFrame
    has_header: bool
    torn: bool
    """The last line has no end.  Somebody may still be writing the file."""
    skipped: Mapping[str, int]


def table(block: bytes, separator: str, columns: tuple[str, ...], wanted: tuple[str, ...]) -> pl.DataFrame:
    """One row for each line that is not blank: the whole `line`, and the wanted columns (empty if
    missing)."""
    text = block.replace(b"\0", NOT_TEXT_MARK.encode()) if b"\0" in block else block
    lines = _read_csv(text, "\0", ("line",), ("line",))
    fields = _read_csv(_with_its_returns(text, separator.encode()), separator, columns, wanted)
    rows = pl.concat([lines, fields], how="horizontal")
    return rows.with_columns(pl.all().fill_null("")).filter(
        pl.col("line").str.strip_chars(BLANKS.decode()) != ""
    )


_PLAIN_BYTES: Final = bytes(set(range(0x20, 0x7F)) - set(b"/\\")) + b"\n"
_LOOKED_AT_ONCE: Final = 256 * 1024


def plain_table(
    block: bytes, separator: str, columns: tuple[str, ...], wanted: tuple[str, ...]
) -> pl.DataFrame | None:
    """The wanted columns of a block in which no line is blank, short or long, and no byte is unusual.

    None where that may not be so.  Nearly all blocks are like this, and then the whole lines are not needed:
    to make a column of them, and to look for bad ones in it, takes more than half of the time.
    """
    if not _is_plain(block, _PLAIN_BYTES + separator.encode()):
        return None
    rows = _read_csv(block, separator, columns, wanted)
    first, last = pl.col(wanted[0]), pl.col(wanted[-1])
    odd = first.is_null() | last.is_null() | (first.str.strip_chars(BLANKS.decode()) == "")
    if rows.height != block.count(b"\n") or rows.select(odd.any()).item():
        return None
    return rows.with_columns(pl.all().fill_null(""))


def is_plain_name(column: str) -> pl.Expr:
    """`is_name` where the block has no unusual byte."""
    name = pl.col(column)
    return name.str.len_bytes().is_between(1, MAX_NAME_BYTES) & ~name.str.starts_with(".")


def _is_plain(block: bytes, usual: bytes) -> bool:
    begins = range(0, len(block), _LOOKED_AT_ONCE)  # in parts, so that no step holds the interpreter for long
    unusual = any(block[begin : begin + _LOOKED_AT_ONCE].translate(None, usual) for begin in begins)
    return not unusual and not _has_long_line(block)


def _has_long_line(block: bytes) -> bool:
    begin = 0
    while begin < len(block):
        end = block.rfind(b"\n", begin, begin + MAX_LINE_BYTES + 1)
        if end < 0:
            return True
        begin = end + 1
    return False


def _with_its_returns(text: bytes, separator: bytes) -> bytes:
    """Add a carriage return at each end of a field that has one.

    Polars removes one from the end of every field, not only of the last one.  A name or a size must keep its
    own, so that it counts as a bad one.
    """
    at_an_end = b"\r" + separator
    return text.replace(at_an_end, b"\r" + at_an_end) if at_an_end in text else text


def _read_csv(text: bytes, separator: str, columns: tuple[str, ...], wanted: tuple[str, ...]) -> pl.DataFrame:
    # This extra first row sets the number of columns.  It also keeps Polars from dropping a byte order mark
    # in the middle of the file: such a mark makes a name a bad one.
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


def all_differ(names: pl.Series) -> bool:
    """Is each name there once?  True is certain, as equal names have equal hashes; False is all but certain.

    To count a million different names takes six times as long as to count their hashes.
    """
    return names.hash().n_unique() == names.len()


def is_text() -> pl.Expr:
    return ~pl.col("line").str.contains(NOT_TEXT_MARK, literal=True)


def is_too_long() -> pl.Expr:
    return pl.col("line").str.len_bytes() > MAX_LINE_BYTES


def is_name(column: str) -> pl.Expr:
    """`names.is_file_name` for a whole column."""
    name = pl.col(column)
    fine_length = name.str.len_bytes().is_between(1, MAX_NAME_BYTES)
    return fine_length & ~name.str.starts_with(".") & ~name.str.contains(FORBIDDEN)


def count_reasons(rows: pl.DataFrame, into: Counter[str]) -> None:
    """Add up the reasons in the column `skip`, which is null in good rows."""
    for reason, lines in rows["skip"].drop_nulls().value_counts().iter_rows():
        into[reason] += lines
