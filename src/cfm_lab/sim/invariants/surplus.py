"""The rule that surplus copies make room before a unique file does.  It is held in sick worlds only."""

from __future__ import annotations

from cfm.controller.decide import events as ev
from cfm.model import Addr, DeleteKind, DeleteOrder, File, Now
from cfm.plan.view import is_ad
from cfm_lab.sim.invariants.base import Invariant
from cfm_lab.sim.processes.controller import SimCfm


class SurplusFirst(Invariant):
    """No unique file goes for room from a disk on which surplus copies would make the same room.

    Scope: what cfm was told last.  A copy is surplus where another server, which is up and listed, has the
    file too, and no task and no order is about it.
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
        return any(one not in cfm.evidence.addresses(addr) for one in cfm.evidence.holders(name))

    def _is_surplus(self, cfm: SimCfm, file: File, addr: Addr) -> bool:
        there = cfm.evidence.servers[addr].names
        if there is None or file.name not in there or is_ad(file.name, cfm.evidence.rules.ad_prefixes):
            return False
        state = self.facts.state(cfm.issuer.controller)
        busy = [known.task.file.name for known in state.open_tasks.values()]
        busy += [known.order.file.name for known in state.open_orders.values()]
        on_san = self.world.san.holds(file.name, file.size_bytes)
        return on_san and file.name not in busy and self._has_another_copy(cfm, file.name, addr)
