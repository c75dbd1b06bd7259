"""Delete orders: from the decision until it is certain that a file is gone, or that it stays.  Pure.

There is at most one unfinished order for each file in the whole node.  An order that got any answer but 200
is UNKNOWN until its server has been listed again, by a question that was asked later.  The book counts the
changes that may make something possible in its `Revision`.  Neighbours: `lifecycle` holds the table,
`controller.decide` sends the orders that are ready and tells the book what came of them.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace

from cfm.model import Addr, DeleteKind, DeleteOrder, File, Now, OrderStatus
from cfm.revision import Revision
from cfm.tasks.lifecycle import ORDER_EDGES, OrderEvent, is_final, next_order_status

MINUTE_MS = 60_000


@dataclass(slots=True)
class OrderBook:
    """Unfinished orders by file, and the pace of the last minute."""

    active: dict[int, DeleteOrder] = field(default_factory=dict)
    by_file: dict[str, DeleteOrder] = field(default_factory=dict)
    ordered_ms: dict[int, int] = field(default_factory=dict)
    unknown_ms: dict[int, int] = field(default_factory=dict)
    """Since when the outcome of an order is unknown."""
    room_for: dict[int, File] = field(default_factory=dict)
    """The wanted file of an order that makes room, as it was when the order was made.  The order is judged by
    it once more before it is sent.  An order from before a restart has none, because it is not sent again."""
    recent: deque[tuple[int, Addr, DeleteKind]] = field(default_factory=deque)
    """What was ordered in the last minute, oldest first."""
    paced: dict[tuple[Addr, DeleteKind], int] = field(default_factory=dict)
    """How many of these there are for each server and kind."""
    revision: Revision = field(default_factory=Revision)

    def add(self, order: DeleteOrder, now_ms: int, room_for: File | None = None) -> None:
        if room_for is not None:
            self.room_for[order.id] = room_for
        self.active[order.id] = self.by_file[order.file.name] = order
        self.ordered_ms[order.id] = now_ms
        self.count(order, now_ms)
        self.revision.orders += 1

    def count(self, order: DeleteOrder, ordered_ms: int) -> None:
        """Let the pace count an order.  After a restart those of the minute before it count as well."""
        self.recent.append((ordered_ms, order.server, order.kind))
        key = order.server, order.kind
        self.paced[key] = self.paced.get(key, 0) + 1

    def recover(self, order: DeleteOrder, now_ms: int) -> None:
        """Take an unfinished order over from before a restart."""
        self.active[order.id] = self.by_file[order.file.name] = order
        self.ordered_ms[order.id] = now_ms
        if order.status is not OrderStatus.ORDERED:
            self.unknown_ms[order.id] = now_ms

    def change(self, order: DeleteOrder, event: OrderEvent, now: Now, why: str = "") -> DeleteOrder:
        """Something happened to an order.  Returns the order in its new state; one that is over is forgotten.

        Raises:
            IllegalChangeError: the table does not know it; nothing was changed.
        """
        new = next_order_status(order.status, event)
        if new is order.status:
            return order
        changed = replace(order, status=new, changed_s=now.wall_s, ended_why=why)
        if is_final(ORDER_EDGES, new):
            del self.active[order.id], self.by_file[order.file.name], self.ordered_ms[order.id]
            self.unknown_ms.pop(order.id, None)
            self.room_for.pop(order.id, None)
        else:
            self.active[order.id] = self.by_file[order.file.name] = changed
            if new is OrderStatus.UNKNOWN:
                self.unknown_ms[order.id] = now.mono_ms
        if new is not OrderStatus.SENT:  # which makes nothing possible yet
            self.revision.dispatch += 1
        return changed

    def heard_of(self, name: str) -> bool:
        """Something was learnt about a file.  Returns whether it concerns an order that waits to be sent.

        If not, it concerns the policies: they leave out the files of orders.
        """
        order = self.by_file.get(name)
        waits = order is not None and order.status is OrderStatus.ORDERED
        if waits:
            self.revision.orders += 1
        return waits

    def waiting(self) -> list[DeleteOrder]:
        """Orders that are not sent yet.  They wait for the SAN and for the confirmation of the other copy."""
        return [order for order in self.active.values() if order.status is OrderStatus.ORDERED]

    def unknown_at(self, addr: Addr) -> list[DeleteOrder]:
        return [
            order
            for order in self.active.values()
            if order.server == addr and order.status is OrderStatus.UNKNOWN
        ]

    def settles_from_ms(self, order: DeleteOrder, quiet_ms: int) -> int | None:
        """From when on a list must be asked for, so that it settles an order; None for one that is clear.

        `quiet_ms`: how long the server may still carry out what it was asked, after an unclear answer.
        """
        unknown_ms = self.unknown_ms.get(order.id)
        return None if unknown_ms is None else unknown_ms + quiet_ms

    def settled_by(self, addr: Addr, asked_ms: int, quiet_ms: int) -> list[DeleteOrder]:
        """The unknown orders that a list of `addr`, asked for at `asked_ms`, settles."""
        unknown = ((order, self.settles_from_ms(order, quiet_ms)) for order in self.unknown_at(addr))
        return [order for order, from_ms in unknown if from_ms is not None and from_ms <= asked_ms]

    def pace_ends_ms(self) -> int | None:
        """When the oldest order of the last minute stops counting."""
        return self.recent[0][0] + MINUTE_MS if self.recent else None

    def last_minute(self, now_ms: int) -> dict[tuple[Addr, DeleteKind], int]:
        """Orders of the last minute per server and kind: what the pace counts."""
        while self.recent and now_ms - self.recent[0][0] >= MINUTE_MS:
            _ms, addr, kind = self.recent.popleft()
            self.paced[addr, kind] -= 1
            if not self.paced[addr, kind]:
                del self.paced[addr, kind]
        return self.paced
