"""The controller's side of every request to a worker.

Each server has at most two connections: one for heartbeats, and one for everything else.  So a heartbeat
never waits behind a long list.  Each request has a time-out that covers everything: waiting for the
connection, connecting, sending and reading.  There is no limit over all servers, so a hundred servers that
hang do not hold up the others.  Methods return the answer or a `Failure`.  They raise nothing but
`CancelledError`.

No order is ever sent twice.  aiohttp by itself repeats a request, even a DELETE, when the connection was
dropped before an answer came.  An order could then be carried out twice without anybody noticing.  aiohttp
does this after two kinds of errors; `_once` turns them into an error of another kind.

A question that only reads is asked once more, on a fresh connection, where the other side had closed the kept
one without a word.  Old workers close idle connections, and such an end says nothing about the worker.
"""

from __future__ import annotations

import asyncio
import os
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType, SimpleNamespace
from typing import Final, NamedTuple, Self, TypeAlias
from urllib.parse import quote

import aiohttp
import structlog
import xxhash
from multidict import CIMultiDictProxy
from yarl import URL

from cfm import wire
from cfm.fleet import answers
from cfm.fleet.holders import NO_NAMES
from cfm.model import (
    Addr,
    CopySeen,
    DiskReport,
    Failure,
    Listing,
    Trouble,
    WorkerFeatures,
)
from cfm.name_column import NameColumn
from cfm.threads import ThreadPool

log = structlog.get_logger(__name__)

DeleteAnswer: TypeAlias = int | Failure
"""The status with which a worker answered an order, or the reason why there is no answer.  `REFUSED` means
that nothing of the order was sent.  After any other trouble the order may have been carried out."""

NO_TOKENS: Final[Mapping[Addr, str]] = MappingProxyType({})
KEEP_IDLE_S: Final = 4.0
"""Old workers close idle connections after 5 s.  Nothing may be sent on a connection that is being closed."""
KEEP_OURS_S: Final = 50.0
"""Ours do so after a minute (`web.limits`), so the next heartbeat needs no new connection.  An eighth
of the processor time of a node at rest with 300 servers was new connections for heartbeats."""
MOST_LIST_BYTES: Final = 512 * 2**20
MOST_SMALL_BYTES: Final = 64 * 1024
_PARSED_AT_ONCE_BYTES: Final = answers.PLAIN_BYTES
"""Longer lists are parsed in a thread, so that heartbeats go on meanwhile."""
LISTS_AT_ONCE: Final = 2
"""Threads that read lists.  Whenever the event loop wants the interpreter back after a call of the kernel, it
may have to wait for each of them."""
MOST_WAITING_LISTS: Final = 100_000
MOST_CHANGED: Final = 2_000
WHOLE_EVERY_S: Final = 3_600.0
"""A list is asked for whole after so many changes, or after this time, whatever the differences said."""
_OF_THE_TIME_OUT: Final = 0.95
"""Requests are given up a little early.  Even when a hundred are given up in the same moment, every caller
hears of it within the time-out."""
_READS: Final = frozenset({"GET", "HEAD"})
"""Requests that may be sent twice, because they change nothing."""
_NOT_MODIFIED: Final = 304
_SSL_REASON: Final = re.compile(r"\[SSL: (\w{1,100})\]")
"""How OpenSSL names a trouble."""
_CONFLICT: Final = 409


@dataclass(frozen=True, slots=True)
class TimeOuts:
    """Seconds for one whole request of each kind."""

    heartbeat_s: float = 5.0
    list_s: float = 30.0
    disk_s: float = 10.0
    copy_s: float = 5.0
    delete_s: float = 30.0
    cut_s: float = 5.0


@dataclass(frozen=True, slots=True)
class WorkerReply:
    status: int
    headers: CIMultiDictProxy[str]
    body: bytes | bytearray


@dataclass(slots=True)
class _Ticket:
    """Follows one request.  Once its headers are being sent, the request may have been carried out."""

    sent: bool = False
    kept: bool = False
    """It went over a connection that was kept from an earlier request."""


