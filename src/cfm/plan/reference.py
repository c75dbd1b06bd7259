"""The reductions in plain Python: what `reduce` means, one file at a time.

There is no Polars here and nothing clever, so that it can be read as the definition.  Tests hold the two
against each other by properties.  The simulator plans with this one: from the same integers comes the same
shortlist.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice

from cfm.model import Addr, File, KnownStock, Names
from cfm.plan.shortlist import PlanInputs, Shortlist, real_prefixes, size_class


def shortlist(files: Iterable[File], inputs: PlanInputs) -> Shortlist:
    """Reduce all known files to what may be worth a decision.

    The names of `files` are unique, and so are their ranks; they come in any order.
    """
    prefixes = real_prefixes(inputs.ad_prefixes)
    files = list(files)
    all_known = {file.name for file in files}
    no_ads = [file for file in files if not file.name.startswith(prefixes)]
    ours = sorted((file for file in no_ads if _may_be_chosen(file, inputs)), key=lambda file: file.rank)
    absent = sorted((file for file in no_ads if _is_absent(file, inputs)), key=lambda file: file.rank)
    copies, known = _copies(inputs.listings), [file.name for file in files]

    missing = [file for file in ours if file.name not in copies or file.name in inputs.stale]
    too_large = [file for file in missing if _is_too_large(file, inputs)]
    unplaced = [file for file in missing if _may_be_copied(file, inputs)]
    wanted = _most_wanted(unplaced, inputs)
    surplus = [file for file in ours if copies.get(file.name, 0) >= 2]
    unprotected = {server: _unprotected(ours, server, inputs) for server in inputs.listings}

    worst_rank = max((worst[0].rank for worst in unprotected.values() if worst), default=0)
    kept_wanted = _cut_by_room(wanted, worst_rank, inputs)
    kept_surplus = tuple(surplus[: inputs.max_surplus])
    largest_bytes = max((file.size_bytes for file in kept_wanted), default=0)
    evictable = {server: _cut_by_bytes(worst, largest_bytes, inputs) for server, worst in unprotected.items()}
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
        stock=_stocks(all_known, no_ads, ours, inputs),
        absent=tuple(absent),
        too_large=tuple(too_large[: inputs.max_too_large]),
        too_large_total=len(too_large),
        no_room_cut=_count_unfitting(wanted, inputs) - _count_unfitting(kept_wanted, inputs),
        known_total=len(no_ads),
        on_san_total=None if inputs.on_san is None else sum(f.name in inputs.on_san for f in no_ads),
        files_by_copies=Counter(copies[name] for name in known if name in copies),
    )


def _copies(listings: Mapping[Addr, Names]) -> dict[str, int]:
    """How many destinations list a name.  A name that none lists is absent."""
    copies: dict[str, int] = {}
    for names in listings.values():
        for name in names:
            copies[name] = copies.get(name, 0) + 1
    return copies


def _may_be_chosen(file: File, inputs: PlanInputs) -> bool:
    """Is it neither left alone for a while, nor known to be missing on the SAN?"""
    missing = inputs.on_san is not None and file.name not in inputs.on_san
    return file.name not in inputs.left_alone and not missing and not _is_absent(file, inputs)


def _is_absent(file: File, inputs: PlanInputs) -> bool:
    """Has the SAN, when it was asked for this file, answered with another size, or with none?"""
    return inputs.found_bytes.get(file.name, file.size_bytes) != file.size_bytes


def _may_be_copied(file: File, inputs: PlanInputs) -> bool:
    """Could some disk hold it, and is it not on a server for whose list the history stands?"""
    left_out = _is_too_large(file, inputs) or _just_left(file, inputs)
    return not left_out and inputs.unlisted_ips.isdisjoint(file.history_ips)


def _is_too_large(file: File, inputs: PlanInputs) -> bool:
    return inputs.largest_disk_bytes is not None and file.size_bytes > inputs.largest_disk_bytes


def _just_left(file: File, inputs: PlanInputs) -> bool:
    """Was it deleted for room not long ago, and is not clearly more wanted since then?"""
    rank_then = inputs.departed.get(file.name)
    if rank_then is None or file.name in inputs.rising:
        return False
    return (100 + inputs.room_margin_percent) * file.rank >= 100 * rank_then


def _stocks(
    all_known: set[str], no_ads: Iterable[File], ours: Iterable[File], inputs: PlanInputs
) -> dict[Addr, KnownStock]:
    """How much of each server known files take up, and how much of that may go, though not yet, maybe."""
    known = {file.name: file.size_bytes for file in no_ads}
    may_go = {file.name: file.size_bytes for file in ours}
    protected = inputs.rising.keys() | inputs.watched
    return {
        server: KnownStock(
            known_bytes=sum(known.get(name, 0) for name in names),
            may_go_bytes=sum(may_go.get(name, 0) for name in names - protected),
            unknown_files=sum(name not in all_known for name in names),
        )
        for server, names in inputs.listings.items()
    }


def _most_wanted(by_rank: Sequence[File], inputs: PlanInputs) -> list[File]:
    rising = [file for file in by_rank if file.name in inputs.rising]
    rising.sort(key=lambda file: -inputs.rising[file.name])
    return rising + [file for file in by_rank if file.name not in inputs.rising]


def _cut_by_room(wanted: Sequence[File], worst_rank: int, inputs: PlanInputs) -> tuple[File, ...]:
    """The first that fit somewhere and the first few that do not, in one order.

    Of the latter, if something may go for them, also the first few of each size.
    """
    room = inputs.largest_room_bytes
    fitting = islice((file for file in wanted if file.size_bytes <= room), inputs.max_wanted)
    unfitting = [file for file in wanted if file.size_bytes > room]
    kept = {file.name for file in fitting} | {file.name for file in unfitting[: inputs.max_unfitting]}
    alike: Counter[int] = Counter()
    for file in unfitting:
        if _may_make_room(file, worst_rank, inputs):
            number = size_class(file.size_bytes)
            alike[number] += 1
            if alike[number] <= inputs.max_alike:
                kept.add(file.name)
    return tuple(file for file in wanted if file.name in kept)


def _count_unfitting(files: Iterable[File], inputs: PlanInputs) -> int:
    return sum(file.size_bytes > inputs.largest_room_bytes for file in files)


def _may_make_room(file: File, worst_rank: int, inputs: PlanInputs) -> bool:
    """Is it clearly more wanted than the least wanted file that may go anywhere?"""
    margin = 100 + inputs.room_margin_percent
    return bool(worst_rank) and (file.name in inputs.rising or 100 * worst_rank > margin * file.rank)


def _cut_by_bytes(worst: Sequence[File], largest_bytes: int, inputs: PlanInputs) -> tuple[File, ...]:
    """The first few, and more while these would not make room for the largest wanted file."""
    kept, kept_bytes = list[File](), 0
    for file in worst[: inputs.max_evictable_ever]:
        if len(kept) >= inputs.max_evictable and kept_bytes >= largest_bytes:
            break
        kept.append(file)
        kept_bytes += file.size_bytes
    return tuple(kept)


def _unprotected(by_rank: Sequence[File], server: Addr, inputs: PlanInputs) -> list[File]:
    """What may be deleted on this server, worst rank first."""
    protected = inputs.rising.keys() | inputs.watched | inputs.young.get(server, frozenset())
    goers = inputs.listings[server] - protected
    return [file for file in reversed(by_rank) if file.name in goers]
