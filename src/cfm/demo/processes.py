"""Starts the programs of the demo, waits until they serve, and ends each of them by its own process id.

Every program is started through `die_with_parent`, so that it never outlives the demo.  It has a session of
its own, so that Ctrl-C reaches only the demo, which then ends the programs in order.  Neighbour: `stage` says
what to start.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, Self

from cfm.demo.janitor import KEEP
from cfm.errors import CfmError

START_S: Final = 30.0
STOP_S: Final = 5.0
SERVING: Final = b"listening on "


class Program:
    """One cfm or cfw."""

    def __init__(self, name: str, arguments: Sequence[str], output: Path) -> None:
        """`arguments` follow `python` on the command line.  `output` is the file for its stderr."""
        self.name = name
        self._arguments = tuple(arguments)
        self._output = output
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    @property
    def killed(self) -> bool:
        """Did a signal end it, as `kill -9` does?"""
        return self._process is not None and (self._process.returncode or 0) < 0

    async def start(self) -> None:
        """Start it and wait until it serves.

        Raises:
            CfmError: it ended, or did not serve in time.  The text has its last line of output.
        """
        die_with_parent = (sys.executable, "-m", "cfm.demo.die_with_parent", str(os.getpid()))
        with self._output.open("ab") as output:
            self._process = await asyncio.create_subprocess_exec(
                *die_with_parent,
                sys.executable,
                *self._arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=output,
                start_new_session=True,
            )
        try:
            async with asyncio.timeout(START_S):
                await self._until_serving(self._process)
        except TimeoutError:
            raise CfmError(f"{self.name} did not serve within {START_S:g} s: {self.last_words()}") from None

    async def _until_serving(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            if line.startswith(SERVING):
                return
        await process.wait()
        raise CfmError(f"{self.name} ended before it served: {self.last_words()}")

    def last_words(self) -> str:
        with contextlib.suppress(OSError):
            lines = self._output.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            return lines[-1] if lines else "it said nothing"
        return "it said nothing"

    async def kill(self) -> None:
        """End it without a warning."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> None:
        """Ask it to end, and kill it after five seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_S):
                await self._end(signal.SIGTERM)
                return
        await self._end(signal.SIGKILL)

    async def _end(self, number: signal.Signals) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)
            await self._process.wait()


async def stop_all(programs: Iterable[Program]) -> None:
    """Stop all programs at the same time."""
    await asyncio.gather(*(program.stop() for program in programs))


class Janitor:
    """Removes folders at the end, even when the demo is killed."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = folders
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        if self._folders:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "cfm.demo.janitor",
                *map(str, self._folders),
                stdin=asyncio.subprocess.PIPE,
                start_new_session=True,
            )
        return self

    async def keep(self) -> None:
        """Leave the folders: somebody will want to look into them."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.write(KEEP)
            await self._process.stdin.drain()

    async def __aexit__(self, *_error: object) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
            await self._process.wait()
