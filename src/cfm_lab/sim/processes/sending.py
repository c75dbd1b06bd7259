"""What a source of ours sends: its streams as they really run, zombies included.

The product's own book of streams decides who is served.  Neighbours: each process of a `worker` has one
`Sender`; `transfer` is the reader at the other end.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from cfm.model import Addr
from cfm.wire import TaskOffer
from cfm.worker.serve.streams import BusyError, EndedError, Stream
from cfm_lab.sim.environment.shared import Environment

STALL_MS: Final = 30_000


class SenderWitness(Protocol):
    """Who is told of every stream that a source opens."""

    def stream_opened(self, source: Sender, task_id: int) -> None: ...


class Sender:
    """All streams of one source, as long as its process runs."""

    def __init__(self, env: Environment, addr: Addr, slots: int, witness: SenderWitness) -> None:
        self.env = env
        self.addr = addr
        self.slots = slots
        self.streams = env.parts.streams(slots)
        self.sending: dict[int, Sending] = {}
        self.witness = witness

    def serve(self, offer: TaskOffer) -> tuple[Sending, int, int] | str | None:
        """The answer to `GET /content`: a stream with size and version of the file, or why there is none.

        None means: ask again, an older stream of the same task has to end first.
        """
        task = str(offer.id)
        older = [sending for sending in self.sending.values() if sending.stream.task == task]
        if older:
            for sending in older:
                sending.stream.cut()
            return None
        found = self._read(offer.file_name)
        if found is None:
            return "the source answered 404"
        try:
            stream = self.streams.admit(task)
        except BusyError:
            return "busy"
        except EndedError:
            return "the source answered 409"
        return Sending(self, stream, offer.id), *found

    def _read(self, name: str) -> tuple[int, int] | None:
        """Size and version of a file, as this source reads it."""
        sick = self.env.sick
        found = self.env.san.read(name)
        if found is None or sick.has("no_mount", self.addr):
            return None
        size_bytes, version = found
        return size_bytes + sick.has("wrong_sizes", self.addr), version

    def cut(self, task_id: int) -> bool:
        """End the streams of a task, and serve it no more.  False where it had no stream."""
        task = str(task_id)
        self.streams.refuse(task)
        ending = [sending for sending in self.sending.values() if sending.stream.task == task]
        for sending in ending:
            sending.stream.cut()
        return bool(ending)

    def die(self) -> None:
        """The process is gone.  Its readers notice that a moment later."""
        for sending in list(self.sending.values()):
            sending.close()
            if sending.on_break is not None:
                self.env.schedule.after(5, sending.on_break, sending)


class Sending:
    """One stream that a source really sends."""

    def __init__(self, source: Sender, stream: Stream, task_id: int) -> None:
        self.source = source
        self.stream = stream
        self.task_id = task_id
        self.on_break: Callable[[Sending], None] | None = None
        """Tells the reader that the stream broke.  None until the answer has reached a reader."""
        source.sending[stream.number] = self
        source.witness.stream_opened(source, task_id)
        stream.on_cut(self.cut)
        source.env.schedule.after(STALL_MS, self._nobody_came)

    def _nobody_came(self) -> None:
        """The beginning of the answer was lost, so nobody reads, and the stream has stalled."""
        if self.on_break is None:
            self.close()

    def cut(self) -> None:
        """Stop sending.  The stream ends a moment later."""
        self.source.env.schedule.after(20, self._ended_by_cut)

    def _ended_by_cut(self) -> None:
        if self.stream.number in self.source.sending:
            self.close()
            if self.on_break is not None:
                self.on_break(self)

    def close(self) -> None:
        """The stream has ended."""
        if self.source.sending.pop(self.stream.number, None) is not None:
            self.source.streams.close(self.stream)

    def abandoned(self, *, half_open: bool) -> None:
        """The reader is gone.  The source notices a half-open connection only when it stalls."""
        wait_ms = STALL_MS if half_open else 10
        self.source.env.schedule.after(wait_ms, self.close)
