"""The policies: what would be good to copy, to trim, to evict.  They propose; `kernel` disposes.

Each policy is a generator function over a view, the ledger, and the ordered lists of the last full plan
(`Shortlist`).  It yields what the kernel let through, already booked, and tells the `Round` of every
refusal.  `POLICIES` is their table, in the order in which they run: a later one sees what earlier ones
booked.  Neighbours: `round` holds what a run looks at and what comes of it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice, takewhile

from cfm.model import Addr, DeleteKind, File, ServerView
from cfm.plan import refusals
from cfm.plan.kernel import Deletion
from cfm.plan.ledger import DiskBook
from cfm.plan.refusals import Refusal
from cfm.plan.round import Copy, Delete, Proposal, Round
from cfm.plan.view import ClusterView

# ── copies ──────────────────────────────────────────────────────────────────────────────────────────────

LOOKAHEAD = 4
"""Files beyond those that could start now whose place on the SAN is looked up ahead."""
LOOKAHEAD_KEEPS_MS = 60_000
"""How long such a look ahead is not repeated."""
FILES_TO_MAKE_ROOM_FOR = 16
"""Of the files that fit nowhere, so many are looked at; the others are only counted."""
WAITING_LOOKED_AT = 2 * LOOKAHEAD
"""Of the files that could start if only a source or a destination were free, so many are looked at."""


def copies(round_: Round) -> Iterator[Copy]:
    """The next wanted files: rising first, then by rank, each where there is most room."""
    view, ledger, kernel = round_.view, round_.ledger, round_.kernel
    openings = Openings.of(round_)
    round_.senders = len(openings.sources)
    _tell_brakes(round_, openings)
    if not openings.destinations:
        _look_ahead(round_, _worst(openings.closed.values()))
        return
    largest_room = ledger.largest_room_bytes()
    looks, waiting = 2 * round_.senders + LOOKAHEAD, 0
    for file in round_.shortlist.wanted:
        if file.size_bytes > largest_room:
            _fits_nowhere(round_, file)
            continue
        if file.size_bytes > openings.largest_room_bytes:
            waiting += 1
            if waiting <= WAITING_LOOKED_AT:
                _wait(round_, file, refusals.NO_DESTINATION)
            continue
        outcome = kernel.refuse_file(view, ledger, file) or _place(round_, file, openings)
        if isinstance(outcome, Copy):
            yield outcome
            openings, largest_room = Openings.of(round_), ledger.largest_room_bytes()
            if not openings.sources:
                return
            continue
        round_.refuse("copy", file, None, outcome)
        if outcome is refusals.SAN_UNKNOWN and round_.san_answers(file):
            if not looks:
                return  # enough are being looked up; the answer calls us again
            looks -= 1
            round_.ask_san.append(file)


@dataclass(frozen=True, slots=True)
class Openings:
    """Where the next copy could begin, whatever it is of; made anew when something was booked."""

    senders: Mapping[Addr, list[ServerView]]
    """The sources that may send to each destination whose disk is known."""
    destinations: list[ServerView]
    """Those of them that have a sender and may receive."""
    closed: Mapping[Addr, Refusal]
    """Why the others are none."""
    largest_room_bytes: int
    """The largest file that any of these destinations takes."""

    @classmethod
    def of(cls, round_: Round) -> Openings:
        view, ledger, kernel = round_.view, round_.ledger, round_.kernel
        known = [server for server in view.destinations if server.addr in ledger.disks]
        free = [source for source in view.sources if not kernel.refuse_source(view, ledger, source)]
        senders = {
            to.addr: [source for source in free if not kernel.refuse_pair(view, ledger, source, to)]
            for to in known
        }
        against = {
            to.addr: kernel.refuse_destination(view, ledger, to) if senders[to.addr] else refusals.NO_SOURCE
            for to in known
        }
        open_ = [to for to in known if against[to.addr] is None]
        return cls(
            senders=senders,
            destinations=open_,
            closed={addr: refusal for addr, refusal in against.items() if refusal is not None},
            largest_room_bytes=ledger.largest_room_bytes([to.addr for to in open_]),
        )

    @property
    def sources(self) -> frozenset[Addr]:
        """Those that may send to some destination."""
        return frozenset(source.addr for senders in self.senders.values() for source in senders)


def _tell_brakes(round_: Round, openings: Openings) -> None:
    """Where nothing more is copied to until a person does something, though something is wanted."""
    for addr, refusal in openings.closed.items():
        if refusal.brake and round_.shortlist.wanted:
            round_.hold(addr, refusal)


def _fits_nowhere(round_: Round, file: File) -> None:
    """Keep the best of what found no room, as far as nothing else is against copying it."""
    if len(round_.unplaced) >= FILES_TO_MAKE_ROOM_FOR:
        round_.refuse("copy", file, None, refusals.NO_ROOM)
        return
    refusal = round_.kernel.refuse_file(round_.view, round_.ledger, file)
    if refusal is None or refusal is refusals.SAN_UNKNOWN:  # nothing is against it but what the SAN may tell
        refusal = refusals.NO_ROOM if round_.ledger.disks else refusals.NO_DESTINATION
        if refusal is refusals.NO_ROOM:
            round_.unplaced.append(file)
    round_.refuse("copy", file, None, refusal)


def _look_ahead(round_: Round, busy: Refusal) -> None:
    """No source, or no destination, is free: make sure that the next ones can start at once when one is."""
    view, ledger = round_.view, round_.ledger
    largest_room = ledger.largest_room_bytes()
    open_ = (
        f for f in round_.shortlist.wanted if f.name not in ledger.busy_files and f.name not in view.holders
    )
    for file in islice(open_, WAITING_LOOKED_AT):
        if file.size_bytes > largest_room:
            _fits_nowhere(round_, file)
            continue
        _wait(round_, file, busy)
        if len(round_.ask_ahead) >= LOOKAHEAD:
            return


def _wait(round_: Round, file: File, busy: Refusal) -> None:
    """It could start elsewhere or later: it is looked up on the SAN, so that then it starts at once."""
    view = round_.view
    refusal = round_.kernel.refuse_file(view, round_.ledger, file)
    if refusal is refusals.SAN_UNKNOWN and len(round_.ask_ahead) < LOOKAHEAD and round_.san_answers(file):
        asked = view.san.get(file.name)
        if asked is None or view.now.mono_ms - asked.at_ms > LOOKAHEAD_KEEPS_MS:
            round_.ask_ahead.append(file)
    round_.refuse("copy", file, None, busy if refusal is None or refusal is refusals.SAN_UNKNOWN else refusal)


def _place(round_: Round, file: File, openings: Openings) -> Copy | Refusal:
    """The destination by room, then the source that has rested longest; booked when found."""
    view, ledger = round_.view, round_.ledger
    given = set(openings.closed.values())
    for destination in sorted(openings.destinations, key=lambda to: _by_choice(round_, file, to, openings)):
        refusal = round_.kernel.refuse_place(view, ledger, file, destination)
        if refusal is not None:
            given.add(refusal)
            continue
        senders = openings.senders[destination.addr]
        source = min(senders, key=lambda sender: _by_rest(view, file, sender, destination))
        ledger.book_copy(file, source.addr, destination.addr)
        return Copy(file, source.addr, destination.addr, _why_copy(view, file))
    return _worst(given)


def _worst(given: Collection[Refusal]) -> Refusal:
    """The one to be told, of those of several destinations."""
    return next((refusal for refusal in _WORST_FIRST if refusal in given), refusals.NO_DESTINATION)


_WORST_FIRST = (
    refusals.NO_SOURCE,
    refusals.NEXT_TO_GO,
    refusals.NO_DESTINATION,
    refusals.NO_ROOM,
    refusals.SAME_DISK_SUSPECTED,
)


def _by_choice(
    round_: Round, file: File, destination: ServerView, openings: Openings
) -> tuple[bool, bool, int, int, int, Addr]:
    """Not where copying it failed from all who may send; then free ones first, then the least projected use,
    then the least recently chosen."""
    ledger, addr = round_.ledger, destination.addr
    load = ledger.load(addr)
    retry = round_.view.retries.get(file.name)
    return (
        retry is not None and all((source.addr, addr) in retry.avoid for source in openings.senders[addr]),
        load.incoming + load.finishing > 0,
        ledger.disks[addr].projected_percent,
        load.chosen,
        destination.last_chosen_ms,
        addr,
    )


def _by_rest(
    view: ClusterView, file: File, source: ServerView, destination: ServerView
) -> tuple[bool, bool, int, Addr]:
    """Another machine than the destination, a pair that did not fail, the longest rest."""
    retry = view.retries.get(file.name)
    failed = retry is not None and (source.addr, destination.addr) in retry.avoid
    return (source.addr == destination.addr, failed, source.last_chosen_ms, source.addr)


def _why_copy(view: ClusterView, file: File) -> str:
    if (hits := view.hits.rising.get(file.name)) is not None:
        return f"rising: {hits} hits in the window, rank {file.rank}, on no destination"
    return f"wanted: rank {file.rank}, on no destination"


# ── making room ─────────────────────────────────────────────────────────────────────────────────────────

DISKS_TO_LOOK_AT = 8


def room(round_: Round) -> Iterator[Delete]:
    """Where a wanted file fits nowhere and a source could send it: evict clearly less wanted ones for it.

    A source that began with a smaller file in this round counts as well, or else many small files would keep
    a better one waiting until the disks are full.
    """
    promised = {r.file.name for addr, r in round_.view.reserved.items() if _still_comes(round_, addr, r.file)}
    free_sources = round_.senders - len(promised)
    least_wanted = _least_wanted(round_) if round_.unplaced and free_sources > 0 else []
    for file in round_.unplaced:
        if free_sources <= 0:
            return
        if file.name in promised or not round_.san_answers(file):
            continue
        found = _cheapest_room(round_, file, least_wanted)
        if found is None:
            continue
        if round_.kernel.refuse_file(round_.view, round_.ledger, file) is not None:
            round_.ask_san.append(file)
            continue
        free_sources -= 1
        round_.ledger.book_room(file, found[0].server)
        for deletion in found:
            round_.ledger.book_delete(deletion.file, deletion.server, deletion.kind, for_room=True)
            yield Delete(deletion, _why_room(round_.view, deletion))


def _still_comes(round_: Round, addr: Addr, wanted: File) -> bool:
    """Is the promised room there, being made, or about to show in `/df`?  Where an order for it was dropped
    so that it falls short, it is planned anew; but not while something arrives there, whose bytes both `/df`
    and its task count."""
    orders = round_.view.order_of.values()
    if any(made.server == addr and made.room_for == wanted.name for made in orders):
        return True
    disk = round_.ledger.disks.get(addr)
    return disk is not None and (disk.short_bytes(wanted) == 0 or disk.arriving_bytes > 0)


def _may_be_reserved(disk: DiskBook, wanted: File) -> bool:
    return disk.reserved_for is None or disk.reserved_for.name == wanted.name


def _still_there(round_: Round, addr: Addr) -> Iterator[File]:
    """What may go from `addr`, the least wanted first: not what has gone since the plan was made."""
    holders = round_.view.holders
    return (file for file in round_.shortlist.evictable.get(addr, ()) if addr in holders.get(file.name, ()))


def _least_wanted(round_: Round) -> list[tuple[File, Addr]]:
    """The least wanted file that may go, of each destination whose disk is known; the least wanted first."""
    worst = ((next(_still_there(round_, addr), None), addr) for addr in round_.ledger.disks)
    return sorted(
        ((file, addr) for file, addr in worst if file is not None), key=lambda one: (-one[0].rank, one[1])
    )


def _cheapest_room(
    round_: Round, wanted: File, least_wanted: Iterable[tuple[File, Addr]]
) -> list[Deletion] | None:
    """The victims on that destination whose best one is the least wanted."""
    worth_it = takewhile(lambda one: _worth_asking(round_.view, wanted, one[0]), least_wanted)
    free = (addr for _worst, addr in worth_it if _may_be_reserved(round_.ledger.disks[addr], wanted))
    plans = [plan for addr in islice(free, DISKS_TO_LOOK_AT) if (plan := _victims(round_, wanted, addr))]
    return max(
        plans, key=lambda plan: (plan[-1].file.rank, -sum(d.file.size_bytes for d in plan)), default=None
    )


def _worth_asking(view: ClusterView, wanted: File, worse: File) -> bool:
    """Could this file go for the wanted one at all?  Mostly not: the kernel need not be asked."""
    rank_gap = 100 * worse.rank > (100 + view.rules.room_margin_percent) * wanted.rank
    return rank_gap or wanted.name in view.hits.rising


def _victims(round_: Round, wanted: File, addr: Addr) -> list[Deletion] | None:
    """The least wanted files on `addr` whose going would make the room; None where it cannot be made."""
    ledger, chosen = round_.ledger, list[Deletion]()
    if addr in round_.no_room_there or not _is_enough_worth_less(round_, wanted, addr):
        return None
    for file in _still_there(round_, addr):
        if ledger.disks[addr].short_bytes(wanted) == 0:
            break
        deletion = Deletion(file, addr, DeleteKind.SPACE, room_for=wanted)
        refusal = round_.kernel.refuse_delete(round_.view, ledger, deletion)
        if refusal is None:
            ledger.book_delete(file, addr, DeleteKind.SPACE, for_room=True)
            chosen.append(deletion)
            continue
        round_.refuse("delete", file, addr, refusal, wanted)
        if refusal in _OF_THE_SERVER and not chosen:
            round_.no_room_there.add(addr)
        if refusal.brake or refusal is refusals.NOT_NEEDED:
            break
    enough = ledger.disks[addr].short_bytes(wanted) == 0
    for deletion in chosen:
        ledger.unbook_delete(deletion.file, addr, deletion.kind, for_room=True)
    return chosen if enough and chosen else None


_OF_THE_SERVER = frozenset(
    {refusals.PAUSED, refusals.DELETES_OFF, refusals.SERVER_REFUSES, refusals.METADATA_OLD, refusals.PACE}
)
"""Refusals of one file that hold in this round for every other there."""


def _is_enough_worth_less(round_: Round, wanted: File, addr: Addr) -> bool:
    """Would all that is clearly less wanted there, by rank alone, make the room?  The kernel judges each."""
    disk = round_.ledger.disks[addr]
    if wanted.size_bytes > disk.ceiling_bytes:
        return False
    short_bytes = disk.short_bytes(wanted)
    for file in _still_there(round_, addr):
        if short_bytes <= 0 or not _worth_asking(round_.view, wanted, file):
            break
        short_bytes -= file.size_bytes
    return short_bytes <= 0


def _why_room(view: ClusterView, deletion: Deletion) -> str:
    wanted = deletion.room_for
    assert wanted is not None
    hits = view.hits.rising.get(wanted.name)
    worth = f"rising with {hits} hits" if hits is not None else f"rank {wanted.rank}"
    return f"room: rank {deletion.file.rank} goes for {wanted.name} ({worth}), which fits nowhere"


# ── surplus copies ──────────────────────────────────────────────────────────────────────────────────────

REFUSALS_A_ROUND = 128
"""A round stops after so many refusals: the rest is looked at when something has changed."""
TRIMS_AT_A_TIME = 16
"""Unfinished trims on one server: it carries out two at a time, and each is looked at in every round."""
TRIMS_IN_A_BATCH = 64
"""As many where an old worker keeps the copies: one list of it confirms them all."""
WAITING_FILES_SEEN = 32
"""A round stops after so many files whose servers have enough to do."""


def trims(round_: Round) -> Iterator[Delete]:
    """One copy in the node: of a file on several destinations, all but the best copy go, one at a time."""
    refused = waiting = 0
    for file in round_.shortlist.surplus:
        holders = round_.view.holders.get(file.name)
        if holders is None or len(holders) < 2 or file.name in round_.ledger.busy_files:
            continue
        keeper, *others = by_keeping(round_, file, holders)
        free = [addr for addr in reversed(others) if _may_trim(round_, addr, keeper)]
        waiting += not free
        if waiting >= WAITING_FILES_SEEN:
            return
        refusal = None
        for addr in free:
            deletion = Deletion(file, addr, DeleteKind.SURPLUS, keeper=keeper)
            refusal = round_.kernel.refuse_delete(round_.view, round_.ledger, deletion)
            if refusal is None:
                round_.ledger.book_delete(file, addr, deletion.kind, for_room=False)
                reason = f"surplus: {len(holders)} copies in the node, the one on {keeper} stays"
                yield Delete(deletion, reason)
                break
            round_.refuse("delete", file, addr, refusal)
        refused += refusal not in (None, refusals.SAME_DISK_SUSPECTED)
        if refused >= REFUSALS_A_ROUND:
            return


def _may_trim(round_: Round, addr: Addr, keeper: Addr) -> bool:
    batch = not round_.view.servers[keeper].features.ours
    return round_.ledger.load(addr).unfinished < (TRIMS_IN_A_BATCH if batch else TRIMS_AT_A_TIME)


def by_keeping(round_: Round, file: File, holders: Iterable[Addr]) -> list[Addr]:
    """Holders of a file, the one whose copy stays first."""
    return sorted(holders, key=lambda addr: _by_keeping(round_, file, addr))


def _by_keeping(round_: Round, file: File, addr: Addr) -> tuple[bool, int, int, bool, bool, int, Addr]:
    """The copy that stays comes first: of confirmed size, under its limit, at the address through which its
    disk is used, least projected use."""
    view, disk = round_.view, round_.ledger.disks.get(addr)
    if disk is None:
        return (True, 0, 0, True, True, 0, addr)
    unused = view.used_through(view.servers[addr]) != addr
    return (False, *_doubt(round_, file, addr), disk.over_bytes > 0, unused, disk.projected_percent, addr)


def _doubt(round_: Round, file: File, addr: Addr) -> tuple[int, int]:
    """0: its server confirmed the size; 1: it told none; 2: it has another size there, or nothing, as it said
    at that time: of several bad copies another one is asked about each time, as it may be whole by now."""
    seen = round_.view.copies_seen.get((file.name, addr))
    if seen is None or (seen.value.present and seen.value.size_bytes is None):
        return (1, 0)
    return (0, 0) if seen.value.present and seen.value.size_bytes == file.size_bytes else (2, seen.at_ms)


# ── over the limit ──────────────────────────────────────────────────────────────────────────────────────


def evictions(round_: Round) -> Iterator[Delete]:
    """A destination over its limit is brought back to it, least wanted files first, and no further."""
    for server in round_.view.destinations:
        disk = round_.ledger.disks.get(server.addr)
        if disk is None or not disk.need_bytes:
            continue
        for file in _still_there(round_, server.addr):
            if not disk.need_bytes:
                break
            deletion = Deletion(file, server.addr, DeleteKind.SPACE)
            refusal = round_.kernel.refuse_delete(round_.view, round_.ledger, deletion)
            if refusal is not None:
                round_.refuse("delete", file, server.addr, refusal)
                if (
                    refusal.brake or refusal is refusals.SAN_UNKNOWN
                ):  # no better file goes because of a silence
                    break
                continue
            over_bytes = disk.need_bytes
            round_.ledger.book_delete(file, server.addr, deletion.kind, for_room=False)
            yield Delete(
                deletion,
                f"space: the disk is {over_bytes} bytes over its limit of {disk.limit_percent} %, "
                f"rank {file.rank} is the least wanted there",
            )


Policy = Callable[[Round], Iterator[Proposal]]

POLICIES: tuple[Policy, ...] = (copies, room, trims, evictions)


def run(round_: Round, policies: Iterable[Policy] = POLICIES) -> Round:
    """Decide what to do now; `Round.done` has it in order, each already booked in the ledger."""
    for policy in policies:
        round_.done.extend(policy(round_))
    return round_
