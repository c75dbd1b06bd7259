"""What an invariant is: a class that is told what happens, counts its checks, and reports what is wrong.

A rule overrides the hooks that it needs, and `checker` calls only those.  Times named `mono` are of the clock
of the controller in question; all other times are the true ones of the world.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from cfm.controller.decide.events import Event
from cfm.model import DeleteOrder, Measure, Now, Task
from cfm.tasks.store import Change, Recovered
from cfm.wire import TaskOffer, TaskReport
from cfm_lab.fakes.memory_base_dir import Inode
from cfm_lab.fakes.memory_store import CommittedState
from cfm_lab.sim.environment.disks import SimDisk
from cfm_lab.sim.environment.services import DeleteRequest, WorkerService
from cfm_lab.sim.processes.controller import SimCfm
from cfm_lab.sim.processes.metadata_watch import Pair
from cfm_lab.sim.processes.sending import Sender
from cfm_lab.sim.processes.server import SimServer
from cfm_lab.sim.processes.worker_requests import AnsweringWorker
from cfm_lab.sim.world import World


class Invariant:
    """One rule."""

    number: ClassVar[str]
    """Its number in the rule book, or `rule N` for a rule of the domain."""
    title: ClassVar[str]

    def __init__(self, world: World) -> None:
        self.world = world
        self.facts = world.facts
        self.checks = 0

    def hold(self, held: bool, text: str = "", *told: object) -> None:
        """Count one check, and report it where it failed.  `told` becomes text only in that case."""
        self.checks += 1
        if not held:
            self.world.violations.add(self.number, " ".join([text, *map(str, told)]))

    # ── what happens ────────────────────────────────────────────────────────────────────────────────────

    def decided(self, cfm: SimCfm, event: Event, changes: Sequence[Change], now: Now) -> None:
        """The core has handled an event.  Nothing of that is durable yet."""

    def task_changed(self, cfm: SimCfm, before: Task | None, task: Task, event: Event, now: Now) -> None:
        """The core has changed a task; called after `decided`."""

    def order_changed(
        self, cfm: SimCfm, before: DeleteOrder | None, order: DeleteOrder, event: Event, now: Now
    ) -> None:
        """The core has changed a delete order; called after `decided`."""

    def order_sent(self, cfm: SimCfm, order: DeleteOrder) -> None:
        """The first byte of a delete order goes out."""

    def committed(self, cfm: SimCfm, changes: Sequence[Change]) -> None:
        """Changes are durable.  What waited for them goes out after this."""

    def recovered(self, cfm: SimCfm, found: Recovered) -> None:
        """A cfm has started, and has read its state."""

    def restored(self, found: CommittedState) -> None:
        """Somebody has put an old backup of the state back, with this in it."""

    def unlinked(
        self, disk: SimDisk, name: str, node: Inode, by: DeleteRequest, order: DeleteOrder | None
    ) -> None:
        """A worker has deleted a file."""

    def published(self, disk: SimDisk, name: str, node: Inode, replaced: Inode | None) -> None:
        """A worker has made a file visible."""

    def touched(self, disk: SimDisk, name: str) -> None:
        """A worker is about to use this name on its disk."""

    def stream_opened(self, source: Sender, task_id: int) -> None:
        """A source begins to send."""

    def transfer_started(self, worker: AnsweringWorker, offer: TaskOffer) -> None:
        """A worker begins to download."""

    def metadata_accepted(self, cfm: SimCfm, pair: Pair, good: Measure | None) -> None:
        """cfm uses a pair of metadata files from now on.  `good` is the measure of the pair before it."""

    def report_arrives(self, cfm: SimCfm, worker: WorkerService, task_id: int, report: TaskReport) -> None:
        """A report reaches cfm."""

    def reported(self, worker: SimServer, offer: TaskOffer, report: TaskReport) -> None:
        """A worker is about to send a report."""

    def second_started(self, first: SimCfm, second: SimCfm, *, started: bool) -> None:
        """Somebody tried to start a second cfm on a state in use."""

    def audit(self) -> None:
        """A look at the whole world, every few minutes."""
