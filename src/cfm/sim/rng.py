"""The simulator's own random numbers: splitmix64, integers only, the same on every machine.

Nothing here depends on `random`, on floats or on Python's hashing; a seed means the same everywhere.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")

MASK = (1 << 64) - 1
MILLION = 1_000_000


class Rng:
    """One stream of random integers."""

    __slots__ = ("_state",)

    def __init__(self, seed: int) -> None:
        self._state = seed & MASK

    def bits(self) -> int:
        """64 random bits."""
        self._state = z = (self._state + 0x9E3779B97F4A7C15) & MASK
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        return z ^ (z >> 31)

    def below(self, end: int) -> int:
        """A number from 0 to `end - 1`."""
        return (self.bits() * end) >> 64

    def between(self, low: int, high: int) -> int:
        """A number from `low` to `high`, both included."""
        return low + self.below(high - low + 1)

    def chance(self, per_million: int) -> bool:
        return self.below(MILLION) < per_million

    def pick(self, things: Sequence[T]) -> T:
        return things[self.below(len(things))]

    def shuffled(self, things: Sequence[T]) -> list[T]:
        mixed = list(things)
        for i in range(len(mixed) - 1, 0, -1):
            j = self.below(i + 1)
            mixed[i], mixed[j] = mixed[j], mixed[i]
        return mixed

    def fork(self, purpose: str) -> Rng:
        """A stream of its own, so that one part of the world does not disturb another's luck."""
        return Rng(self._state ^ (zlib.crc32(purpose.encode()) * 0x9E3779B97F4A7C15))
