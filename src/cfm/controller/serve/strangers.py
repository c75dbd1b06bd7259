"""Workers that ask cfm without valid credentials: which servers they are, as far as one can see.

`web` has refused such a request before anybody read more of it than its head.  What it says of itself is not
proven, so it only gives the operator a name.  Neighbours: `web.middleware` tells of each refusal,
`explain.conditions` shows what came of it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from aiohttp import web

from cfm.config.fields import same_host
from cfm.controller.act.loop import Controller, clock
from cfm.controller.decide import events as ev
from cfm.model import Addr, host_of
from cfm.web import RefusalListener

TELL_EVERY_MS = 5_000
"""A worker asks every few seconds.  A flood of such requests costs no more than that."""


class Strangers(RefusalListener):
    """Tells the controller of servers that were refused."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        self._told_ms: dict[Addr, int] = {}

    def refused(self, request: web.Request) -> None:
        servers = self._controller.core.state.fleet.records
        addr = _server(request, servers)
        now_ms = clock().mono_ms
        if addr is not None and now_ms - self._told_ms.get(addr, -TELL_EVERY_MS) >= TELL_EVERY_MS:
            self._told_ms[addr] = now_ms
            self._controller.feed(ev.CredentialsRefused(addr))


def _server(request: web.Request, servers: Iterable[Addr]) -> Addr | None:
    """The server that asks: the one that it says it is, if it asks from there."""
    if not request.path.startswith("/tasks") or request.remote is None:
        return None
    there = [addr for addr in servers if _may_be(host_of(addr), request.remote)]
    named = Addr(request.query.get("dst_addr", ""))
    if named in there:
        return named
    return there[0] if len(there) == 1 and not named else None


def _may_be(host: str, remote: str) -> bool:
    """May a request from `remote` come from this host?  A host name may have any address."""
    try:
        address = ipaddress.ip_address(same_host(host))
    except ValueError:
        return True
    asks_from = ipaddress.ip_address(same_host(remote))
    return asks_from == address or (asks_from.is_loopback and address.is_loopback)
