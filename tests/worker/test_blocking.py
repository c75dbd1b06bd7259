"""Calls that hang cost their thread and nothing else."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator

import pytest

from cfm.worker.act.blocking import HungError, Pool


class Hung:
    """A disk that hangs until it is told to go on."""

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.calls = 0

    def call(self) -> str:
        self.calls += 1
        self.go_on.wait(10)
        return "late"


@pytest.fixture
async def hung() -> AsyncIterator[Hung]:
    disk = Hung()
    yield disk
    disk.go_on.set()


async def test_gives_what_the_call_gives() -> None:
    pool = Pool("disk", 1)
    assert await pool.run(5, lambda: 42) == 42
    with pytest.raises(ZeroDivisionError):
        await pool.run(5, lambda: 1 // 0)
    pool.close()


async def test_a_timeout_of_the_calls_own_is_its_own() -> None:
    def timed_out() -> None:
        raise TimeoutError("the SAN said so")

    with pytest.raises(TimeoutError, match="said so"):
        await Pool("disk", 1).run(5, timed_out)


async def test_a_hung_call_is_given_up(hung: Hung) -> None:
    with pytest.raises(HungError, match=r"disk did not answer within 0\.01 s"):
        await Pool("disk", 1).run(0.01, hung.call)


async def test_other_threads_go_on(hung: Hung) -> None:
    pool = Pool("disk", 2)
    waiting = asyncio.create_task(pool.run(10, hung.call))
    await asyncio.sleep(0)
    assert await pool.run(5, lambda: 1) == 1
    hung.go_on.set()
    assert await waiting == "late"


async def test_what_had_not_begun_in_time_never_does(hung: Hung) -> None:
    pool = Pool("disk", 1)
    first = asyncio.create_task(pool.run(10, hung.call))
    await asyncio.sleep(0)
    deleted: list[str] = []
    with pytest.raises(HungError):
        await pool.run(0.01, lambda: deleted.append("a.mpg"))
    hung.go_on.set()
    await first
    await pool.run(5, lambda: None)
    assert deleted == []


async def test_when_all_hang_the_next_is_told_at_once(hung: Hung) -> None:
    pool = Pool("disk", 2, waiting_each=1)
    waiting = [asyncio.create_task(pool.run(10, hung.call)) for _ in range(4)]
    await asyncio.sleep(0)
    with pytest.raises(HungError, match="4 calls are waiting"):
        await pool.run(10, lambda: None)
    hung.go_on.set()
    await asyncio.gather(*waiting)
    assert await pool.run(5, lambda: 1) == 1


async def test_what_a_late_call_brings_is_disposed_of(hung: Hung) -> None:
    disposed: asyncio.Queue[str] = asyncio.Queue()
    with pytest.raises(HungError):
        await Pool("disk", 1).run(0.01, hung.call, disposed.put_nowait)
    hung.go_on.set()
    async with asyncio.timeout(5):
        assert await disposed.get() == "late"


async def test_the_threads_are_bounded(hung: Hung) -> None:
    pool = Pool("bounded", 2)
    waiting = [asyncio.create_task(pool.run(10, hung.call)) for _ in range(10)]
    await asyncio.sleep(0)
    assert sum(thread.name.startswith("bounded-") for thread in threading.enumerate()) == 2
    hung.go_on.set()
    await asyncio.gather(*waiting)
