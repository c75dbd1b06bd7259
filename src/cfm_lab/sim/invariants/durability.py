"""The rules about what survives a crash: durable before it is told, complete before it is visible."""

from __future__ import annotations

from cfm.model import DeleteOrder, OrderStatus, Status
from cfm.tasks.store import UNFINISHED_ORDERS, UNFINISHED_TASKS, Recovered
from cfm.wire import TaskOffer, TaskReport
from cfm_lab.fakes.memory_base_dir import Inode
from cfm_lab.sim.environment.disks import SimDisk, content_of
from cfm_lab.sim.invariants.base import Invariant
from cfm_lab.sim.processes.controller import SimCfm
from cfm_lab.sim.processes.server import SimServer
from cfm_lab.sim.processes.worker_requests import AnsweringWorker
from cfm_lab.sim.world import World


class DurableBeforeSent(Invariant):
    """Before the first byte of a delete order goes out, it is durable as sent, with its reason."""

    number = "5"
    title = "durable before it is sent"

    def order_sent(self, cfm: SimCfm, order: DeleteOrder) -> None:
        kept = cfm.state.orders.get(order.id)
        fine = kept is not None and kept.status is not OrderStatus.ORDERED and bool(kept.reason)
        self.hold(fine, "sent before it was durable:", order)


class VisibleIsComplete(Invariant):
    """A file that a worker of ours makes visible has the size and the checksum of its task.

    Scope: a file from an external downloader has a size only.  It must not replace another file.
    """

    number = "14"
    title = "visible is complete"

    def published(self, _disk: SimDisk, name: str, node: Inode, replaced: Inode | None) -> None:
        offer = self.world.publishing
        if offer is None:
            return
        self.hold(offer.file_name == name, "published under another name:", offer.file_name, name)
        self.hold(node.size_bytes == offer.size_bytes, f"{node.size_bytes} bytes are visible:", name)
        worker = self.world.worker_at(offer.destination)
        checked = worker is not None and worker.kind == "builtin"
        self.hold(not checked or node.data[:4] == content_of(name)[:4], "other bytes are visible:", name)
        self.hold(checked or replaced is None, "an unverified copy replaced a file:", name)


class DoneIsDurable(Invariant):
    """When a worker of ours reports `done`, the complete file would survive a power cut at that moment.

    Scope: the first such report counts.  Other software, a power cut or an order of ours may have removed the
    file since it became visible; but it must have become visible in this attempt.
    """

    number = "15"
    title = "done is durable"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._told: set[int] = set()
        self._begun: dict[int, int] = {}

    def transfer_started(self, _worker: AnsweringWorker, offer: TaskOffer) -> None:
        self._begun[offer.id] = self.world.schedule.now_ms

    def reported(self, worker: SimServer, offer: TaskOffer, report: TaskReport) -> None:
        if report.status is not Status.DONE or not worker.ours or offer.id in self._told:
            return
        self._told.add(offer.id)
        name, size_bytes = offer.file_name, offer.size_bytes or 0
        node = worker.disk._synced[0].get(name)  # noqa: SLF001 - what a power cut would leave
        lost = self.facts.lost.get(name, -1) >= self.world.schedule.now_ms - 200_000
        fine = node is not None and node.synced_bytes == size_bytes
        arrived = self.facts.arrived.get((name, worker.disk))
        came = arrived is not None and arrived.came_ms >= self._begun.get(offer.id, 0)
        gone = name not in worker.disk.names
        self.hold(came, "done, and never made visible:", name, worker.addr)
        self.hold(fine or lost or gone, "done, and not durable:", name, worker.addr)


class NothingLost(Invariant):
    """After any crash, the recovered state contains every change that was committed, and the new process goes
    on from there.  A second cfm does not start on a state in use."""

    number = "17"
    title = "nothing acknowledged is lost"

    def recovered(self, cfm: SimCfm, found: Recovered) -> None:
        state = self.facts.state(cfm.issuer.controller)
        tasks = {task.id: task for task in found.tasks}
        orders = {order.id: order for order in found.orders}
        for task in state.committed_tasks.values():
            if task.status in UNFINISHED_TASKS:
                self.hold(tasks.get(task.id) == task, "a task was lost or changed:", task)
        for order in state.committed_orders.values():
            if order.status in UNFINISHED_ORDERS:
                self.hold(orders.get(order.id) == order, "a delete order was lost or changed:", order)
        arrivals = {(arrival.file_name, arrival.server) for arrival in found.arrivals}
        self.hold(state.committed_arrivals.keys() <= arrivals, "an arrival was lost")
        self._taken_over(cfm, found)

    def _taken_over(self, cfm: SimCfm, found: Recovered) -> None:
        assert cfm.core is not None
        book = cfm.core.state
        for task in found.tasks:
            self.hold(book.tasks.get(task.id) is not None, "the new cfm does not know a task:", task)
        for order in found.orders:
            if (
                order.status in (OrderStatus.SENT, OrderStatus.UNKNOWN)
                and order.server in book.config.destinations
            ):
                kept = book.orders.active.get(order.id)
                unclear = kept is not None and kept.status is OrderStatus.UNKNOWN
                self.hold(unclear, "an order of before is not unknown:", order)

    def second_started(self, first: SimCfm, _second: SimCfm, *, started: bool) -> None:
        self.hold(not started or not first.running, "a second cfm started on a state in use")
