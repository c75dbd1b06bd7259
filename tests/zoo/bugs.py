"""The bug zoo: mistakes put into the product's pieces, one at a time, to see whether the simulator notices.

Nothing of it is in the product: a bug is a `Parts` whose pieces are subclasses, or are made with another rule
book.  Most are made mechanically: each guard of the kernel left out, each illegal edge of both tables taken.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from cfm.controller import events as ev
from cfm.controller.core import Core
from cfm.controller.state import NodeConfig
from cfm.model import Failure, Listing, Now, OnSan, OrderStatus, Status
from cfm.plan.kernel import KERNEL, Kernel
from cfm.sim.disks import SimDisk
from cfm.sim.parts import PARTS, Parts
from cfm.sim.run import run_seed
from cfm.tasks.lifecycle import ORDER_EDGES, TASK_EDGES
from cfm.tasks.memory_store import MemoryStore
from cfm.tasks.store import Change, PutOrder, PutTask, Recovered
from cfm.worker.disk import MARKER
from cfm.worker.download_events import Event, Instruction, TransferEnded
from cfm.worker.downloads import DownloadBook
from cfm.worker.memory_disk import Node
from cfm.worker.obedience import Authority, Claim
from cfm.worker.streams import Stream, Streams

# ── made mechanically ───────────────────────────────────────────────────────────────────────────────────


def with_kernel(kernel: Kernel) -> Parts:
    def make(config: NodeConfig, recovered: Recovered, now: Now) -> Core:
        core = Core(config, recovered, now)
        core.state.kernel = kernel
        return core

    return replace(PARTS, core=make)


def without_guards() -> Iterator[tuple[str, Parts]]:
    """Each guard of the kernel left out."""
    for field in fields(KERNEL):
        guards = getattr(KERNEL, field.name)
        for guard in guards:
            rest = tuple(one for one in guards if one is not guard)
            yield f"without {guard.__name__}", with_kernel(replace(KERNEL, **{field.name: rest}))


EVERY = 40
"""After so many events an illegal change is made, where there is something to make it to."""


def taking_task_edge(old: Status, new: Status) -> Parts:
    class Taking(Core):
        events = 0

        def handle(self, event: ev.Event, now: Now) -> tuple[list[Change], list[ev.Effect]]:
            changes, effects = super().handle(event, now)
            self.events += 1
            book = self.state.tasks
            known = [*book.active.values(), *(task for task, _ms in book.ended.values())]
            fitting = [task for task in known if task.status is old]
            if fitting and self.events % EVERY == 0:
                changes.append(PutTask(replace(fitting[0], status=new)))
            return changes, effects

    return replace(PARTS, core=Taking)


def taking_order_edge(old: OrderStatus, new: OrderStatus) -> Parts:
    class Taking(Core):
        def __init__(self, config: NodeConfig, recovered: Recovered, now: Now) -> None:
            super().__init__(config, recovered, now)
            self.seen: dict[int, PutOrder] = {}

        def handle(self, event: ev.Event, now: Now) -> tuple[list[Change], list[ev.Effect]]:
            changes, effects = super().handle(event, now)
            for change in [change for change in changes if isinstance(change, PutOrder)]:
                if change.order.status is old:
                    changes.append(PutOrder(replace(change.order, status=new)))
            return changes, effects

    return replace(PARTS, core=Taking)


def illegal_edges() -> Iterator[tuple[str, Parts]]:
    for old in Status:
        for new in Status:
            if new not in TASK_EDGES[old]:
                yield f"task {old} becomes {new}", taking_task_edge(old, new)
    for before in OrderStatus:
        for after in OrderStatus:
            if after not in ORDER_EDGES[before]:
                yield f"order {before} becomes {after}", taking_order_edge(before, after)


# ── of the old program, and others like them ────────────────────────────────────────────────────────────


def hearing(change: Callable[[ev.Event], ev.Event]) -> Parts:
    """A core that takes what it hears for something else."""

    class Hearing(Core):
        def handle(self, event: ev.Event, now: Now) -> tuple[list[Change], list[ev.Effect]]:
            return super().handle(change(event), now)

    return replace(PARTS, core=Hearing)


def error_is_empty(event: ev.Event) -> ev.Event:
    if isinstance(event, ev.ListAnswer) and isinstance(event.answer, Failure):
        return replace(event, answer=Listing(frozenset()))
    return event


def not_found_is_success(event: ev.Event) -> ev.Event:
    return replace(event, answer=200) if isinstance(event, ev.DeleteAnswer) and event.answer == 404 else event


def silence_is_success(event: ev.Event) -> ev.Event:
    if isinstance(event, ev.DeleteAnswer) and isinstance(event.answer, Failure):
        return replace(event, answer=200)
    return event


def any_size_will_do(event: ev.Event) -> ev.Event:
    """A file of 0 bytes on the SAN is taken for the file."""
    if not isinstance(event, ev.SanAnswers):
        return event
    right = {f"F{i:03}.mpg": 0 for i in range(1, 120)}
    answers = {
        name: OnSan(found.path, 10**9) if isinstance(found, OnSan) and name in right else found
        for name, found in event.answers.items()
    }
    return replace(event, answers=answers)


class UnsyncedFile(SimDisk):
    """fsync of a file is left out."""

    def node_sync(self, _node: Node) -> None:
        return None


class UnsyncedFolder(SimDisk):
    """fsync of a folder is left out."""

    def sync_names(self) -> None:
        if MARKER not in self._synced[0]:
            super().sync_names()


class AnyController(Authority):
    """Epoch and controller are not looked at."""

    async def delete_order(self, _claim: Claim | None, _number: int | None) -> str | None:
        return None

    def still(self, _claim: Claim | None, _number: int | None) -> bool:
        return True


class NoFence(Authority):
    async def fence(self, _claim: Claim | None, _fence: int) -> str | None:
        return None


class AllMayRead(Streams):
    """The source serves whoever comes."""

    def admit(self, task: str | None) -> Stream:
        slots, self.slots = self.slots, 1_000
        try:
            return super().admit(task)
        finally:
            self.slots = slots


class DoneForFailed(DownloadBook):
    """`done` is reported for what failed."""

    def handle(self, event: Event, now_ms: int) -> list[Instruction]:
        if isinstance(event, TransferEnded) and event.failed is not None:
            event = TransferEnded(event.task_id, event.bytes, verified=True)
        return super().handle(event, now_ms)


class ForgetsOrders(MemoryStore):
    """A restart forgets unfinished deletes."""

    def open(self) -> Recovered:
        return replace(super().open(), orders=())


class ForgetsTasks(MemoryStore):
    def open(self) -> Recovered:
        return replace(super().open(), tasks=())


class KeepsNoOrders(MemoryStore):
    """Orders are sent, and not written down."""

    def commit(self, changes: Any) -> None:
        super().commit([change for change in changes if not isinstance(change, PutOrder)])


class OpensTwice(MemoryStore):
    """A second cfm on one state wipes out the first."""

    def open(self) -> Recovered:
        self.disk.held_by = None
        return super().open()


def wall_clock() -> Parts:
    """Time-outs are measured with the wall clock."""

    class ByWall(Core):
        def handle(self, event: ev.Event, now: Now) -> tuple[list[Change], list[ev.Effect]]:
            shift_ms = now.wall_ms - getattr(self, "began", now.wall_ms - now.mono_ms) - now.mono_ms
            self.began = now.wall_ms - now.mono_ms - shift_ms
            return super().handle(event, Now(now.mono_ms + shift_ms, now.wall_ms))

    return replace(PARTS, core=ByWall)


def never_released() -> Parts:
    """What landed stays booked for ever."""

    class Hoarding(Core):
        def handle(self, event: ev.Event, now: Now) -> tuple[list[Change], list[ev.Effect]]:
            landed = {addr: list(record.landed) for addr, record in self.state.fleet.records.items()}
            result = super().handle(event, now)
            for addr, record in self.state.fleet.records.items():
                record.landed = [*landed[addr], *(b for b in record.landed if b not in landed[addr])]
            return result

    return replace(PARTS, core=Hoarding)


OLD_ONES: Mapping[str, Parts] = {
    "an error is an empty list": hearing(error_is_empty),
    "404 is a success": hearing(not_found_is_success),
    "silence is a success": hearing(silence_is_success),
    "any size on the SAN will do": hearing(any_size_will_do),
    "no fsync of files": replace(PARTS, disk=UnsyncedFile),
    "no fsync of folders": replace(PARTS, disk=UnsyncedFolder),
    "no epoch is checked": replace(PARTS, authority=AnyController),
    "no fence is kept": replace(PARTS, authority=NoFence),
    "a source serves all who come": replace(PARTS, streams=AllMayRead),
    "done for what failed": replace(PARTS, book=DoneForFailed),
    "a restart forgets orders": replace(PARTS, store=ForgetsOrders),
    "a restart forgets tasks": replace(PARTS, store=ForgetsTasks),
    "orders are not written down": replace(PARTS, store=KeepsNoOrders),
    "two cfm on one state": replace(PARTS, store=OpensTwice),
    "any metadata is accepted": replace(PARTS, judge_metadata=lambda *_args: None),
    "time-outs by the wall clock": wall_clock(),
    "the ledger releases nothing": never_released(),
}

ZOO: Mapping[str, Parts] = {**OLD_ONES, **dict(without_guards()), **dict(illegal_edges())}

REDUNDANT: Mapping[str, str] = {
    "without source_free": "the policy leaves busy sources out before it asks",
    "without not_next_to_go": "the ledger keeps the reserved room from all others",
    "without server_known": "a file on a server that is not known is not there, and its disk in no ledger",
    "without not_being_copied": "one_order_per_file refuses what is in a task; left are streams not cut yet",
    "without another_copy_stays": "the policy takes keepers from the holders; keeper_confirmed asks them",
    "without not_young": "the plan's lists leave young files out, and what arrives later is not in them",
    "without server_carries_out": "spares a server that refuses; no rule of the book needs it",
}
"""Guards whose loss nothing has shown, and why: something else refuses the same."""


@dataclass(frozen=True, slots=True)
class Catch:
    """Which seed caught a bug, by which rule, after how much work."""

    seed: int
    rule: str
    text: str
    cpu_s: float


def hunt(parts: Parts, budget_s: int, first_seed: int) -> Catch | None:
    """Run worlds until one of them notices; None where the time is up first."""
    began_ns = time.process_time_ns()
    seed = first_seed
    while (used_ns := time.process_time_ns() - began_ns) < budget_s * 10**9:
        run = run_seed(seed, 2, parts, stop_early=True)
        if run.failed:
            first = run.violations[0]
            return Catch(seed, first.invariant, first.text, used_ns / 1e9 + run.cpu_ns / 1e9)
        seed += 1
    return None
