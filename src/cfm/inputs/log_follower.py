"""Follows the load balancer's event log: it reads everything that is new, and nothing twice.

`LogFollower` runs in the event loop.  It lets `log_reader` read one piece at a time, in a thread, and owns
the window, so that hits grow old even while the disk does not answer.  It tells the hits and the
state of the log (`log_watch`) whenever they change.  `replay` is a single look, without following.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cfm.inputs.event_log import Batch
from cfm.inputs.file_system import FileSystem, RealFileSystem
from cfm.inputs.hit_window import HitWindow
from cfm.inputs.log_reader import LogReader
from cfm.inputs.log_watch import LogWatch
from cfm.model import Hits, LogState, Now
from cfm.threads import LifeSign, ThreadPool

POLL_S = 0.25
PATIENCE_S = 5.0
RETELL_MS = 5_000
"""Numbers of an unchanged state are told again after so long."""


@dataclass(frozen=True, slots=True)
class LogStatus:
    """How far the event log has been followed."""

    state: LogState
    files: tuple[str, ...] = ()
    last_s: int | None = None
    """The time of the newest event, by the log's clock."""
    lag_s: int | None = None
    """How far this is behind our wall clock: nothing happened, the log comes late, or the clocks differ."""
    behind_bytes: int = 0
    skipped: Mapping[str, int] = field(default_factory=dict)
    trouble: str | None = None
    hits_here: int = 0
    """Hits that counted since our start, at the server that reads from the SAN."""
    hits_elsewhere: int = 0


@dataclass(slots=True)
class _Account:
    """What all batches brought together: the window, what was skipped, and the state of the log."""

    window: HitWindow
    watch: LogWatch
    skipped: Counter[str] = field(default_factory=Counter)
    last: Batch = field(default_factory=Batch)

    def add(self, batch: Batch, now: Now) -> None:
        self.skipped.update(batch.skipped)
        for hit in batch.hits:
            if skip := self.window.add(hit, now, live=batch.live):
                self.skipped[skip] += 1
        self.watch.note(batch, self.window, now)
        self.last = batch

    def status(self, now: Now) -> LogStatus:
        last_s, last = self.watch.state.newest_s, self.last
        lag_s = None if last_s is None else now.wall_s - last_s
        skipped = dict(self.skipped)
        return LogStatus(
            self.watch.state,
            last.files,
            last_s,
            lag_s,
            last.behind_bytes,
            skipped,
            last.trouble,
            self.window.counted[True],
            self.window.counted[False],
        )


class LogFollower:
    """Keeps the window up to date for as long as `run` runs.

    `on_hits` is called in the event loop whenever the hits in the window have changed, and `on_state`
    whenever the state of the log has changed.
    """

    def __init__(
        self,
        folder: Path,
        our_ip: str,
        *,
        term_s: int,
        base: int,
        clock: Callable[[], Now],
        on_hits: Callable[[Hits], None],
        on_state: Callable[[LogState], None] = lambda _state: None,
        file_system: FileSystem | None = None,
        poll_s: float = POLL_S,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._folder = folder
        self._reader = LogReader(str(folder), our_ip, file_system or RealFileSystem())
        now = clock()
        self._account = _Account(HitWindow(term_s, base, now), LogWatch(str(folder), 1000 * term_s, now))
        self._clock, self._on_hits, self._on_state = clock, on_hits, on_state
        self._poll_s, self._patience_s = poll_s, patience_s
        self._threads = ThreadPool("event-log", 1)
        self._reading: asyncio.Task[Batch] | None = None
        self._told = Hits()
        self._told_state: LogState | None = None
        self._told_ms = 0

    def status(self) -> LogStatus:
        return self._account.status(self._clock())

    async def run(self) -> None:
        """Run until cancelled."""
        self._tell_state(self._clock())
        try:
            while True:
                if not await self.look():
                    await asyncio.sleep(self._poll_s)
        finally:
            if self._reading:
                self._reading.cancel()
                self._reading = None
            self._threads.finish(self._reader.close)  # after the reading, which may still hang
            self._threads.close()

    async def look(self) -> bool:
        """Read one piece, and say whether there is more.  Hits grow old even when nothing is read."""
        batch = await self._next_batch()
        now = self._clock()
        self._account.add(batch, now)
        hits = self._account.window.hits(now)
        if hits != self._told:
            self._told = hits
            self._on_hits(hits)
        self._tell_state(now)
        return batch.more

    def _tell_state(self, now: Now) -> None:
        """At once where it is another one; now and then where only its numbers are."""
        told, state = self._told_state, self._account.watch.state
        if told == state:
            return
        same = told is not None and (told.condition, told.why) == (state.condition, state.why)
        if not same or now.mono_ms - self._told_ms >= RETELL_MS:
            self._told_state, self._told_ms = state, now.mono_ms
            self._on_state(state)

    async def _next_batch(self) -> Batch:
        """The next piece, if it comes in time.

        A reading that takes too long goes on, and the next call waits for it again: what it read is not read
        twice.
        """
        if self._reading is None:
            now = self._clock()
            oldest_s = self._account.window.oldest_s(now)
            self._reading = asyncio.create_task(
                self._threads.run(None, lambda: self._reader.read_some(oldest_s, now))
            )
        done, _ = await asyncio.wait((self._reading,), timeout=self._patience_s)
        if not done:
            return self._troubled(f"{self._folder} does not answer")
        reading, self._reading = self._reading, None
        try:
            return reading.result()
        except FileNotFoundError:
            return self._troubled(f"{self._folder} is not there")
        except OSError as error:
            return self._troubled(f"{self._folder} cannot be read: {error.strerror or error}")

    def _troubled(self, trouble: str) -> Batch:
        last = self._account.last
        return Batch(files=last.files, behind_bytes=last.behind_bytes, trouble=trouble)


def replay(
    folder: Path,
    our_ip: str,
    *,
    term_s: int,
    base: int,
    now: Now,
    file_system: FileSystem | None = None,
    sign: LifeSign | None = None,
) -> tuple[Hits, LogStatus]:
    """What the window says at `now`, from the logs as they are.  This is for a single look, without
    following.  `sign` is given after each piece of a log."""
    reader = LogReader(str(folder), our_ip, file_system or RealFileSystem(), settle_ms=0)
    account = _Account(HitWindow(term_s, base, now), LogWatch(str(folder), 1000 * term_s, now))
    try:
        more = True
        while more:
            batch = reader.read_some(account.window.oldest_s(now), now)
            account.add(batch, now)
            more = batch.more
            if sign is not None:
                sign.beat()
    except OSError as error:
        account.add(Batch(trouble=f"{folder} cannot be read: {error.strerror or error}"), now)
    finally:
        reader.close()
    return account.window.hits(now), account.status(now)
