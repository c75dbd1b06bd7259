"""A server without our protections, as the earlier programs have it; and how a stand-in runs as a process."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Awaitable, Callable

from aiohttp import web

from cfm.model import Addr

OLD_IDLE_S = 5.0
"""After this time the earlier programs close idle connections."""


@contextlib.asynccontextmanager
async def plain_server(app: web.Application, listen: str) -> AsyncIterator[Addr]:
    """Serve `app` on `HOST:PORT` (port 0: a free one) until the block ends."""
    host, _, port = listen.rpartition(":")
    runner = web.AppRunner(
        app,
        access_log=None,
        keepalive_timeout=OLD_IDLE_S,
        handler_cancellation=True,
        shutdown_timeout=0.2,
    )
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, int(port), reuse_address=True)
        await site.start()
        yield Addr(f"{host}:{site.port}")
    finally:
        await runner.cleanup()


def run_process(main: Callable[[], Awaitable[None]]) -> None:
    """Run `main` until it ends.  SIGTERM and SIGINT end it cleanly."""
    with contextlib.suppress(asyncio.CancelledError):
        asyncio.run(_until_told(main))


async def _until_told(main: Callable[[], Awaitable[None]]) -> None:
    task = asyncio.ensure_future(main())
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    await task
