"""Writes to a file in a thread of its own, so that the network is read while the disk is written.

`http_download` gets an empty buffer here, fills it, and hands it back to be written.  There is a fixed number
of buffers: who is faster waits for the other.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Final

from cfm.worker.act.base_dir import TempFile

BUFFERS: Final = 4
BUFFER_BYTES: Final = 1024 * 1024
"""Smaller ones cost more by handing over than they save by staying in the processor's cache."""


class WriteBehind:
    """The buffers of one file.  All calls are one thread's."""

    def __init__(self, file: TempFile) -> None:
        self._file = file
        self._free: SimpleQueue[memoryview] = SimpleQueue()
        self._full: SimpleQueue[tuple[memoryview, int] | None] = SimpleQueue()
        self._error: Exception | None = None
        for _ in range(BUFFERS):
            self._free.put(memoryview(bytearray(BUFFER_BYTES)))
        self._thread = threading.Thread(target=self._write_all, name="transfer-writes", daemon=True)
        self._thread.start()

    def buffer(self) -> memoryview:
        """An empty buffer, as soon as there is one.  `OSError` where the disk failed."""
        buffer = self._free.get()
        self._raise_error()
        return buffer

    def write(self, buffer: memoryview, count: int) -> None:
        """Write the buffer's first `count` bytes.  It may be read until the next one is asked for."""
        self._full.put((buffer, count))

    def finish(self) -> None:
        """Wait until all is written.  `OSError` where the disk failed."""
        self._full.put(None)
        self._thread.join()
        self._raise_error()

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error

    def _write_all(self) -> None:
        while (piece := self._full.get()) is not None:
            buffer, count = piece
            try:
                if self._error is None:
                    self._file.write(buffer[:count])
            except Exception as error:  # noqa: BLE001 - handed on: it is raised in the caller's thread
                self._error = error
            self._free.put(buffer)


@contextmanager
def writing_behind(file: TempFile) -> Iterator[WriteBehind]:
    """At the end of the context all is written, also where the context was left by an error."""
    writer = WriteBehind(file)
    try:
        yield writer
    finally:
        writer.finish()
