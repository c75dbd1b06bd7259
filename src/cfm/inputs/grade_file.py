"""The grade file: it says how much each file is wanted.

It is tab-separated, with one header line and the most wanted file first.  The rank of a file is the position
of its line after the header; blank lines do not count.  A bad line keeps its position, so that the ranks of
all other files stay the same.  When a name occurs twice, the first line counts.  Only the first column is
used.  Neighbours: `docs/file-formats.md` has the rules, `reference.read_grade_file` does the same in plain
Python, and `snapshot` pairs the result with the history.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import polars as pl

from cfm.inputs.columns import (
    Reading,
    all_differ,
    count_reasons,
    is_name,
    is_plain_name,
    is_text,
    is_too_long,
    plain_table,
    table,
)
from cfm.inputs.lines import LineBlocks, Skip, split_header

SCHEMA = pl.Schema({"rank": pl.Int64, "name": pl.String})


def is_header(line: bytes) -> bool:
    """Is this the header?  Its first column is `filename`."""
    return line.split(b"\t")[0].strip().lower() == b"filename"


def read_grade_file(pieces: Iterable[bytes]) -> Reading:
    """Read the file from pieces of any length.  The frame has `rank` and `name`, sorted by rank."""
    blocks = LineBlocks(pieces)
    header, body = split_header(blocks)
    if not is_header(header):
        for _ in body:  # read to the end, so that `torn` is known
            pass
        return Reading(SCHEMA.to_frame(), has_header=False, torn=blocks.torn, skipped={})
    skipped: Counter[str] = Counter()
    frames = [SCHEMA.to_frame()]
    lines = 0
    for block in body:
        rows = _rows(block, lines)
        lines += rows.height
        count_reasons(rows, skipped)
        frames.append(rows.filter(pl.col("skip").is_null()).select(SCHEMA.names()))
    frame = _first_of_each(pl.concat(frames), skipped)
    skipped[Skip.TORN_LAST_LINE] += blocks.torn
    return Reading(frame, has_header=True, torn=blocks.torn, skipped=+skipped)


def _rows(block: bytes, lines_before: int) -> pl.DataFrame:
    rank = pl.int_range(1, pl.len() + 1, dtype=pl.Int64) + lines_before
    plain = plain_table(block, "\t", ("name",), ("name",))
    if plain is not None:
        bad = pl.when(~is_plain_name("name")).then(pl.lit(Skip.BAD_NAME.value))
        return plain.select(rank.alias("rank"), "name", bad.alias("skip"))
    skip = (
        pl.when(is_too_long())
        .then(pl.lit(Skip.TOO_LONG.value))
        .when(~is_text())
        .then(pl.lit(Skip.NOT_TEXT.value))
        .when(~is_name("name"))
        .then(pl.lit(Skip.BAD_NAME.value))
    )
    return table(block, "\t", ("name",), ("name",)).select(rank.alias("rank"), "name", skip.alias("skip"))


def _first_of_each(frame: pl.DataFrame, skipped: Counter[str]) -> pl.DataFrame:
    if all_differ(frame["name"]):
        return frame.rechunk()
    first = frame.filter(pl.col("name").is_first_distinct())
    skipped[Skip.DUPLICATE_NAME] += frame.height - first.height
    return first.rechunk()
