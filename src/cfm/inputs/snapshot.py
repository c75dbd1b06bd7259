"""The snapshot: grade file and history as one pair, which is accepted or rejected as a whole.

`build` joins what `grade_file` and `hit_history` read.  `judge` is rule 15, and pure: it rejects a pair that
is half-written, that is empty, or whose two files fit together much less than those of the last good pair.
`watching` brings the files and the measure of the last good pair.  All others only see an accepted
`Snapshot`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

import polars as pl
from polars.series.string import StringNameSpace

from cfm.inputs.columns import Reading
from cfm.model import File, Measure, SnapshotFacts

TORN_AFTER_MS = 10_000
"""How long a last line without an end may still be completed.  After that it is dropped."""

COLUMNS = ("rank", "name", "size_bytes", "hits", "history_ips")


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A metadata file, and which content of it was read."""

    path: str
    size_bytes: int
    mtime_s: int
    digest: str


@dataclass(frozen=True, slots=True)
class Candidate:
    """A pair that was read, and is not judged yet."""

    snapshot: Snapshot
    measure: Measure
    flaw: str | None
    """Why the pair can never be accepted, whatever came before it."""
    torn: bool
    """A last line has no end."""


class Snapshot:
    """The known files by rank, in a frame with `COLUMNS`, and the facts about the pair that they come
    from."""

    def __init__(self, frame: pl.DataFrame, facts: SnapshotFacts, unsized: pl.DataFrame) -> None:
        self.frame = frame
        self.facts = facts
        self._unsized = unsized

    def file(self, name: str) -> File | None:
        """The known file with this name; None where there is none."""
        return next((_file(*row) for row in self.frame.filter(pl.col("name") == name).iter_rows()), None)

    def files(self, names: Iterable[str]) -> dict[str, File]:
        """The known files among these names, by name."""
        wanted = pl.Series("name", list(names), pl.String).implode()
        return {row[1]: _file(*row) for row in self.frame.filter(pl.col("name").is_in(wanted)).iter_rows()}

    def by_rank(self, names: Collection[str], offset: int, limit: int) -> ByRank:
        """Some of these names, the most wanted first.  Names that are not known come last, by name."""
        found = self.frame.filter(pl.col("name").is_in(pl.Series("name", list(names), pl.String).implode()))
        rows: list[File | str] = [_file(*row) for row in found.slice(offset, limit).iter_rows()]
        if len(rows) < limit and found.height < len(names):
            others = sorted(frozenset(names).difference(found["name"].to_list()))
            rows += others[max(0, offset - found.height) :][: limit - len(rows)]
        return ByRank(rows, found.height, int(found["size_bytes"].sum()))

    def near(self, name: str) -> list[str]:
        """A few graded names that somebody may have meant who wrote `name`."""
        names = pl.concat([self.frame["name"], self._unsized["name"]])
        for pattern in _parts_of(name):
            candidates = names.filter(pattern(names.str)).head(_CANDIDATES).to_list()
            near = difflib.get_close_matches(name, candidates, n=_NEAR, cutoff=_ALIKE)
            if near or (candidates and len(candidates) <= _NEAR):
                return near or candidates
        return []

    def containing(self, text: str, most: int) -> list[tuple[int, str]]:
        """The first `most` graded files, by rank, that have this in their name, in capitals or not; files
        without a size last.

        To look for a text in any case takes up to five times as long as to look for it as it is.  So only
        those names are looked at that have the longest part of it without letters.
        """
        fixed = max(_NO_LETTERS.findall(text), key=len, default="")
        forms = [text] if text.isascii() else [text, text.upper(), text.lower()]
        found: list[tuple[int, str]] = []
        for frame in (self.frame, self._unsized):
            for piece in frame.select("rank", "name").iter_slices(_LOOKED_AT):
                likely = piece.filter(piece["name"].str.contains(fixed, literal=True)) if fixed else piece
                is_it = likely["name"].str.contains_any(forms, ascii_case_insensitive=True)
                found += likely.filter(is_it).head(most - len(found)).iter_rows()
                if len(found) >= most:
                    return found
        return found

    def graded(self, name: str) -> int | None:
        """The rank of a name in the grade file, even if it has no size (and so is no known file)."""
        for frame in (self.frame, self._unsized):
            for rank in frame.filter(pl.col("name") == name)["rank"]:
                return int(rank)
        return None


@dataclass(frozen=True, slots=True)
class ByRank:
    """A page of names, and how many of all these names are known."""

    rows: Sequence[File | str]
    """Known files, and the bare names of the others."""
    known: int
    known_bytes: int


_NO_LETTERS = re.compile(r"[\x00-@\[-`{-\x7f]+")
"""What is the same in any case."""
_LOOKED_AT = 100_000
"""Names that are searched at a time."""
_NEAR = 3
"""Names that are told to whoever may have meant one of them."""
_CANDIDATES = 2_000
_ALIKE = 0.6


