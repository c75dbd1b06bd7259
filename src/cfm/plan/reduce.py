"""From ten million rows to a few thousand files: the reductions in columns.

The metadata of a snapshot stays in a frame.  A full plan asks what it must decide about next, and gets a
`Shortlist`.  `reference`, the twin in plain Python, defines what that means; this one is only fast.  Names
that come from outside (listings, the SAN's index, rising files) are turned into *rows* once: their places in
the frame.  The rest is arithmetic on arrays of integers and masks.  The frame is sorted by rank, so of two
rows the lower one is always the more wanted file.

Names are found by their keys (see `name_column`).  A plan lists what may be worth a decision; whoever decides
asks the servers by name.  numpy and Polars release the interpreter while they work, so a plan runs in a
thread beside the event loop.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from operator import attrgetter
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import polars as pl

from cfm.model import NOBODY, Addr, File, KnownStock, Names
from cfm.name_column import Keys, NameColumn, each_once, keys_in, keys_of
from cfm.plan.shortlist import SIZE_CLASSES, PlanInputs, Shortlist, real_prefixes

Rows: TypeAlias = npt.NDArray[np.uint32]
"""Row numbers; ascending, which is by rank, unless said otherwise."""
Mask: TypeAlias = npt.NDArray[np.bool_]
"""A boolean for each row of the snapshot."""
Integers: TypeAlias = npt.NDArray[np.int64]

_NAMES_AT_A_TIME = 16_384
"""A larger text comes from the kernel each time (see `memory`), which took half as much time again."""
_CLASS_BEGINS = np.array(SIZE_CLASSES, np.int64)
_NO_NAMES: Names = frozenset()
_NO_ROWS: Rows = np.zeros(0, np.uint32)


def shortlist(frame: pl.DataFrame, inputs: PlanInputs) -> Shortlist:
    """Reduce a snapshot once.  Whoever plans on it again keeps a `Reducer`."""
    return Reducer(frame).shortlist(inputs)


class Reducer:
    """Reduces one snapshot again and again.  Only what changed since the last plan is looked up anew.

    `frame` holds the known files: `rank` (unique, ascending), `name` (unique), `size_bytes`, `hits` and
    `history_ips` (a list of strings).  One thread at a time may use a reducer.
    """

    def __init__(self, frame: pl.DataFrame) -> None:
        if not frame["rank"].is_sorted():
            raise ValueError("the files of a snapshot are sorted by rank")
        self._frame = frame
        self._ranks = frame["rank"].cast(pl.Int64).to_numpy()
        self._sizes = frame["size_bytes"].to_numpy()
        self._finder = _RowFinder(frame["name"])
        self._maker = _FileMaker(frame)
        self._ads: tuple[tuple[str, ...], Mask] = (), np.zeros(frame.height, np.bool_)

    def shortlist(self, inputs: PlanInputs) -> Shortlist:
        """What may be worth a decision; the same as `reference.shortlist` over the same files."""
        with self._finder:
            plan = _Plan(self._frame, self._ranks, self._sizes, self._finder, self._ads_by(inputs), inputs)
        wanted, wanted_total, no_room_cut = plan.wanted()
        surplus, surplus_total = plan.surplus()
        too_large, too_large_total = plan.too_large()
        evictable, evictable_total = plan.evictable(wanted)
        listed = _together(wanted, surplus, plan.absent, too_large, *evictable.values())
        self._maker.make(listed)
        files = self._maker.files
        return Shortlist(
            snapshot_id=inputs.snapshot_id,
            wanted=files(wanted),
            wanted_total=wanted_total,
            surplus=files(surplus),
            surplus_total=surplus_total,
            evictable={server: files(rows) for server, rows in evictable.items()},
            cut=len(wanted) < wanted_total
            or len(surplus) < surplus_total
            or sum(map(len, evictable.values())) < evictable_total,
            stock=plan.stock(),
            absent=files(plan.absent),
            too_large=files(too_large),
            too_large_total=too_large_total,
            no_room_cut=no_room_cut,
            known_total=plan.known_total,
            on_san_total=plan.on_san_total,
            holders=self._holders(plan, listed),
            files_by_copies=plan.files_by_copies(),
        )

    def _ads_by(self, inputs: PlanInputs) -> Mask:
        """Prefixes are settings and rarely change: the mask of the last plan is kept."""
        prefixes = inputs.ad_prefixes
        if self._ads[0] != prefixes:
            starts = (pl.col("name").str.starts_with(prefix) for prefix in real_prefixes(prefixes))
            mask = self._frame.select(pl.any_horizontal(pl.repeat(False, pl.len()), *starts))
            self._ads = prefixes, mask.to_series().to_numpy()
        return self._ads[1]

    def _holders(self, plan: _Plan, listed: Rows) -> dict[str, frozenset[Addr]]:
        """Who holds the files on the lists.  Most have one holder: of each server there is one set for all of
        them, and only the others are looked at one by one."""
        held, files, copies = plan.held, self._maker.files, plan.copies[listed]
        alone = [NOBODY, *(frozenset((server,)) for server in held.servers)]
        holder = np.zeros(self._frame.height, np.uint16)
        holder[held.rows] = held.server + 1
        names = map(attrgetter("name"), files(listed))
        found = dict(zip(names, map(alone.__getitem__, holder[listed].tolist()), strict=True))
        several = _mask(self._frame.height, listed[copies > 1])[held.rows]
        for file, number in zip(files(held.rows[several]), held.server[several].tolist(), strict=True):
            found[file.name] |= alone[number + 1]
        return found


class _HeldRows:
    """The known files on the listed servers: all of them in one array, server by server.

    Arithmetic on one array takes a fraction of the time of the same on one for each of 300 servers.
    """

    def __init__(self, by_server: Mapping[Addr, Rows]) -> None:
        self.servers = tuple(by_server)
        self.numbers = np.array([len(rows) for rows in by_server.values()], np.int64)
        """How many rows each server holds."""
        self.rows, self.server = _in_one(list(by_server.values()))
        """The rows, ascending for each server, and the place of the server that holds each of them."""
        self._ends = np.cumsum(self.numbers)
        self._begins = self._ends - self.numbers

    def sums(self, values: npt.NDArray[np.integer] | Mask) -> Integers:
        """For each server the sum of what there is of each of its rows."""
        total = _running_total(values)
        sums: Integers = total[self._ends] - total[self._begins]
        return sums

    def are_among(self, by_server: Sequence[Rows]) -> Mask:
        """Which of these rows are among those given for their server?"""
        asked, pairs = _pairs(*_in_one(by_server)), _pairs(self.rows, self.server)
        among = np.zeros(len(pairs), np.bool_)
        if len(pairs):
            places = np.minimum(np.searchsorted(pairs, asked), len(pairs) - 1)
            among[places[pairs[places] == asked]] = True
        return among


class _Plan:
    """The inputs of one plan as rows and masks, and the three questions to them.

    Each answer is the rows of a list, in its order, and how many rows there were before the cut.
    """

    def __init__(
        self,
        frame: pl.DataFrame,
        ranks: Integers,
        sizes: Integers,
        finder: _RowFinder,
        ads: Mask,
        inputs: PlanInputs,
    ) -> None:
        self._frame, self._ranks, self._sizes, self._ads, self._inputs = frame, ranks, sizes, ads, inputs
        rows, marked = finder.rows, self._marked
        self._rising = marked(rows(frozenset(inputs.rising)))
        self._protected = self._rising | marked(rows(inputs.watched))
        other_size = self._of_other_size(rows(frozenset(inputs.found_bytes)))
        self.absent: Rows = other_size[~ads[other_size]]
        """Rows that the SAN does not have, or has with another size."""
        self._eligible = ~ads
        self._eligible[rows(inputs.left_alone)] = False
        self._eligible[other_size] = False
        self.known_total = int(np.count_nonzero(~ads))
        """Known files without ads."""
        self.on_san_total: int | None = None
        """How many of them the index of the source folders has; None where that is unknown."""
        if inputs.on_san is not None:
            on_san = marked(rows(inputs.on_san))
            self.on_san_total = int(np.count_nonzero(on_san & ~ads))
            self._eligible &= on_san
        departed = self._still_less_wanted(rows(frozenset(inputs.departed)))
        self._just_left = marked(departed) & ~self._rising
        self._stale = rows(inputs.stale)
        self.held = _HeldRows({server: rows(names) for server, names in inputs.listings.items()})
        self.copies = np.zeros(frame.height, np.uint16)
        """How many of the listed servers hold each row."""
        np.add.at(self.copies, self.held.rows, np.uint16(1))
        missing = self.copies == 0
        missing[self._stale] = True
        self._missing = self._eligible & missing
        most_bytes = inputs.largest_disk_bytes
        self._too_large = sizes > (most_bytes if most_bytes is not None else np.iinfo(np.int64).max)
        self._may_go = (self._eligible & ~self._protected)[self.held.rows]
        """Which of the held rows nothing protects, but that they are young."""
        young = finder.rows_each([inputs.young.get(server, _NO_NAMES) for server in self.held.servers])
        self._goes = self._may_go & ~self.held.are_among(young)
        """Which of them may go."""
        self._goers = self.held.rows[self._goes]
        self._worst_rank = int(ranks[self._goers.max()]) if len(self._goers) else 0
        """The rank of the least wanted row that may go anywhere; 0 where nothing may."""

    def _names(self, rows: Rows) -> pl.Series:
        return self._frame["name"].gather(rows)

    def _of_other_size(self, rows: Rows) -> Rows:
        """Those of these rows whose files have another size than the SAN has."""
        found = np.array([self._inputs.found_bytes[name] for name in self._names(rows)], np.int64)
        return np.extract(self._sizes[rows] != found, rows)

    def _still_less_wanted(self, rows: Rows) -> Rows:
        """Those of these rows, which were deleted for room not long ago, that are no better now."""
        then = np.array([self._inputs.departed[name] for name in self._names(rows)], np.int64)
        return rows[(100 + self._inputs.room_margin_percent) * self._ranks[rows] >= 100 * then]

    def wanted(self) -> tuple[Rows, int, int]:
        """All rising rows, and enough of the others to fill all limits; then these few are cut exactly.

        Also returns how many of those that were cut fit nowhere.
        """
        inputs, sizes = self._inputs, self._sizes
        unplaced = self._missing & ~self._too_large & ~self._just_left
        if inputs.unlisted_ips:
            unplaced &= ~self._maybe_unlisted()
        fits = sizes <= inputs.largest_room_bytes
        by_rank = unplaced & ~self._rising
        first_fitting = _places(by_rank & fits)[: inputs.max_wanted]
        unfitting = _places(by_rank & ~fits)
        near = unfitting[self._may_make_room(unfitting)]
        first_of_size = near[_place_among_equals(self._size_classes(near)) < inputs.max_alike]
        others = _together(first_fitting, unfitting[: inputs.max_unfitting], first_of_size)
        rows = np.concatenate([self._most_hits_first(_places(unplaced & self._rising)), others])
        rows = rows[self._are_kept(rows, fits[rows])]
        no_room_cut = np.count_nonzero(unplaced & ~fits) - np.count_nonzero(~fits[rows])
        return rows, int(np.count_nonzero(unplaced)), int(no_room_cut)

    def _are_kept(self, rows: Rows, fits: Mask) -> Mask:
        """Of those that fit, and of those that do not, the first few; of the latter also the first few of
        each size, as far as something may go for them."""
        inputs = self._inputs
        near = self._may_make_room(rows) | (self._rising[rows] & (self._worst_rank > 0))
        classes = self._size_classes(rows)
        first = _place_among_equals(fits) < np.where(fits, inputs.max_wanted, inputs.max_unfitting)
        # In a class, what fits is as large as the rest: the two are told apart.
        first_of_size = _place_among_equals(2 * classes + fits) < inputs.max_alike
        return np.asarray(first | (~fits & near & first_of_size))

    def _size_classes(self, rows: Rows) -> Integers:
        return np.searchsorted(_CLASS_BEGINS, self._sizes[rows], side="right")

    def _may_make_room(self, rows: Rows) -> Mask:
        """Which of these rows are clearly more wanted than the least wanted one that may go anywhere?"""
        margin = 100 + self._inputs.room_margin_percent
        return np.asarray(margin * self._ranks[rows] < 100 * self._worst_rank)

    def _most_hits_first(self, rising: Rows) -> Rows:
        hits = np.array([self._inputs.rising[name] for name in self._names(rising)], np.int64)
        return rising[np.argsort(-hits, kind="stable")]

    def _maybe_unlisted(self) -> Mask:
        """Which files the history saw on a server for whose list it stands."""
        unlisted = pl.element().is_in(list(self._inputs.unlisted_ips))
        seen = pl.col("history_ips").list.eval(unlisted).list.any()
        return self._frame.select(seen.fill_null(False)).to_series().to_numpy()

    def too_large(self) -> tuple[Rows, int]:
        """Rows that no disk could hold."""
        rows = _places(self._missing & self._too_large)
        return rows[: self._inputs.max_too_large], len(rows)

    def surplus(self) -> tuple[Rows, int]:
        """Rows that two or more servers hold."""
        rows = _places((self.copies > 1) & self._eligible)
        return rows[: self._inputs.max_surplus], len(rows)

    def files_by_copies(self) -> dict[int, int]:
        """Number of copies → how many known files have so many; those without any are left out."""
        numbers = np.bincount(self.copies)
        return {copies: int(files) for copies, files in enumerate(numbers) if copies and files}

    def evictable(self, wanted: Rows) -> tuple[dict[Addr, Rows], int]:
        """For each listed server the last of its rows that nothing protects, worst rank first: the first few,
        and more while these would not make room for the largest wanted file."""
        inputs, held, goers = self._inputs, self.held, self._goers
        largest_bytes = int(self._sizes[wanted].max()) if len(wanted) else 0
        numbers = held.sums(self._goes)
        ends = np.cumsum(numbers)
        total = _running_total(self._sizes[goers])
        # So many from the end make less room than that, and one more makes enough.
        too_few = ends - np.searchsorted(total, total[ends] - largest_bytes, side="right")
        listed = np.clip(too_few + 1, inputs.max_evictable, inputs.max_evictable_ever)
        begins = ends - np.minimum(listed, numbers)
        lists = {
            server: goers[begin:end][::-1]
            for server, begin, end in zip(held.servers, begins.tolist(), ends.tolist(), strict=True)
        }
        return lists, len(goers)

    def stock(self) -> dict[Addr, KnownStock]:
        """For each listed server the bytes of its known files, and of those that may go."""
        held, listings = self.held, self._inputs.listings
        sizes = self._sizes[held.rows]
        known_bytes = held.sums(np.where(self._ads[held.rows], 0, sizes))
        may_go_bytes = held.sums(np.where(self._may_go, sizes, 0))
        sums = (known_bytes.tolist(), may_go_bytes.tolist(), held.numbers.tolist())
        return {
            server: KnownStock(known, may_go, len(listings[server]) - files)
            for server, known, may_go, files in zip(held.servers, *sums, strict=True)
        }

    def _marked(self, rows: Rows) -> Mask:
        return _mask(self._frame.height, rows)


class _RowFinder:
    """Turns sets of names into rows.  A name that is not in the frame has none.

    The sets of the last plan are remembered by identity, so that what did not change costs nothing.  So
    whoever observes that a list did not change hands on the same object.  `with` it one plan is made.
    """

    def __init__(self, names: pl.Series) -> None:
        keys = _keys_of_column(names)
        self._order = np.argsort(keys).astype(np.uint32)
        self._keys = keys[self._order]
        self._found: dict[int, tuple[Names, Rows]] = {}
        self._before: dict[int, tuple[Names, Rows]] = {}

    def __enter__(self) -> None:
        self._before, self._found = self._found, {}

    def __exit__(self, *_: object) -> None:
        self._before = {}

    def rows(self, names: Names) -> Rows:
        """The rows of these names."""
        found = self._found.get(id(names)) or self._before.get(id(names)) or (names, self._look_up(names))
        self._found[id(names)] = found
        return found[1]

    def rows_each(self, sets: Sequence[Names]) -> list[Rows]:
        """The rows of each of these sets.  Those that are new are looked up together: most are small."""
        new = [names for names in sets if not (id(names) in self._found or id(names) in self._before)]
        rows, known = self._places_of(keys_of([name for names in new for name in names]))
        found, begin = np.concatenate([[0], np.cumsum(known)]), 0
        for names in new:
            end = begin + len(names)
            self._found[id(names)] = names, np.sort(rows[found[begin] : found[end]])
            begin = end
        return [self.rows(names) for names in sets]

    def _look_up(self, names: Names) -> Rows:
        keys = names.keys if isinstance(names, NameColumn) else keys_of(names)
        return np.sort(self._places_of(keys)[0])

    def _places_of(self, keys: Keys) -> tuple[Rows, Mask]:
        """The rows of these keys, in their order, and which keys have one."""
        if not len(keys) or not len(self._keys):
            return _NO_ROWS, np.zeros(len(keys), np.bool_)
        places = np.searchsorted(self._keys, keys)
        places[places == len(self._keys)] = 0
        known = self._keys[places] == keys
        return self._order[places[known]], known


class _FileMaker:
    """Makes `File`s of rows.  It keeps those of the last plan, for most of them are in the next one."""

    def __init__(self, frame: pl.DataFrame) -> None:
        self._columns = frame.select("name", "rank", "size_bytes", "hits", "history_ips")
        self._rows = _NO_ROWS
        self._files = np.empty(0, np.object_)
        """The file of each of these rows."""

    def make(self, rows: Rows) -> None:
        """Make these rows' files, so that `files` can answer."""
        files = np.empty(len(rows), np.object_)
        kept = np.isin(rows, self._rows, assume_unique=True)
        files[kept] = self._files[np.searchsorted(self._rows, rows[kept])]
        files[~kept] = list(self._read(rows[~kept]))
        self._rows, self._files = rows, files

    def files(self, rows: Rows) -> tuple[File, ...]:
        """The files of rows that were in the last `make`, in their order."""
        return tuple(self._files[np.searchsorted(self._rows, rows)].tolist())

    def _read(self, rows: Rows) -> Iterator[File]:
        for name, rank, size_bytes, hits, history_ips in self._columns[rows].iter_rows():
            yield File(name, rank, size_bytes, hits, tuple(history_ips or ()))


