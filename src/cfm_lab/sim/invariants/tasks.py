"""The rules about tasks: their states, who holds them, how many run at a time, and when they time out."""

from __future__ import annotations

from cfm.controller.decide import events as ev
from cfm.model import DeleteOrder, Now, OrderStatus, Status, Task, sides_of
from cfm.tasks.store import Recovered
from cfm.wire import TaskOffer
from cfm_lab.sim.invariants.base import Invariant
from cfm_lab.sim.processes.controller import SimCfm
from cfm_lab.sim.processes.sending import Sender
from cfm_lab.sim.processes.worker_requests import AnsweringWorker

STILL_MS, STILL_ON_TRIAL_MS, UNTAKEN_MS, SLOW = 118_000, 28_000, 44_000, 10
"""How long a copy may stand still, how long it may where copies have failed, how long a task may wait for its
worker, and how many times slower than its speed a copy must be before it is ended for that."""
FINAL = (Status.DONE, Status.FAILED, Status.TIMED_OUT, Status.CANCELLED)
TASK_TABLE: dict[Status | None, tuple[Status, ...]] = {
    None: (Status.READY,),
    Status.READY: (Status.WORKING, *FINAL),
    Status.WORKING: FINAL,
}
ORDER_TABLE: dict[OrderStatus | None, tuple[OrderStatus, ...]] = {
    None: (OrderStatus.ORDERED,),
    OrderStatus.ORDERED: (OrderStatus.SENT, OrderStatus.DROPPED),
    OrderStatus.SENT: (OrderStatus.CONFIRMED, OrderStatus.UNKNOWN),
    OrderStatus.UNKNOWN: (OrderStatus.CONFIRMED, OrderStatus.DROPPED),
}
"""Both tables are copies of the product's, so that a change of the product's tables is noticed."""


class LegalEdges(Invariant):
    """Tasks and delete orders change only as their tables allow.  A final state never changes."""

    number = "16"
    title = "legal changes"

    def task_changed(
        self, _cfm: SimCfm, before: Task | None, task: Task, _event: ev.Event, _now: Now
    ) -> None:
        old = before.status if before is not None else None
        self.hold(task.status in TASK_TABLE.get(old, ()), f"{old} became {task.status}:", task)

    def order_changed(
        self, _cfm: SimCfm, before: DeleteOrder | None, order: DeleteOrder, _event: ev.Event, _now: Now
    ) -> None:
        old = before.status if before is not None else None
        self.hold(order.status in ORDER_TABLE.get(old, ()), f"{old} became {order.status}:", order)


class OneWorkerPerTask(Invariant):
    """At most one worker of ours works on a task.  A report about an ended task changes nothing.

    Scope: two old workers with one address would take each other's tasks; the simulation has no such pair.
    """

    number = "11"
    title = "one worker a task"

    def transfer_started(self, _worker: AnsweringWorker, offer: TaskOffer) -> None:
        begun = self.facts.downloads[offer.id]
        self.hold(len(begun) == 1, "one task on several workers:", offer.id, sorted(begun))

    def decided(self, cfm: SimCfm, event: ev.Event, changes: list[object], _now: Now) -> None:  # type: ignore[override]
        if isinstance(event, ev.TaskReported):
            known = self.facts.state(cfm.issuer.controller).tasks.get(event.task_id)
            if known is not None and known.task.status in FINAL:
                moved = [c for c in changes if getattr(getattr(c, "task", None), "id", 0) == event.task_id]
                self.hold(not moved, "a late report changed an ended task:", moved)


class RolesOfTheSettings(Invariant):
    """After a start, no copy goes on to or from a server that has not that role any more, and no delete waits
    for one that is no destination."""

    number = "rule 6"
    title = "roles of the settings"

    def recovered(self, cfm: SimCfm, _found: Recovered) -> None:
        assert cfm.core is not None
        state, sources, destinations = cfm.core.state, cfm.config.sources, cfm.config.destinations
        for task in state.tasks.active.values():
            fit = task.source in sources and task.destination in destinations
            self.hold(fit, "a copy goes on without its servers:", task)
        for order in state.orders.active.values():
            self.hold(order.server in destinations, "a delete waits for no destination:", order)


