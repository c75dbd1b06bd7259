"""One download of a worker of ours, as the built-in transfer or an external downloader would do it.

No bytes are moved, only their time passes: the temporary file grows when somebody looks, and one event ends
the download.  Either end may die, stall, lie or be cut off on the way.  Neighbours: `executor` starts a
download, and hears what becomes of it as events; `sending` is the other end.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import Final, NoReturn

from cfm.model import Failure
from cfm.wire import TaskOffer
from cfm.worker.act.download_files import DownloadFiles
from cfm.worker.act.shelf import DeclinedError, NoArrivalError
from cfm.worker.decide.download_events import BookEvent, BytesReceived, TransferEnded
from cfm.worker.decide.offers import BUSY, failure
from cfm_lab.sim.environment.disks import SimTempFile, content_of
from cfm_lab.sim.environment.san import HALF
from cfm_lab.sim.processes.at_once import at_once
from cfm_lab.sim.processes.sending import STALL_MS, Sending
from cfm_lab.sim.processes.server import SimServer

PAUSES_MS: Final = (200, 1_000, 3_000)
VERIFY_MS: Final = 300
BUSY_AGAIN_S: Final = 5
CONNECT_MS: Final = 5_000
TRICKLE_BPMS: Final = 2
"""Above what the built-in transfer takes for a stall."""
BREAK_MS: Final = 1_000


class Download:
    """One file on its way to a worker."""

    def __init__(
        self,
        server: SimServer,
        files: DownloadFiles,
        offer: TaskOffer,
        tell: Callable[[BookEvent], None],
        *,
        external: bool,
    ) -> None:
        self.env = server.env
        self.rng = server.rng
        self.process = server.process
        self.disk = server.disk
        self.files = files
        self.offer = offer
        self.tell = tell
        self.external = external
        self.incarnation = server.process.incarnation
        self.file: SimTempFile | None = None
        self.sending: Sending | None = None
        self.over = False
        self.tries = 0
        self.base_bytes = 0
        self.since_ms = 0
        self.rate_bpms = max(1, offer.copy_speed_bps // 8_000)
        self.stalled = False
        self.received = False
        """All bytes are here.  They still have to be verified and made durable."""
        self.lines = 0
        """The number of the attempt.  What belongs to an earlier attempt is ignored."""
        self.version = 0
        """The version of the file that the source has."""

    # ── the beginning ───────────────────────────────────────────────────────────────────────────────────

    def start(self) -> None:
        offer = self.offer
        try:
            place = at_once(self.files.begin(offer))
            if self.env.swarm.strikes("out_of_inodes") or self._is_sick("refuses"):
                raise_io_error(errno.ENOSPC)
            place.create()
            self.file = SimTempFile(self.disk, self.disk.temp_names[place.receipt.temp])
        except (DeclinedError, OSError) as error:
            self._fail(str(error), own_disk=isinstance(error, (NoArrivalError, OSError)))
            return
        self._connect()

    def _connect(self) -> None:
        """Ask the source for the bytes that are missing."""
        if self.external:
            self._copy_from_san()
            return
        source = self.env.server_at(self.offer.source)
        self.lines += 1
        line = self.lines
        if source is None or not source.ours:
            self._fail("no such source")
            return
        self.env.net.call(
            self.process,
            source.process,
            lambda reply: source.serve_content(self.offer, reply),
            lambda answer: self._connected(answer, line),
            CONNECT_MS,
        )

    def _copy_from_san(self) -> None:
        """An external downloader reads the SAN by itself; no worker serves it."""
        found = self.env.san.read(self.offer.file_name)
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
        """The answer of the source has begun.  Has the file the size that the task states?"""
        self.sending, self.version = sending, version
        if sending is not None:
            sending.on_break = self.broken
        if self.offer.size_bytes is not None and size_bytes != self.offer.size_bytes:
            self._fail(f"the source has {size_bytes} bytes")
            return
        self._flow(size_bytes)

    def _flow(self, size_bytes: int) -> None:
        swarm = self.env.swarm
        self.since_ms = self.env.schedule.now_ms
        if self._source_is_sick("trickles"):
            self.rate_bpms = TRICKLE_BPMS
        left_ms = -(-(size_bytes - self.base_bytes) // self.rate_bpms)
        somewhere_ms = self.rng.below(max(1, left_ms))
        if self._is_sick("hangs"):
            self.stalled = True
        elif self._source_is_sick("breaks_streams"):
            self._later(min(left_ms, BREAK_MS), self._reset)
        elif swarm.strikes("stream_stalls") or swarm.strikes("one_byte_a_second"):
            self.stalled = True
            self._later(STALL_MS, self._stalled_out)
        elif swarm.strikes("stream_reset") or swarm.strikes("short_body"):
            self._later(somewhere_ms, self._reset)
        elif swarm.strikes("long_body"):
            self._later(left_ms, self._fail, "the source sends more bytes than it stated")
        else:
            self._later(left_ms, self._all_here)

    def _is_sick(self, kind: str) -> bool:
        return self.env.sick.has(kind, self.process.name)

    def _source_is_sick(self, kind: str) -> bool:
        return self.sending is not None and self.env.sick.has(kind, self.sending.source.addr)

    def _later(self, delay_ms: int, call: object, *args: object) -> None:
        line = self.lines

        def due() -> None:
            if not self.over and line == self.lines and self.process.incarnation == self.incarnation:
                assert callable(call)
                call(*args)

        self.env.schedule.after(delay_ms, self.process.do, due)

    # ── on the way ──────────────────────────────────────────────────────────────────────────────────────

    def progress(self) -> int:
        """Let the temporary file grow to the bytes that have arrived by now, and count them."""
        if self.file is None:
            return 0
        if (self.sending is None and not self.external) or self.stalled:
            return self.file.size()
        bytes_now = self._bytes_now()
        try:
            if self.env.swarm.strikes("write_eio"):
                raise_io_error(errno.EIO)
            self.file.grow(bytes_now)
        except OSError as error:
            self._fail(f"the disk: {error.strerror}", own_disk=True)
        return bytes_now

    def _bytes_now(self) -> int:
        total = self.offer.size_bytes or 0
        here = self.base_bytes + (self.env.schedule.now_ms - self.since_ms) * self.rate_bpms
        return min(total, max(here, self.file.size() if self.file else 0))

    def broken(self, sending: Sending) -> None:
        """The source has stopped sending."""
        if self.sending is sending and not self.over:
            self._reset()

    def _reset(self) -> None:
        self.progress()
        if not self.over:
            self._interrupted("the connection was reset")

    def _interrupted(self, why: str, *, from_start: bool = False) -> None:
        """Go on where it broke off, after a pause; fail after a few tries."""
        self._let_go()
        if from_start and self.file is not None:
            self.file.truncate(0)
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
            sending.abandoned(half_open=self.env.swarm.strikes("half_open"))

    # ── the end ─────────────────────────────────────────────────────────────────────────────────────────

    def _all_here(self) -> None:
        self.progress()
        if self.over or self.file is None:
            return
        if not self.external and self._changed_meanwhile():
            self._interrupted("the source's file changed", from_start=True)
            return
        content = content_of(self.offer.file_name, self._what_was_read())
        if self.env.swarm.strikes("corrupted_bytes"):
            content = b"\xff" * 8
        self.file.node.data[:] = content
        self._let_go()
        self.received = True
        self.tell(BytesReceived(self.offer.id))
        if not self.over:
            self._later(VERIFY_MS, self._verified, content)

    def _verified(self, content: bytes) -> None:
        """Compare the checksum with the source's, and make the file durable."""
        assert self.file is not None
        if not self.external and self._changed_meanwhile():
            self._fail("the source's file changed during the transfer")
            return
        if not self.external and content != content_of(self.offer.file_name, self.version):
            self._fail("the checksum is not the source's")
            return
        try:
            if self.env.swarm.strikes("fsync_eio"):
                raise_io_error(errno.EIO)
            self.file.sync()
        except OSError as error:
            self._fail(f"the disk: {error.strerror}", own_disk=True)
            return
        self._end(TransferEnded(self.offer.id, self.file.size(), verified=not self.external))

    def _changed_meanwhile(self) -> bool:
        """A source looks at the file while it sends: did somebody write it?"""
        found = self.env.san.read(self.offer.file_name)
        return found is not None and (found[1] != self.version or bool(found[1] & HALF))

    def _what_was_read(self) -> int:
        """The version of what has come.  An external downloader does not see that a file is being written."""
        found = self.env.san.read(self.offer.file_name)
        return self.version if found is None or found[1] == self.version else found[1] | HALF

    def stop(self) -> None:
        """The book has ordered it to end."""
        if not self.over:
            self._let_go()
            self.over = True
            self.process.later(5, self._stopped)

    def _stopped(self) -> None:
        self.tell(TransferEnded(self.offer.id, failed=failure("stopped")))

    def _fail(self, why: str, retry_after_s: int | None = None, *, own_disk: bool = False) -> None:
        if not self.over:
            self._end(TransferEnded(self.offer.id, failed=failure(why, retry_after_s, own_disk=own_disk)))

    def _end(self, event: TransferEnded) -> None:
        self._let_go()
        self.over = True
        self.process.later(0, lambda: self.tell(event))

    def died(self) -> None:
        """The process of its worker is gone."""
        self._let_go()
        self.over = True


def raise_io_error(number: int) -> NoReturn:
    """Raise the error that a disk would."""
    raise OSError(number, os.strerror(number))
