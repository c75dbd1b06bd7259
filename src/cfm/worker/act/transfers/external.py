"""The external downloader: a program of the operator's, run as it always was.

`downloader_bin SRC_IP TARGET SOURCE_PATH BITS_PER_SECOND` writes the file to TARGET; it succeeded when it
exits with 0 and its stderr matches the configured expression.  It runs under a guard (see `guard`), so that
neither it nor a child of it outlives the task or this worker; a guard is started ahead of need, so that a
transfer begins at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import structlog

from cfm.model import host_of
from cfm.threads import HungError, ThreadPool
from cfm.wire import TaskOffer
from cfm.worker.act.transfers.contract import Landing, Received, TransferError, Watch

log = structlog.get_logger(__name__)

R = TypeVar("R")

GUARD: Final = Path(__file__).with_name("guard.py")
END_S: Final = 5.0
"""How long the end of a downloader is waited for; longer than that, the kernel holds it."""
LAST_OUTPUT_S: Final = 1.0
"""How long the output is read after the guard's end; only what escaped it could still hold it open."""
LOOK_EVERY_S: Final = 0.5
KEPT_BYTES: Final = 64 * 1024
"""Of the output, so much of its beginning and so much of its end is kept."""
SHOWN_CHARS: Final = 300
_DISK_S: Final = 600.0


@dataclass(frozen=True, slots=True)
class ExternalSettings:
    program: Path
    success: re.Pattern[str]
    stall_s: float = 600.0
    """After so long without a byte more in TARGET, nor on stderr, it is ended."""
    least_timeout_s: float = 3600.0
    """It may run so long in any case, and three times what size and speed say."""
    spare_guards: int = 1


class ExternalTransfer:
    """See the module's text."""

    def __init__(self, settings: ExternalSettings) -> None:
        self._settings = settings
        self.spares: list[asyncio.Task[Process]] = []
        """Guards that were started ahead of need."""
        self._pool = ThreadPool("download files", 2)

    def prepare(self) -> None:
        """Start guards ahead of need; called again while one is in use."""
        while len(self.spares) < self._settings.spare_guards:
            self.spares.append(asyncio.create_task(_start_guard()))

    async def fetch(self, offer: TaskOffer, landing: Landing, watch: Watch) -> Received:
        guard = await self._guard()
        output = _Output()
        try:
            async with asyncio.timeout(self._timeout_s(offer)):
                status = await self._run(guard, self._command(offer, landing), output, landing, watch)
        except TimeoutError as error:
            raise TransferError(f"the downloader did not end in time; {output.shown()}") from error
        finally:
            await _end(guard)
        self._judge(status, output)
        return await self._accept(offer, landing, watch)

    async def close(self) -> None:
        spares, self.spares = self.spares, []
        for spare in spares:
            await _end(await spare)
        self._pool.close()

    async def _guard(self) -> Process:
        self.prepare()
        guard = await self.spares.pop(0) if self.spares else await _start_guard()
        if guard.returncode is not None:  # it was killed while it waited
            await _end(guard)
            guard = await _start_guard()
        return guard

    def _command(self, offer: TaskOffer, landing: Landing) -> list[str]:
        program = os.path.abspath(self._settings.program)  # noqa: PTH100 - as named: links are the operator's
        return [program, host_of(offer.source), landing.path, offer.path, str(offer.copy_speed_bps)]

    def _timeout_s(self, offer: TaskOffer) -> float:
        expected_s = 8 * (offer.size_bytes or 0) / offer.copy_speed_bps if offer.copy_speed_bps else 0.0
        return max(self._settings.least_timeout_s, 3 * expected_s)

    async def _run(
        self, guard: Process, command: list[str], output: _Output, landing: Landing, watch: Watch
    ) -> int:
        """The program's exit status; `TransferError` where it got stuck."""
        assert guard.stdin is not None
        assert guard.stderr is not None
        guard.stdin.write(json.dumps(command).encode() + b"\n")
        with contextlib.suppress(ConnectionError):  # the guard is gone: its status will say so
            await guard.stdin.drain()
        ended = asyncio.create_task(guard.wait())
        reading = asyncio.create_task(output.read(guard.stderr))
        watching = asyncio.create_task(self._watch(guard, output, landing, watch))
        try:
            await asyncio.wait({ended, watching}, return_when=asyncio.FIRST_COMPLETED)
            if watching.done():
                watching.result()  # it only ever ends by raising
            await asyncio.wait({reading}, timeout=LAST_OUTPUT_S)
            return ended.result()
        finally:
            for task in (ended, reading, watching):
                task.cancel()
            await asyncio.gather(ended, reading, watching, return_exceptions=True)

    async def _watch(self, guard: Process, output: _Output, landing: Landing, watch: Watch) -> None:
        """Tell how the target grows, for ever; raise where nothing moves, or nobody guards."""
        loop = asyncio.get_running_loop()
        seen, since_s = (0, 0), loop.time()
        while True:
            await asyncio.sleep(min(LOOK_EVERY_S, self._settings.stall_s / 4))
            self.prepare()  # only now: a guard that starts would slow the beginning of the downloader
            if _was_killed(guard):
                raise TransferError("the guard of the downloader was killed")
            size_bytes = await self._in_thread(lambda: _size_bytes(landing.path))
            if (size_bytes, output.total_bytes) != seen:
                seen, since_s = (size_bytes, output.total_bytes), loop.time()
                watch.moved(size_bytes)
            elif loop.time() - since_s > self._settings.stall_s:
                raise TransferError(f"the downloader is stuck; {output.shown()}")

    def _judge(self, status: int, output: _Output) -> None:
        if status != 0:
            raise TransferError(f"the downloader ended with {status}; {output.shown()}")
        if not output.matches(self._settings.success):
            raise TransferError(
                f"the downloader did not say {self._settings.success.pattern!r}; {output.shown()}"
            )

    async def _accept(self, offer: TaskOffer, landing: Landing, watch: Watch) -> Received:
        size_bytes = await self._in_thread(lambda: _arrived_bytes(landing, offer))
        watch.moved(size_bytes)
        watch.received()
        await self._in_thread(lambda: _make_durable(landing))
        return Received(size_bytes, None)

    async def _in_thread(self, work: Callable[[], R]) -> R:
        try:
            return await self._pool.run(_DISK_S, work)
        except (HungError, OSError) as error:
            raise TransferError(f"the disk: {error.strerror or error}") from error


