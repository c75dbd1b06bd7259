"""From ten million rows to a few thousand files: the reductions in columns.

The metadata of a snapshot stays in a Polars frame.  A full plan asks what it must decide about next, and gets
a `Shortlist`.  `reference`, the twin in plain Python, defines what that means; this one is only fast.  Names
that come from outside (listings, the SAN's index, rising files) are turned into *rows* once: their places in
the frame.  The rest is arithmetic on integers and bit masks.  The frame is sorted by rank, so of two rows
the lower one is always the more wanted file.

Polars releases the interpreter while it works, so a plan runs in a thread beside the event loop.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from itertools import chain, islice
from typing import TypeAlias

import polars as pl

from cfm.model import Addr, File, KnownStock
from cfm.plan.shortlist import SIZE_CLASSES, PlanInputs, Shortlist, real_prefixes

Names: TypeAlias = frozenset[str]
Rows: TypeAlias = pl.Series
"""Row numbers (`UInt32`); ascending, which is by rank, unless said otherwise."""
Mask: TypeAlias = pl.Series
"""A boolean for each row of the snapshot."""

_NAMES_AT_A_TIME = 8_192
"""To make a column of Python's strings holds the interpreter.  In pieces, the event loop gets its turns."""

_CLASS_BEGINS = pl.Series(SIZE_CLASSES, dtype=pl.Int64)
_NO_NAMES: Names = frozenset()
_NO_ROWS: Rows = pl.Series(dtype=pl.UInt32)


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
        self._finder = _RowFinder(frame["name"])
        self._maker = _FileMaker(frame)
        self._ads: tuple[tuple[str, ...], Mask] = (), _mask(frame.height, _NO_ROWS)

    def shortlist(self, inputs: PlanInputs) -> Shortlist:
        """What may be worth a decision; the same as `reference.shortlist` over the same files."""
        plan = _Plan(self._frame, self._finder, self._ads_by(inputs.ad_prefixes), inputs)
        wanted, wanted_total = plan.wanted()
        surplus, surplus_total = plan.surplus()
        evictable, evictable_total = plan.evictable(wanted)
        self._maker.make(chain(wanted, surplus, plan.absent, *evictable.values()))
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
            known_total=plan.known_total,
            on_san_total=plan.on_san_total,
        )

    def _ads_by(self, ad_prefixes: tuple[str, ...]) -> Mask:
        """Prefixes are settings and rarely change: the mask of the last plan is kept."""
        if self._ads[0] != ad_prefixes:
            starts = (pl.col("name").str.starts_with(prefix) for prefix in real_prefixes(ad_prefixes))
            mask = self._frame.select(pl.any_horizontal(pl.repeat(False, pl.len()), *starts))
            self._ads = ad_prefixes, mask.to_series()
        return self._ads[1]


