"""The rules about the life of a delete order: one for each file, and UNKNOWN until a list settles it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from cfm.controller.decide import events as ev
from cfm.model import DeleteOrder, Now, OrderStatus
from cfm.tasks.store import Change
from cfm_lab.sim.invariants.base import Invariant
from cfm_lab.sim.processes.controller import SimCfm


class OneDeletePerFile(Invariant):
    """A file has at most one unfinished delete order.

    Scope: the orders of one controller, over all its restarts.  A worker of ours refuses the orders of a
    controller that it does not belong to; see rule 6.
    """

    number = "3"
    title = "one delete per file"

    def order_changed(
        self, cfm: SimCfm, before: DeleteOrder | None, order: DeleteOrder, _event: ev.Event, _now: Now
    ) -> None:
        if before is None:
            state = self.facts.state(cfm.issuer.controller)
            others = [f.order for f in state.open_orders.values() if f.order.file.name == order.file.name]
            self.hold(not others, "a second delete of a file:", order, others)

    def audit(self) -> None:
        for state in self.facts.states.values():
            names = Counter(known.order.file.name for known in state.open_orders.values())
            self.hold(all(number == 1 for number in names.values()), "two deletes of one file", names)


class UnknownStaysUnknown(Invariant):
    """Every answer but 200 makes a delete order UNKNOWN, and only a list that was asked for later settles it.

    An old worker knows no fence, so its list settles an order only after a quiet time.
    """

    number = "4"
    title = "unknown stays unknown"

    def decided(self, cfm: SimCfm, event: ev.Event, changes: Sequence[Change], _now: Now) -> None:
        if isinstance(event, ev.DeleteAnswer) and event.answer != 200:
            known = self.facts.state(cfm.issuer.controller).open_orders.get(event.order_id)
            if known is not None and known.order.status is OrderStatus.SENT:
                new = [
                    c.order.status for c in changes if hasattr(c, "order") and c.order.id == event.order_id
                ]
                self.hold(new == [OrderStatus.UNKNOWN], "not unknown after", event.answer, new)

    def order_changed(
        self, cfm: SimCfm, before: DeleteOrder | None, order: DeleteOrder, event: ev.Event, _now: Now
    ) -> None:
        if before is None or before.status is not OrderStatus.UNKNOWN:
            return
        known = self.facts.state(cfm.issuer.controller).orders[order.id]
        if order.server not in cfm.evidence.destinations:
            return  # it is listed no more, and what it holds counts nowhere
        listed = isinstance(event, ev.ListAnswer) and event.addr == order.server
        self.hold(listed, "an unknown delete was settled by", type(event).__name__, order)
        if isinstance(event, ev.ListAnswer) and known.unknown_mono_ms is not None:
            features = cfm.evidence.servers[order.server].features
            quiet_ms = 0 if features is not None and features.ours else 10_000
            late = event.asked_ms >= known.unknown_mono_ms + quiet_ms
            self.hold(late, "settled by a list that was asked for too early:", order)
