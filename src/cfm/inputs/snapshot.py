"""The snapshot: grade file and history as one pair, accepted or rejected as a whole.

`build` joins what `grade_file` and `hit_history` read; `judge` is rule 15, pure: a pair that is
half-written, emptied, or fits together much less than the last good one decides nothing.  `watching`
brings the files and the last good measure; everybody else only ever sees an accepted `Snapshot`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import polars as pl

from cfm.inputs.columns import Reading
from cfm.model import File, SnapshotFacts

TORN_AFTER_MS = 10_000
"""A last line without its end is waited for this long, then dropped."""

COLUMNS = ("rank", "name", "size_bytes", "hits", "history_ips")


@dataclass(frozen=True, slots=True)
class Measure:
    """How much a pair holds: what a new pair is compared with, and worth keeping over a restart."""

    graded_files: int
    history_files: int
    known_files: int


@dataclass(frozen=True, slots=True)
class SourceFile:
    """Which content of a metadata file was read."""

    path: str
    size_bytes: int
    mtime_s: int
    digest: str


@dataclass(frozen=True, slots=True)
class Candidate:
    """A pair that was read and not yet judged."""

    snapshot: Snapshot
    measure: Measure
    flaw: str | None
    """Why it could never decide anything, whatever came before it."""
    torn: bool
    """A last line has no end."""


class Snapshot:
    """The known files by rank, in a frame of `COLUMNS`, and what is said of the pair they come from."""

    def __init__(self, frame: pl.DataFrame, facts: SnapshotFacts, unsized: pl.DataFrame) -> None:
        self.frame = frame
        self.facts = facts
        self._unsized = unsized

    def file(self, name: str) -> File | None:
        """The known file of this name."""
        return next((_file(*row) for row in self.frame.filter(pl.col("name") == name).iter_rows()), None)

    def files(self, names: Iterable[str]) -> dict[str, File]:
        """Those of the names that are known files, by name."""
        wanted = pl.Series("name", list(names), pl.String).implode()
        return {row[1]: _file(*row) for row in self.frame.filter(pl.col("name").is_in(wanted)).iter_rows()}

    def graded(self, name: str) -> int | None:
        """The rank of a name in the grade file, also of one without a size (which is not known)."""
        for frame in (self.frame, self._unsized):
            for rank in frame.filter(pl.col("name") == name)["rank"]:
                return int(rank)
        return None


def _file(rank: int, name: str, size_bytes: int, hits: int, history_ips: list[str]) -> File:
    return File(name, rank, size_bytes, hits, tuple(history_ips))


def build(grade: Reading, history: Reading, sources: tuple[SourceFile, SourceFile]) -> Candidate:
    """Join a pair that was read: known is what is graded and has a size."""
    graded = grade.frame.join(history.frame, on="name", how="left", maintain_order="left").select(COLUMNS)
    known = graded.drop_nulls("size_bytes").rechunk()
    unsized = graded.filter(pl.col("size_bytes").is_null()).select("rank", "name")
    measure = Measure(grade.frame.height, history.frame.height, known.height)
    facts = SnapshotFacts(
        id="-".join(source.digest[:6] for source in sources),
        read_wall_s=min(source.mtime_s for source in sources),
        graded_files=measure.graded_files,
        known_files=measure.known_files,
        skipped_lines=_skipped(grade, history),
    )
    flaw = (
        _flaw_of("grade file", grade, sources[0])
        or _flaw_of("history", history, sources[1])
        or (None if known.height else "no graded file has a size in the history")
    )
    return Candidate(Snapshot(known, facts, unsized), measure, flaw, grade.torn or history.torn)


def _skipped(grade: Reading, history: Reading) -> dict[str, int]:
    named = {"grade": grade.skipped, "history": history.skipped}
    return {f"{file}_{reason}": lines for file, skipped in named.items() for reason, lines in skipped.items()}


def judge(candidate: Candidate, last_good: Measure | None, settled_ms: int) -> str | None:
    """Why this pair decides nothing; None where it is accepted.

    `settled_ms` is how long both files have been at rest; `last_good` measures the pair that was
    accepted last, and is None before the first one.
    """
    return (
        _unfinished(candidate, settled_ms)
        or candidate.flaw
        or (_shrunken(candidate.measure, last_good) if last_good else None)
    )


def is_unfinished(candidate: Candidate, settled_ms: int) -> bool:
    """Is the only thing to do to wait, for the rest of a last line?"""
    return candidate.torn and settled_ms < TORN_AFTER_MS


def _unfinished(candidate: Candidate, settled_ms: int) -> str | None:
    if not is_unfinished(candidate, settled_ms):
        return None
    return "the last line of the grade file or the history has no end: it may still be being written"


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
