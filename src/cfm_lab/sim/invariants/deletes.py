"""The rules about deleting: never the last copy, never on stale numbers, never more than is needed."""

from __future__ import annotations

from collections import Counter

from cfm.controller.decide import events as ev
from cfm.inputs.snapshot import Measure
from cfm.model import Addr, DeleteKind, DeleteOrder, DiskUsage, Now, OnSan, OrderStatus, Task, bytes_over
from cfm.plan.view import is_ad
from cfm.tasks.store import Change
from cfm_lab.fakes.memory_disk import Node
from cfm_lab.sim.environment.disks import SimDisk
from cfm_lab.sim.environment.services import DeleteRequest
from cfm_lab.sim.invariants.base import Invariant
from cfm_lab.sim.processes.controller import SimCfm
from cfm_lab.sim.processes.metadata_watch import Pair
from cfm_lab.sim.world import World

ON_THE_WAY_MS = 45_000
"""How long after its decision an order may still be carried out, time-out and late arrival included."""
HELD_MS = 130_000
"""Deleted bytes that a `/df` does not show yet stay booked this long: a file may be open for a viewer."""
PENDING = (OrderStatus.SENT, OrderStatus.UNKNOWN)


class LastCopy(Invariant):
    """At every unlink that a controller ordered, another destination's disk really holds the file, and is
    under no pending delete of it; or the order was for room, and the SAN held it when it was confirmed.

    Scope: complete is what a server can say: name and size.  A copy that rotted, or that other software, a
    power cut or an exchange of disks took away after it could be confirmed, is not our order's fault.  Where
    the copy that goes is not complete itself, another one like it is as good.
    """

    number = "1"
    title = "never the last copy"

    def unlinked(
        self, disk: SimDisk, name: str, node: Node, by: DeleteRequest, order: DeleteOrder | None
    ) -> None:
        server, claim, order_id = by
        if order is None:
            self.hold(False, f"{name} deleted on {server.addr} by an order {order_id} that nobody wrote down")
            return
        self.hold(order.file.name == name, f"order {order_id} is for {order.file.name}, not for {name}")
        known = self.facts.state(claim.controller).orders[order_id]
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
    """When a surplus copy's order is written down, two live servers with undoubted lists show the file; when
    it is sent, the server of the copy that stays has just confirmed it, and nothing since then speaks against
    it: no later list without the file, no news that the server is down.  The confirmation is as fresh still
    when the first byte goes out, however long the record of it took to become durable."""

    number = "2"
    title = "pessimistic count"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._confirmed: dict[int, int] = {}
        """Order that is about to be sent → when the copy that stays was confirmed (mono)."""

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
        """A copy that came by our own task after its server's last list counts as listed."""
        state = self.facts.state(cfm.claim.controller)
        came = {task.destination for _ms, task in state.done if task.file.name == order.file.name}
        return {order.keeper, order.server} <= {*holders, *came} and order.keeper != order.server

    def _denied(self, cfm: SimCfm, order: DeleteOrder) -> bool:
        """Has anything been heard since that confirmation which makes it doubtful?"""
        keeper, name = order.keeper, order.file.name
        heard = cfm.evidence.servers.get(keeper) if keeper else None
        if keeper is None or heard is None or not heard.up:
            return True
        _seen, seen_ms = cfm.evidence.copies.get((name, keeper), (None, 0))
        missing = heard.names is not None and name not in heard.names
        return missing and heard.list_asked_ms > max(seen_ms, self._came_ms(cfm, keeper, name))

    def _came_ms(self, cfm: SimCfm, addr: Addr, name: str) -> int:
        """When our own task last brought the file there; its `done` is a confirmation."""
        ended = self.facts.state(cfm.claim.controller).done
        came = (ms for ms, t in ended if t.destination == addr and t.file.name == name and t.status == "done")
        return max(came, default=0)

    def _confirmed_ms(self, cfm: SimCfm, order: DeleteOrder, now: Now) -> int | None:
        """When the server of the copy that stays was asked for it and had it; None where that is long ago."""
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


class OneDeletePerFile(Invariant):
    """At most one unfinished delete order per file, and none beside an unfinished task of it.

    Scope: one controller's state, over all its restarts.  Orders of a controller that our workers do not
    belong to are refused by them; see 6.
    """

    number = "3"
    title = "one delete per file"

    def order_changed(
        self, cfm: SimCfm, before: DeleteOrder | None, order: DeleteOrder, _event: ev.Event, _now: Now
    ) -> None:
        if before is None:
            state = self.facts.state(cfm.claim.controller)
            others = [f.order for f in state.open_orders.values() if f.order.file.name == order.file.name]
            self.hold(not others, "a second delete of a file:", order, others)

    def audit(self) -> None:
        for state in self.facts.states.values():
            names = Counter(known.order.file.name for known in state.open_orders.values())
            self.hold(all(number == 1 for number in names.values()), "two deletes of one file", names)


