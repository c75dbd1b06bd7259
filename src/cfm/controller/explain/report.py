"""What cfm tells about itself: status, plan and reasons, as JSON values in the contract's shapes.

Pure: made from the core's state at one moment.  Neighbours: `api` serves these, `cli` and the pages show
them; `plan.refusals` holds the sentences.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice
from typing import Any, TypeAlias

from cfm.controller.decide import dispatch
from cfm.controller.decide.core import Core
from cfm.controller.explain.verdict import verdict as verdict_of
from cfm.model import (
    Addr,
    Known,
    Now,
    OrderStatus,
    ServerView,
    SnapshotFacts,
    Status,
    Task,
    Unknown,
)
from cfm.plan.ledger import Ledger
from cfm.plan.round import Copy, Delete, Refused, Round
from cfm.plan.view import ClusterView

Json: TypeAlias = dict[str, Any]

REFUSALS_SHOWN = 100


# ── parts ───────────────────────────────────────────────────────────────────────────────────────────────


def snapshot_json(core: Core, now: Now) -> Json:
    """The metadata in force; where there is none, why the newest reading was rejected."""
    state = core.state
    facts = state.snapshot or state.rejected or SnapshotFacts("", now.wall_s, 0, 0, {}, False, "not read yet")
    age_s = state.metadata_age_ms(now) // 1000 if state.snapshot else now.wall_s - facts.read_wall_s
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


def server_json(core: Core, server: ServerView) -> Json:
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
    }


def _why_server(core: Core, server: ServerView) -> str | None:
    pulse = core.state.health.pulse(server.addr)
    if pulse.up is not True:
        return pulse.why
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
    file = delete.deletion.file
    return {
        "file": file.name,
        "server": delete.deletion.server,
        "rank": file.rank,
        "hits": view.hits_of(file),
        "size_bytes": file.size_bytes,
        "kind": delete.deletion.kind.value,
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


# ── plan ────────────────────────────────────────────────────────────────────────────────────────────────


def plan_json(core: Core, now: Now) -> Json:
    """What the last round chose and has not begun, and what it refused: the shape of `cfm plan --json`."""
    view = core.state.view(now)
    round_ = core.last_round
    chosen = [proposal for proposal in round_.done if not _has_begun(core, proposal)] if round_ else []
    return {
        "snapshot": snapshot_json(core, now),
        "servers": [server_json(core, server) for server in view.servers.values()],
        "copies": [copy_json(view, p) for p in chosen if isinstance(p, Copy)],
        "deletes": [delete_json(view, p) for p in chosen if isinstance(p, Delete)],
        "would_delete": [] if view.rules.deletes_on else _would_delete(core, view),
        "refusals": [refused_json(refused) for refused in round_.refused[:REFUSALS_SHOWN]] if round_ else [],
        "refusals_total": sum(round_.counts.values()) if round_ else 0,
        "refusals_shown": REFUSALS_SHOWN,
        "refusal_counts": refusal_counts(round_),
        "verdict": verdict_of(core, round_, now),
    }


def _has_begun(core: Core, proposal: Copy | Delete) -> bool:
    """Does a worker copy the file already, or has its server been told to delete it?"""
    if isinstance(proposal, Copy):
        task = core.state.tasks.by_file.get(proposal.file.name)
        return task is not None and task.status is not Status.READY
    order = core.state.orders.by_file.get(proposal.deletion.file.name)
    return order is not None and order.status is not OrderStatus.ORDERED


def _would_delete(core: Core, view: ClusterView) -> list[Json]:
    """Deletes are off: what would go if they were on."""
    rules = replace(view.rules, deletes_on=True)
    round_ = dispatch.propose(replace(view, rules=rules), core.backlog(), core.state)
    return [delete_json(view, p) for p in round_.done if isinstance(p, Delete)]


def held_json(core: Core, now: Now, server: Addr | None) -> Json:
    """The breakers that hold, and what would be deleted first if they were let go."""
    held = dispatch.held_by_breaker(core.state, core.backlog(), now)
    chosen = {addr: size_bytes for addr, size_bytes in held.items() if server in (None, addr)}
    round_ = dispatch.preview_release(core.state, core.backlog(), chosen, now)
    deletes = [p for p in round_.done if isinstance(p, Delete) and p.deletion.server in chosen]
    return {
        "held": [{"server": addr, "would_free_bytes": size} for addr, size in sorted(chosen.items())],
        "would_delete": [delete_json(round_.view, delete) for delete in deletes],
    }


# ── status ──────────────────────────────────────────────────────────────────────────────────────────────


def status_json(core: Core, now: Now) -> Json:
    """A running cfm at a glance."""
    state = core.state
    view = state.view(now)
    round_ = core.last_round
    return {
        "at": now.wall_s,
        "verdict": verdict_of(core, round_, now),
        "snapshot": snapshot_json(core, now),
        "servers": servers_json(core, view),
        "transfers": [transfer_json(core, task_id, now) for task_id in sorted(state.tasks.active)],
        "backlog": {
            "wanted": core.shortlist.wanted_total,
            "surplus": core.shortlist.surplus_total,
            "next": list(islice(_still_wanted(core, view), 10)),
        },
        "rising": [
            {"file": f.name, "hits": state.hits.rising.get(f.name, 0), "rank": f.rank}
            for f in core.rising_files
        ],
        "deletes": [
            {
                "order": str(o.id),
                "file": o.file.name,
                "server": o.server,
                "kind": o.kind.value,
                "status": o.status.value,
                "reason": o.reason,
            }
            for o in state.orders.active.values()
        ],
        "brakes": list(_brakes_json(core, round_)),
        "refusals": refusal_counts(round_),
        "totals": dict(state.counts),
    }


def _still_wanted(core: Core, view: ClusterView) -> Iterator[str]:
    """The backlog without what was started or placed since the last full plan."""
    for file in core.backlog().wanted:
        if file.name not in view.holders and file.name not in view.task_of:
            yield file.name


def servers_json(core: Core, view: ClusterView) -> list[Json]:
    ledger = Ledger(view)
    return [
        {
            **server_json(core, server),
            "receiving": ledger.load(server.addr).incoming,
            "sending": ledger.load(server.addr).outgoing,
        }
        for server in view.servers.values()
    ]


def transfer_json(core: Core, task_id: int, now: Now) -> Json:
    task, run = core.state.tasks.active[task_id], core.state.tasks.runs[task_id]
    elapsed_ms = now.mono_ms - run.started_ms if run.started_ms is not None else 0
    told_ms = run.heard_ms - run.started_ms if run.started_ms is not None else 0
    return {
        "task": str(task.id),
        "status": task.status.value,
        "file": task.file.name,
        "rank": task.file.rank,
        "hits": task.window_hits or task.file.hits,
        "source": task.source,
        "destination": task.destination,
        "size_bytes": task.file.size_bytes,
        "bytes_done": run.bytes_done if run.reports else None,
        "received": task.id in core.state.tasks.freed,
        "elapsed_s": elapsed_ms // 1000,
        "rate_bps": 8000 * run.bytes_done // told_ms if told_ms > 0 and run.reports else None,
        "reason": task.reason,
    }


def _brakes_json(core: Core, round_: Round | None) -> Iterable[Json]:
    for server, refusal in round_.brakes if round_ else ():
        yield {"name": refusal.name, "server": server, "text": refusal.text, "release": refusal.release}
    for addr, size_bytes in core.state.approved_bytes.items():
        yield {
            "name": "breaker_released",
            "server": addr,
            "text": f"an operator let up to {size_bytes} bytes go",
            "release": "",
        }


def refusal_counts(round_: Round | None) -> Json:
    """How often a round refused what, by action and reason."""
    counts: Json = {"copy": {}, "delete": {}}
    for (action, name), number in sorted(round_.counts.items()) if round_ else ():
        counts[action][name] = number
    return counts


def tasks_json(core: Core, now: Now) -> list[Json]:
    """All tasks, those of the last minutes included."""
    return [
        transfer_json(core, task.id, now) if task.id in core.state.tasks.runs else ended_json(task)
        for task in core.state.tasks.shown()
    ]


def ended_json(task: Task) -> Json:
    """A task that is over, with why where it did not end well."""
    return {
        "task": str(task.id),
        "status": task.status.value,
        "file": task.file.name,
        "rank": task.file.rank,
        "hits": task.window_hits or task.file.hits,
        "source": task.source,
        "destination": task.destination,
        "size_bytes": task.file.size_bytes,
        "reason": task.reason,
        "ended_at": task.changed_s,
        "ended_why": task.ended_why or None,
    }