class _Plan:
    """The inputs of one plan as rows and masks, and the three questions to them.

    Each answer is the rows of a list, in its order, and how many rows there were before the cut.
    """

    def __init__(self, frame: pl.DataFrame, finder: _RowFinder, ads: Mask, inputs: PlanInputs) -> None:
        self._frame, self._inputs, self._ads = frame, inputs, ads
        rising, found = frozenset(inputs.rising), frozenset(inputs.found_bytes)
        on_san = () if inputs.on_san is None else (inputs.on_san,)
        per_server = chain(inputs.listings.values(), inputs.young.values())
        departed = frozenset(inputs.departed)
        small = (_NO_NAMES, rising, found, departed, inputs.watched, inputs.left_alone, inputs.stale)
        finder.find(chain(small, on_san, per_server))

        self._rising = self._marked(finder.rows(rising))
        self._protected = self._rising | self._marked(finder.rows(inputs.watched))
        other_size = self._of_other_size(finder.rows(found))
        self.absent = other_size.filter(~ads.gather(other_size)).to_list()
        """Rows that the SAN does not have, or has with another size."""
        self._eligible = ~ads & ~self._marked(pl.concat([finder.rows(inputs.left_alone), other_size]))
        self.known_total = int((~ads).sum())
        self.on_san_total: int | None = None
        for names in on_san:
            there = self._marked(finder.rows(names))
            self._eligible &= there
            self.on_san_total = int((there & ~ads).sum())
        self._just_left = self._marked(self._still_less_wanted(finder.rows(departed))) & ~self._rising
        self._stale = self._marked(finder.rows(inputs.stale))
        self._held = _by_server(inputs.listings, inputs.listings, finder)
        self._goers = self._unprotected(_by_server(inputs.listings, inputs.young, finder))
        worst = self._goers["row"].max()
        self._worst_rank = self._rank_of(worst) if isinstance(worst, int) else 0
        """The rank of the least wanted row that may go anywhere; 0 where nothing may."""

    def _of_other_size(self, rows: Rows) -> Rows:
        """Those of these rows whose files have another size than the SAN has."""
        names, sizes = self._frame["name"].gather(rows), self._frame["size_bytes"].gather(rows)
        found = [self._inputs.found_bytes[name] for name in names]
        return rows.filter(sizes != pl.Series(found, dtype=pl.Int64))

    def _still_less_wanted(self, rows: Rows) -> Rows:
        """Those of these rows, which were deleted for room not long ago, that are no better now."""
        names = self._frame["name"].gather(rows)
        then = pl.Series([self._inputs.departed[name] for name in names], dtype=pl.Int64)
        return rows.filter((100 + self._inputs.room_margin_percent) * self._ranks(rows) >= 100 * then)

    def _ranks(self, rows: Rows) -> pl.Series:
        return self._frame["rank"].gather(rows).cast(pl.Int64)

    def _rank_of(self, row: int) -> int:
        return int(self._frame["rank"][row])

    def wanted(self) -> tuple[list[int], int]:
        """All rising rows, and enough of the others to fill all limits; then these few are cut exactly."""
        inputs, sizes = self._inputs, self._frame["size_bytes"]
        missing = ~self._marked(self._held["row"]) | self._stale
        unplaced = self._eligible & missing & ~self._maybe_unlisted()
        unplaced &= ~self._just_left
        if inputs.largest_disk_bytes is not None:
            unplaced &= sizes <= inputs.largest_disk_bytes
        fits = sizes <= inputs.largest_room_bytes
        by_rank = unplaced & ~self._rising
        first_fitting = (by_rank & fits).arg_true().head(inputs.max_wanted)
        unfitting = (by_rank & ~fits).arg_true()
        first_unfitting = unfitting.head(inputs.max_unfitting)
        others = pl.concat([first_fitting, first_unfitting, self._first_of_each_size(unfitting)])
        rising = self._most_hits_first((unplaced & self._rising).arg_true())
        rows = pl.concat([rising, others.unique().sort()])

        near = self._may_make_room(rows) | (self._rising.gather(rows) & (self._worst_rank > 0))
        ordered = pl.DataFrame({"row": rows, "fits": fits.gather(rows), "near": near})
        ordered = ordered.with_columns(size_class=self._size_classes(rows))
        limit = pl.when("fits").then(inputs.max_wanted).otherwise(inputs.max_unfitting)
        place = pl.int_range(pl.len())
        first_of_size = place.over("fits", "size_class") < inputs.max_alike
        kept = ordered.filter(
            (place.over("fits") < limit) | (~pl.col("fits") & pl.col("near") & first_of_size)
        )
        return kept["row"].to_list(), int(unplaced.sum())

    def _first_of_each_size(self, unfitting: Rows) -> Rows:
        """The first of these rows of each size, as far as something may go for them."""
        near = unfitting.filter(self._may_make_room(unfitting))
        classes = pl.DataFrame({"row": near, "size_class": self._size_classes(near)})
        return classes.group_by("size_class").head(self._inputs.max_alike)["row"]

    def _size_classes(self, rows: Rows) -> pl.Series:
        return _CLASS_BEGINS.search_sorted(self._frame["size_bytes"].gather(rows), side="right")

    def _may_make_room(self, rows: Rows) -> Mask:
        """Which of these rows are clearly more wanted than the least wanted one that may go anywhere?"""
        return (100 + self._inputs.room_margin_percent) * self._ranks(rows) < 100 * self._worst_rank

    def _most_hits_first(self, rising: Rows) -> Rows:
        hits = [self._inputs.rising[name] for name in self._frame["name"].gather(rising)]
        ordered = pl.DataFrame({"row": rising, "hits": pl.Series(hits, dtype=pl.Int64)})
        return ordered.sort("hits", "row", descending=[True, False])["row"]

    def _maybe_unlisted(self) -> Mask:
        """Which files the history saw on a server for whose list it stands."""
        if not self._inputs.unlisted_ips:
            return self._marked(_NO_ROWS)
        unlisted = pl.element().is_in(list(self._inputs.unlisted_ips))
        seen = pl.col("history_ips").list.eval(unlisted).list.any()
        return self._frame.select(seen.fill_null(False)).to_series()

    def surplus(self) -> tuple[list[int], int]:
        """Rows that two or more servers hold."""
        held = self._held["row"].sort()
        again = held.filter(held == held.shift())
        rows = again.filter(self._eligible.gather(again)).unique(maintain_order=True)
        return rows.head(self._inputs.max_surplus).to_list(), len(rows)

    def _unprotected(self, young: pl.DataFrame) -> pl.DataFrame:
        """The rows on each listed server that nothing protects, by server and row."""
        may_go = self._eligible & ~self._protected
        here = self._held.filter(may_go.gather(self._held["row"]))
        return here.join(young, on=["server", "row"], how="anti", maintain_order="left")

    def evictable(self, wanted: Sequence[int]) -> tuple[dict[Addr, list[int]], int]:
        """For each listed server the last of its rows that nothing protects, worst rank first: the first few,
        and more while these would not make room for the largest wanted file."""
        inputs, sizes = self._inputs, self._frame["size_bytes"]
        largest_bytes = max(sizes.gather(list(wanted)).to_list(), default=0)
        few = min(inputs.max_evictable, inputs.max_evictable_ever)
        worst = self._goers.group_by("server").agg(pl.col("row").tail(few).reverse(), number=pl.len())
        lists: dict[Addr, list[int]] = {server: [] for server in inputs.listings}
        servers = list(inputs.listings)
        for place, rows, number in worst.iter_rows():
            cut = number > len(rows) and sum(sizes.gather(rows).to_list()) < largest_bytes
            lists[servers[place]] = self._more_evictable(place, largest_bytes) if cut else rows
        return lists, self._goers.height

    def _more_evictable(self, place: int, largest_bytes: int) -> list[int]:
        """As many of the last rows of one server as have so many bytes together."""
        rows = (
            self._goers.filter(pl.col("server") == place)["row"]
            .tail(self._inputs.max_evictable_ever)
            .reverse()
        )
        made_bytes = self._frame["size_bytes"].gather(rows).cast(pl.Int64).cum_sum()
        few = int((made_bytes < largest_bytes).sum()) + 1
        return rows.head(max(self._inputs.max_evictable, few)).to_list()

    def stock(self) -> dict[Addr, KnownStock]:
        """For each listed server the bytes of its known files, and of those that may go."""
        rows = self._held["row"]
        may_go = self._eligible & ~self._protected
        sizes = pl.DataFrame({
            "server": self._held["server"],
            "size": self._frame["size_bytes"].gather(rows).cast(pl.Int64),
            "known": ~self._ads.gather(rows),
            "may_go": may_go.gather(rows),
        })  # fmt: skip
        sums = sizes.group_by("server").agg(
            pl.col("size").filter(pl.col("known")).sum().alias("known"),
            pl.col("size").filter(pl.col("may_go")).sum().alias("may_go"),
        )
        by_place = {place: KnownStock(known, may_go) for place, known, may_go in sums.iter_rows()}
        nothing, listed = KnownStock(0, 0), enumerate(self._inputs.listings)
        return {server: by_place.get(place, nothing) for place, server in listed}

    def _marked(self, rows: Rows) -> Mask:
        return _mask(self._frame.height, rows)


