"""A file's story: what was decided about it, when, and for which reason.

Finished tasks and orders come from the store, what was said lately from memory.  Neighbours: `report`
says why the file is or is not copied now; `api` serves both together.
"""

from __future__ import annotations

import asyncio
from typing import Any

from cfm.controller import report, why
from cfm.controller.loop import Controller
from cfm.model import DeleteOrder, Task
from cfm.tasks.store import TaskStore

STORY_LENGTH = 200


class Teller:
    """Answers `why FILE`."""

    def __init__(self, controller: Controller, store: TaskStore) -> None:
        self._controller = controller
        self._store = store

    async def why(self, name: str) -> dict[str, Any]:
        """The contract's `why` object; looks the file up in the metadata and on the SAN."""
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
        told = [_told(entry) for entry in history]
        found["story"] = sorted([*told, *lately], key=lambda happened: happened["at"])[-STORY_LENGTH:]
        return found


def _told(entry: Task | DeleteOrder) -> dict[str, Any]:
    """A task or an order as one event of the story."""
    if isinstance(entry, Task):
        return {**report.ended_json(entry), "at": entry.changed_s, "event": f"copy {entry.status}"}
    return {
        "at": entry.changed_s,
        "event": f"delete {entry.status}",
        "order": str(entry.id),
        "server": entry.server,
        "kind": entry.kind.value,
        "reason": entry.reason,
        "ended_why": entry.ended_why or None,
    }
