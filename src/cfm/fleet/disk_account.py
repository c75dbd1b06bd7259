"""The account of a disk at one address: what its `/df` shows, and what it does not show yet.  Pure.

One reading proves nothing.  A total may dip for a moment, a figure may stand still, and a deleted file frees
nothing while a viewer has it open.  So three things are kept beside the last reading:

- what landed and what was deleted, until a reading shows it;
- how full the disk is at least, by two readings some time apart: only so much is deleted for;
- how full it is at most, by the same two readings: only beside so much is copied.

Neighbours: `observed` keeps one account for each server; `plan.ledger` makes its two books of the result.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, NamedTuple

from cfm.backoff import Backoff
from cfm.model import Booked, DiskBounds, DiskReport, DiskUsage, Known, Names, Observed, sum_bytes

APART_MS: Final = 5_000
"""The shortest time between two readings that prove something together."""
FREED_LATE: Final = Backoff(first_ms=600_000, longest_ms=6 * 3_600_000)
"""How long a delete that no reading shows still counts as about to free its bytes."""
LANDED_LATE_MS: Final = 1_800_000
"""How long, at least, a copy that no reading shows counts as about to show.  It counts on where `/df` stands
still."""
FIRST_DOUBTED_MS: Final = 10_000
"""How long a copy that the first reading may show counts as about to show, at a worker of ours: it asks its
disk at each `/df`.  An old worker's copy counts for `LANDED_LATE_MS`."""
TOLD_WITH_FIRST_MS: Final = 1_000
"""What is told so soon after the first question may be in its answer: workers report at once what came while
cfm was down."""
SIZE_SETTLED_MS: Final = 60_000
"""A disk has another size when readings so far apart show it: a total may dip for a moment."""
_TOLERANCE: Final = 8
"""Of what a file should take up or free, this part may be missing: file systems round, and some compress."""
_NOISE: Final = 64
"""A reading that moves by less than this part of a file does not show it."""
_SIGNIFICANT_PERCENT: Final = 1
"""How large a part of a disk a difference must be to be worth a question of its own."""


class UnderWay(NamedTuple):
    """What is under way at all addresses of a disk, in bytes."""

    before_bytes: int = 0
    """What tasks still bring, as it was known before a reading came."""
    coming_bytes: int = 0
    """The same by that reading: without what it shows as unfinished downloads."""
    going_bytes: int = 0
    """Deletes that are ordered and not confirmed."""
    told_bytes: int = 0
    """What the reading shows of unfinished downloads, and `coming_bytes` does not count any more."""


@dataclass(slots=True)
class Claim:
    """A figure that speaks for doing something.

    It is believed at once where it falls.  Where it grows, it is believed as far as two readings some time
    apart, and all between them, show it.
    """

    value: int | None = None
    """None before there were two readings."""
    _since_ms: int = 0
    _least: int | None = None
    """The least that was shown since then; None where nothing is doubted."""

    def show(self, figure: int, at_ms: int, *, explained: int = 0, apart_ms: int = APART_MS) -> None:
        """A reading shows it.  By `explained` it may have grown without anybody wondering."""
        believed = None if self.value is None else self.value + explained
        if believed is not None and figure <= believed:
            self.value, self._least = figure, None
            return
        if self._least is None:
            self._since_ms, self._least = at_ms, figure
        else:
            self._least = min(self._least + explained, figure)
        if at_ms - self._since_ms >= apart_ms:
            believed = self._least if believed is None else max(believed, self._least)
            self._since_ms, self._least = at_ms, None if figure <= believed else figure
        self.value = believed


