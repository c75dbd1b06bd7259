"""How the file list came to be what it is: the last list, and a bounded log of differences.  Pure.

Whoever has an earlier list names its ETag, and gets what was added and removed since.  Each look at the disk
that shows another list adds one step to the log.  A step leads from one ETag to the next, so a difference is
a chain of steps, and a chain that is not whole is no difference.  The log begins anew with the program.
Neighbours: `act.lists` looks at the disk; `wire` has the form of a difference.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from cfm.wire import Difference

MOST_STEPS: Final = 1_000
MOST_NAMES: Final = 20_000
"""Names that all steps together keep, each at most 255 bytes long."""


class ListLog:
    """The last list, and how it came from those before."""

    def __init__(self, most_steps: int = MOST_STEPS, most_names: int = MOST_NAMES) -> None:
        self._etag: str | None = None
        self._text = b""
        self._steps: deque[tuple[str, Difference]] = deque()
        """The ETag of each list, and what the next one has changed of it."""
        self._names = 0
        self._most_steps, self._most_names = most_steps, most_names

    def listed(self, etag: str, text: bytes) -> None:
        """The disk shows this list now: names in order, each a line."""
        if etag == self._etag:
            return
        if self._etag is not None:
            before, now = _lines(self._text), _lines(text)
            self._append(self._etag, Difference(frozenset(now - before), frozenset(before - now)))
        self._etag, self._text = etag, text

    def _append(self, etag: str, step: Difference) -> None:
        self._steps.append((etag, step))
        self._names += len(step)
        while self._names > self._most_names or len(self._steps) > self._most_steps:
            self._names -= len(self._steps.popleft()[1])

    def since(self, etag: str) -> Difference | None:
        """What has changed since the list with this ETag; None where that is not known, or is no less than
        the list itself."""
        changed = Difference()
        for before, step in reversed(self._steps):
            changed = step.then(changed)
            if before == etag:
                return changed if changed.size_bytes < len(self._text) else None
        return None


def _lines(text: bytes) -> set[bytes]:
    return set(text.split(b"\n")[:-1])
