"""The file list as it is sent: whole, or as the difference to a list that the asker has.

All of it happens in the disk's threads.  Neighbours: `shelf` looks at the disk, `decide.list_log` remembers
what has changed, `serve.api` answers.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

from cfm.wire import Difference
from cfm.worker.act.shelf import Shelf
from cfm.worker.decide.list_log import ListLog
from cfm.worker.decide.shelf_rules import Inventory


@dataclass(frozen=True, slots=True)
class Listed:
    """One look at the disk."""

    inventory: Inventory
    text: bytes
    etag: str
    since: Difference | None
    """What has changed since the list that was asked about; None where only the whole list can be sent."""


class Lists:
    """Lists the shelf."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._log = ListLog()
        self._lock = threading.Lock()

    def look(self, since_etag: str = "") -> Listed:
        """List `base_dir`.  With `since_etag`, also find out what has changed since that list."""
        inventory = self._shelf.inventory()
        text = inventory.text
        etag = Inventory.etag(text)
        with self._lock:
            self._log.listed(etag, text)
            since = self._log.since(since_etag) if since_etag else None
        return Listed(inventory, text, etag, since)
