"""Delete orders: from the decision to the certainty that a file is gone, or is not.  Pure.

There is at most one unfinished order for each file in the whole node.  An order that got any answer but 200
is UNKNOWN until its server has been listed again by a question that began later.  The book counts the changes
that may make something possible in its `Revision`.  Neighbours: `lifecycle` holds the table,
`controller.decide` sends what is ready and feeds the answers in.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace

from cfm.model import Addr, DeleteKind, DeleteOrder, File, Now, OrderStatus
from cfm.revision import Revision
from cfm.tasks.lifecycle import ORDER_EDGES, advance, is_final

MINUTE_MS = 60_000


@dataclass(slots=True)
class OrderBook:
    """Unfinished orders by file, and the pace of the last minute."""

    active: dict[int, DeleteOrder] = field(default_factory=dict)
    by_file: dict[str, DeleteOrder] = field(default_factory=dict)
    ordered_ms: dict[int, int] = field(default_factory=dict)
    unknown_ms: dict[int, int] = field(default_factory=dict)
    """Since when an order's outcome is unknown; only a list asked for later settles it."""
    room_for: dict[int, File] = field(default_factory=dict)
    """The wanted file of an order that makes room, as it was when the order was made.  By it the order is
    judged once more before it is sent.  An order from before a restart has none: it is not sent again."""
    recent: deque[tuple[int, Addr, DeleteKind]] = field(default_factory=deque)
    """What was ordered in the last minute, oldest first."""
    paced: dict[tuple[Addr, DeleteKind], int] = field(default_factory=dict)
    """The same as numbers."""
    revision: Revision = field(default_factory=Revision)

    def add(self, order: DeleteOrder, now_ms: int, room_for: File | None = None) -> None:
        if room_for is not None:
            self.room_for[order.id] = room_for
        self.active[order.id] = self.by_file[order.file.name] = order
        self.ordered_ms[order.id] = now_ms
        self.recent.append((now_ms, order.server, order.kind))
        key = order.server, order.kind
        self.paced[key] = self.paced.get(key, 0) + 1
        self.revision.orders += 1

    def recover(self, order: DeleteOrder, now_ms: int) -> None:
        """Take an unfinished order over from before a restart."""
        self.active[order.id] = self.by_file[order.file.name] = order
        self.ordered_ms[order.id] = now_ms
        if order.status is not OrderStatus.ORDERED:
            self.unknown_ms[order.id] = now_ms

    def change(self, order: DeleteOrder, status: OrderStatus, now: Now, why: str = "") -> DeleteOrder:
        """The order in its new state; final ones leave the unfinished.

        Raises:
            IllegalChangeError: the table does not allow it; nothing was changed.
        """
        new = advance(ORDER_EDGES, order.status, status)
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
        """Something was learnt about a file.  Does it concern an order that waits to be sent?

        Otherwise it concerns whoever chooses files: they leave out those that are in orders.
        """
        order = self.by_file.get(name)
        waits = order is not None and order.status is OrderStatus.ORDERED
        if waits:
            self.revision.orders += 1
        return waits

    def waiting(self) -> list[DeleteOrder]:
        """Ordered, not sent: they wait for the SAN, and for the copy that stays to be confirmed."""
        return [order for order in self.active.values() if order.status is OrderStatus.ORDERED]

    def unknown_at(self, addr: Addr) -> list[DeleteOrder]:
        return [
            order
            for order in self.active.values()
            if order.server == addr and order.status is OrderStatus.UNKNOWN
        ]

    def settled_by(self, addr: Addr, asked_ms: int, quiet_ms: int) -> list[DeleteOrder]:
        """Unknown orders that a list of `addr`, asked for at `asked_ms`, decides."""
        return [o for o in self.unknown_at(addr) if self.unknown_ms[o.id] + quiet_ms <= asked_ms]

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
