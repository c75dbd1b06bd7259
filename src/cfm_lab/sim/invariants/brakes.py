"""The rules about what must be known before a delete: metadata, lists, the SAN; and about the switch."""

from __future__ import annotations

from cfm.controller.decide import events as ev
from cfm.model import DeleteKind, DeleteOrder, Measure, Now, OnSan, OrderStatus
from cfm_lab.sim.invariants.base import Invariant
from cfm_lab.sim.processes.controller import SimCfm
from cfm_lab.sim.processes.metadata_watch import Pair
from cfm_lab.sim.world import World


class FreshMetadata(Invariant):
    """Every delete is decided on an accepted snapshot that is not too old.  Its age is the larger of two: by
    the mtime of its files, and by the time since cfm read them.  A wall clock can only make it older.

    Scope: the controller counts ages by its own clocks.  A jump of its wall clock during the reading changes
    the apparent age once, and cannot make the snapshot younger later.
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

    def metadata_accepted(self, cfm: SimCfm, pair: Pair, good: Measure | None) -> None:
        facts = pair.facts
        self.hold(bool(pair.files) and facts.accepted, "metadata without a known file was accepted")
        good = good or self.facts.state(cfm.issuer.controller).committed_measure
        if good is not None:
            shrunken = 2 * facts.known_files < good.known_files or 2 * facts.graded_files < good.graded_files
            self.hold(not shrunken, f"{facts.known_files} known files were accepted after", good)

    def _was_known(self, cfm: SimCfm, _order: DeleteOrder) -> bool:
        """The plan that chose this file was made from the snapshot before; the next plan replaces it."""
        return cfm.core is not None and now_planning(cfm)


def now_planning(cfm: SimCfm) -> bool:
    core = cfm.core
    return (
        core is not None
        and core.state.snapshot is not None
        and (core.shortlist.snapshot_id != core.state.snapshot.id or core.state.orders.active != {})
    )


class ListedSinceStart(Invariant):
    """After a start, nothing is deleted from a server before it has been listed.  No surplus copy goes before
    every server that may hold the file has been listed, or its grace is over."""

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
        orders = self.facts.state(cfm.issuer.controller).orders
        return any(
            f.order.file.name == order.file.name
            and f.order.server == order.server
            and f.order.status is OrderStatus.CONFIRMED
            and f.ordered_mono_ms >= asked_ms
            for f in (orders[i] for i in list(orders)[-64:])
        )

    def _came(self, cfm: SimCfm, order: DeleteOrder) -> bool:
        done = self.facts.state(cfm.issuer.controller).done
        return any(t.destination == order.server and t.file.name == order.file.name for _ms, t in done)


class SwitchedOff(Invariant):
    """Rules 1, 10 and 20 of the domain: nothing is deleted while deletes are off or our state cannot be
    written; only files that were just seen on the SAN; and not at once after an order was dropped."""

    number = "rule 20"
    title = "brakes"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._seen: dict[int, int] = {}
        """Order that waits for its commit → when the SAN was asked for its file (mono)."""

    def order_changed(
        self, cfm: SimCfm, before: DeleteOrder | None, order: DeleteOrder, _event: ev.Event, now: Now
    ) -> None:
        if before is not None and order.status is not OrderStatus.SENT:
            return
        evidence = cfm.evidence
        self.hold(evidence.rules.deletes_on, "deletes are off:", order)
        self.hold(not evidence.store_trouble, "our own state cannot be written:", order)
        if before is None:
            dropped_ms = self.facts.state(cfm.issuer.controller).drops.get(order.file.name)
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
