"""The hit-count history: the size of each file, the servers that held it, and its hits so far.

Each file has one line: `name,registered,bitrate,size,server_ips,base,shared,virtual,type=hits`.  The size
must be positive and fit 64 bits.  A name with two different sizes has no size.  The last columns are known to
be unreliable, so a bad hit counts 0, and the line still counts.  Neighbours: `docs/file-formats.md` has the
rules, `reference.read_hit_history` does the same in plain Python, and `snapshot` pairs the result with the
grade file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

import polars as pl

from cfm.inputs import reference
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

SCHEMA = pl.Schema(
    (
        ("name", pl.String()),
        ("size_bytes", pl.Int64()),
        ("hits", pl.Int64()),
        ("history_ips", pl.List(pl.String())),
    )
)
COLUMNS = ("name", "registered", "bitrate", "size", "ips", "base", "shared", "virtual", "hits")
WANTED = ("name", "size", "ips", "hits")
LEAST_COLUMNS = 5
ENOUGH_COLUMNS = f"^(?:[^,]*,){{{LEAST_COLUMNS - 1}}}"
SLICE_ROWS = 16_384

ORDINARY_HITS = r"^[^=]*=[0-9]{0,14}(?: [0-9]{0,14})*$"
"""Hit lists whose sum surely fits 64 bits, as a line has at most 64 KiB.  Nearly all lists match."""


def is_header(line: bytes) -> bool:
    """Is this the header, such as `historyheader:1524047082`?  It has too few columns for a file's line."""
    return line.lower().startswith(b"historyheader") and line.count(b",") + 1 < LEAST_COLUMNS


def read_hit_history(pieces: Iterable[bytes]) -> Reading:
    """Read the file from pieces of any length.  The frame has the columns of `SCHEMA`, and one row per
    name."""
    blocks = LineBlocks(pieces)
    header, body = split_header(blocks)
    if not is_header(header):
        for _ in body:  # read to the end, so that `torn` is known
            pass
        return Reading(SCHEMA.to_frame(), has_header=False, torn=blocks.torn, skipped={})
    skipped: Counter[str] = Counter()
    frames = [SCHEMA.to_frame()]
    for block in body:
        rows = _rows(block)
        count_reasons(rows, skipped)
        frames.append(_without_odd(rows.filter(pl.col("skip").is_null())))
    frame = _one_of_each(pl.concat(frames), skipped)
    skipped[Skip.TORN_LAST_LINE] += blocks.torn
    return Reading(frame, has_header=True, torn=blocks.torn, skipped=+skipped)


def _rows(block: bytes) -> pl.DataFrame:
    """One row for each line: its values, and the reason where it is to be skipped."""
    plain = plain_table(block, ",", COLUMNS, WANTED)
    lines = table(block, ",", COLUMNS, WANTED) if plain is None else plain
    skip = _skip if plain is None else _skip_plain
    slices = list(lines.iter_slices(SLICE_ROWS)) or [lines]
    values = _values(skip, tidy=plain is not None and not any(spaces in block for spaces in _UNTIDY))
    # This uses all processors, because splitting the hit lists takes the longest.
    return pl.concat(pl.collect_all([part.lazy().select(*values) for part in slices]))


_UNTIDY = (b"  ", b", ", b" ,")


def _values(skip: Callable[[pl.Expr], pl.Expr], *, tidy: bool) -> tuple[pl.Expr, ...]:
    """`tidy`: words have one space between them, as nearly everywhere, and fields none around them."""
    size = pl.col("size").cast(pl.Int64, strict=False).fill_null(0)
    ordinary = pl.col("hits").str.contains(ORDINARY_HITS)
    hits = pl.col("hits").str.split_exact("=", 1).struct.field("field_1")
    ips = pl.col("ips") if tidy else pl.col("ips").str.strip_chars(" ").str.replace_all("  +", " ")
    return (
        pl.col("name"),
        size.alias("size_bytes"),
        hits.str.split(" ").cast(pl.List(pl.Int64), strict=False).list.sum().alias("hits"),
        _split(ips).alias("history_ips"),
        pl.when(~ordinary).then(pl.col("hits")).alias("odd_hits"),
        skip(size).alias("skip"),
    )


def _skip(size: pl.Expr) -> pl.Expr:
    return (
        pl.when(is_too_long())
        .then(pl.lit(Skip.TOO_LONG.value))
        .when(~is_text())
        .then(pl.lit(Skip.NOT_TEXT.value))
        .when(~pl.col("line").str.contains(ENOUGH_COLUMNS))
        .then(pl.lit(Skip.TOO_FEW_COLUMNS.value))
        .when(~is_name("name"))
        .then(pl.lit(Skip.BAD_NAME.value))
        .when((size <= 0) | pl.col("size").str.starts_with("+"))
        .then(pl.lit(Skip.BAD_SIZE.value))
    )


def _skip_plain(size: pl.Expr) -> pl.Expr:
    """The same for lines of a block that `plain_table` has read: they have all columns, and no odd byte."""
    return (
        pl.when(~is_plain_name("name"))
        .then(pl.lit(Skip.BAD_NAME.value))
        .when((size <= 0) | pl.col("size").str.starts_with("+"))
        .then(pl.lit(Skip.BAD_SIZE.value))
    )


def _split(text: pl.Expr) -> pl.Expr:
    """The different words of a text.  An empty text has none (not one empty word)."""
    words = text.str.split(" ").list.unique(maintain_order=True)
    return words.list.head(pl.when(text == "").then(0))


def _without_odd(values: pl.DataFrame) -> pl.DataFrame:
    """Sum the few hit lists that contain garbage or huge numbers with Python's integers."""
    odd = values["odd_hits"]
    if odd.null_count() == odd.len():
        return values.select(SCHEMA.names())
    sums = odd.map_elements(reference.sum_of_hits, return_dtype=pl.Int64)
    return values.with_columns(pl.coalesce(sums, "hits").alias("hits")).select(SCHEMA.names())


def _one_of_each(frame: pl.DataFrame, skipped: Counter[str]) -> pl.DataFrame:
    """Merge the lines of a name that occurs again with the same size: all servers, and the most hits."""
    if all_differ(frame["name"]):
        return frame.rechunk()
    again = frame["name"].is_duplicated()
    repeated = frame.filter(again)
    merged = (
        repeated.group_by("name", maintain_order=True)
        .agg(
            pl.col("size_bytes").n_unique().alias("sizes"),
            pl.len().alias("lines"),
            pl.col("size_bytes").first(),
            pl.col("hits").max(),
            pl.col("history_ips")
            .list.explode(keep_nulls=False, empty_as_null=False)
            .unique(maintain_order=True),
        )
        .with_columns(agree=pl.col("sizes") == 1)
    )
    agreeing = merged.filter("agree")
    skipped[Skip.DUPLICATE_NAME] += int(agreeing["lines"].sum()) - agreeing.height
    skipped[Skip.SIZES_DIFFER] += int(merged.filter(~pl.col("agree"))["lines"].sum())
    return pl.concat([frame.filter(~again), agreeing.select(SCHEMA.names())], rechunk=True)
