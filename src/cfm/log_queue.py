"""A log sink in a thread of its own: whoever logs never waits for a terminal, a pipe or a disk.

The other end of a pipe may not read, and the disk of a log folder may hang.  So lines wait in a queue with a
bound.  What does not fit is lost and counted, and one line says so as soon as lines are taken again.  At the
end of the program, lines that wait get a moment, and no more.  Neighbours: `log_file` and `logs` have the
sinks; `logs` puts them behind queues.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections import deque
from typing import Final, Protocol

MOST_CHARACTERS: Final = 4_000_000
"""So much may wait for one sink."""
ENDING_S: Final = 1.0
"""How long the end of the program waits for one sink."""


class LineSink(Protocol):
    """Where lines go."""

    def format(self, record: logging.LogRecord, /) -> str: ...

    def begin(self) -> None:
        """Called before the first line.  It may wait for ever, too."""

    def write(self, line: str, created_s: float) -> None:
        """Write a line (without its end) that was logged at this Unix time.  It may wait for ever."""

    def close(self) -> None: ...


class QueuedSink(logging.Handler):
    """Puts lines into the queue of a sink, and writes them in a thread."""

    def __init__(self, sink: LineSink, name: str, *, most_characters: int = MOST_CHARACTERS) -> None:
        super().__init__()
        self.lost_total = 0
        """Lines that were lost since the start."""
        self._sink = sink
        self._most_characters = most_characters
        self._lines: deque[tuple[str, float]] = deque()
        self._characters = 0
        self._lost = 0
        self._closing = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._serve, name=f"log to {name}", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        line = self._sink.format(record)  # here, because what is logged may change a moment later
        with self._changed:
            if self._characters + len(line) > self._most_characters or self._closing:
                self._lost += 1
                self.lost_total += 1
                return
            self._note_loss(record.created)
            self._put(line, record.created)
            self._changed.notify()

    def close(self, ending_s: float = ENDING_S) -> None:
        """Let the waiting lines be written for a moment.  A sink that hangs is left behind."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(ending_s)
        super().close()

    def _put(self, line: str, created_s: float) -> None:
        self._lines.append((line, created_s))
        self._characters += len(line)

    def _note_loss(self, created_s: float) -> None:
        if self._lost:
            lost, self._lost = self._lost, 0
            self._put(f"{lost} lines were lost here, because nobody took them", created_s)

    # ── in the thread ───────────────────────────────────────────────────────────────────────────────────

    def _serve(self) -> None:
        with contextlib.suppress(Exception):
            self._sink.begin()
        while (taken := self._next()) is not None:
            line, created_s = taken
            # Whatever goes wrong with a line, the next one is tried: nobody is left who could be told.
            with contextlib.suppress(Exception):
                self._sink.write(line, created_s)
        with contextlib.suppress(Exception):
            self._sink.close()

    def _next(self) -> tuple[str, float] | None:
        """The next line, when it comes; None at the end."""
        with self._changed:
            while not (self._lines or self._closing):
                self._changed.wait()
            if not self._lines:
                return None
            line, created_s = self._lines.popleft()
            self._characters -= len(line)
            if not self._lines:
                self._note_loss(created_s)
            return line, created_s