class _KnownList(NamedTuple):
    """The last list of a worker, and how to tell that the next one is the same."""

    etag: str
    """Strong; empty where the worker has none."""
    digest: bytes
    """Of its text; empty where it was put together from differences."""
    listing: Listing
    changed: int = 0
    """In how many names it differs from the last whole list.  They are kept beside that list."""
    whole_s: float = 0.0
    """When that came, by the loop's clock."""

    def takes_difference(self, now_s: float) -> bool:
        """May the next one be a difference to it?"""
        is_fresh = self.changed < MOST_CHANGED and now_s - self.whole_s < WHOLE_EVERY_S
        return bool(self.etag) and is_fresh and not self.listing.odd_lines


class _DroppedError(aiohttp.ClientError):
    """The connection ended before the answer was complete."""


class _SilentError(_DroppedError):
    """The connection ended before any byte of an answer came."""


class _OddAnswerError(Exception):
    """The answer cannot be used; the text says why."""


class WorkerClient:
    """Talks to all workers of the node.  `async with` opens and closes it."""

    def __init__(
        self,
        controller_id: str,
        epoch: int,
        time_outs: TimeOuts | None = None,
        *,
        tokens: Mapping[Addr, str] = NO_TOKENS,
        tls: ssl.SSLContext | None = None,
        leader: Addr | None = None,
        keep_idle_s: float = KEEP_IDLE_S,
    ) -> None:
        """`tokens` has the token for each worker.  With `tls`, workers are asked by HTTPS.  `leader`: where
        workers reach this cfm, where it is one of several and leads.  `keep_idle_s`: how long a connection
        is kept that another program than ours may close."""
        self._time_outs = time_outs or TimeOuts()
        self._keep_idle_s = keep_idle_s
        self._shown = {addr: {"Authorization": f"Bearer {token}"} for addr, token in tokens.items()}
        self._tls = tls
        identity = {wire.CONTROLLER: controller_id, wire.EPOCH: str(epoch)} if controller_id else {}
        if leader is not None:
            identity[wire.LEADER] = leader
        self._headers = {**identity, "User-Agent": "cfm", "Accept-Encoding": "identity"}
        self.higher_epoch = 0
        """The highest epoch that a worker has heard of our controller, where it is above ours; else 0."""
        self._lists: dict[Addr, _KnownList] = {}
        self._readers = ThreadPool("reading lists", LISTS_AT_ONCE, waiting_each=MOST_WAITING_LISTS)
        self._open = AsyncExitStack()
        self._pulse: aiohttp.ClientSession | None = None
        self._pulse_of_ours: aiohttp.ClientSession | None = None
        self._ours: set[Addr] = set()
        """Those that said with their last heartbeat that they are workers of ours."""
        self._bulk: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._pulse = await self._lane(self._keep_idle_s)
        self._pulse_of_ours = await self._lane(KEEP_OURS_S)
        self._bulk = await self._lane(self._keep_idle_s)
        return self

    async def _lane(self, keep_idle_s: float) -> aiohttp.ClientSession:
        return await self._open.enter_async_context(_lane(self._headers, self._tls, keep_idle_s))

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        await self._open.aclose()
        self._readers.close()

    # ── questions ───────────────────────────────────────────────────────────────────────────────────────

    async def heartbeat(self, addr: Addr) -> WorkerFeatures | Failure:
        """Is the worker alive, and what does it say about itself?"""
        lane = self._pulse_of_ours if addr in self._ours else self._pulse
        reply = await self._ask(lane, "HEAD", addr, "/hb", self._time_outs.heartbeat_s)
        if isinstance(reply, Failure):
            return reply
        if reply.status != answers.OK:
            return answers.wrong_status(reply.status, reply.headers)
        features = answers.features_from_headers(reply.headers)
        if features.ours:
            self._ours.add(addr)
        else:
            self._ours.discard(addr)
        return features

    async def list_files(
        self, addr: Addr, fence: int | None = None, source_folder: str = ""
    ) -> Listing | Failure:
        """All files of a worker.  Where nothing has changed, the result is the same object as the last time.

        With `fence`, the worker refuses orders with a lower id from now on, because this list overtook them.
        `source_folder` tells the worker which source folder its disk was found to be.
        """
        known = self._lists.get(addr)
        headers = {"If-None-Match": known.etag} if known is not None and known.etag else {}
        if known is not None and known.takes_difference(asyncio.get_running_loop().time()):
            headers[wire.ACCEPTS_MANIPULATION] = wire.NAMES_CHANGED
        if fence is not None:
            headers[wire.FENCE] = str(fence)
        if source_folder:
            headers[wire.SOURCE_FOLDER] = quote(source_folder)
        reply = await self._ask(
            self._bulk, "GET", addr, "/files", self._time_outs.list_s, headers, MOST_LIST_BYTES
        )
        if isinstance(reply, Failure):
            return reply
        if reply.status == wire.IM_USED and wire.ACCEPTS_MANIPULATION in headers and known is not None:
            listing = await self._changed_listing(addr, known, reply)
            return listing or await self.list_files(addr, fence, source_folder)
        if reply.status == _NOT_MODIFIED and known is not None:
            if _may_be_packed(known.listing):
                await self._readers.run(None, partial(_pack, known.listing))
            return answers.listed_again(known.listing, reply.headers)
        if reply.status != answers.OK:
            return answers.no_list(reply.status, reply.headers)
        return await self._new_listing(addr, reply)

    async def _new_listing(self, addr: Addr, reply: WorkerReply) -> Listing | Failure:
        known = self._lists.get(addr)
        if len(reply.body) <= _PARSED_AT_ONCE_BYTES:
            digest, listing = _understood(known, reply)
        else:
            digest, listing = await self._readers.run(None, partial(_understood, known, reply))
        self._lists.pop(addr, None)
        if isinstance(listing, Listing):
            now_s = asyncio.get_running_loop().time()
            self._lists[addr] = _KnownList(_strong_etag(reply), digest, listing, whole_s=now_s)
        return listing

    async def _changed_listing(self, addr: Addr, known: _KnownList, reply: WorkerReply) -> Listing | None:
        """The known list with a difference; None, and nothing is known any more, where it cannot be used."""
        read = partial(answers.changed_listing, known.listing, known.etag, reply.body, reply.headers)
        small = len(reply.body) <= _PARSED_AT_ONCE_BYTES
        found = read() if small else await self._readers.run(None, read)
        self._lists.pop(addr, None)
        if isinstance(found, str):
            log.warning("a difference of a file list is not used", server=addr, because=found)
            return None
        listing, names = found
        self._lists[addr] = known._replace(
            etag=_strong_etag(reply), digest=b"", listing=listing, changed=known.changed + names
        )
        return listing

    async def disk_usage(self, addr: Addr) -> DiskReport | Failure:
        """The usage of a worker's disk.  Ask for it before the list: both share a connection, and this is
        short."""
        reply = await self._ask(self._bulk, "GET", addr, "/df", self._time_outs.disk_s)
        if isinstance(reply, Failure):
            return reply
        if reply.status != answers.OK:
            return answers.wrong_status(reply.status, reply.headers)
        return answers.parse_df(bytes(reply.body), reply.headers)

    async def see_copy(self, addr: Addr, name: str) -> CopySeen | Failure:
        """Is the file in the `base_dir` of this worker, and how large is it?  (Old workers do not know
        this.)"""
        path = f"/content/{_quoted(name)}?in=base"
        reply = await self._ask(self._bulk, "HEAD", addr, path, self._time_outs.copy_s)
        if isinstance(reply, Failure):
            return reply
        return answers.copy_seen(reply.status, reply.headers)

    # ── orders ──────────────────────────────────────────────────────────────────────────────────────────

    async def delete(
        self, addr: Addr, order_id: int, name: str, *, probe: str = "", within_s: float | None = None
    ) -> DeleteAnswer:
        """Order a worker to delete a file.  The order is sent at most once, whatever happens.

        With `probe`, it deletes only in the folder that has this probe file.

        Requests to one worker wait for each other.  With `within_s`, the order is not sent at all when its
        turn comes later than that.
        """
        headers = {wire.ORDER: str(order_id), **({wire.PROBED: probe} if probe else {})}
        path = f"/files/{_quoted(name)}"
        ticket = _Ticket()
        reply = await self._ask(
            self._bulk,
            "DELETE",
            addr,
            path,
            self._time_outs.delete_s,
            headers,
            ticket=ticket,
            turn_s=within_s,
        )
        if isinstance(reply, WorkerReply):
            return reply.status
        if ticket.sent:
            return reply
        return replace(reply, trouble=Trouble.REFUSED, detail=f"never sent: {reply.detail}")

    async def cut_stream(self, addr: Addr, task_id: int) -> bool | Failure:
        """Let a source cut the stream of a task.

        True means that the source sends nothing of it any more.  False means that the worker does not obey
        this controller.
        """
        reply = await self._ask(self._bulk, "DELETE", addr, f"/streams/{task_id}", self._time_outs.cut_s)
        if isinstance(reply, Failure):
            return reply
        if reply.status in (answers.OK, _CONFLICT):
            return reply.status == answers.OK
        return answers.wrong_status(reply.status, reply.headers)

    async def release(self, addr: Addr) -> bool | Failure:
        """Free a worker from this controller, so that it obeys an old cfm.

        True means that it belongs to no controller now.  False means that it belongs to another one.
        """
        reply = await self._ask(self._bulk, "POST", addr, "/release", self._time_outs.cut_s)
        if isinstance(reply, Failure):
            return reply
        if reply.status in (answers.OK, _CONFLICT):
            return reply.status == answers.OK
        return answers.wrong_status(reply.status, reply.headers)

    # ── one request ─────────────────────────────────────────────────────────────────────────────────────

    async def _ask(
        self,
        lane: aiohttp.ClientSession | None,
        method: str,
        addr: Addr,
        path: str,
        time_out_s: float,
        headers: Mapping[str, str] | None = None,
        most_bytes: int = MOST_SMALL_BYTES,
        ticket: _Ticket | None = None,
        turn_s: float | None = None,
    ) -> WorkerReply | Failure:
        """`turn_s`: how long to wait for the turn and the connection; None: as long as for the answer."""
        if lane is None or lane.closed:
            return Failure(Trouble.REFUSED, "the client is not open")
        ticket = ticket or _Ticket()
        try:
            scheme = "http" if self._tls is None else "https"
            url = URL(f"{scheme}://{addr}{path}", encoded=True)
            shown = {**(headers or {}), **self._shown.get(addr, {})}
            timeout = aiohttp.ClientTimeout(total=None, connect=turn_s)  # the total is limited below
            async with asyncio.timeout(time_out_s * _OF_THE_TIME_OUT):
                try:
                    reply = await _exchange(lane, method, url, shown, timeout, ticket, most_bytes)
                except _SilentError:
                    if method not in _READS or not ticket.kept:
                        raise
                    reply = await _exchange(lane, method, url, shown, timeout, ticket, most_bytes)
        except aiohttp.ConnectionTimeoutError:
            return Failure(Trouble.TIMEOUT, f"no connection was free within {turn_s:g} s")
        except TimeoutError:
            return Failure(Trouble.TIMEOUT, f"no answer within {time_out_s:g} s")
        except (aiohttp.ClientError, _OddAnswerError, OSError, ValueError) as error:
            return _failure(error)
        self.higher_epoch = max(self.higher_epoch, wire.decimal(reply.headers.get(wire.EPOCH)) or 0)
        return reply


