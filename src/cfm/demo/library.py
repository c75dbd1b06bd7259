"""What there is to watch, and how much each title is wanted: made up, and the same for the same seed.

Pure but for `write`, which puts the files' bytes on a disk.  Neighbours: `metadata` tells cfm about it in
its own formats, `truth` compares what lies on disks with it.
"""

from __future__ import annotations

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
"""The library as a whole: many files are small ones."""
AD_BYTES: Final = 300_000
AD_PREFIX: Final = "AD_"
ZIPF: Final = 0.95
"""Views of the title of rank r are as r to the power of minus this, as in real services."""

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
    """All titles; ads are not among them."""

    seed: int
    titles: tuple[Title, ...]
    ads: tuple[Title, ...]

    @property
    def total_bytes(self) -> int:
        return sum(title.size_bytes for title in self.titles)

    @property
    def mean_bytes(self) -> int:
        return self.total_bytes // len(self.titles)

    def named(self) -> dict[str, Title]:
        return {title.name: title for title in (*self.titles, *self.ads)}


def make_library(seed: int, files: int, ads: int) -> Library:
    """`files` titles with names that a person can tell apart."""
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
    """All pairs of words in some order, then the same again with numbers."""
    pairs = [f"{first}-{second}" for first in _FIRST.split() for second in _SECOND.split()]
    for edition in count(1):
        random.shuffle(pairs)
        yield from pairs if edition == 1 else (f"{pair}-{edition}" for pair in pairs)


def content(library: Library, title: Title) -> bytes:
    """The bytes of a title: nothing that compresses, and no two alike."""
    return Random(f"content {library.seed} {title.name}").randbytes(title.size_bytes)  # noqa: S311


def digest(data: bytes) -> str:
    return xxhash.xxh3_128_hexdigest(data)


def write(library: Library, title: Title, *folders: Path) -> str:
    """Put a title into folders; the digest of its content."""
    data = content(library, title)
    for folder in folders:
        (folder / title.name).write_bytes(data)
    return digest(data)


class Taste:
    """What viewers want, in order; it changes."""

    def __init__(self, library: Library) -> None:
        self._random = Random(f"taste {library.seed}")  # noqa: S311 - made-up viewers
        self.order = [title.name for title in library.titles]
        self._random.shuffle(self.order)
        weights = ((rank + 1) ** -ZIPF for rank in range(len(self.order)))
        self._cumulative = list(accumulate(weights))

    def rank(self, name: str) -> int:
        return self.order.index(name) + 1

    def views(self, number: int) -> list[str]:
        """What the next viewers ask for."""
        return self._random.choices(self.order, cum_weights=self._cumulative, k=number)

    def change(self, number: int) -> Sequence[str]:
        """So many titles from the lower half become the talk of the town; which ones."""
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
        """What the history would have counted for a rank."""
        return max(1, int(5000 * rank**-ZIPF))
