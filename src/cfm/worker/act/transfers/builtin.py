"""The built-in transfer: `GET /content/NAME` from a worker of ours, in a thread of its own.

`http_download` fetches and verifies one file there.  Here is what lives in the event loop: the threads, the
reports on progress, and the end of a transfer that was cancelled.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Final

from cfm.threads import HungError, ThreadPool
from cfm.wire import TaskOffer
from cfm.worker.act.transfers.contract import Landing, Received, TransferError, Watch
from cfm.worker.act.transfers.http_download import BuiltinSettings, HttpDownload

__all__ = ["BuiltinSettings", "BuiltinTransfer"]

ABANDONED_THREAD_S: Final = 5.0
"""How long a cancelled transfer's thread is waited for.  Where it takes longer, its disk hangs."""
PROGRESS_EVERY_S: Final = 0.25
_FOREVER_S: Final = 7 * 86_400.0


class BuiltinTransfer:
    """One file at a time in each of a bounded number of threads."""

    def __init__(self, settings: BuiltinSettings) -> None:
        self._settings = settings
        self._pool = ThreadPool("transfer", settings.threads)

    def prepare(self) -> None:
        """There is nothing to prepare: a thread is there at once."""

    async def fetch(self, offer: TaskOffer, landing: Landing, watch: Watch) -> Received:
        download = HttpDownload(offer, landing, _WatchFromThread(watch), self._settings)
        running = asyncio.ensure_future(self._pool.run(_FOREVER_S, download.run))
        try:
            return await asyncio.shield(running)
        except HungError as error:
            raise TransferError(str(error)) from error
        except asyncio.CancelledError:
            download.stop()
            await asyncio.wait({running}, timeout=ABANDONED_THREAD_S)
            running.cancel()
            raise

    async def close(self) -> None:
        self._pool.close()


class _WatchFromThread:
    """The transfer's watch, for calls from its thread."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._loop = asyncio.get_running_loop()
        self._told_s = 0.0

    def moved(self, total_bytes: int) -> None:
        now_s = time.monotonic()
        if now_s - self._told_s >= PROGRESS_EVERY_S:
            self._told_s = now_s
            self._call(lambda: self._watch.moved(total_bytes))

    def received(self, total_bytes: int) -> None:
        self._call(lambda: self._watch.moved(total_bytes))
        self._call(self._watch.received)

    def _call(self, call: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):  # the event loop was closed meanwhile
            self._loop.call_soon_threadsafe(call)
