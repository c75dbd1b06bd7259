"""Answers `cfm why FILE`: looks the file up, asks the core, and joins what memory and the store know.

Neighbours: `explain.why` gives the reasons, `explain.story` makes one story, `serve.json_api` serves both.
"""

from __future__ import annotations

import asyncio
from typing import Any

from cfm.controller.act.loop import Controller
from cfm.controller.explain import why
from cfm.controller.explain.story import STORY_LENGTH, tell
from cfm.tasks.store import TaskStore


class Teller:
    """Answers `cfm why FILE`."""

    def __init__(self, controller: Controller, store: TaskStore) -> None:
        self._controller = controller
        self._store = store

    async def why(self, name: str) -> dict[str, Any]:
        """The contract's `why` object.  It looks the file up in the metadata and on the SAN."""
        snapshot = self._controller.snapshot
        file, rank = None, None
        if snapshot is not None:
            file = await asyncio.to_thread(snapshot.file, name)
            rank = await asyncio.to_thread(snapshot.graded, name)
        on_san = await self._controller.stat_on_san(name, file)
        found: dict[str, Any] = await self._controller.read(
            lambda core, now: why.why_json(core, name, file, rank, now, on_san)
        )
        history = await asyncio.to_thread(self._store.history, name, STORY_LENGTH)
        lately = [said for said in self._controller.recent if said.get("file") == name]
        found["story"] = tell(history, lately)
        return found
