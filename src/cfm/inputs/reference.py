"""The metadata parsers in plain Python: they show what the fast ones mean.

`grade_file` and `hit_history` are fast because they work on columns; these parsers are easy to read.  Tests
compare both on generated garbage.  The simulator uses these, because it does without Polars.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from cfm.inputs.lines import BYTE_ORDER_MARK, MAX_LINE_BYTES, NOT_TEXT_MARK, Skip, is_blank
from cfm.names import is_file_name

MAX_INT64 = 2**63 - 1
_digits = re.compile(r"[0-9]+")


@dataclass(frozen=True, slots=True)
class Graded:
    """A good line of the grade file."""

    rank: int
    name: str


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """What the history says about one name."""

    size_bytes: int
    hits: int
    ips: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PlainReading:
    """As `columns.Reading`, with rows instead of a frame."""

    graded: tuple[Graded, ...] = ()
    history: Mapping[str, HistoryEntry] = field(default_factory=dict)
    has_header: bool = True
    torn: bool = False
    skipped: Mapping[str, int] = field(default_factory=dict)


def read_grade_file(data: bytes) -> PlainReading:
    lines, torn = _lines(data)
    header = next(lines, b"").removeprefix(BYTE_ORDER_MARK)
    if header.split(b"\t")[0].strip().lower() != b"filename":
        return PlainReading(has_header=False, torn=torn)
    skipped = Counter[str]({Skip.TORN_LAST_LINE: int(torn)})
    ranks: dict[str, int] = {}
    for rank, line in enumerate(lines, start=1):
        name = _graded_name(line)
        if isinstance(name, Skip):
            skipped[name] += 1
        elif ranks.setdefault(name, rank) != rank:
            skipped[Skip.DUPLICATE_NAME] += 1
    graded = tuple(Graded(rank, name) for name, rank in ranks.items())
    return PlainReading(graded=graded, torn=torn, skipped=+skipped)


def read_hit_history(data: bytes) -> PlainReading:
    lines, torn = _lines(data)
    header = next(lines, b"").removeprefix(BYTE_ORDER_MARK)
    if not header.lower().startswith(b"historyheader") or header.count(b",") >= 4:
        return PlainReading(has_header=False, torn=torn)
    skipped = Counter[str]({Skip.TORN_LAST_LINE: int(torn)})
    entries: dict[str, list[HistoryEntry]] = {}
    for line in lines:
        match _history_entry(line):
            case Skip() as reason:
                skipped[reason] += 1
            case name, entry:
                entries.setdefault(name, []).append(entry)
    history = {name: _merged(seen) for name, seen in entries.items() if _agree(seen)}
    skipped[Skip.DUPLICATE_NAME] += sum(len(entries[name]) - 1 for name in history)
    skipped[Skip.SIZES_DIFFER] += sum(len(seen) for seen in entries.values() if not _agree(seen))
    return PlainReading(history=history, torn=torn, skipped=+skipped)


def sum_of_hits(column: str) -> int:
    """The sum of `type=1 2 3`.  A word that is not a number counts 0.  The sum is at most 2**63 - 1."""
    _, _, hits = column.partition("=")
    numbers = (int(word[:40]) for word in hits.split(" ") if _digits.fullmatch(word))
    return min(sum(number for number in numbers if number <= MAX_INT64), MAX_INT64)


def _lines(data: bytes) -> tuple[Iterator[bytes], bool]:
    """The whole lines that are not blank, without their ends.  And: is there a last line without an end?"""
    *lines, rest = data.split(b"\n")
    whole = (line.removesuffix(b"\r") for line in lines)
    return (line for line in whole if not is_blank(line)), not is_blank(rest)


def _text(line: bytes) -> str | Skip:
    if len(line) > MAX_LINE_BYTES:
        return Skip.TOO_LONG
    text = line.decode(errors="replace")
    return Skip.NOT_TEXT if NOT_TEXT_MARK in text or "\0" in text else text


def _graded_name(line: bytes) -> str | Skip:
    text = _text(line)
    if isinstance(text, Skip):
        return text
    name = text.split("\t")[0]
    return name if is_file_name(name) else Skip.BAD_NAME


@lru_cache(maxsize=4096)  # most lines are the same at the next reading
def _history_entry(line: bytes) -> tuple[str, HistoryEntry] | Skip:
    text = _text(line)
    if isinstance(text, Skip):
        return text
    columns = text.split(",")
    if len(columns) < 5:
        return Skip.TOO_FEW_COLUMNS
    name, _registered, _bitrate, size, ips, *rest = columns
    if not is_file_name(name):
        return Skip.BAD_NAME
    if not _is_size(size):
        return Skip.BAD_SIZE
    hits = sum_of_hits(rest[3]) if len(rest) > 3 else 0
    return name, HistoryEntry(int(size), hits, _without_doubles(ips.split(" ")))


def _is_size(text: str) -> bool:
    significant = text.lstrip("0")
    return bool(_digits.fullmatch(text)) and len(significant) <= 19 and 0 < int(significant or 0) <= MAX_INT64


def _without_doubles(words: list[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(word for word in words if word))


def _agree(seen: list[HistoryEntry]) -> bool:
    return len({entry.size_bytes for entry in seen}) == 1


def _merged(seen: list[HistoryEntry]) -> HistoryEntry:
    ips = _without_doubles([ip for entry in seen for ip in entry.ips])
    return HistoryEntry(seen[0].size_bytes, max(entry.hits for entry in seen), ips)
