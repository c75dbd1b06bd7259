"""When a full plan is made, and the ordered lists that the last one left behind.

A full plan looks at all files and renews the backlog.  It is made beside the loop, and nothing waits for it.
It is made when something has changed that it looks at, or when half of a list is used up, and never twice
from the same inputs: a node at rest makes none, however large its library.  Neighbours: `core` starts the
plans, `plan.reduce` makes them, `dispatch` works from the lists.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace

from cfm.backoff import Backoff
from cfm.controller.decide import dispatch
from cfm.controller.decide.books import HitBook
from cfm.controller.decide.state import NodeState
from cfm.model import Addr, File, Hits, Known, Names, Now, host_of
from cfm.plan.ledger import Ledger
from cfm.plan.round import Round
from cfm.plan.shortlist import NOTHING_LISTED, PlanInputs, Shortlist
from cfm.revision import Revision

FIRST_LOOK_MS = 2_000
"""The first plan waits so long for what the destinations hold.  Until then nothing may be copied, and a plan
that knows neither their files nor their room lists the wrong files."""
PLAN_PAUSE_MS = 500
"""The least pause between two full plans; after a slow one the pause is as long as it took."""
FAILED_PAUSES = Backoff(first_ms=1_000, longest_ms=600_000)
"""The pauses after a plan that ended by an error."""
PLACED_IN_BETWEEN = 32
"""After so many new copies, the wanted files that are placed are left out of the lists."""
EVICTABLE_AT_MOST = 4_096
"""Candidates for eviction that a plan lists, over all destinations."""


class Planning:
    """The plans of one node."""

    def __init__(self, revision: Revision, now_ms: int) -> None:
        self.shortlist = NOTHING_LISTED
        self.running = False
        """A full plan is being made."""
        self._revision = revision
        self._revision_seen = -1
        """The counter for plans when the last plan was made."""
        self._inputs: PlanInputs | None = None
        """What the last plan was made of."""
        self._not_before_ms = now_ms
        self._looks_until_ms = now_ms + FIRST_LOOK_MS
        """Until then no plan begins."""
        self._failures = 0
        """Plans in a row that ended by an error."""
        self._began_ms = now_ms
        self._took_ms = 0
        self._started = 0
        """Copies that were started since the last plan."""
        self._evicted: Counter[Addr] = Counter()
        """Deletes for room or space that were ordered since then."""
        self._smallest_bytes = 0
        """The size of the smallest wanted file."""
        self._none_fits = False
        """There is room, and no file of the list fits into it."""
        self._backlog: tuple[Shortlist, Hits, tuple[File, ...], Shortlist] | None = None
        """A plan's lists, the hits and the rising files, and what came of them."""
        self._not_placed = NotPlaced()

    # ── the lists ───────────────────────────────────────────────────────────────────────────────────────

    def backlog(self, state: NodeState) -> Shortlist:
        """The last plan's lists with the files that rise now put first.

        Most files are left out that were placed since.
        """
        return self._not_placed.of(self._with_rising_first(state.popular), state)

    def _with_rising_first(self, popular: HitBook) -> Shortlist:
        hits, rising_files = popular.hits, popular.rising_files
        if not rising_files:
            return self.shortlist
        if self._backlog is not None:
            lists, hits_then, files_then, made = self._backlog
            if lists is self.shortlist and hits_then is hits and files_then is rising_files:
                return made
        made = _rising_first(self.shortlist, hits, rising_files)
        self._backlog = self.shortlist, hits, rising_files, made
        return made

    def take(self, shortlist: Shortlist) -> None:
        """These lists are in force from now on."""
        if shortlist != self.shortlist:
            self.shortlist = shortlist
            self._smallest_bytes = min((file.size_bytes for file in shortlist.wanted), default=0)
            self._revision.dispatch += 1

    def used(self, round_: Round) -> None:
        """A round took from the lists."""
        self.looked(round_)
        self._started += dispatch.started(round_)
        self._evicted.update(dispatch.evicted(round_))
        room_bytes = round_.ledger.largest_room_bytes()
        self._none_fits = 0 < room_bytes < self._smallest_bytes and self._room_changed(room_bytes)

    def looked(self, round_: Round) -> None:
        """A round knew what the destinations hold, as far as they say it, or did not."""
        if not round_.view.first_look:
            self._looks_until_ms = 0

    def _room_changed(self, room_bytes: int) -> bool:
        return self._inputs is None or self._inputs.largest_room_bytes != room_bytes

    def _is_used_up(self) -> bool:
        """Has half of a list that may go on been chosen, or does nothing of it fit any more?"""
        evictable = self.shortlist.evictable
        return (
            self._none_fits
            or self._started > len(self.shortlist.wanted) // 2
            or any(number > len(evictable.get(addr, ())) // 2 for addr, number in self._evicted.items())
        )

    @property
    def planned_lists(self) -> Mapping[Addr, Names]:
        """The lists of the servers that the last plan was made of."""
        return self._inputs.listings if self._inputs is not None else {}

    @property
    def knew_absent(self) -> Iterable[str]:
        """Files of which the last plan knew that the SAN does not have them."""
        return self._inputs.found_bytes if self._inputs is not None else ()

    # ── the plans ───────────────────────────────────────────────────────────────────────────────────────

    @property
    def is_outdated(self) -> bool:
        """Has something changed since the last plan began?"""
        return self._revision.plan != self._revision_seen

    @property
    def is_wanted(self) -> bool:
        """Has something changed, or is the backlog used up?"""
        return not self.running and (self.is_outdated or (self.shortlist.cut and self._is_used_up()))

    @property
    def next_ms(self) -> int | None:
        """When a plan may begin, where one is wanted."""
        return max(self._not_before_ms, self._looks_until_ms) if self.is_wanted else None

    def is_due(self, now: Now) -> bool:
        due_ms = self.next_ms
        return due_ms is not None and now.mono_ms >= due_ms

    def begin(self, inputs: PlanInputs, now: Now) -> bool:
        """Make a plan of these inputs?  False where it would say the same as the last one.

        An index of the SAN that was made anew counts as another one: it is too long to be compared here.
        """
        self._revision_seen = self._revision.plan
        self._started, self._none_fits = 0, False
        self._evicted.clear()
        last = self._inputs
        if last is not None and inputs.on_san is last.on_san and inputs == last:
            self._not_before_ms = now.mono_ms + PLAN_PAUSE_MS
            return False
        self._inputs, self.running, self._began_ms = inputs, True, now.mono_ms
        return True

    def lasting_ms(self, now: Now) -> int:
        """How long the last plan took; or the one that is being made, where it takes longer."""
        return max(self._took_ms, now.mono_ms - self._began_ms if self.running else 0)

    def ended(self, took_ms: int, now: Now) -> None:
        self.running = False
        self._failures, self._took_ms = 0, took_ms
        self._not_before_ms = now.mono_ms + max(PLAN_PAUSE_MS, took_ms)

    def failed(self, took_ms: int, now: Now) -> None:
        """A plan ended by an error.  The lists stay as they are, and the next plan comes after a pause."""
        self.running = False
        self._failures += 1
        self._inputs, self._revision_seen = None, -1
        self._not_before_ms = now.mono_ms + max(FAILED_PAUSES.pause_ms(self._failures), took_ms)

    def metadata_changed(self, now: Now, *, was_too_old: bool) -> None:
        """New metadata came into force: the next plan need not wait.

        Until it is made, the old lists go on for copies and for surplus copies.  But nothing is evicted by
        old ranks.  And where nothing might be deleted by the old metadata, nothing is deleted by what was
        made of it either.
        """
        self._not_before_ms = now.mono_ms
        surplus = () if was_too_old else self.shortlist.surplus
        self.shortlist = replace(self.shortlist, surplus=surplus, evictable={})

    def san_is_back(self) -> None:
        """The lists lack what was left alone while the source folders were silent."""
        self.shortlist = replace(self.shortlist, evictable={})
        self._inputs = None


class NotPlaced:
    """Lists without the wanted files that have been placed since the plan.

    Each round goes through the wanted files, and the best of them are placed first: a round would pass over
    up to 2,000 files to come to the first that it can copy.
    """

    def __init__(self) -> None:
        self._lists = self._shown = NOTHING_LISTED
        self._changes, self._gains = -1, 0

    def of(self, lists: Shortlist, state: NodeState) -> Shortlist:
        """All files of the lists that are not placed, and at most `PLACED_IN_BETWEEN` others."""
        holders = state.fleet.holders
        changes = holders.losses + state.versions.changes
        has_lost = lists is not self._lists or changes != self._changes
        if has_lost or holders.gains - self._gains > PLACED_IN_BETWEEN:
            among = lists if has_lost else self._shown
            wanted = tuple(file for file in among.wanted if not state.is_placed(file.name))
            self._lists, self._shown = lists, replace(among, wanted=wanted)
            self._changes, self._gains = changes, holders.gains
        return self._shown


def _rising_first(lists: Shortlist, hits: Hits, rising_files: tuple[File, ...]) -> Shortlist:
    first = sorted(rising_files, key=lambda file: (-hits.rising.get(file.name, 0), file.rank))
    names = {file.name for file in first}
    rest = (file for file in lists.wanted if file.name not in names)
    return replace(lists, wanted=(*first, *rest))


def plan_inputs(state: NodeState, now: Now) -> PlanInputs:
    """The world beside the metadata, as the reductions want it."""
    assert state.snapshot is not None
    view = state.view(now)
    ledger = Ledger(view)
    young: dict[Addr, set[str]] = {}
    for name, addr in state.arrivals.arrived_ms:
        young.setdefault(addr, set()).add(name)
    return PlanInputs(
        snapshot_id=state.snapshot.id,
        listings={
            **{
                s.addr: s.files.value
                for s in view.destinations
                if isinstance(s.files, Known) and not s.san.originals
            },
            **{s.addr: s.last_list for s in view.doubtful if s.last_list is not None},
        },
        unlisted_ips=frozenset(host_of(s.addr) for s in view.doubtful if s.last_list is None),
        rising=state.hits.rising,
        # What could not be deleted a moment ago does not go for room; a surplus copy of it is still one.
        watched=frozenset().union(
            state.hits.watched,
            state.unknown_hits.last if state.unknown_hits else (),
            state.pauses.names(now.mono_ms),
        ),
        young={addr: frozenset(names) for addr, names in young.items()},
        ad_prefixes=state.rules.ad_prefixes,
        # Not the files in tasks and orders: one that comes to nothing must be in its place at once.
        left_alone=frozenset(
            [*state.left_alone_after_failures(now), *state.being_written(now), *state.san.silence.names]
        ),
        on_san=state.san.index,
        found_bytes=state.absences.found_bytes,
        departed={name: departure.file.rank for name, departure in state.departures.left.items()},
        room_margin_percent=state.rules.room_margin_percent,
        max_evictable=max(16, min(64, EVICTABLE_AT_MOST // max(1, len(view.destinations)))),
        stale=state.versions.everywhere(state.fleet.holders),
        largest_room_bytes=ledger.largest_room_bytes(),
        largest_disk_bytes=ledger.largest_disk_bytes(),
    )
