"""Threads for calls that may hang, such as those on a dead mount.

Nothing can interrupt a call that hangs in the kernel.  So each thing that may hang (a disk, a source folder)
has a `ThreadPool` of its own, and a hanging one stops nothing else.  The number of threads is bounded, and
every call has a time limit.  When a call takes too long, the caller gets a `HungError`; the thread stays
behind until the kernel lets it go.  When all threads of a pool hang, further calls fail at once.

A call may open something that has to be closed again.  Its `dispose` function gets the result when nobody
takes it any more: the call came back too late, or its caller was cancelled.  Disposing may block as well, so
it also happens in a thread of the pool.

The threads are daemons, so that a dead mount does not keep the program from ending.  (The standard library's
executors wait for their threads.)  Neighbours: `inputs` and `worker` make their calls to disks here.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeVar

R = TypeVar("R")

_SKIPPED: Final = object()


class HungError(OSError):
    """The call did not return in time, or the pool has no thread left.  Nobody knows what the call did.

    It is not a `TimeoutError`, so that it is never taken for a time-out of the work itself or of the caller.
    """


class LifeSign:
    """How a long call shows that it goes on: it calls `beat` whenever the disk has answered."""

    def __init__(self) -> None:
        self.beats = 0

    def beat(self) -> None:
        self.beats += 1


@dataclass(slots=True, eq=False)
class _Call:
    """One call: `begun` is written by its thread, everything else by the event loop."""

    work: Callable[[], Any]
    dispose: Callable[[Any], None] | None
    loop: asyncio.AbstractEventLoop
    answer: asyncio.Future[Any]
    timer: asyncio.TimerHandle | None = None
    begun: bool = False
    given_up: bool = False
    overdue: bool = False
    """It was still running when its time was over."""


class ThreadPool:
    """At most `threads` calls at a time, and at most `waiting_each` more that wait for each thread."""

    def __init__(self, name: str, threads: int, *, waiting_each: int = 8) -> None:
        """`name` says what may hang; it begins the text of a `HungError`."""
        self._name = name
        self._threads = threads
        self._most = threads * (1 + waiting_each)
        self._started = 0
        self._under_way = 0
        self._overdue = 0
        self._closed = False
        self._calls: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()

    @property
    def hung(self) -> int:
        """How many threads are held by calls whose time is over."""
        return self._overdue

    async def run(
        self,
        timeout_s: float | None,
        work: Callable[[], R],
        dispose: Callable[[R], None] | None = None,
    ) -> R:
        """What `work()` returns or raises, from a thread; without a time limit where `timeout_s` is None.

        A call that has not begun when its time is over never begins.

        Raises:
            HungError: the call took longer than `timeout_s`, or the pool has no thread left.
        """
        call = self._accept(work, dispose)
        if timeout_s is not None:
            why = f"{self._name} did not answer within {timeout_s:g} s"
            call.timer = call.loop.call_later(timeout_s, self._expire, call, why)
        result: R = await self._answer(call)
        return result

    async def run_while_alive(self, patience_s: float, work: Callable[[LifeSign], R]) -> R:
        """As `run`, for calls of any length: `HungError` when one gives no sign of life for `patience_s`."""
        sign = LifeSign()
        call = self._accept(partial(work, sign), None)
        self._watch(call, sign, -1, patience_s)
        result: R = await self._answer(call)
        return result

    def finish(self, work: Callable[[], object]) -> None:
        """Do this as soon as a thread is free, however long that takes; nobody waits for it.

        It is for what must not be left undone, such as closing a file: it is never refused and never given
        up.  An error of it is nobody's trouble.
        """
        loop = asyncio.get_running_loop()
        call = _Call(work, None, loop, loop.create_future())
        call.answer.add_done_callback(_has_result)  # looks at its error
        self._submit(call)

    def close(self) -> None:
        """Let the idle threads end.  Those that hang end when the kernel lets them go."""
        self._closed = True
        for _ in range(self._started):
            self._calls.put(None)
        self._started = 0

    def _accept(self, work: Callable[[], Any], dispose: Callable[[Any], None] | None) -> _Call:
        if self._overdue >= self._threads:
            raise HungError(f"{self._name} does not answer: earlier calls still hang")
        if self._under_way >= self._most:
            raise HungError(f"{self._name} does not answer: {self._under_way} calls are waiting for it")
        loop = asyncio.get_running_loop()
        call = _Call(work, dispose, loop, loop.create_future())
        self._closed = False  # whoever closed the pool has begun anew
        self._submit(call)
        return call

    def _submit(self, call: _Call) -> None:
        self._under_way += 1
        self._calls.put(call)
        # One thread more than there are calls: the next call then finds a thread that waits for it already.
        # On a busy machine, a stream that reads ahead with a single thread sends half as fast.
        if self._started < min(self._threads, 1 + self._under_way):
            self._started += 1
            threading.Thread(target=self._serve, name=f"{self._name}-{self._started}", daemon=True).start()
        if self._closed:
            self._calls.put(None)

    async def _answer(self, call: _Call) -> Any:
        try:
            return await call.answer
        except asyncio.CancelledError:
            call.given_up = True
            if _has_result(call.answer):  # it came, and the caller was cancelled before it could take it
                self._dispose(call, call.answer.result())
            raise

    def _watch(self, call: _Call, sign: LifeSign, beats_before: int, patience_s: float) -> None:
        if sign.beats == beats_before:
            self._expire(call, f"{self._name} gave no sign of life for {patience_s:g} s")
        else:
            call.timer = call.loop.call_later(patience_s, self._watch, call, sign, sign.beats, patience_s)

    def _expire(self, call: _Call, why: str) -> None:
        call.given_up = True
        if call.begun:
            call.overdue = True
            self._overdue += 1
        if not call.answer.done():
            call.answer.set_exception(HungError(why))

    def _came_back(self, call: _Call, result: object, error: BaseException | None) -> None:
        self._under_way -= 1
        self._overdue -= call.overdue
        if call.timer is not None:
            call.timer.cancel()
        if call.answer.done():
            if error is None and result is not _SKIPPED:
                self._dispose(call, result)
        elif error is not None:
            call.answer.set_exception(error)
        else:
            call.answer.set_result(result)

    def _dispose(self, call: _Call, result: object) -> None:
        if call.dispose is not None:
            self.finish(partial(call.dispose, result))

    # ── in the threads ──────────────────────────────────────────────────────────────────────────────────

    def _serve(self) -> None:
        while self._serve_one():
            pass

    def _serve_one(self) -> bool:
        """Wait for a call and make it.  Nothing here keeps hold of a result while the next call is
        awaited."""
        call = self._calls.get()
        if call is None:
            return False
        result, error = _result_of(call)
        try:
            call.loop.call_soon_threadsafe(self._came_back, call, result, error)
        except RuntimeError:  # the loop is closed: nobody takes the result
            if call.dispose is not None and error is None and result is not _SKIPPED:
                with suppress(Exception):
                    call.dispose(result)
        return True


def _result_of(call: _Call) -> tuple[object, BaseException | None]:
    call.begun = True  # before `given_up` is read: one of both sides sees the other
    if call.given_up:
        return _SKIPPED, None
    try:
        return call.work(), None
    except BaseException as error:  # noqa: BLE001 - handed on: it is raised where the answer is awaited
        return None, error


def _has_result(answer: asyncio.Future[Any]) -> bool:
    return answer.done() and not answer.cancelled() and answer.exception() is None
