"""The care of what we write ourselves, beside the commits: old rows are forgotten, and logs are watched.

SQLite writes into a log first (`cfm.db-wal`), and empties it when nobody reads the state from before.  While
somebody reads for hours, such as a forgotten shell or a backup, the log grows.  Nothing of ours may end that,
so it is told.  Neighbours: `program` runs these functions as jobs; `tasks.store` and `logs` do the work.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

import structlog

from cfm.controller.explain.words import size_words
from cfm.errors import StateError, StoreFullError
from cfm.tasks.queue import Writer
from cfm.tasks.store import TaskStore
from cfm.threads import ThreadPool

log = structlog.get_logger(__name__)

FORGET_EVERY_S: Final = 3_600.0
FORGET_PATIENCE_S: Final = 600.0
MEASURE_EVERY_S: Final = 10.0
MEASURE_PATIENCE_S: Final = 5.0
LOSS_TOLD_LOOKS: Final = 60
"""A loss is told until so many looks found no other one: ten minutes."""
LARGE_LOG_BYTES: Final = 256_000_000
"""A busy hour writes some dozens of megabytes, and the log is emptied every few."""


@dataclass(frozen=True, slots=True)
class Kept:
    """How much of what is over is kept."""

    seconds: int
    events_bytes: int


async def forget_old(
    store: TaskStore, threads: ThreadPool, writer: Writer, wall_s: Callable[[], int], kept: Kept
) -> None:
    """Forget what ended long ago, every hour.  While the disk is full nothing is forgotten."""
    while True:
        try:
            pruning = partial(store.prune, wall_s() - kept.seconds, kept.events_bytes)
            await threads.run(FORGET_PATIENCE_S, pruning)
        except StoreFullError as error:
            log.warning("cannot forget old tasks and orders yet", why=str(error))
        except StateError as error:  # the state is not ours any more, or it is damaged
            writer.fail(error)
        await asyncio.sleep(FORGET_EVERY_S)


async def watch_lost_lines(lost_lines: Callable[[], int], tell: Callable[[str], None]) -> None:
    """Tell while lines of our log are lost, because nobody takes them."""
    before, quiet = lost_lines(), 0
    while True:
        await asyncio.sleep(MEASURE_EVERY_S)
        now = lost_lines()
        quiet = 0 if now > before else quiet + 1
        if now > before:
            tell(f"{now:,} since the start")
        elif quiet == LOSS_TOLD_LOOKS:
            tell("")
        before = now


async def watch_log(store: TaskStore, threads: ThreadPool, tell: Callable[[str], None]) -> None:
    """Tell while the log of the state is much larger than it should be."""
    while True:
        size_bytes = await threads.run(MEASURE_PATIENCE_S, store.log_bytes)
        tell(size_words(size_bytes) if size_bytes >= LARGE_LOG_BYTES else "")
        await asyncio.sleep(MEASURE_EVERY_S)
