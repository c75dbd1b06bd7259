"""Sends a part of a file, and never waits for a disk in the event loop.

Without TLS, a thread lets the kernel send from the page cache, and reads behind that for the checksum where
nobody knows it yet.  It does so in turns, so that no stream keeps a thread.  With TLS, a thread reads and the
event loop sends.  Either way the last bytes are sent from the buffer that was read, after a check that the
file is still the same: nobody gets a whole body that is made of two versions.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final

from aiohttp import web

from cfm.threads import ThreadPool
from cfm.worker.act.digests import Digest
from cfm.worker.act.library import Outlet, Reader
from cfm.worker.decide.ranges import FilePart

_TAIL_BYTES: Final = 64 * 1024
_WRITE_BYTES: Final = 256 * 1024
_LAST_TURN_S: Final = 1.0
"""How long a stream that was ended waits for its thread.  If it takes longer, its disk hangs."""


@dataclass(frozen=True, slots=True)
class Source:
    """An open file, the threads that read it, and the checksum of what they read."""

    reader: Reader
    pool: ThreadPool
    digest: Digest
    timeout_s: float

    async def read(self, start: int, stop: int) -> bytes:
        return await self.pool.run(self.timeout_s, partial(self.reader.read, start, stop, self.digest))

    async def hash(self, start: int, stop: int) -> None:
        """Add these bytes to the checksum.  `OSError` where that fails, or the file changed."""
        await self.pool.run(self.timeout_s, partial(self.reader.hash, start, stop, self.digest))

    async def send(self, outlet: Outlet, start: int, stop: int) -> int:
        """One turn of a thread.  Returns how many bytes were sent; 0 where the other side takes none."""
        work = partial(self.reader.send, outlet, start, stop, self.digest)
        turn = asyncio.ensure_future(self.pool.run(self.timeout_s, work))
        turn.add_done_callback(_retrieved)
        try:
            return await asyncio.shield(turn)
        except BaseException:
            outlet.break_off()
            await asyncio.wait({turn}, timeout=_LAST_TURN_S)
            raise


async def send(
    request: web.Request,
    response: web.StreamResponse,
    source: Source,
    part: FilePart,
    progress: Callable[[int], None],
) -> None:
    """Send the body of a prepared response.  Returns when the kernel has all of it.

    `progress` is called with the size of each piece when the piece is sent.

    Raises:
        OSError: it cannot go on.  The connection is then of no use any more.
    """
    transport = request.transport
    if transport is None:
        raise ConnectionResetError
    tail = max(part.start, part.stop - _TAIL_BYTES)
    if transport.get_extra_info("sslcontext") is None:
        with _unbuffered(transport):  # the headers go before what a thread sends
            await request.writer.drain()
        await _send_from_threads(transport, source, part.start, tail, progress)
    else:  # the kernel cannot encrypt what it sends from the page cache
        await _write(response, source, part.start, tail, progress)
    last = await source.read(tail, part.stop)
    progress(0)
    with _unbuffered(transport):
        await response.write(last)
        await response.write_eof()
    progress(len(last))


async def _send_from_threads(
    transport: asyncio.Transport, source: Source, start: int, stop: int, progress: Callable[[int], None]
) -> None:
    """Send behind what the transport has sent.  It has nothing more to write by itself."""
    if transport.is_closing():
        raise ConnectionResetError
    with closing(Outlet(transport.get_extra_info("socket").fileno())) as outlet:
        while start < stop:
            count = await source.send(outlet, start, stop)
            if transport.is_closing():
                raise ConnectionResetError
            start += count
            if count:
                progress(count)


async def _write(
    response: web.StreamResponse, source: Source, start: int, stop: int, progress: Callable[[int], None]
) -> None:
    for offset in range(start, stop, _WRITE_BYTES):
        piece = await source.read(offset, min(offset + _WRITE_BYTES, stop))
        await response.write(piece)
        progress(len(piece))


@contextmanager
def _unbuffered(transport: asyncio.Transport) -> Iterator[None]:
    """Who waits for a write in this context waits until the kernel has all bytes."""
    transport.set_write_buffer_limits(high=0)
    try:
        yield
    finally:
        transport.set_write_buffer_limits()


def _retrieved(turn: asyncio.Future[int]) -> None:
    """Take the result of a turn that nobody waits for any more, so that asyncio does not log it."""
    if not turn.cancelled():
        turn.exception()
