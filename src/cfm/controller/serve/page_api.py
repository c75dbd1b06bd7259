"""The pages for people: reads the state, and hands it to `pages`.

Each page has an address.  With `?live=DIGEST` the same address tells what changes on it, as server-sent
events (`live`).  The addresses of the earlier program lead to what has taken their place.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final, TypeAlias

from aiohttp import web
from aiohttp.typedefs import Handler

from cfm.controller.act.finder import Finder
from cfm.controller.act.lister import MOST_ROWS, Lister
from cfm.controller.act.loop import Controller
from cfm.controller.act.own_settings import OwnSettings
from cfm.controller.act.teller import Teller
from cfm.controller.decide.core import Core
from cfm.controller.decide.step import DELETES
from cfm.controller.explain import report
from cfm.controller.explain.backlog import backlog_json
from cfm.controller.serve import pages
from cfm.controller.serve.asking import known_server, number_of
from cfm.controller.serve.live import LivePages, Make, TooManyError
from cfm.model import Now
from cfm.web import STOPPING, RefusedError, html_page, name_from_path

ROWS: Final = 100
"""Rows of a long list that are sent at a time; nobody is sent more than `MOST_ROWS`."""
MOST_OFFSET: Final = 2**31
FILE_EVERY_S: Final = 5.0
"""The page of a file asks the SAN and the state on disk."""
DECISIONS_READ: Final = 1_000
"""How far back the overview looks for what was decided lately; the history goes further."""

Answer: TypeAlias = Callable[[web.Request], Make]
"""What is asked for, as something that makes the page each time that it is wanted."""


class PageEndpoints:
    """Every page, and what pages load."""

    def __init__(
        self,
        controller: Controller,
        teller: Teller,
        settings: OwnSettings,
        status: Callable[[Core, Now], Mapping[str, Any]],
    ) -> None:
        self._controller = controller
        self._teller = teller
        self._settings = settings
        self._status = status
        self._lister, self._finder = Lister(controller), Finder(controller)
        self._live = LivePages()

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/", self._page(self.overview)),
            web.get("/servers", self._page(self.servers)),
            web.get("/server/{addr}", self._page(self.server)),
            web.get("/file/{tail:(?s:.*)}", self._page(self.file, FILE_EVERY_S)),
            web.get("/backlog", self._page(self.backlog)),
            web.get("/deletes", self._page(self.deletes)),
            web.get("/history", self._page(self.history)),
            web.get("/settings", self._page(self.settings)),
            web.get("/search", self.search),
            web.get("/dashboard", self._page(self.overview)),
            web.get("/dashboard/hb", self._page(self.servers)),
            web.get("/dashboard/filemetas", self._page(self.backlog)),
            web.get("/static/{name}", self.static),
        ]

    # ── pages that follow what goes on ──────────────────────────────────────────────────────────────────

    def _page(self, asked: Answer, every_s: float = 0.0) -> Handler:
        """`every_s`: how often the page is made at most, where that is less often than others."""

        async def answer(request: web.Request) -> web.StreamResponse:
            query = {name: value for name, value in request.query.items() if name != "live"}
            key = str(request.rel_url.with_query(query))
            if "live" in request.query:
                return await self._follow(request, key, asked(request), every_s)
            try:
                page = await self._live.page(key, asked(request))
            except RefusedError as refused:
                return html_page(_refusal(refused), status=refused.status)
            return html_page(pages.document(page, pages.time_of_day(time.time())))

        return answer

    async def _follow(self, request: web.Request, key: str, make: Make, every_s: float) -> web.StreamResponse:
        """What changes on a page, until the browser or we leave."""
        seen = request.headers.get("Last-Event-ID") or request.query["live"]
        try:
            listener = await self._live.listen(key, seen, make, every_s)
        except TooManyError:
            raise RefusedError(503, "too many pages are open", {"Retry-After": "30"}) from None
        headers = {"Content-Type": "text/event-stream", "Cache-Control": "no-store"}
        response = web.StreamResponse(headers=headers)
        try:
            await response.prepare(request)
            await response.write(b"retry: 2000\n\n")
            while (event := await _before(request.app[STOPPING], listener.next())) is not None:
                await response.write(event)
        finally:
            listener.close()
        return response

    def overview(self, _request: web.Request) -> Make:
        async def make() -> pages.Page:
            return pages.overview(await self._read_status(), self._controller.trends, self._recent())

        return make

    def servers(self, request: web.Request) -> Make:
        first = _first(request)

        async def make() -> pages.Page:
            return pages.servers_page(await self._read_status(), first, MOST_ROWS)

        return make

    def server(self, request: web.Request) -> Make:
        first = _first(request)
        unique = request.query.get("only") == "here"
        listed = self._lister.unique if unique else self._lister.server

        async def make() -> pages.Page:
            addr = known_server(self._controller, request.match_info["addr"])
            found = await listed(addr, first, ROWS)
            status, trends = await self._read_status(), self._controller.trends
            happened = await self._teller.events(addr, pages.EVENTS_SHOWN)
            return pages.server_page(found, status, trends, happened, first, ROWS, unique=unique)

        return make

    def file(self, request: web.Request) -> Make:
        name = name_from_path(request, "/file/", query_allowed=True)

        async def make() -> pages.Page:
            found = await self._teller.why(name)
            return pages.file_page(found, self._names(), int(time.time()))

        return make

    def backlog(self, request: web.Request) -> Make:
        first = _first(request)

        async def make() -> pages.Page:
            found = await self._controller.read(lambda core, now: backlog_json(core, now, first, ROWS))
            return pages.backlog_page(found, self._names(), ROWS)

        return make

    def deletes(self, request: web.Request) -> Make:
        before = _before_id(request)

        async def make() -> pages.Page:
            status = await self._read_status()
            plan = await self._controller.read(report.plan_json)
            done = await self._teller.events(DELETES, ROWS, before)
            return pages.deletes_page(status, plan, done)

        return make

    def history(self, request: web.Request) -> Make:
        about = request.query.get("about", "").strip()
        before = _before_id(request)

        async def make() -> pages.Page:
            found = await self._teller.events(about, ROWS, before)
            return pages.history_page(found, about, time.time())

        return make

    def settings(self, _request: web.Request) -> Make:
        async def make() -> pages.Page:
            return pages.settings_page(self._settings.effective())

        return make

    # ── what does not follow ────────────────────────────────────────────────────────────────────────────

    async def search(self, request: web.Request) -> web.StreamResponse:
        """What was found; where it is one thing alone, its own page."""
        text = request.query.get("q", "").strip()
        found = await self._finder.find(text)
        only = [pages.file_path(one["file"]) for one in found["files"]]
        only += [pages.server_path(addr) for addr in found["servers"]]
        if len(only) == 1:
            return web.Response(status=303, headers={"Location": only[0]})
        page = pages.search_page(text, found, self._names())
        return html_page(pages.document(page, "", live=False))

    async def static(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if name not in pages.STATIC_TYPES:
            raise RefusedError(404, "no such file")
        headers = {"Content-Type": pages.STATIC_TYPES[name], "Cache-Control": "no-cache"}
        return web.Response(body=pages.static(name), headers=headers)

    # ── what pages are made of ──────────────────────────────────────────────────────────────────────────

    async def _read_status(self) -> Mapping[str, Any]:
        status: Mapping[str, Any] = await self._controller.read(self._status)
        return status

    def _recent(self) -> list[Mapping[str, Any]]:
        recent = self._controller.recent
        return [recent[place] for place in range(max(0, len(recent) - DECISIONS_READ), len(recent))]

    def _names(self) -> Mapping[str, str]:
        return pages.names_of({"addr": addr} for addr in self._controller.core.state.fleet.records)


@web.middleware
async def refusals_as_pages(request: web.Request, handler: Handler) -> web.StreamResponse:
    """An address that leads nowhere is told as a page to whoever asks for one: to a browser."""
    try:
        return await handler(request)
    except web.HTTPNotFound:
        if request.method in ("GET", "HEAD") and "text/html" in request.headers.get("Accept", ""):
            return html_page(_refusal(RefusedError(404, "no page of cfm has this address")), status=404)
        raise


def _first(request: web.Request) -> int:
    return number_of(request, "from", 0, 0, MOST_OFFSET)


def _before_id(request: web.Request) -> int:
    """Events before this one are asked for; without it, the newest."""
    return number_of(request, "before", 2**63 - 1, 0, 2**63 - 1)


def _refusal(refused: RefusedError) -> str:
    """A refusal for people."""
    return pages.document(pages.refusal_page(refused.status, refused.detail), "", live=False)


async def _before(stopping: asyncio.Event, event: Coroutine[Any, Any, bytes]) -> bytes | None:
    """The event; None where we stop before it comes."""
    coming, ending = asyncio.ensure_future(event), asyncio.ensure_future(stopping.wait())
    try:
        await asyncio.wait((coming, ending), return_when=asyncio.FIRST_COMPLETED)
        return coming.result() if coming.done() and not ending.done() else None
    finally:
        coming.cancel()
        ending.cancel()
