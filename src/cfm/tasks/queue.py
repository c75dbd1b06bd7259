"""The one writer: what was decided is made durable first, and told to others only then.

Everyone who changes state submits the changes together with a `release`: the answer, the order or the
dispatch that must not happen before the change is safe.  Whatever waits is committed as one group in a
thread; then the releases run on the event loop, in the order of submission.  While the disk under the state
is full, nothing is released: the daemon goes on looking at the world, and touches nothing.

Neighbours: the controller's loop submits; `tasks.store` commits.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import structlog

from cfm.errors import StateError, StoreFullError
from cfm.tasks.store import Change, TaskStore

log = structlog.get_logger(__name__)

MAX_WAITING: Final = 100_000
"""Submissions that may wait at one time; more are refused by `OverloadedError`."""

RETRY_S: Final = 1.0
"""How long after a failed commit the same group is tried again."""


class OverloadedError(StateError):
    """Too much waits to be written; the caller must let its change go, or come again later."""


@dataclass(frozen=True, slots=True)
class _Entry:
    changes: tuple[Change, ...]
    release: Callable[[], None]


class Writer:
    """Commits what is submitted, in groups and in order.  Used from one event loop.

    `on_trouble(why)` is called when commits begin to fail for want of room, `on_recovered()` when they
    succeed again.  Any other failure ends the writer: `supervise()` raises it, and so does every later call.
    """

    def __init__(
        self,
        store: TaskStore,
        on_trouble: Callable[[str], None],
        on_recovered: Callable[[], None],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._store = store
        self._on_trouble = on_trouble
        self._on_recovered = on_recovered
        self._sleep = sleep
        self._waiting: deque[_Entry] = deque()
        self._pump: asyncio.Task[None] | None = None
        self._closing = asyncio.Event()
        self._ended = asyncio.Event()
        self._failure: BaseException | None = None
        # A thread of its own: the loop's shared ones may all hang on a mount that does not answer.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="cfm-state")
        self.trouble: str | None = None
        """Why nothing can be written just now; None where all is well."""

    @property
    def waiting(self) -> int:
        """Submissions that were not released yet."""
        return len(self._waiting)

    def submit(self, changes: Sequence[Change], release: Callable[[], None]) -> None:
        """Has `release` called on the event loop once `changes` and all that came before are durable.

        Without changes, and with nothing ahead, that is before this returns.

        Raises:
            OverloadedError: `MAX_WAITING` submissions wait already; nothing was taken.
            StateError: the writer is closed, or has failed for good.
        """
        self._require_running()
        if not self._waiting and not changes:
            release()
            return
        if len(self._waiting) >= MAX_WAITING:
            raise OverloadedError(
                f"{MAX_WAITING} changes wait to be written: {self.trouble or 'disk too slow'}"
            )
        self._waiting.append(_Entry(tuple(changes), release))
        if self._pump is None:
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

    async def close(self) -> None:
        """Writes what waits and ends; gives up what cannot be written, of which nobody was told."""
        self._closing.set()
        while self._pump is not None:
            await asyncio.wait({self._pump})
        self._thread.shutdown()
        self._ended.set()
        if self._waiting:
            log.error("gave up writing the state", submissions=len(self._waiting), why=self.trouble)

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
            self._failure = error
            self._ended.set()
            raise
        finally:
            self._pump = None  # Here, and not in a callback: the next `submit` must start a new one.

    async def _write_all(self) -> None:
        while self._waiting:
            group = tuple(self._waiting)
            if not await self._written([change for entry in group for change in entry.changes]):
                return
            for entry in group:
                # It leaves the queue after its release, so that what this submits stays behind it.
                entry.release()
                self._waiting.popleft()

    async def _written(self, changes: Sequence[Change]) -> bool:
        """Commits, as often as it takes; False where the writer is closed before it succeeds."""
        if not changes:
            return True
        loop = asyncio.get_running_loop()
        while True:
            try:
                await loop.run_in_executor(self._thread, self._store.commit, changes)
            except StoreFullError as error:
                self._say_trouble(str(error))
                if self._closing.is_set():
                    return False
                await self._pause()
            else:
                self._say_recovered()
                return True

    def _say_trouble(self, why: str) -> None:
        if self.trouble is None:
            self.trouble = why
            self._on_trouble(why)

    def _say_recovered(self) -> None:
        if self.trouble is not None:
            self.trouble = None
            self._on_recovered()

    async def _pause(self) -> None:
        """Until the next attempt is due; closing makes it due at once."""
        due = {asyncio.ensure_future(self._sleep(RETRY_S)), asyncio.create_task(self._closing.wait())}
        try:
            await asyncio.wait(due, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for waiter in due:
                waiter.cancel()


def _taken_note_of(pump: asyncio.Task[None]) -> None:
    """Its failure is kept by the writer; asyncio need not complain that nobody asked the task."""
    if not pump.cancelled():
        pump.exception()
