"""Keeps a worker from using a `base_dir` that is one of its source folders, lies in one, or around one.

`program` refuses such settings at the start.  A folder may also appear later: a mount comes up, a link is
turned.  So each folder is compared again every few seconds, in its own threads.  A folder that has not
answered yet is not ruled out.  Until it is, the shelf answers nothing: its disk is unknown, and not empty.
Neighbour: `disk_lock` compares two folders.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Final

import structlog

from cfm.threads import ThreadPool
from cfm.worker.act.disk_lock import overlap
from cfm.worker.act.shelf import Shelf

log = structlog.get_logger(__name__)

LOOK_EVERY_S: Final = 5.0
ANSWER_S: Final = 10.0


class SourceWatch:
    """See the module's text."""

    def __init__(self, base_dir: Path, folders: Mapping[Path, ThreadPool], shelf: Shelf) -> None:
        self._base_dir, self._folders, self._shelf = base_dir, folders, shelf
        self._told: dict[Path, str] = {}
        """What the log said last of each folder."""
        self._ruled_out: set[Path] = set()

    def begin(self, answers: Mapping[Path, OSError | None]) -> None:
        """What the first look told: None for a folder that `base_dir` is separate from."""
        for folder, error in answers.items():
            self._answered(folder, error)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            await self.look()

    async def look(self) -> None:
        """Compare `base_dir` with each folder once."""
        await asyncio.gather(*(self._look(folder, threads) for folder, threads in self._folders.items()))

    async def _look(self, folder: Path, threads: ThreadPool) -> None:
        try:
            found = await threads.run(ANSWER_S, partial(overlap, self._base_dir, (folder,)))
        except OSError as error:
            self._answered(folder, error)
            return
        if found is None:
            self._answered(folder, None)
            return
        self._ruled_out.discard(folder)
        self._withhold(
            folder,
            "they are the same, or one lies in the other: a delete in base_dir would delete the file on the "
            "SAN; name two separate folders, and start cfw again",
        )

    def _answered(self, folder: Path, error: OSError | None) -> None:
        if error is None:
            self._ruled_out.add(folder)
            self._withhold(folder, "")
        elif folder not in self._ruled_out:  # what was ruled out stays so: both folders were there then
            self._withhold(folder, f"it is not known yet whether they are the same: {error}")

    def _withhold(self, folder: Path, why: str) -> None:
        self._shelf.withhold(str(folder), f"base_dir and the source folder {folder}: {why}" if why else "")
        if why == self._told.get(folder, ""):
            return
        self._told[folder] = why
        if why:
            log.error("base_dir is not used", folder=str(folder), why=why)
        else:
            log.info("base_dir is no source folder", folder=str(folder))
