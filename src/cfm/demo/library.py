"""The invented library: which files there are, and how much each is wanted.  The same seed gives the same
library.

All of it is pure except `write`, which puts a file on a disk.  Neighbours: `metadata` writes it in the
formats that cfm reads; `truth` compares the disks with it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, count
from pathlib import Path
from random import Random
from typing import Final

import xxhash

SMALLEST_BYTES: Final = 500_000
LARGEST_BYTES: Final = 4_000_000
MOST_BYTES: Final = 180_000_000
"""The size of the whole library.  When it has many files, they are smaller."""
AD_BYTES: Final = 300_000
AD_PREFIX: Final = "AD_"
ZIPF: Final = 0.95
"""The number of views is the rank to the power of minus this, as in real services."""

_FIRST: Final = (
    "amber autumn broken crimson distant early electric empty endless frozen gentle golden hidden hollow "
    "iron last little lonely midnight northern paper quiet restless scarlet second secret silent silver "
    "sleeping velvet winter yellow"
)
_SECOND: Final = (
    "arcade bridge canyon circus city garden harbor horizon house island journey lantern letter meadow "
    "mirror mountain ocean orchard parade river road sailor season shadow signal station storm stranger "
    "summer tower train valley"
)


@dataclass(frozen=True, slots=True)
class Title:
    """One file of the library."""

    name: str
    size_bytes: int
    registered_s: int


@dataclass(frozen=True, slots=True)
class Library:
    """All titles.  The ads are kept apart from them."""

    seed: int
    titles: tuple[Title, ...]
    ads: tuple[Title, ...]

    @property
    def total_bytes(self) -> int:
        return sum(title.size_bytes for title in self.titles)

    def named(self) -> dict[str, Title]:
        return {title.name: title for title in (*self.titles, *self.ads)}


def make_library(seed: int, files: int, ads: int) -> Library:
    """A library of `files` titles, with names that are easy to tell apart."""
    random = Random(f"library {seed}")  # noqa: S311 - made-up titles, not secrets
    names = _names(random)
    shrink = min(1.0, MOST_BYTES / (files * (SMALLEST_BYTES + (LARGEST_BYTES - SMALLEST_BYTES) / 3)))

    def title(name: str) -> Title:
        size = SMALLEST_BYTES + (LARGEST_BYTES - SMALLEST_BYTES) * random.random() ** 2
        return Title(name, max(1, int(size * shrink)), 1_500_000_000 + random.randrange(200_000_000))

    titles = tuple(title(f"{next(names)}_K{i:04}.mpg") for i in range(1, files + 1))
    adverts = tuple(Title(f"{AD_PREFIX}{next(names)}.mpg", AD_BYTES, 1_500_000_000) for _ in range(ads))
    return Library(seed, titles, adverts)


def _names(random: Random) -> Iterator[str]:
    """All pairs of words in a random order, and then the same pairs with numbers."""
    pairs = [f"{first}-{second}" for first in _FIRST.split() for second in _SECOND.split()]
    for edition in count(1):
        random.shuffle(pairs)
        yield from pairs if edition == 1 else (f"{pair}-{edition}" for pair in pairs)


def content(library: Library, title: Title) -> bytes:
    """The bytes of a title.  They cannot be compressed, and no two titles have the same bytes."""
    return Random(f"content {library.seed} {title.name}").randbytes(title.size_bytes)  # noqa: S311


def digest(data: bytes) -> str:
    return xxhash.xxh3_128_hexdigest(data)


def write(library: Library, title: Title, *folders: Path) -> str:
    """Write a title into these folders, as it was written when it was registered.

    Returns the digest of its content.
    """
    data = content(library, title)
    for folder in folders:
        path = folder / title.name
        path.write_bytes(data)
        os.utime(path, (title.registered_s, title.registered_s))
    return digest(data)


class Taste:
    """What viewers want, the most wanted title first.  It changes."""

    def __init__(self, library: Library) -> None:
        self._random = Random(f"taste {library.seed}")  # noqa: S311 - made-up viewers
        self.order = [title.name for title in library.titles]
        self._random.shuffle(self.order)
        weights = ((rank + 1) ** -ZIPF for rank in range(len(self.order)))
        self._cumulative = list(accumulate(weights))

    def rank(self, name: str) -> int:
        return self.order.index(name) + 1

    def views(self, number: int) -> list[str]:
        """The titles that the next viewers ask for."""
        return self._random.choices(self.order, cum_weights=self._cumulative, k=number)

    def change(self, number: int) -> Sequence[str]:
        """Make so many titles from the lower half popular.  Returns these titles."""
        half = len(self.order) // 2
        new = self._random.sample(self.order[half:], min(number, len(self.order) - half))
        rest = [name for name in self.order if name not in set(new)]
        for name in new:
            rest.insert(self._random.randrange(max(1, half // 2)), name)
        self.order = rest
        return new

    def pick(self, names: Sequence[str]) -> str:
        return self._random.choice(names)

    def hits(self, rank: int) -> int:
        """How many hits the history shows for a rank."""
        return max(1, int(5000 * rank**-ZIPF))
