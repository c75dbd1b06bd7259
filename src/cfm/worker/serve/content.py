"""`GET|HEAD /content/{name}`: a worker's files for others, whole or in part, with their checksums.

`streams` says who may read now, `library` opens the file, `ranges` says which bytes, `sending` sends them,
and `digests` keeps the checksums that sending brings.  A stream may be unable to go on: its task was ended,
its reader does not read, its disk hangs, its file changed.  Then its connection is broken, so that nobody
takes a part for the whole.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Protocol

import structlog
from aiohttp import hdrs, web

from cfm import wire
from cfm.web import RefusedError, name_from_path
from cfm.worker.act.digests import Digest, Digests, etag_of, repr_digest, wants_digest
from cfm.worker.act.library import ChangedError, ContentLibrary, Found, Where
from cfm.worker.decide.ranges import FilePart, part_wanted
from cfm.worker.serve.sending import Source, send
from cfm.worker.serve.streams import BusyError, EndedError, Stream, Streams

log = structlog.get_logger(__name__)

PREFIX = "/content/"
STALL_S = 30.0
"""The stream ends if the reader or the disk needs longer than this for one chunk."""
RETRY_AFTER_S = 1
HASHED_BYTES = 4 * 1024 * 1024
"""So much is read at a time for a checksum that no stream has brought."""
_DROP_UNSENT = struct.pack("ii", 1, 0)


class Counter(Protocol):
    """Where sent bytes and ended streams are counted (see `metrics`)."""

    def sent(self, count: int) -> None: ...
    def stream_ended(self, outcome: str) -> None: ...


class Content:
    """The handler, and the checksums that it learns."""

    def __init__(
        self,
        library: ContentLibrary,
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
        task = _task(request)
        if self._streams.is_cut(task):
            raise RefusedError(409, "that task was ended")
        if request.method == hdrs.METH_HEAD:
            async with self._opened(name, only_base=only_base) as found:
                return await self._head(request, found)
        async with self._place(task) as stream, self._opened(name, only_base=only_base) as found:
            return await self._get(request, found, stream)

    @asynccontextmanager
    async def _place(self, task: str | None) -> AsyncIterator[Stream]:
        """A place among the streams.  It is given back when the connection holds nothing of the stream any
        more."""
        try:
            stream = await self._streams.open(task)
        except BusyError:
            self._counter.stream_ended("busy")
            retry = {"Retry-After": str(RETRY_AFTER_S)}
            raise RefusedError(503, "all stream slots are taken", retry) from None
        except EndedError:
            raise RefusedError(409, "that task was ended") from None
        try:
            yield stream
        finally:
            # This comes after what `abort` has scheduled: the socket is closed before the place is free.
            asyncio.get_running_loop().call_soon(self._streams.close, stream)

    @asynccontextmanager
    async def _opened(self, name: str, *, only_base: bool) -> AsyncIterator[Found]:
        try:
            found = await self._library.find(name, only_base=only_base)
        except OSError as error:
            log.warning("cannot look for a file", file=name, why=str(error))
            raise RefusedError(500, f"cannot look for the file: {error}") from error
        if found is None:
            raise RefusedError(404, "no such file")
        try:
            yield found
        finally:
            self._library.close(found)

    async def _head(self, request: web.Request, found: Found) -> web.StreamResponse:
        response = _response(found)
        if wants_digest(request.headers.get("Want-Repr-Digest")):
            response.headers["Repr-Digest"] = repr_digest(await self._digest(found))
        response.content_length = found.reader.entry.size_bytes
        if found.where is Where.BASE:  # this says which disk it is: two addresses may share one
            response.headers[wire.DISK] = self._library.shelf.seen_disk_id
        await response.prepare(request)
        return response

    async def _digest(self, found: Found) -> bytes:
        """The checksum.  The file is read for it if no stream has brought it, until the client is gone."""
        digest = self._digests.of(found.reader.entry)
        source = Source(found.reader, found.threads, digest, self._stall_s)
        try:
            async with self._reading_for_digest:
                while digest.known is None:
                    stop = min(digest.position + HASHED_BYTES, digest.size_bytes)
                    await source.hash(digest.position, stop)
        except OSError as error:
            self._digests.forget(found.reader.entry)
            raise RefusedError(500, f"cannot read the file: {error}") from error
        return digest.known

    async def _get(self, request: web.Request, found: Found, stream: Stream) -> web.StreamResponse:
        entry, etag = found.reader.entry, etag_of(found.reader.entry)
        asked, condition = request.headers.get(hdrs.RANGE), request.headers.get(hdrs.IF_RANGE)
        part = part_wanted(asked, condition, etag, entry.size_bytes)
        if part is None:
            told = {"Content-Range": f"bytes */{entry.size_bytes}"}
            raise RefusedError(416, "only one range of bytes within the file is served", told)
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
        part: FilePart,
        stream: Stream,
        digest: Digest,
    ) -> None:
        """Send all of it, or break the connection, so that nobody takes a part for the whole."""
        transport = request.transport
        if transport is None:
            raise ConnectionResetError
        outcome = "gone"
        try:
            async with asyncio.timeout(self._stall_s) as deadline:
                stream.on_cut(partial(_expire, deadline))
                progress = partial(self._progress, deadline, stream)
                source = Source(found.reader, found.threads, digest, self._stall_s)
                await send(request, response, source, part, progress)
            outcome = "sent"
        except TimeoutError:
            outcome = "cut" if stream.is_cut else "stalled"
            raise ConnectionResetError from None
        except OSError as error:
            if not isinstance(error, ConnectionError):
                outcome = "failed"
                if isinstance(error, ChangedError):
                    self._digests.forget(found.reader.entry)
                log.warning("cannot go on sending a file", file=found.reader.entry.name, why=str(error))
            raise ConnectionResetError from error
        finally:
            self._counter.stream_ended(outcome)
            if outcome != "sent":
                _abort(transport)
                log.info("stream ended early", file=found.reader.entry.name, task=stream.task, why=outcome)

    def _progress(self, deadline: asyncio.Timeout, stream: Stream, count: int) -> None:
        self._counter.sent(count)
        if not stream.is_cut:
            deadline.reschedule(asyncio.get_running_loop().time() + self._stall_s)


def _task(request: web.Request) -> str | None:
    """The task on whose behalf the file is read; None where none is named."""
    task = request.headers.get(wire.TASK)
    if task is not None and (not task or wire.token(task) != task):
        raise RefusedError(400, f"{wire.TASK} must be the id of a task")
    return task


def _only_base(request: web.Request) -> bool:
    if not request.query_string:
        return False
    if request.query_string == "in=base":
        return True
    raise RefusedError(400, "the only query allowed is in=base")


def _response(found: Found, part: FilePart | None = None) -> web.StreamResponse:
    """The head of an answer.  `part` is given if a body follows."""
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


def _expire(deadline: asyncio.Timeout) -> None:
    with suppress(RuntimeError):  # it is over already
        deadline.reschedule(asyncio.get_running_loop().time())


def _abort(transport: asyncio.Transport) -> None:
    """Break the connection, and drop what the kernel has not sent yet."""
    with suppress(OSError, AttributeError):  # the other side has closed it already
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _DROP_UNSENT)
    transport.abort()
