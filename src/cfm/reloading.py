"""Settings that are read again while a daemon runs, on SIGHUP.

The file is read in a thread, because its disk may hang.  Whatever is wrong with it is refused as a whole, and
the old settings stay in force.  What became of the last reading is kept with its time, for status and
metrics.  Neighbours: `signals` calls `ask`; both programs run `run` as a job, and take what was read.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Generic, TypeVar

import structlog

from cfm.errors import CfmError
from cfm.threads import HungError, ThreadPool

log = structlog.get_logger(__name__)

S = TypeVar("S")

READ_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class SettingsReading:
    """What became of one reading."""

    at_s: int
    """Unix time."""
    refused: str = ""
    """Why nothing was taken; empty where the settings are in force."""
    need_restart: tuple[str, ...] = ()
    """Keys that were changed, and are taken in at the next start only."""


class Reloader(Generic[S]):
    """Reads the settings again when it is asked to."""

    def __init__(
        self,
        file: Path | None,
        load: Callable[[Path], S],
        take: Callable[[S], tuple[str, ...]],
        on_read: Callable[[SettingsReading], None],
    ) -> None:
        """`take` brings settings into force, and returns the changed keys that need a restart."""
        self._file, self._load, self._take, self._on_read = file, load, take, on_read
        self._asked = asyncio.Event()
        self._threads = ThreadPool("the settings file", 1)

    def ask(self) -> None:
        self._asked.set()

    async def run(self) -> None:
        """Run until cancelled."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            if self._file is not None:
                self._on_read(await self._read(self._file))

    async def _read(self, file: Path) -> SettingsReading:
        at_s = int(time.time())
        try:
            fresh = await self._threads.run(READ_S, lambda: self._load(file))
        except (CfmError, HungError) as error:
            log.error("cannot read the settings again; the old ones stay in force", why=str(error))  # noqa: TRY400 - the text says it all
            return SettingsReading(at_s, refused=str(error))
        need_restart = self._take(fresh)
        if need_restart:
            log.warning("these settings are taken in at the next start only", keys=", ".join(need_restart))
        return SettingsReading(at_s, need_restart=need_restart)
