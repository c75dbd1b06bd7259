"""The endpoints for workers: the old task list and its reports, and the waiting request of ours.

A handler parses, asks the controller, and shapes the answer; it decides nothing.  Neighbours: `wire` has the
old forms, `controller.decide.copying` answers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from aiohttp import web

from cfm import wire
from cfm.config.fields import same_host
from cfm.controller.act.loop import Controller, NotLeadingError, clock
from cfm.controller.decide import events as ev
from cfm.controller.serve.asking import (
    OldTaskList,
    asked,
    ids_of,
    not_leading,
    refuse_when_overloaded,
    seconds_of,
    task_id_of,
)
from cfm.controller.serve.pass_on import ASKER
from cfm.model import Addr, Task
from cfm.web import (
    STOPPING,
    RefusedError,
    asker_of,
    empty,
    json_answer,
    may_be_browser,
    may_speak_for,
    old_json_bytes,
)

WAIT_S, LONGEST_WAIT_S = 25.0, 60.0
_TOOLS_OF_PEOPLE = ("curl/", "Wget/", "Mozilla/")
"""How `User-Agent` begins where a person looks at the task list."""


class WorkerEndpoints:
    """`/tasks` and what is below it."""

    def __init__(self, controller: Controller, identity: Mapping[str, str]) -> None:
        """`identity`: the headers that tell a worker whose controller this is."""
        self._controller = controller
        self._list = OldTaskList(controller)
        self._identity = identity

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/tasks", self.tasks),
            web.get("/tasks/next", self.next_task, allow_head=False),
            web.patch("/tasks/{id}", self.patch_task),
            web.delete("/tasks/{id}", self.delete_task),
        ]

    async def tasks(self, request: web.Request) -> web.Response:
        return old_json_bytes(await self._list.asked_for(_host_of_worker(request)), self._identity)

    async def patch_task(self, request: web.Request) -> web.Response:
        """Checked in this order: 400 the id, 400 the body, 404, 409."""
        task_id = task_id_of(request)
        try:
            told = wire.parse_report(await request.read())
        except wire.WireError as error:
            raise RefusedError(400, str(error)) from None
        self._refuse_stranger(request, task_id)
        reply = await asked(self._controller, partial(ev.TaskReported, task_id=task_id, report=told))
        return empty(reply.status, self._identity)

    def _refuse_stranger(self, request: web.Request, task_id: int) -> None:
        """A worker reports on its own tasks only.  The destination of a task never changes, and nobody has
        heard of a task that is not known yet."""
        task = self._controller.core.state.tasks.get(task_id)
        if task is not None and not may_speak_for(request, task.destination):
            raise RefusedError(403, "this task is another worker's")

    async def delete_task(self, request: web.Request) -> web.Response:
        question = partial(ev.TaskDropped, task_id=task_id_of(request), by=asker_of(request))
        reply = await asked(self._controller, question)
        return empty(reply.status)

    # ── the waiting request ─────────────────────────────────────────────────────────────────────────────

    async def next_task(self, request: web.Request) -> web.Response:
        if may_be_browser(request):
            raise RefusedError(403, "only workers may ask this, because the answer takes a task")
        destination = Addr(request.query.get("dst_addr", ""))
        if not may_speak_for(request, destination):
            raise RefusedError(403, "these credentials are another worker's")
        wait_s = seconds_of(request, "wait_s", WAIT_S, LONGEST_WAIT_S)
        question = partial(
            ev.NextAsked,
            destination=destination,
            until_ms=clock().mono_ms + int(1000 * wait_s),
            holding=ids_of(request, "holding"),
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

    async def _unless_stopping(
        self, request: web.Request, question: Callable[[int], ev.Event]
    ) -> ev.Reply | None:
        """The reply, or None where the server is about to stop."""
        refuse_when_overloaded(self._controller)
        asking = asyncio.ensure_future(self._controller.ask(question))
        stopping = asyncio.ensure_future(request.app[STOPPING].wait())
        try:
            done, _ = await asyncio.wait((asking, stopping), return_when=asyncio.FIRST_COMPLETED)
            return asking.result() if asking in done else None
        except NotLeadingError:
            raise not_leading() from None
        finally:
            asking.cancel()
            stopping.cancel()

    def _offer(self, task: Task) -> dict[str, Any]:
        return wire.offer_to_json(task, lease_s=self._controller.core.state.rules.lease_ms // 1000)


def _host_of_worker(request: web.Request) -> str:
    """The host that asks; empty where a person does, or nobody knows."""
    is_person = request.headers.get("User-Agent", "").startswith(_TOOLS_OF_PEOPLE)
    remote = request.get(ASKER) or request.remote
    return "" if is_person or remote is None else same_host(remote)
