"""The pieces that the plan and the status are made of, as JSON values in the contract's shapes.

Pure.  Neighbours: `report` puts them together, `refusals` holds the words of a refusal.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from cfm.controller.decide.core import Core
from cfm.controller.explain.condition import Condition
from cfm.controller.explain.verdict import Verdict
from cfm.model import Known, Now, ServerView, Side, SnapshotFacts, Unknown
from cfm.plan.round import Refused, Round
from cfm.plan.view import ClusterView
from cfm.plan.wishes import Copy, Delete

Json: TypeAlias = dict[str, Any]


# ── the verdict ─────────────────────────────────────────────────────────────────────────────────────────


def verdict_json(verdict: Verdict) -> Json:
    """The line for people, and beside it what scripts and pages decide by."""
    doing = verdict.activity
    return {
        "health": verdict.health.value,
        "verdict": verdict.line,
        "activity": {
            "doing": doing.doing.value,
            "copies": doing.copies,
            "deletes": doing.deletes,
            "waiting": doing.waiting,
        },
        "conditions": [condition_json(condition) for condition in verdict.conditions],
    }


def ready_json(verdict: Verdict) -> Json:
    """What `/readyz` says; `why` is null where cfm is ready."""
    is_ready = verdict.health.is_good
    return {
        "status": "ready" if is_ready else "not ready",
        "health": verdict.health.value,
        "why": None if is_ready else verdict.line,
        "conditions": [{"name": one.name, "level": one.level.value} for one in verdict.conditions],
    }


def condition_json(condition: Condition) -> Json:
    return {
        "name": condition.name,
        "level": condition.level.value,
        "since_at": condition.since_s,
        "servers": list(condition.servers),
        "files": condition.files,
        "bytes": condition.size_bytes,
        "text": condition.text,
        "remedy": condition.remedy,
        "holds": condition.holds,
    }


# ── metadata and servers ────────────────────────────────────────────────────────────────────────────────


def snapshot_json(core: Core, now: Now) -> Json:
    """The metadata in force; where there is none, why the newest reading was rejected."""
    state = core.state
    facts = state.snapshot or state.rejected or SnapshotFacts("", now.wall_s, 0, 0, {}, False, "not read yet")
    age_s = state.metadata.age_ms(now) // 1000 if state.snapshot else now.wall_s - facts.read_wall_s
    return {
        "id": facts.id or None,
        "graded_files": facts.graded_files,
        "known_files": facts.known_files,
        "rising_files": len(core.rising_files),
        "skipped_lines": dict(facts.skipped_lines),
        "age_s": age_s,
        "accepted": state.snapshot is not None,
        "why": state.rejected.why if state.rejected else facts.why,
    }


def log_json(core: Core, now: Now) -> Json | None:
    """The event log; null where none is configured.  `newest_at` is by its own clock, `quiet_s` by ours."""
    log = core.state.log
    if log is None:
        return None
    return {
        "condition": log.condition.value,
        "since_at": now.wall_s - (now.mono_ms - log.since_ms) // 1000,
        "why": log.why or None,
        "hits_known": log.hits_known,
        "newest_at": log.newest_s,
        "age_s": None if log.newest_s is None else now.wall_s - log.newest_s,
        "quiet_s": None if log.heard_ms is None else (now.mono_ms - log.heard_ms) // 1000,
        "clock_behind_s": log.clock_behind_s,
        "behind_bytes": log.behind_bytes,
    }


def server_json(core: Core, server: ServerView, now: Now) -> Json:
    disk = server.disk.value if isinstance(server.disk, Known) else None
    up = core.state.health.pulse(server.addr).up
    roles = {"source": server.is_source, "destination": server.is_destination}
    return {
        "addr": server.addr,
        "role": [name for name, is_it in roles.items() if is_it],
        "state": "unknown" if up is None else "up" if up else "down",
        "used_percent": disk.used_percent if disk else None,
        "files": len(server.files.value) if isinstance(server.files, Known) else None,
        "why": _why_server(core, server),
        "used_bytes": disk.used_bytes if disk else None,
        "total_bytes": disk.total_bytes if disk else None,
        "limit_percent": server.limit_percent if server.is_destination else None,
        "ours": server.features.ours,
        "version": server.features.version or None,
        "transfer": server.features.transfer.value,
        "serves": server.features.serves,
        "links": core.state.fleet.records[server.addr].links,
        "pauses": [pause_json(core, side, now) for side in core.state.failures.pauses if server.addr in side],
    }


def pause_json(core: Core, side: Side, now: Now) -> Json:
    """A source, a destination or a pair where copies fail.  An end that does not matter is null."""
    pause = core.state.failures.pauses[side]
    moments = {
        "since_at": pause.since_ms,
        "until_at": pause.until_ms,
        "spared_until_at": pause.spared_until_ms,
    }
    return {
        "source": side.source or None,
        "destination": side.destination or None,
        "failures": pause.failures,
        "why": pause.why or None,
        **{name: now.wall_s - (now.mono_ms - at_ms) // 1000 for name, at_ms in moments.items()},
    }


def _why_server(core: Core, server: ServerView) -> str | None:
    pulse = core.state.health.pulse(server.addr)
    if pulse.up is not True:
        return pulse.why
    if server.san.folder:
        what = "seems to be" if server.san.suspected else "is, holds or lies in"
        return f"its disk {what} the source folder {server.san.folder}: it is not used"
    if server.is_destination and isinstance(server.files, Unknown):
        return f"its list is unknown: {server.files.why}"
    if isinstance(server.disk, Unknown):
        return f"its disk usage is unknown: {server.disk.why}"
    if server.is_source and not server.features.ours and _needs_builtin(core):
        return "an old cfw: only destinations with an external downloader can copy from it"
    return None


def _needs_builtin(core: Core) -> bool:
    return any(
        r.is_destination and r.features.ours and r.features.transfer == "builtin"
        for r in core.state.fleet.records.values()
    )


# ── what was chosen, and what was refused ──────────────────────────────────────────────────────────────


def copy_json(view: ClusterView, copy: Copy) -> Json:
    return {
        "file": copy.file.name,
        "rank": copy.file.rank,
        "hits": view.hits_of(copy.file),
        "size_bytes": copy.file.size_bytes,
        "source": copy.source,
        "destination": copy.destination,
        "reason": copy.reason,
    }


def delete_json(view: ClusterView, delete: Delete) -> Json:
    file = delete.file
    return {
        "file": file.name,
        "server": delete.server,
        "rank": file.rank,
        "hits": view.hits_of(file),
        "size_bytes": file.size_bytes,
        "kind": delete.kind.value,
        "reason": delete.reason,
    }


def refused_json(refused: Refused) -> Json:
    return {
        "action": refused.action,
        "file": refused.file,
        "server": refused.server,
        "reason": refused.refusal.name,
        "text": refused.refusal.text,
    }


def refusal_counts(round_: Round | None) -> Json:
    """How often a round refused what, by action and reason."""
    counts: Json = {"copy": {}, "delete": {}}
    for (action, name), number in sorted(round_.counts.items()) if round_ else ():
        counts[action][name] = number
    return counts
