"""`cfm status --watch`: the live view of a running cfm, until Ctrl-C."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
import time
from collections import deque
from typing import Any

from rich.console import Console
from rich.live import Live

from cfm.cli.common import ask
from cfm.cli.render import status_view
from cfm.errors import CfmError
from cfm.model import Addr
from cfm.security import NO_KEYS, Keys, connect_here

EVERY_S = 0.5
AFTER_TROUBLE_S = 2.0
DECISIONS = 50


def watch_status(where: Addr, keys: Keys = NO_KEYS) -> None:
    """Redraw twice a second.  If cfm goes away, the view says so and waits for it."""
    recent: deque[dict[str, Any]] = deque(maxlen=DECISIONS)
    threading.Thread(target=_listen, args=(where, keys, recent), daemon=True).start()
    with Live(console=Console(), screen=True, auto_refresh=False) as live:
        try:
            while True:
                view, pause_s = _view(where, keys, recent)
                live.update(view, refresh=True)
                time.sleep(pause_s)
        except KeyboardInterrupt:
            return


def _view(where: Addr, keys: Keys, recent: deque[dict[str, Any]]) -> tuple[Any, float]:
    """What to show, and for how long."""
    try:
        return status_view(ask(where, "GET", "/api/v1/status", keys), list(recent)), EVERY_S
    except CfmError as error:
        return str(error), AFTER_TROUBLE_S


def _listen(where: Addr, keys: Keys, recent: deque[dict[str, Any]]) -> None:
    """Collect decisions as they are made, with a new connection a moment after one ends or is refused."""
    while True:
        with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
            connection = connect_here(where, keys, 60)
            connection.request("GET", "/api/v1/events", headers=dict(keys.headers))
            for line in connection.getresponse():
                if line.startswith(b"data: "):
                    recent.append(json.loads(line[6:]))
        time.sleep(EVERY_S)
