"""All that a worker answers: the old endpoints in their exact form, and the new ones beside them.

A handler reads the request, asks `fencing` whether to obey an order, lets the shelf work in a thread, and
turns the outcome into a status.  `web` has checked each request before; `content` answers for files.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Final, TypeVar
from urllib.parse import unquote

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from cfm import __version__, wire
from cfm.errors import StateError
from cfm.model import Addr, DiskUsage, Transfer
from cfm.security import Role
from cfm.threads import ThreadPool
from cfm.web import AccessPolicy, Limits, RefusedError, empty, json_answer, name_from_path, old_json, old_text
from cfm.worker.act.fencing import Authority
from cfm.worker.act.lists import Lists
from cfm.worker.act.shelf import Shelf
from cfm.worker.decide.fencing import Refuse
from cfm.worker.decide.shelf_rules import DELETION_STATUS, DeletionOutcome
from cfm.worker.serve.content import Content
from cfm.worker.serve.metrics import CONTENT_TYPE, WorkerMetrics
from cfm.worker.serve.openapi import DOCUMENT
from cfm.worker.serve.requests import (
    is_from_this_machine,
    issuer_of,
    names_etag,
    number_of,
    since_etag,
)
from cfm.worker.serve.streams import Streams

log = structlog.get_logger(__name__)

R = TypeVar("R")

DISK_S = 30.0
"""How long a disk is waited for.  Whoever asked has given up long before."""
CUT_S = 10.0
MOST_PROBES = 10
"""More workers than that do not share one disk."""
_CONTROLLER = frozenset({Role.CONTROLLER})
ACCESS_POLICY: Final = AccessPolicy(
    public=frozenset({"/healthz"}),
    allowed={
        ("DELETE", "/files/{name}"): _CONTROLLER,
        ("DELETE", "/streams/{task}"): _CONTROLLER,
        ("POST", "/release"): frozenset({Role.WORKER, Role.CONTROLLER}),
        ("GET", "/content/{name}"): frozenset({Role.PEER, Role.CONTROLLER}),
    },
    headers={
        wire.CONTROLLER: _CONTROLLER,
        wire.EPOCH: _CONTROLLER,
        wire.LEADER: _CONTROLLER,
        wire.FENCE: _CONTROLLER,
        wire.PROBED: _CONTROLLER,
        wire.SOURCE_FOLDER: _CONTROLLER,
        wire.TASK: frozenset({Role.PEER}),
    },
    programs=frozenset(
        {
            ("HEAD", "/hb"),
            ("GET", "/files"),
            ("GET", "/df"),
            ("DELETE", "/files/{name}"),
            ("HEAD", "/content/{name}"),
            ("GET", "/content/{name}"),
            ("DELETE", "/streams/{task}"),
            ("POST", "/release"),
        }
    ),
)
"""Who may do what here, if credentials are configured."""


@dataclass(frozen=True, slots=True)
class WorkerFacts:
    """What a worker says of itself."""

    name: Addr
    boot_id: str
    transfer: Transfer
    serves: bool
    slots: int
    downloads: int
    started_s: float = field(default_factory=time.monotonic)


@dataclass(frozen=True, slots=True)
class WorkerApi:
    """The handlers, and what they work on."""

    facts: WorkerFacts
    shelf: Shelf
    lists: Lists
    disk: ThreadPool
    authority: Authority
    streams: Streams
    content: Content
    metrics: WorkerMetrics
    receiving: Callable[[], int]
    """How many copies are under way now."""
    cfm_spoke: Callable[[], None]
    """Called when a request comes from our controller, or from the one that may become ours."""
    leads: Callable[[Addr], None]
    """Called with the address of the one of several cfm that says that it leads."""

    def application(self) -> web.Application:
        app = web.Application(middlewares=[self._middleware()], client_max_size=Limits().body_bytes)
        app.on_response_prepare.append(_add_version)
        app.on_response_prepare.append(self._tell_epoch)
        app.router.add_get("/hb", self.hb)
        app.router.add_get("/files", self.files)
        app.router.add_get("/df", self.df)
        app.router.add_delete("/files/{name:(?s:.*)}", self.delete)
        app.router.add_get("/content/{name:(?s:.*)}", self.content.handle)
        app.router.add_delete("/streams/{task}", self.cut)
        app.router.add_post("/release", self.release)
        app.router.add_get("/healthz", self.healthz)
        app.router.add_get("/metrics", self.metrics_page)
        app.router.add_get("/api/openapi.json", self.openapi)
        return app

    # --- the old endpoints

    async def hb(self, _: web.Request) -> web.Response:
        """This asks no disk: a disk that hangs must not make the server look dead."""
        return empty(200, {**self._identity(self.shelf.seen_disk_id), **self._abilities()})

    async def files(self, request: web.Request) -> web.Response:
        await self._raise_fence(request)
        self._hear_source_folder(request)
        since = since_etag(request.headers)
        listed = await self._on_disk("cannot list the files", partial(self.lists.look, since))
        inventory = listed.inventory
        self.metrics.odd_names.set(inventory.odd)
        headers = {
            **self._identity(inventory.disk_id),
            "ETag": listed.etag,
            wire.FILES: str(len(inventory.names)),
            wire.LINKS: str(inventory.links),
            wire.PROBES: ",".join(inventory.probes[:MOST_PROBES]),
        }
        if names_etag(request.headers.get("If-None-Match", ""), listed.etag):
            return empty(304, headers)
        if listed.since is not None:
            headers |= {wire.MANIPULATION: wire.NAMES_CHANGED, wire.DELTA_BASE: since}
            return old_text(wire.difference_to_text(listed.since), headers, status=wire.IM_USED)
        return old_text(listed.text, headers)

    async def df(self, _: web.Request) -> web.Response:
        usage = await self._on_disk("cannot ask the disk", self.shelf.usage)
        body = wire.df_to_json(
            DiskUsage(usage.total_bytes, usage.used_bytes, usage.avail_bytes),
            limit_percent=self.shelf.limit_percent,
            disk_id=usage.disk_id,
            arriving_bytes=usage.arriving_bytes,
        )
        return old_json(body, {**self._identity(usage.disk_id), **self._limit()})

    async def delete(self, request: web.Request) -> web.Response:
        name = name_from_path(request, "/files/")
        issuer, number = issuer_of(request), number_of(request, wire.ORDER)
        why = await _remembered(self.authority.delete_order(issuer, number))
        if why is not None:
            self.metrics.delete_answered("refused")
            log.warning("refused to delete a file", file=name, why=why, client=request.remote)
            raise RefusedError(409, why)
        allowed = partial(self.authority.still, issuer, number)
        probe = request.headers.get(wire.PROBED)
        deletion = await self._on_disk(
            "cannot delete a file", partial(self.shelf.delete, name, allowed, probe)
        )
        self.metrics.delete_answered(deletion.name.lower())
        if deletion is not DeletionOutcome.DELETED:
            raise RefusedError(DELETION_STATUS[deletion], deletion.name.lower())
        log.info("deleted file", file=name, order=number, client=request.remote)
        return empty()

    # --- the new ones

    async def cut(self, request: web.Request) -> web.Response:
        task = wire.token(request.match_info["task"])
        if not task or request.query_string:
            raise RefusedError(400, "the path does not end in the id of a task")
        why = await _remembered(self.authority.order(issuer_of(request)))
        if why is not None:
            raise RefusedError(409, why)
        try:
            async with asyncio.timeout(CUT_S):
                count = await self.streams.cut(task)
        except TimeoutError:
            raise RefusedError(500, "the stream was told to end, and has not ended yet") from None
        if count:
            log.info("cut a stream", task=task)
        return empty()

    async def release(self, request: web.Request) -> web.Response:
        issuer = issuer_of(request)
        if issuer is not None:
            was = await _remembered(self.authority.release_by(issuer))
            if isinstance(was, Refuse):
                raise RefusedError(409, was.why)
        elif is_from_this_machine(request):
            was = await _remembered(self.authority.release())
        else:
            raise RefusedError(403, "a worker is released only from its own machine, or by its controller")
        log.warning("released from the controller", controller=None if was is None else was.controller)
        return json_answer(
            {
                "controller": None if was is None else was.controller,
                "epoch": None if was is None else was.epoch,
            }
        )

    async def healthz(self, _: web.Request) -> web.Response:
        """Always 200: the worker itself is well.  The body says if its disk is not."""
        binding, disk_id = self.authority.binding, self.shelf.seen_disk_id
        return json_answer(
            {
                "status": "ok" if disk_id and not self.shelf.source_folder else "degraded",
                "name": self.facts.name,
                "version": __version__,
                "boot_id": self.facts.boot_id,
                "up_s": int(time.monotonic() - self.facts.started_s),
                "disk_id": disk_id or None,
                "controller": None if binding is None else binding.controller,
                "epoch": None if binding is None else binding.epoch,
                "streams": {
                    "controlled": self.streams.controlled,
                    "uncontrolled": self.streams.uncontrolled,
                    "slots": self.streams.slots,
                },
                "receiving": self.receiving(),
            }
        )

    async def metrics_page(self, _: web.Request) -> web.Response:
        self.metrics.streams.labels("controlled").set(self.streams.controlled)
        self.metrics.streams.labels("uncontrolled").set(self.streams.uncontrolled)
        self.metrics.receiving.set(self.receiving())
        return web.Response(body=self.metrics.page(), headers={"Content-Type": CONTENT_TYPE})

    async def openapi(self, _: web.Request) -> web.Response:
        return json_answer(DOCUMENT)

    # ---

    def _middleware(self) -> Middleware:
        @web.middleware
        async def hear_epoch(request: web.Request, handler: Handler) -> web.StreamResponse:
            await self._hear_epoch(request)
            return await handler(request)

        return hear_epoch

    async def _tell_epoch(self, request: web.Request, response: web.StreamResponse) -> None:
        """To our controller, where it comes with a lower epoch than we have heard: it may not know why it is
        refused."""
        binding, told = self.authority.binding, request.headers.get(wire.EPOCH)
        if binding is None or request.headers.get(wire.CONTROLLER) != binding.controller:
            return
        if (number := wire.decimal(told)) is not None and number < binding.epoch:
            response.headers[wire.EPOCH] = str(binding.epoch)

    async def _hear_epoch(self, request: web.Request) -> None:
        """Take a request of our controller as a sign that it runs.  Obey a higher epoch from the first
        request on that carries it, and ask for work where that one leads.

        A heartbeat is only a sign: it must not wait until the state is written.
        """
        if wire.EPOCH not in request.headers:
            return
        issuer = issuer_of(request)
        if issuer is not None and self.authority.may_obey(issuer):
            self.cfm_spoke()
        if request.path != "/hb":
            await _remembered(self.authority.heed(issuer))
            if wire.LEADER in request.headers and self.authority.obeys(issuer):
                self.leads(Addr(request.headers[wire.LEADER]))

    async def _raise_fence(self, request: web.Request) -> None:
        fence = number_of(request, wire.FENCE)
        if fence is not None:
            why = await _remembered(self.authority.fence(issuer_of(request), fence))
            if why is not None:
                raise RefusedError(409, why)

    def _hear_source_folder(self, request: web.Request) -> None:
        """Our controller says with each question for the list whether our disk is a source folder.

        An earlier start of it may not know that yet, and must not take it back.
        """
        if not self.authority.obeys(issuer_of(request)):
            return
        folder = unquote(request.headers.get(wire.SOURCE_FOLDER, ""))
        if folder != self.shelf.source_folder:
            if folder:
                log.error("cfm found base_dir to be a source folder; it is not used", folder=folder)
            else:
                log.info("base_dir is no source folder any more")
            self.shelf.is_in_source_folder(folder)

    async def _on_disk(self, trouble: str, work: Callable[[], R]) -> R:
        try:
            return await self.disk.run(DISK_S, work)
        except OSError as error:
            log.error(trouble, why=str(error))  # noqa: TRY400 - the text says it all
            raise RefusedError(500, f"{trouble}: {error}") from error

    def _identity(self, disk_id: str) -> dict[str, str]:
        return {wire.BOOT: self.facts.boot_id, wire.DISK: disk_id, wire.PROBE: self.shelf.seen_probe}

    def _limit(self) -> dict[str, str]:
        return {wire.LIMIT_PERCENT: str(self.shelf.limit_percent)}

    def _abilities(self) -> dict[str, str]:
        return {
            wire.TRANSFER: self.facts.transfer,
            wire.SERVES: "true" if self.facts.serves else "false",
            wire.SLOTS: str(self.facts.slots),
            wire.DOWNLOADS: str(self.facts.downloads),
            **self._limit(),
        }


async def _add_version(_: web.Request, response: web.StreamResponse) -> None:
    response.headers[wire.VERSION] = __version__


async def _remembered(change: Awaitable[R]) -> R:
    """Wait for a change of the binding.  If it cannot be made durable, it does not count."""
    try:
        return await change
    except StateError as error:
        log.error("cannot write down which controller to obey", why=str(error))  # noqa: TRY400 - as above
        raise RefusedError(500, str(error)) from error
