"""The rule about the room that is made for one wanted file: needed, enough, in one place, and its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cfm.controller.decide import events as ev
from cfm.fleet.disk_account import FREED_LATE
from cfm.model import Addr, DeleteOrder, DiskUsage, Now, OrderStatus, Side, Task
from cfm.tasks.store import Change, PutOrder, PutTask
from cfm_lab.sim.invariants.base import Invariant
from cfm_lab.sim.processes.controller import SimCfm

SURELY_MS = 630_000
"""What the readings of so long a time show is sure.  As long, deleted bytes stay booked that none shows."""

SURE_READINGS = 2
"""One at the beginning of that time, and one since: a server may be looked at rarely."""


class RoomForOneFile(Invariant):
    """Rule 13 of the domain: room is made for a file that fits nowhere, on one disk, as much as it needs; and
    it is not taken from another file that room is being made for on that disk.

    Scope: what cfm was told.  A file fits where a disk had room for it by all readings of ten minutes, beside
    all that could still arrive; not where copies fail, nor where room is made for another file.  Room counts
    as being made for a set time after its order, and until a copy of its file begins.
    """

    number = "rule 13b"
    title = "room for one file"

    def decided(self, cfm: SimCfm, _event: ev.Event, changes: Sequence[Change], now: Now) -> None:
        """All orders of a moment are seen together: do they make enough room?"""
        orders = self.facts.state(cfm.issuer.controller).orders
        made = [one.order for one in changes if isinstance(one, PutOrder) and one.order.id not in orders]
        bundles: dict[tuple[str, Addr], list[DeleteOrder]] = {}
        for order in made:
            if order.room_for is not None and order.status is OrderStatus.ORDERED:
                bundles.setdefault((order.room_for, order.server), []).append(order)
        for (wanted, addr), bundle in bundles.items():
            size_bytes = self._size_bytes(cfm, wanted)
            if cfm.evidence.started_ms <= now.mono_ms - SURELY_MS:
                self._is_enough(cfm, addr, size_bytes, bundle[0], made)
            at = changes.index(PutOrder(bundle[0]))
            begun = [one.task for one in changes[:at] if isinstance(one, PutTask)]
            self._fits_nowhere(cfm, size_bytes, bundle[0], begun, now)

    def order_changed(
        self, cfm: SimCfm, before: DeleteOrder | None, order: DeleteOrder, _event: ev.Event, now: Now
    ) -> None:
        if before is not None or order.room_for is None:
            return
        there = cfm.evidence.addresses(order.server)
        for other in self._being_made(cfm, now):
            same_file, same_disk = other.room_for == order.room_for, other.server in there
            self.hold(same_disk or not same_file, "room is made elsewhere, too, by", other, "for", order)
            self.hold(same_file or not same_disk, "room is made there for another file by", other, ":", order)

    def _being_made(self, cfm: SimCfm, now: Now) -> Iterator[DeleteOrder]:
        """Orders of this process that make room, and whose file still waits for it."""
        state = self.facts.state(cfm.issuer.controller)
        since_ms = now.mono_ms - cfm.evidence.rules.room_hold_ms
        begun = {known.task.file.name for known in state.tasks.values() if known.started_mono_ms > since_ms}
        for ms, order in state.recent_orders:
            waits = order.room_for is not None and order.room_for not in begun
            if ms > since_ms and order.id in state.open_orders and waits:
                yield order

    def _is_enough(
        self, cfm: SimCfm, addr: Addr, wanted_bytes: int, order: DeleteOrder, made: Sequence[DeleteOrder]
    ) -> None:
        """Scope: where one may count more or less, the least is taken for lacking.  A cfm that has just begun
        does not know whether a `/df` shows already what went before."""
        heard = cfm.evidence.servers[addr]
        if heard.disk is None:
            return  # another rule says that nothing is deleted there
        state, there = self.facts.state(cfm.issuer.controller), cfm.evidence.addresses(addr)
        arriving_bytes = state.least_arriving_bytes(addr, there, heard.disk_asked_ms)
        arriving_bytes -= heard.disk.arriving_bytes
        orders = (*(known.order for known in state.open_orders.values()), *made)
        leaving_bytes = sum(one.file.size_bytes for one in orders if one.server in there)
        # The longer deletes free nothing, the longer they are waited for.
        waited_ms = FREED_LATE.longest_ms if _frees_late(cfm, addr) else SURELY_MS
        gone_since_ms = min(heard.disk_asked_ms - waited_ms, heard.unmoved_since_ms)
        leaving_bytes += state.gone_bytes(addr, gone_since_ms)
        used_bytes = heard.disk.usage.used_bytes + max(0, arriving_bytes) + wanted_bytes
        short_bytes = used_bytes - self._ceiling_bytes(cfm, addr, heard.disk.usage) - leaving_bytes
        self.hold(short_bytes <= 0, f"{short_bytes} bytes too few go:", order)

    def _fits_nowhere(
        self, cfm: SimCfm, wanted_bytes: int, order: DeleteOrder, begun: Sequence[Task], now: Now
    ) -> None:
        """`begun`: tasks that became known in the same moment, before the order."""
        known = self.facts.state(cfm.issuer.controller).tasks
        taken = {other.server for other in self._being_made(cfm, now)} | {order.server}
        for addr in cfm.evidence.destinations:
            there = cfm.evidence.addresses(addr)
            if taken.isdisjoint(there) and not self._may_be_left_out(cfm, addr):
                new = [task for task in begun if task.destination in there and task.id not in known]
                room_bytes = self._sure_room_bytes(cfm, addr, now) - sum(one.file.size_bytes for one in new)
                self.hold(room_bytes < wanted_bytes, addr, f"has {room_bytes} bytes of room:", order)

    def _may_be_left_out(self, cfm: SimCfm, addr: Addr) -> bool:
        """A disk that is used through another address, or where copies fail."""
        failures = cfm.core.state.failures.pauses if cfm.core is not None else {}
        usable = cfm.evidence.servers[addr].usable and cfm.evidence.used_through(addr) == addr
        return not usable or Side(destination=addr) in failures

    def _sure_room_bytes(self, cfm: SimCfm, addr: Addr, now: Now) -> int:
        """What surely fits there beside all that came in this time or may still come."""
        heard, since_ms = cfm.evidence.servers[addr], now.mono_ms - SURELY_MS
        earlier = [one for one in heard.readings if one.asked_ms <= since_ms]
        readings = [*earlier[-1:], *(one for one in heard.readings if one.asked_ms > since_ms)]
        if len(readings) < SURE_READINGS or not earlier or cfm.evidence.started_ms > since_ms:
            return 0
        state, there = self.facts.state(cfm.issuer.controller), cfm.evidence.addresses(addr)
        shown_ms = 0 if heard.never_moved else min(since_ms, heard.unmoved_since_ms)
        arriving_bytes = state.arriving_bytes(addr, there, shown_ms)
        sizes = {file.name: file.size_bytes for file in (cfm.pair.files if cfm.pair is not None else ())}
        listed_bytes = sum(sizes.get(name, 0) for name in heard.names or ())
        usages = [one.usage for one in readings]
        most_bytes = min(
            self._ceiling_bytes(cfm, addr, one) - max(one.used_bytes, listed_bytes) for one in usages
        )
        return min(most_bytes, *(one.avail_bytes for one in usages)) - arriving_bytes

    def _ceiling_bytes(self, cfm: SimCfm, addr: Addr, usage: DiskUsage) -> int:
        return usage.ceiling_bytes(cfm.evidence.limit_percent(addr))

    def _size_bytes(self, cfm: SimCfm, wanted: str) -> int:
        """By the metadata in force, or else by the library."""
        files = (*(cfm.pair.files if cfm.pair is not None else ()), *self.world.library)
        return next((file.size_bytes for file in files if file.name == wanted), 0)


def _frees_late(cfm: SimCfm, addr: Addr) -> bool:
    """Has a delete there freed nothing in its time, so that cfm waits longer for those that came later?"""
    return cfm.core is not None and cfm.core.state.fleet.records[addr].account.frees_late
