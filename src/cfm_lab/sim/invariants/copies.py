"""The rules about copying: only what may be copied, only where there is room, not again and again."""

from __future__ import annotations

from cfm.controller.decide import events as ev
from cfm.model import (
    Addr,
    DeleteKind,
    DeleteOrder,
    Failure,
    File,
    Listing,
    Now,
    OnSan,
    OrderStatus,
    Status,
    Task,
    Transfer,
    fits,
    host_of,
)
from cfm.plan.view import is_ad
from cfm.tasks.store import Change, Recovered
from cfm.worker.decide.downloads import Stage
from cfm_lab.fakes.memory_disk import MemoryFolder
from cfm_lab.sim.facts import TaskFacts
from cfm_lab.sim.invariants.base import Invariant
from cfm_lab.sim.processes.controller import SimCfm
from cfm_lab.sim.processes.evidence import Heard
from cfm_lab.sim.world import World


class WithinLimit(Invariant):
    """No copy starts that would bring its destination over its limit: used by its last `/df`, what is still
    to arrive, and what landed since, with no credit for deletes.  A disk that is not known gets no copy, and
    nothing is deleted from it either.  One that has several addresses, as its workers say by its id, is one:
    what arrives at any of them counts, and no more begins but to the lowest one that is usable.

    Scope: what the server's own `/df` told; other software may fill the disk a moment later.  Bytes that are
    on the disk already, of tasks that are not reported as done, need not be counted twice.
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
        state, there = self.facts.state(cfm.claim.controller), cfm.evidence.addresses(task.destination)
        arriving_bytes = state.arriving_bytes(task.destination, there, heard.disk_asked_ms)
        more_bytes = task.file.size_bytes + arriving_bytes
        more_bytes -= min(
            more_bytes, heard.disk.arriving_bytes
        )  # of what arrives, so much is in `used` already
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
        """What has arrived and is not reported as done yet is counted once only, on the disk itself."""
        disk = self.world.disk_at(task.destination)
        more_bytes = task.file.size_bytes
        for known in self.facts.state(cfm.claim.controller).open_tasks.values():
            file = known.task.file
            here = self.world.disk_at(known.task.destination) is disk and file.name not in disk.names
            if here and not self._over(known):
                temp = disk.temp_names.get(f"{file.name}.{known.task.id}")
                more_bytes += file.size_bytes - (temp.size_bytes if temp is not None else 0)
        space = MemoryFolder(disk).space()
        return fits(space.total_bytes - space.free_bytes, space.avail_bytes, more_bytes, limit)

    def _over(self, known: TaskFacts) -> bool:
        """Has its worker ended it already, or forgotten it, so that nothing more arrives?"""
        worker = self.world.worker_at(known.task.destination)
        if worker is None or not known.worked:
            return False
        stage = worker.book.stages().get(known.task.id)
        return stage in (None, Stage.REPORTING, Stage.CLEANING, Stage.STOPPING)


class NoFlapping(Invariant):
    """What went for room is not copied back for a while, and not deleted there twice in that while, unless it
    rises, or its rank really moved.

    Scope: the while is the setting (a day by default); of the cfm that runs, and of what its state kept.
    """

    number = "24"
    title = "no flapping"

    def task_changed(self, cfm: SimCfm, before: Task | None, task: Task, _event: ev.Event, now: Now) -> None:
        if before is not None:
            return
        rules = cfm.evidence.rules
        left = [
            f for f in self.facts.state(cfm.claim.controller).orders.values()
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
        fine = not recent or moved or task.file.name in cfm.evidence.hits.rising
        self.hold(fine, "copied back soon after it went:", task, last.order)


class NextToGo(Invariant):
    """Rule 11 of the domain: while room that was made on a disk waits for its file, no file goes there that
    would have to go again for that one.

    Scope: the room holds for its time after the order that made it, and until the file begins anywhere; an
    order for it that was dropped gives the room up.  Ranks that have moved since it was made do not count.
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
        """For which files, and the reasons of the orders that made it."""
        state = self.facts.state(cfm.claim.controller)
        since_ms = now.mono_ms - cfm.evidence.rules.room_hold_ms
        there = [
            state.orders[o.id] for ms, o in state.recent_orders
            if ms > since_ms and o.server == task.destination and o.room_for not in (None, task.file.name)
        ]  # fmt: skip
        dropped = {f.order.room_for for f in there if f.order.status is OrderStatus.DROPPED}
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


