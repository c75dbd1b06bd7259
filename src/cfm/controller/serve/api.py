"""cfm's HTTP endpoints: the old ones to the letter, ours beside them (see `docs/http-api.md`).

A handler parses, asks the controller, and shapes the answer; it decides nothing.  Neighbours: `web` is
the hardened server underneath, `wire` the JSON, `report` and `pages` what is shown.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from functools import partial
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

from cfm import __version__, wire
from cfm.controller.act.loop import LISTENER_BACKLOG, Controller, clock
from cfm.controller.act.teller import Teller
from cfm.controller.decide import events as ev
from cfm.controller.decide.core import Core
from cfm.controller.explain import report
from cfm.controller.serve import openapi, pages
from cfm.controller.serve.metrics import ControllerMetrics
from cfm.model import Addr, Now, Task
from cfm.security import Role
from cfm.web import (
    STOPPING,
    AccessPolicy,
    Limits,
    RefusedError,
    empty,
    html_page,
    json_answer,
    may_speak_for,
    name_from_path,
    old_json,
)

WAIT_S, LONGEST_WAIT_S = 25.0, 60.0
REPLY_S = 10.0
"""How long a report waits to be written down before its worker is told to come again."""
PING_S = 15.0
MOST_WAITING = 10_000
"""Changes that may wait to be written before no more reports are taken."""

_OPERATOR = frozenset({Role.OPERATOR})
_WORKER = frozenset({Role.WORKER})
ACCESS_POLICY = AccessPolicy(
    public=frozenset({"/healthz", "/readyz"}),
    allowed={
        ("GET", "/tasks/next"): _WORKER,
        ("PATCH", "/tasks/{id}"): _WORKER,
        ("DELETE", "/tasks/{id}"): _OPERATOR,
        ("POST", "/api/v1/confirm"): _OPERATOR,
        ("POST", "/api/v1/confirm/{server}"): _OPERATOR,
    },
)
"""Who may do what here, where credentials are configured; a worker with its own tasks only, at that."""


_OF_A_PAGE = ("Origin", "Sec-Fetch-Site")
"""What a browser says where a page asks, even for a picture."""


class ControllerApi:
    """The endpoints over one controller."""

    def __init__(
        self,
        controller: Controller,
        metrics: ControllerMetrics,
        teller: Teller,
        identity: Mapping[str, str],
        credentials: Mapping[str, Any] | None = None,
    ):
        """`identity`: the headers that tell a worker whose controller this is.  `credentials`: what the
        status says of ours (see `security.status_of`)."""
        self._controller = controller
        self._metrics = metrics
        self._teller = teller
        self._identity = identity
        self._credentials = dict(credentials or {})
        self.ready = False

    def application(self) -> web.Application:
        app = web.Application(client_max_size=Limits().body_bytes)
        app.add_routes(
            [
                web.get("/tasks", self.tasks),
                web.get("/tasks/next", self.next_task, allow_head=False),
                web.patch("/tasks/{id}", self.patch_task),
                web.delete("/tasks/{id}", self.delete_task),
                web.get("/", self._page(pages.index_page)),
                web.get("/dashboard", self.dashboard),
                web.get("/dashboard/hb", self._page(pages.heartbeat_page)),
                web.get("/dashboard/filemetas", self.filemetas),
                web.get("/static/style.css", self.style),
                web.get("/healthz", self.healthz),
                web.get("/readyz", self.readyz),
                web.get("/metrics", self.metrics),
                web.get("/api/openapi.json", self.openapi),
                web.get("/api/v1/status", self._value(self._status)),
                web.get("/api/v1/servers", self.servers),
                web.get("/api/v1/tasks", self.tasks_in_full),
                web.get("/api/v1/plan", self._value(report.plan_json)),
                web.get("/api/v1/files/{tail:(?s:.*)}", self.file),
                web.get("/api/v1/events", self.events, allow_head=False),
                web.get("/api/v1/confirm", self.held),
                web.get("/api/v1/confirm/{server}", self.held),
                web.post("/api/v1/confirm", self.confirm),
                web.post("/api/v1/confirm/{server}", self.confirm),
            ]
        )
        return app

    # ── old endpoints ───────────────────────────────────────────────────────────────────────────────────

    async def tasks(self, _request: web.Request) -> web.Response:
        return old_json(await self._old_tasks(), self._identity)

    async def patch_task(self, request: web.Request) -> web.Response:
        """400 id, 400 body, 404, 409: in this order."""
        task_id = _task_id(request)
        try:
            told = wire.parse_report(await request.read())
        except wire.WireError as error:
            raise RefusedError(400, str(error)) from None
        self._refuse_stranger(request, task_id)
        reply = await self._asked(partial(ev.TaskReported, task_id=task_id, report=told))
        return empty(reply.status, self._identity)

    async def delete_task(self, request: web.Request) -> web.Response:
        reply = await self._asked(partial(ev.TaskDropped, task_id=_task_id(request)))
        return empty(reply.status)

    async def dashboard(self, _request: web.Request) -> web.Response:
        status = await self._controller.read(self._status)
        return html_page(pages.dashboard_page(status, await self._old_tasks()))

    async def filemetas(self, _request: web.Request) -> web.Response:
        backlog = self._controller.core.backlog()
        holders = self._controller.core.state.fleet.holders
        rows = [
            {
                "rank": file.rank,
                "file": file.name,
                "size_bytes": file.size_bytes,
                "hits": file.hits,
                "on": sorted(holders.get(file.name, ())),
            }
            for file in backlog.wanted[:500]
        ]
        return html_page(pages.filemetas_page(rows, backlog.wanted_total))

    async def style(self, _request: web.Request) -> web.Response:
        return web.Response(text=pages.STYLE, content_type="text/css")

    # ── the waiting request ─────────────────────────────────────────────────────────────────────────────

    async def next_task(self, request: web.Request) -> web.Response:
        if any(name in request.headers for name in _OF_A_PAGE):
            raise RefusedError(403, "workers ask this, and no page: its answer takes a task")
        destination = Addr(request.query.get("dst_addr", ""))
        if not may_speak_for(request, destination):
            raise RefusedError(403, "these credentials are another worker's")
        wait_s = _number(request, "wait_s", WAIT_S, LONGEST_WAIT_S)
        holding = frozenset(int(part) for part in _list(request, "holding") if _is_id(part))
        until_ms = clock().mono_ms + int(1000 * wait_s)
        question = partial(
            ev.NextAsked,
            destination=destination,
            until_ms=until_ms,
            holding=holding,
            claims=request.query.get("claim") == "1",
        )
        reply = await self._unless_stopping(request, question)
        match reply.body if reply is not None else None:
            case ev.Offer(task):
                return json_answer(self._offer(task), headers=self._identity)
            case ev.Problem(text):
                raise RefusedError(400, text)
            case _:
                return empty(204, self._identity)

    async def _unless_stopping(self, request: web.Request, question: Any) -> ev.Reply | None:
        """The reply, or None where the server is about to stop."""
        asking = asyncio.ensure_future(self._controller.ask(question))
        stopping = asyncio.ensure_future(request.app[STOPPING].wait())
        try:
            done, _ = await asyncio.wait((asking, stopping), return_when=asyncio.FIRST_COMPLETED)
            return asking.result() if asking in done else None
        finally:
            asking.cancel()
            stopping.cancel()

    def _offer(self, task: Task) -> dict[str, Any]:
        return wire.offer_to_json(task, lease_s=self._controller.core.state.rules.lease_ms // 1000)

    # ── ours ────────────────────────────────────────────────────────────────────────────────────────────

    async def healthz(self, _request: web.Request) -> web.Response:
        return json_answer({"status": "ok", "version": __version__})

    async def readyz(self, _request: web.Request) -> web.Response:
        """Ready: metadata is in force and our own state can be written."""
        state = self._controller.core.state
        why = state.store_trouble or (None if state.snapshot else "no metadata is in force yet")
        body = {"status": "ready" if why is None else "not ready", "why": why}
        return json_answer(body, status=200 if why is None else 503)

    async def metrics(self, _request: web.Request) -> web.Response:
        return web.Response(body=self._metrics.expose(), headers={"Content-Type": self._metrics.content_type})

    async def openapi(self, _request: web.Request) -> web.Response:
        return json_answer(openapi.document())

    async def servers(self, _request: web.Request) -> web.Response:
        servers = await self._controller.read(
            lambda core, now: report.servers_json(core, core.state.view(now))
        )
        return json_answer(servers)

    async def tasks_in_full(self, _request: web.Request) -> web.Response:
        return json_answer(await self._controller.read(report.tasks_json))

    async def file(self, request: web.Request) -> web.Response:
        name = name_from_path(request, "/api/v1/files/")
        return json_answer(await self._teller.why(name))

    async def held(self, request: web.Request) -> web.Response:
        """The breakers that hold, and what would be deleted if they were let go."""
        server = request.match_info.get("server")
        return json_answer(
            await self._controller.read(partial(report.held_json, server=Addr(server) if server else None))
        )

    async def confirm(self, request: web.Request) -> web.Response:
        """Let held breakers go once: of one server, or of all."""
        server = request.match_info.get("server")
        reply = await self._asked(partial(ev.BreakerReleased, server=Addr(server) if server else None))
        if not isinstance(reply.body, ev.Released):
            raise RefusedError(404, "no breaker holds there")
        released = sorted(reply.body.up_to_bytes.items())
        return json_answer({"released": [{"server": addr, "up_to_bytes": size} for addr, size in released]})

    async def events(self, request: web.Request) -> web.StreamResponse:
        """Decisions as they are made (server-sent events)."""
        response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"}
        )
        queue: asyncio.Queue[Mapping[str, Any]] = asyncio.Queue(LISTENER_BACKLOG)
        self._controller.listeners.add(queue)
        try:
            await response.prepare(request)
            await response.write(b": decisions follow\n\n")
            while not request.app[STOPPING].is_set():
                await response.write(await _next_event(queue, request.app[STOPPING]))
        finally:
            self._controller.listeners.discard(queue)
        return response

    # ── helpers ─────────────────────────────────────────────────────────────────────────────────────────

    async def _old_tasks(self) -> list[dict[str, Any]]:
        """All tasks, in the old form."""
        reply = await self._asked(ev.TasksAsked)
        assert isinstance(reply.body, ev.TaskList)
        return [wire.task_to_old_json(task) for task in reply.body.tasks]

    def _refuse_stranger(self, request: web.Request, task_id: int) -> None:
        """A worker reports on its own tasks only.  A task's destination never changes, and one that is not
        known yet was told to nobody."""
        task = self._controller.core.state.tasks.get(task_id)
        if task is not None and not may_speak_for(request, task.destination):
            raise RefusedError(403, "this task is another worker's")

    async def _asked(self, question: Any) -> ev.Reply:
        """The controller's reply; 503 where it cannot be written down before the asker's patience ends."""
        if self._controller.writer.waiting > MOST_WAITING:
            raise RefusedError(503, "too much waits to be written down", {"Retry-After": "5"})
        try:
            async with asyncio.timeout(REPLY_S):
                return await self._controller.ask(question)
        except TimeoutError:
            why = self._controller.core.state.store_trouble or "the state is slow to be written"
            raise RefusedError(503, why, {"Retry-After": "5"}) from None

    def _status(self, core: Core, now: Now) -> dict[str, Any]:
        return {**report.status_json(core, now), **self._credentials}

    def _page(self, page: Any) -> Handler:
        async def answer(_request: web.Request) -> web.StreamResponse:
            return html_page(page(await self._controller.read(self._status)))

        return answer

    def _value(self, value: Any) -> Handler:
        async def answer(_request: web.Request) -> web.StreamResponse:
            return json_answer(await self._controller.read(value))

        return answer


async def _next_event(queue: asyncio.Queue[Mapping[str, Any]], stopping: asyncio.Event) -> bytes:
    """The next decision, or a comment that keeps the connection alive."""
    getting, ending = asyncio.ensure_future(queue.get()), asyncio.ensure_future(stopping.wait())
    done, pending = await asyncio.wait((getting, ending), timeout=PING_S, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    if getting not in done:
        return b": nothing new\n\n"
    return f"data: {json.dumps(getting.result(), default=str)}\n\n".encode()


def _task_id(request: web.Request) -> int:
    text = request.match_info["id"]
    if not _is_id(text):
        raise RefusedError(400, "a task id is an integer")
    return int(text)


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 19


def _number(request: web.Request, key: str, default: float, most: float) -> float:
    try:
        value = float(request.query.get(key, default))
    except ValueError:
        raise RefusedError(400, f"{key} is a number of seconds") from None
    if not 0 <= value <= most:
        raise RefusedError(400, f"{key} is from 0 to {most:g} seconds")
    return value


def _list(request: web.Request, key: str) -> list[str]:
    return [part for part in request.query.get(key, "").split(",") if part]