@dataclass(slots=True)
class DiskAccount:
    """One disk, as one address measures it."""

    usage: Observed[DiskUsage]
    """The last reading."""
    landed: list[Booked] = field(default_factory=list)
    """Copies that arrived, and that no reading shows yet."""
    ended: list[Booked] = field(default_factory=list)
    """Copies that ended without success.  What there is of them counts until the next reading."""
    gone: list[Booked] = field(default_factory=list)
    """Deletes that were carried out, and that no reading shows yet."""
    given_up_bytes: int = 0
    """Deleted so long ago that nobody counts on their room any more."""
    dips_ms: tuple[int, int] | None = None
    """When the size of the disk changed and changed back, for the first time and for the last."""
    apart_ms: int = APART_MS
    disk_id: str = ""
    """The disk that the last reading named."""
    _late: int = 0
    """How often in a row deletes were given up."""
    _base_bytes: int | None = None
    """What was used by the last reading, without what it showed before it was told."""
    _ahead_bytes: int = 0
    """How much more is used by it than that."""
    _used_bytes: int | None = None
    _first_bytes: int | None = None
    """What was used by the first reading, until another one differs."""
    _first_ms: int = 0
    """When the first reading was asked for."""
    _in_first: set[Booked] = field(default_factory=set)
    """Copies that came since, and that the first reading shows already, unless it stood still before them."""
    _first_until_ms: int = 0
    """When the last of the readings was asked for that show just what the first one does."""
    _asked_ms: int = -1
    arriving_bytes: int = 0
    """What unfinished downloads use by the last reading, as far as its worker tells."""
    _untold_bytes: int = 0
    """How much of it is probably counted as still to come, too: no worker has told how far its copies are."""
    _foreign_bytes: int = 0
    """How much of it is of no copy of ours."""
    _totals: tuple[int, int] = (0, 0)
    """The size of the disk before it changed last, and since then."""
    _resized_ms: int = 0
    """When the first reading with the last size was asked for."""
    _moves_ms: tuple[int, int] = (0, 0)
    """When the last two readings came that differed from those before them."""
    _used_for_deletes: Claim = field(default_factory=Claim)
    _foreign_for_deletes: Claim = field(default_factory=Claim)
    _size_for_deletes: Claim = field(default_factory=Claim)
    _used_for_copies: Claim = field(default_factory=Claim)
    _size_for_copies: Claim = field(default_factory=Claim)
    _bounds_of: tuple[tuple[object, ...], DiskBounds | None] | None = None
    """What `bounds` found last, and for what.  All else that it goes by changes with a new reading only."""

    @property
    def booked(self) -> list[Booked]:
        """What may have arrived since the last reading.  What came earlier is in `bounds`."""
        return [*(one for one in self.landed if one.at_ms > self._asked_ms), *self.ended]

    @property
    def overdue(self) -> list[Booked]:
        """Copies that arrived before the last reading, which does not show them."""
        return [one for one in self.landed if one.at_ms <= self._asked_ms]

    @property
    def frees_late(self) -> bool:
        """Did the last deletes free nothing for so long that they were given up?"""
        return self._late > 0

    # ── readings ────────────────────────────────────────────────────────────────────────────────────────

    def read(self, report: DiskReport, asked_ms: int, under_way: UnderWay) -> None:
        """A reading came that was asked for at `asked_ms`."""
        if self.disk_id not in ("", report.disk_id):
            self._begin_anew()
        self.disk_id, self.arriving_bytes = report.disk_id, report.arriving_bytes
        self.usage, self._asked_ms = Known(report.usage, asked_ms), asked_ms
        self._untold_bytes = min(max(0, report.arriving_bytes - under_way.told_bytes), under_way.coming_bytes)
        ours_bytes = under_way.told_bytes + self._untold_bytes
        self._foreign_bytes = max(0, report.arriving_bytes - ours_bytes)
        used_bytes = report.usage.used_bytes - report.arriving_bytes
        landed_bytes, freed_bytes = self._settle(used_bytes, asked_ms, under_way)
        self.ended = [booked for booked in self.ended if booked.at_ms > asked_ms]
        self._note_move(used_bytes, asked_ms)
        self._note_dip(report.usage.total_bytes, asked_ms)
        self._show(used_bytes, report.usage, asked_ms, landed_bytes, freed_bytes)

    def _show(
        self, used_bytes: int, usage: DiskUsage, at_ms: int, landed_bytes: int, freed_bytes: int
    ) -> None:
        size_bytes, apart_ms = usage.used_bytes + usage.avail_bytes, self.apart_ms
        self._used_for_deletes.show(used_bytes, at_ms, explained=landed_bytes, apart_ms=apart_ms)
        self._foreign_for_deletes.show(self._foreign_bytes, at_ms, apart_ms=apart_ms)
        self._size_for_deletes.show(-size_bytes, at_ms, apart_ms=apart_ms)
        first = self._used_for_copies.value is None
        self._used_for_copies.show(
            -used_bytes, at_ms, explained=freed_bytes, apart_ms=0 if first else apart_ms
        )
        self._size_for_copies.show(size_bytes, at_ms, apart_ms=0 if first else apart_ms)

    def _note_move(self, used_bytes: int, asked_ms: int) -> None:
        if used_bytes != self._used_bytes:
            self._used_bytes, self._moves_ms = used_bytes, (self._moves_ms[1], asked_ms)

    def _note_dip(self, total_bytes: int, asked_ms: int) -> None:
        before_bytes, last_bytes = self._totals
        if last_bytes and not _differ(total_bytes, last_bytes):
            return
        self._totals, self._resized_ms = (last_bytes, total_bytes), asked_ms
        if before_bytes and not _differ(total_bytes, before_bytes):
            self.dips_ms = self.dips_ms[0] if self.dips_ms else asked_ms, asked_ms

    @property
    def sizes(self) -> frozenset[int]:
        """The sizes that the disk may have: the last one, and that before it until it is surely another."""
        before_bytes, last_bytes = self._totals
        is_settled = self._asked_ms - self._resized_ms >= SIZE_SETTLED_MS
        return frozenset({last_bytes} if is_settled else {before_bytes, last_bytes}) - {0}

    def _begin_anew(self) -> None:
        """It is another disk: what was known of the last one says nothing."""
        self._base_bytes = self._used_bytes = self._first_bytes = self.dips_ms = None
        self._totals = 0, 0
        self._in_first.clear()
        self._late = self.given_up_bytes = self._ahead_bytes = 0
        self._used_for_deletes, self._size_for_deletes = Claim(), Claim()
        self._used_for_copies, self._size_for_copies = Claim(), Claim()
        self._foreign_for_deletes = Claim()

    # ── what is shown, and what is not ──────────────────────────────────────────────────────────────────

    def _settle(self, used_bytes: int, asked_ms: int, under_way: UnderWay) -> tuple[int, int]:
        """Find out what this reading shows of what landed and of what was deleted before it.

        The sum decides, since one reading may show both.  Where less is used than expected, copies are not
        shown yet, or a delete whose answer is still to come is.  Where more is used, files are open, or a
        copy is shown that nobody has reported yet.  Returns the bytes that came and that went by our doing.
        """
        landed, more_landed = _split(self.landed, asked_ms)
        landed = [one for one in landed if not self._is_in_first(one, used_bytes, asked_ms)]
        gone, more_gone = _split(self.gone, asked_ms)
        change_bytes = sum_bytes(landed) - sum_bytes(gone)
        base_bytes = self._base_bytes
        if base_bytes is None:  # what is coming may be there already, and its report still to come
            base_bytes = used_bytes - change_bytes - min(used_bytes, under_way.coming_bytes)
            self._first_bytes, self._first_ms = used_bytes, asked_ms
        elif used_bytes != self._first_bytes:
            self._first_bytes = None
            self._in_first.clear()
        if self._first_bytes is not None:
            self._first_until_ms = asked_ms
        missing_bytes = base_bytes + change_bytes - used_bytes
        # What came and what went may make up for each other, but for the last bytes of a block.
        stands_still = used_bytes == self._used_bytes and _NOISE * abs(missing_bytes) > sum_bytes(gone)
        unshown = _not_shown(landed, missing_bytes) if missing_bytes > 0 else []
        unfreed = _not_freed(gone, -missing_bytes) if missing_bytes < 0 else []
        if stands_still and landed and gone:
            unshown, unfreed = landed, gone
        if used_bytes == self._first_bytes and not gone:
            told_ms = self._first_ms + TOLD_WITH_FIRST_MS
            self._in_first |= {one for one in landed if one not in unshown or one.at_ms <= told_ms}
            unshown = landed  # the first reading may have stood still, too
        if missing_bytes >= 0:
            odd_bytes = max(0, missing_bytes - sum_bytes(unshown))
            self._base_bytes = used_bytes + min(odd_bytes, under_way.going_bytes + sum_bytes(more_gone))
        else:
            odd_bytes = max(0, -missing_bytes - sum_bytes(unfreed))
            self._base_bytes = used_bytes - min(odd_bytes, under_way.coming_bytes + sum_bytes(more_landed))
        was_ahead_bytes, self._ahead_bytes = self._ahead_bytes, used_bytes - self._base_bytes
        self._note_late(shown=len(unfreed) < len(gone))
        self.landed = [*filter(lambda one: self._is_expected(one, asked_ms), unshown), *more_landed]
        self.gone = [*self._without_late(unfreed, asked_ms), *more_gone]
        # A reading that has moved since a copy came may show it already: then it explains no growth.  So may
        # the first one, and those that show just as much.
        seen_ms = max(self._first_until_ms, self._moves_ms[1])
        landed_bytes = sum(one.size_bytes for one in landed if one not in unshown and one.at_ms > seen_ms)
        freed_bytes = sum_bytes(gone) - sum_bytes(unfreed)
        # What an earlier reading showed before it was told has been counted then.
        came_bytes = landed_bytes + max(0, self._ahead_bytes) - max(0, was_ahead_bytes)
        went_bytes = freed_bytes + max(0, -self._ahead_bytes) - max(0, -was_ahead_bytes)
        return max(0, came_bytes), max(0, went_bytes)

    def _is_in_first(self, landed: Booked, used_bytes: int, asked_ms: int) -> bool:
        """Is it taken for shown by the first reading after all?

        A reading that differs says that `/df` moves.  And to doubt it for ever would be to use a full disk no
        more: nothing moves there until room is made.  The price: where `/df` does stand still, one further
        copy may pass the limit.  The known files of the disk are counted by their sizes all the same.
        """
        if landed not in self._in_first:
            return False
        return used_bytes != self._first_bytes or asked_ms - landed.at_ms >= first_doubted_ms(self.disk_id)

    def _is_expected(self, landed: Booked, asked_ms: int) -> bool:
        """May it still show?  Where `/df` has moved meanwhile without it, others have used the room."""
        is_late = asked_ms - landed.at_ms >= LANDED_LATE_MS and self._moves_ms[0] > landed.at_ms
        return not is_late

    def _note_late(self, *, shown: bool) -> None:
        if shown:
            self._late = self.given_up_bytes = 0

    def _without_late(self, gone: list[Booked], asked_ms: int) -> list[Booked]:
        """Give up deletes that free nothing for too long; each time in a row they are waited for longer."""
        pause_ms = FREED_LATE.pause_ms(self._late + 1)
        late = [one for one in gone if asked_ms - one.at_ms >= pause_ms]
        if late:
            self._late += 1
            self.given_up_bytes += sum_bytes(late)
        return [one for one in gone if asked_ms - one.at_ms < pause_ms]

    def not_listed(self, names: Names, asked_ms: int) -> bool:
        """By a list of that time, only these files are there.  Returns True where another one had landed.

        Its bytes may still be used, as by a download that failed: they count until the next reading.
        """
        vanished = [one for one in self.landed if one.at_ms <= asked_ms and one.name not in names]
        self.landed = [one for one in self.landed if one not in vanished]
        self.ended += [one for one in vanished if one.at_ms > self._asked_ms]
        return bool(vanished)

    def forget(self, before_ms: int) -> None:
        """Drop what happened earlier: nobody has asked this address since."""
        for book in (self.landed, self.ended, self.gone):
            book[:] = [one for one in book if one.at_ms > before_ms]

    # ── what may be relied on ───────────────────────────────────────────────────────────────────────────

    @property
    def bounds(self) -> DiskBounds | None:
        """How full the disk is at most and at least; None where the last readings agree.

        What is used by an unfinished download, and counts as still to come as well, proves no need.  Nor does
        a copy that the reading showed before its worker told that it arrived.  What one reading alone shows
        of a download that is not ours proves none.
        """
        seen = self.usage, tuple(self.landed), tuple(self.ended), self._ahead_bytes
        if self._bounds_of is None or self._bounds_of[0] != seen:  # each view of the node asks for all disks
            foreign_bytes = self._foreign_bytes - (self._foreign_for_deletes.value or 0)
            unproven_bytes = self._untold_bytes + foreign_bytes + sum_bytes(self.booked)
            unproven_bytes = min(self.arriving_bytes, unproven_bytes) + max(0, self._ahead_bytes)
            self._bounds_of = seen, self._bounds(unproven_bytes)
        return self._bounds_of[1]

    def _bounds(self, unproven_bytes: int) -> DiskBounds | None:
        if not isinstance(self.usage, Known):
            return None
        usage = self.usage.value
        more_bytes = self.arriving_bytes + sum_bytes(self.overdue)
        fullest = self._bound(self._used_for_copies, self._size_for_copies, more_bytes, sign=-1)
        least_bytes = self.arriving_bytes - unproven_bytes
        emptiest = self._bound(self._used_for_deletes, self._size_for_deletes, least_bytes, sign=1)
        assert fullest is not None
        return None if fullest == emptiest == usage else DiskBounds(fullest, emptiest)

    def _bound(self, used: Claim, size: Claim, more_bytes: int, sign: int) -> DiskUsage | None:
        assert isinstance(self.usage, Known)
        if used.value is None or size.value is None:
            return None
        used_bytes = sign * used.value + more_bytes
        avail_bytes = max(0, -sign * size.value - used_bytes)
        return DiskUsage(self.usage.value.total_bytes, used_bytes, avail_bytes)

    def is_doubted(self, limit_percent: int) -> bool:
        """Is the last reading worth a second one soon, because something would follow from it?"""
        bounds = self._bounds(unproven_bytes=0)  # a second reading tells nothing about the others
        if bounds is None or not isinstance(self.usage, Known):
            return False
        is_over = self.usage.value.above_bytes(limit_percent) > 0
        least_bytes = 0 if is_over else _SIGNIFICANT_PERCENT * self.usage.value.total_bytes // 100
        return bounds.doubted_bytes(limit_percent) > least_bytes


