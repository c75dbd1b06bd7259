"""The rules about versions of content: no file is taken while somebody writes it."""

from __future__ import annotations

from cfm.controller.decide import events as ev
from cfm.model import DeleteKind, DeleteOrder, Now, OrderStatus, Task
from cfm_lab.fakes.memory_base_dir import Inode
from cfm_lab.sim.environment.disks import SimDisk
from cfm_lab.sim.environment.san import HALF
from cfm_lab.sim.invariants.base import Invariant
from cfm_lab.sim.processes.controller import SimCfm


def version_of(node: Inode) -> int:
    """The version of the content that a file has."""
    return int.from_bytes(bytes(node.data[4:8]), "big")


class NotWhileWritten(Invariant):
    """Rule 25 of the domain.  A copy begins, and the last copy goes for room, only when two looks at the SAN
    some seconds apart agree, or when the file was written days ago.  A worker of ours makes nothing visible
    that is half of one version and half of another.

    Scope: who writes may pause for longer than that.  An old worker, or an external downloader, does not see
    that a file changes while it is read.
    """

    number = "rule 25"
    title = "nothing is taken while it is written"

    def task_changed(self, cfm: SimCfm, before: Task | None, task: Task, _event: ev.Event, now: Now) -> None:
        if before is None:
            self.hold(cfm.evidence.rested(task.file.name, now), "may still be being written:", task)

    def order_changed(
        self, cfm: SimCfm, before: DeleteOrder | None, order: DeleteOrder, _event: ev.Event, now: Now
    ) -> None:
        sent = before is not None and order.status is OrderStatus.SENT
        if sent and order.kind is DeleteKind.SPACE:
            self.hold(cfm.evidence.rested(order.file.name, now), "what stays may be half:", order)

    def published(self, _disk: SimDisk, name: str, node: Inode, _replaced: Inode | None) -> None:
        offer = self.world.publishing
        worker = self.world.worker_at(offer.destination) if offer is not None else None
        if worker is not None and worker.kind == "builtin":
            self.hold(not version_of(node) & HALF, "half of a file is visible:", name)
