"""The rule that what goes for a wanted file is worth clearly less, with an arithmetic of its own."""

from __future__ import annotations

from fractions import Fraction

from cfm.controller.decide import events as ev
from cfm.model import DeleteKind, DeleteOrder, File, Now
from cfm_lab.sim.invariants.base import Invariant
from cfm_lab.sim.processes.controller import SimCfm

HALF = Fraction(1, 2)


class EvictionPays(Invariant):
    """Rule 13 of the domain: of the unique files that go together for a wanted one, each is less wanted by
    the margin; two or more are together worth at most half of it, by 1/rank or by the hits in the history.

    Scope: what is ordered at one moment, by the metadata in force.  A rising file is worth more than any.
    """

    number = "rule 13"
    title = "eviction pays"

    def order_changed(
        self, cfm: SimCfm, before: DeleteOrder | None, order: DeleteOrder, _event: ev.Event, now: Now
    ) -> None:
        if before is not None or order.kind is not DeleteKind.SPACE or order.room_for is None:
            return
        wanted = self._known(cfm, order.room_for)
        if wanted is None or wanted.name in cfm.evidence.hits.rising:
            return
        margin = 100 + cfm.evidence.rules.room_margin_percent
        self.hold(100 * order.file.rank > margin * wanted.rank, f"goes for rank {wanted.rank}:", order)
        going = [order.file, *self._ordered_before(cfm, order, now)]
        if len(going) > 1:
            by_rank = sum(Fraction(1, file.rank) for file in going) <= HALF / wanted.rank
            by_hits = wanted.hits > 0 and sum(file.hits for file in going) <= HALF * wanted.hits
            ranks = [file.rank for file in going]
            self.hold(by_rank or by_hits, f"ranks {ranks} go for rank {wanted.rank}:", order)

    def _ordered_before(self, cfm: SimCfm, order: DeleteOrder, now: Now) -> list[File]:
        """The unique files that were ordered before it at the same moment, for the same file."""
        recent = self.facts.state(cfm.issuer.controller).recent_orders
        together = [one for ms, one in recent if ms == now.mono_ms and one.kind is DeleteKind.SPACE]
        return [one.file for one in together if one.room_for == order.room_for]

    def _known(self, cfm: SimCfm, name: str) -> File | None:
        files = cfm.pair.files if cfm.pair is not None else ()
        return next((file for file in files if file.name == name), None)
