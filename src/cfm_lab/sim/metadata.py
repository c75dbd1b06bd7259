"""The metadata of a simulated node: somebody writes grade file and history, cfm's watch reads them.

The writer knows the truth of ranks and sizes; faults spoil what it writes.  The watch parses by the plain
twins of the parsers and judges by the product's `judge`; it is woken by changes instead of by polling.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, cast

from cfm.inputs.reference import PlainReading, read_grade_file
from cfm.inputs.snapshot import TORN_AFTER_MS, Candidate, Measure, Snapshot, is_unfinished
from cfm.model import File, SnapshotFacts

if TYPE_CHECKING:
    from cfm_lab.sim.world import World

REST_MS: Final = 2_000
_NO_FRAME = cast("Snapshot", None)
"""The judge of candidates looks at what was measured, not at the columns, which nobody makes here."""


@dataclass(frozen=True, slots=True)
class Version:
    """One file as it lies there."""

    data: bytes
    mtime_s: int
    good: bool = True
    """Nobody spoiled it: what it says is what the writer meant."""


@dataclass(frozen=True, slots=True)
class Pair:
    """What the watch read: facts, and the known files."""

    facts: SnapshotFacts
    files: tuple[File, ...]
    good: bool


def grade_text(files: Sequence[File]) -> bytes:
    """A grade file: a file's rank is its line."""
    lines = ["filename\tweightcount\tbitrate\tgrade\tsumHitCount\thistoryCount\tTargetCopyCount"]
    at = 1
    for file in sorted(files, key=lambda f: f.rank):
        while at < file.rank:  # a rank that belongs to no known file
            lines.append(f"UNSIZED{at}.mpg\t1\t6000000\t{at}\t0\t0\t1")
            at += 1
        lines.append(f"{file.name}\t{1000 - at}\t6000000\t{at}\t{file.hits}\t0\t1")
        at += 1
    return "\n".join(lines).encode() + b"\n"


DOUBLED: Final = 5
"""The servers of every so-many-th file are listed twice over: each of them is still one."""


def history_text(files: Sequence[File]) -> bytes:
    lines = ["historyheader:1524047082"]
    lines += [
        f"{f.name},1508301143,6399785,{f.size_bytes},{' '.join(_ips(f))},2,0,0,1={f.hits}"
        for f in sorted(files, key=lambda f: f.name)
    ]
    return "\n".join(lines).encode() + b"\n"


def _ips(file: File) -> tuple[str, ...]:
    return file.history_ips * (2 if file.rank % DOUBLED == 0 else 1)


def known_files(grade: PlainReading, history: PlainReading) -> tuple[File, ...]:
    return tuple(
        File(g.name, g.rank, entry.size_bytes, entry.hits, entry.ips)
        for g in grade.graded
        if (entry := history.history.get(g.name)) is not None
    )


def flaw_of(what: str, data: bytes, reading: PlainReading) -> str | None:
    if not data:
        return f"the {what} is empty"
    if not reading.has_header:
        return f"the {what} does not begin with its header"
    if not (reading.graded or reading.history):
        return f"the {what} has no line that counts"
    return None


class MetadataFiles:
    """The two files on cfm's disk."""

    def __init__(self) -> None:
        self.grade: Version | None = None
        self.history: Version | None = None
        self.older: tuple[Version, Version] | None = None
        self.changes = 0
        self.on_change: Callable[[], None] = lambda: None

    def put(self, grade: Version | None, history: Version | None) -> None:
        if self.grade is not None and self.history is not None and self.older is None:
            self.older = (self.grade, self.history)
        self.grade, self.history = grade, history
        self.changes += 1
        self.on_change()


class MetadataWatch:
    """Follows the pair for one running cfm."""

    def __init__(
        self, world: World, alive: Callable[[], bool], on_pair: Callable[[Pair, Measure | None], None],
        on_rejected: Callable[[SnapshotFacts], None], last_good: Measure | None,
    ) -> None:  # fmt: skip
        self.world = world
        self.last_good = last_good
        self._alive = alive
        self._on_pair = on_pair
        self._on_rejected = on_rejected
        self._told = ""

    def changed(self) -> None:
        """Look when they have been at rest for a while."""
        changes = self.world.metadata.changes
        self.world.schedule.after(REST_MS + self.world.rng.below(1_000), self._look, changes, REST_MS)

    def _look(self, changes: int, settled_ms: int) -> None:
        files = self.world.metadata
        if not self._alive() or changes != files.changes:
            return
        grade, history = files.grade, files.history
        if grade is None or history is None:
            self._reject(SnapshotFacts("", 0, 0, 0, accepted=False, why="a metadata file is missing"))
            return
        candidate, pair = read(grade, history, changes, self.world.parts.read_history)
        if is_unfinished(candidate, settled_ms):
            self.world.schedule.after(TORN_AFTER_MS, self._look, changes, settled_ms + TORN_AFTER_MS)
            return
        why = self.world.parts.judge_metadata(candidate, self.last_good, settled_ms)
        if why is not None:
            self._reject(replace(pair.facts, accepted=False, why=why))
            return
        before, self.last_good = self.last_good, candidate.measure
        self._told = ""
        self._on_pair(pair, before)

    def _reject(self, facts: SnapshotFacts) -> None:
        if facts.why != self._told:
            self._told = facts.why or ""
            self._on_rejected(facts)


def read(
    grade: Version, history: Version, number: int, read_history: Callable[[bytes], PlainReading]
) -> tuple[Candidate, Pair]:
    """Parse and join a pair."""
    graded, hits = read_grade_file(grade.data), read_history(history.data)
    files = known_files(graded, hits)
    measure = Measure(len(graded.graded), len(hits.history), len(files))
    facts = SnapshotFacts(
        f"pair-{number}", min(grade.mtime_s, history.mtime_s), measure.graded_files, measure.known_files
    )
    flaw = (
        flaw_of("grade file", grade.data, graded)
        or flaw_of("history", history.data, hits)
        or (None if files else "no graded file has a size in the history")
    )
    pair = Pair(facts, files, grade.good and history.good)
    return Candidate(_NO_FRAME, measure, flaw, graded.torn or hits.torn), pair
