"""The checker: the witness of a whole world, which keeps the facts and tells the invariants what happens.

It calls only the hooks that a rule overrides, so a rule costs nothing where nothing happens that it is about.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from cfm.controller.decide import events as ev
from cfm.model import DeleteKind, DeleteOrder, Measure, Now, OrderStatus, Status, Task
from cfm.plan import refusals
from cfm.tasks.store import (
    UNFINISHED_ORDERS,
    UNFINISHED_TASKS,
    Change,
    DropArrival,
    DropTask,
    PutArrival,
    PutEvent,
    PutMeasure,
    PutOrder,
    PutTask,
    Recovered,
)
from cfm.wire import TaskOffer, TaskReport
from cfm.worker.decide.fencing import Issuer
from cfm_lab.fakes.memory_base_dir import Inode
from cfm_lab.fakes.memory_store import CommittedState
from cfm_lab.sim.environment.disks import SimDisk
from cfm_lab.sim.environment.services import WorkerService
from cfm_lab.sim.facts import Growth, OrderFacts, TaskFacts
from cfm_lab.sim.invariants import ALL, SICK_ONLY
from cfm_lab.sim.invariants.base import Invariant
from cfm_lab.sim.processes.controller import SimCfm
from cfm_lab.sim.processes.metadata_watch import Pair
from cfm_lab.sim.processes.sending import Sender
from cfm_lab.sim.processes.server import SimServer
from cfm_lab.sim.processes.worker_requests import AnsweringWorker
from cfm_lab.sim.world import World

RECENT_MS: Final = 4 * 3_600_000


def _found_out(order: DeleteOrder) -> bool:
    """Was the order dropped because of an answer?  Then its file gets no new order for a while."""
    why = order.ended_why
    return why == refusals.COPY_UNCONFIRMED.text or why.startswith("listed again")


class Checker:
    """Keeps the facts of one world, and asks its rules."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.facts = world.facts
        self.liveness_checks = 0
        further = SICK_ONLY if world.profile.sick else ()
        self.invariants = [kind(world) for kind in (*ALL, *further)]
        self._decided = self._with("decided")
        self._task = self._with("task_changed")
        self._order = self._with("order_changed")
        self._sent = self._with("order_sent")
        self._committed = self._with("committed")
        self._recovered = self._with("recovered")
        self._restored = self._with("restored")
        self._unlinked = self._with("unlinked")
        self._published = self._with("published")
        self._touched = self._with("touched")
        self._stream = self._with("stream_opened")
        self._transfer = self._with("transfer_started")
        self._arrives = self._with("report_arrives")
        self._reported = self._with("reported")
        self._metadata = self._with("metadata_accepted")
        self._second = self._with("second_started")
        self._audit = self._with("audit")

    def _with(self, hook: str) -> list[Invariant]:
        """The rules that override this hook."""
        return [rule for rule in self.invariants if getattr(type(rule), hook) is not getattr(Invariant, hook)]

    def counts(self) -> dict[str, int]:
        """Number of a rule → how many checks it made."""
        counted: dict[str, int] = {}
        for rule in self.invariants:
            counted[rule.number] = counted.get(rule.number, 0) + rule.checks
        counted["20"] = self.liveness_checks
        return counted

    # ── cfm ─────────────────────────────────────────────────────────────────────────────────────────────

    def decided(self, cfm: SimCfm, event: ev.Event, changes: Sequence[Change], now: Now) -> None:
        if cfm.issuer.epoch != cfm.state.epoch:
            return  # another cfm owns the state now: nothing that this one decides becomes durable
        if isinstance(event, ev.TaskReported):
            self._heard(cfm, event, now)
        for rule in self._decided:
            rule.decided(cfm, event, changes, now)
        for change in changes:
            if isinstance(change, PutTask):
                self._task_changed(cfm, change.task, event, now)
            elif isinstance(change, PutOrder):
                self._order_changed(cfm, change.order, event, now)
            elif isinstance(change, DropTask):
                self.facts.state(cfm.issuer.controller).tasks.pop(change.id, None)

    def _heard(self, cfm: SimCfm, event: ev.TaskReported, now: Now) -> None:
        known = self.facts.state(cfm.issuer.controller).open_tasks.get(event.task_id)
        if known is None:
            return
        known.heard_mono_ms = now.mono_ms
        known.worked = True
        if event.report.done_bytes is not None:
            known.reports = True
            if event.report.done_bytes > known.bytes_done or event.report.received:
                known.bytes_done, known.moved_mono_ms = event.report.done_bytes, now.mono_ms
        known.received = known.received or event.report.received

    def _task_changed(self, cfm: SimCfm, task: Task, event: ev.Event, now: Now) -> None:
        state = self.facts.state(cfm.issuer.controller)
        known = state.tasks.get(task.id)
        before = known.task if known is not None else None
        for rule in self._task:
            rule.task_changed(cfm, before, task, event, now)
        if known is None:
            known = state.tasks[task.id] = TaskFacts(task, now.mono_ms, now.mono_ms, now.mono_ms)
        known.task = task
        if task.status is Status.WORKING:
            known.taken_mono_ms = now.mono_ms
        if task.status in UNFINISHED_TASKS:
            state.open_tasks[task.id] = known
            return
        self.facts.counts.failed_tasks += task.status is not Status.DONE
        self.facts.counts.copies_stayed += task.status is Status.DONE
        state.open_tasks.pop(task.id, None)
        known.ended_mono_ms = now.mono_ms
        state.ended_on[task.id] = cfm.evidence.addresses(task.destination)
        state.growth[task.id] = self._growth(known, now)
        state.done.append((now.mono_ms, task))
        while state.done and state.done[0][0] < now.mono_ms - RECENT_MS:
            old = state.done.popleft()[1]
            state.ended_on.pop(old.id, None)
            state.growth.pop(old.id, None)

    def _growth(self, known: TaskFacts, now: Now) -> Growth:
        """What a task that ends now has added to its disk, by this process's clock.

        A worker may tell of it long after the disk has shown it.
        """
        task = known.task
        ended = Growth(now.mono_ms, task.file.size_bytes)
        arrived = self.facts.arrived.get((task.file.name, self.world.disk_at(task.destination)))
        if task.status is not Status.DONE or arrived is None:
            return ended
        came_ms = now.mono_ms - (self.world.schedule.now_ms - arrived.came_ms)
        return ended if came_ms < known.started_mono_ms else Growth(came_ms, arrived.size_bytes)

    def _order_changed(self, cfm: SimCfm, order: DeleteOrder, event: ev.Event, now: Now) -> None:
        state = self.facts.state(cfm.issuer.controller)
        known = state.orders.get(order.id)
        before = known.order if known is not None else None
        for rule in self._order:
            rule.order_changed(cfm, before, order, event, now)
        if known is None:
            true_ms = self.world.schedule.now_ms
            known = state.orders[order.id] = OrderFacts(order, true_ms, now.mono_ms)
            state.recent_orders.append((now.mono_ms, order))
            while state.recent_orders[0][0] < now.mono_ms - RECENT_MS:
                state.ended_on.pop(state.recent_orders.popleft()[1].id, None)
        known.order = order
        if order.status is OrderStatus.UNKNOWN:
            known.unknown_mono_ms = now.mono_ms
        if order.status in UNFINISHED_ORDERS:
            state.open_orders[order.id] = known
        else:
            state.open_orders.pop(order.id, None)
            known.ended_mono_ms = now.mono_ms
            state.ended_on[order.id] = cfm.evidence.addresses(order.server)
            self.facts.counts.dropped_orders += order.status is OrderStatus.DROPPED
            if order.status is OrderStatus.DROPPED and _found_out(order):
                state.drops[order.file.name] = now.mono_ms

    def order_sent(self, cfm: SimCfm, order: DeleteOrder) -> None:
        known = self.facts.state(cfm.issuer.controller).orders.get(order.id)
        if known is not None:
            known.sent_ms = self.world.schedule.now_ms
        self.world.note("delete sent", order.file.name, order.server, order.kind)
        for rule in self._sent:
            rule.order_sent(cfm, order)

    def committed(self, cfm: SimCfm, changes: Sequence[Change]) -> None:
        self.facts.counts.rows_written += sum(not isinstance(change, PutEvent) for change in changes)
        state = self.facts.state(cfm.issuer.controller)
        for change in changes:
            match change:
                case PutTask(task):
                    state.committed_tasks[task.id] = task
                case DropTask(task_id):
                    state.committed_tasks.pop(task_id, None)
                case PutOrder(order):
                    state.committed_orders[order.id] = order
                case PutArrival(name, server):
                    state.committed_arrivals[name, server] = change
                case PutMeasure(measure):
                    state.committed_measure = measure
                case DropArrival(name, server):
                    state.committed_arrivals.pop((name, server), None)
        for rule in self._committed:
            rule.committed(cfm, changes)

    def restored(self, found: CommittedState) -> None:
        """Somebody has put an old backup of the state back: what was committed since is gone, and may be."""
        state = self.facts.state(found.controller_id)
        state.forgotten = state.orders  # some of them may still be under way
        state.committed_tasks, state.committed_orders = dict(found.tasks), dict(found.orders)
        state.committed_arrivals = {key: PutArrival(*key, at_s) for key, at_s in found.arrivals.items()}
        state.committed_measure = found.measure
        state.forget_uncommitted()
        for rule in self._restored:
            rule.restored(found)

    def said(self, _cfm: SimCfm) -> None:
        self.facts.counts.log_lines += 1

    def recovered(self, cfm: SimCfm, found: Recovered) -> None:
        self.facts.state(cfm.issuer.controller).forget_uncommitted()
        for rule in self._recovered:
            rule.recovered(cfm, found)

    def second_started(self, first: SimCfm, second: SimCfm, *, started: bool) -> None:
        for rule in self._second:
            rule.second_started(first, second, started=started)

    def metadata_accepted(self, cfm: SimCfm, pair: Pair, good: Measure | None) -> None:
        for rule in self._metadata:
            rule.metadata_accepted(cfm, pair, good)

    def report_arrives(self, cfm: SimCfm, worker: WorkerService, task_id: int, report: TaskReport) -> None:
        for rule in self._arrives:
            rule.report_arrives(cfm, worker, task_id, report)

    # ── workers ─────────────────────────────────────────────────────────────────────────────────────────

    def epoch_heard(self, worker: AnsweringWorker, issuer: Issuer, ours: bool) -> None:
        """A controller told a worker of ours its epoch; only that of its own controller counts."""
        binding = worker.authority.binding
        if ours and binding is not None and binding.controller == issuer.controller:
            controller, epoch = self.facts.epochs.get(worker.machine, ("", 0))
            if controller != issuer.controller or issuer.epoch > epoch:
                self.facts.epochs[worker.machine] = (issuer.controller, issuer.epoch)
                self.facts.fences.pop(worker.machine, None)  # its orders of before are refused by their epoch

    def fenced(self, worker: AnsweringWorker, issuer: Issuer, fence: int) -> None:
        if self.facts.epochs.get(worker.machine, ("", 0))[0] == issuer.controller:
            self.facts.fences[worker.machine] = max(fence, self.facts.fences.get(worker.machine, 0))

    def stream_opened(self, source: Sender, task_id: int) -> None:
        for rule in self._stream:
            rule.stream_opened(source, task_id)

    def transfer_started(self, worker: AnsweringWorker, offer: TaskOffer) -> None:
        self.facts.downloads.setdefault(offer.id, set()).add(worker.addr)
        for rule in self._transfer:
            rule.transfer_started(worker, offer)

    def reported(self, worker: SimServer, offer: TaskOffer, report: TaskReport) -> None:
        if report.status is not Status.WORKING:
            self.world.note("reports", worker.addr, offer.file_name, report.status, report.error)
        for rule in self._reported:
            rule.reported(worker, offer, report)

    # ── disks ───────────────────────────────────────────────────────────────────────────────────────────

    def unlinked(self, disk: SimDisk, name: str, node: Inode) -> None:
        """A worker has removed a file."""
        by = self.world.deleting
        if by is None:
            self.world.violations.add("1", f"{name} was removed from {disk.label} without an order")
            return
        self.facts.unlinks += 1
        known = self.facts.state(by.issuer.controller).order_of(by.order_id)
        order = known.order if known is not None else None
        self.world.note("unlinked", name, by.server.addr, order.kind if order else "?")
        for rule in self._unlinked:
            rule.unlinked(disk, name, node, by, order)
        if order is not None and order.kind is DeleteKind.SPACE:
            seen = self.world.true_hits[-1]
            self.facts.counts.watched_deleted += name in seen.rising or name in seen.watched
            rising = name in self.world.hits.rising
            gone = (self.world.schedule.now_ms, order.file.rank, rising)
            self.facts.deleted.setdefault((name, order.server), []).append(gone)

    def published(self, disk: SimDisk, name: str, node: Inode, replaced: Inode | None) -> None:
        """A worker has made a file visible."""
        grown_bytes = node.size_bytes - (replaced.size_bytes if replaced is not None else 0)
        self.facts.arrived[name, disk] = Growth(self.world.schedule.now_ms, max(0, grown_bytes))
        self.world.note("published", name, disk.label)
        for rule in self._published:
            rule.published(disk, name, node, replaced)

    def vanished(self, disk: SimDisk, name: str) -> None:
        self.world.note("vanished", name, disk.label)
        self.facts.counts.copies_stayed -= 1
        self.facts.vanished([name], self.world.schedule.now_ms)

    def touched(self, disk: SimDisk, name: str) -> None:
        for rule in self._touched:
            rule.touched(disk, name)

    # ── now and then ────────────────────────────────────────────────────────────────────────────────────

    def rested(self, why_not: str | None) -> None:
        """The liveness rule (20), at the end of a run."""
        self.liveness_checks += 1
        if why_not is not None:
            self.world.violations.add("20", f"it does not come to rest: {why_not}")

    def audit(self) -> None:
        for rule in self._audit:
            rule.audit()
