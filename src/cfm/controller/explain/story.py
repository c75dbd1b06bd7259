"""The history of a file, of a server, or of the whole node: what was decided and what happened, in words.

The store keeps it, bounded by size and age.  Memory has what was said lately: also what cannot be written
yet, or could not be.  Neighbours: `act.teller` brings both; `sentences` has the words.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

from cfm.controller.decide.step import subjects
from cfm.controller.explain.sentences import event_words
from cfm.tasks.store import PutEvent

Happened: TypeAlias = Mapping[str, Any]
"""`id`, `at` (Unix seconds), `event`, `level`, and its facts."""
STORY_LENGTH = 200


def told(event_id: int, wall_s: int, event: str, level: str, facts: Mapping[str, object]) -> dict[str, Any]:
    """An event as it is told, by whoever remembers it."""
    return {**facts, "id": str(event_id), "at": wall_s, "event": event, "level": level}


def history(
    kept: Iterable[PutEvent], lately: Iterable[Happened], about: str, before_id: int, limit: int
) -> list[Happened]:
    """The last events before an id, the newest first; nothing is told twice."""
    found = {one.id: told(one.id, one.wall_s, one.event, one.level, one.facts) for one in kept}
    for said in lately:
        if int(said["id"]) < before_id and (not about or about in subjects(str(said["event"]), said)):
            found.setdefault(int(said["id"]), dict(said))
    newest_first = sorted(found.items(), reverse=True)[:limit]
    return [{**event, "text": event_words(event)} for _, event in newest_first]
