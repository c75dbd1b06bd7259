"""The simulator's own random numbers: splitmix64, integers only, the same on every machine.

A seed means the same everywhere, because nothing here depends on `random`, on floats or on Python's hashing.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")

MASK = (1 << 64) - 1
MILLION = 1_000_000

_GAMMA = 0x9E3779B97F4A7C15
_LANES = 32
"""How many numbers are drawn at once.  Each has a lane of 128 bits in one large integer, which is enough for
the product of two numbers of 64 bits.  A step for all lanes costs little more than a step for one number."""
_ONES = sum(1 << 128 * lane for lane in range(_LANES))
_LOW = _ONES * MASK
_GAMMAS = sum((lane + 1) * _GAMMA % (1 << 64) << 128 * lane for lane in range(_LANES))
_WORDS = struct.Struct(f"<{8 * _LANES}H")
_SMALL = 1 << 30
"""Up to this factor, all sums of products with 16 bits are native integers."""


class Rng:
    """One stream of random integers."""

    __slots__ = ("_at", "_state", "_words")

    def __init__(self, seed: int) -> None:
        self._state = seed & MASK
        self._words: tuple[int, ...] = ()
        """Numbers drawn ahead.  Each is four words of 16 bits, the lowest first, and four zeros."""
        self._at = 0

    def _draw(self) -> int:
        """The place of the next number in `_words`."""
        at = self._at
        if at >= len(self._words):
            self._words, at = _mixed(self._state), 0
            self._state = (self._state + _LANES * _GAMMA) & MASK
        self._at = at + 8
        return at

    def below(self, end: int) -> int:
        """A number from 0 to `end - 1`: 64 random bits, taken as a fraction of 1, times `end`."""
        at, words = self._draw(), self._words
        if end <= _SMALL:
            carried = (words[at + 1] * end + (words[at] * end >> 16)) >> 16
            return (words[at + 3] * end + ((words[at + 2] * end + carried) >> 16)) >> 16
        return (words[at + 3] << 48 | words[at + 2] << 32 | words[at + 1] << 16 | words[at]) * end >> 64

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
        """A separate stream, so that one part of the world does not change the luck of another part."""
        drawn_ahead = (len(self._words) - self._at) // 8
        state = (self._state - drawn_ahead * _GAMMA) & MASK
        return Rng(state ^ (zlib.crc32(purpose.encode()) * _GAMMA))


def _mixed(state: int) -> tuple[int, ...]:
    """The next numbers of splitmix64 from this state on."""
    z = (state * _ONES + _GAMMAS) & _LOW
    z = (z ^ (z >> 30 & _LOW)) * 0xBF58476D1CE4E5B9 & _LOW
    z = (z ^ (z >> 27 & _LOW)) * 0x94D049BB133111EB & _LOW
    z ^= z >> 31 & _LOW
    return _WORDS.unpack(z.to_bytes(_WORDS.size, "little"))
