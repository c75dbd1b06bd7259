"""Settings that are read again while a daemon runs, on SIGHUP or when an operator asks for it.

The file is read in a thread, because its disk may hang.  Whatever is wrong with it is refused as a whole, and
the old settings stay in force.  What became of the last reading is kept with its time, for status and
metrics.  Neighbours: `signals` calls `ask`; both programs run `run` as a job, and take what was read; cfm's
`POST /api/v1/reload` calls `reload` and `fresh`.
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
    refused_in_brief: str = ""
    """The same as one line."""
    need_restart: tuple[str, ...] = ()
    """Keys that were changed, and are taken in at the next start only."""


class Reloader(Generic[S]):
    """Reads the settings again when it is asked to."""

    def __init__(
        self,
        file: Path | None,
        load: Callable[[Path], S],
        take: Callable[[S, str], tuple[str, ...]],
        on_read: Callable[[SettingsReading], None],
    ) -> None:
        """`take` brings settings into force, and returns the changed keys that need a restart.  It is also
        told who asked."""
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
                await self.reload("SIGHUP")

    async def reload(self, by: str) -> SettingsReading:
        """Read the settings now, and bring them into force if they are right."""
        reading = await self._read(by)
        self._on_read(reading)
        return reading

    async def fresh(self) -> S:
        """The settings as the file has them now; nothing is brought into force.

        Raises:
            CfmError: they are refused, or the file cannot be read.
        """
        file = self._file
        if file is None:
            raise CfmError("this program was started without a settings file")
        try:
            return await self._threads.run(READ_S, lambda: self._load(file))
        except HungError as error:
            raise CfmError(str(error)) from error

    async def _read(self, by: str) -> SettingsReading:
        at_s = int(time.time())
        try:
            fresh = await self.fresh()
        except CfmError as error:
            log.error("cannot read the settings again; the old ones stay in force", why=str(error))  # noqa: TRY400 - the text says it all
            return SettingsReading(at_s, refused=str(error), refused_in_brief=error.brief)
        need_restart = self._take(fresh, by)
        if need_restart:
            log.warning("these settings are taken in at the next start only", keys=", ".join(need_restart))
        return SettingsReading(at_s, need_restart=need_restart)
