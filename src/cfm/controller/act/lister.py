"""Answers `cfm server` and `cfm unique`: what one server holds, the most wanted files first, page by page.

The core knows names; sizes and ranks are in the metadata, which is searched in a thread.  Neighbours:
`explain.holdings` shapes the answers, `serve.operator_api` serves them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any, Final

from cfm.controller.act.loop import Controller
from cfm.controller.explain import holdings
from cfm.controller.explain.holdings import ServerContent
from cfm.inputs.snapshot import ByRank
from cfm.model import Addr

MOST_ROWS: Final = 200
"""Nobody is sent more rows than that at a time."""


class Lister:
    """Lists the files of a server."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller

    async def server(self, addr: Addr, offset: int, limit: int) -> dict[str, Any]:
        """One server with its files."""
        return await self._listed(addr, offset, limit, unique=False)

    async def unique(self, addr: Addr, offset: int, limit: int) -> dict[str, Any]:
        """The files of which this server has the only copy."""
        return await self._listed(addr, offset, limit, unique=True)

    async def _listed(self, addr: Addr, offset: int, limit: int, *, unique: bool) -> dict[str, Any]:
        held: ServerContent = await self._controller.read(lambda core, now: holdings.held_by(core, addr, now))
        names: Collection[str] = held.names
        if unique:
            names = await asyncio.to_thread(holdings.only_there, self._controller.core, held)
        page = await asyncio.to_thread(self._by_rank, names, offset, limit)
        sums = {"total": len(names), "known": page.known, "known_bytes": page.known_bytes}
        return holdings.page_json(self._controller.core, held, page.rows, offset, sums)

    def _by_rank(self, names: Collection[str], offset: int, limit: int) -> ByRank:
        snapshot = self._controller.snapshot
        if snapshot is None:
            return ByRank(sorted(names)[offset : offset + limit], 0, 0)
        return snapshot.by_rank(names, offset, limit)
