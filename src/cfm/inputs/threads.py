"""Threads for calls that may never return: a dead mount must hold up nothing but itself.

A call on a hung NFS mount cannot be interrupted.  So each place that may hang gets its own small pool;
a call that does not answer in time is given up, its thread stays behind until the kernel lets it go, and
when all threads of a pool are stuck like this, further calls fail at once instead of queueing up.  The
threads are daemons (those of `concurrent.futures` are joined at exit), so a hung mount does not keep the
process from ending.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")


class Pulse:
    """A long job's sign of life: `beat` whenever the disk gave an answer."""

    def __init__(self) -> None:
        self.beats = 0

    def beat(self) -> None:
        self.beats += 1


class DaemonThreads:
    """At most `size` daemon threads, started with the first calls, used from one event loop."""

    def __init__(self, name: str, size: int) -> None:
        self._name = name
        self._size = size
        self._jobs: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = queue.SimpleQueue()
        self._threads = 0
        self._given_up: set[Future[Any]] = set()

    @property
    def stuck(self) -> int:
        """Threads that are held by calls nobody waits for any more."""
        self._given_up = {future for future in self._given_up if not future.done()}
        return len(self._given_up)

    async def call(self, timeout_s: float | None, function: Callable[[], T]) -> T:
        """The function's answer or error; `TimeoutError` where it does not come in time (None: ever)."""
        job = self._submit(function)
        try:
            async with asyncio.timeout(timeout_s):
                return await asyncio.wrap_future(job)
        finally:
            self._leave(job)

    async def call_while_alive(self, patience_s: float, function: Callable[[Pulse], T]) -> T:
        """As `call`, for jobs of any length: given up when there is no sign of life for `patience_s`."""
        pulse = Pulse()
        job = self._submit(lambda: function(pulse))
        answer = asyncio.wrap_future(job)
        try:
            while True:
                beats = pulse.beats
                done, _ = await asyncio.wait((answer,), timeout=patience_s)
                if done:
                    return answer.result()
                if beats == pulse.beats:
                    raise TimeoutError(f"no sign of life for {patience_s} s")
        finally:
            answer.cancel()
            self._leave(job)

    def close(self) -> None:
        """Idle threads end; stuck ones end when the kernel lets them go."""
        for _ in range(self._threads):
            self._jobs.put(None)
        self._threads = 0

    def _submit(self, function: Callable[[], T]) -> Future[T]:
        if self.stuck >= self._size:
            raise TimeoutError("earlier calls are still without an answer")
        job: Future[T] = Future()
        if self._threads < self._size:
            self._threads += 1
            threading.Thread(target=self._work, name=self._name, daemon=True).start()
        self._jobs.put((job, function))
        return job

    def _leave(self, job: Future[Any]) -> None:
        if not job.done() and not job.cancel():
            self._given_up.add(job)

    def _work(self) -> None:
        while (work := self._jobs.get()) is not None:
            job, function = work
            if job.set_running_or_notify_cancel():
                _run(job, function)
            del work, job, function


def _run(job: Future[Any], function: Callable[[], Any]) -> None:
    try:
        answer = function()
    except BaseException as error:  # noqa: BLE001 - handed on: it is raised where the answer is awaited
        job.set_exception(error)
    else:
        job.set_result(answer)
