"""The controller's shell: orders that became durable too late, and readers while nothing can be written."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable
from dataclasses import replace
from typing import cast

import pytest

from cfm.controller.act.loop import Controller, clock
from cfm.controller.decide import events as ev
from cfm.controller.decide.core import Core
from cfm.controller.decide.state import NodeConfig
from cfm.controller.decide.step import Step
from cfm.fleet.client import WorkerClient
from cfm.inputs.san import SanIndex
from cfm.inputs.snapshot import Snapshot
from cfm.model import (
    Addr,
    DeleteKind,
    DeleteOrder,
    Failure,
    File,
    Hits,
    Now,
    OrderStatus,
    SnapshotFacts,
    Status,
    Trouble,
    WorkerFeatures,
)
from cfm.plan.shortlist import NOTHING_LISTED
from cfm.plan.view import Rules
from cfm.tasks.store import DropTask, Recovered, TaskStore
from cfm.wire import TaskReport
from cfm_lab.fakes.memory_store import MemoryStore

ORDER = DeleteOrder(
    id=1,
    status=OrderStatus.SENT,
    created_s=0,
    changed_s=0,
    file=File("F.mpg", 1, 100),
    server=Addr("127.0.2.1:8888"),
    kind=DeleteKind.SURPLUS,
    reason="surplus",
)


class Ordering:
    """A core that sends one delete at once, and keeps what it is told of it."""

    looks_first = False

    def __init__(self, before_ms: int) -> None:
        self.before_ms = before_ms
        self.told = asyncio.get_running_loop().create_future()

    def handle(self, event: ev.Event, _now: Now) -> Step:
        if isinstance(event, ev.DeleteAnswer):
            self.told.set_result(event.answer)
        deletes = [ev.SendDelete(ORDER, self.before_ms)] if isinstance(event, ev.Tick) else []
        return Step(after_commit=deletes)

    def next_wakeup_ms(self, now: Now) -> int:
        return now.mono_ms + 3_600_000


class Client:
    def __init__(self) -> None:
        self.within_s: list[float] = []

    async def delete(
        self, _addr: Addr, _order_id: int, _name: str, *, within_s: float, **_more: object
    ) -> int:
        self.within_s.append(within_s)
        return 200


@pytest.mark.parametrize("left_ms", [-1, 60_000])
async def test_an_order_is_sent_only_while_what_confirmed_it_counts(left_ms: int) -> None:
    core, client = Ordering(clock().mono_ms + left_ms), Client()
    controller = Controller(
        cast("Core", core), cast("TaskStore", None), cast("WorkerClient", client), cast("SanIndex", None)
    )
    running = asyncio.create_task(controller.run())
    try:
        answer = await asyncio.wait_for(core.told, 30)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert answer == (200 if left_ms > 0 else ev.LATE)
    assert [0 < within_s <= 60 for within_s in client.within_s] == ([True] if left_ms > 0 else [])


class Curious:
    """A core that asks one question, and keeps the answer."""

    looks_first = False

    def __init__(self, effect: ev.Effect) -> None:
        self.effect = effect
        self.told = asyncio.get_running_loop().create_future()

    def handle(self, _event: ev.Event, _now: Now) -> Step:
        return Step() if self.told.done() else Step(at_once=[self.effect])

    def hear(self, event: ev.Event, _now: Now) -> Step:
        self.told.set_result(event)
        return Step()

    def next_wakeup_ms(self, now: Now) -> int:
        return now.mono_ms + 3_600_000


class BrokenClient:
    """It has a bug."""

    async def heartbeat(self, _addr: Addr) -> int:
        raise KeyError("x-odd-header")


async def test_an_error_on_the_way_to_an_answer_ends_neither_cfm_nor_the_waiting() -> None:
    core = Curious(ev.SendHeartbeat(ORDER.server))
    controller = Controller(
        cast("Core", core),
        cast("TaskStore", None),
        cast("WorkerClient", BrokenClient()),
        cast("SanIndex", None),
    )
    running = asyncio.create_task(controller.run())
    try:
        event = await asyncio.wait_for(core.told, 10)
        assert not running.done()
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert isinstance(event, ev.HeartbeatAnswer)
    assert event.answer == Failure(Trouble.BROKEN, "KeyError: 'x-odd-header'")


class Failing:
    """A core that trips over its second event, or whatever is told to it."""

    looks_first = False

    def __init__(self, *, later: bool) -> None:
        self.handled = 0
        self.begun = asyncio.Event()
        self.later = later

    def handle(self, _event: ev.Event, _now: Now) -> Step:
        self.handled += 1
        self.begun.set()
        if self.handled > 1:
            raise ZeroDivisionError
        return Step()

    def next_wakeup_ms(self, now: Now) -> int:
        return now.mono_ms + (1 if self.later else 3_600_000)


@pytest.mark.parametrize("by_timer", [True, False])
async def test_an_error_of_the_core_ends_cfm_whoever_brought_the_event(by_timer: bool) -> None:
    """A timer or a job would go on, and cfm would stand still with books that are in doubt."""
    core = Failing(later=by_timer)
    controller = Controller(
        cast("Core", core), MemoryStore(), cast("WorkerClient", Client()), cast("SanIndex", None)
    )
    running = asyncio.create_task(controller.run())
    if not by_timer:
        await core.begun.wait()
        with pytest.raises(ZeroDivisionError):
            controller.feed(ev.SanIndexed(None, "silent"))
    done, _ = await asyncio.wait((running,), timeout=10)
    assert done
    assert isinstance(running.exception(), ExceptionGroup)
    controller.feed(ev.Tick())
    assert core.handled == 2
    await controller.writer.close()


class Writing:
    """A core that has something to write at once, and says whether that can be done."""

    looks_first = False

    def __init__(self) -> None:
        self.trouble = ""
        self.began = asyncio.Event()

    def handle(self, event: ev.Event, _now: Now) -> Step:
        if isinstance(event, ev.StoreTrouble):
            self.trouble = event.why
        self.began.set()
        return Step(changes=[DropTask(1)] if isinstance(event, ev.Tick) else [])

    def next_wakeup_ms(self, now: Now) -> int:
        return now.mono_ms + 3_600_000


async def test_who_reads_when_the_disk_becomes_full_is_told_so_and_does_not_wait() -> None:
    """What was asked a moment before waited for a commit that could not come."""
    core, store = Writing(), MemoryStore()
    store.open()
    store.trouble = "no space left"
    controller = Controller(cast("Core", core), store, cast("WorkerClient", Client()), cast("SanIndex", None))
    running = asyncio.create_task(controller.run())
    try:
        await core.began.wait()
        assert controller.writer.waiting
        assert controller.writer.trouble is None, "it is not known yet"
        told = await asyncio.wait_for(controller.read(lambda _core, _now: core.trouble), 10)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await controller.writer.close()
    assert "no space left" in told


class Hundred:
    """A core that asks a hundred servers, and counts what it hears and how often it decides."""

    def __init__(self, *, is_settled: bool = False) -> None:
        self.is_settled = is_settled
        self.heard = 0
        self.first_heard_ms = self.decided_ms = 0
        self.decided = 0
        self.all_heard = asyncio.Event()
        self.decided_after = asyncio.Event()

    def handle(self, _event: ev.Event, now: Now) -> Step:
        self.decided += 1
        if self.all_heard.is_set():
            self.decided_ms = now.mono_ms
            self.decided_after.set()
        asked = [ev.SendHeartbeat(ORDER.server)] * 100 if self.decided == 1 else []
        return Step(at_once=asked)

    @property
    def looks_first(self) -> bool:
        return False

    def hear(self, _event: ev.Event, now: Now) -> Step:
        self.heard += 1
        self.first_heard_ms = self.first_heard_ms or now.mono_ms
        if self.heard == 100:
            self.all_heard.set()
        return Step()

    def next_wakeup_ms(self, now: Now) -> int:
        return now.mono_ms + 3_600_000


class Living:
    async def heartbeat(self, _addr: Addr) -> WorkerFeatures:
        return WorkerFeatures()


def around(core: Hundred) -> Controller:
    """A controller that runs it, among servers that live."""
    return Controller(
        cast("Core", core), cast("TaskStore", None), cast("WorkerClient", Living()), cast("SanIndex", None)
    )


async def until_decided(core: Hundred) -> None:
    """Run a controller around it until all has been heard, and decided about."""
    controller = around(core)
    running = asyncio.create_task(controller.run())
    try:
        await asyncio.wait_for(core.decided_after.wait(), 10)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@pytest.mark.parametrize(
    ("is_settled", "at_least_ms"),
    [
        pytest.param(False, 0, id="something is possible now"),
        pytest.param(True, 250, id="only deadlines have moved"),
    ],
)
async def test_answers_that_come_together_are_decided_about_together(
    is_settled: bool, at_least_ms: int
) -> None:
    core = Hundred(is_settled=is_settled)
    await until_decided(core)
    assert core.heard == 100
    assert core.decided < 10
    assert core.decided_ms - core.first_heard_ms >= at_least_ms


class Freed(Hundred):
    """The same; it counts what is decided in the very turn in which it was heard."""

    def __init__(self) -> None:
        super().__init__()
        self.hears = False
        self.at_once = 0

    def handle(self, event: ev.Event, now: Now) -> Step:
        self.at_once += self.hears
        return super().handle(event, now)

    def hear(self, event: ev.Event, now: Now) -> Step:
        self.hears = True
        return super().hear(event, now)

    def turn_is_over(self) -> None:
        self.hears = False


@pytest.mark.parametrize(
    ("report", "frees"),
    [
        (TaskReport(Status.DONE, verified=True), True),
        (TaskReport(Status.FAILED, error="disk full"), True),
        (TaskReport(Status.WORKING, done_bytes=100, received=True), True),
        (TaskReport(Status.WORKING, done_bytes=50), False),
    ],
)
async def test_a_free_source_is_decided_about_in_the_turn_in_which_it_is_heard(
    report: TaskReport, frees: bool
) -> None:
    core = Freed()
    controller = around(core)
    running = asyncio.create_task(controller.run())
    await asyncio.sleep(0)
    for number in range(1_000):  # the rest after the last decision has to pass
        controller.feed(ev.TaskReported(number, number, report))
        asyncio.get_running_loop().call_soon(core.turn_is_over)
        await asyncio.sleep(0)
    assert (core.at_once > 0) is frees
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


class Starting(Hundred):
    """The same at a start: until the last one has answered, little is decided."""

    def __init__(self) -> None:
        super().__init__()
        self.is_late = False
        self.was_late: bool | None = None

    @property
    def looks_first(self) -> bool:
        return self.heard < 100

    def handle(self, event: ev.Event, now: Now) -> Step:
        if self.all_heard.is_set() and self.was_late is None:
            self.was_late = self.is_late
        return super().handle(event, now)

    def hear(self, event: ev.Event, now: Now) -> Step:
        step = super().hear(event, now)
        if self.all_heard.is_set():
            asyncio.get_running_loop().call_later(0.1, self._becomes_late)
        return step

    def _becomes_late(self) -> None:
        self.is_late = True


async def test_the_last_answer_of_a_first_look_is_decided_about_at_once() -> None:
    core = Starting()
    await until_decided(core)
    assert core.was_late is False


async def test_who_takes_over_goes_on_with_the_lists_of_the_follower() -> None:
    nobody = NodeConfig((), (), Rules())
    first, second = (
        Core(nobody, Recovered("id", 2, 0), clock(), rehearsal=follows) for follows in (True, False)
    )
    wanted = (File("F.mpg", 1, 100),)
    store, client = MemoryStore(), cast("WorkerClient", None)
    san = SanIndex([], clock=clock, on_change=lambda _names: None)
    controller = Controller(first, store, client, san)
    running = asyncio.create_task(controller.run())
    await asyncio.sleep(0)
    first.plans.take(replace(NOTHING_LISTED, snapshot_id="pair", wanted=wanted))
    try:
        await controller.take_over(second, store, client)
        assert controller.core is second
        assert second.backlog().wanted == wanted
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


class HearsOfHits:
    """A core that waits for a file that rises."""

    looks_first = False

    def __init__(self) -> None:
        self.told = asyncio.get_running_loop().create_future()

    def handle(self, event: ev.Event, _now: Now) -> Step:
        if isinstance(event, ev.HitsChanged) and event.rising_files and not self.told.done():
            self.told.set_result(event.rising_files)
        return Step()

    def next_wakeup_ms(self, now: Now) -> int:
        return now.mono_ms + 3_600_000


class SlowMetadata:
    """It answers once, when it is let, and hangs from then on."""

    facts = SnapshotFacts("1", 0, 0, 0)

    def __init__(self) -> None:
        self.let = threading.Semaphore(0)

    def files(self, names: Iterable[str]) -> dict[str, File]:
        assert self.let.acquire(timeout=30)
        return {name: File(name, 1, 100) for name in names}


async def test_a_look_up_of_rising_files_is_not_given_up_for_newer_hits() -> None:
    core, metadata = HearsOfHits(), SlowMetadata()
    controller = Controller(
        cast("Core", core), cast("TaskStore", None), cast("WorkerClient", None), cast("SanIndex", None)
    )
    running = asyncio.create_task(controller.run())
    try:
        await asyncio.sleep(0)
        controller.on_snapshot(cast("Snapshot", metadata))
        for hits in (5, 6, 7):
            controller.on_hits(Hits({"F.mpg": hits}))
            await asyncio.sleep(0)
        metadata.let.release()
        assert await asyncio.wait_for(core.told, 5) == (File("F.mpg", 1, 100),)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        metadata.let.release(10)
