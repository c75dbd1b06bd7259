"""Sends a part of a file by sendfile, and never waits for a disk in the event loop.

Of each chunk two things happen, in this order: a thread reads it (so that it is in memory, and counted into
the checksum), then the kernel sends it from there.  The next chunk is read while one is sent.  The last
bytes are sent from the very buffer that was read, after a look at whether the file is still the same: nobody
gets a whole body of two versions.
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
from cfm.worker.decide.ranges import Part

MOST_CHUNK_BYTES: Final = 4 * 1024 * 1024
_FIRST_CHUNK_BYTES: Final = 1024 * 1024
_LEAST_CHUNK_BYTES: Final = 64 * 1024
_TAIL_BYTES: Final = 64 * 1024
_WRITE_BYTES: Final = 256 * 1024
_QUICK_S, _SLOW_S = 0.25, 1.0


@dataclass(frozen=True, slots=True)
class Source:
    """An open file, the threads that read it, and the checksum that is made of what they read."""

    reader: Reader
    pool: ThreadPool
    digest: Digest
    timeout_s: float

    async def warm(self, start: int, stop: int) -> None:
        """Have these bytes in memory.  `OSError`: `ChangedError` where they are of another version."""
        if start < stop:
            await self.pool.run(self.timeout_s, partial(self.reader.warm, start, stop, self.digest))

    async def read(self, start: int, stop: int) -> bytes:
        return await self.pool.run(self.timeout_s, partial(self.reader.read, start, stop, self.digest))


SendChunk: TypeAlias = Callable[[Source, int, int], Awaitable[None]]
"""Sends the bytes of a file from one offset to before another; they are in memory already."""


async def send(
    transport: asyncio.Transport,
    response: web.StreamResponse,
    source: Source,
    part: Part,
    progress: Callable[[int], None],
) -> None:
    """Send the body of a prepared response; back when the kernel has all of it.

    `progress` is called with the bytes of each chunk when it is gone.  Raises `OSError` where it cannot go
    on; the connection is then of no use any more.
    """
    tail = max(part.start, part.stop - _TAIL_BYTES)
    send_chunk = _by_sendfile(transport) if _is_plain(transport) else _by_writing(response)
    await _send_chunks(send_chunk, source, Part(part.start, tail), progress)
    last = await source.read(tail, part.stop)
    progress(0)
    with _unbuffered(transport):
        await response.write(last)
        await response.write_eof()
    progress(len(last))


async def _send_chunks(
    send_chunk: SendChunk, source: Source, part: Part, progress: Callable[[int], None]
) -> None:
    """All but the tail, in chunks that a reader gets done in about a second."""
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
    """False for TLS: the kernel cannot send from the page cache what must be encrypted."""
    return transport.get_extra_info("sslcontext") is None


def _by_sendfile(transport: asyncio.Transport) -> SendChunk:
    async def send_chunk(source: Source, start: int, stop: int) -> None:
        # All that is asked of the file is its descriptor, and a seek that is of no use to us.
        file, count = cast("IO[bytes]", source.reader), stop - start
        try:
            sent = await asyncio.get_running_loop().sendfile(transport, file, start, count, fallback=False)
        except asyncio.SendfileNotAvailableError as error:
            raise OSError(f"cannot be sent from the page cache: {error}") from error
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
    """What is written meanwhile is waited for until the kernel has it."""
    transport.set_write_buffer_limits(high=0)
    try:
        yield
    finally:
        transport.set_write_buffer_limits()


def _retrieved(task: asyncio.Future[None]) -> None:
    """What a chunk that nobody waits for any more came to."""
    if not task.cancelled():
        task.exception()
