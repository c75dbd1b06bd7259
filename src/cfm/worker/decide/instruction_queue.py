"""The order in which a worker handles events and carries out instructions.  Pure: it carries out nothing.

Instructions are carried out strictly in their order.  What the worker must not forget is durable before the
next instruction begins, and no event is handled meanwhile.  Everything else is only begun: it goes on beside,
and ends in an event.  The agent of the real worker and the simulated worker drive the same queue.
Neighbours: `downloads` decides; `execution` says how an instruction is carried out.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from cfm.worker.decide.download_events import BookEvent, Conclude, Forget, Hold, Instruction
from cfm.worker.decide.downloads import DownloadBook

DURABLE_FIRST: Final = (Hold, Conclude)
"""Instructions that are durable before the next one begins."""


FINISHED_LAST: Final = (Forget,)
"""Instructions that a worker still finishes when it ends.  cfm has heard how these tasks ended, and the next
start need not repeat it."""


class InstructionQueue:
    """`put` events in; `next` gives instructions out.  After one that `waits`, `written` lets it go on."""

    def __init__(self, book: DownloadBook) -> None:
        self._book = book
        self._events: deque[BookEvent] = deque()
        self._instructions: deque[Instruction] = deque()
        self.waits = False
        """The last instruction has to be durable before there is a next one."""

    def put(self, event: BookEvent) -> None:
        """Handle this event after the earlier ones, and after their instructions."""
        self._events.append(event)

    def next(self, now_ms: int) -> Instruction | None:
        """The instruction to be carried out now; None where there is none, or one is awaited."""
        if self.waits:
            return None
        while not self._instructions:
            if not self._events:
                return None
            self._instructions.extend(self._book.handle(self._events.popleft(), now_ms))
        instruction = self._instructions.popleft()
        self.waits = isinstance(instruction, DURABLE_FIRST)
        return instruction

    def written(self, outcome: BookEvent | None) -> None:
        """What had to be durable is so, or cannot be.

        The book hears of it as the next event, when the instructions that came with this one are begun.
        """
        self.waits = False
        if outcome is not None:
            self._events.appendleft(outcome)
