"""The rule about what is copied: only files that may be copied, between servers that can copy them."""

from __future__ import annotations

from cfm.controller.decide import events as ev
from cfm.model import (
    Addr,
    Now,
    OnSan,
    OrderStatus,
    Task,
    Transfer,
    host_of,
)
from cfm.plan.view import is_ad
from cfm_lab.sim.environment.san_disk import SanDisk
from cfm_lab.sim.invariants.base import Invariant
from cfm_lab.sim.processes.controller import SimCfm
from cfm_lab.sim.processes.evidence import ServerEvidence


class OnlyWhatMayBeCopied(Invariant):
    """Rules 4 and 8 of the domain.  A file is copied only if it is no ad, is on no destination (or stale on
    each), is in no task and was just seen on the SAN.  Both servers are up and can speak to each other.  A
    server whose list is in doubt counts as a holder until its grace is over.

    Scope: a disk that is the source folder holds originals, and no copies."""

    number = "rule 4"
    title = "only what may be copied"

    def task_changed(self, cfm: SimCfm, before: Task | None, task: Task, _event: ev.Event, now: Now) -> None:
        if before is not None:
            return
        evidence, name = cfm.evidence, task.file.name
        self.hold(not is_ad(name, evidence.rules.ad_prefixes), "an ad:", task)
        self.hold(not evidence.store_trouble, "our own state cannot be written:", task)
        same = [f.task for f in self.facts.state(cfm.issuer.controller).open_tasks.values()]
        self.hold(all(t.file.name != name for t in same), "already in a task:", task)
        holders = [addr for addr in evidence.holders(name) if addr in cfm.config.destinations]
        left = [addr for addr in self._left(cfm, name, holders) if not self._is_stale(cfm, name, addr)]
        self.hold(not left, "already on", left, task)
        features = evidence.servers[task.destination].features
        replaces = features is not None and features.ours and features.transfer is Transfer.BUILTIN
        there = task.destination in self._left(cfm, name, holders)
        self.hold(replaces or not there, "onto an older copy that cannot be replaced:", task)
        answer, asked_ms = evidence.san.get(name, (None, 0))
        on_san = isinstance(answer, OnSan) and answer.size_bytes == task.file.size_bytes
        fresh = now.mono_ms - asked_ms <= evidence.rules.confirmation_max_age_ms
        self.hold(on_san and fresh, "not just seen on the SAN:", task)
        orders = [f.order for f in self.facts.state(cfm.issuer.controller).open_orders.values()]
        made = [o for o in orders if o.server == task.destination and o.room_for == name]
        self.hold(not made, "before the room that is made for it is there:", task, made)
        self._speak(cfm, task)
        self._doubtful(cfm, task, now)

    def _left(self, cfm: SimCfm, name: str, holders: list[Addr]) -> list[Addr]:
        """Holders by their lists, without those where the file was deleted since."""
        orders = self.facts.state(cfm.issuer.controller).orders
        gone = {
            f.order.server for f in orders.values()
            if f.order.file.name == name and f.order.status is OrderStatus.CONFIRMED
            and (f.ended_mono_ms or 0) >= self._listed_ms(cfm, f.order.server)
        }  # fmt: skip
        return [addr for addr in holders if addr not in gone and not self._is_the_san(addr)]

    def _is_the_san(self, addr: Addr) -> bool:
        """What lies on such a disk is no copy."""
        return isinstance(self.world.disk_at(addr), SanDisk)

    def _is_stale(self, cfm: SimCfm, name: str, addr: Addr) -> bool:
        """Was the copy there made from another version than the SAN told of last?"""
        answer = cfm.evidence.san.get(name, (None, 0))[0]
        version = cfm.core.state.versions.copies.get(name, {}).get(addr) if cfm.core is not None else None
        if version is None or not isinstance(answer, OnSan):
            return False
        return not version.is_same_as(answer.version)

    def _listed_ms(self, cfm: SimCfm, addr: Addr) -> int:
        heard = cfm.evidence.servers.get(addr)
        return heard.list_asked_ms if heard is not None else 0

    def _speak(self, cfm: SimCfm, task: Task) -> None:
        source = cfm.evidence.servers[task.source]
        destination = cfm.evidence.servers[task.destination]
        self.hold(source.up and destination.up, "one end is down:", task)
        known = destination.list_failed_ms is None and destination.names is not None
        self.hold(known, "to a destination whose list is not known:", task)
        if destination.features is not None and destination.features.transfer is Transfer.BUILTIN:
            serves = source.features is not None and source.features.serves
            self.hold(serves, "from a source that serves nothing:", task)

    def _doubtful(self, cfm: SimCfm, task: Task, now: Now) -> None:
        for addr in cfm.config.destinations:
            heard = cfm.evidence.servers[addr]
            since_ms = self._doubt_since(cfm, heard)
            if (
                self._is_the_san(addr)
                or since_ms is None
                or now.mono_ms - since_ms >= cfm.evidence.rules.unknown_grace_ms
            ):
                continue
            if heard.names is None:
                may_hold = host_of(addr) in task.file.history_ips
            else:
                may_hold = task.file.name in heard.names and bool(self._left(cfm, task.file.name, [addr]))
            self.hold(not may_hold, "may still be on", addr, task)

    def _doubt_since(self, cfm: SimCfm, heard: ServerEvidence) -> int | None:
        """Since when its list is in doubt; None where it is not."""
        if heard.lists == 0:
            return cfm.evidence.started_ms
        return heard.list_failed_ms
