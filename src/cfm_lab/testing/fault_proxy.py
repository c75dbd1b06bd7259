"""A TCP proxy with the faults of a network.  Client and server do not know that it is there.

It stands between a client and one server.  A `ProxyFault` says what happens, in which direction, from which
byte on, and to which requests.  A connection is *struck* by the first bytes to the server that contain
`when`, and stays struck until it ends.  Faults are set and cleared while the proxy runs: from another thread,
or by lines of JSON on its standard input if it runs as `python -m cfm_lab.testing.fault_proxy LISTEN TARGET`.

Neighbours: `cluster` can give the address of a proxy to the programs; fault tests and benches choose the
faults.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import json
import socket
import struct
import sys
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Final, Self

_PIECE_BYTES: Final = 65_536
_START_S: Final = 10.0
_CLOSE_S: Final = 1.0
_ROUNDS: Final = 5
"""How many rounds of the event loop pass until a new connection has its link, or an ended one is closed."""
_LINGER_NONE: Final = struct.pack("ii", 1, 0)
REMEMBERED: Final = 10_000
"""How many requests' first lines are kept."""


class Effect(enum.StrEnum):
    CUT = "cut"
    """The connection ends properly (FIN)."""
    RESET = "reset"
    """The connection ends with a RST."""
    HOLE = "hole"
    """Nothing that is sent arrives, and neither end is told."""
    DELAY = "delay"
    """Each piece arrives `seconds` later."""
    TRICKLE = "trickle"
    """One byte every `seconds`."""
    CORRUPT = "corrupt"
    """One bit changes.  The checksum of TCP does not notice every such change."""
    REPLACE = "replace"
    """`find` is replaced by `put` once, as in a false header."""
    REPEAT = "repeat"
    """What is sent is sent once more on a second connection, whose answer nobody reads."""


class Way(enum.Flag):
    """A direction."""

    TO_SERVER = enum.auto()
    TO_CLIENT = enum.auto()
    BOTH = TO_SERVER | TO_CLIENT


@dataclass(frozen=True, slots=True)
class ProxyFault:
    """What happens to the connections that it strikes."""

    effect: Effect
    way: Way = Way.TO_CLIENT
    when: bytes = b""
    """Strikes a connection when bytes to the server contain this; empty: at the first bytes."""
    after_bytes: int = 0
    """How many bytes still pass unharmed in its direction after it has struck."""
    seconds: float = 0.0
    times: int | None = None
    """How many connections it strikes; None: all."""
    find: bytes = b""
    put: bytes = b""


def lost_answer(when: bytes, times: int | None = None) -> ProxyFault:
    """The request is carried out, but the client sees only the end of the connection."""
    return ProxyFault(Effect.RESET, when=when, times=times)


class _CutError(Exception):
    """The connection has to end now."""

    def __init__(self, *, politely: bool) -> None:
        super().__init__()
        self.politely = politely


