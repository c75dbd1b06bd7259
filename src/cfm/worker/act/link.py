"""The worker's link to cfm: questions for work, and reports.

Each call is one exchange, and returns what came of it.  `decide.asking` decides when and how to ask again,
and `decide.cfm_answers` what an answer means.  Each answer says for which controller it speaks, and `fencing`
is asked first: what a controller says that is not ours counts as no answer.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Protocol, Self

import aiohttp
import structlog

from cfm import wire
from cfm.errors import StateError
from cfm.model import Addr
from cfm.security import NO_KEYS, Keys
from cfm.wire import TaskOffer, TaskReport, WireError
from cfm.worker.decide.cfm_answers import EMPTY, NO_ANSWER, NOT_OURS, OK, OLD_CFM, CfmAnswer
from cfm.worker.decide.download_events import Ask
from cfm.worker.decide.fencing import Binding, HeaderError, Issuer, read_issuer
from cfm.worker.decide.offers import Neighbourhood, first_ready

log = structlog.get_logger(__name__)

IDLE_S: Final = 4.0
"""An old cfm closes a connection that was idle for 5 s.  The worker closes it earlier."""
CONNECTIONS: Final = 2
"""One for the waiting request, one for reports."""
CONNECT_S: Final = 3.0
ANSWER_S: Final = 10.0
WAIT_S: Final = 25
SEVERAL_WAIT_S: Final = 5
SEVERAL_ANSWER_S: Final = 3.0
"""Where another cfm may lead by now, one that does not answer is not waited for as long."""
MOST_BYTES: Final = 16 << 20
_EXPECTED: Final = {how: (OK,) if how is Ask.LIST else (OK, EMPTY, *OLD_CFM) for how in Ask}
"""Answers to a question for work that are no trouble."""


_NO_CREDENTIALS: Final = (401, 403)
UNAVAILABLE: Final = 503
"""Such as from one of several cfm that does not lead, and does not know who does."""


class Listener(Protocol):
    """What the link needs of `fencing.Authority`."""

    @property
    def binding(self) -> Binding | None: ...

    async def hear(self, issuer: Issuer) -> bool: ...


@dataclass(frozen=True, slots=True)
class _Response:
    """An answer that speaks for our controller."""

    status: int
    body: bytes
    has_epoch: bool


class CfmLink:
    """An async context manager.  It is used inside of its context."""

    def __init__(
        self,
        here: Neighbourhood,
        listener: Listener,
        *,
        wait_s: int = WAIT_S,
        answer_s: float = ANSWER_S,
        keys: Keys = NO_KEYS,
    ) -> None:
        self._here = here
        self._listener = listener
        several = bool(here.more_cfm)
        self._wait_s = min(wait_s, SEVERAL_WAIT_S) if several else wait_s
        self._answer_s = min(answer_s, SEVERAL_ANSWER_S) if several else answer_s
        self._keys = keys
        self._session: aiohttp.ClientSession | None = None
        self._cfm = here.cfm
        """The one of several cfm that is asked, until it does not answer."""
        self._out: dict[asyncio.Timeout, Addr] = {}
        """The requests that are under way, and which cfm each one is to."""
        self._troubles: dict[Addr, str] = {}
        """What was told of each cfm that does not answer as it should."""

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            headers=self._keys.headers,
            connector=aiohttp.TCPConnector(
                limit=CONNECTIONS, keepalive_timeout=IDLE_S, ssl=self._keys.context or True
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    @property
    def is_bound(self) -> bool:
        """Does this worker belong to a controller of ours?"""
        return self._listener.binding is not None

    def turn_to(self, leader: Addr) -> None:
        """This one of several cfm leads: ask it, and wait for no other one.

        The one that led may stand still, or its host may be gone: then nothing would end a request to it for
        seconds, and the new leader would wait for us as long.
        """
        if leader not in self._here.every_cfm:
            return
        self._cfm = leader
        for limit, asked in self._out.items():
            if asked != leader and not limit.expired():
                limit.reschedule(0)

    async def ask(self, how: Ask, holding: frozenset[int]) -> CfmAnswer:
        """Ask for work once."""
        asked = self._cfm
        try:
            reply = await (self._list() if how is Ask.LIST else self._next(how, holding))
        except aiohttp.ClientConnectionError as error:
            self._log_trouble(asked, _why(error))
            return NO_ANSWER
        if reply is None:
            return NOT_OURS
        if reply.status in _EXPECTED[how]:
            self._log_trouble(asked, None)
        else:
            said = reply.body[:200].decode("utf-8", "replace")
            if reply.status in _NO_CREDENTIALS:
                said = (
                    f"it does not accept the credentials of this worker: see `security` in cfw.yml ({said})"
                )
            self._log_trouble(asked, f"it answered {reply.status}: {said}")
        return self._read(how, holding, reply)

    async def report(self, offer: TaskOffer, report: TaskReport) -> CfmAnswer:
        """Send a report.

        A kept connection may have been closed at that moment, so a broken one is tried again at once.  cfm
        may therefore hear a report twice, which does no harm.
        """
        body = wire.to_json(wire.report_to_json(report))
        path = f"/tasks/{offer.id}"
        for _ in range(2):
            try:
                reply = await self._request("PATCH", path, self._answer_s, body)
            except aiohttp.ClientConnectionError:
                continue
            return NOT_OURS if reply is None else CfmAnswer(reply.status, knows_epochs=reply.has_epoch)
        return NO_ANSWER

    async def _next(self, how: Ask, holding: frozenset[int]) -> _Response | None:
        wait_s = self._wait_s if how is Ask.WAIT else 0
        query = {"dst_addr": str(self._here.own), "wait_s": str(wait_s), "claim": "1"}
        if holding:
            query["holding"] = ",".join(map(str, sorted(holding)))
        return await self._request("GET", "/tasks/next", wait_s + self._answer_s, query=query)

    async def _list(self) -> _Response | None:
        return await self._request("GET", "/tasks", self._answer_s)

    def _read(self, how: Ask, holding: frozenset[int], reply: _Response) -> CfmAnswer:
        offer, readable = None, True
        if reply.status == OK:
            try:
                offer = self._first_offer(reply, holding) if how is Ask.LIST else self._one_offer(reply)
            except WireError as error:
                readable = False
                log.warning("cannot read the tasks that cfm offers", cfm=self._cfm, error=str(error))
        return CfmAnswer(reply.status, offer=offer, readable=readable, knows_epochs=reply.has_epoch)

    def _one_offer(self, reply: _Response) -> TaskOffer:
        return wire.parse_offer(wire.parse_json(reply.body))

    def _first_offer(self, reply: _Response, holding: frozenset[int]) -> TaskOffer | None:
        tasks, unreadable = wire.parse_task_list(reply.body)
        if unreadable:
            log.warning("cannot read some tasks on cfm's list", cfm=self._cfm, tasks=unreadable)
        return first_ready(tasks, self._here.own, holding)

    async def _request(
        self,
        method: str,
        path: str,
        timeout_s: float,
        body: bytes | None = None,
        query: Mapping[str, str] | None = None,
    ) -> _Response | None:
        """Make one exchange.  Returns None where the answer is not our controller's.

        Raises:
            aiohttp.ClientConnectionError: no answer came.
        """
        assert self._session is not None, "used outside of its context"
        headers = {"Content-Type": "application/json"} if body is not None else {}
        timeout = aiohttp.ClientTimeout(total=timeout_s, sock_connect=CONNECT_S)
        asked = self._cfm
        try:
            async with (
                self._until_another_leads(asked),
                self._session.request(
                    method,
                    f"{self._keys.scheme}://{asked}{path}",
                    data=body,
                    params=query,
                    headers=headers,
                    timeout=timeout,
                    allow_redirects=False,
                ) as response,
            ):
                received = await _bounded(response)
                if response.status == UNAVAILABLE:
                    self._turn_from(asked)
                if response.status in _NO_CREDENTIALS and wire.CONTROLLER not in response.headers:
                    allowed, has_epoch = True, False  # who refuses us does not say who he is, to nobody
                else:
                    allowed, has_epoch = await self._hear(asked, response.headers)
                return _Response(response.status, received, has_epoch) if allowed else None
        except aiohttp.ClientConnectionError:
            self._turn_from(asked)
            raise
        except (TimeoutError, aiohttp.ClientPayloadError, aiohttp.ClientResponseError) as error:
            self._turn_from(asked)
            why = str(error) or type(error).__name__
            raise aiohttp.ClientConnectionError(f"no complete answer came: {why}") from error

    @asynccontextmanager
    async def _until_another_leads(self, asked: Addr) -> AsyncIterator[None]:
        """Raises `TimeoutError` where another cfm than the one that is asked turns out to lead."""
        async with asyncio.timeout(None) as limit:
            self._out[limit] = asked
            try:
                yield
            finally:
                del self._out[limit]

    def _turn_from(self, asked: Addr) -> None:
        """The next question goes to the next cfm, where there are several."""
        if asked == self._cfm:
            every = self._here.every_cfm
            self._cfm = every[(every.index(asked) + 1) % len(every)]

    async def _hear(self, asked: Addr, headers: Mapping[str, str]) -> tuple[bool, bool]:
        """Is the answer our controller's, and does it carry an epoch at all?"""
        try:
            issuer = read_issuer(headers)
        except HeaderError as error:
            self._log_trouble(asked, str(error))
            return False, True
        try:
            ours = self._listener.binding is None if issuer is None else await self._listener.hear(issuer)
        except StateError as error:  # what cannot be remembered must not count
            self._log_trouble(asked, str(error))
            return False, True
        if not ours:
            self._log_trouble(asked, _whose(issuer, self._listener.binding))
        return ours, issuer is not None

    def _log_trouble(self, cfm: Addr, trouble: str | None) -> None:
        """Log it once when it begins or changes, and once when it is over."""
        if trouble == self._troubles.get(cfm):
            return
        if trouble is None:
            del self._troubles[cfm]
            log.info("cfm answers again", cfm=cfm)
        else:
            self._troubles[cfm] = trouble
            log.warning("cannot get work from cfm", cfm=cfm, why=trouble)


def _why(error: aiohttp.ClientConnectionError) -> str:
    """In the words of the system where it refused the connection: aiohttp's name its own settings as well."""
    number = error.errno if isinstance(error, OSError) else None
    return os.strerror(number) if number else str(error) or type(error).__name__


def _whose(issuer: Issuer | None, binding: Binding | None) -> str:
    """Why an answer does not count for a worker with this binding."""
    if issuer is None:
        return (
            "it does not say whose controller it is: it does not lead now, or it is an earlier cfm, which "
            "this worker obeys after `cfw release`"
        )
    if binding is not None and issuer.controller == binding.controller:
        return f"its epoch {issuer.epoch} is over: this worker has heard epoch {binding.epoch}"
    return "this worker belongs to another controller; `cfw release` frees it"


async def _bounded(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > MOST_BYTES:
            response.close()
            raise aiohttp.ClientPayloadError("the answer is too long")
    return bytes(body)
