"""The memory of failures: who is to blame for a failed copy, and how long it is left alone.  Pure.

A failed copy speaks against its file, its source, its destination, and the pair of both.  One failure
alone does not tell which it was.  So after its first failure a file is tried elsewhere at once, and this
decides:

    the file fails there too                              → the file is to blame, and whom it accused is not
    several files failed from one source, to two destinations,
    and nothing arrived from it in between                → the source is to blame
    the same at one destination, from two sources         → the destination is to blame
    several files failed on one pair                      → the pair is to blame; the server at one end, where
                                                            the node has no other server of its role

Who is to blame gets a pause that grows with each further failure, and stays short where all servers of a role
are in pause.  After it one task alone is tried; one success clears everything.  A failure that cost a source
much time also *spares* it for much longer: nothing is tried there while another server could do it.  A file
is not charged for what a server is to blame for.

Neighbours: `controller.decide.copying` tells what happened, `plan.pauses` keeps to the pauses, `store` keeps
them over a restart.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from cfm.backoff import Backoff
from cfm.model import Addr, Names, Now, Pause, Retry, Side, Way, sides_of
from cfm.revision import Revision
from cfm.tasks.store import DropPause, PutPause

FILE_PAUSE = Backoff(first_ms=10_000, longest_ms=1_800_000)
SIDE_PAUSE = Backoff(first_ms=10_000, longest_ms=1_200_000)
VANISH_PAUSE = Backoff(first_ms=60_000, longest_ms=1_200_000)
"""Where copies vanish, each trial is a whole copy in vain."""
LAST_PAUSE_MS = 120_000
"""The longest pause of a server while all others of its role are in pause as well.  Nothing is copied then,
and perhaps it is the files that fail."""
BUSY_PAUSE = Backoff(first_ms=1_000, longest_ms=120_000)
ENOUGH_FILES, ENOUGH_DEAR_FILES = 3, 2
"""How many files must have failed at a server before it is to blame; fewer where a failure was dear."""
DEAR_MS, SPARED_TIMES, SPARED_AT_MOST_MS = 20_000, 60, 4 * 3_600_000
"""A failure that took so long is dear.  It spares its side for so many times as long, twice
as long after each further one."""
STAYS_MS = 300_000
"""A copy that is still listed so long after its arrival has stayed."""
PLACE_REMEMBERED_MS = 86_400_000
"""A file whose copy vanished from a server is not copied there for so long."""
BAD_FILE_FROM, BAD_FILE_REMEMBERED_MS = 3, 6 * 3_600_000
"""From so many failures on, a file is kept over a restart, and remembered for so long after its pause."""


class Blame(enum.Enum):
    """Whom the end of a task speaks against."""

    UNCLEAR = "unclear"
    SOURCE = "source"
    DESTINATION = "destination"
    FILE = "file"


class Failing(NamedTuple):
    """One failure."""

    at_ms: int
    why: str
    cost_ms: int

    @property
    def dear(self) -> bool:
        """Did it take long?"""
        return self.cost_ms >= DEAR_MS


class Accusation(NamedTuple):
    """A file failed: that speaks against both ends of these ways."""

    ways: frozenset[Way]
    first: Failing


class Vanished(NamedTuple):
    """What a new list says about the copies that we brought to a server."""

    names: tuple[str, ...] = ()
    """They had arrived there, and are gone without an order of ours."""
    stayed: bool = False
    """Another one has stayed."""


@dataclass(slots=True)
class FailureBook:
    """Failures of files, servers and pairs since their last success, and the pauses that follow."""

    sources: tuple[Addr, ...] = ()
    destinations: tuple[Addr, ...] = ()
    revision: Revision = field(default_factory=Revision)
    retries: dict[str, Retry] = field(default_factory=dict)
    """Files whose copies failed."""
    pauses: dict[Side, Pause] = field(default_factory=dict)
    """Servers and pairs that are to blame.  They stay here after their pause, until something arrives."""
    busy: dict[Addr, int] = field(default_factory=dict)
    """How often in a row a source said that it serves others."""
    accusers: dict[Side, dict[str, Accusation]] = field(default_factory=dict)
    """Servers and pairs that failures speak against, and the files that failed there."""
    _history: dict[str, dict[Way, Failing]] = field(default_factory=dict)
    """The failures of files that have not arrived since.  Those that a pause explained are left out."""
    _losers: dict[Addr, set[str]] = field(default_factory=dict)
    """Destinations from which copies vanished, and the files; until a copy has stayed there."""
    watched: set[Addr] = field(default_factory=set)
    """Some of these have got a new copy: it must stay, before they get another one."""
    _came: dict[tuple[str, Addr], tuple[int, int]] = field(default_factory=dict)
    """Copies of ours that arrived lately: when, and how long they had held their sources."""
    _touched: dict[Side | str, None] = field(default_factory=dict)
    _stored: set[Side | str] = field(default_factory=set)

    # ── what happened ───────────────────────────────────────────────────────────────────────────────────

    def failed(
        self,
        name: str,
        way: Way,
        now_ms: int,
        why: str = "",
        *,
        blame: Blame = Blame.UNCLEAR,
        sure: bool = False,
        cost_ms: int = 0,
    ) -> None:
        """A copy failed.  `sure`: there is no doubt that the server named by `blame` is the cause."""
        sides = _sides(way, blame)
        self.revision.dispatch += 1  # there is another moment at which something may be tried again
        tried = [side for side in sides if side in self.pauses]
        failed_before = name in self.retries
        failure = Failing(now_ms, why, cost_ms)
        if blame in (Blame.UNCLEAR, Blame.FILE):
            self._avoid(name, way, now_ms, charge=int(not tried))
        bad_file = blame in (Blame.UNCLEAR, Blame.FILE) and self.retries[name].failures > 1
        for side in () if bad_file else tried:
            self._pause_again(side, now_ms, why, cost_ms)
        if any(not _is_pair(side) for side in tried):
            return  # that explains it: it speaks against nobody else, now or later
        if blame is Blame.UNCLEAR:
            self._history.setdefault(name, {})[way] = failure
        if (failed_before and blame is Blame.UNCLEAR) or blame is Blame.FILE:
            self._acquit(name, way)
        open_ = [side for side in sides if side not in tried]
        newly = not failed_before or blame is not Blame.UNCLEAR
        self._accuse(name, way, open_, failure, newly=newly)
        guilty = sides[0] if sure else self._guilty(open_)
        if guilty is not None:
            self._release(guilty)
            self._pause(guilty, 1, now_ms, why, cost_ms, now_ms)

    def succeeded(self, name: str, way: Way, now_ms: int, *, cost_ms: int = 0, verified: bool = True) -> None:
        """A copy arrived.  Where copies have vanished, it counts only when it has stayed.

        `verified`: its worker knows that it is the whole file.  Otherwise only a name was seen.
        """
        self._came[name, way[1]] = now_ms, cost_ms
        self.busy.pop(way[0], None)
        self._by_exclusion(name, way, now_ms)
        self._forget_file(name)
        for side in _sides(way, Blame.UNCLEAR):
            if side.destination in self._losers and not side.source:
                self._watch(side, now_ms)
            elif verified or not self._failed_elsewhere(side, way[1]):
                self._clear(side)

    def _failed_elsewhere(self, side: Side, destination: Addr) -> bool:
        """Is it a source from which copies failed at other destinations, and at this one none?"""
        if _is_pair(side) or not side.source:
            return False
        accusations = self.accusers.get(side, {}).values()
        failed_at = {to for accusation in accusations for _from, to in accusation.ways}
        return bool(failed_at) and destination not in failed_at

    def source_is_busy(self, addr: Addr) -> int:
        """A source said that it serves others.  Returns the least pause (ms) before it is asked again."""
        self.busy[addr] = self.busy.get(addr, 0) + 1
        return BUSY_PAUSE.pause_ms(self.busy[addr])

    def listed(self, addr: Addr, names: Names, asked_ms: int, now_ms: int) -> Vanished:
        """A list of a destination came that was asked for at `asked_ms`: are our copies still there?"""
        came = {name: at for (name, where), at in self._came.items() if where == addr and at[0] < asked_ms}
        gone = tuple(sorted(name for name in came if name not in names))
        for name in gone:
            self._lost(name, addr, self._came.pop((name, addr))[1], now_ms)
        stayed = any(name in names and asked_ms - ms >= STAYS_MS for name, (ms, _cost_ms) in came.items())
        if stayed and not gone and addr in self._losers:
            del self._losers[addr]
            self._clear(Side(destination=addr))
        return Vanished(gone, stayed)

    def unlisted(self, addr: Addr, asked_ms: int) -> int:
        """How many copies have arrived there since the list that was asked for at `asked_ms`."""
        return sum(where == addr and at[0] >= asked_ms for (_name, where), at in self._came.items())

    def ordered_away(self, name: str, addr: Addr) -> None:
        """We order that a copy goes.  From now on it may be gone, whatever its server answers; then it has
        not vanished."""
        self._came.pop((name, addr), None)

    def restarted(self, addr: Addr, now_ms: int) -> None:
        """A server was restarted, and has perhaps been repaired.  Its pauses and those of its pairs end, and
        are not forgotten."""
        for side, pause in list(self.pauses.items()):
            if addr in side and pause.ends_ms > now_ms:
                self._put(side, pause._replace(until_ms=now_ms, spared_until_ms=now_ms))
                self.revision.dispatch += 1

    # ── who is to blame ─────────────────────────────────────────────────────────────────────────────────

    def _accuse(self, name: str, way: Way, sides: Iterable[Side], failure: Failing, *, newly: bool) -> None:
        """A failure speaks against these sides.  That of a file which failed before, elsewhere, does not."""
        for side in sides:
            before = self.accusers.get(side, {}).get(name)
            if before is not None:
                self.accusers[side][name] = before._replace(ways=before.ways | {way})
            elif newly:
                self.accusers.setdefault(side, {})[name] = Accusation(frozenset({way}), failure)

    def _guilty(self, sides: Iterable[Side]) -> Side | None:
        """Who explains the failures, if the evidence is enough."""
        for side in sides:
            files = self.accusers.get(side, {})
            if not _are_enough(files):
                continue
            if _is_pair(side):
                return self._end_of(side)
            ways = frozenset[Way]().union(*(accusation.ways for accusation in files.values()))
            if len({way[1] if side.source else way[0] for way in ways}) > 1:
                return side
        return None

    def _by_exclusion(self, name: str, way: Way, now_ms: int) -> None:
        """A file has arrived: so it is not to blame for its failures on other ways, and neither is the end
        that they share with this way.  Where a failure was dear, that is evidence enough."""
        for failed, failure in self._history.pop(name, {}).items():
            if failed == way:
                continue
            if failed[0] == way[0]:
                side = Side(destination=failed[1])
            elif failed[1] == way[1]:
                side = Side(source=failed[0])
            else:
                side = Side(*failed)
            if side in self.pauses:
                continue
            self.accusers.setdefault(side, {})[name] = Accusation(frozenset({failed}), failure)
            if failure.dear:
                self._pause(side, 1, now_ms, failure.why, failure.cost_ms, failure.at_ms)

    def _end_of(self, pair: Side) -> Side:
        """A pair whose one end is the only server of its role: then it is the other end that matters."""
        if len(self.sources) == 1 and len(self.destinations) > 1:
            return Side(destination=pair.destination)
        if len(self.destinations) == 1 and len(self.sources) > 1:
            return Side(source=pair.source)
        return pair

    def _release(self, guilty: Side) -> None:
        """A server or a pair is to blame: what failed there alone is not charged for it."""
        if not _is_pair(guilty):
            for side in [side for side in self.pauses if side != guilty and _is_on(guilty, side)]:
                self._clear(side)
        for name in self.accusers.get(guilty, ()):
            retry = self.retries.get(name)
            if retry is not None and all(_is_on(guilty, way) for way in retry.avoid):
                self.retries[name] = retry._replace(failures=0)
                self._touched[name] = None

    def _acquit(self, name: str, way: Way) -> None:
        """A file that failed before fails elsewhere too: whom it accused there is not to blame for it."""
        now_here = _sides(way, Blame.UNCLEAR)
        there = [side for side, files in self.accusers.items() if name in files and side not in now_here]
        self._accuse_no_more(name, there)
        for side in there:
            enough = _are_enough(self.accusers.get(side, {}))
            if side in self.pauses and self.pauses[side].failures == 1 and not enough:
                self._clear(side)

    def _accuse_no_more(self, name: str, sides: Iterable[Side]) -> None:
        for side in sides:
            files = self.accusers[side]
            files.pop(name, None)
            if not files:
                del self.accusers[side]

    def _lost(self, name: str, addr: Addr, cost_ms: int, now_ms: int) -> None:
        """A copy vanished.  Where two have, the place is to blame; at two places, the file is."""
        retry = self.retries.get(name, Retry())
        vanished = {**retry.vanished, addr: now_ms + PLACE_REMEMBERED_MS}
        charge = int(len(vanished) > 1)
        self._avoid(name, (Addr(""), addr), now_ms, charge=charge)
        self.retries[name] = self.retries[name]._replace(vanished=vanished)
        self._losers.setdefault(addr, set()).add(name)
        self.revision.dispatch += 1
        side = Side(destination=addr)
        last = self.pauses.get(side)
        if last is not None and (addr in self.watched or last.why != _VANISHES):
            self._pause(side, last.failures + 1, now_ms, _VANISHES, cost_ms, last.since_ms)
        elif last is None and len(self._losers[addr]) >= ENOUGH_DEAR_FILES:
            self._pause(side, 1, now_ms, _VANISHES, cost_ms, now_ms)
        self.watched.discard(addr)

    # ── pauses ──────────────────────────────────────────────────────────────────────────────────────────

    def _pause(self, side: Side, failures: int, now_ms: int, why: str, cost_ms: int, since_ms: int) -> None:
        growing = VANISH_PAUSE if why == _VANISHES else SIDE_PAUSE
        until_ms = spared_ms = now_ms + growing.pause_ms(failures)
        if why != _VANISHES and self._is_the_last(side):
            until_ms = spared_ms = min(until_ms, now_ms + LAST_PAUSE_MS)
        if cost_ms >= DEAR_MS:
            grown_ms = SPARED_TIMES * cost_ms * 2 ** min(failures - 1, 10)
            spared_ms = max(until_ms, now_ms + min(grown_ms, SPARED_AT_MOST_MS))
        self._put(side, Pause(failures, until_ms, spared_ms, since_ms, why))
        self.revision.plan += 1

    def _is_the_last(self, side: Side) -> bool:
        """Are all other servers of its role in pause?"""
        sources = [Side(source=addr) for addr in self.sources]
        destinations = [Side(destination=addr) for addr in self.destinations]
        roles = sources if side in sources else destinations
        return side in roles and all(one == side or one in self.pauses for one in roles)

    def _pause_again(self, side: Side, now_ms: int, why: str, cost_ms: int) -> None:
        """A trial failed.  What began before the pause says nothing new."""
        last = self.pauses[side]
        if now_ms >= last.until_ms:
            self._pause(side, last.failures + 1, now_ms, why, cost_ms, last.since_ms)

    def _watch(self, side: Side, now_ms: int) -> None:
        """A copy arrived where copies have vanished.  Nothing else is tried until it has stayed."""
        pause = self.pauses.get(side)
        if pause is not None:
            until_ms = max(pause.until_ms, now_ms + STAYS_MS)
            self._put(side, pause._replace(until_ms=until_ms, spared_until_ms=until_ms))
            self.watched.add(side.destination)

    def _avoid(self, name: str, way: Way, now_ms: int, *, charge: int) -> None:
        """Leave this way out for the file, and after a second failure the whole file."""
        last = self.retries.get(name, Retry())
        failures = last.failures + charge
        pause_ms = FILE_PAUSE.pause_ms(max(1, failures))
        ways = last.avoid | {way} if way[0] else last.avoid
        self.retries[name] = last._replace(failures=failures, not_before_ms=now_ms + pause_ms, avoid=ways)
        self._touched[name] = None

    def _put(self, side: Side, pause: Pause) -> None:
        self.pauses[side] = pause
        self._touched[side] = None

    def _clear(self, side: Side) -> None:
        self.accusers.pop(side, None)
        if not _is_pair(side):
            self.watched.discard(side.destination)
        if self.pauses.pop(side, None) is not None:
            self._touched[side] = None
            self.revision.dispatch += 1
            self.revision.plan += 1

    def _forget_file(self, name: str) -> None:
        last = self.retries.pop(name, None)
        if last is not None:
            if last.vanished:  # it stays away from there, wherever else it has arrived
                self.retries[name] = Retry(vanished=last.vanished)
            self._touched[name] = None
            self.revision.dispatch += 1

    # ── time ────────────────────────────────────────────────────────────────────────────────────────────

    def next_file_due_ms(self, now_ms: int) -> int | None:
        """When the next file may be tried again."""
        waiting = (retry.not_before_ms for retry in self.retries.values() if retry.not_before_ms > now_ms)
        return min(waiting, default=None)

    def next_side_due_ms(self, now_ms: int) -> int | None:
        """When the next server or pair may be tried again."""
        moments = (ms for pause in self.pauses.values() for ms in (pause.until_ms, pause.spared_until_ms))
        return min((ms for ms in moments if ms > now_ms), default=None)

    def forget_old(self, now_ms: int) -> None:
        """Forget what ended long ago and was not tried since, so that the book stays small."""
        long_ago_ms = now_ms - 2 * FILE_PAUSE.longest_ms
        for name, retry in list(self.retries.items()):
            lasting = {addr: until_ms for addr, until_ms in retry.vanished.items() if until_ms > now_ms}
            waited_ms = (
                BAD_FILE_REMEMBERED_MS if retry.failures >= BAD_FILE_FROM else 2 * FILE_PAUSE.longest_ms
            )
            if retry.not_before_ms <= now_ms - waited_ms and not lasting:
                del self.retries[name]
                self._history.pop(name, None)
                self._touched[name] = None
        for side in [side for side, pause in self.pauses.items() if pause.ends_ms <= long_ago_ms]:
            self._clear(side)
        for side, files in list(self.accusers.items()):
            for name in [name for name, accusation in files.items() if accusation.first.at_ms <= long_ago_ms]:
                self._accuse_no_more(name, [side])
        kept_ms = now_ms - 2 * STAYS_MS
        self._came = {key: at for key, at in self._came.items() if at[0] > kept_ms}

    # ── the store ───────────────────────────────────────────────────────────────────────────────────────

    def take_changes(self, now: Now) -> Iterator[PutPause | DropPause]:
        """What has to be written down since the last call: a row for each pause that began or ended."""
        touched, self._touched = self._touched, {}
        for key in touched:
            side, name = (key, "") if isinstance(key, Side) else (Side(), key)
            pause = self.pauses.get(side) if not name else _of_file(self.retries.get(name))
            if pause is not None:
                self._stored.add(key)
                yield PutPause(side, name, pause.failures, *_walls(pause, now), pause.why)
            elif key in self._stored:
                self._stored.discard(key)
                yield DropPause(side, name)

    def recover(self, found: PutPause, now: Now) -> None:
        """A pause from before a restart.  A wall clock that jumped makes none longer than the longest."""
        left_ms = [1000 * (wall_s - now.wall_s) for wall_s in (found.until_wall_s, found.spared_wall_s)]
        since_ms = now.mono_ms - 1000 * max(0, now.wall_s - found.since_wall_s)
        if found.file_name:
            until_ms = now.mono_ms + max(0, min(left_ms[0], FILE_PAUSE.longest_ms))
            self.retries[found.file_name] = Retry(found.failures, until_ms)
            self._stored.add(found.file_name)
            return
        until_ms = now.mono_ms + max(0, min(left_ms[0], SIDE_PAUSE.longest_ms))
        spared_ms = max(until_ms, now.mono_ms + min(left_ms[1], SPARED_AT_MOST_MS))
        self.pauses[found.side] = Pause(found.failures, until_ms, spared_ms, since_ms, found.why)
        self._stored.add(found.side)
        if found.why == _VANISHES:
            self._losers[found.side.destination] = set()


_VANISHES = "what arrives there vanishes"


def _sides(way: Way, blame: Blame) -> tuple[Side, ...]:
    from_, to, both = sides_of(way)
    match blame:
        case Blame.UNCLEAR:
            return from_, to, both
        case Blame.SOURCE:
            return (from_,)
        case Blame.DESTINATION:
            return (to,)
        case Blame.FILE:
            return ()


def _are_enough(files: Mapping[str, Accusation]) -> bool:
    dear = any(accusation.first.dear for accusation in files.values())
    return len(files) >= (ENOUGH_DEAR_FILES if dear else ENOUGH_FILES)


def _is_pair(side: Side) -> bool:
    return bool(side.source and side.destination)


def _is_on(side: Side, way: Way | Side) -> bool:
    """Is this server, or this pair, on the way?"""
    return side.source in ("", way[0]) and side.destination in ("", way[1])


def _of_file(retry: Retry | None) -> Pause | None:
    """The pause of a file, if it is worth keeping."""
    if retry is None or retry.failures < BAD_FILE_FROM:
        return None
    return Pause(retry.failures, retry.not_before_ms, retry.not_before_ms, retry.not_before_ms, "")


def _walls(pause: Pause, now: Now) -> tuple[int, int, int]:
    """Until when, spared until when, since when: by the wall clock."""
    moments_ms = (pause.until_ms, pause.spared_until_ms, pause.since_ms)
    until_s, spared_s, since_s = (now.wall_s + (ms - now.mono_ms) // 1000 for ms in moments_ms)
    return until_s, spared_s, since_s