@dataclass(slots=True, eq=False)
class _Link:
    """One connection through the proxy."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter | None = None
    fault: ProxyFault | None = None
    passed: dict[Way, int] = field(default_factory=lambda: {Way.TO_SERVER: 0, Way.TO_CLIENT: 0})
    """Bytes that have passed since it was struck."""
    hurt: bool = False
    """The fault has had an effect.  An effect that happens only once does not happen again."""

    def abort(self) -> None:
        for writer in (self.client, self.server):
            if writer is not None:
                connection: socket.socket = writer.get_extra_info("socket")
                if not writer.transport.is_closing():
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NONE)
                writer.transport.abort()

    async def close(self) -> None:
        """End both sides properly, and wait until they have ended."""
        for writer in (self.client, self.server):
            if writer is not None:
                writer.close()
                with contextlib.suppress(OSError, TimeoutError):
                    await asyncio.wait_for(writer.wait_closed(), _CLOSE_S)


class FaultProxy:
    """A context manager with its own thread.  `addr` is where it listens.

    All public methods may be called from any thread.
    """

    def __init__(self, target: str, listen: str = "127.0.0.1:0") -> None:
        self.target = target
        self.addr = listen
        self.struck = 0
        """How many connections a fault has had an effect on so far."""
        self._faults: tuple[ProxyFault, ...] = ()
        self._left: dict[ProxyFault, int] = {}
        self._requests: deque[bytes] = deque(maxlen=REMEMBERED)
        self._links: set[_Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._listener: asyncio.Server | None = None
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"proxy to {target}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._call(self._listen())
        return self

    def __exit__(self, *_: object) -> None:
        self._call(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_START_S)
        self._loop.close()

    # ── for its user ────────────────────────────────────────────────────────────────────────────────────

    def set(self, *faults: ProxyFault) -> None:
        """From now on only these faults strike."""
        self._call(self._set(faults))

    def clear(self) -> None:
        """End all faults.  Connections that were struck end, and new ones are accepted."""
        self._call(self._clear())

    def refuse(self) -> None:
        """Stop listening, and reset all open connections."""
        self._call(self._refuse())

    def forget_open(self) -> None:
        """Nothing more passes on the present connections, and neither end is told.  New ones work."""
        self._call(self._forget_open())

    def count(self, beginning: bytes) -> int:
        """How many requests had a first line that begins with this."""
        return sum(line.startswith(beginning) for line in list(self._requests))

    # ── on the loop ─────────────────────────────────────────────────────────────────────────────────────

    def _call(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(_START_S)

    async def _listen(self) -> None:
        host, _, port = self.addr.rpartition(":")
        self._listener = await asyncio.start_server(self._accept, host, int(port))
        self.addr = f"{host}:{self._listener.sockets[0].getsockname()[1]}"

    async def _end(self) -> None:
        """End all links, also those of connections that are being accepted at this moment."""
        await self._refuse()
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)
        await _rounds()  # an aborted transport closes its socket in the next round of the loop

    async def _set(self, faults: tuple[ProxyFault, ...]) -> None:
        self._faults = faults
        self._left = {fault: fault.times for fault in faults if fault.times is not None}

    async def _clear(self) -> None:
        await self._set(())
        for link in list(self._links):
            if link.fault is not None:
                link.abort()
        if self._listener is None:
            await self._listen()

    async def _refuse(self) -> None:
        if self._listener is not None:
            # A connection just accepted must become a link before the listener closes, or asyncio forgets it.
            for listening in self._listener.sockets:
                self._loop.remove_reader(listening.fileno())
            await _rounds()
            self._listener.close()
            self._listener = None
        for link in list(self._links):
            link.abort()

    async def _forget_open(self) -> None:
        for link in self._links:
            link.fault = ProxyFault(Effect.HOLE, Way.BOTH)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = _Link(writer)
        self._links.add(link)
        task = asyncio.ensure_future(self._serve(link, reader))
        self._tasks.add(task)
        task.add_done_callback(lambda task: self._ended(link, task))  # also if it never began

    def _ended(self, link: _Link, task: asyncio.Task[None]) -> None:
        link.abort()
        self._links.discard(link)
        self._tasks.discard(task)

    async def _serve(self, link: _Link, reader: asyncio.StreamReader) -> None:
        try:
            await self._carry(link, reader)
            await link.close()
        except _CutError as cut:
            if cut.politely:
                await link.close()
        except (OSError, asyncio.CancelledError):
            pass  # one end is gone, or the proxy is closed

    async def _carry(self, link: _Link, from_client: asyncio.StreamReader) -> None:
        host, _, port = self.target.rpartition(":")
        from_server, link.server = await asyncio.open_connection(host, int(port))
        there = asyncio.ensure_future(self._pump(link, Way.TO_SERVER, from_client, link.server))
        back = asyncio.ensure_future(self._pump(link, Way.TO_CLIENT, from_server, link.client))
        try:
            await asyncio.gather(there, back)
        finally:
            there.cancel()
            back.cancel()

    async def _pump(
        self, link: _Link, way: Way, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while data := await reader.read(_PIECE_BYTES):
            if way is Way.TO_SERVER:
                self._requests.append(data.partition(b"\r\n")[0])
                self._choose(link, data)
            await self._pass(link, way, data, writer)
        if link.fault is None or link.fault.effect is not Effect.HOLE:
            writer.write_eof()

    def _choose(self, link: _Link, data: bytes) -> None:
        for fault in self._faults:
            if link.fault is None and fault.when in data and self._left.get(fault, 1) > 0:
                if fault in self._left:
                    self._left[fault] -= 1
                link.fault = fault

    async def _pass(self, link: _Link, way: Way, data: bytes, writer: asyncio.StreamWriter) -> None:
        """Pass on the bytes that the fault leaves alone, and then what it makes of the others."""
        fault, rest = link.fault, data
        if fault is not None and way in fault.way:
            unharmed = max(0, fault.after_bytes - link.passed[way])
            data, rest = data[:unharmed], data[unharmed:]
            link.passed[way] += len(data)
        else:
            rest = b""
        if data:
            writer.write(data)
            await writer.drain()
        if fault is not None and rest:
            await self._hurt(link, fault, rest, writer)

    async def _hurt(self, link: _Link, fault: ProxyFault, data: bytes, writer: asyncio.StreamWriter) -> None:
        first = not link.hurt and (fault.effect is not Effect.REPLACE or fault.find in data)
        self.struck += first
        link.hurt = link.hurt or first
        match fault.effect:
            case Effect.CUT | Effect.RESET:
                raise _CutError(politely=fault.effect is Effect.CUT)
            case Effect.HOLE:
                return
            case Effect.DELAY:
                await asyncio.sleep(fault.seconds)
            case Effect.TRICKLE:
                await _trickle(data, fault.seconds, writer)
                return
            case Effect.CORRUPT if first:
                data = bytes([data[0] ^ 1]) + data[1:]
            case Effect.REPLACE if first:
                data = data.replace(fault.find, fault.put, 1)
            case Effect.REPEAT:
                self._beside(self._repeat(data))
        writer.write(data)
        await writer.drain()

    def _beside(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _repeat(self, data: bytes) -> None:
        host, _, port = self.target.rpartition(":")
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_connection(host, int(port))
            try:
                writer.write(data)
                await reader.read(_PIECE_BYTES)
            finally:
                writer.transport.abort()


async def _rounds() -> None:
    for _ in range(_ROUNDS):
        await asyncio.sleep(0)


async def _trickle(data: bytes, pause_s: float, writer: asyncio.StreamWriter) -> None:
    for place in range(len(data)):
        writer.write(data[place : place + 1])
        await writer.drain()
        await asyncio.sleep(pause_s)


# ── as a program ────────────────────────────────────────────────────────────────────────────────────────


def fault_of(line: dict[str, Any]) -> ProxyFault:
    """A fault from JSON with its fields: `{"effect": "reset", "way": "to_client", "when": "DELETE ", …}`."""
    given = dict(line)
    for key in ("when", "find", "put"):
        if key in given:
            given[key] = str(given[key]).encode()
    given["effect"] = Effect(given["effect"])
    given["way"] = Way[str(given.get("way", "to_client")).upper()]
    return ProxyFault(**given)


def main() -> None:
    listen, target = sys.argv[1:]
    with FaultProxy(target, listen) as proxy:
        print(f"listening on {proxy.addr}", flush=True)
        words: dict[str, Callable[[], None]] = {
            "clear": proxy.clear,
            "refuse": proxy.refuse,
            "forget_open": proxy.forget_open,
        }
        for text in sys.stdin:
            said = json.loads(text)
            if isinstance(said, str):
                words[said]()
            else:
                proxy.set(*(fault_of(line) for line in said))
            print(f"struck {proxy.struck}", flush=True)


if __name__ == "__main__":
    main()
