"""The worker's side of the line to cfm: asking for work, and reporting on it.

Each call is one exchange and gives one event or one status back; when to ask again, and how, is decided in
`asking`, what a status means in `downloads`.  Whoever answers says for which controller it speaks, and
`fencing` hears it first: what comes from a controller that is not ours (any more) is no answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Protocol, Self

import aiohttp
import structlog

from cfm import wire
from cfm.errors import StateError
from cfm.security import NO_KEYS, Keys
from cfm.wire import TaskOffer, TaskReport, WireError
from cfm.worker.decide.download_events import Ask, AskOutcome, NothingOffered, TaskOffered
from cfm.worker.decide.fencing import Binding, HeaderError, Issuer, read_issuer
from cfm.worker.decide.offers import Neighbourhood, first_ready

log = structlog.get_logger(__name__)

IDLE_S: Final = 4.0
"""An old cfm closes connections that were idle for 5 s; ours go before that."""
CONNECTIONS: Final = 2
"""One for the waiting request, one for reports."""
CONNECT_S: Final = 3.0
ANSWER_S: Final = 10.0
WAIT_S: Final = 25
MOST_BYTES: Final = 16 << 20
_OLD_CFM: Final = (404, 405)
"""To an old cfm the waiting request is an unknown path, or `/tasks/{id}` with a wrong method."""


class Hearing(Protocol):
    """What the link needs of `fencing.Authority`."""

    @property
    def binding(self) -> Binding | None: ...

    async def hear(self, issuer: Issuer) -> bool: ...


@dataclass(frozen=True, slots=True)
class _Reply:
    status: int
    body: bytes
    claimed: bool
    """It speaks for a controller with epochs: ours, as others' replies are dropped."""


