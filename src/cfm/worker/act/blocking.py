"""Calls that may block for ever, in a bounded number of threads, each waited for a bounded time.

A disk that hangs takes a thread with it, never the event loop: what waits too long is told so, and when all
threads hang, everything further is told at once.  The threads are daemons, so that a hung disk does not
hold up the end of the program either (the standard library's executors wait for theirs).
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


class HungError(OSError):
    """The call did not come back in time, or all threads hang; what it did is not known."""


@dataclass(slots=True)
class _Call:
    work: Callable[[], Any]
    dispose: Callable[[Any], None] | None
    loop: asyncio.AbstractEventLoop
    answer: asyncio.Future[Any]
    given_up: bool = False

    def run(self) -> None:
        if self.given_up:
            return
        try:
            result, error = self.work(), None
        except BaseException as trouble:  # noqa: BLE001 - whatever it is, it is raised where it is awaited
            result, error = None, trouble
        with suppress(RuntimeError):  # the loop was closed meanwhile: nobody is there to be told
            self.loop.call_soon_threadsafe(self._tell, result, error)

    def _tell(self, result: object, error: BaseException | None) -> None:
        if self.answer.done():
            if error is None and self.dispose is not None:
                self.dispose(result)
        elif error is not None:
            self.answer.set_exception(error)
        else:
            self.answer.set_result(result)


class Pool:
    """At most `threads` calls at a time, and as many again waiting for each of them."""

    def __init__(self, name: str, threads: int, *, waiting_each: int = 8) -> None:
        self._name = name
        self._threads = threads
        self._most = threads * (1 + waiting_each)
        self._started = 0
        self._under_way = 0
        self._calls: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()

    async def run(
        self,
        timeout_s: float,
        work: Callable[[], R],
        dispose: Callable[[R], None] | None = None,
    ) -> R:
        """`work()` in a thread.  `HungError` after `timeout_s`; a call that had not begun by then never
        will, and what a late one returns goes to `dispose` (an open file, say)."""
        if self._under_way >= self._most:
            raise HungError(f"{self._name} does not answer: {self._under_way} calls are waiting for it")
        loop = asyncio.get_running_loop()
        call = _Call(work, dispose, loop, loop.create_future())
        self._submit(call)
        try:
            async with asyncio.timeout(timeout_s):
                result: R = await call.answer
                return result
        except TimeoutError as error:
            if call.answer.done() and not call.answer.cancelled():
                raise  # the call's own TimeoutError
            raise HungError(f"{self._name} did not answer within {timeout_s:g} s") from error
        finally:
            call.given_up = True

    def close(self) -> None:
        """Let idle threads end; nothing is waited for."""
        for _ in range(self._started):
            self._calls.put(None)

    def _submit(self, call: _Call) -> None:
        self._under_way += 1
        self._calls.put(call)
        if self._started < min(self._threads, self._under_way):
            self._started += 1
            threading.Thread(target=self._serve, name=f"{self._name}-{self._started}", daemon=True).start()

    def _serve(self) -> None:
        while (call := self._calls.get()) is not None:
            call.run()
            with suppress(RuntimeError):
                call.loop.call_soon_threadsafe(self._came_back)

    def _came_back(self) -> None:
        self._under_way -= 1
