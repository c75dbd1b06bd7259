"""What an invariant is: a class that is told what happens, counts what it checked, and says what is wrong.

A rule overrides the hooks that it needs; `checker` calls only those.  True times are the world's, all others
those of the controller in question.
"""

from __future__ import annotations

from typing import ClassVar

from cfm.controller.decide.events import Event
from cfm.inputs.snapshot import Measure
from cfm.model import DeleteOrder, Now, Task
from cfm.tasks.store import Change, Recovered
from cfm.wire import TaskOffer, TaskReport
from cfm_lab.fakes.memory_disk import Node
from cfm_lab.sim.environment.disks import SimDisk
from cfm_lab.sim.environment.services import DeleteRequest, WorkerService
from cfm_lab.sim.processes.controller import SimCfm
from cfm_lab.sim.processes.metadata_watch import Pair
from cfm_lab.sim.processes.sending import Sender
from cfm_lab.sim.processes.server import Server
from cfm_lab.sim.processes.worker import SimWorker
from cfm_lab.sim.world import World


class Invariant:
    """One rule."""

    number: ClassVar[str]
    """That of the rule book, or `rule N` for one of the domain's rules."""
    title: ClassVar[str]

    def __init__(self, world: World) -> None:
        self.world = world
        self.facts = world.facts
        self.checks = 0

    def hold(self, held: bool, text: str = "", *told: object) -> None:
        """One check; `told` is put together only where it failed."""
        self.checks += 1
        if not held:
            self.world.violations.add(self.number, " ".join([text, *map(str, told)]))

    # ── what happens ────────────────────────────────────────────────────────────────────────────────────

    def decided(self, cfm: SimCfm, event: Event, changes: list[Change], now: Now) -> None:
        """The core has handled an event; nothing of it is durable yet."""

    def task_changed(self, cfm: SimCfm, before: Task | None, task: Task, event: Event, now: Now) -> None:
        """One of its changes is a task's."""

    def order_changed(
        self, cfm: SimCfm, before: DeleteOrder | None, order: DeleteOrder, event: Event, now: Now
    ) -> None:
        """One of its changes is a delete order's."""

    def order_sent(self, cfm: SimCfm, order: DeleteOrder) -> None:
        """The first byte of a delete goes out."""

    def committed(self, cfm: SimCfm, changes: list[Change]) -> None:
        """Changes are durable; what waited for them is told after this."""

    def recovered(self, cfm: SimCfm, found: Recovered) -> None:
        """A cfm has started on its state."""

    def unlinked(
        self, disk: SimDisk, name: str, node: Node, by: DeleteRequest, order: DeleteOrder | None
    ) -> None:
        """A worker has carried out a delete."""

    def published(self, disk: SimDisk, name: str, node: Node, replaced: Node | None) -> None:
        """A worker has made a file visible."""

    def touched(self, disk: SimDisk, name: str) -> None:
        """A worker's code uses this name on its disk."""

    def stream_opened(self, source: Sender, task_id: int) -> None:
        """A source begins to send."""

    def transfer_started(self, worker: SimWorker, offer: TaskOffer) -> None:
        """A worker begins to download."""

    def metadata_accepted(self, cfm: SimCfm, pair: Pair, good: Measure | None) -> None:
        """A pair of metadata files is taken into force; `good` is the measure of the one before."""

    def report_arrives(self, cfm: SimCfm, worker: WorkerService, task_id: int, report: TaskReport) -> None:
        """A report reaches cfm."""

    def reported(self, worker: Server, offer: TaskOffer, report: TaskReport) -> None:
        """A worker is about to send a report."""

    def second_started(self, first: SimCfm, second: SimCfm, *, started: bool) -> None:
        """A second cfm was started on a state in use."""

    def audit(self) -> None:
        """A full look at everything, now and then."""
