"""Conditions of what cfm reads: the grade and history files, the source folders, and the event log.

Pure.  Neighbours: `conditions` puts these among the others; `inputs` reads the files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from cfm.controller.explain.condition import Condition, Scene, Severity
from cfm.controller.explain.words import count_words, other_size_words, size_words, time_words
from cfm.model import LogCondition, LogState
from cfm.plan import refusals

# ── metadata ────────────────────────────────────────────────────────────────────────────────────────────

_ACCEPT: Final = "repair them, or run `cfm accept`"


def metadata(scene: Scene) -> Iterator[Condition]:
    if scene.state.snapshot is None:
        yield _no_metadata(scene)
        return
    yield from _old_metadata(scene)
    yield from _rejected_metadata(scene)
    yield from _history_coverage(scene)


def _no_metadata(scene: Scene) -> Condition:
    rejected = scene.state.rejected
    why = rejected.why if rejected else "not read yet"
    shrunken = rejected is not None and rejected.shrunken
    return Condition(
        name="no_metadata",
        level=Severity.CRITICAL,
        text=f"cfm is stopped because it has no valid grade and history files: {why}",
        remedy=_ACCEPT if shrunken else "see `grade_info_file` and `hitcount_history_file` in cfm.yml",
    )


def _old_metadata(scene: Scene) -> Iterator[Condition]:
    over_ms = scene.state.metadata.age_ms(scene.now) - scene.state.rules.metadata_max_age_ms
    if over_ms > 0:
        yield Condition(
            name=refusals.METADATA_OLD.name,
            level=Severity.DEGRADED,
            text="Nothing is deleted because the grade and history files are too old",
            remedy=refusals.METADATA_OLD.release,
            since_s=scene.now.wall_s - over_ms // 1000,
            holds=True,
        )


def _rejected_metadata(scene: Scene) -> Iterator[Condition]:
    if (rejected := scene.state.rejected) is not None:
        yield Condition(
            name="metadata_rejected",
            level=Severity.DEGRADED,
            text=f"The newest grade and history files are rejected: {rejected.why}",
            remedy=_ACCEPT if rejected.shrunken else "repair them; cfm goes on with the last good ones",
            since_s=scene.state.metadata.rejected_since_s,
        )


def _history_coverage(scene: Scene) -> Iterator[Condition]:
    """A grade file and a history that are not of one node have few files in common."""
    facts = scene.state.snapshot
    if facts is not None and (level := _coverage_level(facts.known_files, facts.graded_files)):
        yield Condition(
            name="history_coverage",
            level=level,
            text=f"{facts.known_files:,} of {count_words(facts.graded_files, 'graded file', 'graded files')} "
            "have a size in the history: do both files belong together?",
            remedy="check `grade_info_file` and `hitcount_history_file` in cfm.yml",
            files=facts.graded_files - facts.known_files,
        )


def _coverage_level(found: int, wanted: int) -> Severity | None:
    """How bad it is that only so many are there.  A few of any library are always on their way in or out."""
    if not wanted or 10 * found >= 9 * wanted:
        return None
    if not found:
        return Severity.CRITICAL
    return Severity.DEGRADED if 2 * found < wanted else Severity.NOTE


# ── source folders ──────────────────────────────────────────────────────────────────────────────────────


def source_folders(scene: Scene) -> Iterator[Condition]:
    if scene.state.san.index is None:
        yield Condition(
            name="source_folders_unknown",
            level=Severity.DEGRADED,
            text=f"The source folders are unknown: {scene.state.san.index_why}",
            remedy="mount them, or correct `source_dirs` in cfm.yml",
            since_s=scene.wall_s(scene.state.san.index_since_ms),
        )
    else:
        yield from _san_coverage(scene)
        yield from _other_sizes(scene)


def _san_coverage(scene: Scene) -> Iterator[Condition]:
    """The source folders answer, and do not hold what the grade file names."""
    lists, snapshot = scene.core.shortlist, scene.state.snapshot
    if snapshot is None or lists.snapshot_id != snapshot.id or lists.on_san_total is None:
        return
    if level := _coverage_level(lists.on_san_total, lists.known_total):
        yield Condition(
            name="san_coverage",
            level=level,
            text=f"{lists.on_san_total:,} of {count_words(lists.known_total, 'graded file', 'graded files')} "
            f"{'is' if lists.known_total == 1 else 'are'} on the SAN: is `source_dirs` right?",
            remedy="correct `source_dirs` in cfm.yml, or mount the folder that has the files",
            files=lists.known_total - lists.on_san_total,
        )


def _other_sizes(scene: Scene) -> Iterator[Condition]:
    """Files that were encoded anew, or copied in part: the SAN and the history name two sizes."""
    found = [one for one in scene.state.absences.absent.values() if one.found_bytes]
    if found:
        first = min(found, key=lambda one: one.file.rank)
        have = count_words(len(found), "file has", "files have")
        yield Condition(
            name=refusals.OTHER_SIZE.name,
            level=Severity.NOTE,
            text=f"{have} another size on the SAN than in the history: "
            f"{first.file.name} ({other_size_words(first.found_bytes, first.file.size_bytes)})",
            remedy="nothing to do if the next history has the new sizes; `cfm why FILE` tells more",
            files=len(found),
            since_s=scene.wall_s(min(one.since_ms for one in found)),
        )


# ── event log ───────────────────────────────────────────────────────────────────────────────────────────

_LOG_CONDITIONS: Mapping[LogCondition, tuple[Severity, str, str]] = {
    LogCondition.GONE: (
        Severity.DEGRADED,
        "The event log is gone, so hits are unknown and no space is made for other files",
        "mount the folder, or correct `watch_dir` in cfm.yml",
    ),
    LogCondition.UNREADABLE: (
        Severity.DEGRADED,
        "The event log cannot be read, so hits are unknown and no space is made for other files",
        "check the folder that `watch_dir` names, and its rights",
    ),
    LogCondition.READING: (
        Severity.NOTE,
        "Hits are unknown until the event log has been read to its end",
        "nothing to do: it is being read",
    ),
    LogCondition.BEHIND: (
        Severity.DEGRADED,
        "The event log grows faster than cfm reads it",
        "check the disk of the log, and the load of this host",
    ),
    LogCondition.SILENT: (
        Severity.NOTE,
        "The event log is silent",
        "nothing to do at quiet times; otherwise check the load balancer, and `watch_dir` in cfm.yml",
    ),
    LogCondition.CLOCK_OFF: (
        Severity.NOTE,
        "The clock of the event log is not ours",
        "set the clock of the load balancer, or of this host; hits count by the clock of the log meanwhile",
    ),
    LogCondition.DOUBLED: (
        Severity.NOTE,
        "The lines of the event log come twice",
        "nothing to do; two load balancers, or two copies of one log, may write into it",
    ),
}
_LOG_MOMENT_MS: Final = 10_000
"""A start takes as long; only a reading that takes longer is told."""
DEAD_LOG_S: Final = 3_600
"""Viewers of a whole node are quiet for so long now and then at night, and rarely longer."""


def event_log(scene: Scene) -> Iterator[Condition]:
    log = scene.state.log
    if log is None or log.condition not in _LOG_CONDITIONS:
        return
    if log.condition is LogCondition.READING and scene.now.mono_ms - log.since_ms < _LOG_MOMENT_MS:
        return
    level, text, remedy = _LOG_CONDITIONS[log.condition]
    more, since_s = log.why, scene.wall_s(log.since_ms)
    if log.condition is LogCondition.CLOCK_OFF:
        side = "behind" if log.clock_behind_s > 0 else "ahead"
        more = f"{abs(log.clock_behind_s):,} s {side}"
    elif log.condition in (LogCondition.BEHIND, LogCondition.READING):
        more = f"{size_words(log.behind_bytes)} to go"
    elif log.condition is LogCondition.SILENT and (age_s := log_age_s(log, scene)) is not None:
        more, since_s = f"its last event is {time_words(age_s)} old", scene.now.wall_s - age_s
        level = Severity.DEGRADED if age_s >= DEAD_LOG_S else level
    yield Condition(f"event_log_{log.condition.value}", level, f"{text}: {more}", remedy, since_s=since_s)


def log_age_s(log: LogState, scene: Scene) -> int | None:
    """How old the newest event is by the time that it bears, as far as the log's clock is known to us.

    A restart makes it no younger.  None where no event has been seen.
    """
    if log.newest_s is None:
        return None
    return max(0, scene.now.wall_s - log.newest_s - log.clock_behind_s)
