"""The policy of copies: the next wanted files, each to the destination with the most room.

Rising files come first, then the others by rank.  A file that no destination has room for does not hold up
smaller ones after it.  Neighbour: `room` makes room for the files that found none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet

from cfm.model import File, Retry, ServerView
from cfm.plan import refusals
from cfm.plan.outlook import Outlook
from cfm.plan.view import ClusterView, can_send
from cfm.plan.wishes import Place, Way, Wishes

LOOKAHEAD = 4
"""Files beyond those that could start now whose place on the SAN is looked up."""
UNRESTED_SEEN = 256
"""A round stops after so many files that were not looked at twice yet.  (Files that keep changing are in no
list, see `NodeState.left_alone`.)"""
WAITING_WISHED_FOR = 8
"""Of the files that could start if only a source or a destination were free, so many are wished for."""


def copies(outlook: Outlook) -> Wishes:
    """The next wanted files: rising first, then by rank, each where there is most room."""
    waiting, places = 0, Places(outlook)
    looks = {
        refusals.SAN_UNKNOWN: 2 * outlook.senders + LOOKAHEAD,
        refusals.STILL_BEING_WRITTEN: UNRESTED_SEEN,
    }
    busy, placed = outlook.busy_files, outlook.view.holders
    for file in outlook.lists.wanted:
        if file.name in busy or file.name in placed:
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
            places = Places(outlook)
            if not outlook.openings.sources:
                return
        elif answer.refusal in looks and not outlook.view.san_is_silent(file.name):
            looks[answer.refusal] -= 1
            if not looks[answer.refusal]:
                return  # enough are being looked up; the answer starts a new round


class Places:
    """Where copies could begin, the best first; to be made anew when one was granted."""

    def __init__(self, outlook: Outlook) -> None:
        self._outlook, self._view, self._openings = outlook, outlook.view, outlook.openings
        self.largest_open_bytes = self._openings.largest_room_bytes
        self.largest_bytes = outlook.largest_room_bytes
        """Also where copies cannot begin now."""
        self.none_open = not self._openings.destinations
        self._sorted: tuple[list[tuple[ServerView, int]], list[ServerView]] | None = None

    def ways(self, file: File) -> Iterator[Way]:
        """A way to each destination that is open and has room for the file."""
        destinations, sources = self._by_choice()
        found = (to for to, room_bytes in destinations if file.size_bytes <= room_bytes)
        retry = self._view.retries.get(file.name)
        if retry is None:
            for to in found:
                yield _rested(sources, to).addr, to.addr
            return
        for to in sorted(found, key=lambda to: _failed_from_all(sources, to, retry)):
            yield _rested(sources, to, retry.avoid).addr, to.addr

    def _by_choice(self) -> tuple[list[tuple[ServerView, int]], list[ServerView]]:
        """Open destinations and their room: free ones first, then the least projected use, then the least
        recently chosen.  And the sources that may send, the longest rested first."""
        if self._sorted is None:
            disks, load = self._outlook.disks, self._outlook.load
            keyed = [
                (load(to.addr).receives, disks[to.addr].projected_percent, load(to.addr).chosen,
                 to.last_chosen_ms, to.addr, to)
                for to in self._openings.destinations
            ]  # fmt: skip
            keyed.sort(key=lambda one: one[:-1])
            destinations = [(one[-1], disks[one[-1].addr].room_bytes()) for one in keyed]
            sources = sorted(self._openings.sources, key=lambda one: (one.last_chosen_ms, one.addr))
            self._sorted = destinations, sources
        return self._sorted


def _rested(
    sources: Iterable[ServerView], to: ServerView, avoid: AbstractSet[Way] = frozenset()
) -> ServerView:
    """Of the sources that can send there, the longest rested first: another machine than the destination, and
    then a way that did not fail."""
    fit = [source for source in sources if can_send(source, to)]
    good = (one for one in fit if one.addr != to.addr and (one.addr, to.addr) not in avoid)
    if (first := next(good, None)) is not None:
        return first
    return min(fit, key=lambda one: (one.addr == to.addr, (one.addr, to.addr) in avoid))


def _failed_from_all(sources: Iterable[ServerView], to: ServerView, retry: Retry) -> bool:
    """Did copying fail there, from all that may send now?"""
    return all((source.addr, to.addr) in retry.avoid for source in sources if can_send(source, to))


def why(view: ClusterView, file: File) -> str:
    """The reason of a copy, for people."""
    if (hits := view.hits.rising.get(file.name)) is not None:
        return f"rising: {hits} hits in the window, rank {file.rank}, on no destination"
    return f"wanted: rank {file.rank}, on no destination"
