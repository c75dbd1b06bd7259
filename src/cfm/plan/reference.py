"""The reductions in plain Python: what `reduce` means, one file at a time.

There is no Polars here and nothing clever, so that it can be read as the definition.  Tests hold the two
against each other by properties.  The simulator plans with this one: from the same integers comes the same
shortlist.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice

from cfm.model import Addr, File, KnownStock
from cfm.plan.shortlist import PlanInputs, Shortlist, real_prefixes


def shortlist(files: Iterable[File], inputs: PlanInputs) -> Shortlist:
    """Reduce all known files to what may be worth a decision.

    The names of `files` are unique, and so are their ranks; they come in any order.
    """
    prefixes = real_prefixes(inputs.ad_prefixes)
    no_ads = [file for file in files if not file.name.startswith(prefixes)]
    ours = sorted((file for file in no_ads if _may_be_chosen(file, inputs)), key=lambda file: file.rank)
    copies = _copies(inputs.listings)

    unplaced = [file for file in ours if file.name not in copies and _may_be_copied(file, inputs)]
    wanted = _most_wanted(unplaced, inputs)
    surplus = [file for file in ours if copies.get(file.name, 0) >= 2]
    unprotected = {server: _unprotected(ours, server, inputs) for server in inputs.listings}

    kept_wanted = _cut_by_room(wanted, inputs)
    kept_surplus = tuple(surplus[: inputs.max_surplus])
    evictable = {server: tuple(worst[: inputs.max_evictable]) for server, worst in unprotected.items()}
    return Shortlist(
        snapshot_id=inputs.snapshot_id,
        wanted=kept_wanted,
        wanted_total=len(wanted),
        surplus=kept_surplus,
        surplus_total=len(surplus),
        evictable=evictable,
        cut=len(kept_wanted) < len(wanted)
        or len(kept_surplus) < len(surplus)
        or any(len(evictable[server]) < len(worst) for server, worst in unprotected.items()),
        stock={server: _stock(no_ads, ours, server, inputs) for server in inputs.listings},
    )


def _copies(listings: Mapping[Addr, frozenset[str]]) -> dict[str, int]:
    """How many destinations list a name.  A name that none lists is absent."""
    copies: dict[str, int] = {}
    for names in listings.values():
        for name in names:
            copies[name] = copies.get(name, 0) + 1
    return copies


def _may_be_chosen(file: File, inputs: PlanInputs) -> bool:
    """Is it neither left alone for a while, nor known to be missing on the SAN?"""
    missing = inputs.on_san is not None and file.name not in inputs.on_san
    return file.name not in inputs.left_alone and not missing


def _may_be_copied(file: File, inputs: PlanInputs) -> bool:
    """Could some disk hold it, and is it not on a server for whose list the history stands?"""
    too_large = inputs.largest_disk_bytes is not None and file.size_bytes > inputs.largest_disk_bytes
    return not too_large and inputs.unlisted_ips.isdisjoint(file.history_ips)


def _stock(no_ads: Sequence[File], ours: Sequence[File], server: Addr, inputs: PlanInputs) -> KnownStock:
    """How much of this server known files take up, and how much of that may go, though not yet, maybe."""
    names = inputs.listings[server]
    may_go = names - inputs.rising.keys() - inputs.watched
    return KnownStock(
        known_bytes=sum(file.size_bytes for file in no_ads if file.name in names),
        may_go_bytes=sum(file.size_bytes for file in ours if file.name in may_go),
    )


def _most_wanted(by_rank: Sequence[File], inputs: PlanInputs) -> list[File]:
    rising = [file for file in by_rank if file.name in inputs.rising]
    rising.sort(key=lambda file: -inputs.rising[file.name])
    return rising + [file for file in by_rank if file.name not in inputs.rising]


def _cut_by_room(wanted: Sequence[File], inputs: PlanInputs) -> tuple[File, ...]:
    """The first that fit somewhere and the first few that do not, in one order."""
    room = inputs.largest_room_bytes
    fitting = islice((file for file in wanted if file.size_bytes <= room), inputs.max_wanted)
    unfitting = islice((file for file in wanted if file.size_bytes > room), inputs.max_unfitting)
    kept = {file.name for file in fitting} | {file.name for file in unfitting}
    return tuple(file for file in wanted if file.name in kept)


def _unprotected(by_rank: Sequence[File], server: Addr, inputs: PlanInputs) -> list[File]:
    """What may be deleted on this server, worst rank first."""
    protected = inputs.rising.keys() | inputs.watched | inputs.young.get(server, frozenset())
    goers = inputs.listings[server] - protected
    return [file for file in reversed(by_rank) if file.name in goers]