async def _exchange(
    lane: aiohttp.ClientSession,
    method: str,
    url: URL,
    headers: Mapping[str, str],
    timeout: aiohttp.ClientTimeout,
    ticket: _Ticket,
    most_bytes: int,
) -> WorkerReply:
    """Send one request, and read the whole answer."""
    async with lane.request(
        method, url, headers=headers, allow_redirects=False, timeout=timeout, trace_request_ctx=ticket
    ) as response:
        return await _read(response, most_bytes)


@asynccontextmanager
async def _lane(
    headers: Mapping[str, str], tls: ssl.SSLContext | None, keep_idle_s: float
) -> AsyncIterator[aiohttp.ClientSession]:
    """At most one connection to each server, kept for the next request."""
    connector = aiohttp.TCPConnector(
        limit=0, limit_per_host=1, keepalive_timeout=keep_idle_s, ssl=tls or True
    )
    following = aiohttp.TraceConfig()
    following.on_request_headers_sent.append(_note_sent)
    following.on_connection_reuseconn.append(_note_kept)
    async with aiohttp.ClientSession(
        connector=connector,
        headers=headers,
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
        middlewares=(_once,),
        trace_configs=[following],
    ) as session:
        yield session


async def _once(
    request: aiohttp.ClientRequest,
    handler: Callable[[aiohttp.ClientRequest], Awaitable[aiohttp.ClientResponse]],
) -> aiohttp.ClientResponse:
    """Keep aiohttp from repeating a request whose connection was dropped."""
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise  # nothing was sent, and aiohttp does not repeat it either
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise _SilentError(str(error)) from error


