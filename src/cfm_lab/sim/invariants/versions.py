"""The rules about versions of content: no file is taken while somebody writes it, and no copy goes in favour
of an older one."""

from __future__ import annotations

from collections.abc import Sequence

from cfm.controller.decide import events as ev
from cfm.model import Addr, DeleteKind, DeleteOrder, Listing, Now, OnSan, OrderStatus, Status, Task
from cfm.tasks.store import Change, Recovered
from cfm_lab.fakes.memory_base_dir import Inode
from cfm_lab.fakes.memory_store import CommittedState
from cfm_lab.sim.environment.disks import SimDisk
from cfm_lab.sim.environment.san import HALF
from cfm_lab.sim.invariants.base import Invariant
from cfm_lab.sim.processes.controller import SimCfm
from cfm_lab.sim.world import World

NOTICED_MS = 40 * 60_000
"""By then each placed file has had its turn to be looked at, whatever was slow or silent meanwhile."""


def version_of(node: Inode) -> int:
    """The version of the content that a file has."""
    return int.from_bytes(bytes(node.data[4:8]), "big")


class NotWhileWritten(Invariant):
    """Rule 25 of the domain.  A copy begins, and the last copy goes for room, only when two looks at the SAN
    some seconds apart agree, or when the file was written days ago.  A worker of ours makes nothing visible
    that is half of one version and half of another.

    Scope: who writes may pause for longer than that.  An old worker, or an external downloader, does not see
    that a file changes while it is read.
    """

    number = "rule 25"
    title = "nothing is taken while it is written"

    def task_changed(self, cfm: SimCfm, before: Task | None, task: Task, _event: ev.Event, now: Now) -> None:
        if before is None:
            self.hold(cfm.evidence.rested(task.file.name, now), "may still be being written:", task)

    def order_changed(
        self, cfm: SimCfm, before: DeleteOrder | None, order: DeleteOrder, _event: ev.Event, now: Now
    ) -> None:
        sent = before is not None and order.status is OrderStatus.SENT
        if sent and order.kind is DeleteKind.SPACE:
            self.hold(cfm.evidence.rested(order.file.name, now), "what stays may be half:", order)

    def published(self, _disk: SimDisk, name: str, node: Inode, _replaced: Inode | None) -> None:
        offer = self.world.publishing
        worker = self.world.worker_at(offer.destination) if offer is not None else None
        if worker is not None and worker.kind == "builtin":
            self.hold(not version_of(node) & HALF, "half of a file is visible:", name)