class _Output:
    """What a program says on stderr: its beginning and its end, however much it is."""

    def __init__(self) -> None:
        self._head = bytearray()
        self._tail = bytearray()
        self.total_bytes = 0

    async def read(self, stream: asyncio.StreamReader) -> None:
        """Until its end, which comes when the guard and all under it have ended."""
        while data := await stream.read(KEPT_BYTES):
            self.total_bytes += len(data)
            room = KEPT_BYTES - len(self._head)
            self._head += data[:room]
            self._tail += data[room:]
            del self._tail[:-KEPT_BYTES]

    def matches(self, success: re.Pattern[str]) -> bool:
        if self.total_bytes == len(self._head) + len(self._tail):
            return success.search(_text(self._head + self._tail)) is not None
        return any(success.search(_text(part)) for part in (self._head, self._tail))

    def shown(self) -> str:
        """Its end, fit for one line."""
        text = " ".join(_text(self._head + self._tail).split())
        said = "".join(char if char.isprintable() else "?" for char in text[-SHOWN_CHARS:])
        return f"it said {said!r}" if said else "it said nothing"


def _text(data: bytearray) -> str:
    return data.decode("utf-8", "replace")


async def _start_guard() -> Process:
    """Started in the event loop's thread: at that thread's end the kernel tells the guard."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", str(GUARD), str(os.getpid())),
        stdin=PIPE,
        stdout=DEVNULL,
        stderr=PIPE,
        start_new_session=True,
    )


async def _end(guard: Process) -> None:
    """Have the guard kill what it guards; return when all of it is gone."""
    assert guard.stdin is not None
    assert guard.stderr is not None
    guard.stdin.close()
    if _was_killed(guard):
        _kill_session(guard.pid)
    try:
        async with asyncio.timeout(END_S):
            while await guard.stderr.read(KEPT_BYTES):  # a full pipe would keep it from ending
                pass
            await guard.wait()
    except TimeoutError:
        log.warning("the downloader cannot be ended", guard=guard.pid)
    with contextlib.suppress(ConnectionError):
        await guard.stdin.wait_closed()


def _was_killed(guard: Process) -> bool:
    """It catches or outlives everything but SIGKILL; then what it guarded is on its own."""
    return guard.returncode is not None and guard.returncode < 0


def _kill_session(leader: int) -> None:
    """Kill what a killed guard left: it led the session that they all are in."""
    for process in Path("/proc").iterdir():
        with contextlib.suppress(ValueError, ProcessLookupError, PermissionError):
            if os.getsid(int(process.name)) == leader:
                os.kill(int(process.name), signal.SIGKILL)


def _size_bytes(path: str) -> int:
    try:
        return os.lstat(path).st_size
    except FileNotFoundError:
        return 0


def _arrived_bytes(landing: Landing, offer: TaskOffer) -> int:
    """The size of what the program left, if it is a plain file of the size that it should have."""
    try:
        with contextlib.closing(landing.reopen()) as file:
            size_bytes = file.size()
    except FileNotFoundError:
        raise TransferError("the downloader reported success, and left no file") from None
    if size_bytes == 0 or (offer.size_bytes is not None and size_bytes != offer.size_bytes):
        wanted = "some" if offer.size_bytes is None else offer.size_bytes
        raise TransferError(f"the downloader left {size_bytes} bytes instead of {wanted}")
    return size_bytes


def _make_durable(landing: Landing) -> None:
    with contextlib.closing(landing.reopen()) as file:
        file.sync()
