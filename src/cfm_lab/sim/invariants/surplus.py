"""The rule that surplus copies make room before a unique file does.  It is held in sick worlds only."""

from __future__ import annotations

from cfm.controller.decide import events as ev
from cfm.model import Addr, DeleteKind, DeleteOrder, File, Now, OrderStatus
from cfm.plan.view import is_ad
from cfm_lab.sim.facts import OrderFacts
from cfm_lab.sim.invariants.base import Invariant
from cfm_lab.sim.processes.controller import SimCfm

LATELY_MS = 1_800_000
"""As long as the longest pause of a file whose order was dropped."""


class SurplusFirst(Invariant):
    """No unique file goes for room from a disk on which surplus copies would make the same room.

    Scope: what cfm was told last.  A copy is surplus where another server, which is up and listed, has the
    file too, and no task and no order is about it.  A copy whose delete was confirmed after the last list is
    gone.  A copy whose trim failed twice or more of late does not count: a disk does not wait for it.
    """

    number = "26"
    title = "surplus goes first"

    def order_changed(
        self, cfm: SimCfm, before: DeleteOrder | None, order: DeleteOrder, _event: ev.Event, _now: Now
    ) -> None:
        if before is not None or order.kind is not DeleteKind.SPACE or cfm.pair is None:
            return
        if self._has_another_copy(cfm, order.file.name, order.server):
            return
        surplus = [file for file in cfm.pair.files if self._is_surplus(cfm, file, order.server)]
        surplus_bytes = sum(file.size_bytes for file in surplus)
        self.hold(
            surplus_bytes < order.file.size_bytes,
            f"a unique file goes, with {surplus_bytes} bytes of {len(surplus)} surplus copies there:",
            order,
        )

    def _has_another_copy(self, cfm: SimCfm, name: str, addr: Addr) -> bool:
        others = [one for one in cfm.evidence.holders(name) if one not in cfm.evidence.addresses(addr)]
        return any(not self._deleted_since(cfm, name, one) for one in others)

    def _deleted_since(self, cfm: SimCfm, name: str, addr: Addr) -> bool:
        """Was its delete confirmed after the list that still shows it was asked for?"""
        listed_ms = cfm.evidence.servers[addr].list_asked_ms
        return any(
            known.order.status is OrderStatus.CONFIRMED and (known.ended_mono_ms or 0) >= listed_ms
            for known in self._orders_of(cfm, name)
            if known.order.server == addr
        )

    def _fails(self, cfm: SimCfm, name: str) -> bool:
        """Was its order dropped again and again of late?"""
        now_ms = cfm.clock.now().mono_ms
        dropped = [one for one in self._orders_of(cfm, name) if one.order.status is OrderStatus.DROPPED]
        return len([one for one in dropped if (one.ended_mono_ms or 0) > now_ms - LATELY_MS]) > 1

    def _orders_of(self, cfm: SimCfm, name: str) -> list[OrderFacts]:
        known = self.facts.state(cfm.issuer.controller).orders.values()
        return [one for one in known if one.order.file.name == name]

    def _is_surplus(self, cfm: SimCfm, file: File, addr: Addr) -> bool:
        there = cfm.evidence.servers[addr].names
        if there is None or file.name not in there or is_ad(file.name, cfm.evidence.rules.ad_prefixes):
            return False
        state = self.facts.state(cfm.issuer.controller)
        busy = [known.task.file.name for known in state.open_tasks.values()]
        busy += [known.order.file.name for known in state.open_orders.values()]
        on_san = self.world.san.holds(file.name, file.size_bytes)
        if not on_san or file.name in busy or self._fails(cfm, file.name):
            return False
        if self._deleted_since(cfm, file.name, addr):
            return False
        return self._has_another_copy(cfm, file.name, addr)
