"""What is still to be copied, in bytes, and how long that takes at the speed of now.  Pure.

Neighbours: `activity` counts the files, `report` puts both into the status.
"""

from __future__ import annotations

from dataclasses import dataclass

from cfm.controller.decide.core import Core
from cfm.controller.explain.activity import WAITED_FOR
from cfm.model import Task
from cfm.plan import refusals
from cfm.plan.ledger import Ledger
from cfm.plan.view import ClusterView

_ENDS_SOON = (None, *WAITED_FOR)
"""What the last round said of files that are copied as soon as something is free or answers."""
_SETTLED_MS = 2_000
"""The speed of a copy says something after so long."""


@dataclass(frozen=True, slots=True)
class Pending:
    """What is still to be copied, as far as there is space for it now."""

    files: int
    """Being copied, or next."""
    size_bytes: int
    """What is left of them."""
    no_space_files: int
    """Wanted files for which there is no space now."""
    rate_bps: int
    """Of all running copies together."""

    @property
    def left_s(self) -> int | None:
        """Seconds until all of it has arrived; None where nothing moves."""
        return 8 * self.size_bytes // self.rate_bps if self.rate_bps else None


def pending(core: Core, view: ClusterView, ledger: Ledger) -> Pending:
    """The wanted files are taken in their order, as long as the disks have room for them."""
    running = core.state.tasks.active.values()
    coming_bytes = sum(_left_bytes(core, task) for task in running)
    files, no_space = len(running), core.shortlist.no_room_cut if ledger.disks else 0
    largest_bytes = ledger.largest_room_bytes()
    room_bytes = sum(disk.room_bytes() for disk in ledger.disks.values())
    refused = core.last_round.why_not_copied if core.last_round is not None else lambda _name: None
    for file in core.backlog().wanted:
        if core.state.is_placed(file.name) or file.name in view.task_of:
            continue
        refusal = refused(file.name)
        if refusal not in _ENDS_SOON:
            no_space += refusal is refusals.NO_ROOM
        elif file.size_bytes <= min(largest_bytes, room_bytes):
            room_bytes -= file.size_bytes
            coming_bytes += file.size_bytes
            files += 1
        else:
            no_space += bool(ledger.disks)  # where no disk is known, nobody knows what has space
    return Pending(files, coming_bytes, no_space, sum(_rate_bps(core, task) for task in running))


def _left_bytes(core: Core, task: Task) -> int:
    return max(0, task.file.size_bytes - core.state.tasks.runs[task.id].bytes_done)


def _rate_bps(core: Core, task: Task) -> int:
    """The speed of one copy so far; 0 where its worker tells no bytes, or it has only just begun."""
    run = core.state.tasks.runs[task.id]
    if not run.reports or run.started_ms is None or run.heard_ms - run.started_ms < _SETTLED_MS:
        return 0
    return 8000 * run.bytes_done // (run.heard_ms - run.started_ms)
