"""Looks at the conditions, so that the log and the history tell when one begins and ends.

A look at a node of 300 servers takes 5 ms.  So one is made each second only where something has changed, and
every five seconds for what time alone brings.  Neighbours: `explain.verdict` finds the conditions,
`decide.told_conditions` says what is news; `program` runs this.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final

from cfm.controller.act.loop import Controller, clock
from cfm.controller.decide import events as ev
from cfm.controller.decide.core import Core
from cfm.controller.decide.told_conditions import ConditionSeen
from cfm.controller.explain.verdict import verdict
from cfm.revision import Revision

EVERY_S: Final = 1.0
AT_REST_MS: Final = 5_000


class ConditionWatch:
    """Looks at one controller."""

    def __init__(
        self, controller: Controller, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        self._controller, self._sleep = controller, sleep
        self._seen: tuple[Core, Revision, int] | None = None
        """What had changed at the last look: of which core, how often, and how often its tasks had moved."""
        self._look_ms = 0
        """When the next look is due in any case."""

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._sleep(EVERY_S)
            core, now = self._controller.core, clock()
            changed = core, replace(core.state.revision), core.state.tasks.moves
            if changed != self._seen or now.mono_ms >= self._look_ms:
                self._seen, self._look_ms = changed, now.mono_ms + AT_REST_MS
                self.look()

    def look(self) -> None:
        """Tell the core of what begins or ends."""
        core = self._controller.core
        found = verdict(core, core.last_round, clock()).conditions
        seen = tuple(
            ConditionSeen(one.name, one.level.value, one.text, one.since_s, one.servers) for one in found
        )
        if core.state.conditions.is_news(seen):
            self._look_ms = 0  # what is new must be there at two looks
            self._controller.feed(ev.ConditionsSeen(seen))
