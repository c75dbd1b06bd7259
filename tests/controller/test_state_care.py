"""The care of our own state: no trouble with it ends cfm, unless the state is not ours any more."""

from __future__ import annotations

import asyncio

import pytest

from cfm.controller.act.state_care import LARGE_LOG_BYTES, Kept, forget_old, watch_log
from cfm.tasks.queue import Writer
from cfm.tasks.store import SupersededError
from cfm.threads import ThreadPool
from cfm_lab.fakes.memory_store import MemoryStore


class WatchedStore(MemoryStore):
    """It says when it was asked to prune."""

    def __init__(self) -> None:
        super().__init__()
        self.pruned = asyncio.Event()
        self.loop = asyncio.get_running_loop()
        self.grown_bytes = 0

    def prune(self, before_wall_s: int, events_bytes: int) -> None:
        try:
            super().prune(before_wall_s, events_bytes)
        finally:
            self.loop.call_soon_threadsafe(self.pruned.set)

    def log_bytes(self) -> int:
        return self.grown_bytes


@pytest.fixture
async def store() -> WatchedStore:
    store = WatchedStore()
    store.open()
    return store


def writer_of(store: MemoryStore) -> Writer:
    return Writer(store, on_trouble=lambda _why: None, on_recovered=lambda: None)


async def test_a_full_disk_does_not_end_the_pruning(store: WatchedStore) -> None:
    store.trouble = "no space left"
    writer = writer_of(store)
    pruning = asyncio.create_task(
        forget_old(store, ThreadPool("the state", 1), writer, lambda: 0, Kept(1, 1))
    )
    await asyncio.wait_for(store.pruned.wait(), 10)
    done, _ = await asyncio.wait((pruning,), timeout=0.05)
    assert not done
    writer.submit((), lambda: None)  # it would raise what had ended it
    pruning.cancel()


async def test_a_state_that_another_cfm_has_taken_over_ends_this_one(store: WatchedStore) -> None:
    writer = writer_of(store)
    store.state.epoch += 1
    pruning = asyncio.create_task(
        forget_old(store, ThreadPool("the state", 1), writer, lambda: 0, Kept(1, 1))
    )
    with pytest.raises(SupersededError):
        await asyncio.wait_for(writer.supervise(), 10)
    pruning.cancel()


async def test_a_log_of_the_state_that_grows_is_told(store: WatchedStore) -> None:
    told: asyncio.Queue[str] = asyncio.Queue()
    for size_bytes, words in ((LARGE_LOG_BYTES - 1, ""), (LARGE_LOG_BYTES, "256 MB")):
        store.grown_bytes = size_bytes
        watching = asyncio.create_task(watch_log(store, ThreadPool("the state", 1), told.put_nowait))
        assert await asyncio.wait_for(told.get(), 10) == words
        watching.cancel()
