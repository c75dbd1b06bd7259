"""The external downloader: a program of the operator's, run as it always was.

`downloader_bin SRC_IP TARGET SOURCE_PATH BITS_PER_SECOND` writes the file to TARGET.  It succeeded if it
exits with 0 and its stderr matches the configured expression.  It runs under a supervisor (see
`supervisor`), so that neither it nor a child of it outlives the task or this worker.  A supervisor is
started ahead of need, so that a transfer begins at once.
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

SUPERVISOR: Final = Path(__file__).with_name("supervisor.py")
END_S: Final = 5.0
"""How long the end of a downloader is waited for.  Where it takes longer, the kernel holds it."""
LAST_OUTPUT_S: Final = 1.0
"""How long the output is read after the supervisor's end.  Only an escaped process could hold it open."""
LOOK_EVERY_S: Final = 0.5
KEPT_BYTES: Final = 64 * 1024
"""How much of the beginning of the output is kept, and how much of its end."""
SHOWN_CHARS: Final = 300
_DISK_S: Final = 600.0


@dataclass(frozen=True, slots=True)
class ExternalSettings:
    program: Path
    success: re.Pattern[str]
    stall_s: float = 600.0
    """After so long without a new byte in TARGET or on stderr, the downloader is stopped."""
    least_timeout_s: float = 3600.0
    """It may run this long in any case, and three times as long as size and speed say."""
    spare_supervisors: int = 1


class ExternalTransfer:
    """Runs the operator's downloader for each file."""

    def __init__(self, settings: ExternalSettings) -> None:
        self._settings = settings
        self.spares: list[asyncio.Task[Process]] = []
        """Supervisors that were started ahead of need."""
        self._pool = ThreadPool("download files", 2)

    def prepare(self) -> None:
        """Start supervisors ahead of need.  Called again while one is in use."""
        while len(self.spares) < self._settings.spare_supervisors:
            self.spares.append(asyncio.create_task(_start_supervisor()))

    async def fetch(self, offer: TaskOffer, landing: Landing, watch: Watch) -> Received:
        supervisor = await self._supervisor()
        output = _Output()
        try:
            async with asyncio.timeout(self._timeout_s(offer)):
                status = await self._run(supervisor, self._command(offer, landing), output, landing, watch)
        except TimeoutError as error:
            raise TransferError(f"the downloader did not end in time; {output.shown()}") from error
        finally:
            await _end(supervisor)
        self._judge(status, output)
        return await self._accept(offer, landing, watch)

    async def close(self) -> None:
        spares, self.spares = self.spares, []
        for spare in spares:
            await _end(await spare)
        self._pool.close()

    async def _supervisor(self) -> Process:
        self.prepare()
        supervisor = await self.spares.pop(0) if self.spares else await _start_supervisor()
        if supervisor.returncode is not None:  # it was killed while it waited
            await _end(supervisor)
            supervisor = await _start_supervisor()
        return supervisor

    def _command(self, offer: TaskOffer, landing: Landing) -> list[str]:
        program = os.path.abspath(self._settings.program)  # noqa: PTH100 - as the settings name it: links are the operator's
        return [program, host_of(offer.source), landing.path, offer.path, str(offer.copy_speed_bps)]

    def _timeout_s(self, offer: TaskOffer) -> float:
        expected_s = 8 * (offer.size_bytes or 0) / offer.copy_speed_bps if offer.copy_speed_bps else 0.0
        return max(self._settings.least_timeout_s, 3 * expected_s)

    async def _run(
        self, supervisor: Process, command: list[str], output: _Output, landing: Landing, watch: Watch
    ) -> int:
        """The program's exit status.  `TransferError` where it is stuck."""
        assert supervisor.stdin is not None
        assert supervisor.stderr is not None
        supervisor.stdin.write(json.dumps(command).encode() + b"\n")
        with contextlib.suppress(ConnectionError):  # the supervisor is gone, and its status will say so
            await supervisor.stdin.drain()
        ended = asyncio.create_task(supervisor.wait())
        reading = asyncio.create_task(output.read(supervisor.stderr))
        watching = asyncio.create_task(self._watch(supervisor, output, landing, watch))
        try:
            await asyncio.wait({ended, watching}, return_when=asyncio.FIRST_COMPLETED)
            if watching.done():
                watching.result()  # it can only end by raising
            await asyncio.wait({reading}, timeout=LAST_OUTPUT_S)
            return ended.result()
        finally:
            for task in (ended, reading, watching):
                task.cancel()
            await asyncio.gather(ended, reading, watching, return_exceptions=True)

    async def _watch(self, supervisor: Process, output: _Output, landing: Landing, watch: Watch) -> None:
        """Report how the target grows.  Raise where nothing moves, or the supervisor was killed."""
        loop = asyncio.get_running_loop()
        seen, since_s = (0, 0), loop.time()
        while True:
            await asyncio.sleep(min(LOOK_EVERY_S, self._settings.stall_s / 4))
            self.prepare()  # only now: the start of another supervisor would slow the downloader's start
            if _was_killed(supervisor):
                raise TransferError("the supervisor of the downloader was killed")
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
            raise TransferError(f"the disk: {error.strerror or error}", own_disk=True) from error