class UnknownStaysUnknown(Invariant):
    """Every answer but 200 leaves a delete unknown, and only a list asked for later ends that.

    A list of an old worker, which knows no fence, settles it only after a quiet time.
    """

    number = "4"
    title = "unknown stays unknown"

    def decided(self, cfm: SimCfm, event: ev.Event, changes: list[Change], _now: Now) -> None:
        if isinstance(event, ev.DeleteAnswer) and event.answer != 200:
            known = self.facts.state(cfm.claim.controller).open_orders.get(event.order_id)
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
        known = self.facts.state(cfm.claim.controller).orders[order.id]
        if order.server not in cfm.evidence.servers:
            return
        listed = isinstance(event, ev.ListAnswer) and event.addr == order.server
        self.hold(listed, "an unknown delete was settled by", type(event).__name__, order)
        if isinstance(event, ev.ListAnswer) and known.unknown_mono_ms is not None:
            features = cfm.evidence.servers[order.server].features
            quiet_ms = 0 if features is not None and features.ours else 10_000
            late = event.asked_ms >= known.unknown_mono_ms + quiet_ms
            self.hold(late, "settled by a list that was asked for too early:", order)


class FreshMetadata(Invariant):
    """Every delete is decided on an accepted snapshot whose age is within the limit, by its mtime and by the
    time that passed since it was read; a wall clock can only make it older.

    Scope: an age is counted by the controller's own clocks.  A jump of its wall clock while it reads changes
    how old the numbers seem, but cannot make them younger afterwards.
    """

    number = "7"
    title = "fresh metadata"

    def order_changed(
        self, cfm: SimCfm, before: DeleteOrder | None, order: DeleteOrder, _event: ev.Event, now: Now
    ) -> None:
        if before is not None and order.status is not OrderStatus.SENT:
            return
        evidence = cfm.evidence
        facts = evidence.snapshot
        self.hold(facts is not None and facts.accepted, "a delete without metadata in force:", order)
        if facts is not None:
            age_ms = max(now.mono_ms - evidence.snapshot_ms, now.wall_ms - 1000 * facts.read_wall_s)
            self.hold(age_ms <= evidence.rules.metadata_max_age_ms, "on metadata of age", age_ms, order)
        self.hold((cfm.pair is not None and any(f.name == order.file.name for f in cfm.pair.files)) or
                  self._was_known(cfm, order), "a file that is not known:", order)  # fmt: skip

    def metadata_accepted(self, _cfm: SimCfm, pair: Pair, good: Measure | None) -> None:
        facts = pair.facts
        self.hold(bool(pair.files) and facts.accepted, "metadata without a known file was accepted")
        if good is not None:
            shrunken = 2 * facts.known_files < good.known_files or 2 * facts.graded_files < good.graded_files
            self.hold(not shrunken, f"{facts.known_files} known files were accepted after", good)

    def _was_known(self, cfm: SimCfm, _order: DeleteOrder) -> bool:
        """The plan that chose it was made from the snapshot before; the next plan replaces it at once."""
        return cfm.core is not None and now_planning(cfm)


def now_planning(cfm: SimCfm) -> bool:
    core = cfm.core
    return (
        core is not None
        and core.state.snapshot is not None
        and (core.shortlist.snapshot_id != core.state.snapshot.id or core.state.orders.active != {})
    )