async def _note_kept(
    _session: aiohttp.ClientSession,
    context: SimpleNamespace,
    _params: aiohttp.TraceConnectionReuseconnParams,
) -> None:
    ticket = context.trace_request_ctx
    if isinstance(ticket, _Ticket):
        ticket.kept = True


async def _note_sent(
    _session: aiohttp.ClientSession,
    context: SimpleNamespace,
    _params: aiohttp.TraceRequestHeadersSentParams,
) -> None:
    ticket = context.trace_request_ctx
    if isinstance(ticket, _Ticket):
        ticket.sent = True


async def _read(response: aiohttp.ClientResponse, most_bytes: int) -> WorkerReply:
    """The whole answer.  An incomplete, endless or compressed answer is an error."""
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise _OddAnswerError("its answer is compressed, although nobody asked for that")
    if (response.content_length or 0) > most_bytes and response.method != "HEAD":
        raise _OddAnswerError(f"its answer has more than {most_bytes} bytes")
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > most_bytes:
            raise _OddAnswerError(f"its answer has more than {most_bytes} bytes")
    if (
        response.status in (answers.OK, wire.IM_USED)
        and response.method == "GET"
        and not _says_its_end(response)
    ):
        raise _DroppedError("its answer does not say where it ends, and may be incomplete")
    return WorkerReply(response.status, response.headers, body)


