"""`cfm status --watch`: the live view of a running cfm, until Ctrl-C.

A line on top says what time it is and how old the view is.  A cfm that does not answer within a moment leaves
the last view as it was, and the line says since when.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from cfm.cli.asking import AskedDaemon
from cfm.cli.render import said, status_view, time_words
from cfm.errors import CfmError
from cfm.security import connect_here

EVERY_S: Final = 0.5
AFTER_TROUBLE_S: Final = 2.0
DEADLINE_S: Final = 2.0
"""A cfm that has not answered by then has not answered."""
DECISIONS: Final = 50


def watch_status(cfm: AskedDaemon) -> None:
    """Redraw twice a second.  If cfm goes away, the view says so and waits for it."""
    watch = StatusWatch(cfm)
    threading.Thread(target=watch.listen, daemon=True).start()
    with Live(console=Console(), screen=True, auto_refresh=False) as live:
        try:
            while True:
                pause_s = watch.look()
                live.update(watch.view(datetime.now(UTC).astimezone(), time.monotonic()), refresh=True)
                time.sleep(pause_s)
        except KeyboardInterrupt:
            return


@dataclass
class StatusWatch:
    """What is known of one cfm, and how old that is."""

    cfm: AskedDaemon
    recent: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=DECISIONS))
    status: dict[str, Any] | None = None
    asked_s: float = 0.0
    """When the status was asked for, by the monotonic clock."""
    trouble: str = ""

    def look(self) -> float:
        """Ask once; returns how long to wait until the next time."""
        asked_s = time.monotonic()
        try:
            self.status = self.cfm.get("api", "v1", "status", patience_s=DEADLINE_S)
        except CfmError as error:
            self.trouble = str(error)
            return AFTER_TROUBLE_S
        self.asked_s, self.trouble = asked_s, ""
        return EVERY_S

    def view(self, now: datetime, now_s: float) -> RenderableType:
        """The line with the clock, and the last status below it."""
        clock = f"{now:%H:%M:%S}"
        if self.status is None:
            return Group(Text(clock, style="dim"), said(self.trouble, "red"))
        age = time_words(int(now_s - self.asked_s))
        line = Text(f"{clock}, as of {age} ago", style="dim")
        if self.trouble:
            line = Text.assemble(
                (f"{clock}, ", "dim"), (f"as of {age} ago: ", "red"), said(self.trouble, "red")
            )
        return Group(line, status_view(self.status, list(self.recent)))

    def listen(self) -> None:
        """Collect decisions as they are made, with a new connection a moment after one ends or is refused."""
        while True:
            with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
                connection = connect_here(self.cfm.addr, self.cfm.keys, 60)
                connection.request("GET", "/api/v1/events", headers=dict(self.cfm.keys.headers))
                for line in connection.getresponse():
                    if line.startswith(b"data: "):
                        self.recent.append(json.loads(line[6:]))
            time.sleep(EVERY_S)
