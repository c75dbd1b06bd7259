"""The pages for people: reads the state, and hands it to `pages`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from aiohttp import web
from aiohttp.typedefs import Handler

from cfm.controller.act.loop import Controller
from cfm.controller.decide.core import Core
from cfm.controller.serve import pages
from cfm.controller.serve.asking import old_tasks
from cfm.model import Now
from cfm.web import html_page

BACKLOG_ROWS: Final = 500


class PageEndpoints:
    """`/`, `/dashboard` and what is below it, and the style of both."""

    def __init__(self, controller: Controller, status: Callable[[Core, Now], Mapping[str, Any]]) -> None:
        self._controller = controller
        self._status = status

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/", self._page(pages.index_page)),
            web.get("/dashboard", self.dashboard),
            web.get("/dashboard/hb", self._page(pages.heartbeat_page)),
            web.get("/dashboard/filemetas", self.filemetas),
            web.get("/static/style.css", self.style),
        ]

    def _page(self, page: Callable[[Mapping[str, Any]], str]) -> Handler:
        """A page that needs nothing but the status."""

        async def answer(_request: web.Request) -> web.StreamResponse:
            return html_page(page(await self._controller.read(self._status)))

        return answer

    async def dashboard(self, _request: web.Request) -> web.Response:
        status = await self._controller.read(self._status)
        return html_page(pages.dashboard_page(status, await old_tasks(self._controller)))

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
            for file in backlog.wanted[:BACKLOG_ROWS]
        ]
        return html_page(pages.filemetas_page(rows, backlog.wanted_total))

    async def style(self, _request: web.Request) -> web.Response:
        return web.Response(text=pages.STYLE, content_type="text/css")
