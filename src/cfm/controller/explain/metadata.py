"""What is said of the metadata: in force, the last good measure, and what a person may accept.

`cfm accept` shows this before it lets in a pair that contains much less than the last good one.  Pure.
Neighbours: `inputs.watching` holds such a pair, `serve.json_api` shows this value.
"""

from __future__ import annotations

from cfm.controller.decide.core import Core
from cfm.controller.explain.parts import Json
from cfm.model import Known, Measure, Now, SnapshotFacts


def metadata_json(core: Core, now: Now) -> Json:
    """The metadata in force, and the newest reading where it was rejected."""
    state = core.state
    in_force, rejected, measure = state.snapshot, state.rejected, state.metadata.measure
    return {
        "in_force": None
        if in_force is None
        else {**_pair(in_force), "age_s": state.metadata.age_ms(now) // 1000},
        "last_good": None if measure is None else _numbers(measure),
        "rejected": None if rejected is None else _rejected(rejected),
        "files_on_destinations": _placed(core),
    }


def _rejected(facts: SnapshotFacts) -> Json:
    return {**_pair(facts), "why": facts.why, "can_be_accepted": facts.shrunken}


def _pair(facts: SnapshotFacts) -> Json:
    return {"id": facts.id or None, **_numbers(facts.measure)}


def _numbers(measure: Measure) -> Json:
    return {
        "graded_files": measure.graded_files,
        "history_files": measure.history_files,
        "known_files": measure.known_files,
    }


def _placed(core: Core) -> int:
    """Files on servers; a file with several copies counts once, as far as the last plan knows it."""
    lists = [r.files.value for r in core.state.fleet.records.values() if isinstance(r.files, Known)]
    more = sum((copies - 1) * files for copies, files in core.shortlist.files_by_copies.items())
    return max(0, sum(map(len, lists)) - more)
