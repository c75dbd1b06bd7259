"""The one writer: durable first, then told; in order; and nothing told while nothing can be written."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cfm.errors import StateError
from cfm.model import Addr
from cfm.tasks import queue
from cfm.tasks.commits import MAX_WAITING, OverloadedError
from cfm.tasks.queue import Writer
from cfm.tasks.store import Change, PutArrival
from cfm_lab.fakes.memory_store import MemoryStore

SERVER = Addr("127.0.2.1:1")


def change(number: int) -> Change:
    return PutArrival(f"{number}.mpg", SERVER, number)


class Night:
    """Sleeps that last until somebody says it is morning."""

    def __init__(self) -> None:
        self.begun = asyncio.Semaphore(0)
        self._morning = asyncio.Semaphore(0)
        self.asked_s: list[float] = []

    async def sleep(self, for_s: float) -> None:
        self.asked_s.append(for_s)
        self.begun.release()
        await self._morning.acquire()

    def end(self) -> None:
        self._morning.release()


class SlowStore(MemoryStore):
    """Commits wait at a gate, so that a test can see what happens meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Semaphore(0)
        self.groups: list[int] = []

    def commit(self, changes: Sequence[Change]) -> None:
        self.gate.acquire()
        super().commit(changes)
        self.groups.append(len(changes))


class Desk:
    """A writer with its store, and everything that it said."""

    def __init__(self, store: MemoryStore, **options: float) -> None:
        self.store = store
        self.store.open()
        self.night = Night()
        self.said: list[str] = []
        self.troubled = asyncio.Event()
        self.released: list[int] = []
        self.writer = Writer(
            store,
            on_trouble=self._trouble,
            on_recovered=lambda: self.said.append("recovered"),
            sleep=self.night.sleep,
            **options,
        )

    def _trouble(self, why: str) -> None:
        self.said.append(f"trouble: {why}")
        self.troubled.set()

    def submit(self, number: int, changes: int = 1) -> None:
        self.writer.submit([change(number)] * changes, lambda: self.released.append(number))

    def durable(self, number: int) -> bool:
        return (f"{number}.mpg", SERVER) in self.store.state.arrivals


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    desk = Desk(MemoryStore())
    yield desk
    await desk.writer.close()


@pytest.fixture
async def slow() -> AsyncIterator[tuple[Desk, SlowStore]]:
    store = SlowStore()
    desk = Desk(store)
    yield desk, store
    store.gate.release(1000)
    await desk.writer.close()


async def test_a_release_finds_its_changes_durable(desk: Desk) -> None:
    seen: list[bool] = []
    desk.writer.submit([change(1)], lambda: seen.append(desk.durable(1)))
    assert not seen
    await desk.writer.drain()
    assert seen == [True]


async def test_nothing_to_write_and_nothing_ahead_is_released_at_once(desk: Desk) -> None:
    desk.submit(1, changes=0)
    assert desk.released == [1]
    assert desk.store.commits == 0


async def test_nothing_to_write_waits_behind_what_is_ahead(slow: tuple[Desk, SlowStore]) -> None:
    desk, store = slow
    desk.submit(1)
    desk.submit(2, changes=0)
    assert desk.released == []
    store.gate.release()
    await desk.writer.drain()
    assert desk.released == [1, 2]


async def test_what_comes_during_a_commit_is_the_next_group(slow: tuple[Desk, SlowStore]) -> None:
    desk, store = slow
    desk.submit(0)
    await asyncio.sleep(0)  # The first group is on its way.
    for number in range(1, 10):
        desk.submit(number)
    store.gate.release(2)
    await desk.writer.drain()
    assert store.groups == [1, 9]
    assert desk.released == list(range(10))


async def test_a_release_may_submit_and_stands_behind_its_group(desk: Desk) -> None:
    def first() -> None:
        desk.released.append(1)
        desk.submit(3, changes=0)
        desk.submit(4)

    desk.writer.submit([change(1)], first)
    desk.submit(2)
    await desk.writer.drain()
    assert desk.released == [1, 2, 3, 4]
    assert desk.durable(4)


async def test_while_the_disk_is_full_nothing_is_told_and_each_second_it_is_tried(desk: Desk) -> None:
    desk.store.trouble = "no space left"
    desk.submit(1)
    desk.submit(2, changes=0)
    for _ in range(3):
        await desk.night.begun.acquire()
        assert desk.released == []
        assert desk.writer.trouble is not None
        desk.night.end()
    await desk.night.begun.acquire()
    desk.store.trouble = None
    desk.submit(3)
    desk.night.end()
    await desk.writer.drain()
    assert desk.released == [1, 2, 3]
    assert desk.said == ["trouble: cannot write the state: no space left", "recovered"]
    assert desk.night.asked_s == [queue.RETRY_S] * 4
    assert desk.writer.trouble is None


