"""The shell of a simulated worker: the product's book of downloads, driven in virtual time.

The product's queue says what comes next, and its table what an instruction and its outcome mean.  Here are
only the clock and the way there and back.  Neighbours: `executor` carries out; a `worker` has one agent for
each start of its process.
"""

from __future__ import annotations

from functools import partial

from cfm.worker.decide import execution
from cfm.worker.decide.download_events import BookEvent, DownloadTick, Instruction, Progress
from cfm.worker.decide.downloads import DownloadBook
from cfm.worker.decide.instruction_queue import DURABLE_FIRST, InstructionQueue
from cfm_lab.sim.environment.schedule import Clock, Schedule
from cfm_lab.sim.processes.executor import SimExecutor


class SimAgent:
    """Brings events to the book, and has its instructions carried out."""

    def __init__(self, book: DownloadBook, executor: SimExecutor, schedule: Schedule, clock: Clock) -> None:
        self.book = book
        self.executor = executor
        self.schedule = schedule
        self.clock = clock
        self.process = executor.process
        self.incarnation = executor.process.incarnation
        self._queue = InstructionQueue(book)
        self._acting = False
        self._wake_at_ms: int | None = None

    def act(self, event: BookEvent) -> None:
        """Let the book handle an event, and carry out its instructions one after the other."""
        self._queue.put(event)
        self._go_on()

    def _go_on(self) -> None:
        if self._acting:
            return
        self._acting = True
        try:
            while (instruction := self._queue.next(self.clock.mono_ms())) is not None:
                work = execution.execute(self.executor, instruction)
                if work is not None:
                    work(partial(self._came_back, instruction, self.clock.mono_ms()))
        finally:
            self._acting = False
        self._plan_wake()

    def _came_back(self, instruction: Instruction, began_ms: int, answer: object) -> None:
        event = execution.event_of(instruction, answer, began_ms)
        if isinstance(instruction, DURABLE_FIRST):
            self._queue.written(event)
            self._go_on()
        elif event is not None:
            self.act(event)

    def _plan_wake(self) -> None:
        wake_ms = self.book.wake_at_ms()
        if wake_ms is None or (self._wake_at_ms is not None and self._wake_at_ms <= wake_ms):
            return
        self._wake_at_ms = wake_ms
        self.schedule.after(self.clock.until(wake_ms), self._wake, wake_ms)

    def _wake(self, wake_ms: int) -> None:
        if self.process.runs_since(self.incarnation) and self._wake_at_ms == wake_ms:
            self._wake_at_ms = None
            self.process.do(self._tick)

    def _tick(self) -> None:
        for task_id, download in list(self.executor.transfers.items()):
            if not download.over:
                self.act(Progress(task_id, download.progress()))
        self.act(DownloadTick())
