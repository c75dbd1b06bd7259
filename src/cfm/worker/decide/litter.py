"""When a worker looks for litter: temporary files that earlier downloads left behind.

Pure; a part of the book in `downloads`.  Litter takes room, so the worker looks for it when it starts, and
after a file that it could not remove.  While the disk is not there it looks again now and then.  (Each
download looks as well, before it takes its place on the disk.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

LOOK_AGAIN_MS: Final = 5_000


@dataclass(slots=True)
class LitterSearch:
    """The next look: when it is due, or that it is under way."""

    again_ms: int = LOOK_AGAIN_MS
    due_ms: int | None = None
    """When to look; None: there is no litter that is known of, or a look is under way."""
    under_way: bool = False

    def start(self) -> None:
        self.due_ms, self.under_way = None, True

    def ended(self, now_ms: int, *, left: bool) -> None:
        self.under_way = False
        if left:
            self.due_ms = now_ms + self.again_ms

    def was_left(self, now_ms: int) -> None:
        """A file could not be removed.  A look that is under way may have missed it."""
        if self.due_ms is None:
            self.due_ms = now_ms + self.again_ms

    def is_due(self, now_ms: int) -> bool:
        return not self.under_way and self.due_ms is not None and now_ms >= self.due_ms