class _Output:
    """What a program writes to stderr: the beginning and the end, however much it writes."""

    def __init__(self) -> None:
        self._head = bytearray()
        self._tail = bytearray()
        self.total_bytes = 0

    async def read(self, stream: asyncio.StreamReader) -> None:
        """Read until the end, which comes when the supervisor and all its descendants have ended."""
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
        """The end of the output, fit for one line."""
        text = " ".join(_text(self._head + self._tail).split())
        said = "".join(char if char.isprintable() else "?" for char in text[-SHOWN_CHARS:])
        return f"it said {said!r}" if said else "it said nothing"


def _text(data: bytearray) -> str:
    return data.decode("utf-8", "replace")


async def _start_supervisor() -> Process:
    """It must be started in the event loop's thread: when that thread ends, the kernel signals the
    supervisor."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", str(SUPERVISOR), str(os.getpid())),
        stdin=PIPE,
        stdout=DEVNULL,
        stderr=PIPE,
        start_new_session=True,
    )


async def _end(supervisor: Process) -> None:
    """Let the supervisor kill its descendants.  Returns when all of them are gone."""
    assert supervisor.stdin is not None
    assert supervisor.stderr is not None
    supervisor.stdin.close()
    if _was_killed(supervisor):
        _kill_session(supervisor.pid)
    try:
        async with asyncio.timeout(END_S):
            while await supervisor.stderr.read(KEPT_BYTES):  # a full pipe would keep it from ending
                pass
            await supervisor.wait()
    except TimeoutError:
        log.warning("the downloader cannot be stopped: the kernel holds it", supervisor=supervisor.pid)
    with contextlib.suppress(ConnectionError):
        await supervisor.stdin.wait_closed()


def _was_killed(supervisor: Process) -> bool:
    """It catches or survives every signal but SIGKILL.  After that, its descendants are on their own."""
    return supervisor.returncode is not None and supervisor.returncode < 0


def _kill_session(leader: int) -> None:
    """Kill what a killed supervisor left behind.  It led the session that all of them are in."""
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
    """The size of what the program left, if that is a plain file of the right size."""
    try:
        with contextlib.closing(landing.reopen()) as file:
            size_bytes = file.size()
    except FileNotFoundError:
        raise TransferError("the downloader reported success, but left no file") from None
    if size_bytes == 0 or (offer.size_bytes is not None and size_bytes != offer.size_bytes):
        wanted = "some" if offer.size_bytes is None else offer.size_bytes
        raise TransferError(f"the downloader left {size_bytes} bytes instead of {wanted}")
    return size_bytes


def _make_durable(landing: Landing) -> None:
    with contextlib.closing(landing.reopen()) as file:
        file.sync()
