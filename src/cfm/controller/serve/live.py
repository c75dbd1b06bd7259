"""Open pages, kept up to date: each is made once, however many people look at it.

A page is made again about once a second while somebody looks at it.  What changed goes out as server-sent
events (the parts that are other ones, by id), and all listeners are sent the same bytes.  All pages together
take at most a small share of the time: what a page costs to make is waited for many times over before the
next one is made.  Neighbours: `pages` makes the pages, `page_api` has their addresses, `static/live.js` puts
the parts in their places.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Coroutine, Generator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, TypeAlias

import structlog

from cfm.controller.serve.pages.cells import time_of_day
from cfm.controller.serve.pages.frame import Page, digest

log = structlog.get_logger(__name__)

EVERY_S: Final = 1.0
"""The shortest time between two states of a page."""
SHARE: Final = 0.02
"""The most of the loop's time that making pages may take."""
PING_S: Final = 10.0
"""Where nothing changes, so often a listener hears that it is still so."""
MOST_LISTENERS: Final = 512

Make: TypeAlias = Callable[[], Awaitable[Page]]


class TooManyError(Exception):
    """So many pages are open that no more are kept up to date."""


@dataclass(slots=True, eq=False)
class _Live:
    """One page that somebody looks at, or looked at a moment ago."""

    make: Make
    page: Page
    digest: str
    made_s: float
    previous: str = ""
    """The digest of the state before."""
    told: bytes = b""
    """What leads from the state before to this one."""
    whole: bytes = b""
    """The whole state, once somebody needs it."""
    every_s: float = EVERY_S
    listeners: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    """Set, and replaced by another, when there is a new state."""


class PageListener:
    """One browser that follows one page."""

    def __init__(self, live: _Live, seen: str, ping_s: float, on_close: Callable[[], None]) -> None:
        self._live, self._seen, self._ping_s, self._on_close = live, seen, ping_s, on_close

    async def next(self) -> bytes:
        """The next event: what changed, or, after a while, that nothing did."""
        live = self._live
        while live.digest == self._seen:
            if not await _happens(live.changed, self._ping_s):
                return _message({"at": time_of_day(time.time())}, live.digest)
        event = live.told if live.previous == self._seen else _whole(live)
        self._seen = live.digest
        return event

    def close(self) -> None:
        self._on_close()


class LivePages:
    """All pages that somebody looks at."""

    def __init__(
        self,
        every_s: float = EVERY_S,
        ping_s: float = PING_S,
        *,
        most_listeners: int = MOST_LISTENERS,
        work_s: Callable[[], float] = time.thread_time,
    ) -> None:
        """`work_s`: how much work this thread has done so far."""
        self._every_s, self._ping_s = every_s, ping_s
        self._most_listeners, self._work_s = most_listeners, work_s
        self._pages: dict[str, _Live] = {}
        self._keepers: dict[str, asyncio.Task[None]] = {}
        self._turn = asyncio.Lock()
        self._not_before_s = 0.0

    @property
    def listeners(self) -> int:
        return sum(live.listeners for live in self._pages.values())

    def close(self) -> None:
        """Make no page any more."""
        for key in list(self._pages):
            self._forget(key)

    def rests_s(self) -> float:
        """How long no page is made, because the last ones took so much."""
        return max(0.0, self._not_before_s - _now_s())

    async def page(self, key: str, make: Make) -> Page:
        """The page at `key`; a state that was made a moment ago will do."""
        live = self._pages.get(key)
        if live is not None and live.listeners and _now_s() - live.made_s < self._every_s:
            return live.page
        return await make()

    async def listen(self, key: str, seen: str, make: Make, every_s: float = 0.0) -> PageListener:
        """A listener to the page at `key`, which must be closed.  `seen`: the digest of what it shows.

        `every_s`: the shortest time between two states of it, where that is longer than for others.

        Raises:
            TooManyError: so many pages are open that no more are kept up to date.
        """
        if self.listeners >= self._most_listeners:
            raise TooManyError
        live = self._pages.get(key)
        if live is None:
            page = await make()
            live = self._pages.setdefault(key, _Live(make, page, digest(page.body.html()), _now_s()))
            live.every_s = max(every_s, self._every_s)
        live.listeners += 1
        if key not in self._keepers:
            self._keepers[key] = asyncio.create_task(self._keep(live))
        return PageListener(live, seen, self._ping_s, partial(self._left, key, live))

    def _left(self, key: str, live: _Live) -> None:
        live.listeners -= 1
        if not live.listeners and self._pages.get(key) is live:
            self._forget(key)

    def _forget(self, key: str) -> None:
        self._pages.pop(key, None)
        if (keeper := self._keepers.pop(key, None)) is not None:
            keeper.cancel()

    async def _keep(self, live: _Live) -> None:
        """Make the page anew again and again.  An error of ours ends neither this nor the page."""
        while True:
            await asyncio.sleep(live.every_s)
            try:
                await self._renew(live)
            except Exception:
                log.exception("a page cannot be made", page=live.page.title)

    async def _renew(self, live: _Live) -> None:
        """Make it anew when there is time for it.  One that waits for a disk or the SAN holds up no other."""
        async with self._turn:
            await asyncio.sleep(self.rests_s())
        making = Measured(_made_anew(live), self._work_s)
        try:
            await making
        finally:
            self._not_before_s = max(_now_s(), self._not_before_s) + making.work_s / SHARE


async def _made_anew(live: _Live) -> None:
    """The next state of a page, and what leads to it."""
    page = await live.make()
    changes = page.body.changes(live.page.body)
    live.page, live.made_s = page, _now_s()
    if not changes:
        return
    live.previous, live.digest = live.digest, digest(page.body.html())
    live.told = _message({"at": time_of_day(time.time()), "parts": changes}, live.digest)
    live.whole = b""
    changed, live.changed = live.changed, asyncio.Event()
    changed.set()


class Measured:
    """Runs a coroutine and counts the work of its own steps, not what others do while it waits."""

    def __init__(self, coroutine: Coroutine[Any, Any, None], clock: Callable[[], float]) -> None:
        self._coroutine, self._clock = coroutine, clock
        self.work_s = 0.0

    def __await__(self) -> Generator[Any, Any, None]:
        step: Callable[[Any], Any] = self._coroutine.send
        value: Any = None
        while True:
            begun_s = self._clock()
            try:
                waits_for = step(value)
            except StopIteration:
                return
            finally:
                self.work_s += self._clock() - begun_s
            try:
                value, step = (yield waits_for), self._coroutine.send
            except BaseException as error:  # noqa: BLE001  it goes on into the coroutine
                value, step = error, self._coroutine.throw


def _whole(live: _Live) -> bytes:
    if not live.whole:
        body = live.page.body
        live.whole = _message({"at": time_of_day(time.time()), "parts": {body.id: body.html()}}, live.digest)
    return live.whole


def _message(value: object, digest_: str) -> bytes:
    return f"id: {digest_}\ndata: {json.dumps(value, ensure_ascii=False)}\n\n".encode("utf-8", "replace")


async def _happens(event: asyncio.Event, within_s: float) -> bool:
    try:
        async with asyncio.timeout(within_s):
            await event.wait()
    except TimeoutError:
        return False
    return True


def _now_s() -> float:
    return time.monotonic()
