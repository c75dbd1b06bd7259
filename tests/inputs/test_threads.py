"""Calls that never return hold up nothing but themselves."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from cfm.inputs.threads import DaemonThreads, Pulse


async def test_answers_and_errors_come_back() -> None:
    threads = DaemonThreads("test", 2)
    assert await threads.call(5, lambda: 1) == 1
    with pytest.raises(ZeroDivisionError):
        await threads.call(5, lambda: 1 // 0)
    threads.close()


async def test_stuck_threads_are_bounded_and_come_back() -> None:
    threads, released = DaemonThreads("test", 2), threading.Event()
    for _ in range(2):
        with pytest.raises(TimeoutError):
            await threads.call(0.02, released.wait)
    assert threads.stuck == 2
    with pytest.raises(TimeoutError, match="earlier calls"):
        await threads.call(60, lambda: 1)
    released.set()
    while threads.stuck:
        pass
    assert await threads.call(5, lambda: 1) == 1
    threads.close()


async def test_a_long_job_goes_on_as_long_as_it_shows_life() -> None:
    threads, released = DaemonThreads("test", 1), threading.Event()

    def job(pulse: Pulse) -> int:
        for _ in range(20):
            released.wait(0.01)
            pulse.beat()
        return pulse.beats

    assert await threads.call_while_alive(0.1, job) == 20
    with pytest.raises(TimeoutError, match="no sign of life"):
        await threads.call_while_alive(0.02, lambda _pulse: released.wait())
    released.set()
    threads.close()


def test_a_hung_call_does_not_keep_the_process_from_ending() -> None:
    program = """if True:
        import asyncio, threading
        from cfm.inputs.threads import DaemonThreads
        async def main():
            try:
                await DaemonThreads("hung", 1).call(0.05, threading.Event().wait)
            except TimeoutError:
                print("given up")
        asyncio.run(main())
    """
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=15, check=True
    )
    assert done.stdout == "given up\n"