def _mask(height: int, rows: Rows) -> Mask:
    """A mask of this height that is true for these rows."""
    mask = np.zeros(height, np.bool_)
    mask[rows] = True
    return mask


def _together(*rows: Rows) -> Rows:
    """All of these rows, ascending, each once."""
    return each_once(np.sort(np.concatenate(rows)))


def _in_one(each: Sequence[Rows]) -> tuple[Rows, Rows]:
    """All of these rows in one array, and the place in `each` that every one of them is from."""
    places = np.repeat(np.arange(len(each), dtype=np.uint32), [len(rows) for rows in each])
    return np.concatenate([_NO_ROWS, *each]), places


def _pairs(rows: Rows, server: Rows) -> npt.NDArray[np.uint64]:
    """One number for each row on a server; sorted by server, then by row."""
    return server.astype(np.uint64) << np.uint64(32) | rows


def _running_total(values: npt.NDArray[np.integer] | Mask) -> Integers:
    """What there is before each value, and at the end the sum of all."""
    return np.concatenate([[0], np.cumsum(values, dtype=np.int64)])


def _places(mask: Mask) -> Rows:
    """The rows for which it is true."""
    return np.flatnonzero(mask).astype(np.uint32)


def _place_among_equals(values: npt.NDArray[np.integer] | Mask) -> Integers:
    """For each value, how many equal ones are before it."""
    order = np.argsort(values.astype(np.uint16), kind="stable")
    ordered, numbers = values[order], np.arange(len(values))
    begins = np.concatenate([[True], ordered[1:] != ordered[:-1]]) if len(values) else numbers > 0
    places = np.empty(len(values), np.int64)
    places[order] = numbers - np.maximum.accumulate(np.where(begins, numbers, 0))
    return places


def _keys_of_column(names: pl.Series) -> Keys:
    """The keys of all names.  Their column is read as text, piece by piece: no name becomes an object."""
    begins = range(0, len(names), _NAMES_AT_A_TIME)
    pieces = (names.slice(begin, _NAMES_AT_A_TIME).str.join("\n").item() for begin in begins)
    keys = np.concatenate([np.zeros(0, np.uint64), *(keys_in(f"{piece}\n".encode()) for piece in pieces)])
    return (
        keys if len(keys) == len(names) else keys_of(names.to_list())
    )  # a line's end in a name: no real one
