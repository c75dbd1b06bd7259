"""What cfm tells about itself: status, plan and reasons, as JSON values in the contract's shapes.

Pure: made from the core's state at one moment.  Neighbours: `api` serves these, `cli` and the pages show
them; `plan.refusals` holds the sentences.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice
from typing import Any, TypeAlias

from cfm.controller import dispatch
from cfm.controller.core import Core
from cfm.model import (
    Addr,
    DeleteKind,
    File,
    Known,
    Now,
    OnSan,
    OrderStatus,
    SanAnswer,
    ServerView,
    SnapshotFacts,
    Task,
    Unknown,
)
from cfm.plan import policies
from cfm.plan import refusals as no
from cfm.plan.kernel import Deletion
from cfm.plan.ledger import Ledger
from cfm.plan.policies import Copy, Delete, Refused, Round
from cfm.plan.refusals import Refusal
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
    """What would be done now, why, and what is refused: the shape of `cfm plan --json`."""
    view = core.state.view(now)
    round_ = dispatch.propose(view, core.backlog(), core.state)
    return {
        "snapshot": snapshot_json(core, now),
        "servers": [server_json(core, server) for server in view.servers.values()],
        "copies": [copy_json(view, p) for p in round_.done if isinstance(p, Copy)],
        "deletes": [delete_json(view, p) for p in round_.done if isinstance(p, Delete)],
        "would_delete": [] if view.rules.deletes_on else _would_delete(core, view),
        "refusals": [refused_json(refused) for refused in round_.refused[:REFUSALS_SHOWN]],
        "refusals_total": sum(round_.counts.values()),
        "refusals_shown": REFUSALS_SHOWN,
        "verdict": verdict(core, round_, now),
    }


def _would_delete(core: Core, view: ClusterView) -> list[Json]:
    """Deletes are off: what would go if they were on."""
    rules = replace(view.rules, deletes_on=True)
    round_ = dispatch.propose(replace(view, rules=rules), core.backlog(), core.state)
    return [delete_json(view, p) for p in round_.done if isinstance(p, Delete)]


# ── verdict ─────────────────────────────────────────────────────────────────────────────────────────────


def verdict(core: Core, round_: Round | None, now: Now) -> str:
    """One sentence for people: what goes on, or why nothing does, and which brake holds."""
    state = core.state
    if state.store_trouble:
        return (
            f"Paused: cfm cannot write its own state ({state.store_trouble}); it goes on when there is room."
        )
    if state.snapshot is None:
        why = state.rejected.why if state.rejected else "they were not read yet"
        return f"Doing nothing: no grade and history files are in force: {why}."
    parts = [_activity(core, round_, now), *_held(round_), *_trouble(core, round_, now)]
    return "; ".join(part for part in parts if part) + "."


def _activity(core: Core, round_: Round | None, now: Now) -> str:
    tasks, orders = core.state.tasks.by_file.keys(), core.state.orders.by_file.keys()
    done = round_.done if round_ else []
    copies = len(tasks | {p.file.name for p in done if isinstance(p, Copy)})
    deletes = len(orders | {p.deletion.file.name for p in done if isinstance(p, Delete)})
    if not copies and not deletes:
        return _idle(core, round_, now)
    waiting = _count(_unplaced(core), "wanted file", "wanted files")
    deeds = f"{_count(copies, 'copy', 'copies')} and {_count(deletes, 'delete', 'deletes')} now"
    return f"{deeds}, {waiting} not placed"


def _unplaced(core: Core) -> int:
    """Wanted files that are neither on a destination nor on their way, as far as the last plan told."""
    placed, coming, wanted = core.state.fleet.holders, core.state.tasks.by_file, core.shortlist.wanted
    left = sum(1 for file in wanted if file.name not in placed and file.name not in coming)
    return left + core.shortlist.wanted_total - len(wanted)


def _idle(core: Core, round_: Round | None, now: Now) -> str:
    """Nothing is under way: because all is done, or because something is waited for."""
    counts = round_.counts if round_ else Counter[tuple[str, str]]()
    waits = [reason for reason in _WAITING if counts["copy", reason.name]]
    if not waits and core.state.left_alone_after_failures(now):
        waits = [no.RETRY_LATER]
    if waits:
        reason = max(waits, key=lambda reason: counts["copy", reason.name])
        return f"Waiting to copy ({reason.name}: {reason.text})"
    looking = round_ is None or core.state.wants_plan or core.shortlist.snapshot_id == ""
    return "Looking" if looking else "At rest"


_WAITING = (no.HOLDER_UNKNOWN, no.NO_SOURCE, no.NO_DESTINATION, no.SAN_UNKNOWN, no.RETRY_LATER)
"""Reasons for which a copy only waits; the others say that there is nothing to copy."""


def _held(round_: Round | None) -> Iterable[str]:
    """Brakes at single servers; those that hold everywhere are told once, by `_trouble`."""
    brakes = [] if round_ is None else sorted(round_.brakes, key=lambda brake: (str(brake[0]), brake[1].name))
    for server, refusal in brakes:
        if server is not None and refusal not in (no.DELETES_OFF, no.METADATA_OLD):
            yield f"held by {refusal.name} at {server}: {refusal.text} ({refusal.release})"


def _trouble(core: Core, round_: Round | None, now: Now) -> Iterable[str]:
    down = [addr for addr in core.state.fleet.records if core.state.health.pulse(addr).up is False]
    if down:
        yield f"down: {', '.join(down)}"
    if core.state.rejected is not None:
        yield f"the newest metadata is not used: {core.state.rejected.why}"
    if core.state.metadata_age_ms(now) > core.state.rules.metadata_max_age_ms:
        yield f"nothing is deleted: {no.METADATA_OLD.text} ({no.METADATA_OLD.release})"
    if not core.state.rules.deletes_on:
        yield f"deletes are off ({no.DELETES_OFF.release})"
    if core.san_index is None:
        yield f"the source folders are unknown: {core.san_index_why}"
    unknown = [o for o in core.state.orders.active.values() if o.status is OrderStatus.UNKNOWN]
    if unknown:
        yield f"{_count(len(unknown), 'delete', 'deletes')} of unknown outcome"
    if round_ is not None:
        yield from _full(core, round_)


def _full(core: Core, round_: Round) -> Iterable[str]:
    """Disks over their limit where nothing goes, and files that find no room."""
    busy = {made.server for made in core.state.orders.active.values()}
    busy |= {p.deletion.server for p in round_.done if isinstance(p, Delete)}
    braked = {server for server, _refusal in round_.brakes}
    for addr, disk in round_.ledger.disks.items():
        if disk.need_bytes and addr not in busy | braked:
            reasons = Counter(r.refusal.name for r in round_.refused if r.server == addr)
            why = ", ".join(f"{name}: {number}" for name, number in reasons.most_common(3))
            yield f"{addr} is over its limit and nothing there may go ({why or 'no known file is there'})"
    if round_.unplaced and not round_.done and not braked:
        files = _count(len(round_.unplaced), "wanted file fits", "wanted files fit")
        yield f"{files} nowhere, and nothing may go for {'it' if len(round_.unplaced) == 1 else 'them'}"


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


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
        "verdict": verdict(core, round_, now),
        "snapshot": snapshot_json(core, now),
        "servers": servers_json(core, view),
        "transfers": [_transfer_json(core, task_id, now) for task_id in sorted(state.tasks.active)],
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
        "refusals": _refusal_counts(round_),
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
            "receiving": ledger.incoming[server.addr],
            "sending": ledger.outgoing[server.addr],
        }
        for server in view.servers.values()
    ]


def _transfer_json(core: Core, task_id: int, now: Now) -> Json:
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


def _refusal_counts(round_: Round | None) -> Json:
    counts: Json = {"copy": {}, "delete": {}}
    for (action, name), number in sorted(round_.counts.items()) if round_ else ():
        counts[action][name] = number
    return counts


# ── why ─────────────────────────────────────────────────────────────────────────────────────────────────


def why_json(
    core: Core, name: str, file: File | None, rank: int | None, now: Now, on_san: SanAnswer | None = None
) -> Json:
    """Everything known about a file, and why it is or is not copied, is or is not deleted.

    `file`: the known file of that name; `rank`: its rank where it is graded, known or not; `on_san`: what
    the source folders said of it just now, so that the reason is not that nobody had asked them.
    """
    view = core.state.view(now)
    if on_san is not None:
        view = replace(view, san={**view.san, name: Known(on_san, now.mono_ms)})
    ledger = Ledger(view)
    answer = view.san.get(name)
    task = view.task_of.get(name)
    holders = sorted(view.holders.get(name, ()))
    return {
        "file": name,
        "known": file is not None,
        "rank": file.rank if file else rank,
        "hits": view.hits_of(file) if file else view.hits.rising.get(name),
        "rising": name in view.hits.rising,
        "watched": name in view.hits.watched,
        "size_bytes": file.size_bytes if file else None,
        "on_san": _on_san(answer.value if answer else None, file),
        "on": holders,
        "tasks": [_transfer_json(core, task.id, now)] if task and task.id in core.state.tasks.runs else [],
        "copy": _why_copy(core, view, ledger, file, name),
        "delete": [_why_delete(core, view, ledger, file, name, addr, holders) for addr in holders],
        "story": [],
    }


def _on_san(answer: SanAnswer | None, file: File | None) -> bool | None:
    """Does a plain file of that name, and of the size that is known, lie on the SAN?"""
    if answer is None or isinstance(answer, Unknown):
        return None
    return isinstance(answer, OnSan) and (file is None or answer.size_bytes == file.size_bytes)


def _why_copy(core: Core, view: ClusterView, ledger: Ledger, file: File | None, name: str) -> Json:
    refusal = no.AD if view.is_ad(name) else no.NOT_KNOWN
    if file is not None:
        found = core.state.kernel.refuse_file(view, ledger, file) or _refused_everywhere(
            core, view, ledger, file
        )
        if found is None:
            return {"allowed": True, "reason": None, "text": "it may be copied, and is in its turn"}
        refusal = found
    return {"allowed": False, "reason": refusal.name, "text": refusal.text}


def _refused_everywhere(core: Core, view: ClusterView, ledger: Ledger, file: File) -> Refusal | None:
    kernel = core.state.kernel
    usable = [s for s in view.destinations if s.addr in ledger.disks]
    refused = [kernel.refuse_destination(view, ledger, file, server) for server in usable]
    if not usable or all(refused):
        return no.NO_ROOM if no.NO_ROOM in refused else next(filter(None, refused), no.NO_DESTINATION)
    pairs = [(s, d) for s in view.sources for d, no_ in zip(usable, refused, strict=True) if no_ is None]
    if any(kernel.refuse_source(view, ledger, file, s, d) is None for s, d in pairs):
        return None
    return no.NO_SOURCE


def _stays(core: Core, view: ClusterView, ledger: Ledger, file: File, holders: list[Addr]) -> Addr:
    """The holder whose copy would stay, if all but one went."""
    return policies.by_keeping(Round(view, core.backlog(), ledger, core.state.kernel), file, holders)[0]


def _why_delete(
    core: Core,
    view: ClusterView,
    ledger: Ledger,
    file: File | None,
    name: str,
    addr: Addr,
    holders: list[Addr],
) -> Json:
    refusal: Refusal | None = no.AD if view.is_ad(name) else no.NOT_KNOWN
    if file is not None:
        keeper = _stays(core, view, ledger, file, holders)
        surplus = len(holders) > 1 and addr != keeper
        kind = DeleteKind.SURPLUS if surplus else DeleteKind.SPACE
        deletion = Deletion(file, addr, kind, keeper=keeper if surplus else None)
        refusal = core.state.kernel.refuse_delete(view, ledger, deletion)
    if refusal is None:
        return {"server": addr, "allowed": True, "reason": None, "text": "it may go, and is in its turn"}
    return {"server": addr, "allowed": False, "reason": refusal.name, "text": refusal.text}


def tasks_json(core: Core, now: Now) -> list[Json]:
    """All tasks, those of the last minutes included."""
    return [
        _transfer_json(core, task.id, now) if task.id in core.state.tasks.runs else ended_json(task)
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
