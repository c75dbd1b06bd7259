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
MISSED: Final = 200
"""So many decisions are made up for after a break."""
LEADS: Final = "leading"


class Watcher:
    """A client of cfm's API.  Of several cfm, it asks the one that leads."""

    def __init__(self, *addresses: str) -> None:
        self._addresses = addresses
        self.leader = addresses[0]
        """Whom it asks: whoever led when the status was asked for last."""
        self._moved = asyncio.Event()
        """Set when another one leads."""
        self._heard = 0
        """The id of the last decision that was handed on."""
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=None, connect=ASK_S, sock_read=None)
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self._session.close()

    async def status(self) -> Mapping[str, Any]:
        """That of the leader.

        Raises:
            aiohttp.ClientError, TimeoutError: nobody leads who answers.
        """
        failed: Exception = TimeoutError("nobody leads")
        for addr in (self.leader, *(one for one in self._addresses if one != self.leader)):
            try:
                found: Mapping[str, Any] = json.loads(await self._get("/api/v1/status", addr))
            except (aiohttp.ClientError, TimeoutError) as error:
                failed = error
                continue
            if found["leadership"] is None or found["leadership"]["state"] == LEADS:
                if self.leader != addr:
                    self.leader = addr
                    self._moved.set()
                return found
        raise failed

    async def source_busy_s(self) -> float:
        """For how long all sources together have been sending, since cfm's start."""
        lines = (await self._get("/metrics")).decode().splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(BUSY_METRIC))

    async def _get(self, path: str, addr: str = "") -> bytes:
        url = f"http://{addr or self.leader}{path}"
        async with asyncio.timeout(ASK_S), self._session.get(url) as answer:
            answer.raise_for_status()
            return await answer.read()

    async def follow(self, on_event: Callable[[Mapping[str, Any]], None]) -> None:
        """Hand on decisions when they are made, until cancelled.  After a break, those of the break too."""
        while True:
            self._moved.clear()
            reading = asyncio.ensure_future(self._follow(on_event))
            moving = asyncio.ensure_future(self._moved.wait())
            try:
                await asyncio.wait((reading, moving), return_when=asyncio.FIRST_COMPLETED)
                if reading.done():
                    reading.result()
            finally:
                for one in (reading, moving):
                    one.cancel()
                await asyncio.gather(reading, moving, return_exceptions=True)
            await asyncio.sleep(AGAIN_S)

    async def _follow(self, on_event: Callable[[Mapping[str, Any]], None]) -> None:
        """Until the connection breaks."""
        with contextlib.suppress(aiohttp.ClientError, ConnectionError, TimeoutError):
            async with self._session.get(f"http://{self.leader}/api/v1/events") as stream:
                history = json.loads(await self._get(f"/api/v1/history?limit={MISSED}"))
                for event in reversed(history["events"]):
                    self._hand_on(event, on_event)
                async for line in stream.content:
                    if line.startswith(b"data: "):
                        self._hand_on(json.loads(line[6:]), on_event)

    def _hand_on(self, event: Mapping[str, Any], on_event: Callable[[Mapping[str, Any]], None]) -> None:
        if int(event["id"]) > self._heard:
            self._heard = int(event["id"])
            on_event(event)


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

    def begin_anew(self) -> None:
        """Another cfm is asked from now on, which has measured for itself."""
        self._last = None

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
