"""What all endpoints need: a reply of the controller in time, and values from a request.

Neighbours: the endpoints in `worker_api`, `page_api` and `json_api` use this; `act.loop` answers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

from aiohttp import web

from cfm import wire
from cfm.controller.act.loop import Controller, NotLeadingError
from cfm.controller.act.patience import REPLY_S
from cfm.controller.decide import events as ev
from cfm.controller.decide.core import Core
from cfm.controller.explain.holdings import near_servers, server_of
from cfm.model import Addr, host_of
from cfm.web import RefusedError

MOST_WAITING = 10_000
"""How many changes may wait to be written before no more reports are taken."""


async def asked(controller: Controller, question: Callable[[int], ev.Event]) -> ev.Reply:
    """The controller's reply; 503 where it does not become durable before the asker's patience ends."""
    refuse_when_overloaded(controller)
    try:
        return await controller.ask(question, controller.patience)
    except NotLeadingError:
        raise not_leading() from None
    except TimeoutError:
        why = controller.core.state.store_trouble or "the state is written too slowly"
        raise RefusedError(503, why, {"Retry-After": "5"}) from None


def not_leading() -> RefusedError:
    """For whoever asks a cfm that must not promise anything now."""
    return RefusedError(503, "this cfm does not lead now", {"Retry-After": "1"})


def refuse_when_overloaded(controller: Controller) -> None:
    """503 where so much waits to be written that no more requests are taken."""
    if controller.writer.waiting > MOST_WAITING:
        raise RefusedError(503, "too many changes wait to be written", {"Retry-After": "5"})


class OldTaskList:
    """`GET /tasks` as bytes: they are made when tasks change, and not when they are read."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        self._made: tuple[int, bytes] = -1, b""
        """How often tasks had changed, and the list then."""
        destinations = controller.core.state.config.destinations
        self._hosts = frozenset(host_of(addr) for addr in destinations)

    async def asked_for(self, client: str) -> bytes:
        """The list.  Where an old worker may be asking, the core is told: a poll says what it does not do."""
        if client in self._hosts:
            await asked(self._controller, partial(ev.TasksAsked, client=client))
        if not self._controller.writer.waiting:  # all that has been decided is durable
            return self._shown(self._controller.core)
        refuse_when_overloaded(self._controller)
        try:
            async with asyncio.timeout(REPLY_S):
                shown: bytes = await self._controller.read(lambda core, _now: self._shown(core))
        except TimeoutError:
            raise RefusedError(503, "the state is written too slowly", {"Retry-After": "5"}) from None
        return shown

    def _shown(self, core: Core) -> bytes:
        tasks = core.state.tasks
        if self._made[0] != tasks.moves:
            body = wire.to_json([wire.task_to_old_json(task) for task in tasks.shown()])
            self._made = tasks.moves, body
        return self._made[1]


# ── values from a request ───────────────────────────────────────────────────────────────────────────────


def known_server(controller: Controller, server: str) -> Addr:
    """A server of the settings, by its address or its host; 404, with the nearest, where there is none."""
    found = server_of(controller.core, server)
    if found is None:
        near = near_servers(controller.core, server)
        meant = f"; did you mean {' or '.join(near)}?" if near else ""
        raise RefusedError(404, f"the settings name no server {server}{meant}")
    return found


def task_id_of(request: web.Request) -> int:
    text = request.match_info["id"]
    if not _is_id(text):
        raise RefusedError(400, "a task id is an integer")
    return int(text)


def ids_of(request: web.Request, key: str) -> frozenset[int]:
    """The integers of a list with commas; anything else in it is left out."""
    return frozenset(int(part) for part in request.query.get(key, "").split(",") if _is_id(part))


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 19


def number_of(request: web.Request, key: str, default: int, least: int, most: int) -> int:
    """A whole number of the query; 400 where it is none, or out of its range."""
    text = request.query.get(key)
    if text is None:
        return default
    if not _is_id(text) or not least <= int(text) <= most:
        raise RefusedError(400, f"{key} is a number from {least} to {most}")
    return int(text)


def seconds_of(request: web.Request, key: str, default: float, most: float) -> float:
    try:
        value = float(request.query.get(key, default))
    except ValueError:
        raise RefusedError(400, f"{key} is a number of seconds") from None
    if not 0 <= value <= most:
        raise RefusedError(400, f"{key} is from 0 to {most:g} seconds")
    return value