def first_doubted_ms(disk_id: str) -> int:
    """How long it is doubted that the first reading shows a copy; only workers of ours tell a disk's id."""
    return FIRST_DOUBTED_MS if disk_id else LANDED_LATE_MS


def _differ(one_bytes: int, other_bytes: int) -> bool:
    return 100 * abs(one_bytes - other_bytes) > _SIGNIFICANT_PERCENT * other_bytes


def _split(booked: list[Booked], asked_ms: int) -> tuple[list[Booked], list[Booked]]:
    """What a reading of that time can show, and what happened later."""
    return [one for one in booked if one.at_ms <= asked_ms], [one for one in booked if one.at_ms > asked_ms]


def _not_shown(landed: list[Booked], missing_bytes: int) -> list[Booked]:
    """Which copies make up what is missing.

    A reading that stands still shows none, and one that lags shows the first ones.  Any other one is alive
    and shows them all: other software has removed something.
    """
    shown_bytes = sum_bytes(landed) - missing_bytes
    for number, one in enumerate(landed):
        if abs(shown_bytes) <= one.size_bytes // _NOISE:
            return landed[number:]
        shown_bytes -= one.size_bytes
    return []


def _not_freed(gone: list[Booked], more_bytes: int) -> list[Booked]:
    """Which deletes make up what is used beside what was expected.  A file frees all its bytes or none."""
    unfreed = list[Booked]()
    for one in sorted(gone, key=lambda one: -one.size_bytes):
        if one.size_bytes - one.size_bytes // _TOLERANCE <= more_bytes:
            unfreed.append(one)
            more_bytes -= one.size_bytes
    return unfreed
