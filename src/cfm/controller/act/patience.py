"""How long a reply is waited for, with one timer for all who wait equally long.

A report is answered when it is durable, and thousands of them come each second.  A timer for each of them,
which hardly ever fires, took a twentieth of the time of a report.  Neighbour: `loop` waits so.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

REPLY_S: Final = 10.0
"""How long a request waits for its reply to be durable before the asker is told to come again."""


class Patience:
    """Ends what is waited for after a fixed time."""

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._until_s: dict[asyncio.Future[Any], float] = {}
        """What is waited for, the oldest first."""
        self._timer: asyncio.TimerHandle | None = None

    async def wait(self, reply: asyncio.Future[Any]) -> Any:
        """The result of `reply`.

        Raises:
            TimeoutError: it did not come in time.
        """
        loop = asyncio.get_running_loop()
        self._until_s[reply] = loop.time() + self._patience_s
        if self._timer is None:
            self._timer = loop.call_later(self._patience_s, self._give_up)
        try:
            return await reply
        finally:
            del self._until_s[reply]

    def _give_up(self) -> None:
        """End what is overdue, and come again for the next one."""
        loop = asyncio.get_running_loop()
        self._timer = None
        for reply, until_s in self._until_s.items():
            if until_s > loop.time():
                self._timer = loop.call_at(until_s, self._give_up)
                return
            if not reply.done():
                reply.set_exception(TimeoutError())
