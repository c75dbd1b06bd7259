"""The policy of copies: the next wanted files, each to the destination with the most room.

Rising files come first, then the others by rank.  A file that no destination has room for does not hold up
smaller ones after it.  Neighbours: `room` makes room for the files that found none; `trials` tries the
destinations whose failures cost much time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

from cfm.model import NOBODY, File, Retry, ServerView, Side, Way, sides_of
from cfm.plan import refusals
from cfm.plan.outlook import Openings, Outlook
from cfm.plan.refusals import Refusal
from cfm.plan.view import ClusterView, can_send
from cfm.plan.wishes import Place, Wishes

LOOKAHEAD = 4
"""Files beyond those that could start now whose place on the SAN is looked up."""
UNRESTED_SEEN = 256
"""How many files that were not looked at twice yet a round sees before it stops.  (Files that keep changing
are in no list, see `PlanInputs.left_alone`.)"""
PLACES_TRIED = 16
"""How many destinations are tried for a file where copies have failed lately."""
DEEPEST = 7
"""This trial passes over 4,095 files: the list has hardly more."""
WAITING_WISHED_FOR = 8
"""How many files are wished for that could start if only a source or a destination were free, or if each
destination were looked at.  To wish for 4,096 of them took 18 ms at each decision while a node starts."""


def copies(outlook: Outlook) -> Wishes:
    """The next wanted files: rising first, then by rank, each where there is most room."""
    waiting, places = 0, Places(outlook, outlook.openings)
    looks = _most_waiting(outlook)
    busy, view = outlook.busy_files, outlook.view
    for file in in_turn(outlook.lists.wanted, places):
        if file.name in busy or view.is_placed(file.name):
            continue  # it is on its way, or there, since the plan was made
        if file.size_bytes > places.largest_open_bytes:
            waits = places.none_open or file.size_bytes <= places.largest_bytes
            waiting += waits
            if waiting <= WAITING_WISHED_FOR or not waits:
                yield Place(file, why(outlook.view, file))
            elif places.none_open:
                return
            continue
        answer = yield Place(file, why(outlook.view, file), places.ways(file))
        if answer is None:
            places = Places(outlook, outlook.openings)
            if not outlook.openings.sources:
                return
        elif answer.refusal in looks and not outlook.view.san_is_silent(file.name):
            looks[answer.refusal] -= 1
            if not looks[answer.refusal]:
                return


def _most_waiting(outlook: Outlook) -> dict[Refusal, int]:
    """After how many files that wait for an answer a round stops: the answer starts a new one."""
    most = {
        refusals.SAN_UNKNOWN: 2 * outlook.senders + LOOKAHEAD,
        refusals.STILL_BEING_WRITTEN: UNRESTED_SEEN,
    }
    return most | {refusals.HOLDER_UNKNOWN: WAITING_WISHED_FOR} if outlook.view.first_look else most


def in_turn(files: Iterable[File], places: Places) -> Iterator[File]:
    """The files in the order in which they are tried.

    Where copies fail, a file that has failed there comes after all others.  Where only a trial may begin, a
    file that has failed anywhere comes late, and each further trial begins elsewhere in the list: bad files
    of the best ranks would otherwise be all trials of a good server.
    """
    trial = places.trial()
    if not trial:
        failed = list[File]()
        for file in files:
            if places.only_where_it_failed(file):
                failed.append(file)
            else:
                yield file
        yield from failed
        return
    clean, elsewhere, everywhere = by_evidence = list[File](), list[File](), list[File]()
    for file in files:
        by_evidence[places.evidence_against(file)].append(file)
    begin = _begin_of_trial(trial, len(clean))
    yield from (*clean[begin:], *clean[:begin], *elsewhere, *everywhere)


def _begin_of_trial(trial: int, number: int) -> int:
    """At which of so many files a trial begins: a little deeper each time, and then at any place."""
    if not number:
        return 0
    depth: int = 4 ** (trial - 1) - 1 if trial <= DEEPEST else number
    return depth if depth < number else trial * number * 618 // 1000 % number


class Places:
    """Where copies could begin, the best first; to be made anew when one was granted."""

    def __init__(self, outlook: Outlook, openings: Openings) -> None:
        self._outlook, self._view, self._openings = outlook, outlook.view, openings
        self.largest_open_bytes = self._openings.largest_room_bytes
        self.largest_bytes = outlook.largest_room_bytes
        """Also where copies cannot begin now."""
        self.none_open = not self._openings.destinations
        self._sorted: tuple[list[tuple[ServerView, int]], list[ServerView]] | None = None

    def ways(self, file: File) -> Iterator[Way]:
        """A way to each destination that is open and has room for the file.  Where copies have failed lately,
        all ways to the first of them: those on which nothing failed come first."""
        view = self._view
        destinations, sources = self._by_choice()
        found = (to for to, room_bytes in destinations if file.size_bytes <= room_bytes)
        retry = view.retries.get(file.name)
        if retry is None and not view.pauses and not view.suspects:
            for to in found:
                yield _rested(sources, to).addr, to.addr
            return
        yield from sorted(
            _all_ways(sources, islice(found, PLACES_TRIED)),
            key=lambda way: _doubts(view, retry or Retry(), way),
        )

    def only_where_it_failed(self, file: File) -> bool:
        """Does each way lead over a server or a pair that is to blame, and where the file failed as well?"""
        view, retry = self._view, self._view.retries.get(file.name)
        if retry is None or not retry.avoid or not view.pauses:
            return False
        tried = {side for way in retry.avoid for side in sides_of(way) if side in view.pauses}
        return bool(tried) and all(not tried.isdisjoint(sides_of(way)) for way in self.ways(file))

    def evidence_against(self, file: File) -> int:
        """Has it failed nowhere, elsewhere, or on each way that there is now?"""
        retry = self._view.retries.get(file.name)
        if retry is None or not retry.avoid:
            return 0
        return 2 if self.only_where_it_failed(file) else 1

    def trial(self) -> int:
        """The number of the trial that may begin; 0 where more than a trial may."""
        sources = [Side(source=one.addr) for one in self._openings.sources]
        destinations = [Side(destination=one.addr) for one in self._openings.destinations]
        return max(min(map(self._failures, ends), default=0) for ends in (sources, destinations))

    def _failures(self, side: Side) -> int:
        pause = self._view.pauses.get(side)
        return pause.failures if pause is not None else 0

    def _by_choice(self) -> tuple[list[tuple[ServerView, int]], list[ServerView]]:
        """Open destinations and their room: those where nothing failed first, of them those that ask for
        work, then the free ones, then the least projected use, then the least recently chosen.  And the
        sources that may send: those where nothing failed first, of them the longest rested."""
        if self._sorted is None:
            disks, load, doubted = self._outlook.disks, self._outlook.load, self._view.is_doubted
            asks = self._view.asks
            keyed = [
                (doubted(Side(destination=to.addr)), not asks(to.addr), load(to.addr).receives,
                 disks[to.addr].projected_percent, load(to.addr).chosen, to.last_chosen_ms, to.addr, to)
                for to in self._openings.destinations
            ]  # fmt: skip
            keyed.sort(key=lambda one: one[:-1])
            destinations = [(one[-1], disks[one[-1].addr].room_bytes()) for one in keyed]
            sources = sorted(
                self._openings.sources,
                key=lambda one: (doubted(Side(source=one.addr)), one.last_chosen_ms, one.addr),
            )
            self._sorted = destinations, sources
        return self._sorted


def _rested(sources: Iterable[ServerView], to: ServerView) -> ServerView:
    """Of the sources that can send there, the longest rested first; the destination itself last."""
    fit = [source for source in sources if can_send(source, to)]
    return next((source for source in fit if source.addr != to.addr), fit[0])


def _all_ways(sources: Iterable[ServerView], places: Iterable[ServerView]) -> Iterator[Way]:
    """All ways to these destinations, in their order and that of the sources."""
    for to in places:
        yield from ((source.addr, to.addr) for source in sources if can_send(source, to))


def _doubts(view: ClusterView, retry: Retry, way: Way) -> tuple[bool, bool, bool, int, bool]:
    """What speaks against a way: the file fails, and an old worker would tell so late; it failed on this way;
    source and destination are one machine; copies of others failed at its ends, or on it; it failed once, and
    an old worker would tell late that it fails again."""
    source, destination = way
    tells_late = not view.servers[destination].features.ours
    doubted = sum(view.is_doubted(side) for side in sides_of(way))
    return (
        tells_late and retry.failures > 1,
        way in retry.avoid,
        source == destination,
        doubted,
        tells_late and bool(retry.avoid),
    )


def why(view: ClusterView, file: File) -> str:
    """The reason of a copy, for people."""
    where = "stale on each destination" if view.holders.get(file.name, NOBODY) else "on no destination"
    if (hits := view.hits.rising.get(file.name)) is not None:
        return f"rising: {hits} hits in the window, rank {file.rank}, {where}"
    return f"wanted: rank {file.rank}, {where}"