class OutgoingStreams(Invariant):
    """A source of ours sends no more streams at a time than its setting says, zombies included."""

    number = "12"
    title = "outgoing streams"

    def stream_opened(self, source: Sender, _task_id: int) -> None:
        self.hold(len(source.sending) <= source.slots, source.addr, "sends", len(source.sending), "streams")

    def task_changed(self, cfm: SimCfm, before: Task | None, task: Task, _event: ev.Event, _now: Now) -> None:
        if before is None:
            state = self.facts.state(cfm.issuer.controller)
            busy = [
                f.task for f in state.open_tasks.values()
                if f.task.source == task.source and not f.received
            ]  # fmt: skip
            most = cfm.evidence.rules.streams_per_source
            self.hold(len(busy) < most, f"{task.source} already sends {len(busy)}:", task)


class IncomingCopies(Invariant):
    """A destination receives no more copies at a time than its setting says, and finishes no more than that
    beside them."""

    number = "13"
    title = "incoming copies"

    def task_changed(self, cfm: SimCfm, before: Task | None, task: Task, _event: ev.Event, _now: Now) -> None:
        if before is None:
            state = self.facts.state(cfm.issuer.controller)
            there = [f for f in state.open_tasks.values() if f.task.destination == task.destination]
            incoming = [f for f in there if not f.received]
            features = cfm.evidence.servers[task.destination].features
            own = features.downloads if features is not None else 1
            most = min(own, cfm.evidence.rules.incoming_per_destination)
            self.hold(len(incoming) < most, f"{task.destination} receives {len(incoming)} already:", task)
            self.hold(len(there) < 2 * most, f"{task.destination} has {len(there)} under way already:", task)

    def transfer_started(self, worker: AnsweringWorker, _offer: TaskOffer) -> None:
        coming = [one for one in worker.transfers.values() if not one.received]
        self.hold(len(coming) <= worker.downloads, worker.addr, "receives", len(coming))


class TimeOutsAreReal(Invariant):
    """A task times out only after its worker was silent for the lease, after it did not take the task or show
    progress for its time, after it was slow for that time, or because a server went down.  Where copies have
    failed before, it may stand still for less time.  A jump of a wall clock never does it.

    Scope: that a copy was slow is taken from the reports of two minutes, and not compared with others.
    """

    number = "22"
    title = "real time-outs"

    def task_changed(self, cfm: SimCfm, before: Task | None, task: Task, event: ev.Event, now: Now) -> None:
        if task.status is not Status.TIMED_OUT or isinstance(event, ev.TaskReported):
            return
        known = self.facts.state(cfm.issuer.controller).tasks[task.id]
        evidence = cfm.evidence
        down = not evidence.servers[task.source].up or not evidence.servers[task.destination].up \
            if task.source in evidence.servers and task.destination in evidence.servers else True  # fmt: skip
        heard_ms = max(known.heard_mono_ms, evidence.started_ms)
        silent = now.mono_ms - heard_ms >= evidence.rules.lease_ms
        since_ms = now.mono_ms - max(known.moved_mono_ms, evidence.started_ms)
        may_stand_ms = STILL_ON_TRIAL_MS if _is_trial(cfm, task) else STILL_MS
        claimed = before is not None and before.status is Status.WORKING and not known.worked
        still = since_ms >= (may_stand_ms if known.reports or claimed else evidence.rules.task_timeout_ms)
        untaken = (
            before is not None
            and before.status is Status.READY
            and now.mono_ms - max(known.started_mono_ms, evidence.started_ms) >= UNTAKEN_MS
        )
        held_ms = now.mono_ms - max(known.taken_mono_ms, evidence.started_ms)
        slow = held_ms >= STILL_MS and 8_000 * known.bytes_done * SLOW < held_ms * task.copy_speed_bps
        self.hold(down or silent or still or untaken or slow, "timed out without reason:", task)


def _is_trial(cfm: SimCfm, task: Task) -> bool:
    """Is a server or the pair to blame?  Another copy that ended at the same moment may have shown it."""
    book = cfm.core.state.failures.pauses if cfm.core is not None else {}
    return any(side in book for side in sides_of((task.source, task.destination)))
