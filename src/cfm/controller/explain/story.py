"""A file's story: what cfm decided about it, when, and for which reason.

Memory has what was said lately; the store knows what happened before that.  Neighbours: `why` tells why the
file is or is not copied now, `act.teller` joins both.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from cfm.controller.decide import copying, deleting
from cfm.model import DeleteOrder, OrderStatus, Status, Task
from cfm.tasks.lifecycle import TASK_EDGES, is_final

Happened: TypeAlias = Mapping[str, Any]
"""`at` (Unix seconds), `event`, and its facts."""
STORY_LENGTH = 200


def tell(history: Iterable[Task | DeleteOrder], lately: Sequence[Happened]) -> list[Happened]:
    """One story of what was said lately and of what only the store remembers; nothing is told twice."""
    known = {_deed(said) for said in lately}
    remembered = [told for entry in history for told in _remembered(entry) if _deed(told) not in known]
    return sorted([*remembered, *lately], key=lambda told: told["at"])[-STORY_LENGTH:]


def _deed(told: Happened) -> tuple[str, Any]:
    """What an event is about: a task, or an order, has one beginning and one end."""
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
    """A task or an order from the store, in the words of the log."""
    if isinstance(entry, DeleteOrder):
        because = {"because": entry.ended_why} if entry.ended_why else {}
        yield {"at": entry.changed_s, "event": ORDERS[entry.status], **deleting.facts(entry), **because}
        return
    yield {"at": entry.created_s, "event": "copy starts", **copying.facts(entry)}
    if entry.status is Status.DONE:  # an old worker says so after a failure too: only the log has the proof
        yield {"at": entry.changed_s, "event": "copy done", **copying.facts(entry)}
    elif is_final(TASK_EDGES, entry.status):
        ended = {"ended": entry.status.value, "because": entry.ended_why}
        yield {"at": entry.changed_s, "event": "copy ended", **copying.facts(entry), **ended}