async def test_closing_writes_what_waits_and_takes_no_more(desk: Desk) -> None:
    desk.submit(1)
    await desk.writer.close()
    assert desk.released == [1]
    with pytest.raises(StateError, match="closed"):
        desk.submit(2)
    await desk.writer.supervise()  # Ended, and well.


async def test_closing_on_a_full_disk_gives_up_and_tells_nobody(desk: Desk) -> None:
    desk.store.trouble = "no space left"
    desk.submit(1)
    await desk.night.begun.acquire()
    await desk.writer.close()
    assert desk.released == []
    assert desk.writer.waiting == 1


async def test_a_state_that_is_lost_ends_the_writer(desk: Desk) -> None:
    desk.store.crash()
    desk.submit(1)
    with pytest.raises(StateError, match="not open"):
        await desk.writer.supervise()
    with pytest.raises(StateError, match="not open"):
        await desk.writer.drain()
    with pytest.raises(StateError, match="not open"):
        desk.submit(2, changes=0)
    assert desk.released == []


async def test_a_release_that_fails_ends_the_writer_and_is_not_called_again(desk: Desk) -> None:
    calls: list[int] = []

    def broken() -> None:
        calls.append(1)
        raise ZeroDivisionError

    desk.writer.submit([change(1)], broken)
    with pytest.raises(ZeroDivisionError):
        await desk.writer.drain()
    with pytest.raises(ZeroDivisionError):
        desk.submit(2)
    assert calls == [1]


async def test_the_queue_is_bounded_and_says_so(slow: tuple[Desk, SlowStore]) -> None:
    desk, store = slow
    for _ in range(MAX_WAITING):
        desk.writer.submit([], lambda: None) if desk.writer.waiting else desk.submit(0)
    with pytest.raises(OverloadedError):
        desk.submit(1)
    store.gate.release(2)
    await desk.writer.drain()
    desk.submit(2)


steps = st.lists(
    st.one_of(
        st.integers(0, 3).map(lambda n: ("submit", n)),
        st.sampled_from([("fill", 0), ("free", 0), ("turn", 0)]),
    ),
    max_size=40,
)


@given(steps)
@settings(max_examples=60, deadline=None)
def test_whatever_happens_the_order_is_kept_and_nothing_is_told_too_early(
    steps: list[tuple[str, int]],
) -> None:
    asyncio.run(_play(steps))


async def test_a_disk_that_hangs_is_told_and_holds_up_nobody_who_reads() -> None:
    store = SlowStore()
    desk = Desk(store, hung_s=0.01)
    desk.submit(1)
    desk.writer.submit((), lambda: desk.released.append(99), patient=False)
    await asyncio.wait_for(desk.troubled.wait(), 10)
    assert desk.said == ["trouble: its disk has not answered for 0.01 s"]
    await asyncio.sleep(0)
    assert desk.released == [99]
    store.gate.release(2)
    await desk.writer.drain()
    assert desk.said[-1] == "recovered"
    assert desk.released == [99, 1]
    await desk.writer.close()


async def test_a_disk_that_hangs_does_not_hold_up_the_end() -> None:
    store = SlowStore()
    desk = Desk(store, closing_s=0.01)
    desk.submit(1)
    await asyncio.wait_for(desk.writer.close(), 5)
    assert desk.released == []
    store.gate.release()


async def _play(steps: list[tuple[str, int]]) -> None:
    desk = Desk(MemoryStore())
    too_early: list[int] = []
    submitted = 0

    def check(number: int, changes: int) -> None:
        desk.released.append(number)
        if changes and not desk.durable(number):
            too_early.append(number)

    for what, changes in steps:
        match what:
            case "submit":
                number = submitted = submitted + 1
                desk.writer.submit([change(number)] * changes, partial(check, number, changes))
            case "fill":
                desk.store.trouble = "no space left"
            case "free":
                desk.store.trouble = None
            case "turn":
                desk.night.end()
                await asyncio.sleep(0)
    desk.store.trouble = None
    desk.night.end()
    await desk.writer.drain()
    assert desk.released == list(range(1, submitted + 1))
    assert not too_early
    await desk.writer.close()
    with suppress(StateError):
        desk.submit(0)
