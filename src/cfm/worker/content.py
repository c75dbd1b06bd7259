"""`GET|HEAD /content/{name}`: files sent to other workers, by sendfile, with their checksum on the way.

Of each chunk two things happen, in this order: a thread reads it (so that it is in memory, and counted into
the checksum), then the kernel sends it from there.  So neither a slow disk nor a hung one is ever waited for
in the event loop.  The next chunk is read while one is sent.  The last bytes are sent from the very buffer
that was read, after a look at whether the file is still the same: nobody gets a whole body of two versions.
`streams` says who may read, `library` opens, `ranges` says which bytes, `digests` keeps the checksums.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from typing import IO, Protocol, cast

import structlog
from aiohttp import hdrs, web

from cfm import wire
from cfm.web import RefusedError, name_from_path
from cfm.worker.digests import Digest, Digests, etag_of, repr_digest, wants_digest
from cfm.worker.library import ChangedError, Found, Library
from cfm.worker.ranges import Part, part_wanted
from cfm.worker.streams import BusyError, EndedError, Stream, Streams

log = structlog.get_logger(__name__)

PREFIX = "/content/"
STALL_S = 30.0
"""A reader, or a disk, that does not get one chunk done in so long ends the stream."""
RETRY_AFTER_S = 1
_TAIL_BYTES = 64 * 1024
_LEAST_CHUNK_BYTES = 64 * 1024
_FIRST_CHUNK_BYTES = 1024 * 1024
_MOST_CHUNK_BYTES = 4 * 1024 * 1024
_QUICK_S, _SLOW_S = 0.25, 1.0
_DROP_UNSENT = struct.pack("ii", 1, 0)


class Counter(Protocol):
    """Where sent bytes and ended streams are counted (see `metrics`)."""

    def sent(self, count: int) -> None: ...
    def stream_ended(self, outcome: str) -> None: ...


class Content:
    """The handler, and the checksums that it learns."""

    def __init__(
        self,
        library: Library,
        streams: Streams,
        counter: Counter,
        *,
        digests: Digests | None = None,
        stall_s: float = STALL_S,
    ) -> None:
        self._library = library
        self._streams = streams
        self._counter = counter
        self._digests = digests or Digests()
        self._stall_s = stall_s
        self._reading_for_digest = asyncio.Semaphore(1)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        name = name_from_path(request, PREFIX, query_allowed=True)
        only_base = _only_base(request)
        task = request.headers.get(wire.TASK)
        if self._streams.is_cut(task):
            raise RefusedError(409, "that task was ended")
        if request.method == hdrs.METH_HEAD:
            async with self._opened(name, only_base=only_base) as found:
                return await self._head(request, found)
        async with self._place(task) as stream, self._opened(name, only_base=only_base) as found:
            return await self._get(request, found, stream)

    @asynccontextmanager
    async def _place(self, task: str | None) -> AsyncIterator[Stream]:
        """A place among the streams; it is given back when the connection holds nothing of it any more."""
        try:
            stream = await self._streams.open(task)
        except BusyError:
            self._counter.stream_ended("busy")
            retry = {"Retry-After": str(RETRY_AFTER_S)}
            raise RefusedError(503, "as many streams as may be are being served", retry) from None
        except EndedError:
            raise RefusedError(409, "that task was ended") from None
        try:
            yield stream
        finally:
            # After what `abort` has scheduled: the socket is closed when the place is free.
            asyncio.get_running_loop().call_soon(self._streams.close, stream)

    @asynccontextmanager
    async def _opened(self, name: str, *, only_base: bool) -> AsyncIterator[Found]:
        try:
            found = await self._library.find(name, only_base=only_base)
        except OSError as error:
            log.warning("cannot look for a file", file=name, why=str(error))
            raise RefusedError(500, f"cannot be looked for: {error}") from error
        if found is None:
            raise RefusedError(404, "no such file")
        try:
            yield found
        finally:
            closing = asyncio.ensure_future(self._library.close(found))
            _background.add(closing)
            closing.add_done_callback(_background.discard)

    async def _head(self, request: web.Request, found: Found) -> web.StreamResponse:
        response = _response(found)
        if wants_digest(request.headers.get("Want-Repr-Digest")):
            response.headers["Repr-Digest"] = repr_digest(await self._digest(found))
        response.content_length = found.reader.entry.size_bytes
        await response.prepare(request)
        return response

    async def _digest(self, found: Found) -> bytes:
        """The checksum, read for where no stream has brought it; given up when the client is gone."""
        digest = self._digests.of(found.reader.entry)
        async with self._reading_for_digest:
            while digest.known is None:
                start = digest.position
                stop = min(start + _MOST_CHUNK_BYTES, digest.size_bytes)
                try:
                    await self._warm(found, start, stop, digest)
                except OSError as error:
                    self._digests.forget(found.reader.entry)
                    raise RefusedError(500, f"cannot be read: {error}") from error
        return digest.known

    async def _get(self, request: web.Request, found: Found, stream: Stream) -> web.StreamResponse:
        entry, etag = found.reader.entry, etag_of(found.reader.entry)
        asked, condition = request.headers.get(hdrs.RANGE), request.headers.get(hdrs.IF_RANGE)
        part = part_wanted(asked, condition, etag, entry.size_bytes)
        if part is None:
            told = {"Content-Range": f"bytes */{entry.size_bytes}"}
            raise RefusedError(416, "one range of bytes within the file", told)
        response = _response(found, part)
        digest = self._digests.of(entry)
        if digest.known and wants_digest(request.headers.get("Want-Repr-Digest")):
            response.headers["Repr-Digest"] = repr_digest(digest.known)
        await response.prepare(request)
        await self._send_or_cut(request, response, found, part, stream, digest)
        return response

    async def _send_or_cut(
        self,
        request: web.Request,
        response: web.StreamResponse,
        found: Found,
        part: Part,
        stream: Stream,
        digest: Digest,
    ) -> None:
        """Send all of it, or break the connection so that nobody takes what came for the whole."""
        transport = request.transport
        if transport is None:
            raise ConnectionResetError
        outcome = "gone"
        try:
            async with asyncio.timeout(self._stall_s) as deadline:
                stream.on_cut(partial(_expire, deadline))
                progress = partial(self._progress, deadline, stream)
                await self._send(transport, response, found, part, digest, progress)
            outcome = "sent"
        except TimeoutError:
            outcome = "cut" if stream.is_cut else "stalled"
            raise ConnectionResetError from None
        except OSError as error:
            if not isinstance(error, ConnectionError):
                outcome = "failed"
                if isinstance(error, ChangedError):
                    self._digests.forget(found.reader.entry)
                log.warning("cannot go on sending", file=found.reader.entry.name, why=str(error))
            raise ConnectionResetError from error
        finally:
            self._counter.stream_ended(outcome)
            if outcome != "sent":
                _abort(transport)
                log.info("stream ended early", file=found.reader.entry.name, task=stream.task, why=outcome)

    async def _send(
        self,
        transport: asyncio.Transport,
        response: web.StreamResponse,
        found: Found,
        part: Part,
        digest: Digest,
        progress: Callable[[int], None],
    ) -> None:
        tail = max(part.start, part.stop - _TAIL_BYTES)
        await self._send_body(transport, found, Part(part.start, tail), digest, progress)
        last = await self._library.pool(found).run(
            self._stall_s, partial(found.reader.read, tail, part.stop, digest)
        )
        progress(0)
        with _unbuffered(transport):
            await response.write(last)
            await response.write_eof()
        progress(len(last))

    async def _send_body(
        self,
        transport: asyncio.Transport,
        found: Found,
        part: Part,
        digest: Digest,
        progress: Callable[[int], None],
    ) -> None:
        """All but the tail, in chunks that a reader gets done in about a second."""
        loop = asyncio.get_running_loop()
        size, start = _FIRST_CHUNK_BYTES, part.start
        stop = min(start + size, part.stop)
        await self._warm(found, start, stop, digest)
        while start < part.stop:
            began = loop.time()
            then = min(stop + size, part.stop)
            ahead = asyncio.ensure_future(self._warm(found, stop, then, digest))
            ahead.add_done_callback(_retrieved)
            try:
                await _sendfile(transport, found, start, stop)
                await ahead
            finally:
                ahead.cancel()
            progress(stop - start)
            start, stop = stop, then
            size = _next_size(size, loop.time() - began)

    async def _warm(self, found: Found, start: int, stop: int, digest: Digest) -> None:
        if start < stop:
            reading = partial(found.reader.warm, start, stop, digest)
            await self._library.pool(found).run(self._stall_s, reading)

    def _progress(self, deadline: asyncio.Timeout, stream: Stream, count: int) -> None:
        self._counter.sent(count)
        if not stream.is_cut:
            deadline.reschedule(asyncio.get_running_loop().time() + self._stall_s)


_background: set[asyncio.Future[None]] = set()
"""Files being closed: the event loop itself keeps no hold of its tasks."""


def _only_base(request: web.Request) -> bool:
    if not request.query_string:
        return False
    if request.query_string == "in=base":
        return True
    raise RefusedError(400, "the only query is in=base")


def _response(found: Found, part: Part | None = None) -> web.StreamResponse:
    """The head of an answer; `part` where a body follows."""
    entry = found.reader.entry
    headers = {
        hdrs.ACCEPT_RANGES: "bytes",
        hdrs.CONTENT_TYPE: "application/octet-stream",
        hdrs.ETAG: etag_of(entry),
        wire.WHERE: found.where,
    }
    if part is None:
        return web.StreamResponse(headers=headers)
    if part.partial:
        headers[hdrs.CONTENT_RANGE] = f"bytes {part.start}-{part.stop - 1}/{entry.size_bytes}"
    response = web.StreamResponse(status=206 if part.partial else 200, headers=headers)
    response.content_length = part.count
    return response


def _next_size(size: int, took_s: float) -> int:
    if took_s < _QUICK_S:
        return min(2 * size, _MOST_CHUNK_BYTES)
    return max(size // 2, _LEAST_CHUNK_BYTES) if took_s > _SLOW_S else size


async def _sendfile(transport: asyncio.Transport, found: Found, start: int, stop: int) -> None:
    loop = asyncio.get_running_loop()
    try:
        # All that is asked of the file is its descriptor, and a seek that is of no use to us.
        sent = await loop.sendfile(
            transport, cast("IO[bytes]", found.reader), start, stop - start, fallback=False
        )
    except asyncio.SendfileNotAvailableError as error:
        raise OSError(f"cannot be sent from the page cache: {error}") from error
    if sent != stop - start:
        raise ChangedError("the file became shorter")


@contextmanager
def _unbuffered(transport: asyncio.Transport) -> Iterator[None]:
    """What is written meanwhile is waited for until the kernel has it."""
    transport.set_write_buffer_limits(high=0)
    try:
        yield
    finally:
        transport.set_write_buffer_limits()


def _expire(deadline: asyncio.Timeout) -> None:
    with suppress(RuntimeError):  # it is over already
        deadline.reschedule(asyncio.get_running_loop().time())


def _abort(transport: asyncio.Transport) -> None:
    """Break the connection, and drop what the kernel still holds for it."""
    with suppress(OSError, AttributeError):  # closed by the other side already
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _DROP_UNSENT)
    transport.abort()


def _retrieved(task: asyncio.Future[None]) -> None:
    """What a chunk that nobody waits for any more came to."""
    if not task.cancelled():
        task.exception()
