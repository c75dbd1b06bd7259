"""Looks at the conditions once a second, so that the log and the history tell when one begins and ends.

Neighbours: `explain.verdict` finds them, `decide.told_conditions` says what is news; `program` runs this.
"""

from __future__ import annotations

import asyncio
from typing import Final

from cfm.controller.act.loop import Controller, clock
from cfm.controller.decide import events as ev
from cfm.controller.decide.told_conditions import ConditionSeen
from cfm.controller.explain.verdict import verdict

EVERY_S: Final = 1.0


async def watch_conditions(controller: Controller) -> None:
    """Until cancelled."""
    while True:
        await asyncio.sleep(EVERY_S)
        core = controller.core
        found = verdict(core, core.last_round, clock()).conditions
        seen = tuple(
            ConditionSeen(one.name, one.level.value, one.text, one.since_s, one.servers) for one in found
        )
        if core.state.conditions.is_news(seen):
            controller.feed(ev.ConditionsSeen(seen))
