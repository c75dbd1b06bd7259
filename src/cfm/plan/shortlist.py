"""What a full plan asks of the metadata, and the short ordered lists that it gets back.

`reduce` answers over columns of up to ten million files, `reference` over plain `File`s.  Both give the same
`Shortlist`, and the policies choose from it one file at a time.  A shortlist allows nothing.  It leaves out
what cannot be chosen as things are, and the judge asks the kernel about every choice from it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field

from cfm.model import Addr, File, KnownStock, Names


@dataclass(frozen=True, slots=True)
class PlanInputs:
    """The world beside the metadata, as one plan sees it.  Names here need not be known files."""

    snapshot_id: str
    listings: Mapping[Addr, Names]
    """Destinations whose files are known, or for which their last list stands."""
    unlisted_ips: frozenset[str]
    """Hosts of the destinations for which the history stands: what it saw there may still be there."""
    rising: Mapping[str, int]
    """Name → hits in the window."""
    watched: frozenset[str]
    young: Mapping[Addr, frozenset[str]]
    """Names that arrived too recently at that server to go for room."""
    ad_prefixes: tuple[str, ...]
    left_alone: frozenset[str]
    """Files that are left out for a while, because what was tried with them failed."""
    on_san: Names | None
    """Complete index of what is on the SAN.  None where it is unknown: then it excludes nothing."""
    largest_room_bytes: int
    """The most that any destination could still take."""
    largest_disk_bytes: int | None = None
    """The most that any destination could hold if it were empty; None where not known.  A larger file is not
    wanted: it would take one of the few places for files that do not fit."""
    found_bytes: Mapping[str, int] = field(default_factory=dict)
    """What the SAN was asked for one by one, and has with another size: the size there, or 0 where it has
    none.  A known file of another size is left out."""
    departed: Mapping[str, int] = field(default_factory=dict)
    """What was deleted for room not long ago: its rank then.  It is wanted only if it rises, or is clearly
    better now; otherwise it would hide others that may be copied."""
    room_margin_percent: int = 10
    """Room is made for a file only by files whose rank is worse by this margin."""
    stale: frozenset[str] = frozenset()
    """Files of which every copy is stale: they are wanted like files that are on no destination."""
    max_wanted: int = 4096
    max_unfitting: int = 64
    max_alike: int = 16
    """Of the files that do not fit, and for which something may go, so many of about one size as well: large
    ones must not hide the small ones behind them."""
    max_evictable: int = 64
    """For each destination; more where these have less bytes than the largest wanted file."""
    max_evictable_ever: int = 2048
    """For each destination, however small they are."""
    max_surplus: int = 4096
    max_too_large: int = 4


@dataclass(frozen=True, slots=True)
class Shortlist:
    """What may be worth a decision, in the order in which to decide."""

    snapshot_id: str
    wanted: tuple[File, ...]
    """Known files on no destination, or stale on each: rising ones first (most hits, then rank), then by
    rank.  Of the files that are larger than the largest room only the first few: room may be made for
    them."""
    wanted_total: int
    """Before the cut."""
    surplus: tuple[File, ...]
    """Known files in two or more listings, best rank first."""
    surplus_total: int
    evictable: Mapping[Addr, tuple[File, ...]]
    """For each listed destination: known files that nothing protects there, worst rank first."""
    cut: bool
    """The limits left something out: plan again when the lists are used up."""
    stock: Mapping[Addr, KnownStock] = field(default_factory=dict)
    """For each listed destination: how much of it known files take up."""
    absent: tuple[File, ...] = ()
    """The known files that were left out because of `found_bytes`, best rank first."""
    too_large: tuple[File, ...] = ()
    """The first few known files on no destination that no disk could hold even if it were empty, best rank
    first."""
    too_large_total: int = 0
    """How many there are."""
    no_room_cut: int = 0
    """How many of the wanted files that were cut are larger than the largest room."""
    known_total: int = 0
    """Known files without ads."""
    on_san_total: int | None = None
    """How many of them the index of the source folders has; None where that is unknown."""
    holders: Mapping[str, frozenset[Addr]] = field(default_factory=dict, compare=False)
    """Which of the listed servers hold the files on these lists; empty where nobody has found that out."""
    files_by_copies: Mapping[int, int] = field(default_factory=dict, compare=False)
    """Number of copies → how many known files have so many on the listed servers."""


NOTHING_LISTED = Shortlist(
    snapshot_id="", wanted=(), wanted_total=0, surplus=(), surplus_total=0, evictable={}, cut=False
)
"""No plan was made, or none is needed."""


SIZE_CLASSES = tuple(quarter << power for power in range(60) for quarter in (4, 5, 6, 7))
"""Where each class of sizes begins, in bytes: four for each doubling; the smallest have one for all."""


def size_class(size_bytes: int) -> int:
    """Files of one class have about one size."""
    return bisect_right(SIZE_CLASSES, size_bytes)


def real_prefixes(ad_prefixes: tuple[str, ...]) -> tuple[str, ...]:
    """The prefixes that mark an ad.  An empty prefix does not count: every file would be an ad."""
    return tuple(prefix for prefix in ad_prefixes if prefix)
