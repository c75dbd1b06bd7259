"""What one event led to, and what of it waits until it is durable.

The rule of durability has its one place here: nobody is told of what could still be lost.  A question may be
asked at once, because its answer changes nothing that was told.  A log line waits for the changes of its own
event.  An answer, a delete order or a cut waits for these, and for the changes of all earlier events.  The
shell of the real program and the simulator obey the same `Step`.  Neighbours: the deciding modules fill the
`Outbox`; `tasks.commits` keeps the order of what waits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from cfm.controller.decide.events import (
    AskCopy,
    AskDisk,
    AskList,
    AskSan,
    Effect,
    Reply,
    Say,
    SeekNames,
    SendHeartbeat,
    StartPlan,
)
from cfm.tasks.store import Change, PutEvent

_SUBJECTS = ("file", "server", "source")
"""Facts that name what an event is about.  A list `servers` does as well."""

DELETES: Final = "/deletes"
"""The subject of every event about a delete.  No file and no server can be called so."""
_OF_DELETES = frozenset({"deleted file", "delete dropped", "delete unclear"})

CHANGE_NOTHING = (SendHeartbeat, AskList, AskDisk, AskCopy, AskSan, SeekNames, StartPlan)
"""Effects that change nothing, wherever they go.  Every other effect waits."""


@dataclass(frozen=True, slots=True)
class Step:
    """What one event led to."""

    at_once: Sequence[Effect] = ()
    """To be carried out now."""
    changes: Sequence[Change] = ()
    """To be made durable, all or none."""
    after_commit: Sequence[Effect] = ()
    """To be carried out when these changes, and those of all earlier steps, are durable."""


def needs_commit(effect: Effect, *, has_changes: bool) -> bool:
    """Must this effect of an event wait until what was decided is durable?

    `has_changes`: the event itself has changes.
    """
    if isinstance(effect, Say):
        return has_changes
    if isinstance(effect, Reply):
        return has_changes or not effect.promises_nothing
    return not isinstance(effect, CHANGE_NOTHING)


def subjects(event: str, facts: Mapping[str, object]) -> tuple[str, ...]:
    """The file and the servers that an event names, and its kind: it belongs to the history of each."""
    servers = facts.get("servers")
    named = [*map(facts.get, _SUBJECTS), *(servers if isinstance(servers, list) else ())]
    named += [DELETES] if event in _OF_DELETES else []
    return tuple(dict.fromkeys(str(one) for one in named if one))


def _event(said: Say, wall_s: int) -> PutEvent:
    about = tuple(dict.fromkeys((*subjects(said.event, said.facts), *said.about)))
    return PutEvent(said.id, wall_s, said.event, said.level, said.facts, about)


@dataclass(slots=True)
class Outbox:
    """What the event that is being handled has led to so far."""

    changes: list[Change] = field(default_factory=list)
    effects: list[Effect] = field(default_factory=list)

    def take(self, wall_s: int, *, remember: bool = True) -> Step:
        """All of it as a step; the box is empty then.

        What is said is written down with the changes (`remember`), at `wall_s`, and nothing waits for that.
        """
        changes, effects = self.changes, self.effects
        self.changes, self.effects = [], []
        if not effects:
            return Step((), changes)
        has_changes = bool(changes)
        if remember:
            changes += [_event(effect, wall_s) for effect in effects if isinstance(effect, Say)]
        waiting = [effect for effect in effects if needs_commit(effect, has_changes=has_changes)]
        if not waiting:
            return Step(effects, changes)
        at_once = [effect for effect in effects if not needs_commit(effect, has_changes=has_changes)]
        return Step(at_once, changes, waiting)
