"""Do two servers that tell no disk id show the files of one disk?  Pure.

Lists of one disk are hardly ever equal: they are taken at different moments, and files come and go.  So lists
that are nearly the same, on disks of exactly the same size, raise a suspicion.  What comes or goes on one
disk is soon in both lists.  So two disks are told apart by a name that still differs after both servers have
been listed again.  Neighbour: `same_disk` keeps what is known of each pair.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from cfm.model import Known, Names
from cfm.name_column import NameColumn, common

ALIKE_PERCENT = 90
"""Two lists are alike where they have so much of the longer one in common."""
SAMPLED_FROM = 4_000
SAMPLE = 256
SAMPLE_PERCENT = 75
"""Of long lists, a sample is compared first: nearly all pairs are far from alike."""


@dataclass(frozen=True, slots=True)
class Likeness:
    """Two lists that were alike once."""

    differ: Names = frozenset()
    """Names that are in one of the two lists.  Where they are `apart`: those that show it."""
    since_ms: int = 0
    apart: bool = False
    """They are two disks, as long as they differ in these names."""


def likeness(before: Likeness | None, new: Known[Names], other: Known[Names]) -> Likeness | None:
    """What two lists tell about the disks of their servers; None where they raise no suspicion."""
    alike = are_alike(new.value, other.value)
    if before is None and not alike:
        return None
    differ, asked_ms = new.value ^ other.value, min(new.at_ms, other.at_ms)
    if before is None or not before.differ:
        return Likeness(differ, new.at_ms)
    still = differ & before.differ
    if not still:
        seen_later = before.apart or asked_ms > before.since_ms
        return Likeness(differ, new.at_ms) if seen_later else before
    if before.apart:
        return Likeness(still, before.since_ms, apart=True) if alike else None
    return Likeness(still, new.at_ms, apart=True) if asked_ms > before.since_ms else before


def surely_unlike(one: Names, other: Names) -> bool:
    """A glance that is enough for nearly all pairs, and takes a tenth of the time of `are_alike`."""
    shorter, longer = (one, other) if len(one) <= len(other) else (other, one)
    if not shorter or 100 * len(shorter) < ALIKE_PERCENT * len(longer):
        return True
    if isinstance(shorter, NameColumn) and isinstance(longer, NameColumn):
        return shorter.seems_disjoint(longer)
    return False


def are_alike(one: Names, other: Names) -> bool:
    shorter, longer = sorted((one, other), key=len)
    if not shorter or 100 * len(shorter) < ALIKE_PERCENT * len(longer):
        return False
    if isinstance(shorter, NameColumn):
        may_be = shorter.may_be_like(longer, SAMPLE_PERCENT)
    elif len(shorter) > SAMPLED_FROM:
        may_be = 100 * sum(name in longer for name in _sample(shorter)) >= SAMPLE_PERCENT * SAMPLE
    else:
        may_be = True
    return may_be and 100 * common(shorter, longer) >= ALIKE_PERCENT * len(longer)


def _sample(names: Names) -> Iterator[str]:
    return islice(names, SAMPLE)
