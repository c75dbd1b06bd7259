"""A cfm of ours, as a worker sees it: it answers the waiting request and the reports.

It decides nothing.  The test offers tasks, and says how it answers.  It keeps what it was told.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from aiohttp import web

from cfm import wire
from cfm.model import Addr
from cfm.wire import Json, TaskOffer, TaskReport
from cfm_lab.testing.plain_server import plain_server


@dataclass(slots=True)
class WaitingCfm:
    """An async context manager; `addr` is where it listens."""

    addr: Addr = field(default_factory=lambda: Addr("127.0.0.1:0"))
    controller: str | None = "controller-1"
    epoch: int = 1
    answers: dict[int, int] = field(default_factory=dict)
    """Task id → the status with which its reports are answered; 200 for all others."""
    next_status: int | None = None
    """The status with which the waiting request is answered; None: it works."""
    reports: list[tuple[int, TaskReport]] = field(default_factory=list)
    asks: list[Mapping[str, str]] = field(default_factory=list)
    _offers: list[Json] = field(default_factory=list)
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    _open: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack)

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_get("/tasks/next", self._next)
        app.router.add_patch("/tasks/{id}", self._patch)
        self.addr = await self._open.enter_async_context(plain_server(app, self.addr))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._open.aclose()

    async def offer(self, **task: Any) -> None:
        """Offer a task, in the form of `GET /tasks/next`.  Fields that are left out have usual values."""
        async with self._changed:
            self._offers.append(usual_task(**task))
            self._changed.notify_all()

    async def heard(self, task_id: int, **wanted: Any) -> TaskReport:
        """Wait for a report on a task with these fields."""
        async with asyncio.timeout(15), self._changed:
            while True:
                for reported_id, report in self.reports:
                    if reported_id == task_id and all(getattr(report, k) == v for k, v in wanted.items()):
                        return report
                await self._changed.wait()

    async def asked(self, times: int) -> None:
        """Wait until workers have asked for work this often."""
        async with asyncio.timeout(15), self._changed:
            await self._changed.wait_for(lambda: len(self.asks) >= times)

    def _headers(self) -> dict[str, str]:
        if self.controller is None:
            return {}
        return {wire.CONTROLLER: self.controller, wire.EPOCH: str(self.epoch)}

    async def _next(self, request: web.Request) -> web.Response:
        async with self._changed:
            self.asks.append(request.query)
            self._changed.notify_all()
            if self.next_status is not None:
                return web.Response(status=self.next_status, headers=self._headers())
            try:
                async with asyncio.timeout(float(request.query["wait_s"])):
                    await self._changed.wait_for(lambda: self._offers)
            except TimeoutError:
                return web.Response(status=204, headers=self._headers())
            return web.json_response(self._offers.pop(0), headers=self._headers())

    async def _patch(self, request: web.Request) -> web.Response:
        task_id = int(request.match_info["id"])
        async with self._changed:
            self.reports.append((task_id, wire.parse_report(await request.read())))
            self._changed.notify_all()
        return web.Response(status=self.answers.get(task_id, 200), headers=self._headers())


def usual_offer(**task: Any) -> TaskOffer:
    """An offered task, as a worker reads it; what is left out is usual."""
    return wire.parse_offer(usual_task(**task))


def usual_task(**task: Any) -> Json:
    """The JSON of one offered task."""
    name = task.get("file_name", "A.mpg")
    return {
        "id": "1",
        "ctime": 1795396962,
        "mtime": 1795396962,
        "status": "ready",
        "src_ip": "127.0.0.1",
        "dst_ip": "127.0.0.1",
        "file_path": f"/data2/{name}",
        "file_name": name,
        "grade": 1,
        "copy_speed": "0",
        "size_bytes": 1000,
        "lease_s": 60,
        **task,
    }
