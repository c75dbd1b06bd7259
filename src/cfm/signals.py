"""SIGTERM, SIGINT and SIGHUP of a daemon, from its first moment on.

Where nobody handles SIGHUP, it ends a process, and systemd takes that for a clean end.  So `hold_hangups`
comes before everything else in a daemon: a SIGHUP is remembered until `obey` knows what to do about it.
Neighbours: `cli.entry` holds, `controller.program` and `worker.program` obey.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from typing import Final

_came: Final[list[int]] = []
"""Signals that came before somebody could obey them."""


def hold_hangups() -> None:
    """From now on, a SIGHUP does not end this process."""
    signal.signal(signal.SIGHUP, lambda number, _frame: _came.append(number))


def obey(ended: asyncio.Event, reload: Callable[[], None]) -> None:
    """Set `ended` on SIGTERM and SIGINT, and call `reload` on SIGHUP, also for one that came before."""
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    loop.add_signal_handler(signal.SIGINT, ended.set)
    loop.add_signal_handler(signal.SIGHUP, reload)
    if _came:
        _came.clear()
        reload()