class PaceAndNeed(Invariant):
    """No more deletes a minute and server than the pace; none for room that is not needed by the last `/df`
    and all orders since; none beyond the breaker's share without a confirmation.

    A disk that has several addresses, as its workers say by its id, is one: what was ordered at any of them
    counts, and no more is ordered for room but through the lowest one that is usable.

    Scope: bytes by what the server's own `/df` told last, which other software may make old at once.  The
    product may still hold what went for not shown, so that the breaker's measure is one largest file wide.
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
        state = self.facts.state(cfm.claim.controller)
        self._pace(cfm, order, [o for ms, o in state.recent_orders if now.mono_ms - ms < 60_000])
        if order.kind is DeleteKind.SPACE:
            self._need(cfm, order)

    def _still_needed(self, cfm: SimCfm, order: DeleteOrder) -> None:
        """What is sent is needed still, by the last `/df` and all other orders."""
        heard = cfm.evidence.servers[order.server]
        if heard.disk is not None:
            usage, limit = heard.disk.usage, cfm.evidence.limit_percent(order.server)
            over_bytes = bytes_over(usage.used_bytes, usage.avail_bytes, limit)
            others_bytes = self._leaving(cfm, order, heard.disk_asked_ms) - order.file.size_bytes
            self.hold(
                over_bytes > others_bytes, f"sent, with {over_bytes} over, {others_bytes} leaving:", order
            )

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
            state, there = self.facts.state(cfm.claim.controller), cfm.evidence.addresses(order.server)
            arriving_bytes = state.arriving_bytes(order.server, there, heard.disk_asked_ms)
            most = limit * (usage.used_bytes + usage.avail_bytes) // 100
            short_bytes = usage.used_bytes + arriving_bytes + wanted_bytes - most - leaving_bytes
            self.hold(short_bytes > 0, "room is made that is there already:", short_bytes, order)
            shown_ms = heard.disk_asked_ms  # and what had gone shortly before it need not be in it
            unshown_bytes = self._gone(cfm, order, shown_ms - HELD_MS) - self._gone(cfm, order, shown_ms)
            planned_bytes = self._for_room(cfm, order) + max(0, short_bytes - unshown_bytes)
        self._breaker(cfm, order, usage, planned_bytes)

    def _breaker(self, cfm: SimCfm, order: DeleteOrder, usage: DiskUsage, planned_bytes: int) -> None:
        share_bytes = cfm.evidence.rules.breaker_percent * usage.used_bytes // 100
        confirmed = cfm.evidence.confirmed_ms is not None
        self.hold(
            planned_bytes <= share_bytes + self.world.largest_bytes or confirmed,
            f"{planned_bytes} bytes, {share_bytes} allowed:",
            order,
        )

    def _leaving(self, cfm: SimCfm, order: DeleteOrder, since_ms: int) -> int:
        """Ordered there, and certainly not shown by the last `/df`."""
        state = self.facts.state(cfm.claim.controller)
        there = cfm.evidence.addresses(order.server)
        open_orders = [f.order for f in state.open_orders.values() if f.order.server in there]
        return sum(o.file.size_bytes for o in open_orders) + self._gone(cfm, order, since_ms)

    def _gone(self, cfm: SimCfm, order: DeleteOrder, since_ms: int) -> int:
        """Carried out there since then."""
        state = self.facts.state(cfm.claim.controller)
        there = (o for _ms, o in state.recent_orders if state.ended_there(o, order.server))
        known = (state.orders[o.id] for o in there)
        return sum(
            f.order.file.size_bytes for f in known
            if f.order.status is OrderStatus.CONFIRMED and (f.ended_mono_ms or 0) > since_ms
        )  # fmt: skip

    def _for_room(self, cfm: SimCfm, order: DeleteOrder) -> int:
        state = self.facts.state(cfm.claim.controller)
        there = cfm.evidence.addresses(order.server)
        orders = [f.order for f in state.open_orders.values() if f.order.room_for is not None]
        return sum(o.file.size_bytes for o in orders if o.server in there)

    def _wanted_bytes(self, cfm: SimCfm, order: DeleteOrder) -> int:
        """By the metadata in force, or, until there is a plan of it, by those before."""
        files = (*(cfm.pair.files if cfm.pair is not None else ()), *self.world.library)
        return next((f.size_bytes for f in files if f.name == order.room_for), 1 << 60)


class NeverDeleted(Invariant):
    """Never an ad, nor either end of a running transfer; and for room neither a rising or watched file, nor
    one that is younger than the minimum stay."""

    number = "9"
    title = "never deleted"

    def order_changed(
        self, cfm: SimCfm, before: DeleteOrder | None, order: DeleteOrder, _event: ev.Event, now: Now
    ) -> None:
        if before is not None and order.status is not OrderStatus.SENT:
            return
        evidence, name = cfm.evidence, order.file.name
        self.hold(not is_ad(name, evidence.rules.ad_prefixes), "an ad:", order)
        state = self.facts.state(cfm.claim.controller)
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
        self, disk: SimDisk, name: str, _node: Node, by: DeleteRequest, _order: DeleteOrder | None
    ) -> None:
        self.hold(not is_ad(name, self.world.profile.rules.ad_prefixes), "an ad was deleted:", name)
        arriving = any(temp.startswith(f"{name}.") for temp in disk.temp_names)
        known = self.facts.state(by.claim.controller)
        current = any(f.task.file.name == name for f in known.open_tasks.values())
        self.hold(not (arriving and current), "deleted while it arrives:", name, disk.label)

    def task_changed(self, cfm: SimCfm, before: Task | None, task: Task, _event: ev.Event, _now: Now) -> None:
        if before is None:
            orders = self.facts.state(cfm.claim.controller).open_orders.values()
            clash = [f.order for f in orders if f.order.file.name == task.file.name]
            self.hold(not clash, "a copy of what is being deleted:", task, clash)


class ListedSinceStart(Invariant):
    """After a start, nothing is deleted from a server before it was listed, nor trimmed before every server
    that may hold the file was listed, or had its grace."""

    number = "10"
    title = "listed since start"

    def order_changed(
        self, cfm: SimCfm, before: DeleteOrder | None, order: DeleteOrder, _event: ev.Event, now: Now
    ) -> None:
        if before is not None and order.status is not OrderStatus.SENT:
            return
        evidence = cfm.evidence
        heard = evidence.servers[order.server]
        self.hold(heard.lists > 0 and heard.names is not None, "from a server never listed:", order)
        if before is None:
            gone = self._gone_since(cfm, order, heard.list_asked_ms)
            there = heard.names is not None and order.file.name in heard.names and not gone
            self.hold(there or self._came(cfm, order), "a file that its server does not list:", order)
            live = heard.up and heard.list_failed_ms is None
            self.hold(live, "from a server that is down or does not list:", order)
        in_grace = now.mono_ms - evidence.started_ms < evidence.rules.unknown_grace_ms
        if order.kind is DeleteKind.SURPLUS and in_grace:
            hosts = {addr for addr in cfm.config.destinations if evidence.servers[addr].lists == 0}
            unheard = [addr for addr in hosts if addr.rpartition(":")[0] in order.file.history_ips]
            self.hold(not unheard, "trimmed while a holder was never listed:", sorted(unheard), order)

    def _gone_since(self, cfm: SimCfm, order: DeleteOrder, asked_ms: int) -> bool:
        orders = self.facts.state(cfm.claim.controller).orders
        return any(
            f.order.file.name == order.file.name
            and f.order.server == order.server
            and f.order.status is OrderStatus.CONFIRMED
            and f.ordered_mono_ms >= asked_ms
            for f in (orders[i] for i in list(orders)[-64:])
        )

    def _came(self, cfm: SimCfm, order: DeleteOrder) -> bool:
        done = self.facts.state(cfm.claim.controller).done
        return any(t.destination == order.server and t.file.name == order.file.name for _ms, t in done)


class SwitchedOff(Invariant):
    """Rules 1, 10 and 20 of the domain: no deletes while they are off or our state cannot be written; none of
    a file that the SAN was not just seen to hold; none where an order was just dropped."""

    number = "rule 20"
    title = "brakes"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._seen: dict[int, int] = {}
        """Order that is about to be sent → when the SAN was asked for its file (mono)."""

    def order_changed(
        self, cfm: SimCfm, before: DeleteOrder | None, order: DeleteOrder, _event: ev.Event, now: Now
    ) -> None:
        if before is not None and order.status is not OrderStatus.SENT:
            return
        evidence = cfm.evidence
        self.hold(evidence.rules.deletes_on, "deletes are off:", order)
        self.hold(not evidence.store_trouble, "our own state cannot be written:", order)
        if before is None:
            dropped_ms = self.facts.state(cfm.claim.controller).drops.get(order.file.name)
            rested = dropped_ms is None or now.mono_ms - dropped_ms >= 30_000
            self.hold(rested, "ordered again at once after it was dropped:", order)
        else:
            answer, asked_ms = evidence.san.get(order.file.name, (None, 0))
            self._seen[order.id] = asked_ms
            there = isinstance(answer, OnSan) and answer.size_bytes == order.file.size_bytes
            fresh = now.mono_ms - asked_ms <= evidence.rules.confirmation_max_age_ms
            self.hold(there and fresh, "sent, and not just seen on the SAN:", order)

    def order_sent(self, cfm: SimCfm, order: DeleteOrder) -> None:
        age_ms = cfm.clock.mono_ms() - self._seen.pop(order.id, 0)
        fresh = age_ms <= cfm.evidence.rules.confirmation_max_age_ms
        self.hold(fresh, f"its first byte goes out {age_ms} ms after the SAN was asked for it:", order)
