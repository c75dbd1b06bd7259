"""What other settings would change in the plan, before they are in force: `cfm reload --check`.  Pure.

A lower limit lets files go, and a higher one lets those come back that were deleted for space not long ago.
Neighbours: `decide.dispatch` proposes; `act.own_settings` reads the settings.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import replace

from cfm.controller.decide import dispatch, releasing
from cfm.controller.decide.core import Core
from cfm.controller.explain.parts import Json
from cfm.model import File, Now
from cfm.plan.guards.deletes import let_through_bytes
from cfm.plan.ledger import Ledger
from cfm.plan.view import ClusterView, Rules

NAMES_SHOWN = 10


def rules_preview_json(core: Core, now: Now, rules: Rules) -> Json:
    """What the plan would choose under other rules, beside what it chooses now.

    The lists of files that may go were made for the present limits.  Under a lower one more may go: a disk
    that would be over it by more than its breaker lets through is told as held.
    """
    now_view, then_view = core.state.view(now), core.state.view(now, rules)
    if rules.limit_percent > core.state.rules.limit_percent:
        then_view = replace(then_view, departures={})  # a raised limit ends their time
    return {"now": _chosen(core, now_view), "then": _chosen(core, then_view)}


def _chosen(core: Core, view: ClusterView) -> Json:
    round_ = dispatch.propose(view, core.backlog(), core.state, preview=True)
    over = {addr: disk for addr, disk in Ledger(view).disks.items() if disk.over_bytes > 0}
    held = releasing.blocked_bytes(round_)
    for addr, disk in over.items() if view.rules.deletes_on else ():
        if disk.over_bytes > let_through_bytes(view, addr, disk.usage.used_bytes):
            held.setdefault(addr, disk.over_bytes)
    back = list(_coming_back(core, view))
    return {
        "copies": {"files": len(round_.copies), "bytes": sum(c.file.size_bytes for c in round_.copies)},
        "deletes": {"files": len(round_.deletes), "bytes": sum(d.file.size_bytes for d in round_.deletes)},
        "back": {
            "files": len(back),
            "bytes": sum(file.size_bytes for file in back),
            "first": [file.name for file in back[:NAMES_SHOWN]],
        },
        "held": [{"server": addr, "would_free_bytes": size} for addr, size in sorted(held.items())],
        "over_limit": sorted(over),
    }


def _coming_back(core: Core, view: ClusterView) -> Iterator[File]:
    """The files that went for space, may come back under these rules, and fit, the most wanted first.

    Other wanted files that fit take their part of the room, in the order of their ranks.
    """
    away = [left.file for name, left in core.state.departures.left.items() if name not in view.departures]
    if not away:
        return
    names, ledger = {file.name for file in away}, Ledger(view)
    others = (file for file in core.backlog().wanted if file.name not in names)
    rooms = [-disk.room_bytes() for addr, disk in ledger.disks.items() if ledger.is_used(addr)]
    heapq.heapify(rooms)
    for file in sorted([*away, *others], key=lambda file: file.rank):
        fits = bool(rooms) and file.size_bytes <= -rooms[0]
        if fits and not view.is_placed(file.name):
            heapq.heapreplace(rooms, rooms[0] + file.size_bytes)
            if file.name in names:
                yield file
