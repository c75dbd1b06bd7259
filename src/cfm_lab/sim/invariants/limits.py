"""The rules about where a copy goes: where there is room, and where it may stay."""

from __future__ import annotations

from cfm.controller.decide import events as ev
from cfm.fleet.disk_account import first_doubted_ms
from cfm.model import (
    DeleteOrder,
    File,
    Now,
    OrderStatus,
    Task,
    fits,
)
from cfm.worker.decide.download_life import DownloadState as Download
from cfm_lab.fakes.memory_base_dir import MemoryFolder
from cfm_lab.sim.facts import TaskFacts
from cfm_lab.sim.invariants.base import Invariant
from cfm_lab.sim.processes.controller import SimCfm
from cfm_lab.sim.processes.evidence import ServerEvidence


def _still_since_ms(heard: ServerEvidence) -> int:
    """Since when its readings show just as much.  Where they all do, what came a while ago counts as shown by
    the first one: to doubt that for ever would be to use a full disk no more."""
    if heard.disk is None or not heard.never_moved:
        return heard.unmoved_since_ms
    return max(heard.unmoved_since_ms, heard.disk_asked_ms - first_doubted_ms(heard.disk.disk_id))


class WithinLimit(Invariant):
    """No copy starts that would bring its destination over its limit.  What counts is the use by the last
    `/df`, what is still to arrive, and by how much copies have grown the disk since, or since that `/df`
    stands still.  Deletes give no credit.  A disk whose figures are not known gets no copy, and nothing is
    deleted from it.  A disk with several addresses is one disk: what arrives at any of them counts, and
    copies go only to its lowest usable address.

    Scope: the server's own `/df` counts; other software may fill the disk a moment later.  Bytes of a task
    that are on the disk already need not be counted again until the task is reported as done.
    """

    number = "18"
    title = "within the limit"

    def task_changed(self, cfm: SimCfm, before: Task | None, task: Task, _event: ev.Event, _now: Now) -> None:
        if before is not None:
            return
        heard = cfm.evidence.servers[task.destination]
        if heard.disk is None:
            self.hold(False, "to a disk that is not known:", task)
            return
        through = cfm.evidence.used_through(task.destination)
        self.hold(task.destination == through, f"to a disk that is used through {through}:", task)
        usage, limit = heard.disk.usage, cfm.evidence.limit_percent(task.destination)
        state, there = self.facts.state(cfm.issuer.controller), cfm.evidence.addresses(task.destination)
        more_bytes = task.file.size_bytes + state.unshown_bytes(
            task.destination,
            there,
            still_since_ms=_still_since_ms(heard),
            asked_ms=heard.disk_asked_ms,
            may_hold=heard.may_hold,
        )
        more_bytes -= min(more_bytes, heard.disk.arriving_bytes)  # `used` contains these already
        held = fits(usage.used_bytes, usage.avail_bytes, more_bytes, limit) or self._really_fits(
            cfm, task, limit
        )
        self.hold(held, f"{usage.used_bytes} used, {more_bytes} more, limit {limit} %:", task)

    def order_changed(
        self, cfm: SimCfm, before: DeleteOrder | None, order: DeleteOrder, _event: ev.Event, _now: Now
    ) -> None:
        if before is None or order.status is OrderStatus.SENT:
            heard = cfm.evidence.servers.get(order.server)
            known = heard is not None and heard.disk is not None
            self.hold(known, "from a disk that is not known:", order)

    def _really_fits(self, cfm: SimCfm, task: Task, limit: int) -> bool:
        """Does it fit on the real disk, where bytes that have arrived are counted only once?"""
        disk = self.world.disk_at(task.destination)
        more_bytes = task.file.size_bytes
        for known in self.facts.state(cfm.issuer.controller).open_tasks.values():
            file = known.task.file
            here = self.world.disk_at(known.task.destination) is disk and file.name not in disk.names
            if here and not self._over(known):
                temp = disk.temp_names.get(f"{file.name}.{known.task.id}")
                more_bytes += file.size_bytes - (temp.size_bytes if temp is not None else 0)
        space = MemoryFolder(disk).space()
        return fits(space.total_bytes - space.free_bytes, space.avail_bytes, more_bytes, limit)

    def _over(self, known: TaskFacts) -> bool:
        """Has its worker ended or forgotten it already, so that nothing more arrives?"""
        worker = self.world.worker_at(known.task.destination)
        if worker is None or not known.worked:
            return False
        return worker.book.states().get(known.task.id) in _OVER


_OVER = (
    None,
    Download.STOPPING,
    Download.CANCELLING,
    Download.CLEANING,
    Download.DROPPING,
    Download.REPORTING,
)
"""Nothing more arrives of a download in these states."""


class NextToGo(Invariant):
    """Rule 11 of the domain: room that was made on a disk for a file is not given to another file that would
    have to make room for the first one again.

    Scope: the room is kept for a set time after the order that made it, and until a copy of its file begins
    anywhere.  An order that was dropped gives the room up.  Files whose rank has moved since are left out.
    """

    number = "rule 11"
    title = "not what would be next to go"

    def task_changed(self, cfm: SimCfm, before: Task | None, task: Task, _event: ev.Event, now: Now) -> None:
        if before is not None:
            return
        files = {file.name: file for file in (cfm.pair.files if cfm.pair else ())}
        if (known := files.get(task.file.name)) is None or known.rank != task.file.rank:
            return
        for name, reasons in self._room_made(cfm, task, now).items():
            better = files.get(name)
            if better is not None and (
                better.name in cfm.evidence.hits.rising or _says(reasons, better.rank)
            ):
                self.hold(
                    not self._outranks(cfm, better, task.file), "room was made there for", name, ":", task
                )

    def _room_made(self, cfm: SimCfm, task: Task, now: Now) -> dict[str, list[str]]:
        """Files for which room waits on that disk → the reasons of the orders that made it."""
        state = self.facts.state(cfm.issuer.controller)
        since_ms = now.mono_ms - cfm.evidence.rules.room_hold_ms
        there = [
            state.orders[o.id] for ms, o in state.recent_orders
            if ms > since_ms and o.server == task.destination and o.room_for not in (None, task.file.name)
        ]  # fmt: skip
        given_up = state.ended_orders(OrderStatus.DROPPED, since_ms)
        dropped = {order.room_for for order in given_up if order.server == task.destination}
        begun = {f.task.file.name for f in state.tasks.values() if f.started_mono_ms > since_ms}
        made: dict[str, list[str]] = {}
        for known in there:
            if (name := known.order.room_for) is not None and name not in dropped | begun:
                made.setdefault(name, []).append(known.order.reason)
        return made

    def _outranks(self, cfm: SimCfm, better: File, worse: File) -> bool:
        hits = cfm.evidence.hits
        if worse.name in hits.rising or worse.name in hits.watched:
            return False
        margin = 100 + cfm.evidence.rules.room_margin_percent
        return better.name in hits.rising or 100 * worse.rank > margin * better.rank


def _says(reasons: list[str], rank: int) -> bool:
    return any(f"(rank {rank})" in reason for reason in reasons)
