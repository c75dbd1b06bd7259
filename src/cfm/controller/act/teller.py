"""Answers `cfm why FILE` and `cfm history`: asks the core, and joins what memory and the store know.

Neighbours: `explain.why` gives the reasons, `explain.story` makes one history; `serve.json_api` and
`serve.operator_api` serve them.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any, Final

import structlog

from cfm.controller.act.loop import Controller
from cfm.controller.decide.step import DELETES
from cfm.controller.explain import why
from cfm.controller.explain.holdings import near_servers, server_of
from cfm.controller.explain.story import STORY_LENGTH, Happened, history
from cfm.errors import StateError
from cfm.names import other_spellings
from cfm.tasks.store import TaskStore
from cfm.threads import HungError, ThreadPool

log = structlog.get_logger(__name__)

HISTORY_S: Final = 5.0
"""How long the state is waited for."""
_NEWEST: Final = 2**63 - 1


class Teller:
    """Tells of files, and of what happened."""

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
        is_server = server_of(self._controller.core, name) is not None
        story = [] if is_server else await self._history(name, _NEWEST, STORY_LENGTH)
        found["story"] = story[::-1]
        exists = bool(story or found["on"] or found["tasks"] or found["on_san"]) or rank is not None
        return {
            **found,
            "exists": exists,
            "near": [] if exists or is_server else await self._near_files(name),
        }

    async def events(self, about: str, limit: int, before_id: int = _NEWEST) -> dict[str, Any]:
        """What happened before an id, the newest first; with `about`, what names this file or server."""
        about = server_of(self._controller.core, about) or about
        found = await self._history(about, before_id, limit)
        more = len(found) == limit
        known = bool(found) or not about or await self._is_known(about)
        return {
            "about": about or None,
            "known": known,
            "near": [] if known else await self._near(about),
            "events": found,
            "before": found[-1]["id"] if more else None,
        }

    async def _is_known(self, about: str) -> bool:
        """Is there such a server, such a file, or such a kind of events?"""
        fleet, snapshot = self._controller.core.state.fleet, self._controller.snapshot
        if about in fleet.records or about in fleet.holders or about == DELETES:
            return True
        return snapshot is not None and await asyncio.to_thread(snapshot.graded, about) is not None

    async def _near(self, about: str) -> list[str]:
        """Servers and graded files that somebody may have meant."""
        return [*near_servers(self._controller.core, about), *await self._near_files(about)]

    async def _near_files(self, name: str) -> list[str]:
        snapshot = self._controller.snapshot
        return await asyncio.to_thread(snapshot.near, name) if snapshot is not None else []

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

    async def _history(self, about: str, before_id: int, limit: int) -> list[Happened]:
        """Where the state cannot be read now, what memory has."""
        try:
            reading = partial(self._store.events, about, before_id, limit)
            kept = await self._threads.run(HISTORY_S, reading)
        except (StateError, HungError) as error:
            log.warning("cannot read the history", about=about, why=str(error))
            kept = []
        return history(kept, self._controller.recent, about, before_id, limit)
