"""A source that serves one file over `/content`, correctly or with one chosen fault.

It is written on bare streams, because no HTTP library would send most of these faults.  The conformance
checks of transfers use it.  It keeps its requests in `requests`.
"""

from __future__ import annotations

import asyncio
import base64
import enum
import re
import socket
import struct
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from xxhash import xxh3_128_digest

from cfm.model import Addr


class SourceFault(enum.StrEnum):
    NONE = "none"
    SHORT_FILE = "short file"
    LONG_FILE = "long file"
    EXTRA_BYTES = "extra bytes"
    """More bytes follow after the stated length."""
    CORRUPT = "corrupt"
    CUT_ONCE = "cut once"
    RESET_ONCE = "reset once"
    CUT_ALWAYS = "cut always"
    CHANGES = "changes"
    """The connection is cut once.  After that the file has other bytes, and the same size."""
    WRONG_RANGE = "wrong range"
    STALL = "stall"
    TRICKLE = "trickle"
    SILENT = "silent"
    REDIRECT = "redirect"
    GZIP = "gzip"
    CHUNKS = "endless chunks"
    NO_LENGTH = "no length"
    BUSY = "busy"
    MISSING = "missing"
    NO_DIGEST = "no digest"


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    target: str
    fields: dict[str, str]


@dataclass(slots=True)
class FaultySource:
    """An async context manager; `addr` is where it listens."""

    content: bytes
    fault: SourceFault = SourceFault.NONE
    requests: list[Request] = field(default_factory=list)
    sent_bytes: int = 0
    streaming: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when half of the body has been sent, or when the fault begins."""
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a connection has ended."""
    _server: asyncio.Server | None = None
    _broken: bool = False
    _talks: set[asyncio.Task[None]] = field(default_factory=set)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        await self.cut()
        await self._server.wait_closed()

    async def cut(self) -> None:
        """End all connections."""
        talks = list(self._talks)
        for talk in talks:
            talk.cancel()
        await asyncio.gather(*talks, return_exceptions=True)

    @property
    def addr(self) -> Addr:
        assert self._server is not None
        host, port = self._server.sockets[0].getsockname()
        return Addr(f"{host}:{port}")

    @property
    def etag(self) -> str:
        return f'"{xxh3_128_digest(self.content).hex()}"'

    def count(self, method: str) -> int:
        return sum(request.method == method for request in self.requests)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talk = asyncio.current_task()
        assert talk is not None
        self._talks.add(talk)
        try:
            while (request := await _read_request(reader)) is not None:
                self.requests.append(request)
                await self._answer(request, reader, writer)
        except (ConnectionError, asyncio.CancelledError, EOFError):
            pass  # the other side is gone, or this source is closed
        finally:
            self._talks.discard(talk)
            self.ended.set()
            writer.transport.abort()

    async def _answer(
        self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if request.method == "HEAD":
            await self._head(writer)
            return
        match self.fault:
            case SourceFault.SILENT:
                self.streaming.set()
                await _until_gone(reader)
            case SourceFault.REDIRECT:
                _say(writer, "302 Found", f"Location: http://{self.addr}/elsewhere", "Content-Length: 0")
            case SourceFault.BUSY:
                _say(writer, "503 Service Unavailable", "Retry-After: 7", "Content-Length: 0")
            case SourceFault.MISSING:
                _say(writer, "404 Not Found", "Content-Length: 0")
            case SourceFault.CHUNKS:
                await self._chunks(writer)
            case SourceFault.NO_LENGTH:
                _say(writer, "200 OK", f"ETag: {self.etag}", "Connection: close")
                await self._send(writer, self.content)
                raise EOFError
            case _:
                await self._body(request, reader, writer)
        await writer.drain()

    async def _head(self, writer: asyncio.StreamWriter) -> None:
        digest = base64.b64encode(xxh3_128_digest(self.content)).decode()
        fields = [f"Content-Length: {len(self.content)}", f"ETag: {self.etag}"]
        if self.fault is not SourceFault.NO_DIGEST:
            fields.append(f"Repr-Digest: xxh3-128=:{digest}:")
        _say(writer, "200 OK", *fields)
        await writer.drain()

    async def _chunks(self, writer: asyncio.StreamWriter) -> None:
        _say(writer, "200 OK", f"ETag: {self.etag}", "Transfer-Encoding: chunked")
        while True:
            await self._send(writer, b"10000\r\n" + bytes(65_536) + b"\r\n")

    async def _body(
        self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        content, first = self._content(), self._first(request)
        status, fields = "200 OK", []
        if first:
            shown = first + 1 if self.fault is SourceFault.WRONG_RANGE else first
            status = "206 Partial Content"
            fields.append(f"Content-Range: bytes {shown}-{len(content) - 1}/{len(content)}")
        if self.fault is SourceFault.GZIP:
            fields.append("Content-Encoding: gzip")
        _say(writer, status, f"Content-Length: {len(content) - first}", f"ETag: {self.etag}", *fields)
        await self._stream(reader, writer, content[first:])

    async def _stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, body: bytes) -> None:
        half = len(body) // 2
        await self._send(writer, body[:half])
        self.streaming.set()
        match self.fault:
            case SourceFault.STALL:
                await _until_gone(reader)
            case SourceFault.TRICKLE:
                for place in range(half, len(body)):
                    await self._send(writer, body[place : place + 1])
                    await asyncio.sleep(1)
            case (
                SourceFault.CUT_ONCE | SourceFault.RESET_ONCE | SourceFault.CHANGES | SourceFault.WRONG_RANGE
            ) if not self._broken:
                self._break(writer)
            case SourceFault.CUT_ALWAYS:
                self._break(writer)
        await self._send(writer, body[half:])
        if self.fault is SourceFault.EXTRA_BYTES:
            await self._send(writer, body)

    def _break(self, writer: asyncio.StreamWriter) -> None:
        self._broken = True
        if self.fault is SourceFault.CHANGES:
            self.content = self.content[::-1]
        if self.fault is SourceFault.RESET_ONCE:
            connection: socket.socket = writer.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise EOFError

    def _content(self) -> bytes:
        match self.fault:
            case SourceFault.SHORT_FILE:
                return self.content[:-1]
            case SourceFault.LONG_FILE:
                return self.content + b"!"
            case SourceFault.CORRUPT:
                return self.content[:-1] + bytes([self.content[-1] ^ 1])
        return self.content

    def _first(self, request: Request) -> int:
        match = re.fullmatch(r"bytes=(\d+)-", request.fields.get("range", ""))
        same = request.fields.get("if-range") == self.etag
        return int(match[1]) if match and same else 0

    async def _send(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        writer.write(data)
        await writer.drain()
        self.sent_bytes += len(data)


def _say(writer: asyncio.StreamWriter, status: str, *fields: str) -> None:
    writer.write("\r\n".join((f"HTTP/1.1 {status}", *fields, "", "")).encode())


async def _until_gone(reader: asyncio.StreamReader) -> None:
    """Send nothing until the other side gives up."""
    await reader.read()
    raise EOFError


async def _read_request(reader: asyncio.StreamReader) -> Request | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ")
    pairs = (line.partition(":") for line in lines if line)
    return Request(method, target, {name.lower(): value.strip() for name, _, value in pairs})
