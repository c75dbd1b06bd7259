"""HTTP by hand, for tests of what no well-behaved client or server would send.

`say` sends bytes to a server unchanged, and reads the answer.  `ScriptedServer` answers with given bytes, and
keeps the requests.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from cfm.model import Addr

Stream: TypeAlias = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Script: TypeAlias = Callable[[bytes, asyncio.StreamWriter], Awaitable[bool]]
"""Gets the head of a request and a writer.  Writes the answer; returns whether to keep the connection."""

PATIENCE_S: Final = 10.0


async def connect(addr: str) -> Stream:
    host, _, port = addr.rpartition(":")
    return await asyncio.open_connection(host or "127.0.0.1", int(port))


async def say(addr: str, data: bytes, *, half_close: bool = False) -> bytes:
    """Send `data`, and return everything until the server closes, or has answered and waits.

    `data` contains `Connection: close` where the server should close after its answer.
    """
    reader, writer = await connect(addr)
    try:
        writer.write(data)
        if half_close:
            writer.write_eof()
        with contextlib.suppress(ConnectionError):
            await writer.drain()
        return await read_all(reader)
    finally:
        await hang_up(writer)


async def read_all(reader: asyncio.StreamReader) -> bytes:
    """Everything until the end of the stream.  A reset counts as an end."""
    got = bytearray()
    async with asyncio.timeout(PATIENCE_S):
        with contextlib.suppress(ConnectionError):
            while chunk := await reader.read(65536):
                got += chunk
    return bytes(got)


async def hang_up(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(ConnectionError, BrokenPipeError):
        await writer.wait_closed()


def status_of(answer: bytes) -> int:
    """The status of the first answer in these bytes; 0 where there is none."""
    parts = answer.split(b" ", 2)
    return int(parts[1]) if len(parts) > 1 and parts[0].startswith(b"HTTP/1.") else 0


def request(method: str, path: str, *, host: str = "127.0.0.1", body: bytes = b"", **headers: str) -> bytes:
    """A well-formed request with `Connection: close`.  `_` in a header name stands for `-`."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", "Connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@dataclass
class ScriptedServer:
    """A server whose answers come from a script."""

    script: Script
    addr: Addr
    heads: list[bytes] = field(default_factory=list)
    """The heads of all requests, as they came."""
    connections: int = 0
    _open: dict[asyncio.StreamWriter, asyncio.Task[None]] = field(default_factory=dict)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        conversation = asyncio.ensure_future(self._converse(reader, writer))
        self._open[writer] = conversation
        await asyncio.wait([conversation])
        del self._open[writer]
        writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):  # the client is gone
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.heads.append(head)
                if not await self.script(head, writer):
                    return

    async def drop_all(self) -> None:
        """Close all open connections without an answer."""
        conversations = set(self._open.values())
        for writer, conversation in self._open.items():
            conversation.cancel()
            writer.transport.abort()
        if conversations:
            await asyncio.wait(conversations)


@contextlib.asynccontextmanager
async def scripted(script: Script, host: str = "127.0.0.1") -> AsyncIterator[ScriptedServer]:
    """A `ScriptedServer` on a free port of `host`, for as long as the block lasts."""
    server = ScriptedServer(script, Addr(f"{host}:0"))
    listener = await asyncio.start_server(server.serve, host, 0)
    server.addr = Addr(f"{host}:{listener.sockets[0].getsockname()[1]}")
    try:
        yield server
    finally:
        listener.close()
        await server.drop_all()
        await listener.wait_closed()


def always(answer: bytes, *, keep: bool = True) -> Script:
    """The script of a server that always gives the same answer."""

    async def script(_head: bytes, writer: asyncio.StreamWriter) -> bool:
        writer.write(answer)
        await writer.drain()
        return keep

    return script


async def never(_head: bytes, _writer: asyncio.StreamWriter) -> bool:
    """The script of a server that never answers."""
    await asyncio.Event().wait()
    return False