class _RowFinder:
    """Turns sets of names into rows.  A name that is not in the frame has none.

    The sets of the last plan are remembered by identity, for to compare two large sets would hold the
    interpreter.  So whoever observes that a list did not change hands on the same object.
    """

    def __init__(self, names: pl.Series) -> None:
        self._index = pl.DataFrame({"hash": _hash(names), "name": names}).with_row_index("row")
        self._found: dict[int, tuple[Names, Rows]] = {}

    def find(self, sets: Iterable[Names]) -> None:
        """Look these sets up, so that `rows` can answer for them; forget all others."""
        asked = {id(names): names for names in sets}
        kept = {key: found for key, found in self._found.items() if key in asked}
        missing = [names for key, names in asked.items() if key not in kept]
        found = zip(missing, self._look_up(missing), strict=True)
        self._found = kept | {id(names): (names, rows) for names, rows in found}

    def rows(self, names: Names) -> Rows:
        """The rows of a set that was in the last `find`."""
        return self._found[id(names)][1]

    def _look_up(self, sets: Sequence[Names]) -> list[Rows]:
        """Compare all names of the snapshot once: by hash, which is fast, then by name, which is exact."""
        names = _column(chain.from_iterable(sets))
        asked = pl.DataFrame({"set": _numbered(sets), "name": names, "hash": _hash(names)})
        found = (
            asked.join(self._index, on="hash")
            .filter(pl.col("name") == pl.col("name_right"))
            .group_by("set")
            .agg(pl.col("row").sort())
        )
        rows_of = dict(zip(found["set"], found["row"], strict=True))
        return [rows_of.get(number, _NO_ROWS) for number in range(len(sets))]


