"""The metadata watch of a simulated cfm: reads grade file and history, and judges the pair.

It uses the plain twins of the product's parsers, and the product's own `judge`.  A change of the files wakes
it, so that it need not poll.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, cast

from cfm.inputs.reference import PlainReading, read_grade_file
from cfm.inputs.snapshot import TORN_AFTER_MS, Candidate, Snapshot, is_unfinished
from cfm.model import File, Measure, SnapshotFacts
from cfm_lab.sim.environment.metadata import MetadataVersion
from cfm_lab.sim.environment.rng import Rng
from cfm_lab.sim.environment.shared import Environment

REST_MS: Final = 2_000
_NO_FRAME = cast("Snapshot", None)
"""The judge looks at the measure of a candidate, and never at its columns, so there are none here."""


@dataclass(frozen=True, slots=True)
class Pair:
    """What the watch has read: the facts of a snapshot, and the known files."""

    facts: SnapshotFacts
    files: tuple[File, ...]
    good: bool


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


class SimMetadataWatch:
    """Follows the pair for one running cfm."""

    def __init__(
        self, env: Environment, rng: Rng, alive: Callable[[], bool],
        on_pair: Callable[[Pair, Measure | None], None], on_rejected: Callable[[SnapshotFacts], None],
        last_good: Measure | None,
    ) -> None:  # fmt: skip
        self.env = env
        self._rng = rng
        self.last_good = last_good
        self._alive = alive
        self._on_pair = on_pair
        self._on_rejected = on_rejected
        self._told = ""

    def changed(self) -> None:
        """The files have changed: look at them when they have been at rest for a while."""
        changes = self.env.metadata.changes
        self.env.schedule.after(REST_MS + self._rng.below(1_000), self._look, changes, REST_MS)

    def _look(self, changes: int, settled_ms: int) -> None:
        files = self.env.metadata
        if not self._alive() or changes != files.changes:
            return
        grade, history = files.grade, files.history
        if grade is None or history is None:
            self._reject(SnapshotFacts("", 0, 0, 0, accepted=False, why="a metadata file is missing"))
            return
        candidate, pair = read(grade, history, changes, self.env.parts.read_history)
        if is_unfinished(candidate, settled_ms):
            self.env.schedule.after(TORN_AFTER_MS, self._look, changes, settled_ms + TORN_AFTER_MS)
            return
        why = self.env.parts.judge_metadata(candidate, self.last_good, settled_ms)
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
    grade: MetadataVersion,
    history: MetadataVersion,
    number: int,
    read_history: Callable[[bytes], PlainReading],
) -> tuple[Candidate, Pair]:
    """Parse and join a pair."""
    graded, hits = read_grade_file(grade.data), read_history(history.data)
    files = known_files(graded, hits)
    measure = Measure(len(graded.graded), len(hits.history), len(files))
    facts = SnapshotFacts(
        f"pair-{number}",
        min(grade.mtime_s, history.mtime_s),
        measure.graded_files,
        measure.known_files,
        history_files=measure.history_files,
    )
    flaw = (
        flaw_of("grade file", grade.data, graded)
        or flaw_of("history", history.data, hits)
        or (None if files else "no graded file has a size in the history")
    )
    pair = Pair(facts, files, grade.good and history.good)
    return Candidate(_NO_FRAME, measure, flaw, graded.torn or hits.torn), pair
