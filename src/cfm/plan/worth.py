"""What files are worth beside each other: does it pay to delete some for another one?

`ClusterView.outranks` compares two files: one is clearly less wanted than the other.  Here several files are
weighed together, for a large file may need the room of many.  How often viewers want a file falls with its
rank about as `1/rank` does, and the history tells how often they did.  What goes is worth clearly less where
by one of the two it is worth at most half.  Decision 10 says why.  Neighbours: a guard holds every bundle to
this; `policies.room` looks for bundles that pay.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

from cfm.model import File
from cfm.plan.view import ClusterView

SHARE = 2
"""What goes is worth at most one part in so many of what comes."""
_UNIT = 10**12


def by_rank(file: File) -> int:
    """How much viewers want a file, judged by its rank, in a unit of its own."""
    return _UNIT // max(1, file.rank)


def pays(view: ClusterView, wanted: File, going: Sequence[File]) -> bool:
    """Are these files together worth clearly less than the wanted one?

    One file alone is weighed by the margin of ranks, and a rising file is worth more than any that may go.
    """
    if len(going) < 2 or wanted.name in view.hits.rising:
        return True
    if SHARE * sum(map(by_rank, going)) <= by_rank(wanted):
        return True
    return wanted.hits > 0 and SHARE * sum(file.hits for file in going) <= wanted.hits


class Goers:
    """What may go from one disk, the least wanted first, with sums that answer at once how far it reaches."""

    __slots__ = ("_bytes", "_hits", "_largest", "_ranks", "_worths", "files")

    def __init__(self, files: Sequence[File]) -> None:
        self.files = files
        sizes = [file.size_bytes for file in files]
        self._ranks = [-file.rank for file in files]
        self._bytes = [0, *accumulate(sizes)]
        self._largest = [0, *accumulate(sizes, max)]
        self._worths = [0, *accumulate(map(by_rank, files))]
        self._hits = [0, *accumulate(file.hits for file in files)]

    @property
    def worst_rank(self) -> int:
        """The rank of the least wanted of them; 0 where nothing may go."""
        return -self._ranks[0] if self._ranks else 0

    def worse(self, view: ClusterView, wanted: File) -> int:
        """How many of them, from the beginning, are clearly less wanted."""
        if wanted.name in view.hits.rising:
            return len(self.files)
        border = (100 + view.rules.room_margin_percent) * wanted.rank // 100
        return bisect_right(self._ranks, -border - 1)

    def most_bytes(self, view: ClusterView, wanted: File) -> int:
        """The most bytes that may go for this file so that it pays: of several files, or of a single one."""
        worse = self.worse(view, wanted)
        if not worse or wanted.name in view.hits.rising:
            return self._bytes[worse]
        cheap = bisect_right(self._worths, by_rank(wanted) // SHARE) - 1
        if wanted.hits:
            cheap = max(cheap, bisect_right(self._hits, wanted.hits // SHARE) - 1)
        return max(self._bytes[min(worse, cheap)], self._largest[worse])
