"""Log lines that repeat are counted, not written.  Pure: the time is an argument.

Something that stays broken says the same again and again.  The first few lines of one kind are written; after
them one a minute, then one every two, four, … minutes, and at last one an hour.  Each of these says how many
were left out before it.  Where the repeats end, the last one is written with its count later.  Neighbour:
`logs` says which lines are of one kind.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Final, Generic, TypeVar

from cfm.backoff import Backoff

T = TypeVar("T")

FIRST_FEW: Final = 5
"""So many lines of one kind are written before any is left out."""
PAUSES: Final = Backoff(first_ms=60_000, longest_ms=3_600_000)
QUIET_MS: Final = 3_600_000
"""After so long without a line of its kind, the next one begins anew."""
MOST_KINDS: Final = 2_000


class _Kind(Generic[T]):
    """The lines of one kind."""

    def __init__(self, left_out: int = 0) -> None:
        self.written = 0
        """So many since its beginning."""
        self.not_before_ms = 0
        self.last_ms = 0
        self.left_out = left_out
        self.last: T | None = None
        """The last line that was left out."""


class Repeats(Generic[T]):
    """Which lines are written.  `T` is a line, in whatever form its owner keeps it."""

    def __init__(self, most_kinds: int = MOST_KINDS) -> None:
        self._most_kinds = most_kinds
        self._kinds: OrderedDict[Hashable, _Kind[T]] = OrderedDict()
        """The kind that was used last stands last."""
        self._due_ms: int | None = None
        """Nothing that was left out may be told before.  Each line asks, and looks at all kinds then."""

    def admit(self, key: Hashable, line: T, now_ms: int) -> int | None:
        """How many lines of its kind were left out before this one; None where it is left out itself."""
        kind = self._kinds.pop(key, None) or _Kind()
        if kind.written and now_ms - kind.last_ms >= QUIET_MS:
            kind = _Kind(left_out=kind.left_out)
        self._kinds[key] = kind
        kind.last_ms = now_ms
        if now_ms < kind.not_before_ms:
            kind.left_out += 1
            kind.last = line
            if self._due_ms is None or kind.not_before_ms < self._due_ms:
                self._due_ms = kind.not_before_ms
            return None
        kind.written += 1
        if kind.written >= FIRST_FEW:
            kind.not_before_ms = now_ms + PAUSES.pause_ms(kind.written - FIRST_FEW + 1)
        left_out, kind.left_out, kind.last = kind.left_out, 0, None
        return left_out

    def ended(self, now_ms: int) -> list[tuple[T, int]]:
        """The last lines of kinds that came no more when they might have been written, with their counts.

        It also forgets the oldest kinds where there are too many.
        """
        over = self._over(now_ms) if self._due_ms is not None and now_ms >= self._due_ms else []
        while len(self._kinds) > self._most_kinds:
            _key, kind = self._kinds.popitem(last=False)
            if kind.left_out and kind not in over:
                over.append(kind)
        return self._told(over)

    def _over(self, now_ms: int) -> list[_Kind[T]]:
        left_out = [kind for kind in self._kinds.values() if kind.left_out]
        later_ms = (kind.not_before_ms for kind in left_out if now_ms < kind.not_before_ms)
        self._due_ms = min(later_ms, default=None)
        return [kind for kind in left_out if now_ms >= kind.not_before_ms]

    def rest(self) -> list[tuple[T, int]]:
        """The same of all kinds, at the end of the program."""
        return self._told([kind for kind in self._kinds.values() if kind.left_out])

    def _told(self, kinds: list[_Kind[T]]) -> list[tuple[T, int]]:
        told = [(kind.last, kind.left_out - 1) for kind in kinds if kind.last is not None]
        for kind in kinds:
            kind.left_out, kind.last = 0, None
        return told