class OnlyWhatMayBeCopied(Invariant):
    """Rule 4 and 8 of the domain: a copy is of a file that is no ad, on no destination, in no task, just seen
    on the SAN, between two servers that are up and speak to each other; and a server in doubt counts as a
    holder for its grace."""

    number = "rule 4"
    title = "only what may be copied"

    def task_changed(self, cfm: SimCfm, before: Task | None, task: Task, _event: ev.Event, now: Now) -> None:
        if before is not None:
            return
        evidence, name = cfm.evidence, task.file.name
        self.hold(not is_ad(name, evidence.rules.ad_prefixes), "an ad:", task)
        self.hold(not evidence.store_trouble, "our own state cannot be written:", task)
        same = [f.task for f in self.facts.state(cfm.claim.controller).open_tasks.values()]
        self.hold(all(t.file.name != name for t in same), "already in a task:", task)
        holders = [addr for addr in evidence.holders(name) if addr in cfm.config.destinations]
        self.hold(not self._left(cfm, name, holders), "already on", holders, task)
        answer, asked_ms = evidence.san.get(name, (None, 0))
        there = isinstance(answer, OnSan) and answer.size_bytes == task.file.size_bytes
        fresh = now.mono_ms - asked_ms <= evidence.rules.confirmation_max_age_ms
        self.hold(there and fresh, "not just seen on the SAN:", task)
        orders = [f.order for f in self.facts.state(cfm.claim.controller).open_orders.values()]
        made = [o for o in orders if o.server == task.destination and o.room_for == name]
        self.hold(not made, "before the room that is made for it is there:", task, made)
        self._speak(cfm, task)
        self._doubtful(cfm, task, now)

    def _left(self, cfm: SimCfm, name: str, holders: list[Addr]) -> list[Addr]:
        """Holders by their lists, without those that have since carried out a delete."""
        orders = self.facts.state(cfm.claim.controller).orders
        gone = {
            f.order.server for f in orders.values()
            if f.order.file.name == name and f.order.status is OrderStatus.CONFIRMED
            and (f.ended_mono_ms or 0) >= self._listed_ms(cfm, f.order.server)
        }  # fmt: skip
        return [addr for addr in holders if addr not in gone]

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
            if since_ms is None or now.mono_ms - since_ms >= cfm.evidence.rules.unknown_grace_ms:
                continue
            if heard.names is None:
                may_hold = host_of(addr) in task.file.history_ips
            else:
                may_hold = task.file.name in heard.names and bool(self._left(cfm, task.file.name, [addr]))
            self.hold(not may_hold, "may still be on", addr, task)

    def _doubt_since(self, cfm: SimCfm, heard: Heard) -> int | None:
        """Since when its list is missing; None where it is there."""
        if heard.lists == 0:
            return cfm.evidence.started_ms
        return heard.list_failed_ms


FORGOTTEN_MS = 3_500_000


def _pause_ms(failed: list[int]) -> int:
    return min(1_800_000, 10_000 << min(len(failed) - 1, 20))


NO_SUCH_FILE = 404
REFUSED_MS = 10_000


class Pauses(Invariant):
    """A copy that failed is tried again only after a pause that grows with each failure; and a server that
    answered, and did not delete, is asked to delete nothing for a while.

    Scope: the first pause after a refused delete; that it grows is left out.
    """

    number = "rule 7"
    title = "growing pauses"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._refused: dict[tuple[str, Addr], int] = {}
        """(controller, server) → until when it is left alone (mono, of this run)."""
        self._unproven: dict[tuple[str, str], tuple[Addr, int]] = {}
        """(controller, file) → where an old worker called it done, and when (mono, of this run)."""

    def recovered(self, cfm: SimCfm, _found: Recovered) -> None:
        mine = cfm.claim.controller
        self._refused = {key: until_ms for key, until_ms in self._refused.items() if key[0] != mine}
        self._unproven = {key: done for key, done in self._unproven.items() if key[0] != mine}

    def decided(self, cfm: SimCfm, event: ev.Event, _changes: list[Change], now: Now) -> None:
        if isinstance(event, ev.ListAnswer) and isinstance(event.answer, Listing):
            self._proven(cfm, event.addr, event.asked_ms, event.answer.names)
        if not isinstance(event, ev.DeleteAnswer) or event.answer in (200, NO_SUCH_FILE):
            return
        known = self.facts.state(cfm.claim.controller).open_orders.get(event.order_id)
        if isinstance(event.answer, Failure) or known is None or known.order.status is not OrderStatus.SENT:
            return
        key = (cfm.claim.controller, known.order.server)
        if known.ordered_mono_ms >= self._refused.get(key, 0):  # else it is one more of those in that pause
            self._refused[key] = now.mono_ms + REFUSED_MS

    def order_changed(
        self, cfm: SimCfm, before: DeleteOrder | None, order: DeleteOrder, _event: ev.Event, now: Now
    ) -> None:
        if before is None:
            until_ms = self._refused.get((cfm.claim.controller, order.server), 0)
            self.hold(now.mono_ms >= until_ms, "ordered where a delete was just refused:", order)

    def task_changed(self, cfm: SimCfm, before: Task | None, task: Task, event: ev.Event, now: Now) -> None:
        failures = self.facts.state(cfm.claim.controller).failures
        name = task.file.name
        if before is None:
            failed = self._remembered(failures.get(name, []), now)
            rested = not failed or now.mono_ms - failed[-1] >= _pause_ms(failed)
            self.hold(rested, f"{len(failed)} failures, and tried again after "
                      f"{now.mono_ms - failed[-1] if failed else 0} ms:", task)  # fmt: skip
        elif task.status is Status.DONE and isinstance(event, ev.TaskReport):
            if event.verified:
                failures.pop(name, None)
            else:
                self._unproven[cfm.claim.controller, name] = (task.destination, now.mono_ms)
        elif task.status in (Status.FAILED, Status.TIMED_OUT) and self._counts(event, task):
            failures[name] = [*self._remembered(failures.get(name, []), now), now.mono_ms]

    def _proven(self, cfm: SimCfm, addr: Addr, asked_ms: int, names: frozenset[str]) -> None:
        """What an old worker calls done is a success once its own list shows it."""
        for key, (where, done_ms) in list(self._unproven.items()):
            controller, name = key
            if controller == cfm.claim.controller and where == addr and asked_ms >= done_ms:
                del self._unproven[key]
                if name in names:
                    self.facts.state(controller).failures.pop(name, None)

    def _remembered(self, failed: list[int], now: Now) -> list[int]:
        """An hour after the pause of the last one, failures are forgotten; a little early here."""
        if failed and now.mono_ms - failed[-1] > _pause_ms(failed) + FORGOTTEN_MS:
            return []
        return failed

    def _counts(self, event: ev.Event, _task: Task) -> bool:
        """A busy source and a server that died are not the copy's fault."""
        return isinstance(event, ev.TaskReport) and event.retry_after_s is None
