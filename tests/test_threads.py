"""Calls that hang cost their thread and nothing else."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import AsyncIterator

import pytest

from cfm.threads import HungError, LifeSign, ThreadPool


class Hung:
    """A disk that hangs until it is told to go on."""

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.entered = threading.Semaphore(0)

    def call(self) -> str:
        self.entered.release()
        self.go_on.wait(10)
        return "late"

    async def wait_entered(self, calls: int = 1) -> None:
        """Until so many calls are in their threads."""
        for _ in range(calls):
            await asyncio.to_thread(self.entered.acquire)


@pytest.fixture
async def hung() -> AsyncIterator[Hung]:
    disk = Hung()
    yield disk
    disk.go_on.set()


async def until_hung(pool: ThreadPool, threads: int) -> None:
    """Until so many threads of the pool hang."""
    async with asyncio.timeout(5):
        while pool.hung != threads:
            await asyncio.to_thread(lambda: None)


async def test_gives_what_the_call_gives() -> None:
    pool = ThreadPool("disk", 1)
    assert await pool.run(5, lambda: 42) == 42
    assert await pool.run(None, lambda: 43) == 43
    with pytest.raises(ZeroDivisionError):
        await pool.run(5, lambda: 1 // 0)
    pool.close()


async def test_a_timeout_of_the_calls_own_is_its_own() -> None:
    def timed_out() -> None:
        raise TimeoutError("the SAN said so")

    with pytest.raises(TimeoutError, match="said so"):
        await ThreadPool("disk", 1).run(5, timed_out)


async def test_a_hung_call_is_given_up(hung: Hung) -> None:
    with pytest.raises(HungError, match=r"disk did not answer within 0\.01 s"):
        await ThreadPool("disk", 1).run(0.01, hung.call)


async def test_the_end_of_a_callers_patience_is_no_hung_disk(hung: Hung) -> None:
    with pytest.raises(TimeoutError) as raised:
        async with asyncio.timeout(0.01):
            await ThreadPool("disk", 1).run(5, hung.call)
    assert not isinstance(raised.value, HungError)


async def test_other_threads_go_on(hung: Hung) -> None:
    pool = ThreadPool("disk", 2)
    waiting = asyncio.create_task(pool.run(10, hung.call))
    await hung.wait_entered()
    assert await pool.run(5, lambda: 1) == 1
    hung.go_on.set()
    assert await waiting == "late"


async def test_what_had_not_begun_in_time_never_does(hung: Hung) -> None:
    pool = ThreadPool("disk", 1)
    first = asyncio.create_task(pool.run(10, hung.call))
    await hung.wait_entered()
    deleted: list[str] = []
    with pytest.raises(HungError):
        await pool.run(0.01, lambda: deleted.append("a.mpg"))
    hung.go_on.set()
    await first
    await pool.run(5, lambda: None)
    assert deleted == []


async def test_a_call_whose_caller_is_cancelled_before_it_begins_never_does(hung: Hung) -> None:
    pool = ThreadPool("disk", 1)
    first = asyncio.create_task(pool.run(10, hung.call))
    await hung.wait_entered()
    deleted: list[str] = []
    second = asyncio.create_task(pool.run(10, lambda: deleted.append("a.mpg")))
    await asyncio.sleep(0)
    second.cancel()
    await asyncio.wait((second,))
    hung.go_on.set()
    await first
    await pool.run(5, lambda: None)
    assert deleted == []


async def test_when_all_threads_hang_the_next_is_told_at_once(hung: Hung) -> None:
    pool = ThreadPool("disk", 2)
    for _ in range(2):
        waiting = asyncio.create_task(pool.run(0.2, hung.call))
        await hung.wait_entered()
        with pytest.raises(HungError):
            await waiting
    assert pool.hung == 2
    with pytest.raises(HungError, match="earlier calls still hang"):
        await pool.run(None, lambda: 1)
    hung.go_on.set()
    await until_hung(pool, 0)
    assert await pool.run(5, lambda: 1) == 1


async def test_a_cancelled_call_counts_as_hung_only_when_its_time_is_over(hung: Hung) -> None:
    pool = ThreadPool("disk", 1)
    call = asyncio.create_task(pool.run(0.2, hung.call))
    await hung.wait_entered()
    call.cancel()
    await asyncio.wait((call,))
    assert pool.hung == 0  # a client that goes away says nothing about the disk
    await until_hung(pool, 1)


async def test_the_calls_that_wait_are_bounded(hung: Hung) -> None:
    pool = ThreadPool("disk", 2, waiting_each=1)
    waiting = [asyncio.create_task(pool.run(10, hung.call)) for _ in range(4)]
    await asyncio.sleep(0)
    with pytest.raises(HungError, match="4 calls are waiting"):
        await pool.run(10, lambda: None)
    hung.go_on.set()
    await asyncio.gather(*waiting)
    assert await pool.run(5, lambda: 1) == 1


async def test_the_threads_are_bounded(hung: Hung) -> None:
    pool = ThreadPool("bounded", 2)
    waiting = [asyncio.create_task(pool.run(10, hung.call)) for _ in range(10)]
    await asyncio.sleep(0)
    assert sum(thread.name.startswith("bounded-") for thread in threading.enumerate()) == 2
    hung.go_on.set()
    await asyncio.gather(*waiting)


async def test_the_next_call_finds_a_thread_that_waits_already() -> None:
    """Calls one after another, as of a stream that reads ahead, need not share a single thread."""
    pool = ThreadPool("ahead", 4)
    for _ in range(4):
        await pool.run(5, lambda: None)
    assert sum(thread.name.startswith("ahead-") for thread in threading.enumerate()) == 2
    pool.close()


class Disposed:
    """Where a result went that nobody took, and in which thread."""

    def __init__(self) -> None:
        self.results: asyncio.Queue[tuple[str, bool]] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()

    def __call__(self, result: str) -> None:
        here = threading.current_thread() is threading.main_thread()
        self._loop.call_soon_threadsafe(self.results.put_nowait, (result, here))

    async def one(self) -> tuple[str, bool]:
        async with asyncio.timeout(5):
            return await self.results.get()


async def test_a_late_result_is_disposed_of_in_a_thread(hung: Hung) -> None:
    disposed = Disposed()
    call = asyncio.create_task(ThreadPool("disk", 1).run(0.2, hung.call, disposed))
    await hung.wait_entered()
    with pytest.raises(HungError):
        await call
    hung.go_on.set()
    assert await disposed.one() == ("late", False)


async def test_a_result_that_comes_after_its_caller_was_cancelled_is_disposed_of(hung: Hung) -> None:
    disposed = Disposed()
    call = asyncio.create_task(ThreadPool("disk", 1).run(10, hung.call, disposed))
    await hung.wait_entered()
    call.cancel()
    await asyncio.wait((call,))
    hung.go_on.set()
    assert await disposed.one() == ("late", False)


async def test_a_result_is_not_lost_when_its_caller_is_cancelled_in_the_same_moment() -> None:
    disposed, pool, next_begun = Disposed(), ThreadPool("disk", 1), threading.Event()
    call = asyncio.create_task(pool.run(10, lambda: "open file", disposed))
    following = asyncio.create_task(pool.run(10, next_begun.set))
    await asyncio.sleep(0)
    next_begun.wait(5)  # the loop stands still meanwhile: the first result waits to be handed over
    asyncio.get_running_loop().call_soon(call.cancel)  # after that, and before the caller goes on
    await asyncio.wait((call,))
    assert call.cancelled()
    assert await disposed.one() == ("open file", False)
    await following


async def test_a_disposal_that_fails_is_nobodys_trouble(hung: Hung) -> None:
    pool = ThreadPool("disk", 1)

    def broken(_result: str) -> None:
        raise OSError("the disk is gone")

    call = asyncio.create_task(pool.run(0.2, hung.call, broken))
    await hung.wait_entered()
    with pytest.raises(HungError):
        await call
    hung.go_on.set()
    await until_hung(pool, 0)
    assert await pool.run(5, lambda: 1) == 1
    assert await pool.run(5, lambda: 2) == 2


async def test_a_late_result_is_disposed_of_after_the_pool_was_closed(hung: Hung) -> None:
    disposed, pool = Disposed(), ThreadPool("disk", 1)
    call = asyncio.create_task(pool.run(10, hung.call, disposed))
    await hung.wait_entered()
    call.cancel()
    await asyncio.wait((call,))
    pool.close()
    hung.go_on.set()
    assert await disposed.one() == ("late", False)


async def test_a_long_call_goes_on_as_long_as_it_shows_life(hung: Hung) -> None:
    pool = ThreadPool("disk", 1)

    def job(sign: LifeSign) -> int:
        for _ in range(20):
            hung.go_on.wait(0.01)
            sign.beat()
        return sign.beats

    assert await pool.run_while_alive(0.1, job) == 20
    with pytest.raises(HungError, match=r"disk gave no sign of life for 0\.02 s"):
        await pool.run_while_alive(0.02, lambda _sign: hung.call())


def test_a_hung_call_does_not_keep_the_process_from_ending() -> None:
    program = """if True:
        import asyncio, threading
        from cfm.threads import HungError, ThreadPool
        async def main():
            try:
                await ThreadPool("hung", 1).run(0.05, threading.Event().wait)
            except HungError:
                print("given up")
        asyncio.run(main())
    """
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=15, check=True
    )
    assert done.stdout == "given up\n"


async def test_what_must_be_finished_is_done_after_the_disk_came_back(hung: Hung) -> None:
    """A file that was opened before the disk hung is closed, however long that takes."""
    pool, finished = ThreadPool("disk", 1, waiting_each=0), Disposed()
    with pytest.raises(HungError):
        await pool.run(0.01, hung.call)
    for number in range(20):
        pool.finish(lambda number=number: finished(str(number)))  # type: ignore[misc]  # mypy: the default
    with pytest.raises(HungError):
        await pool.run(5, lambda: None)
    pool.close()
    hung.go_on.set()
    assert [(await finished.one())[0] for _ in range(20)] == [str(number) for number in range(20)]


async def test_a_pool_that_was_closed_may_be_used_again() -> None:
    """A job that failed closed its threads, and is started again."""
    pool = ThreadPool("again", 2)
    assert await pool.run(5, lambda: 1) == 1
    pool.close()
    for _ in range(3):
        assert await pool.run(5, lambda: 2) == 2
    assert sum(thread.name.startswith("again-") for thread in threading.enumerate()) <= 3
    pool.close()
