"""A file's story: what was decided about it, when, and for which reason.

What was said lately comes from memory; the store knows what was before that.  Neighbours: `why` says why the
file is or is not copied now; `api` serves both together.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from cfm.controller import copying, deleting, why
from cfm.controller.loop import Controller
from cfm.model import DeleteOrder, OrderStatus, Status, Task
from cfm.tasks.lifecycle import TASK_EDGES, is_final
from cfm.tasks.store import TaskStore

Happened: TypeAlias = Mapping[str, Any]
"""`at` (Unix seconds), `event`, and its facts."""
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
        found["story"] = tell(history, lately)
        return found


def tell(history: Iterable[Task | DeleteOrder], lately: Sequence[Happened]) -> list[Happened]:
    """One story of what was said lately, and of what only the books remember; nothing is told twice."""
    known = {_deed(said) for said in lately}
    remembered = [told for entry in history for told in _remembered(entry) if _deed(told) not in known]
    return sorted([*remembered, *lately], key=lambda told: told["at"])[-STORY_LENGTH:]


def _deed(told: Happened) -> tuple[str, Any]:
    """What it is that an event tells of: a task, or an order, has one beginning and one end."""
    what = "end" if told["event"] in ENDS else told["event"]
    return what, told.get("task") or told.get("order")


ENDS = frozenset({"copied file", "copy done", "copy failed", "copy ended", "deleted file", "delete dropped"})
ORDERS: Mapping[OrderStatus, str] = {
    OrderStatus.ORDERED: "delete ordered",
    OrderStatus.SENT: "delete sent",
    OrderStatus.UNKNOWN: "delete unclear",
    OrderStatus.CONFIRMED: "deleted file",
    OrderStatus.DROPPED: "delete dropped",
}


def _remembered(entry: Task | DeleteOrder) -> Iterator[Happened]:
    """A task or an order of the books, in the words of the log."""
    if isinstance(entry, DeleteOrder):
        because = {"because": entry.ended_why} if entry.ended_why else {}
        yield {"at": entry.changed_s, "event": ORDERS[entry.status], **deleting.facts(entry), **because}
        return
    yield {"at": entry.created_s, "event": "copy starts", **copying.facts(entry)}
    if entry.status is Status.DONE:  # an old worker says so whatever happened: only the log knows the proof
        yield {"at": entry.changed_s, "event": "copy done", **copying.facts(entry)}
    elif is_final(TASK_EDGES, entry.status):
        ended = {"ended": entry.status.value, "because": entry.ended_why}
        yield {"at": entry.changed_s, "event": "copy ended", **copying.facts(entry), **ended}
