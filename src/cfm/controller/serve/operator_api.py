"""The endpoints that operators work with: history, one server, settings.  Pages and command line use them.

Neighbours: `act.lister`, `act.teller` and `act.own_settings` answer; `json_api` has what scripts and
monitoring ask; `openapi` describes these endpoints.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, TypeAlias

from aiohttp import web

from cfm.controller.act.finder import Finder
from cfm.controller.act.lister import MOST_ROWS, Lister
from cfm.controller.act.loop import Controller, clock
from cfm.controller.act.own_settings import OwnSettings
from cfm.controller.act.teller import Teller
from cfm.controller.explain.backlog import backlog_json
from cfm.controller.explain.trends import trends_json
from cfm.controller.serve.asking import known_server, number_of
from cfm.errors import CfmError
from cfm.model import Addr
from cfm.web import RefusedError, asker_of, json_answer

ROWS: Final = 50
MOST_OFFSET: Final = 2**31
HandOver: TypeAlias = Callable[[str], Mapping[str, Any]]
"""Lets another cfm lead, because of whoever asks; raises `CfmError` where none can."""


def nobody_else(_asker: str) -> Mapping[str, Any]:
    """What the only cfm of a node says when it is to let another one lead."""
    raise CfmError("this is the only cfm of the node: there is no one to hand over to")


class OperatorEndpoints:
    """What an operator asks for, and may change."""

    def __init__(
        self, controller: Controller, teller: Teller, settings: OwnSettings, hand_over: HandOver = nobody_else
    ) -> None:
        self._controller = controller
        self._hand_over = hand_over
        self._teller = teller
        self._lister, self._finder = Lister(controller), Finder(controller)
        self._settings = settings

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/api/v1/history", self.history),
            web.get("/api/v1/servers/{addr}", self.server),
            web.get("/api/v1/servers/{addr}/unique", self.unique),
            web.get("/api/v1/backlog", self.backlog),
            web.get("/api/v1/search", self.search),
            web.get("/api/v1/trends", self.trends),
            web.get("/api/v1/settings", self.settings),
            web.post("/api/v1/reload", self.reload),
            web.post("/api/v1/handover", self.handover),
        ]

    async def history(self, request: web.Request) -> web.Response:
        """What happened, the newest first: all of it, or what concerns one file or server."""
        limit = number_of(request, "limit", ROWS, 1, MOST_ROWS)
        before = number_of(request, "before", 2**63 - 1, 0, 2**63 - 1)
        return json_answer(await self._teller.events(request.query.get("about", ""), limit, before))

    async def server(self, request: web.Request) -> web.Response:
        return json_answer(await self._lister.server(*self._page(request)))

    async def unique(self, request: web.Request) -> web.Response:
        return json_answer(await self._lister.unique(*self._page(request)))

    def _page(self, request: web.Request) -> tuple[Addr, int, int]:
        return known_server(self._controller, request.match_info["addr"]), *_rows_of(request)

    async def backlog(self, request: web.Request) -> web.Response:
        """The wanted files that are on no destination, best first, with the reason of each."""
        offset, limit = _rows_of(request)
        make = partial(backlog_json, offset=offset, limit=limit)
        return json_answer(await self._controller.read(make))

    async def search(self, request: web.Request) -> web.Response:
        """Files and servers with a text in their name."""
        return json_answer(await self._finder.find(request.query.get("q", "").strip()))

    async def trends(self, _request: web.Request) -> web.Response:
        """What went on over the last hour and the last day."""
        controller = self._controller
        sources = len(controller.core.state.config.sources)
        return json_answer(trends_json(controller.trends, sources, clock()))

    async def settings(self, _request: web.Request) -> web.Response:
        """The settings in force, and where each of them comes from."""
        return json_answer(self._settings.effective())

    async def reload(self, request: web.Request) -> web.Response:
        """Read the settings again; with `check=true`, only say what that would change."""
        if request.query.get("check") == "true":
            try:
                return json_answer(await self._settings.preview())
            except CfmError as error:
                raise RefusedError(409, str(error)) from None
        reading, told = await self._settings.reload(asker_of(request))
        if reading.refused:
            raise RefusedError(409, reading.refused)
        return json_answer(told)

    async def handover(self, request: web.Request) -> web.Response:
        """Let another cfm lead; this one begins anew as a follower when the answer is on its way."""
        try:
            return json_answer(self._hand_over(asker_of(request)))
        except CfmError as error:
            raise RefusedError(409, str(error)) from None


def _rows_of(request: web.Request) -> tuple[int, int]:
    """How many rows are left out, and how many are sent."""
    offset = number_of(request, "offset", 0, 0, MOST_OFFSET)
    return offset, number_of(request, "limit", ROWS, 1, MOST_ROWS)
