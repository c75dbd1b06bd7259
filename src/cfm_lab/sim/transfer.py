"""One download of a worker of ours, as the built-in transfer or an external downloader would do it.

The bytes are not moved, their time is: the temporary file grows when somebody looks, and one event ends the
whole.  Both ends may die, stall, lie or be cut on the way, and the source's own book of streams decides who
is served.  Neighbours: `worker` starts it for its book and carries its end back as an event.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Final, NoReturn

from cfm.model import Failure, Transfer
from cfm.wire import TaskOffer
from cfm.worker.act.shelf import DeclinedError, Receipt
from cfm.worker.decide.download_events import BytesReceived, Progress, TransferEnded
from cfm.worker.decide.offers import BUSY, failure
from cfm.worker.serve.streams import BusyError, EndedError, Stream
from cfm_lab.sim.disks import SimTempFile, content_of

if TYPE_CHECKING:
    from cfm_lab.sim.worker import SimWorker

PAUSES_MS: Final = (200, 1_000, 3_000)
STALL_MS: Final = 30_000
VERIFY_MS: Final = 300
BUSY_AGAIN_S: Final = 5
CONNECT_MS: Final = 5_000


class Sending:
    """One stream that a source really sends."""

    def __init__(self, source: SimWorker, stream: Stream, task_id: int) -> None:
        self.source = source
        self.stream = stream
        self.task_id = task_id
        self.transfer: Download | None = None
        source.sending[stream.number] = self
        source.world.check.stream_opened(source, task_id)
        stream.on_cut(self.cut)
        source.world.schedule.after(STALL_MS, self._nobody_came)

    def _nobody_came(self) -> None:
        """The beginning of the answer was lost: nothing is read, and the stream stalls."""
        if self.transfer is None:
            self.close()

    def cut(self) -> None:
        """The source was told to stop; what the network holds is dropped a moment later."""
        self.source.world.schedule.after(20, self._ended_by_cut)

    def _ended_by_cut(self) -> None:
        if self.stream.number in self.source.sending:
            self.close()
            if self.transfer is not None:
                self.transfer.broken(self)

    def close(self) -> None:
        """Nothing of it is being sent any more."""
        if self.source.sending.pop(self.stream.number, None) is not None:
            self.source.streams.close(self.stream)

    def abandoned(self, *, half_open: bool) -> None:
        """The reader is gone; a half-open connection is noticed only by its stall."""
        wait_ms = STALL_MS if half_open else 10
        self.source.world.schedule.after(wait_ms, self.close)


class Download:
    """One file on its way to a worker."""

    def __init__(self, worker: SimWorker, offer: TaskOffer) -> None:
        self.worker = worker
        self.world = worker.world
        self.offer = offer
        self.incarnation = worker.incarnation
        self.receipt: Receipt | None = None
        self.file: SimTempFile | None = None
        self.sending: Sending | None = None
        self.over = False
        self.tries = 0
        self.base_bytes = 0
        self.since_ms = 0
        self.rate_bpms = max(1, offer.copy_speed_bps // 8_000)
        self.stalled = False
        self.stopping = False
        self.received = False
        """All bytes are here; they are only verified and made durable yet."""
        self.lines = 0
        """Grows with every attempt, so that what belongs to an earlier one is not heard."""
        self.version = 0
        """Which content the source has."""

    # ── the beginning ───────────────────────────────────────────────────────────────────────────────────

    def start(self) -> None:
        offer, shelf = self.offer, self.worker.shelf
        try:
            self.receipt = shelf.begin(offer.file_name, offer.id, offer.size_bytes)
            self.worker.receipts[offer.id] = self.receipt
            if self.world.swarm.strikes("out_of_inodes"):
                raise_io_error(errno.ENOSPC)
            shelf.create(self.receipt)
            disk = self.worker.disk
            self.file = SimTempFile(disk, disk.temp_names[self.receipt.temp])
        except (DeclinedError, OSError) as error:
            self._fail(str(error))
            return
        self._connect()

    def _connect(self) -> None:
        """Ask the source for the bytes that are missing."""
        if self.external:
            self._copy_from_san()
            return
        source = self.world.worker_at(self.offer.source)
        self.lines += 1
        line = self.lines
        if source is None:
            self._fail("no such source")
            return
        self.world.net.call(
            self.worker.process,
            source.process,
            lambda reply: source.serve_content(self.offer, reply),
            lambda answer: self._connected(answer, line),
            CONNECT_MS,
        )

    def _copy_from_san(self) -> None:
        """An external downloader has ways of its own; no worker serves it."""
        found = self.world.san.read(self.offer.file_name)
        if found is None:
            self._fail("the downloader ended with 1")
        else:
            self._head(None, *found)

    def _connected(self, answer: object, line: int) -> None:
        if isinstance(answer, tuple):
            sending, size_bytes, version = answer
            assert isinstance(sending, Sending | None)
            if self.over or line != self.lines:
                if sending is not None:
                    sending.abandoned(half_open=False)
                return
            self._head(sending, size_bytes, version)
        elif self.over or line != self.lines:
            return
        elif answer == "busy":
            self._fail(BUSY, BUSY_AGAIN_S)
        elif isinstance(answer, str):
            self._fail(answer)
        else:
            assert isinstance(answer, Failure)
            self._interrupted(f"the source: {answer.trouble}")

    def _head(self, sending: Sending | None, size_bytes: int, version: int) -> None:
        """The source's answer has begun: is it the file that cfm speaks of?"""
        self.sending, self.version = sending, version
        if sending is not None:
            sending.transfer = self
        if self.offer.size_bytes is not None and size_bytes != self.offer.size_bytes:
            self._fail(f"the source has {size_bytes} bytes")
            return
        self._flow(size_bytes)

    def _flow(self, size_bytes: int) -> None:
        swarm, rng = self.world.swarm, self.world.rng
        self.since_ms = self.world.schedule.now_ms
        left_ms = -(-(size_bytes - self.base_bytes) // self.rate_bpms)
        somewhere_ms = rng.below(max(1, left_ms))
        if swarm.strikes("stream_stalls") or swarm.strikes("one_byte_a_second"):
            self.stalled = True
            self._later(STALL_MS, self._stalled_out)
        elif swarm.strikes("stream_reset") or swarm.strikes("short_body"):
            self._later(somewhere_ms, self._reset)
        elif swarm.strikes("long_body"):
            self._later(left_ms, self._fail, "the source sends more bytes than it stated")
        else:
            self._later(left_ms, self._all_here)

    def _later(self, delay_ms: int, call: object, *args: object) -> None:
        line = self.lines

        def due() -> None:
            if not self.over and line == self.lines and self.worker.incarnation == self.incarnation:
                assert callable(call)
                call(*args)

        self.world.schedule.after(delay_ms, self.worker.process.do, due)

    # ── on the way ──────────────────────────────────────────────────────────────────────────────────────

    def progress(self) -> int:
        """Bytes that are here by now; the temporary file has grown to them."""
        if self.file is None:
            return 0
        if (self.sending is None and not self.external) or self.stalled:
            return self.file.size()
        bytes_now = self._bytes_now()
        try:
            if self.world.swarm.strikes("write_eio"):
                raise_io_error(errno.EIO)
            self.file.grow(bytes_now)
        except OSError as error:
            self._fail(f"the disk: {error.strerror}")
        return bytes_now

    @property
    def external(self) -> bool:
        return self.worker.features.transfer is Transfer.EXTERNAL

    def _bytes_now(self) -> int:
        total = self.offer.size_bytes or 0
        here = self.base_bytes + (self.world.schedule.now_ms - self.since_ms) * self.rate_bpms
        return min(total, max(here, self.file.size() if self.file else 0))

    def broken(self, sending: Sending) -> None:
        """The source does not send any more."""
        if self.sending is sending and not self.over:
            self._reset()

    def _reset(self) -> None:
        self.progress()
        if not self.over:
            self._interrupted("the connection was reset")

    def _interrupted(self, why: str) -> None:
        """Try again where it broke off, a few times."""
        self._let_go()
        self.base_bytes = self.file.size() if self.file is not None else 0
        if self.tries >= len(PAUSES_MS):
            self._fail(why)
            return
        self.tries += 1
        self._later(PAUSES_MS[self.tries - 1], self._connect)

    def _stalled_out(self) -> None:
        self._fail(f"stalled at {self.file.size() if self.file else 0} bytes")

    def _let_go(self) -> None:
        sending, self.sending = self.sending, None
        if sending is not None:
            sending.abandoned(half_open=self.world.swarm.strikes("half_open"))

    # ── the end ─────────────────────────────────────────────────────────────────────────────────────────

    def _all_here(self) -> None:
        self.progress()
        if self.over or self.file is None:
            return
        content = content_of(self.offer.file_name, self.version)
        if self.world.swarm.strikes("corrupted_bytes"):
            content = b"\xff" * 8
        self.file.node.data[:] = content
        self._let_go()
        self.received = True
        self.worker.act(BytesReceived(self.offer.id))
        if not self.over:
            self._later(VERIFY_MS, self._verified, content)

    def _verified(self, content: bytes) -> None:
        """The checksum of what was written is the source's, and it is durable."""
        assert self.file is not None
        if not self.external and content != content_of(self.offer.file_name, self.version):
            self._fail("the checksum is not the source's")
            return
        try:
            if self.world.swarm.strikes("fsync_eio"):
                raise_io_error(errno.EIO)
            self.file.sync()
        except OSError as error:
            self._fail(f"the disk: {error.strerror}")
            return
        self._end(TransferEnded(self.offer.id, self.file.size(), verified=not self.external))

    def stop(self) -> None:
        """The book wants it to end."""
        if not self.over:
            self._let_go()
            self.over = True
            self.worker.later(5, self._stopped)

    def _stopped(self) -> None:
        self._tell(TransferEnded(self.offer.id, failed=failure("stopped")))

    def _fail(self, why: str, retry_after_s: int | None = None) -> None:
        if not self.over:
            self._end(TransferEnded(self.offer.id, failed=failure(why, retry_after_s)))

    def _end(self, event: TransferEnded) -> None:
        self._let_go()
        self.over = True
        self.worker.later(0, lambda: self._tell(event))

    def _tell(self, event: TransferEnded) -> None:
        self.worker.transfers.pop(self.offer.id, None)
        self.worker.act(event)

    def died(self) -> None:
        """Its worker's process is gone."""
        self._let_go()
        self.over = True


def raise_io_error(number: int) -> NoReturn:
    """What the disk would say."""
    raise OSError(number, os.strerror(number))


def serve_stream(source: SimWorker, offer: TaskOffer) -> tuple[Sending, int, int] | str | None:
    """A source's answer to `GET /content`: a stream, a reason, or None: an older stream ends first."""
    task = str(offer.id)
    older = [sending for sending in source.sending.values() if sending.stream.task == task]
    if older:
        for sending in older:
            sending.stream.cut()
        return None
    found = source.world.san.read(offer.file_name)
    if found is None:
        return "the source answered 404"
    try:
        stream = source.streams.admit(task)
    except BusyError:
        return "busy"
    except EndedError:
        return "the source answered 409"
    return Sending(source, stream, offer.id), *found


def progress_events(worker: SimWorker) -> None:
    """Tell the book how far its transfers are."""
    for task_id, download in list(worker.transfers.items()):
        if not download.over:
            worker.act(Progress(task_id, download.progress()))
