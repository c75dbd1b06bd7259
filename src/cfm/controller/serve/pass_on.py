"""A follower passes on what only the leader may answer: workers' requests, and changes by people.

What asks only for knowledge is answered here, with what this cfm knows itself.  A worker, old or new, so
reaches the leader through any cfm of the node.  A request is passed on once: where two cfm take each other
for the leader, the second refuses.  Neighbours: `act.lease_keeper` knows who leads, `worker_api` answers at
the leader.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable
from typing import Final

import aiohttp
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from cfm import wire
from cfm.config.fields import same_host
from cfm.controller.serve.asking import not_leading
from cfm.model import Addr
from cfm.web import STOPPING

ASKER: Final = web.RequestKey("asker", str)
"""`request[ASKER]` is the host that asked another cfm, which passed the request on.  Only one of several cfm
believes a header that says so."""

CONNECT_S: Final = 1.0
ANSWER_S: Final = 75.0
"""Longer than the longest waiting request."""
MOST_BYTES: Final = 64 << 20
HELD_S: Final = 8.0
AGAIN_S: Final = 0.1
LOOKS_S: Final = 0.3
"""How often it is looked at whether the one that was asked still leads."""
UNAVAILABLE: Final = 503
_ASKED: Final = ("Authorization", "Content-Type", "User-Agent", wire.USER)
_ANSWERED: Final = ("Content-Type", "Retry-After", wire.CONTROLLER, wire.EPOCH)
_READS: Final = frozenset({"GET", "HEAD", "OPTIONS"})


class PassOn:
    """A middleware, and the connections to the leader.  `close` ends them."""

    def __init__(
        self, leads: Callable[[], bool], leader: Callable[[], Addr | None], tls: ssl.SSLContext | None
    ) -> None:
        """`leads`: is it this cfm?  `leader`: where is it else?"""
        self._leads, self._leader, self._tls = leads, leader, tls
        self._session: aiohttp.ClientSession | None = None

    def middleware(self) -> Middleware:
        @web.middleware
        async def pass_on(request: web.Request, handler: Handler) -> web.StreamResponse:
            if self._leads() or not is_for_the_leader(request.method, request.path):
                if wire.PASSED_ON in request.headers:
                    request[ASKER] = request.headers[wire.PASSED_ON]
                return await handler(request)
            answer = await self._once_somebody_leads(request)
            return answer if answer is not None else await handler(request)

        return pass_on

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def _once_somebody_leads(self, request: web.Request) -> web.Response | None:
        """The leader's answer; None where we lead by now.

        A leader that has fallen is replaced within seconds, so the request is held for that long: its sender
        would only ask again.
        """
        if wire.PASSED_ON in request.headers:
            raise not_leading()
        ends_s = time.monotonic() + HELD_S
        while not self._leads():
            leader = self._leader()
            answer = None if leader is None else await self._pass_on_while_it_leads(request, leader)
            if answer is not None and answer.status != UNAVAILABLE:
                return answer
            if time.monotonic() >= ends_s or request.app[STOPPING].is_set():
                raise not_leading()
            await asyncio.sleep(AGAIN_S)
        return None

    async def _pass_on_while_it_leads(self, request: web.Request, leader: Addr) -> web.Response | None:
        """What the leader answers; None where it cannot be reached, or does not lead any more: it may stand
        still, and would keep the request for as long."""
        passing = asyncio.create_task(self._pass_on(request, leader))
        try:
            while not passing.done() and leader == self._leader():
                await asyncio.wait((passing,), timeout=LOOKS_S)
            return passing.result() if passing.done() else None
        finally:
            passing.cancel()

    async def _pass_on(self, request: web.Request, leader: Addr) -> web.Response | None:
        """What the leader answers; None where it cannot be reached."""
        headers = {name: request.headers[name] for name in _ASKED if name in request.headers}
        headers[wire.PASSED_ON] = same_host(request.remote or "")
        scheme = "http" if self._tls is None else "https"
        try:
            async with self._connected().request(
                request.method,
                f"{scheme}://{leader}{request.raw_path}",
                headers=headers,
                data=await request.read() or None,
                allow_redirects=False,
            ) as answer:
                body = await answer.content.read(MOST_BYTES)
                kept = {name: answer.headers[name] for name in _ANSWERED if name in answer.headers}
                return web.Response(status=answer.status, body=body, headers=kept)
        except (aiohttp.ClientError, TimeoutError):
            return None

    def _connected(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=4.0, ssl=self._tls or True),
                timeout=aiohttp.ClientTimeout(total=ANSWER_S, sock_connect=CONNECT_S),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,
            )
        return self._session


def is_for_the_leader(method: str, path: str) -> bool:
    """Does this ask for work, report on it, or change something?"""
    return path == "/tasks" or path.startswith("/tasks/") or method not in _READS
