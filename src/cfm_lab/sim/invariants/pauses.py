"""The rules about pauses: who is to blame for failed copies is left alone for a while, and nobody else is."""

from __future__ import annotations

from cfm.controller.decide import events as ev
from cfm.model import Addr, DeleteOrder, Now, Side, Task
from cfm.tasks.failures import PLACE_REMEMBERED_MS, FailureBook
from cfm_lab.fakes.memory_base_dir import Inode
from cfm_lab.sim.environment.disks import SimDisk
from cfm_lab.sim.environment.services import DeleteRequest
from cfm_lab.sim.invariants.base import Invariant
from cfm_lab.sim.processes.controller import SimCfm
from cfm_lab.sim.world import World


class LeftAlone(Invariant):
    """While a source, a destination or a pair is in pause, no copy begins there; after it one alone.  No file
    is copied to a place from which its copy vanished, unless viewers want it.  No room is made at a
    destination in its pause, after it for one file at a time, and none for a file that fails.

    Scope: who is in pause is taken from cfm's own book, as cfm decides by it.  That the pauses are right and
    grow, rules 7 and 25 say.
    """

    number = "rule 21"
    title = "left alone"

    def task_changed(self, cfm: SimCfm, before: Task | None, task: Task, _event: ev.Event, now: Now) -> None:
        if before is not None or cfm.core is None:
            return
        failures = cfm.core.state.failures
        source, destination = task.source, task.destination
        for side in (Side(source=source), Side(destination=destination), Side(source, destination)):
            pause = failures.pauses.get(side)
            if pause is None:
                self.checks += 1
                continue
            self.hold(now.mono_ms >= pause.until_ms, "copied in a pause:", side, task)
            others = [one for one in cfm.core.state.tasks.active.values() if one.id != task.id]
            received = cfm.core.state.tasks.received
            there = [
                one for one in others
                if side.source in ("", one.source) and side.destination in ("", one.destination)
                and not (one.id in received and not side.destination)
            ]  # fmt: skip
            self.hold(not there, "two copies are tried where they fail:", side, task)
        vanished = _has_vanished(failures, task.file.name, destination, now)
        wanted = task.file.name in cfm.evidence.hits.rising
        self.hold(not vanished or wanted, "copied again to where it vanished:", task)

    def order_changed(
        self, cfm: SimCfm, before: DeleteOrder | None, order: DeleteOrder, _event: ev.Event, now: Now
    ) -> None:
        if before is not None or order.room_for is None or cfm.core is None:
            return
        failures = cfm.core.state.failures
        wanted = order.room_for in cfm.evidence.hits.rising
        vanished = _has_vanished(failures, order.room_for, order.server, now)
        self.hold(not vanished or wanted, "room where a copy vanished:", order)
        pause = failures.pauses.get(Side(destination=order.server))
        if pause is not None:
            self.hold(now.mono_ms >= pause.until_ms, "room where copies fail:", order)
            state = cfm.core.state
            orders = self.facts.state(cfm.issuer.controller).orders
            held_ms = max(pause.since_ms, now.mono_ms - cfm.evidence.rules.room_hold_ms)
            since = {one for one, known in orders.items() if known.ordered_mono_ms >= held_ms}
            there = {  # what was ordered before the pause was not for a trial; late deletes lose their room
                one.room_for for one in state.orders.active.values()
                if one.server == order.server and (one.id == order.id or one.id in since)
            }  # fmt: skip
            begun = {task.file.name for task in state.tasks.active.values()}
            wait = {name for name in there - begun if name is not None and not state.is_placed(name)}
            # An order may be dropped in the moment in which it was made.
            self.hold(wait <= {order.room_for}, "room for two files where copies fail:", order)
        retry = failures.retries.get(order.room_for)
        failed = retry is not None and retry.failures > wanted
        self.hold(not failed, "room for a file that fails:", order)


class NoneForOurDeletes(Invariant):
    """A copy that cfm has ordered away does not count as vanished, whatever became of the answer.

    Scope: files of which no copy ever vanished otherwise.
    """

    number = "rule 21b"
    title = "no blame for what cfm deletes"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._gone_ms: dict[str, dict[Addr, int]] = {}
        """File → server → when it was deleted there, since its last arrival anywhere."""

    def unlinked(
        self, _disk: SimDisk, name: str, _node: Inode, by: DeleteRequest, _order: DeleteOrder | None
    ) -> None:
        self._gone_ms.setdefault(name, {})[by.server.addr] = self.world.schedule.now_ms

    def published(self, _disk: SimDisk, name: str, _node: Inode, _replaced: Inode | None) -> None:
        self._gone_ms.pop(name, None)

    def audit(self) -> None:
        cfm = self.world.main
        if cfm.core is None or not cfm.running or cfm.process.stopped:
            return
        ahead_ms = self.world.schedule.now_ms - cfm.clock.mono_ms()
        for name, gone_ms in self._gone_ms.items():
            retry = cfm.core.state.failures.retries.get(name)
            vanished = retry.vanished if retry is not None and name not in self.facts.lost else {}
            for addr, ms in gone_ms.items():
                vanished_ms = vanished.get(addr, 0) - PLACE_REMEMBERED_MS + ahead_ms
                self.hold(vanished_ms < ms, "cfm deleted what it says has vanished:", name, addr)


def _has_vanished(failures: FailureBook, name: str, addr: Addr, now: Now) -> bool:
    """Is a file left alone there because its copy vanished?"""
    retry = failures.retries.get(name)
    return retry is not None and now.mono_ms < retry.vanished.get(addr, 0)