class FreshCopiesStay(Invariant):
    """Rule 25 of the domain.  No surplus copy goes in favour of one that was made from another version of the
    file than the SAN has, while itself it was made from the version that the SAN has.  A copy of another
    version is noticed before long.

    Scope: a copy counts that this controller had made, and that its server has listed ever since.  Where an
    old backup of the state was put back, it counts if that has it.  What the
    SAN has is what it told last.  The time to notice begins when cfm sees both the SAN and the server.
    """

    number = "rule 25b"
    title = "the fresh copy stays"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._decided: dict[int, OnSan] = {}
        """Task → what the SAN showed when it was decided."""
        self._made: dict[tuple[str, str, Addr], OnSan] = {}
        """(controller, file, server) → what the copy there was made from."""
        self._changed_ms: dict[tuple[str, str], int] = {}
        """(controller, file) → since when the SAN shows the version that it shows now (mono, of this run)."""
        self._shown: dict[tuple[str, str], OnSan] = {}
        self._blind_ms: dict[tuple[str, Addr], int] = {}
        """(file, server) → when cfm last could not see one or the other (mono)."""

    def recovered(self, cfm: SimCfm, _found: Recovered) -> None:
        mine = cfm.issuer.controller
        self._shown = {key: found for key, found in self._shown.items() if key[0] != mine}
        self._changed_ms = {key: ms for key, ms in self._changed_ms.items() if key[0] != mine}

    def restored(self, found: CommittedState) -> None:
        """Nobody can know of a copy what was written down after the backup."""
        known = {(found.controller_id, *copy): version for copy, version in found.copies.items()}
        self._made = {
            key: made
            for key, made in self._made.items()
            if key[0] != found.controller_id or known.get(key) == made.version
        }

    def decided(self, cfm: SimCfm, event: ev.Event, _changes: Sequence[Change], now: Now) -> None:
        mine = cfm.issuer.controller
        if isinstance(event, ev.ListAnswer) and isinstance(event.answer, Listing):
            for key in [key for key in self._made if key[0] == mine and key[2] == event.addr]:
                if key[1] not in event.answer.names:
                    del self._made[key]
        elif isinstance(event, ev.SanAnswers):
            for name, found in event.answers.items():
                if isinstance(found, OnSan) and self._shown.get((mine, name)) != found:
                    self._shown[mine, name] = found
                    self._changed_ms[mine, name] = now.mono_ms

    def task_changed(self, cfm: SimCfm, before: Task | None, task: Task, event: ev.Event, _now: Now) -> None:
        mine, name = cfm.issuer.controller, task.file.name
        if before is None:
            answer = cfm.evidence.san.get(name, (None, 0))[0]
            if isinstance(answer, OnSan):
                self._decided[task.id] = answer
        elif task.status is Status.DONE and task.id in self._decided:
            made = self._decided.pop(task.id)
            if isinstance(event, ev.TaskReported) and event.report.verified:
                self._made[mine, name, task.destination] = made

    def order_changed(
        self, cfm: SimCfm, before: DeleteOrder | None, order: DeleteOrder, _event: ev.Event, _now: Now
    ) -> None:
        mine, name = cfm.issuer.controller, order.file.name
        if order.status is OrderStatus.CONFIRMED:
            self._made.pop((mine, name, order.server), None)
        if before is None or order.status is not OrderStatus.SENT or order.keeper is None:
            return
        current = cfm.evidence.san.get(name, (None, 0))[0]
        goes = self._made.get((mine, name, order.server))
        stays = self._made.get((mine, name, order.keeper))
        if isinstance(current, OnSan) and goes is not None and stays is not None:
            fresh = goes.version.is_same_as(current.version)
            stale = not stays.version.is_same_as(current.version)
            self.hold(not (fresh and stale), "the fresh copy goes, and a stale one stays:", order)

    def audit(self) -> None:
        cfm = self.world.main
        if cfm.core is None or not cfm.running or cfm.process.stopped:
            return
        mine, now_ms = cfm.issuer.controller, cfm.clock.mono_ms()
        for (controller, name, addr), made in self._made.items():
            truth = self.world.san.files.get(name)
            if controller != mine or truth is None or truth.writing or truth.written_ms is None:
                continue
            rested_ms = self.world.schedule.now_ms - truth.written_ms
            found = OnSan(made.path, truth.size_bytes, self.world.san.mtime_ns(truth))
            if not self._sees(cfm, name, addr, now_ms):
                self._blind_ms[name, addr] = now_ms
            seen_since_ms = max(cfm.evidence.started_ms, self._blind_ms.get((name, addr), 0))
            if min(rested_ms, now_ms - seen_since_ms) < NOTICED_MS:
                continue
            if addr in cfm.evidence.holders(name) and not made.version.is_same_as(found.version):
                known = cfm.core.state.versions.stale.get(name, frozenset())
                self.hold(addr in known, "nobody noticed that it is stale:", name, addr)

    def _sees(self, cfm: SimCfm, name: str, addr: Addr, now_ms: int) -> bool:
        """Can cfm see both the file on the SAN and what the server holds?"""
        answer, asked_ms = cfm.evidence.san.get(name, (None, 0))
        silent = answer is not None and not isinstance(answer, OnSan) and now_ms - asked_ms < NOTICED_MS
        san_tells = self.world.san.mounted and not self.world.san.hangs and not silent
        has_index = cfm.core is not None and cfm.core.state.san.index is not None
        server = cfm.evidence.servers.get(addr)  # the settings of this cfm may leave it out
        return san_tells and has_index and server is not None and server.usable
