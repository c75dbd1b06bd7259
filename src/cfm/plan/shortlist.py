"""What a full plan asks of the metadata, and the short ordered lists that it gets back.

`reduce` answers over columns of up to ten million files, `reference` over plain `File`s.  Both give the same
`Shortlist`, and the policies choose from it one file at a time.  A shortlist allows nothing.  It leaves out
what cannot be chosen as things are, and the judge asks the kernel about every choice from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from cfm.model import Addr, File, KnownStock


@dataclass(frozen=True, slots=True)
class PlanInputs:
    """The world beside the metadata, as one plan sees it.  Names here need not be known files."""

    snapshot_id: str
    listings: Mapping[Addr, frozenset[str]]
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
    on_san: frozenset[str] | None
    """Complete index of what is on the SAN.  None where it is unknown: then it excludes nothing."""
    largest_room_bytes: int
    """The most that any destination could still take."""
    largest_disk_bytes: int | None = None
    """The most that any destination could hold if it were empty; None where not known.  A larger file is not
    wanted: it would take one of the few places for files that do not fit."""
    max_wanted: int = 4096
    max_unfitting: int = 64
    max_evictable: int = 64
    """For each destination."""
    max_surplus: int = 4096


@dataclass(frozen=True, slots=True)
class Shortlist:
    """What may be worth a decision, in the order in which to decide."""

    snapshot_id: str
    wanted: tuple[File, ...]
    """Known files on no destination: rising ones first (most hits, then rank), then by rank.  Of the files
    that are larger than the largest room only the first few: room may be made for them."""
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


NOTHING_LISTED = Shortlist(
    snapshot_id="", wanted=(), wanted_total=0, surplus=(), surplus_total=0, evictable={}, cut=False
)
"""No plan was made, or none is needed."""


def real_prefixes(ad_prefixes: tuple[str, ...]) -> tuple[str, ...]:
    """The prefixes that mark an ad.  An empty prefix does not count: every file would be an ad."""
    return tuple(prefix for prefix in ad_prefixes if prefix)
