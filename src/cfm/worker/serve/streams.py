"""Who reads from this worker now: the book of the streams of `/content`.

A *controlled* stream is read on behalf of a task.  At most `slots` of them run, whatever the controller
believes, since it is the source's disk that suffers.  Readers without a task have as many places of their
own.  `content` opens and closes streams here, and does what the book says.  `api` asks to end the streams
of a task.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import OrderedDict
from collections.abc import Callable

MAX_CUT_TASKS = 10_000
"""How many ended tasks are remembered.  Ids grow, so a task that is forgotten is long over."""


class Stream:
    """One reader.  It keeps its place until `Streams.close`, even if it was told to end before."""

    def __init__(self, task: str | None, number: int) -> None:
        self.task = task
        self.number = number
        self.is_cut = False
        self.ended = asyncio.Event()
        self._on_cut: Callable[[], None] | None = None

    def cut(self) -> None:
        """Ask the stream to end."""
        self.is_cut = True
        if self._on_cut is not None:
            self._on_cut()

    def on_cut(self, call: Callable[[], None]) -> None:
        """Call `call` when the stream is told to end, or at once if it was told already."""
        self._on_cut = call
        if self.is_cut:
            call()


class BusyError(Exception):
    """All places are taken."""


class EndedError(Exception):
    """The task was ended, and must not read any more."""


class Streams:
    def __init__(self, slots: int) -> None:
        self.slots = slots
        self._open: dict[int, Stream] = {}
        self._cut_tasks: OrderedDict[str, None] = OrderedDict()
        self._numbers = itertools.count(1)

    @property
    def controlled(self) -> int:
        """The controlled streams that run.  A replaced one counts until it has ended."""
        return sum(stream.task is not None for stream in self._open.values())

    @property
    def uncontrolled(self) -> int:
        return len(self._open) - self.controlled

    def is_cut(self, task: str | None) -> bool:
        return task in self._cut_tasks

    async def open(self, task: str | None) -> Stream:
        """A place for a reader.

        A newer request of a task takes the place of its older one, whose connection may be half dead, once
        the older one has really ended.

        Raises:
            BusyError: all places are taken.
            EndedError: the task was ended, perhaps while this request waited for its older one.
        """
        while (older := self._older(task)) is not None:
            older.cut()
            await older.ended.wait()
        return self.admit(task)

    def admit(self, task: str | None) -> Stream:
        """The decision of `open`, for a task without another stream."""
        if self.is_cut(task):
            raise EndedError
        if (self.uncontrolled if task is None else self.controlled) >= self.slots:
            raise BusyError
        stream = Stream(task, next(self._numbers))
        self._open[stream.number] = stream
        return stream

    def close(self, stream: Stream) -> None:
        """Nothing of the stream is being sent any more."""
        self._open.pop(stream.number, None)
        stream.ended.set()

    async def cut(self, task: str) -> int:
        """End a task's streams, and refuse its later reads.  Returns how many, when they have ended."""
        self.refuse(task)
        ending = [stream for stream in self._open.values() if stream.task == task]
        for stream in ending:
            stream.cut()
        for stream in ending:
            await stream.ended.wait()
        return len(ending)

    def refuse(self, task: str) -> None:
        self._cut_tasks[task] = None
        self._cut_tasks.move_to_end(task)
        while len(self._cut_tasks) > MAX_CUT_TASKS:
            self._cut_tasks.popitem(last=False)

    def cut_all(self) -> None:
        """Tell all streams to end: the worker stops."""
        for stream in self._open.values():
            stream.cut()

    def _older(self, task: str | None) -> Stream | None:
        if task is None:
            return None
        return next((stream for stream in self._open.values() if stream.task == task), None)
