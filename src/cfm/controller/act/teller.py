"""Answers `cfm why FILE`: looks the file up, asks the core, and joins what memory and the store know.

Neighbours: `explain.why` gives the reasons, `explain.story` makes one story, `serve.json_api` serves both.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any, Final

import structlog

from cfm.controller.act.loop import Controller
from cfm.controller.explain import why
from cfm.controller.explain.sentences import event_words
from cfm.controller.explain.story import STORY_LENGTH, tell
from cfm.errors import StateError
from cfm.model import DeleteOrder, Task
from cfm.names import other_spellings
from cfm.tasks.store import TaskStore
from cfm.threads import HungError, ThreadPool

log = structlog.get_logger(__name__)

HISTORY_S: Final = 5.0
"""How long the state is waited for."""


class Teller:
    """Answers `cfm why FILE`."""

    def __init__(self, controller: Controller, store: TaskStore) -> None:
        self._controller = controller
        self._store = store
        self._threads = ThreadPool("the state", 2)  # its disk may hang, and nothing else may wait for that

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
        found["looks_like"] = await self._alike(name)
        history = await self._history(name)
        lately = [said for said in self._controller.recent if said.get("file") == name]
        found["story"] = tell(history, lately)
        return found

    async def events(self, about: str, limit: int, before: int) -> dict[str, Any]:
        """What happened before an id, the newest first; with `about`, what names this file or server."""
        found = [one for one in reversed(self._controller.recent) if one["id"] < before]
        told = [one for one in found if not about or about in one.values()][:limit]
        rows = [{**one, "id": str(one["id"]), "text": event_words(one)} for one in told]
        return {"about": about or None, "events": rows, "before": rows[-1]["id"] if rows else None}

    async def _alike(self, name: str) -> list[str]:
        """Other names that look the same, of files that there are."""
        spellings, snapshot = other_spellings(name), self._controller.snapshot
        graded: list[str] = []
        if snapshot is not None:
            graded = [o for o in spellings if await asyncio.to_thread(snapshot.graded, o) is not None]
        found: list[str] = await self._controller.read(
            lambda core, now: why.alike(core, spellings, graded, now)
        )
        return found

    async def _history(self, name: str) -> list[Task | DeleteOrder]:
        """What the store knows about the file; nothing where it cannot be read now."""
        try:
            return await self._threads.run(HISTORY_S, partial(self._store.history, name, STORY_LENGTH))
        except (StateError, HungError) as error:
            log.warning("cannot read the history of a file", file=name, why=str(error))
            return []
