"""The rule about how much is deleted: how fast, and only what is needed."""

from __future__ import annotations

from cfm.controller.decide import events as ev
from cfm.model import DeleteKind, DeleteOrder, DiskUsage, Now, OrderStatus, bytes_over
from cfm_lab.sim.invariants.base import Invariant
from cfm_lab.sim.processes.controller import SimCfm

APART_MS = 5_000
"""The shortest time between two readings that prove a need."""
UNFREED_MS = 630_000
"""How long deleted bytes stay booked that `/df` does not show yet.

A viewer may have the file open, or other software may fill the disk meanwhile: nobody can tell which."""


class PaceAndNeed(Invariant):
    """A server gets no more deletes a minute than the pace allows.  Nothing goes for room that is not needed,
    by the last `/df` and all orders since.  No more than the breaker's share goes without a confirmation.

    A disk with several addresses is one disk: its workers tell its id.  What was ordered at any of its
    addresses counts, and orders for room go only to its lowest usable address.

    Scope: bytes are those of the server's last `/df`, which other software may make untrue at once.  The
    product may still book a delete that `/df` shows already, so the breaker may be wrong by one largest file.
    """

    number = "8"
    title = "pace, need and breaker"

    def order_changed(
        self, cfm: SimCfm, before: DeleteOrder | None, order: DeleteOrder, _event: ev.Event, now: Now
    ) -> None:
        if before is not None:
            if order.status is OrderStatus.SENT and order.kind is DeleteKind.SPACE and order.room_for is None:
                self._still_needed(cfm, order)
            return
        state = self.facts.state(cfm.issuer.controller)
        lately = [o for ms, o in state.recent_orders if now.mono_ms - ms < 60_000]
        self._pace(cfm, order, [*lately, *self._before_the_start(cfm, now)])
        if order.kind is DeleteKind.SPACE:
            self._need(cfm, order)

    def _still_needed(self, cfm: SimCfm, order: DeleteOrder) -> None:
        """The room is still needed when the order is sent, by the last `/df` and all other orders."""
        heard = cfm.evidence.servers[order.server]
        if heard.disk is not None:
            usage, limit = heard.disk.usage, cfm.evidence.limit_percent(order.server)
            over_bytes = bytes_over(usage.used_bytes, usage.avail_bytes, limit)
            others_bytes = self._leaving(cfm, order, heard.disk_asked_ms) - order.file.size_bytes
            self.hold(
                over_bytes > others_bytes, f"sent, with {over_bytes} over, {others_bytes} leaving:", order
            )

    def _before_the_start(self, cfm: SimCfm, now: Now) -> list[DeleteOrder]:
        """What was ordered, and committed, in the last minute by a process that is gone.

        The state keeps whole seconds by the wall clock, so an order counts only where that clock went on,
        before the start and since.
        """
        running_ms = now.mono_ms - cfm.evidence.started_ms
        jumped_ms = abs(now.wall_ms - cfm.evidence.started.wall_ms - running_ms)
        if running_ms >= 60_000 or jumped_ms >= 1000:
            return []
        state, since_ms = self.facts.state(cfm.issuer.controller), self.world.schedule.now_ms - 59_000
        return [
            f.order for f in state.orders.values()
            if f.order.id in state.committed_orders and not f.ordered_mono_ms
            and f.ordered_ms > since_ms and now.wall_s - f.order.created_s < 60
        ]  # fmt: skip

    def _pace(self, cfm: SimCfm, order: DeleteOrder, last_minute: list[DeleteOrder]) -> None:
        same = [o for o in last_minute if o.server == order.server and o.kind is order.kind]
        cap = cfm.evidence.rules.pace(order.kind)
        self.hold(len(same) < cap, "more deletes a minute than", cap, order)

    def _need(self, cfm: SimCfm, order: DeleteOrder) -> None:
        heard = cfm.evidence.servers[order.server]
        if heard.disk is None:
            self.hold(False, "for room on a disk that is not known:", order)
            return
        through = cfm.evidence.used_through(order.server)
        self.hold(order.server == through, f"for room, on a disk that is used through {through}:", order)
        usage, limit = heard.disk.usage, cfm.evidence.limit_percent(order.server)
        over_bytes = bytes_over(usage.used_bytes, usage.avail_bytes, limit)
        leaving_bytes = self._leaving(cfm, order, heard.disk_asked_ms)
        if order.room_for is None:
            self.hold(over_bytes > leaving_bytes, f"{over_bytes} over, {leaving_bytes} leaving:", order)
            planned_bytes = over_bytes
        else:
            wanted_bytes = self._wanted_bytes(cfm, order)
            state, there = self.facts.state(cfm.issuer.controller), cfm.evidence.addresses(order.server)
            arriving_bytes = state.arriving_bytes(order.server, there, heard.disk_asked_ms)
            most = limit * (usage.used_bytes + usage.avail_bytes) // 100
            short_bytes = usage.used_bytes + arriving_bytes + wanted_bytes - most - leaving_bytes
            self.hold(short_bytes > 0, "room is made that is there already:", short_bytes, order)
            shown_ms = heard.disk_asked_ms  # this `/df` need not show yet what had gone shortly before
            unshown_bytes = state.gone_bytes(order.server, shown_ms - UNFREED_MS)
            unshown_bytes -= state.gone_bytes(order.server, shown_ms)
            doubled_bytes = min(arriving_bytes, heard.disk.arriving_bytes)  # `used` contains these already
            planned_bytes = self._for_room(cfm, order) + max(0, short_bytes - unshown_bytes - doubled_bytes)
        self._breaker(cfm, order, usage, planned_bytes)
        self._proven(cfm, order, limit)

    def _proven(self, cfm: SimCfm, order: DeleteOrder, limit: int) -> None:
        """Two readings some time apart show the need, and all between them.

        Scope: what our own copies brought since a reading counts as shown by it.  Where readings stand
        still, that begins with the first of them.
        """
        state, there = self.facts.state(cfm.issuer.controller), cfm.evidence.addresses(order.server)
        wanted_bytes = self._wanted_bytes(cfm, order) if order.room_for is not None else 0
        first_ms = last_ms = None
        for asked_ms, usage, _settled, still_since_ms in reversed(
            cfm.evidence.servers[order.server].readings
        ):
            most_bytes = limit * (usage.used_bytes + usage.avail_bytes) // 100
            more_bytes = wanted_bytes + state.arriving_bytes(order.server, there, still_since_ms)
            if usage.used_bytes + more_bytes <= most_bytes:
                break
            first_ms, last_ms = asked_ms, last_ms if last_ms is not None else asked_ms
        proven = first_ms is not None and last_ms is not None and last_ms - first_ms >= APART_MS
        self.hold(proven, "for a need that one reading alone shows:", order)

    def _breaker(self, cfm: SimCfm, order: DeleteOrder, usage: DiskUsage, planned_bytes: int) -> None:
        share_bytes = cfm.evidence.rules.breaker_percent * usage.used_bytes // 100
        self.hold(
            planned_bytes <= share_bytes + self.world.largest_bytes or cfm.evidence.confirmed,
            f"{planned_bytes} bytes, {share_bytes} allowed:",
            order,
        )

    def _leaving(self, cfm: SimCfm, order: DeleteOrder, since_ms: int) -> int:
        """Bytes of all orders for that disk that a `/df` from `since_ms` certainly does not show."""
        state = self.facts.state(cfm.issuer.controller)
        there = cfm.evidence.addresses(order.server)
        open_orders = [f.order for f in state.open_orders.values() if f.order.server in there]
        return sum(o.file.size_bytes for o in open_orders) + state.gone_bytes(order.server, since_ms)

    def _for_room(self, cfm: SimCfm, order: DeleteOrder) -> int:
        state = self.facts.state(cfm.issuer.controller)
        there = cfm.evidence.addresses(order.server)
        orders = [f.order for f in state.open_orders.values() if f.order.room_for is not None]
        return sum(o.file.size_bytes for o in orders if o.server in there)

    def _wanted_bytes(self, cfm: SimCfm, order: DeleteOrder) -> int:
        """The size of the file that the room is for, by the metadata in force, or else by the library."""
        files = (*(cfm.pair.files if cfm.pair is not None else ()), *self.world.library)
        return next((f.size_bytes for f in files if f.name == order.room_for), 1 << 60)
