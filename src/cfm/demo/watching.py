"""Watches a running cfm from outside, as any tool would: its status, its metrics and its decisions.

Neighbours: `play` runs this, `truth` gets the decisions, and the live view shows them.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self

import aiohttp

from cfm.model import fits

BUSY_METRIC: Final = "cfm_source_busy_seconds_total{"
NEXT_TO_GO: Final = "next_to_go"
ASK_S: Final = 5.0
AGAIN_S: Final = 0.2


class Watcher:
    """A client of cfm's API."""

    def __init__(self, base_url: str) -> None:
        self._base_url = base_url.rstrip("/")
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=None, connect=ASK_S, sock_read=None)
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self._session.close()

    async def status(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = json.loads(await self._get("/api/v1/status"))
        return found

    async def source_busy_s(self) -> float:
        """For how long all sources together have been sending, since cfm's start."""
        lines = (await self._get("/metrics")).decode().splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(BUSY_METRIC))

    async def _get(self, path: str) -> bytes:
        async with asyncio.timeout(ASK_S), self._session.get(self._base_url + path) as answer:
            answer.raise_for_status()
            return await answer.read()

    async def follow(self, on_event: Callable[[Mapping[str, Any]], None]) -> None:
        """Hand on decisions when they are made, until cancelled."""
        while True:
            with contextlib.suppress(aiohttp.ClientError, ConnectionError):
                async with self._session.get(f"{self._base_url}/api/v1/events") as stream:
                    async for line in stream.content:
                        if line.startswith(b"data: "):
                            on_event(json.loads(line[6:]))
            await asyncio.sleep(AGAIN_S)


@dataclass(slots=True)
class Busy:
    """How busy the sources were while there was something that they could send.

    A stretch of time counts only when enough files for all sources were due at both of its ends.  A file is
    due when it is wanted, was not deleted for other files before, and fits on a destination that is up and is
    not reserved for a better file.
    """

    departed: set[str] = field(default_factory=set)
    """Files that were deleted for room.  They are not copied back for a while, even if they are wanted."""
    busy_s: float = 0.0
    offered_s: float = 0.0
    _last: tuple[float, float] | None = None

    @property
    def fraction(self) -> float | None:
        return min(1.0, self.busy_s / self.offered_s) if self.offered_s else None

    def sample(self, status: Mapping[str, Any], sizes: Mapping[str, int], sent_s: float, at_s: float) -> None:
        """`sent_s` is how long the sources have been sending in total, read at `at_s`."""
        sources = [s for s in status["servers"] if "source" in s["role"]]
        due = len(due_files(status, sizes, self.departed)) >= min(
            len(sources), len(status["backlog"]["next"]) or 1
        )
        due = due and all(source["state"] == "up" for source in sources)
        due = due and NEXT_TO_GO not in status["refusals"]["copy"]
        if due and self._last is not None:
            last_at_s, last_sent_s = self._last
            self.offered_s += len(sources) * (at_s - last_at_s)
            self.busy_s += sent_s - last_sent_s
        self._last = (at_s, sent_s) if due else None


def due_files(status: Mapping[str, Any], sizes: Mapping[str, int], departed: Collection[str]) -> list[str]:
    """The wanted files that could be copied now, if each had a source."""
    in_flight = {one["file"] for one in (*status["transfers"], *status["deletes"])}
    arriving: dict[str, int] = {}
    for one in status["transfers"]:
        arriving[one["destination"]] = arriving.get(one["destination"], 0) + one["size_bytes"]
    open_disks = [
        (
            server["used_bytes"] + arriving.get(server["addr"], 0),
            server["total_bytes"],
            server["limit_percent"],
        )
        for server in status["servers"]
        if "destination" in server["role"] and server["state"] == "up" and server["used_bytes"] is not None
    ]
    return [
        name
        for name in status["backlog"]["next"]
        if name not in in_flight
        and name not in departed
        and any(
            fits(used, max(0, total - used), sizes.get(name, 0), limit) for used, total, limit in open_disks
        )
    ]
