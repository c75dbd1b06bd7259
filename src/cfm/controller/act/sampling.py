"""Reads the counters of the node every few seconds, for the pictures of the last hour and the last day.

Neighbours: `explain.trends` keeps what they grew by; `program` runs this.
"""

from __future__ import annotations

import asyncio
from typing import Final

from cfm.controller.act.loop import Controller, clock
from cfm.controller.explain.trends import Counters, server_states
from cfm.inputs.log_follower import LogFollower
from cfm.model import LogCondition, Now

EVERY_S: Final = 5.0


class Sampling:
    """Feeds the trends of one controller."""

    def __init__(self, controller: Controller, follower: LogFollower | None) -> None:
        """`follower` is None where no event log is configured: then there are no hits to count."""
        self._controller = controller
        self._follower = follower
        self._uncounted = (0, 0)
        """Hits that a log held when it was read from its window: they were no hits of that moment."""

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self.sample(clock())
            await asyncio.sleep(EVERY_S)

    def sample(self, now: Now) -> None:
        core = self._controller.core
        counts = core.state.counts
        on_disks, on_san = self._hits()
        reading = Counters(
            copied_bytes=counts["copied_bytes"],
            freed_bytes=counts["deleted_bytes"],
            busy_ms=sum(core.state.source_busy_ms(now).values()),
            hits_on_disks=on_disks,
            hits_on_san=on_san,
        )
        self._controller.trends.add(reading, server_states(core), core.state.hits.rising, now)

    def _hits(self) -> tuple[int, int]:
        """Hits at the other servers, and at the one that reads from the SAN, while the log is followed."""
        if self._follower is None:
            return 0, 0
        status = self._follower.status()
        counted = status.hits_elsewhere, status.hits_here
        if status.state.condition is LogCondition.READING:
            self._uncounted = counted
        return counted[0] - self._uncounted[0], counted[1] - self._uncounted[1]
