"""The rules about which orders a worker carries out, and which files it touches."""

from __future__ import annotations

from cfm.model import DeleteOrder, Status
from cfm.names import is_file_name
from cfm.wire import TaskReport
from cfm.worker.decide.disk_entries import EntryKind
from cfm_lab.fakes.memory_base_dir import Inode
from cfm_lab.sim.environment.disks import SimDisk
from cfm_lab.sim.environment.services import DeleteRequest, WorkerService
from cfm_lab.sim.invariants.base import Invariant
from cfm_lab.sim.processes.controller import SimCfm


class Fencing(Invariant):
    """A worker of ours deletes only for the controller that it belongs to.  It refuses an epoch below the
    highest that it was told, and an order that a listing has overtaken (the fence)."""

    number = "6"
    title = "fencing"

    def unlinked(
        self,
        _disk: SimDisk,
        name: str,
        _node: Inode,
        by: DeleteRequest,
        _order: DeleteOrder | None,
    ) -> None:
        server, issuer, order_id = by
        if not server.ours:
            return
        controller, epoch = self.facts.epochs.get(server.machine, (issuer.controller, 0))
        self.hold(issuer.controller == controller, "for another controller:", name, issuer, controller)
        self.hold(issuer.epoch >= epoch, f"epoch {issuer.epoch} after {epoch}:", name, server.addr)
        fence = self.facts.fences.get(server.machine, 0)
        self.hold(order_id >= fence, f"order {order_id} is below the fence {fence}:", name, server.addr)


class PlainPaths(Invariant):
    """Every file operation is on one plain file name in `base_dir`.  A link is never deleted or replaced.

    Scope: an old worker deletes whatever has the name.  cfm cannot see from a list whether that is a link.
    """

    number = "19"
    title = "plain paths"

    def touched(self, disk: SimDisk, name: str) -> None:
        plain = is_file_name(name) and "/" not in name
        self.hold(plain, "a worker touches", repr(name), disk.label)

    def unlinked(
        self, disk: SimDisk, name: str, node: Inode, by: DeleteRequest, _order: DeleteOrder | None
    ) -> None:
        if by.server.ours:
            self.hold(node.kind is EntryKind.FILE, f"a {node.kind} was deleted:", name, disk.label)

    def published(self, _disk: SimDisk, name: str, _node: Inode, replaced: Inode | None) -> None:
        ours = self.world.publishing is not None
        plain = replaced is None or replaced.kind is EntryKind.FILE
        self.hold(plain or not ours, "replaced what is no file:", name)


UNDER_WAY_MS = 20_000


class OwnTasksOnly(Invariant):
    """A worker of ours reports on its own tasks only.

    Scope: the simulation has no credentials; tests over real sockets check those.  A report that is under
    way when its worker gets another address still speaks of a task of the old one.
    """

    number = "23"
    title = "own tasks only"

    def report_arrives(self, cfm: SimCfm, worker: WorkerService, task_id: int, report: TaskReport) -> None:
        if not worker.ours or report.status is not Status.WORKING:
            return
        moved_ms = worker.moved_ms
        if moved_ms is not None and self.world.schedule.now_ms - moved_ms < UNDER_WAY_MS:
            return
        known = self.facts.state(cfm.issuer.controller).open_tasks.get(task_id)
        if known is not None:
            self.hold(known.task.destination == worker.addr, worker.addr, "reports on", known.task)
