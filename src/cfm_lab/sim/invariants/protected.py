"""The rules about what is never deleted, and what is not while nobody knows who watches it."""

from __future__ import annotations

from cfm.controller.decide import events as ev
from cfm.model import DeleteKind, DeleteOrder, Now, OrderStatus, Task
from cfm.plan.view import is_ad
from cfm_lab.fakes.memory_base_dir import Inode
from cfm_lab.sim.environment.disks import SimDisk
from cfm_lab.sim.environment.services import DeleteRequest
from cfm_lab.sim.invariants.base import Invariant
from cfm_lab.sim.processes.controller import SimCfm


class HitsUnknown(Invariant):
    """Rule 24 of the domain: while the event log cannot be read, nothing is deleted to make room.  During the
    grace time no file goes for the limit that was rising or watched at the last reading."""

    number = "rule 24"
    title = "unknown hits are not no hits"

    def order_changed(
        self, cfm: SimCfm, before: DeleteOrder | None, order: DeleteOrder, _event: ev.Event, now: Now
    ) -> None:
        new = before is None or order.status is OrderStatus.SENT
        lost_ms = cfm.evidence.hits_lost_ms
        if not new or order.kind is DeleteKind.SURPLUS or lost_ms is None:
            return
        self.hold(order.room_for is None, "room is made while hits are unknown:", order)
        grace = now.mono_ms - lost_ms < cfm.evidence.rules.unknown_grace_ms
        kept = grace and order.file.name in cfm.evidence.last_watched
        self.hold(not kept, "it was watched when the log was lost:", order)


class NeverDeleted(Invariant):
    """No ad is ever deleted, and no file that is being copied, at either end.  For room, no rising and no
    watched file goes, and none that is younger than the minimum stay."""

    number = "9"
    title = "never deleted"

    def order_changed(
        self, cfm: SimCfm, before: DeleteOrder | None, order: DeleteOrder, _event: ev.Event, now: Now
    ) -> None:
        if before is not None and order.status is not OrderStatus.SENT:
            return
        evidence, name = cfm.evidence, order.file.name
        self.hold(not is_ad(name, evidence.rules.ad_prefixes), "an ad:", order)
        state = self.facts.state(cfm.issuer.controller)
        running = [f.task for f in state.open_tasks.values() if f.task.file.name == name]
        self.hold(not running, "a file that is being copied:", order, running)
        uncut = [] if cfm.core is None else list(cfm.core.state.tasks.uncut.values())
        self.hold(all(t.file.name != name for t in uncut), "a stream of it may still run:", order)
        if order.kind is DeleteKind.SURPLUS:
            return
        self.hold(name not in evidence.hits.rising, "a rising file:", order)
        self.hold(name not in evidence.hits.watched, "a watched file:", order)
        came = [
            ms for ms, t in state.done
            if t.file.name == name and t.destination == order.server and t.status == "done"
        ]  # fmt: skip
        features = evidence.servers[order.server].features
        ours = features is not None and features.ours
        young = bool(came) and ours and now.mono_ms - came[-1] < evidence.rules.minimum_stay_ms
        self.hold(not young, "a young file:", order)

    def unlinked(
        self, disk: SimDisk, name: str, _node: Inode, by: DeleteRequest, _order: DeleteOrder | None
    ) -> None:
        self.hold(not is_ad(name, self.world.profile.rules.ad_prefixes), "an ad was deleted:", name)
        arriving = any(temp.startswith(f"{name}.") for temp in disk.temp_names)
        known = self.facts.state(by.issuer.controller)
        current = any(f.task.file.name == name for f in known.open_tasks.values())
        self.hold(not (arriving and current), "deleted while it arrives:", name, disk.label)

    def task_changed(self, cfm: SimCfm, before: Task | None, task: Task, _event: ev.Event, _now: Now) -> None:
        if before is None:
            orders = self.facts.state(cfm.issuer.controller).open_orders.values()
            clash = [f.order for f in orders if f.order.file.name == task.file.name]
            self.hold(not clash, "a copy of what is being deleted:", task, clash)
