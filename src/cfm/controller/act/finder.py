"""Finds files and servers by a part of their name, for the search box of the pages and for scripts.

Neighbours: `inputs.snapshot` searches the metadata, in a thread; `serve` shows what was found.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from cfm.controller.act.loop import Controller
from cfm.model import NOBODY

MOST_FOUND: Final = 100


class Finder:
    """Searches one node."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller

    async def find(self, text: str) -> dict[str, Any]:
        """Servers, and graded files by rank, with `text` in their name.

        A file that is not graded is found by its whole name, where a destination or the SAN has it.
        """
        core, snapshot = self._controller.core, self._controller.snapshot
        holders = core.state.fleet.holders
        servers = [addr for addr in core.state.fleet.records if text and text.lower() in addr.lower()]
        found: list[tuple[int | None, str]] = []
        if text and snapshot is not None:
            found += await asyncio.to_thread(snapshot.containing, text, MOST_FOUND + 1)
        is_somewhere = text in holders or text in (core.state.san.index or ())
        if is_somewhere and all(name != text for _rank, name in found):
            found.insert(0, (None, text))
        holders.look_up([name for _rank, name in found[:MOST_FOUND]])
        files = [
            {"file": name, "rank": rank, "on": sorted(holders.get(name, NOBODY))}
            for rank, name in found[:MOST_FOUND]
        ]
        return {
            "text": text,
            "files": files,
            "more": len(found) > MOST_FOUND,
            "servers": servers[:MOST_FOUND],
        }
