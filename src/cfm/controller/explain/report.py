"""What cfm tells about itself: its plan and its status, as JSON values in the contract's shapes.

Pure: made from the core's state and its last round.  Neighbours: `parts` makes the pieces; `serve` and `cli`
show these values.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice

from cfm.controller.decide import dispatch, releasing
from cfm.controller.decide.core import Core
from cfm.controller.explain.activity import unplaced_files
from cfm.controller.explain.parts import (
    Json,
    copy_json,
    delete_json,
    log_json,
    refusal_counts,
    refused_json,
    server_json,
    snapshot_json,
    verdict_json,
)
from cfm.controller.explain.pending import Pending, pending
from cfm.controller.explain.verdict import verdict
from cfm.controller.explain.words import size_words
from cfm.model import Addr, Now, OrderStatus, Status, Task
from cfm.plan.ledger import DiskBook, Ledger
from cfm.plan.round import Round
from cfm.plan.view import ClusterView
from cfm.plan.wishes import Copy, Delete

REFUSALS_SHOWN = 100


# ── plan ────────────────────────────────────────────────────────────────────────────────────────────────


def plan_json(core: Core, now: Now) -> Json:
    """What the last round chose and has not begun, and what it refused: the shape of `cfm plan --json`."""
    view = core.state.view(now)
    round_ = core.last_round
    copies = [copy for copy in round_.copies if not _is_copied(core, copy)] if round_ else []
    deletes = [delete for delete in round_.deletes if not _is_sent(core, delete)] if round_ else []
    return {
        "snapshot": snapshot_json(core, now),
        "servers": [server_json(core, server, now) for server in view.servers.values()],
        "copies": [copy_json(view, copy) for copy in copies],
        "deletes": [delete_json(view, delete) for delete in deletes],
        "would_delete": [] if view.rules.deletes_on else _would_delete(core, view),
        "refusals": [refused_json(refused) for refused in round_.refused[:REFUSALS_SHOWN]] if round_ else [],
        "refusals_total": sum(round_.counts.values()) if round_ else 0,
        "refusals_shown": REFUSALS_SHOWN,
        "refusal_counts": refusal_counts(round_),
        **verdict_json(verdict(core, round_, now)),
    }


def _is_copied(core: Core, copy: Copy) -> bool:
    """Does a worker copy the file already?"""
    task = core.state.tasks.by_file.get(copy.file.name)
    return task is not None and task.status is not Status.READY


def _is_sent(core: Core, delete: Delete) -> bool:
    """Has the server been told to delete the file?"""
    order = core.state.orders.by_file.get(delete.file.name)
    return order is not None and order.status is not OrderStatus.ORDERED


def _would_delete(core: Core, view: ClusterView) -> list[Json]:
    """Deletes are off: what cfm would delete if they were on."""
    rules = replace(view.rules, deletes_on=True)
    round_ = dispatch.propose(replace(view, rules=rules), core.backlog(), core.state, preview=True)
    return [delete_json(view, delete) for delete in round_.deletes]


def held_json(core: Core, now: Now, server: Addr | None) -> Json:
    """The breakers that hold, and what would be deleted first if an operator released them."""
    held = releasing.held_by_breaker(core.state, core.backlog(), now)
    chosen = {addr: size_bytes for addr, size_bytes in held.items() if server in (None, addr)}
    round_ = releasing.preview(core.state, core.backlog(), chosen, now)
    deletes = [delete for delete in round_.deletes if delete.server in chosen]
    return {
        "held": [{"server": addr, "would_free_bytes": size} for addr, size in sorted(chosen.items())],
        "would_delete": [delete_json(round_.view, delete) for delete in deletes],
    }


# ── status ──────────────────────────────────────────────────────────────────────────────────────────────


def status_json(core: Core, now: Now) -> Json:
    """A running cfm at a glance."""
    state = core.state
    view = state.view(now)
    ledger = Ledger(view)
    round_ = core.last_round
    return {
        "at": now.wall_s,
        **verdict_json(verdict(core, round_, now)),
        "snapshot": snapshot_json(core, now),
        "event_log": log_json(core, now),
        "servers": _servers_json(core, view, ledger),
        "transfers": [transfer_json(core, task_id, now) for task_id in sorted(state.tasks.active)],
        "backlog": {
            "wanted": unplaced_files(core),
            "surplus": core.shortlist.surplus_total,
            "next": list(islice(_still_wanted(core, view), 10)),
            "pending": pending_json(pending(core, view, ledger)),
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
        "stale": {
            "files": len(state.versions.stale),
            "copies": sum(map(len, state.versions.stale.values())),
        },
        "brakes": list(_brakes_json(core, round_)),
        "refusals": refusal_counts(round_),
        "totals": dict(state.counts),
    }


def _still_wanted(core: Core, view: ClusterView) -> Iterator[str]:
    """The backlog without the files that were started or placed since the last full plan."""
    for file in core.backlog().wanted:
        if not view.is_placed(file.name) and file.name not in view.task_of:
            yield file.name


def pending_json(pending: Pending) -> Json:
    """What is still to be copied, and how long it takes; the shape of `cfm status --json`."""
    return {
        "files": pending.files,
        "bytes": pending.size_bytes,
        "no_space_files": pending.no_space_files,
        "rate_bps": pending.rate_bps,
        "left_s": pending.left_s,
    }


def servers_json(core: Core, view: ClusterView) -> list[Json]:
    return _servers_json(core, view, Ledger(view))


def _servers_json(core: Core, view: ClusterView, ledger: Ledger) -> list[Json]:
    return [
        {
            **server_json(core, server, view.now),
            **_disk_json(ledger.disks.get(server.addr)),
            "receiving": ledger.load(server.addr).incoming,
            "sending": ledger.load(server.addr).outgoing,
        }
        for server in view.servers.values()
    ]


def _disk_json(disk: DiskBook | None) -> Json:
    """What comes to a destination's disk and what leaves it; null where no copy may go there."""
    return {
        "arriving_bytes": disk.arriving_bytes if disk else None,
        "leaving_bytes": disk.leaving_bytes if disk else None,
        "projected_percent": disk.projected_percent if disk else None,
        "room_bytes": disk.room_bytes() if disk else None,
    }


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
        "received": task.id in core.state.tasks.received,
        "elapsed_s": elapsed_ms // 1000,
        "rate_bps": 8000 * run.bytes_done // told_ms if told_ms > 0 and run.reports else None,
        "reason": task.reason,
        "projected_percent": run.projected_percent,
    }


def _brakes_json(core: Core, round_: Round | None) -> Iterable[Json]:
    for server, refusal in round_.brakes if round_ else ():
        yield {"name": refusal.name, "server": server, "text": refusal.text, "release": refusal.release}
    for addr, size_bytes in core.state.settings.approved_bytes.items():
        yield {
            "name": "breaker_released",
            "server": addr,
            "text": f"an operator released it for {size_words(size_bytes)}",
            "release": "",
        }


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
