"""How often the conditions are looked at."""

from __future__ import annotations

import asyncio
import contextlib
from typing import cast

from cfm.controller.act.condition_watch import ConditionWatch
from cfm.controller.act.loop import Controller, clock
from cfm.controller.decide.core import Core
from cfm.controller.decide.state import NodeConfig
from cfm.fleet.client import WorkerClient
from cfm.inputs.san import SanIndex
from cfm.plan.view import Rules
from cfm.tasks.store import Recovered
from cfm_lab.fakes.memory_store import MemoryStore


class Counting(ConditionWatch):
    looks = 0

    def look(self) -> None:
        self.looks += 1


async def test_a_node_at_rest_is_not_looked_at_each_second() -> None:
    core = Core(NodeConfig((), (), Rules()), Recovered("id", 1, 0), clock())
    san = SanIndex([], clock=clock, on_change=lambda _names: None)
    controller = Controller(core, MemoryStore(), cast("WorkerClient", None), san)
    looks: list[int] = []

    async def sleep(_seconds: float) -> None:
        looks.append(watch.looks)
        if len(looks) == 3:
            core.state.revision.plan += 1  # something has changed
        if len(looks) == 5:
            raise asyncio.CancelledError

    watch = Counting(controller, sleep)
    with contextlib.suppress(asyncio.CancelledError):
        await watch.run()
    assert looks == [0, 1, 1, 2, 2]
