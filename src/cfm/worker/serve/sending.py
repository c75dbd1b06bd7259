"""Sends a part of a file by sendfile, and never waits for a disk in the event loop.

Two things happen to each chunk, in this order.  A thread reads it, so that it is in memory, and in the
checksum. Then the kernel sends it from memory.  The next chunk is read while one is sent.  The last bytes
are sent from the buffer that was read, after a check that the file is still the same: nobody gets a whole
body that is made of two versions.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import IO, Final, TypeAlias, cast

from aiohttp import web

from cfm.threads import ThreadPool
from cfm.worker.act.digests import Digest
from cfm.worker.act.library import ChangedError, Reader
from cfm.worker.decide.ranges import FilePart

MOST_CHUNK_BYTES: Final = 4 * 1024 * 1024
_FIRST_CHUNK_BYTES: Final = 1024 * 1024
_LEAST_CHUNK_BYTES: Final = 64 * 1024
_TAIL_BYTES: Final = 64 * 1024
_WRITE_BYTES: Final = 256 * 1024
_QUICK_S, _SLOW_S = 0.25, 1.0


@dataclass(frozen=True, slots=True)
class Source:
    """An open file, the threads that read it, and the checksum of what they read."""

    reader: Reader
    pool: ThreadPool
    digest: Digest
    timeout_s: float

    async def warm(self, start: int, stop: int) -> None:
        """Bring these bytes into memory.  `OSError` where that fails, `ChangedError` if the file changed."""
        if start < stop:
            await self.pool.run(self.timeout_s, partial(self.reader.warm, start, stop, self.digest))

    async def read(self, start: int, stop: int) -> bytes:
        return await self.pool.run(self.timeout_s, partial(self.reader.read, start, stop, self.digest))


SendChunk: TypeAlias = Callable[[Source, int, int], Awaitable[None]]
"""Sends the bytes of a file from one offset to before another.  They are in memory already."""


async def send(
    transport: asyncio.Transport,
    response: web.StreamResponse,
    source: Source,
    part: FilePart,
    progress: Callable[[int], None],
) -> None:
    """Send the body of a prepared response.  Returns when the kernel has all of it.

    `progress` is called with the size of each chunk when the chunk is sent.

    Raises:
        OSError: it cannot go on.  The connection is then of no use any more.
    """
    tail = max(part.start, part.stop - _TAIL_BYTES)
    send_chunk = _by_sendfile(transport) if _is_plain(transport) else _by_writing(response)
    await _send_chunks(send_chunk, source, FilePart(part.start, tail), progress)
    last = await source.read(tail, part.stop)
    progress(0)
    with _unbuffered(transport):
        await response.write(last)
        await response.write_eof()
    progress(len(last))


async def _send_chunks(
    send_chunk: SendChunk, source: Source, part: FilePart, progress: Callable[[int], None]
) -> None:
    """Send all but the tail, in chunks that take a reader about a second."""
    loop = asyncio.get_running_loop()
    size, start = _FIRST_CHUNK_BYTES, part.start
    stop = min(start + size, part.stop)
    await source.warm(start, stop)
    while start < part.stop:
        began = loop.time()
        then = min(stop + size, part.stop)
        ahead = asyncio.ensure_future(source.warm(stop, then))
        ahead.add_done_callback(_retrieved)
        try:
            await send_chunk(source, start, stop)
            await ahead
        finally:
            ahead.cancel()
        progress(stop - start)
        start, stop = stop, then
        size = _next_size(size, loop.time() - began)


def _next_size(size: int, took_s: float) -> int:
    if took_s < _QUICK_S:
        return min(2 * size, MOST_CHUNK_BYTES)
    return max(size // 2, _LEAST_CHUNK_BYTES) if took_s > _SLOW_S else size


def _is_plain(transport: asyncio.Transport) -> bool:
    """Is the connection without TLS?  The kernel cannot encrypt what it sends from the page cache."""
    return transport.get_extra_info("sslcontext") is None


def _by_sendfile(transport: asyncio.Transport) -> SendChunk:
    async def send_chunk(source: Source, start: int, stop: int) -> None:
        # asyncio asks the file only for its descriptor, and for a seek that does nothing.
        file, count = cast("IO[bytes]", source.reader), stop - start
        try:
            sent = await asyncio.get_running_loop().sendfile(transport, file, start, count, fallback=False)
        except asyncio.SendfileNotAvailableError as error:
            raise OSError(f"the kernel cannot send the file from the page cache: {error}") from error
        if sent != count:
            raise ChangedError("the file became shorter")

    return send_chunk


def _by_writing(response: web.StreamResponse) -> SendChunk:
    async def send_chunk(source: Source, start: int, stop: int) -> None:
        for offset in range(start, stop, _WRITE_BYTES):
            await response.write(await source.read(offset, min(offset + _WRITE_BYTES, stop)))

    return send_chunk


@contextmanager
def _unbuffered(transport: asyncio.Transport) -> Iterator[None]:
    """A write in this context returns only when the kernel has the bytes."""
    transport.set_write_buffer_limits(high=0)
    try:
        yield
    finally:
        transport.set_write_buffer_limits()


def _retrieved(task: asyncio.Future[None]) -> None:
    """Take the result of a chunk that nobody waits for any more, so that asyncio does not log it."""
    if not task.cancelled():
        task.exception()
