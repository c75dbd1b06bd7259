"""The rules against doing the same again and again: pauses after failures, and no flapping."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from cfm.controller.decide import events as ev
from cfm.model import (
    Addr,
    DeleteKind,
    DeleteOrder,
    Failure,
    File,
    Listing,
    Names,
    Now,
    OrderStatus,
    Status,
    Task,
    Way,
)
from cfm.tasks.store import Change, Recovered
from cfm.wire import TaskReport
from cfm_lab.fakes.memory_base_dir import Inode
from cfm_lab.sim.environment.disks import SimDisk
from cfm_lab.sim.environment.services import DeleteRequest
from cfm_lab.sim.invariants.base import Invariant
from cfm_lab.sim.processes.controller import SimCfm
from cfm_lab.sim.world import World

FORGOTTEN_MS = 3_500_000
SAME_WAY_MS = 10_000


def _pause_ms(failed: list[int]) -> int:
    return min(1_800_000, 10_000 << min(len(failed) - 1, 20))


NO_SUCH_FILE = 404
BEFORE = ""
"""Stands for the files that failed before the restart."""
NOT_TAKEN = " "
"""Stands for tasks that were not taken."""
OWN_DISK = "/"
"""Stands for what the destination's own disk did not take."""
REFUSED_MS = 10_000


def _told_of(event: ev.Event, task: Task) -> TaskReport | None:
    """What the event reports on this task.  A report on one task may come when another is overdue."""
    return event.report if isinstance(event, ev.TaskReported) and event.task_id == task.id else None


@dataclass(slots=True)
class _Others:
    """How much other data used a disk when a file went from it, and how much it used at least since then."""

    disk: SimDisk
    went_ms: int
    then_bytes: int
    least_bytes: int


class NoFlapping(Invariant):
    """A file that went for room is not copied back for a while, unless it rises, its rank really moved, an
    operator has raised the limit since, or other data has left its disk since.

    Scope: the setting says how long (a day by default).  Only the deletes of the running cfm count, and those
    that its state has kept.  Other data is all that no worker copied or deleted on an order of cfm.
    """

    number = "24"
    title = "no flapping"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._others: dict[int, _Others] = {}
        """Order → what there was of other data on its disk, by its last reading and since then."""
        self._read: dict[tuple[str, Addr], int] = {}
        """(controller, server) → how much other data used its disk when the last reading came, as far as that
        cfm can know it."""
        self._gone_before: dict[tuple[str, Addr], int] = {}
        """(controller, server) → what readings still count as used, deleted before that cfm started."""
        self._moved: Counter[SimDisk] = Counter()
        """Bytes that workers copied to each disk, less those that they deleted."""
        self._copied: set[tuple[SimDisk, int]] = set()
        """The inodes of what workers copied to each disk."""
        self._early: dict[tuple[str, SimDisk], tuple[int, int]] = {}
        """File and disk → the order after which it last came back early, and when that was carried out (true
        ms)."""

    def recovered(self, cfm: SimCfm, _found: Recovered) -> None:
        mine = cfm.issuer.controller
        self._gone_before = {key: gone for key, gone in self._gone_before.items() if key[0] != mine}

    def decided(self, cfm: SimCfm, event: ev.Event, _changes: Sequence[Change], _now: Now) -> None:
        if isinstance(event, ev.DiskAnswer) and not isinstance(event.answer, Failure):
            key, disk = (cfm.issuer.controller, event.addr), self.world.disk_at(event.addr)
            other_bytes = self._other_bytes(disk)
            shown_bytes = max(0, event.answer.usage.used_bytes - disk.used_bytes + disk.open_bytes)
            self._gone_before[key] = min(shown_bytes, self._gone_before.get(key, shown_bytes))
            self._read[key] = other_bytes + self._gone_before[key]
            for others in self._others.values():
                if others.disk is disk:
                    others.least_bytes = min(others.least_bytes, other_bytes)

    def order_changed(
        self, cfm: SimCfm, _before: DeleteOrder | None, order: DeleteOrder, _event: ev.Event, _now: Now
    ) -> None:
        if order.kind is DeleteKind.SPACE and order.status is OrderStatus.CONFIRMED:
            disk = self.world.disk_at(order.server)
            read_bytes = self._read.get((cfm.issuer.controller, order.server), 0)
            other_bytes = max(read_bytes, self._other_bytes(disk))  # what left since then has left, too
            self._others[order.id] = _Others(disk, self.world.schedule.now_ms, other_bytes, other_bytes)

    def unlinked(
        self, disk: SimDisk, _name: str, node: Inode, _by: DeleteRequest, _order: DeleteOrder | None
    ) -> None:
        self._moved[disk] -= node.size_bytes

    def published(self, disk: SimDisk, _name: str, node: Inode, replaced: Inode | None) -> None:
        self._copied.add((disk, node.inode))
        self._moved[disk] += node.size_bytes
        if replaced is not None and (disk, replaced.inode) in self._copied:  # else other data has left
            self._moved[disk] -= replaced.size_bytes

    def _other_bytes(self, disk: SimDisk) -> int:
        """But for a constant: what neither our copies, nor unfinished downloads, nor open files use."""
        unfinished = sum(node.size_bytes for node in disk.temp_names.values())
        return disk.used_bytes - disk.open_bytes - unfinished - self._moved[disk]

    def task_changed(self, cfm: SimCfm, before: Task | None, task: Task, _event: ev.Event, now: Now) -> None:
        if before is not None:
            return
        rules = cfm.evidence.rules
        left = [
            f for f in self.facts.state(cfm.issuer.controller).orders.values()
            if f.order.file.name == task.file.name
            and f.order.kind is DeleteKind.SPACE
            and f.order.status is OrderStatus.CONFIRMED
            and f.ordered_mono_ms
        ]  # fmt: skip
        if not left:
            self.checks += 1
            return
        last = max(left, key=lambda f: f.ordered_mono_ms)
        recent = now.mono_ms - last.ordered_mono_ms < rules.just_deleted_ms - 130_000
        moved = (100 + rules.room_margin_percent) * task.file.rank < 100 * last.order.file.rank
        raised = last.ordered_mono_ms <= cfm.evidence.limit_raised_ms
        fine = not recent or moved or raised or task.file.name in cfm.evidence.hits.rising
        fine = fine or self._other_data_left(task.file, last.order, rules.just_deleted_ms)
        self.hold(fine, "copied back soon after it went:", task, last.order)

    def _other_data_left(self, file: File, gone: DeleteOrder, away_ms: int) -> bool:
        """Has other data given up as much room as the file needs?  That counts for one departure of a file
        from a disk; the copy may take several trials."""
        others = self._others.get(gone.id)
        if others is None:
            return False
        last_id, last_ms = self._early.get((file.name, others.disk), (0, -away_ms))
        if last_id == gone.id:
            return True
        left = others.then_bytes - others.least_bytes >= file.size_bytes
        if left and self.world.schedule.now_ms - last_ms >= away_ms:
            self._early[file.name, others.disk] = gone.id, others.went_ms
            return True
        return False


