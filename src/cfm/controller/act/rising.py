"""The files that rise now, looked up in the metadata beside the loop, one look-up at a time.

The event log knows names; what a file is stands in the metadata, where a search may take longer than the next
names are away.  So a name that rises is looked up once for each metadata and never given up for newer ones:
what a look-up found counts together with the newest hits.  What is watched is protected by its name, which
waits for no look-up.  Neighbours: `loop` brings hits and metadata, and hands on what is told here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final

import structlog

from cfm.inputs.snapshot import Snapshot
from cfm.model import File, Hits
from cfm.threads import ThreadPool

log = structlog.get_logger(__name__)

SLOW_S: Final = 5.0
"""A look-up that takes longer is told in the log."""


class RisingFiles:
    """Which known files rise."""

    def __init__(
        self,
        tell: Callable[[Hits, tuple[File, ...]], None],
        do_beside: Callable[[Coroutine[Any, Any, None]], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`tell` gets the newest hits, and the rising files among them that are found so far, by rank.

        `do_beside` begins something that nobody waits for, and says whether it does.
        """
        self._tell_all, self._do_beside, self._clock = tell, do_beside, clock
        self._thread = ThreadPool("looking up files that rise", 1)
        self._hits = Hits()
        self._snapshot: Snapshot | None = None
        self._found: dict[str, File | None] = {}
        """What is known of the names; None where the metadata does not know them."""
        self._found_in: Snapshot | None = None
        self._busy = False
        self._behind_since_s: float | None = None

    def close(self) -> None:
        self._thread.close()

    @property
    def missing(self) -> frozenset[str]:
        """The rising names that are not looked up yet."""
        if self._snapshot is None:
            return frozenset()
        known = self._found.keys() if self._found_in is self._snapshot else ()
        return frozenset(self._hits.rising.keys() - known)

    @property
    def behind_s(self) -> float:
        """For how long the newest of these have waited; 0 where there are none."""
        return 0.0 if self._behind_since_s is None else self._clock() - self._behind_since_s

    def hits_changed(self, hits: Hits) -> None:
        self._hits = hits
        if self._busy or not self.missing:
            self._tell()
        self._look_up_missing()

    def metadata_changed(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        if not self.missing:
            self._tell()
        self._look_up_missing()

    def _tell(self) -> None:
        files = (self._found.get(name) for name in self._hits.rising)
        known = sorted((file for file in files if file is not None), key=lambda file: file.rank)
        self._tell_all(self._hits, tuple(known))

    def _look_up_missing(self) -> None:
        missing, snapshot = self.missing, self._snapshot
        if not missing:
            self._behind_since_s = None
        elif not self._busy and snapshot is not None:
            self._behind_since_s = self._clock()
            self._busy = self._do_beside(self._look_up(missing, snapshot))

    async def _look_up(self, names: frozenset[str], snapshot: Snapshot) -> None:
        began_s, found = self._clock(), None
        try:
            found = await self._thread.run(None, partial(snapshot.files, names))
        except Exception:
            log.exception("cannot look up the files that rise", files=len(names))
        self._busy = False
        if (took_s := self._clock() - began_s) > SLOW_S:
            log.warning("looking up files that rise is slow", files=len(names), took_s=round(took_s, 1))
        if found is None and snapshot is self._snapshot:
            self._tell()  # they are looked up again when the hits change
            return
        if found is not None and snapshot is self._snapshot:
            self._take({name: found.get(name) for name in names})
        self._look_up_missing()

    def _take(self, found: dict[str, File | None]) -> None:
        before = self._found if self._found_in is self._snapshot else {}
        known = before | found
        self._found = {name: known[name] for name in self._hits.rising if name in known}
        self._found_in = self._snapshot
        self._tell()