def _parts_of(name: str) -> Iterator[Callable[[StringNameSpace], pl.Series]]:
    """Ways to find names that have something in common with `name`, the narrowest first.

    Somebody wrote a part of a name, or mistyped its end or its beginning.
    """
    if name:
        yield lambda names: names.contains(f"(?i){re.escape(name)}")
    for length in (len(name) * 3 // 4, len(name) // 2, len(name) // 4):
        beginning, end = name[:length], name[len(name) - length :]
        if length >= _LEAST_IN_COMMON:
            yield lambda names, beginning=beginning: names.starts_with(beginning)  # type: ignore[misc]
            yield lambda names, end=end: names.ends_with(end)  # type: ignore[misc]


_LEAST_IN_COMMON = 3


def _file(rank: int, name: str, size_bytes: int, hits: int, history_ips: list[str]) -> File:
    return File(name, rank, size_bytes, hits, tuple(history_ips))


def pair_id(sources: tuple[SourceFile, SourceFile]) -> str:
    """Another content has another id."""
    return "-".join(source.digest[:6] for source in sources)


def build(grade: Reading, history: Reading, sources: tuple[SourceFile, SourceFile]) -> Candidate:
    """Join a pair that was read.  A file is known when it is graded and has a size."""
    graded = joined(grade.frame, history.frame)
    known = graded.drop_nulls("size_bytes").rechunk()
    unsized = graded.filter(pl.col("size_bytes").is_null()).select("rank", "name")
    measure = Measure(grade.frame.height, history.frame.height, known.height)
    facts = SnapshotFacts(
        id=pair_id(sources),
        read_wall_s=min(source.mtime_s for source in sources),
        graded_files=measure.graded_files,
        known_files=measure.known_files,
        skipped_lines=_skipped(grade, history),
        history_files=measure.history_files,
    )
    flaw = (
        _flaw_of("grade file", grade, sources[0])
        or _flaw_of("history", history, sources[1])
        or (None if known.height else "no graded file has a size in the history")
    )
    return Candidate(Snapshot(known, facts, unsized), measure, flaw, grade.torn or history.torn)


def joined(
    graded: pl.DataFrame, history: pl.DataFrame, hashed: Callable[[pl.Expr], pl.Expr] = pl.Expr.hash
) -> pl.DataFrame:
    """Each graded name, and what the history says of it: nothing where it does not have the name.

    Hashes are joined, which takes half of the processor time.  Where two names have one hash, names are.
    """
    hashes = history.select(hashed(pl.col("name"))).with_row_index("row")
    found = graded.select(hashed(pl.col("name"))).join(hashes, on="name", how="left", maintain_order="left")
    if found.height == graded.height:
        rows = history.select(pl.all().gather(found["row"])).rename({"name": "found"})
        both = graded.hstack(rows)
        if both.select((pl.col("found") == pl.col("name")).all()).item():
            return both.select(COLUMNS)
    return graded.join(history, on="name", how="left", maintain_order="left").select(COLUMNS)


def _skipped(grade: Reading, history: Reading) -> dict[str, int]:
    named = {"grade": grade.skipped, "history": history.skipped}
    return {f"{file}_{reason}": lines for file, skipped in named.items() for reason, lines in skipped.items()}


def judge(candidate: Candidate, last_good: Measure | None, settled_ms: int) -> str | None:
    """Why this pair is rejected; None where it is accepted.

    `settled_ms` says how long both files have not changed.  `last_good` is the measure of the pair that was
    accepted last, and None before the first one.
    """
    return (
        _unfinished(candidate, settled_ms)
        or candidate.flaw
        or (_shrunken(candidate.measure, last_good) if last_good else None)
    )


def is_unfinished(candidate: Candidate, settled_ms: int) -> bool:
    """Must we wait for the rest of a last line?"""
    return candidate.torn and settled_ms < TORN_AFTER_MS


def _unfinished(candidate: Candidate, settled_ms: int) -> str | None:
    if not is_unfinished(candidate, settled_ms):
        return None
    return "the last line of the grade file or the history has no end: somebody may still be writing it"


def _flaw_of(what: str, reading: Reading, source: SourceFile) -> str | None:
    if source.size_bytes == 0:
        return f"the {what} is empty"
    if not reading.has_header:
        return f"the {what} does not begin with its header"
    if reading.frame.is_empty():
        return f"the {what} has no line that counts"
    return None


def _shrunken(new: Measure, good: Measure) -> str | None:
    numbers = (
        ("graded files", new.graded_files, good.graded_files),
        ("files in the history", new.history_files, good.history_files),
        ("known files", new.known_files, good.known_files),
    )
    for what, now, before in numbers:
        if 2 * now < before:
            return f"less than half of the last good reading: {now} {what}, {before} before"
    if 2 * new.known_files * good.graded_files < good.known_files * new.graded_files:
        return (
            f"grade file and history fit together much less than before: {new.known_files} of "
            f"{new.graded_files} graded files are known, {good.known_files} of {good.graded_files} before"
        )
    return None
