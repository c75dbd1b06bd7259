"""Both ways to make a shortlist give the same one, and it keeps its promises.

The promises are tried on many worlds with the plain twin, which is quick; the first property carries them
over to the columns.  The odd cases at the end go through both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cfm.model import Addr, File, KnownStock
from cfm.plan import reduce
from cfm.plan.reference import shortlist
from cfm.plan.shortlist import PlanInputs, Shortlist, size_class

SCHEMA = pl.Schema(
    [
        ("rank", pl.Int64()),
        ("name", pl.String()),
        ("size_bytes", pl.Int64()),
        ("hits", pl.Int64()),
        ("history_ips", pl.List(pl.String())),
    ]
)
A, B, C = SERVERS = [Addr("10.0.0.1:80"), Addr("10.0.0.2:80"), Addr("10.0.0.33:80")]
IPS = ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.33", "not ours"]

# Equal but for case, a space, or how Unicode spells the letter; ads; and beginnings of each other.
KNOWN = [
    "a.mpg",
    "A.mpg",
    "a.mpg ",
    "é.mpg",
    "e\u0301.mpg",
    "AD1.mpg",
    "ad1.mpg",
    "AD",
    "NO",
    "010",
    "日本.mpg",
]
KNOWN += [f"m{number}.mpg" for number in range(8)]
# What the outside may name besides: nothing known, or no text at all.
FOREIGN = ["unknown.mpg", "", "a", "\ud800"]

known = st.frozensets(st.sampled_from(KNOWN))
any_names = st.frozensets(st.sampled_from(KNOWN + FOREIGN))
some_ips = st.lists(st.sampled_from(IPS), max_size=3).map(tuple)
sizes = st.integers(1, 6)


@st.composite
def libraries(draw: st.DrawFn) -> list[File]:
    """Known files, in any order, at any ranks of a grade file that names others too."""
    names = draw(st.permutations(sorted(draw(known))))
    ranks = st.lists(st.integers(1, 2**40), unique=True, min_size=len(names), max_size=len(names))
    hits = st.integers(0, 2**62)
    return [
        File(name, rank, draw(sizes), draw(hits), draw(some_ips))
        for name, rank in zip(names, draw(ranks), strict=True)
    ]


worlds = st.builds(
    PlanInputs,
    snapshot_id=st.just("snapshot"),
    listings=st.dictionaries(st.sampled_from(SERVERS), any_names),
    unlisted_ips=st.frozensets(st.sampled_from(IPS), max_size=2),
    rising=st.dictionaries(st.sampled_from(KNOWN + FOREIGN), st.integers(0, 3)),
    watched=any_names,
    young=st.dictionaries(st.sampled_from(SERVERS), any_names),
    ad_prefixes=st.lists(st.sampled_from(["", "AD", "NO", "m1", "a.mpg", "x"]), max_size=3).map(tuple),
    left_alone=st.frozensets(st.sampled_from(KNOWN + FOREIGN), max_size=3),
    on_san=st.none() | any_names,
    found_bytes=st.dictionaries(st.sampled_from(KNOWN + FOREIGN), st.integers(0, 6), max_size=4),
    largest_room_bytes=st.integers(-1, 7),
    largest_disk_bytes=st.none() | st.integers(0, 7),
    stale=any_names,
    max_wanted=st.integers(0, 5),
    max_unfitting=st.integers(0, 3),
    max_evictable=st.integers(0, 3),
    max_surplus=st.integers(0, 3),
)
QUIET = PlanInputs(
    snapshot_id="snapshot",
    listings={},
    unlisted_ips=frozenset(),
    rising={},
    watched=frozenset(),
    young={},
    ad_prefixes=(),
    left_alone=frozenset(),
    on_san=None,
    largest_room_bytes=100,
)


def frame_of(files: Sequence[File]) -> pl.DataFrame:
    rows = [(f.rank, f.name, f.size_bytes, f.hits, list(f.history_ips)) for f in files]
    return pl.DataFrame(rows, schema=SCHEMA, orient="row").sort("rank")


def both(files: Sequence[File], inputs: PlanInputs) -> Shortlist:
    """The one answer of both reductions."""
    answer = shortlist(files, inputs)
    assert reduce.shortlist(frame_of(files), inputs) == answer
    return answer


def uncut(inputs: PlanInputs) -> PlanInputs:
    return replace(
        inputs,
        max_wanted=99,
        max_unfitting=99,
        max_evictable=99,
        max_evictable_ever=99,
        max_surplus=99,
    )


def listed(answer: Shortlist) -> set[File]:
    return {*answer.wanted, *answer.surplus}.union(*answer.evictable.values())


def names(files: Sequence[File]) -> list[str]:
    return [file.name for file in files]


@settings(max_examples=80, deadline=None)
@given(libraries(), st.lists(worlds, min_size=1, max_size=4))
def test_columns_and_plain_python_agree(files: list[File], plans: list[PlanInputs]) -> None:
    """A reducer remembers what plans before looked up; its twin remembers nothing."""
    reducer = reduce.Reducer(frame_of(files))
    for inputs in [*plans, plans[0]]:
        assert reducer.shortlist(inputs) == shortlist(files, inputs)


# ── promises ────────────────────────────────────────────────────────────────────────────────────────────


promise = settings(max_examples=50, deadline=None)


@promise
@given(libraries(), worlds)
def test_the_order_of_servers_and_files_is_no_matter(files: list[File], inputs: PlanInputs) -> None:
    turned = replace(inputs, listings=dict(reversed(list(inputs.listings.items()))))
    assert shortlist(files, inputs) == shortlist(files[::-1], turned)


@promise
@given(libraries(), worlds)
def test_ads_files_left_alone_and_files_missing_on_the_san_are_on_no_list(
    files: list[File], inputs: PlanInputs
) -> None:
    for file in listed(shortlist(files, inputs)):
        assert not any(file.name.startswith(prefix) for prefix in inputs.ad_prefixes if prefix)
        assert file.name not in inputs.left_alone
        assert inputs.on_san is None or file.name in inputs.on_san
        assert inputs.found_bytes.get(file.name) in (None, file.size_bytes)


@promise
@given(libraries(), worlds)
def test_what_is_absent_is_a_known_file_of_another_size(files: list[File], inputs: PlanInputs) -> None:
    for file in shortlist(files, inputs).absent:
        assert file in files
        assert inputs.found_bytes[file.name] != file.size_bytes


@promise
@given(libraries(), worlds)
def test_an_unknown_san_excludes_as_little_as_a_full_one(files: list[File], inputs: PlanInputs) -> None:
    full = replace(inputs, on_san=frozenset(names(files)))
    unknown = shortlist(files, replace(inputs, on_san=None))
    assert unknown.on_san_total is None
    assert replace(unknown, on_san_total=unknown.known_total) == shortlist(files, full)


@promise
@given(libraries(), worlds)
def test_what_is_wanted_is_missing_and_could_be_somewhere(files: list[File], inputs: PlanInputs) -> None:
    for file in shortlist(files, inputs).wanted:
        assert file in files
        nowhere = all(file.name not in there for there in inputs.listings.values())
        assert nowhere or file.name in inputs.stale
        assert not inputs.unlisted_ips & set(file.history_ips)
        assert inputs.largest_disk_bytes is None or file.size_bytes <= inputs.largest_disk_bytes


@promise
@given(libraries(), worlds)
def test_rising_files_come_first_then_ranks(files: list[File], inputs: PlanInputs) -> None:
    wanted = shortlist(files, uncut(inputs)).wanted
    rising = [file for file in wanted if file.name in inputs.rising]
    others = wanted[len(rising) :]
    assert list(wanted[: len(rising)]) == rising
    assert [(-inputs.rising[file.name], file.rank) for file in rising] == sorted(
        (-inputs.rising[file.name], file.rank) for file in rising
    )
    assert [file.rank for file in others] == sorted(file.rank for file in others)


@promise
@given(libraries(), worlds)
def test_nothing_that_could_be_decided_is_forgotten(files: list[File], inputs: PlanInputs) -> None:
    """Without limits, and nothing that speaks against it, every known file is on the list it belongs to."""
    held = {server: frozenset(there) for server, there in inputs.listings.items()}
    plain = replace(QUIET, listings=held, largest_room_bytes=inputs.largest_room_bytes)
    answer = shortlist(files, uncut(plain))
    for file in files:
        holders = {server for server, there in held.items() if file.name in there}
        assert (file in answer.wanted) == (not holders)
        assert (file in answer.surplus) == (len(holders) >= 2)
        assert {server for server, goers in answer.evictable.items() if file in goers} == holders
        assert answer.holders.get(file.name, holders) == holders
    assert not answer.cut


@promise
@given(libraries(), worlds)
def test_the_cut_keeps_the_best_and_says_so(files: list[File], inputs: PlanInputs) -> None:
    whole, cut = shortlist(files, uncut(inputs)), shortlist(files, inputs)
    assert cut.wanted_total == len(whole.wanted)
    assert cut.surplus_total == len(whole.surplus)
    assert cut.surplus == whole.surplus[: inputs.max_surplus]
    for server, goers in whole.evictable.items():
        kept = cut.evictable[server]
        assert kept == goers[: len(kept)]
        assert len(kept) <= inputs.max_evictable_ever
    assert cut.cut == (cut != whole)


@promise
@given(libraries(), worlds)
def test_what_may_go_is_cut_by_bytes_and_by_number_only_where_the_bytes_do(
    files: list[File], inputs: PlanInputs
) -> None:
    """It makes room for the largest wanted file, if all that may go there does."""
    whole, cut = shortlist(files, uncut(inputs)), shortlist(files, inputs)
    largest_bytes = max((file.size_bytes for file in cut.wanted), default=0)
    for server, goers in whole.evictable.items():
        kept = cut.evictable[server]
        if len(kept) < min(len(goers), inputs.max_evictable_ever):
            assert sum(file.size_bytes for file in kept) >= largest_bytes
            assert len(kept) >= inputs.max_evictable
            assert len(kept) == inputs.max_evictable or sum(f.size_bytes for f in kept[:-1]) < largest_bytes


@promise
@given(libraries(), worlds)
def test_what_was_deleted_for_room_hides_no_other_file(files: list[File], inputs: PlanInputs) -> None:
    inputs = uncut(inputs)
    without = {file.name for file in shortlist(files, replace(inputs, departed={})).wanted}
    wanted = {file.name for file in shortlist(files, inputs).wanted}
    for file in files:
        rank_then = inputs.departed.get(file.name)
        better = rank_then is None or (100 + inputs.room_margin_percent) * file.rank < 100 * rank_then
        assert (file.name in wanted) == (file.name in without and (better or file.name in inputs.rising))


@promise
@given(libraries(), worlds)
def test_what_fits_nowhere_holds_up_nothing_smaller(files: list[File], inputs: PlanInputs) -> None:
    """Fitting and unfitting files are cut apart from each other, and keep their common order."""
    whole, cut = shortlist(files, uncut(inputs)), shortlist(files, inputs)
    fitting = [file for file in whole.wanted if file.size_bytes <= inputs.largest_room_bytes]
    unfitting = [file for file in whole.wanted if file.size_bytes > inputs.largest_room_bytes]
    kept = {*fitting[: inputs.max_wanted], *unfitting[: inputs.max_unfitting]}
    worst_rank = max((file.rank for goers in whole.evictable.values() for file in goers), default=0)
    margin = 100 + inputs.room_margin_percent
    alike: dict[int, list[File]] = {}
    for file in unfitting:
        if worst_rank and (file.name in inputs.rising or margin * file.rank < 100 * worst_rank):
            alike.setdefault(size_class(file.size_bytes), []).append(file)
    kept.update(file for group in alike.values() for file in group[: inputs.max_alike])
    assert list(cut.wanted) == [file for file in whole.wanted if file in kept]


def test_sizes_of_one_class_differ_by_less_than_a_quarter() -> None:
    assert size_class(0) < size_class(4) < size_class(5) < size_class(8) == size_class(9) < size_class(10)
    assert size_class(2**40) == size_class(2**40 * 5 // 4 - 1) < size_class(2**40 * 5 // 4)


@promise
@given(libraries(), worlds)
def test_surplus_files_lie_on_two_servers_or_more(files: list[File], inputs: PlanInputs) -> None:
    surplus = shortlist(files, inputs).surplus
    for file in surplus:
        assert sum(file.name in there for there in inputs.listings.values()) >= 2
    assert [file.rank for file in surplus] == sorted(file.rank for file in surplus)


@promise
@given(libraries(), worlds)
def test_rising_watched_and_young_files_do_not_go_for_room(files: list[File], inputs: PlanInputs) -> None:
    evictable = shortlist(files, inputs).evictable
    assert evictable.keys() == inputs.listings.keys()
    for server, goers in evictable.items():
        assert inputs.listings[server] >= set(names(goers))
        protected = {*inputs.rising, *inputs.watched, *inputs.young.get(server, ())}
        assert protected.isdisjoint(names(goers))
        assert [file.rank for file in goers] == sorted((file.rank for file in goers), reverse=True)


@promise
@given(libraries(), worlds)
def test_the_stock_counts_what_is_there_and_what_may_go(files: list[File], inputs: PlanInputs) -> None:
    answer = shortlist(files, uncut(inputs))
    assert answer.stock.keys() == inputs.listings.keys()
    sizes = {file.name: file.size_bytes for file in files}
    for server, stock in answer.stock.items():
        evictable_bytes = sum(file.size_bytes for file in answer.evictable[server])
        there_bytes = sum(sizes.get(name, 0) for name in inputs.listings[server])
        assert evictable_bytes <= stock.may_go_bytes <= stock.known_bytes <= there_bytes


@promise
@given(libraries(), worlds, st.sampled_from(SERVERS), any_names)
def test_knowing_of_more_copies_never_makes_a_file_wanted(
    files: list[File], inputs: PlanInputs, server: Addr, more: frozenset[str]
) -> None:
    inputs = uncut(inputs)
    there = inputs.listings.get(server, frozenset())
    after = replace(inputs, listings={**inputs.listings, server: there | more})
    before, now = shortlist(files, inputs), shortlist(files, after)
    assert set(now.wanted) <= set(before.wanted)
    assert set(now.surplus) >= set(before.surplus)


# ── odd cases ───────────────────────────────────────────────────────────────────────────────────────────


def test_names_that_differ_in_case_or_spelling_are_different_files() -> None:
    alike = ["a.mpg", "A.mpg", "a.mpg ", "é.mpg", "e\u0301.mpg"]
    files = [File(name, rank, 1) for rank, name in enumerate(alike, start=1)]
    answer = both(files, replace(QUIET, listings={A: frozenset({"A.mpg", "é.mpg"})}))
    assert names(answer.wanted) == ["a.mpg", "a.mpg ", "e\u0301.mpg"]
    assert names(answer.evictable[A]) == ["é.mpg", "A.mpg"]


def test_an_empty_prefix_makes_no_ads() -> None:
    files = [File("AD1.mpg", 1, 1), File("a.mpg", 2, 1)]
    assert names(both(files, replace(QUIET, ad_prefixes=("",))).wanted) == ["AD1.mpg", "a.mpg"]
    assert names(both(files, replace(QUIET, ad_prefixes=("", "AD"))).wanted) == ["a.mpg"]


def test_a_prefix_is_text_not_a_pattern() -> None:
    files = [File("a.mpg", 1, 1), File(".*b.mpg", 2, 1)]
    assert names(both(files, replace(QUIET, ad_prefixes=(".*",))).wanted) == ["a.mpg"]


def test_a_rising_ad_stays_an_ad_and_an_unknown_rising_file_is_nobody() -> None:
    files = [File("AD1.mpg", 1, 1), File("a.mpg", 2, 1)]
    answer = both(files, replace(QUIET, ad_prefixes=("AD",), rising={"AD1.mpg": 9, "unknown.mpg": 8}))
    assert names(answer.wanted) == ["a.mpg"]


def test_rising_files_are_trimmed_too() -> None:
    on_both = {A: frozenset({"a.mpg"}), B: frozenset({"a.mpg"})}
    answer = both([File("a.mpg", 1, 1)], replace(QUIET, listings=on_both, rising={"a.mpg": 9}))
    assert names(answer.surplus) == ["a.mpg"]
    assert answer.evictable == {A: (), B: ()}


def test_a_file_on_three_servers_is_one_surplus_file() -> None:
    everywhere = dict.fromkeys(SERVERS, frozenset({"a.mpg"}))
    answer = both([File("a.mpg", 1, 1)], replace(QUIET, listings=everywhere))
    assert (names(answer.surplus), answer.surplus_total) == (["a.mpg"], 1)


def test_of_files_that_rise_alike_the_better_rank_is_first() -> None:
    files = [File("c.mpg", 1, 1), File("b.mpg", 2, 1), File("a.mpg", 3, 1)]
    assert names(both(files, replace(QUIET, rising={"a.mpg": 5, "b.mpg": 5})).wanted) == [
        "b.mpg",
        "a.mpg",
        "c.mpg",
    ]


def test_a_young_file_may_go_where_it_is_old() -> None:
    on_both = {A: frozenset({"a.mpg"}), B: frozenset({"a.mpg"})}
    answer = both([File("a.mpg", 1, 1)], replace(QUIET, listings=on_both, young={A: frozenset({"a.mpg"})}))
    assert answer.evictable == {A: (), B: (File("a.mpg", 1, 1),)}


def test_an_empty_listing_is_a_server_without_files() -> None:
    answer = both([File("a.mpg", 1, 1)], replace(QUIET, listings={A: frozenset(), B: frozenset({"a.mpg"})}))
    assert answer.evictable == {A: (), B: (File("a.mpg", 1, 1),)}


def test_a_history_ip_is_the_whole_ip() -> None:
    files = [File("a.mpg", 1, 1, 0, ("10.0.0.33",)), File("b.mpg", 2, 1, 0, ("10.0.0.3",))]
    assert names(both(files, replace(QUIET, unlisted_ips=frozenset({"10.0.0.3"}))).wanted) == ["a.mpg"]


def test_a_file_larger_than_any_disk_takes_no_place_from_one_for_which_room_can_be_made() -> None:
    files = [File("giant.mpg", 1, 90), File("large.mpg", 2, 20), File("small.mpg", 3, 5)]
    full = replace(QUIET, largest_room_bytes=10, largest_disk_bytes=50, max_unfitting=1)
    answer = both(files, full)
    assert names(answer.wanted) == ["large.mpg", "small.mpg"]
    assert not answer.cut


def test_a_library_without_files() -> None:
    answer = both(
        [], replace(QUIET, listings={A: frozenset({"a.mpg"})}, rising={"a.mpg": 1}, ad_prefixes=("AD",))
    )
    assert answer == Shortlist(
        "snapshot", (), 0, (), 0, {A: ()}, cut=False, stock={A: KnownStock(0, 0, unknown_files=1)}
    )


def test_a_file_without_a_history_of_servers_has_none() -> None:
    frame = frame_of([File("a.mpg", 1, 1)]).with_columns(history_ips=pl.lit(None, dtype=pl.List(pl.String)))
    answer = reduce.shortlist(frame, replace(QUIET, unlisted_ips=frozenset({"10.0.0.1"})))
    assert answer.wanted == (File("a.mpg", 1, 1),)


def test_a_list_longer_than_a_piece_is_read_whole() -> None:
    files = [File(f"m{number}.mpg", number, 1) for number in range(1, 100_001)]
    placed = frozenset(names(files[:70_000]))
    answer = both(
        files, replace(QUIET, listings={A: placed, B: frozenset({"\ud800", *names(files[69_990:70_000])})})
    )
    assert answer.wanted == tuple(files[70_000:74_096])
    assert (answer.wanted_total, answer.surplus_total, answer.cut) == (30_000, 10, True)
    assert answer.evictable[A] == tuple(files[69_999:69_935:-1])


def test_other_files_of_the_same_hash_are_other_files() -> None:
    """Among so many pairs of names some have all the bits in common that the columns compare first."""
    files = [File(f"m{number}.mpg", number, 1) for number in range(1, 100_001)]
    foreign = frozenset(f"x{number}.mpg" for number in range(300_000))
    answer = both(files, replace(QUIET, listings={A: foreign}))
    assert answer.wanted_total == len(files)
    assert answer.evictable == {A: ()}


def test_files_out_of_order_are_no_snapshot() -> None:
    with pytest.raises(ValueError, match="sorted by rank"):
        reduce.Reducer(frame_of([File("a.mpg", 1, 1), File("b.mpg", 2, 1)]).reverse())