class Pauses(Invariant):
    """A file is tried again on the way on which it failed only after a pause.  Where it failed twice, and no
    other file did at these servers, the file is to blame: it is tried nowhere, and its pauses grow.  A server
    that refused a delete gets no delete order for a while.

    Scope: where several files failed at one server, rule 25 says how often it may be tried.  Of the pauses
    after refused deletes only the first is checked, not that they grow.
    """

    number = "rule 7"
    title = "growing pauses"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._refused: dict[tuple[str, Addr], int] = {}
        """(controller, server) → until when it gets no delete order (mono, of this run)."""
        self._unproven: dict[tuple[str, str], tuple[Addr, int]] = {}
        """(controller, file) → where an old worker reported it as done, and when (mono, of this run)."""

        self._ways: dict[tuple[str, str], dict[Way, int]] = {}
        """(controller, file) → the ways on which it failed since its last success, and when (mono)."""
        self._failed_at: dict[tuple[str, Addr], set[str]] = {}
        """(controller, server) → the files that failed there in this run."""

    def recovered(self, cfm: SimCfm, found: Recovered) -> None:
        mine = cfm.issuer.controller
        self._refused = {key: until_ms for key, until_ms in self._refused.items() if key[0] != mine}
        self._unproven = {key: done for key, done in self._unproven.items() if key[0] != mine}
        self._ways = {key: ways for key, ways in self._ways.items() if key[0] != mine}
        self._failed_at = {key: names for key, names in self._failed_at.items() if key[0] != mine}
        for pause in found.pauses:  # somebody failed there before
            for addr in pause.side:
                self._failed_at.setdefault((mine, addr), set()).add(BEFORE)

    def decided(self, cfm: SimCfm, event: ev.Event, _changes: Sequence[Change], now: Now) -> None:
        if isinstance(event, ev.ListAnswer) and isinstance(event.answer, Listing):
            self._proven(cfm, event.addr, event.asked_ms, event.answer.names)
        if not isinstance(event, ev.DeleteAnswer) or event.answer in (200, NO_SUCH_FILE):
            return
        known = self.facts.state(cfm.issuer.controller).open_orders.get(event.order_id)
        if isinstance(event.answer, Failure) or known is None or known.order.status is not OrderStatus.SENT:
            return
        key = (cfm.issuer.controller, known.order.server)
        if known.ordered_mono_ms >= self._refused.get(key, 0):  # else it was ordered before that pause began
            self._refused[key] = now.mono_ms + REFUSED_MS

    def order_changed(
        self, cfm: SimCfm, before: DeleteOrder | None, order: DeleteOrder, _event: ev.Event, now: Now
    ) -> None:
        if before is None:
            until_ms = self._refused.get((cfm.issuer.controller, order.server), 0)
            self.hold(now.mono_ms >= until_ms, "ordered where a delete was just refused:", order)

    def task_changed(self, cfm: SimCfm, before: Task | None, task: Task, event: ev.Event, now: Now) -> None:
        failures = self.facts.state(cfm.issuer.controller).failures
        name, controller = task.file.name, cfm.issuer.controller
        way = task.source, task.destination
        if before is None:
            failed = self._remembered(failures.get(name, []), now)
            must_rest = len(failed) > 1 and self._is_to_blame(controller, name)
            rested = not must_rest or now.mono_ms - failed[-1] >= _pause_ms(failed)
            self.hold(rested, f"{len(failed)} failures, and tried again after "
                      f"{now.mono_ms - failed[-1] if failed else 0} ms:", task)  # fmt: skip
            there_ms = self._ways.get((controller, name), {}).get(way, -FORGOTTEN_MS)
            self.hold(now.mono_ms - there_ms >= SAME_WAY_MS, "tried again where it has just failed:", task)
        elif task.status is Status.DONE and (told := _told_of(event, task)) is not None:
            if told.verified:
                failures.pop(name, None)
                self._ways.pop((controller, name), None)
            else:
                self._unproven[cfm.issuer.controller, name] = (task.destination, now.mono_ms)
        elif task.status in (Status.FAILED, Status.TIMED_OUT) and self._counts(event, task):
            failures[name] = [*self._remembered(failures.get(name, []), now), now.mono_ms]
            self._ways.setdefault((controller, name), {})[way] = now.mono_ms
        if before is not None and task.status in (Status.FAILED, Status.TIMED_OUT):
            for addr in way:
                self._failed_at.setdefault((controller, addr), set()).add(name)
            if before.status is Status.READY:  # a worker that does not take a task is to blame for itself
                self._failed_at[controller, task.destination].add(NOT_TAKEN)
            if (told := _told_of(event, task)) is not None and told.own_disk:
                self._failed_at[controller, task.destination].add(OWN_DISK)

    def _is_to_blame(self, controller: str, name: str) -> bool:
        """Did no other file fail at the servers where this one did?  A server that sent it in vain once, and
        received it in vain once, is to blame itself."""
        ways = self._ways.get((controller, name), {})
        if not {source for source, _ in ways}.isdisjoint(destination for _, destination in ways):
            return False
        servers = {addr for way in ways for addr in way}
        return all(self._failed_at.get((controller, addr), set()) <= {name} for addr in servers)

    def _proven(self, cfm: SimCfm, addr: Addr, asked_ms: int, names: Names) -> None:
        """What an old worker reported as done is a success as soon as its own list shows the file."""
        for key, (where, done_ms) in list(self._unproven.items()):
            controller, name = key
            if controller == cfm.issuer.controller and where == addr and asked_ms >= done_ms:
                del self._unproven[key]
                if name in names:
                    self.facts.state(controller).failures.pop(name, None)

    def _remembered(self, failed: list[int], now: Now) -> list[int]:
        """The failures that still count.  They are forgotten about an hour after the last pause is over."""
        if failed and now.mono_ms - failed[-1] > _pause_ms(failed) + FORGOTTEN_MS:
            return []
        return failed

    def _counts(self, event: ev.Event, task: Task) -> bool:
        """Does it count?  A busy source, a dead server and a bad disk are not the fault of the copy."""
        told = _told_of(event, task)
        return told is not None and told.retry_after_s is None and not told.own_disk
