"""The rules that keep a copy: the last one never goes, and the one that stays was confirmed moments ago."""

from __future__ import annotations

from cfm.controller.decide import events as ev
from cfm.model import Addr, DeleteKind, DeleteOrder, Now, OrderStatus
from cfm_lab.fakes.memory_base_dir import Inode
from cfm_lab.sim.environment.disks import SimDisk
from cfm_lab.sim.environment.services import DeleteRequest
from cfm_lab.sim.invariants.base import Invariant
from cfm_lab.sim.processes.controller import SimCfm
from cfm_lab.sim.world import World


class LastCopy(Invariant):
    """Whenever a worker deletes a file on order, the disk of another destination really holds that file; or
    the order was for room, and the SAN held the file when that was confirmed.

    Scope: a copy is complete where name and size are right, because a server can tell no more.  A copy may
    rot, or be taken away by other software, a power cut or an exchange of disks after it was confirmed; that
    is not the fault of our order.  Where the deleted copy was incomplete, another incomplete one will do.
    """

    number = "1"
    title = "never the last copy"

    def unlinked(
        self, disk: SimDisk, name: str, node: Inode, by: DeleteRequest, order: DeleteOrder | None
    ) -> None:
        server, issuer, order_id = by
        known = self.facts.state(issuer.controller).order_of(order_id)
        if order is None or known is None:
            self.hold(False, f"{name} deleted on {server.addr} by an order {order_id} that nobody wrote down")
            return
        self.hold(order.file.name == name, f"order {order_id} is for {order.file.name}, not for {name}")
        sent_ms = known.sent_ms if known.sent_ms is not None else known.ordered_ms
        since_ms = sent_ms - self.world.profile.rules.confirmation_max_age_ms - 2_000
        if order.kind is DeleteKind.SPACE:
            size_bytes = order.file.size_bytes
            held = self._elsewhere(disk, name) or self.world.san.held_since(name, size_bytes, since_ms)
            self.hold(held, "for room, and not on the SAN:", name, server.addr)
        else:
            excused = self.facts.lost.get(name, -1) >= since_ms
            stays = self._elsewhere(disk, name, whole=node.size_bytes == order.file.size_bytes)
            self.hold(stays or excused, "the last copy:", name, "on", server.addr)

    def _elsewhere(self, disk: SimDisk, name: str, *, whole: bool = True) -> bool:
        file = self.world.file(name)
        others = (one for one in self.world.destination_disks() if one is not disk)
        return any(
            (there := other.names.get(name)) is not None
            and there.kind == "file"
            and (file is None or not whole or there.size_bytes == file.size_bytes)
            for other in others
        )


class PessimisticCount(Invariant):
    """A surplus copy goes only while the other copy is known to be there.

    When the order is made, two servers that are up list the file, and neither list is in doubt.  When it is
    marked as sent, the server of the copy that stays has confirmed it moments ago, and nothing has put that
    in doubt since: no later list without the file, and no sign that the server is down.  When the first byte
    goes out, the confirmation is still fresh, however long the commit took.
    """

    number = "2"
    title = "pessimistic count"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._confirmed: dict[int, int] = {}
        """Order that waits for its commit → when the copy that stays was confirmed (mono)."""

    def order_changed(
        self, cfm: SimCfm, before: DeleteOrder | None, order: DeleteOrder, _event: ev.Event, now: Now
    ) -> None:
        if order.kind is not DeleteKind.SURPLUS:
            return
        if before is None:
            holders = cfm.evidence.holders(order.file.name)
            fine = order.keeper in holders and order.server in holders and order.keeper != order.server
            self.hold(fine or self._arrived(cfm, order, holders), "confirmed copies:", holders, order)
        elif order.status is OrderStatus.SENT:
            confirmed_ms = self._confirmed_ms(cfm, order, now)
            self._confirmed[order.id] = confirmed_ms or 0
            self.hold(confirmed_ms is not None, "sent without a fresh confirmation:", order)
            self.hold(not self._denied(cfm, order), "sent, though the copy that stays is in doubt:", order)

    def order_sent(self, cfm: SimCfm, order: DeleteOrder) -> None:
        if order.kind is DeleteKind.SURPLUS:
            age_ms = cfm.clock.mono_ms() - self._confirmed.pop(order.id, 0)
            fresh = age_ms <= cfm.evidence.rules.confirmation_max_age_ms
            self.hold(fresh, f"its first byte goes out {age_ms} ms after its confirmation:", order)

    def _arrived(self, cfm: SimCfm, order: DeleteOrder, holders: list[Addr]) -> bool:
        """A copy that our own task brought counts as listed, also before its server is listed again."""
        state = self.facts.state(cfm.issuer.controller)
        came = {task.destination for _ms, task in state.done if task.file.name == order.file.name}
        return {order.keeper, order.server} <= {*holders, *came} and order.keeper != order.server

    def _denied(self, cfm: SimCfm, order: DeleteOrder) -> bool:
        """Has anything put the confirmation in doubt since then?"""
        keeper, name = order.keeper, order.file.name
        heard = cfm.evidence.servers.get(keeper) if keeper else None
        if keeper is None or heard is None or not heard.up:
            return True
        _seen, seen_ms = cfm.evidence.copies.get((name, keeper), (None, 0))
        missing = heard.names is not None and name not in heard.names
        return missing and heard.list_asked_ms > max(seen_ms, self._came_ms(cfm, keeper, name))

    def _came_ms(self, cfm: SimCfm, addr: Addr, name: str) -> int:
        """When our own task last brought the file there.  Its `done` is a confirmation."""
        ended = self.facts.state(cfm.issuer.controller).done
        came = (ms for ms, t in ended if t.destination == addr and t.file.name == name and t.status == "done")
        return max(came, default=0)

    def _confirmed_ms(self, cfm: SimCfm, order: DeleteOrder, now: Now) -> int | None:
        """When the server of the copy that stays was asked and had it; None where that is too long ago."""
        keeper = order.keeper
        if keeper is None:
            return None
        oldest_ms = now.mono_ms - cfm.evidence.rules.confirmation_max_age_ms
        seen, seen_ms = cfm.evidence.copies.get((order.file.name, keeper), (None, 0))
        if seen is not None and seen_ms >= oldest_ms:
            return seen_ms if seen.present and seen.size_bytes in (None, order.file.size_bytes) else None
        heard = cfm.evidence.servers[keeper]
        listed = heard.names is not None and order.file.name in heard.names
        if listed and heard.list_asked_ms >= oldest_ms and heard.list_failed_ms is None:
            return heard.list_asked_ms
        came_ms = self._came_ms(cfm, keeper, order.file.name)
        return came_ms if came_ms >= oldest_ms else None
