"""The one writer: what was decided is made durable first, and carried out only then.

The writer drives a `CommitQueue` with a store.  Whatever waits is committed as one group in a thread.  Then
what waited for it is released on the event loop, in the order in which it was submitted.  While the disk
under the state is full, nothing is released but readers: cfm goes on looking at the world, and touches
nothing.

Neighbours: `commits` keeps the order, `tasks.store` commits; the shell of the controller submits.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final

import structlog

from cfm.errors import StateError, StoreFullError
from cfm.tasks.commits import CommitQueue
from cfm.tasks.store import Change, TaskStore
from cfm.threads import ThreadPool

log = structlog.get_logger(__name__)

RETRY_S: Final = 1.0
"""How long after a failed commit the same group is tried again."""
HUNG_S: Final = 10.0
"""A commit that takes longer is told as trouble; it is waited for all the same."""
CLOSING_S: Final = 2.0
"""How long the end of the program waits for a commit."""


class Writer:
    """Commits what is submitted, in groups and in order.  It is used from one event loop.

    `on_trouble(why)` is called when commits begin to fail because there is no room, or when the disk does not
    answer, and `on_recovered()` when they succeed again.  Any other failure ends the writer: `supervise()`
    raises it, and so does every later call.
    """

    def __init__(
        self,
        store: TaskStore,
        on_trouble: Callable[[str], None],
        on_recovered: Callable[[], None],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        hung_s: float = HUNG_S,
        closing_s: float = CLOSING_S,
    ) -> None:
        self._store = store
        self.commit_s = 0.0
        """Time that commits took, those that failed too."""
        self._on_trouble = on_trouble
        self._on_recovered = on_recovered
        self._sleep = sleep
        self._hung_s, self._closing_s = hung_s, closing_s
        self._queue: CommitQueue[Callable[[], None]] = CommitQueue()
        self._pump: asyncio.Task[None] | None = None
        self._closing = asyncio.Event()
        self._ended = asyncio.Event()
        self._failure: BaseException | None = None
        # A thread of its own, which does not keep the program from ending when the disk hangs.
        self._thread = ThreadPool("the state", 1)

    @property
    def trouble(self) -> str | None:
        """Why nothing can be written now; None where all is well."""
        return self._queue.trouble

    @property
    def waiting(self) -> int:
        """How many submissions were not released yet."""
        return len(self._queue)

    def submit(self, changes: Sequence[Change], release: Callable[[], None], *, patient: bool = True) -> None:
        """Has `release` called on the event loop once `changes` and all that came before are durable.

        Without changes, and with nothing ahead, it is called before this returns.  A submission that is not
        `patient` is also released when nothing can be written.

        Raises:
            OverloadedError: too much waits already; nothing was taken.
            StateError: the writer is closed, or has failed for good.
        """
        self._require_running()
        if not self._queue.put(changes, release, patient=patient):
            release()
        elif self._pump is None:
            self._pump = asyncio.create_task(self._run(), name="state writer")
            self._pump.add_done_callback(_taken_note_of)

    async def drain(self) -> None:
        """Waits until everything submitted so far, and what its releases submitted, is released."""
        while self._pump is not None:
            await asyncio.wait({self._pump})
        self._raise_failure()

    async def supervise(self) -> None:
        """Runs as long as the writer does, and raises what broke it: a task for the daemon's group."""
        await self._ended.wait()
        self._raise_failure()

    def fail(self, error: BaseException) -> None:
        """End the writer, and the program by `supervise`: a change was decided that it cannot take."""
        self._failure = self._failure or error
        self._ended.set()

    async def close(self) -> None:
        """Writes what waits and ends.  It gives up what cannot be written; nobody was told of that."""
        self._closing.set()
        if self._pump is not None:
            # At its end, the pump writes at once what waits by then; nothing is put in any more.
            await asyncio.wait({self._pump}, timeout=self._closing_s)
        if self._pump is not None:
            self._pump.cancel()
        self._thread.close()
        self._ended.set()
        if self.waiting:
            log.error("gave up writing the state", submissions=self.waiting, why=self.trouble)

    def _require_running(self) -> None:
        self._raise_failure()
        if self._closing.is_set():
            raise StateError("the state is being closed")

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    async def _run(self) -> None:
        try:
            await self._write_all()
        except BaseException as error:
            self.fail(error)
            raise
        finally:
            self._pump = None  # Here, and not in a callback: the next `submit` must start a new one.

    async def _write_all(self) -> None:
        while (group := self._queue.next_group()) is not None:
            if not await self._written(group):
                return
            if self._queue.committed():
                self._on_recovered()
            for release in self._queue.released():
                release()

    async def _written(self, group: Sequence[Change]) -> bool:
        """Commits, as often as it takes.  False where the writer is closed before it succeeds."""
        while group:
            try:
                await self._commit(group)
            except StoreFullError as error:
                self._failed(str(error))
                if self._closing.is_set():
                    return False
                await self._pause()
            else:
                break
        return True

    async def _commit(self, group: Sequence[Change]) -> None:
        """Commit once.  A disk that does not answer is told, and waited for: nobody knows what it will do."""
        began_s = time.perf_counter()
        committing = asyncio.ensure_future(self._thread.run(None, partial(self._store.commit, group)))
        try:
            done, _ = await asyncio.wait({committing}, timeout=self._hung_s)
            if not done:
                self._failed(f"its disk has not answered for {self._hung_s:g} s")
            await committing
        finally:
            committing.cancel()
            self.commit_s += time.perf_counter() - began_s

    def _failed(self, why: str) -> None:
        impatient = self._queue.failed(why)
        if impatient is not None:
            self._on_trouble(why)
            for release in impatient:
                release()

    async def _pause(self) -> None:
        """Until the next attempt is due; closing makes it due at once."""
        due = {asyncio.ensure_future(self._sleep(RETRY_S)), asyncio.create_task(self._closing.wait())}
        try:
            await asyncio.wait(due, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for waiter in due:
                waiter.cancel()


def _taken_note_of(pump: asyncio.Task[None]) -> None:
    """The writer keeps its failure.  asyncio need not complain that nobody asked the task for it."""
    if not pump.cancelled():
        pump.exception()