class CfmLink:
    """An async context manager; usable in between."""

    def __init__(
        self,
        here: Neighbourhood,
        hearing: Hearing,
        *,
        wait_s: int = WAIT_S,
        answer_s: float = ANSWER_S,
        keys: Keys = NO_KEYS,
    ) -> None:
        self._here = here
        self._hearing = hearing
        self._wait_s = wait_s
        self._heard = False
        self._answer_s = answer_s
        self._keys = keys
        self._session: aiohttp.ClientSession | None = None
        self._trouble: str | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            f"{self._keys.scheme}://{self._here.cfm}",
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

    async def ask(self, how: Ask, holding: frozenset[int]) -> TaskOffered | NothingOffered:
        """Ask for work once; waits for it where `how` is WAIT."""
        return await (self._wait(holding) if how is Ask.WAIT else self._list(holding))

    async def report(self, offer: TaskOffer, report: TaskReport) -> int | None:
        """Say how it goes; the answer's status, or None where no answer (of our controller) came.

        A kept connection may have been closed just then, so a broken one is tried again at once: a report
        that was heard already may be repeated.
        """
        old_cfm = offer.lease_s is None
        body = wire.to_json(wire.report_to_json(_bare(report) if old_cfm else report))
        path = f"/tasks/{offer.id}"
        for _ in range(2):
            try:
                reply = await self._request("PATCH", path, self._answer_s, body)
            except aiohttp.ClientConnectionError:
                continue
            return None if reply is None else reply.status
        return None

    async def _wait(self, holding: frozenset[int]) -> TaskOffered | NothingOffered:
        # The first answer tells whose worker this is: until then it must refuse deletes, so it comes at once.
        wait_s = self._wait_s if self._heard else 0
        query = {"dst_addr": str(self._here.own), "wait_s": str(wait_s), "claim": "1"}
        if holding:
            query["holding"] = ",".join(map(str, sorted(holding)))
        reply = await self._get("/tasks/next", self._wait_s + self._answer_s, query)
        if isinstance(reply, NothingOffered):
            return reply
        if reply.status in _OLD_CFM:
            return NothingOffered(AskOutcome.OLD)
        if reply.status == 204:
            return NothingOffered(AskOutcome.EMPTY)
        if reply.status == 200:
            return self._offered(reply)
        return self._odd(reply)

    def _offered(self, reply: _Reply) -> TaskOffered | NothingOffered:
        try:
            return TaskOffered(wire.parse_offer(wire.parse_json(reply.body)))
        except WireError as error:
            log.warning("cfm offered what cannot be read", cfm=self._here.cfm, error=str(error))
            return NothingOffered(AskOutcome.REFUSED)

    async def _list(self, holding: frozenset[int]) -> TaskOffered | NothingOffered:
        reply = await self._get("/tasks", self._answer_s, {})
        if isinstance(reply, NothingOffered):
            return reply
        if reply.status != 200:
            return self._odd(reply)
        try:
            tasks, unreadable = wire.parse_task_list(reply.body)
        except WireError as error:
            log.warning("cfm's task list cannot be read", cfm=self._here.cfm, error=str(error))
            return NothingOffered(AskOutcome.REFUSED)
        if unreadable:
            log.warning("tasks on cfm's list cannot be read", cfm=self._here.cfm, tasks=unreadable)
        offer = first_ready(tasks, self._here.own, holding)
        if offer is not None:
            return TaskOffered(offer)
        return NothingOffered(AskOutcome.NEW if reply.claimed else AskOutcome.EMPTY)

    def _odd(self, reply: _Reply) -> NothingOffered:
        said = reply.body[:200].decode("utf-8", "replace")
        self._log_trouble(f"it answered {reply.status}: {said}")
        return NothingOffered(AskOutcome.REFUSED if reply.status < 500 else AskOutcome.DOWN)

    async def _get(self, path: str, timeout_s: float, query: Mapping[str, str]) -> _Reply | NothingOffered:
        try:
            reply = await self._request("GET", path, timeout_s, query=query)
        except aiohttp.ClientConnectionError as error:
            self._log_trouble(str(error) or type(error).__name__)
            return NothingOffered(AskOutcome.DOWN)
        if reply is None:
            return NothingOffered(AskOutcome.REFUSED)
        if reply.status < 400 or reply.status in _OLD_CFM:
            self._log_trouble(None)
        return reply

    async def _request(
        self,
        method: str,
        path: str,
        timeout_s: float,
        body: bytes | None = None,
        query: Mapping[str, str] | None = None,
    ) -> _Reply | None:
        """One exchange; None where the answer is not our controller's.  `aiohttp.ClientConnectionError`
        where there is none."""
        assert self._session is not None, "used outside of its context"
        headers = {"Content-Type": "application/json"} if body is not None else {}
        timeout = aiohttp.ClientTimeout(total=timeout_s, sock_connect=CONNECT_S)
        try:
            async with self._session.request(
                method, path, data=body, params=query, headers=headers, timeout=timeout, allow_redirects=False
            ) as response:
                received = await _bounded(response)
                allowed, claimed = await self._hear(response.headers)
                self._heard = True
                return _Reply(response.status, received, claimed) if allowed else None
        except (TimeoutError, aiohttp.ClientPayloadError, aiohttp.ClientResponseError) as error:
            why = str(error) or type(error).__name__
            raise aiohttp.ClientConnectionError(f"no whole answer: {why}") from error

    async def _hear(self, headers: Mapping[str, str]) -> tuple[bool, bool]:
        """Whether the answer is our controller's, and whether it speaks for one with epochs at all."""
        try:
            issuer = read_issuer(headers)
        except HeaderError as error:
            self._log_trouble(str(error))
            return False, True
        try:
            ours = self._hearing.binding is None if issuer is None else await self._hearing.hear(issuer)
        except StateError as error:  # what cannot be remembered must not count
            self._log_trouble(str(error))
            return False, True
        if not ours:
            self._log_trouble("it is not the controller that this worker belongs to; `cfw release` frees it")
        return ours, issuer is not None

    def _log_trouble(self, trouble: str | None) -> None:
        """Once when it begins or changes, once when it is over."""
        if trouble == self._trouble:
            return
        self._trouble = trouble
        if trouble is None:
            log.info("cfm answers", cfm=self._here.cfm)
        else:
            log.warning("no work can be had from cfm", cfm=self._here.cfm, why=trouble)


def _bare(report: TaskReport) -> TaskReport:
    """What an old cfm understands: its own words, and nothing else."""
    return TaskReport(report.status)


async def _bounded(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > MOST_BYTES:
            response.close()
            raise aiohttp.ClientPayloadError("the answer is too long")
    return bytes(body)
