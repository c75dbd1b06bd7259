"""The endpoints for scripts, monitoring and our own command line: `/api/v1/…`, health and metrics.

A handler asks the controller and shapes the answer; it decides nothing.  Neighbours: `explain.report` makes
the values, `openapi` describes these endpoints.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

from cfm import __version__
from cfm.controller.act.loop import LISTENER_BACKLOG, Controller, clock
from cfm.controller.act.teller import Teller
from cfm.controller.decide import events as ev
from cfm.controller.decide.core import Core
from cfm.controller.explain import report
from cfm.controller.explain.metadata import metadata_json
from cfm.controller.explain.parts import ready_json
from cfm.controller.explain.verdict import verdict
from cfm.controller.serve import openapi
from cfm.controller.serve.asking import asked, known_server
from cfm.controller.serve.metrics import ControllerMetrics
from cfm.model import Addr, Now
from cfm.web import STOPPING, RefusedError, asker_of, json_answer, name_from_path

PING_S = 15.0
"""How often a connection that waits for decisions gets a comment, so that nothing between closes it."""


class JsonEndpoints:
    """Everything that answers in JSON, and the metrics."""

    def __init__(
        self,
        controller: Controller,
        metrics: ControllerMetrics,
        teller: Teller,
        status: Callable[[Core, Now], Mapping[str, Any]],
    ) -> None:
        self._controller = controller
        self._metrics = metrics
        self._teller = teller
        self._status = status

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/healthz", self.healthz),
            web.get("/readyz", self.readyz),
            web.get("/metrics", self.metrics),
            web.get("/api/openapi.json", self.openapi),
            web.get("/api/v1/status", self._value(self._status)),
            web.get("/api/v1/servers", self._value(_servers)),
            web.get("/api/v1/tasks", self._value(report.tasks_json)),
            web.get("/api/v1/plan", self._value(report.plan_json)),
            web.get("/api/v1/files/{tail:(?s:.*)}", self.file),
            web.get("/api/v1/events", self.events, allow_head=False),
            web.get("/api/v1/confirm", self.held),
            web.get("/api/v1/confirm/{server}", self.held),
            web.post("/api/v1/confirm", self.confirm),
            web.post("/api/v1/confirm/{server}", self.confirm),
            web.get("/api/v1/metadata", self._value(metadata_json)),
            web.post("/api/v1/metadata/{id}", self.accept),
        ]

    def _value(self, value: Callable[[Core, Now], Any]) -> Handler:
        """A value that is made from the state."""

        async def answer(_request: web.Request) -> web.StreamResponse:
            return json_answer(await self._controller.read(value))

        return answer

    # ── for monitoring ──────────────────────────────────────────────────────────────────────────────────

    async def healthz(self, _request: web.Request) -> web.Response:
        return json_answer({"status": "ok", "version": __version__})

    async def readyz(self, _request: web.Request) -> web.Response:
        """cfm is ready while nothing is degraded: the answer to `cfm status --check`."""
        core = self._controller.core
        body = ready_json(verdict(core, core.last_round, clock()))
        return json_answer(body, status=200 if body["why"] is None else 503)

    async def metrics(self, _request: web.Request) -> web.Response:
        return web.Response(body=self._metrics.expose(), headers={"Content-Type": self._metrics.content_type})

    async def openapi(self, _request: web.Request) -> web.Response:
        return json_answer(openapi.document())

    # ── one file, and breakers ──────────────────────────────────────────────────────────────────────────

    async def file(self, request: web.Request) -> web.Response:
        name = name_from_path(request, "/api/v1/files/")
        return json_answer(await self._teller.why(name))

    async def held(self, request: web.Request) -> web.Response:
        """The breakers that hold, and what would be deleted if an operator released them."""
        held = partial(report.held_json, server=self._server_of(request))
        return json_answer(await self._controller.read(held))

    async def confirm(self, request: web.Request) -> web.Response:
        """Release the breakers that hold, once: of one server, or of all."""
        question = partial(ev.BreakerReleased, server=self._server_of(request), by=asker_of(request))
        reply = await asked(self._controller, question)
        if not isinstance(reply.body, ev.Released):
            raise RefusedError(404, "no breaker holds there")
        released = sorted(reply.body.up_to_bytes.items())
        return json_answer({"released": [{"server": addr, "up_to_bytes": size} for addr, size in released]})

    def _server_of(self, request: web.Request) -> Addr | None:
        server = request.match_info.get("server")
        return known_server(self._controller, server) if server else None

    async def accept(self, request: web.Request) -> web.Response:
        """Let in a pair of metadata files that contains much less than the last good one."""
        pair_id, metadata = request.match_info["id"], self._controller.metadata
        if metadata is None or not metadata.accept(pair_id):
            raise RefusedError(409, "no pair of metadata files with this id waits to be accepted")
        facts = {"snapshot": pair_id, "by": asker_of(request)}
        self._controller.feed(ev.Noted("metadata accepted by an operator", facts, "warning"))
        return json_answer({"accepted": pair_id})

    # ── decisions ───────────────────────────────────────────────────────────────────────────────────────

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


async def _next_event(queue: asyncio.Queue[Mapping[str, Any]], stopping: asyncio.Event) -> bytes:
    """The next decision, or a comment that keeps the connection alive."""
    getting, ending = asyncio.ensure_future(queue.get()), asyncio.ensure_future(stopping.wait())
    done, pending = await asyncio.wait((getting, ending), timeout=PING_S, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    if getting not in done:
        return b": nothing new\n\n"
    return f"data: {json.dumps(getting.result(), default=str)}\n\n".encode()


def _servers(core: Core, now: Now) -> list[dict[str, Any]]:
    return report.servers_json(core, core.state.view(now))