def _understood(known: _KnownList | None, reply: WorkerReply) -> tuple[bytes, Listing | Failure]:
    """The digest of a list, and what it says.  Equal bytes are the same list, and not read again."""
    digest = xxhash.xxh3_128_digest(reply.body)
    if known is not None and known.digest == digest:
        _pack(known.listing)
        return digest, answers.listed_again(known.listing, reply.headers)
    before = known.listing.names if known is not None else NO_NAMES
    return digest, answers.parse_listing(reply.body, reply.headers, before)


def _strong_etag(reply: WorkerReply) -> str:
    """A weak one does not promise equal bytes."""
    etag = reply.headers.get("ETag", "")
    return etag if etag.startswith('"') else ""


def _may_be_packed(listing: Listing) -> bool:
    return isinstance(listing.names, NameColumn) and not listing.names.is_packed


def _pack(listing: Listing) -> None:
    """A list that stays as it is takes less memory."""
    if isinstance(listing.names, NameColumn):
        listing.names.pack()


def _says_its_end(response: aiohttp.ClientResponse) -> bool:
    chunked = "chunked" in response.headers.get("Transfer-Encoding", "").lower()
    return chunked or response.content_length is not None


def _failure(error: Exception) -> Failure:
    """The failure for an exception, in words that fit on one line."""
    if isinstance(error, _OddAnswerError):
        return answers.malformed(str(error))
    if why := _tls_trouble(error):
        return Failure(Trouble.REFUSED, f"{answers.NO_TLS}: {why}")
    if isinstance(error, aiohttp.ClientConnectorError):
        number = error.os_error.errno
        return Failure(Trouble.REFUSED, os.strerror(number) if number else "cannot connect")
    if isinstance(error, aiohttp.ClientResponseError):
        return answers.malformed("its answer is not HTTP")
    if isinstance(error, aiohttp.ClientError | OSError):
        return Failure(Trouble.BROKEN, ascii(str(error) or "the connection was dropped")[1:-1][:200])
    return Failure(Trouble.REFUSED, "this address or file name cannot be used in a request")


def _tls_trouble(error: Exception) -> str:
    """Why there is no TLS connection; empty where TLS is not the trouble.

    A server that does not accept our certificate may say so only after the handshake, when we read from it.
    """
    match = _SSL_REASON.search(str(error))
    if match is None and not isinstance(error, aiohttp.ClientSSLError):
        return ""
    return match[1].replace("_", " ").lower() if match else "the handshake failed"


def _quoted(name: str) -> str:
    """A file name as one path component.  (No worker has a file whose name is not valid text.)"""
    return quote(name, safe="", errors="surrogatepass")
