"""The endpoints that operators work with: history, one server, settings.  Pages and command line use them.

Neighbours: `act.lister`, `act.teller` and `act.own_settings` answer; `json_api` has what scripts and
monitoring ask; `openapi` describes these endpoints.
"""

from __future__ import annotations

from typing import Final

from aiohttp import web

from cfm.controller.act.lister import MOST_ROWS, Lister
from cfm.controller.act.loop import Controller
from cfm.controller.act.own_settings import OwnSettings
from cfm.controller.act.teller import Teller
from cfm.controller.serve.asking import known_server, number_of
from cfm.errors import CfmError
from cfm.model import Addr
from cfm.web import RefusedError, asker_of, json_answer

ROWS: Final = 50
MOST_OFFSET: Final = 2**31


class OperatorEndpoints:
    """What an operator asks for, and may change."""

    def __init__(self, controller: Controller, teller: Teller, settings: OwnSettings) -> None:
        self._controller = controller
        self._teller = teller
        self._lister = Lister(controller)
        self._settings = settings

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/api/v1/history", self.history),
            web.get("/api/v1/servers/{addr}", self.server),
            web.get("/api/v1/servers/{addr}/unique", self.unique),
            web.get("/api/v1/settings", self.settings),
            web.post("/api/v1/reload", self.reload),
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
        offset, limit = (
            number_of(request, "offset", 0, 0, MOST_OFFSET),
            number_of(request, "limit", ROWS, 1, MOST_ROWS),
        )
        return known_server(self._controller, request.match_info["addr"]), offset, limit

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