class _FileMaker:
    """Makes `File`s of rows.  It keeps those of the last plan, for most of them are in the next one."""

    def __init__(self, frame: pl.DataFrame) -> None:
        self._columns = frame.select("name", "rank", "size_bytes", "hits", "history_ips")
        self._made: dict[int, File] = {}

    def make(self, rows: Iterable[int]) -> None:
        """Make these rows' files, so that `files` can answer; keep no more than as many others."""
        asked = set(rows)
        new = sorted(asked.difference(self._made))
        self._made.update(zip(new, self._read(new), strict=True))
        if len(self._made) > 2 * len(asked):
            self._made = {row: self._made[row] for row in asked}

    def files(self, rows: Iterable[int]) -> tuple[File, ...]:
        """The files of rows that were in the last `make`, in their order."""
        return tuple(map(self._made.__getitem__, rows))

    def _read(self, rows: Sequence[int]) -> Iterator[File]:
        for name, rank, size_bytes, hits, history_ips in self._columns[rows].iter_rows():
            yield File(name, rank, size_bytes, hits, tuple(history_ips or ()))


def _mask(height: int, rows: Rows) -> Mask:
    """A mask of this height that is true for these rows."""
    return pl.repeat(False, height, eager=True).scatter(rows, True)


def _by_server(listed: Iterable[Addr], sets: Mapping[Addr, Names], finder: _RowFinder) -> pl.DataFrame:
    """What listed servers hold, by these sets: `server` (its place among them) and `row`, sorted by both."""
    held = [finder.rows(sets.get(server, _NO_NAMES)) for server in listed]
    return pl.DataFrame({"server": _numbered(held), "row": pl.concat([_NO_ROWS, *held])})


def _numbered(parts: Sequence[Sized]) -> pl.Series:
    """The number of its part, for each element of all parts."""
    lengths = pl.Series(map(len, parts), dtype=pl.UInt32)
    numbers = pl.int_range(len(parts), dtype=pl.UInt32, eager=True)
    return numbers.repeat_by(lengths).explode(empty_as_null=False)


def _hash(names: pl.Series) -> pl.Series:
    """Half of Polars' 64 bits.  Names are compared anyway, and ten million rows take 40 MB less."""
    return (names.hash() & 0xFFFF_FFFF).cast(pl.UInt32)


def _column(names: Iterable[str]) -> pl.Series:
    """A column of Python's strings.  What is not text is null; it is in no snapshot."""
    remaining = iter(names)
    pieces = iter(lambda: list(islice(remaining, _NAMES_AT_A_TIME)), [])
    return pl.concat([pl.Series(dtype=pl.String), *map(_piece, pieces)])


def _piece(names: list[str]) -> pl.Series:
    try:
        return pl.Series(names, dtype=pl.String)
    except UnicodeEncodeError:  # half of a surrogate pair, from a list that was not UTF-8
        return pl.Series([name if _is_text(name) else None for name in names], dtype=pl.String)


def _is_text(name: str) -> bool:
    return not any("\ud800" <= char <= "\udfff" for char in name)
