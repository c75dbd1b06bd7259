"""What the policies are granted in made-up worlds keeps the rules, whatever the world; a few by example."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from cfm.model import (
    OLD_WORKER,
    Addr,
    DiskUsage,
    File,
    Hits,
    Known,
    Pause,
    Retry,
    ServerView,
    Side,
    Way,
    fits,
)
from cfm.plan import refusals
from cfm.plan.judge import Judge
from cfm.plan.kernel import KERNEL
from cfm.plan.ledger import Ledger
from cfm.plan.policies import POLICIES
from cfm.plan.policies.trims import by_keeping
from cfm.plan.round import Round
from cfm.plan.shortlist import Shortlist
from cfm.plan.view import SICK_AFTER_MS, ClusterView, Rules
from cfm.plan.wishes import Copy
from cfm.plan.worth import pays
from plan.worlds import (
    DISK_A,
    DISK_B,
    DISK_C,
    HELD,
    LOWER,
    NEW,
    NOW,
    SOURCE,
    SOURCE_2,
    TWICE,
    on_san,
    server,
    shortlist,
    task,
    with_server,
    world,
)

SIZES = st.integers(1, 400)


def decide(view: ClusterView, lists: Shortlist) -> Round:
    return Judge(view, KERNEL).run(POLICIES, lists)


@st.composite
def nodes(draw: st.DrawFn) -> tuple[ClusterView, Shortlist]:
    """A node of a few disks and sources, its library, and the lists that a full plan would make of it."""
    sizes = draw(st.lists(SIZES, min_size=1, max_size=25))
    library = [File(f"F{rank:02}.mpg", rank, size) for rank, size in enumerate(sizes, 1)]
    places = [draw(st.sets(st.sampled_from([DISK_A, DISK_B, DISK_C]))) for _ in library]
    servers = []
    for addr in (DISK_A, DISK_B, DISK_C):
        held = {
            file.name: file.size_bytes for file, where in zip(library, places, strict=True) if addr in where
        }
        other = draw(st.integers(0, 500))
        used = sum(held.values()) + other
        total = max(used, draw(st.integers(200, 3000)))
        servers.append(server(addr, held, disk=Known(DiskUsage(total, used, total - used), NOW.mono_ms)))
    rising = draw(st.sets(st.sampled_from([file.name for file in library]), max_size=3))
    view = world(
        [server(SOURCE), server(SOURCE_2), *servers],
        san={file.name: on_san(file) for file in library},
        hits=Hits(dict.fromkeys(rising, 9)),
        rules=Rules(breaker_percent=draw(st.sampled_from([25, 100]))),
    )
    placed = list(zip(library, places, strict=True))
    evictable = {
        addr: tuple(file for file, where in reversed(placed) if addr in where and file.name not in rising)
        for addr in (DISK_A, DISK_B, DISK_C)
    }
    wanted = sorted((f for f, where in placed if not where), key=lambda f: (f.name not in rising, f.rank))
    return view, shortlist(wanted, [f for f, where in placed if len(where) > 1], evictable)


def destinations(view: ClusterView) -> list[ServerView]:
    return [s for s in view.destinations if isinstance(s.disk, Known)]


@given(nodes())
def test_no_copy_brings_a_destination_over_its_limit(node: tuple[ClusterView, Shortlist]) -> None:
    view, lists = node
    arriving = Counter[str]()
    for copy in decide(view, lists).copies:
        arriving[copy.destination] += copy.file.size_bytes
    for place in destinations(view):
        assert isinstance(place.disk, Known)
        usage, more = place.disk.value, arriving[place.addr]
        assert not more or fits(usage.used_bytes, usage.avail_bytes, more, place.limit_percent)
        assert more <= usage.avail_bytes


@given(nodes())
def test_a_source_sends_one_and_a_file_is_decided_about_once(node: tuple[ClusterView, Shortlist]) -> None:
    round_ = decide(*node)
    assert all(number == 1 for number in Counter(copy.source for copy in round_.copies).values())
    names = [copy.file.name for copy in round_.copies] + [delete.file.name for delete in round_.deletes]
    assert len(names) == len(set(names))


@given(nodes())
def test_no_more_is_deleted_than_is_needed(node: tuple[ClusterView, Shortlist]) -> None:
    """Freed for room: at most the need and one largest file, on each server and for each purpose."""
    view, lists = node
    round_ = decide(view, lists)
    before = Ledger(view)
    for place in destinations(view):
        space = [
            (d, wanted) for d, wanted in round_.deletes_for() if d.server == place.addr and d.kind == "space"
        ]
        for purpose in {wanted for _d, wanted in space}:
            freed = [d.file.size_bytes for d, wanted in space if wanted == purpose]
            book = before.disks[place.addr]
            need = book.need_bytes if purpose is None else book.short_bytes(purpose)
            arriving = sum(copy.file.size_bytes for copy in round_.copies)
            assert sum(freed) <= need + arriving + max(freed)


@given(nodes())
def test_protected_and_better_files_do_not_go_for_room(node: tuple[ClusterView, Shortlist]) -> None:
    view, lists = node
    for delete, wanted in decide(view, lists).deletes_for():
        if delete.kind == "space":
            assert delete.file.name not in view.hits.rising
            if wanted is not None and wanted.name not in view.hits.rising:
                assert 100 * delete.file.rank > 110 * wanted.rank


@given(nodes())
def test_a_trim_leaves_a_copy_on_another_server(node: tuple[ClusterView, Shortlist]) -> None:
    view, lists = node
    round_ = decide(view, lists)
    gone = {(delete.server, delete.file.name) for delete in round_.deletes}
    for delete in round_.deletes:
        if delete.kind == "surplus":
            name = delete.file.name
            assert any((holder, name) not in gone for holder in view.holders[name])


@given(nodes())
def test_deciding_twice_gives_the_same(node: tuple[ClusterView, Shortlist]) -> None:
    assert decide(*node).booked == decide(*node).booked


def test_destinations_are_chosen_by_room_then_by_rest() -> None:
    view = world(
        [server(DISK_A, used_bytes=500), server(DISK_B, used_bytes=400), server(DISK_C, used_bytes=404)]
    )
    assert _first(view).destination == DISK_B, "404 of 1000 is 40 % as well"
    rested = with_server(view, DISK_B, last_chosen_ms=NOW.mono_ms)
    assert _first(rested).destination == DISK_C


def test_a_source_is_another_server_than_the_destination_where_it_can_be() -> None:
    both = server(DISK_B, used_bytes=100, is_source=True, last_chosen_ms=0)
    view = with_server(world([both]), SOURCE, last_chosen_ms=5)
    assert _first(with_server(view, SOURCE_2, up=False)).source == SOURCE


def test_a_file_that_fits_nowhere_does_not_hold_up_smaller_ones() -> None:
    big, small = File("BIG.mpg", 1, 5000), File("SMALL.mpg", 2, 10)
    view = world(san={f.name: on_san(f) for f in (big, small)})
    round_ = decide(view, shortlist([big, small]))
    assert [copy.file.name for copy in round_.copies] == ["SMALL.mpg"]
    assert round_.counts["copy", "no_room"] == 1


def test_room_is_made_where_the_least_wanted_files_lie() -> None:
    worst = replace(HELD, name="WORST.mpg", rank=5000)
    full_a = server(DISK_A, {HELD.name}, used_bytes=880)
    full_b = server(DISK_B, {worst.name}, used_bytes=880)
    view = world([full_a, full_b], san={f.name: on_san(f) for f in (NEW, HELD, worst)})
    lists = shortlist([NEW], evictable={DISK_A: (HELD,), DISK_B: (worst,)})
    (delete,) = decide(view, lists).deletes
    assert (delete.server, delete.file) == (DISK_B, worst)
    assert "NEW.mpg" in delete.reason


def test_what_only_a_busy_destination_takes_is_looked_up_ahead_and_holds_up_nothing() -> None:
    big, small = File("BIG.mpg", 1, 300), File("SMALL.mpg", 2, 10)
    roomy, tight = server(DISK_B, used_bytes=100), server(DISK_C, used_bytes=850)
    running = task(replace(NEW, size_bytes=1))
    view = world([roomy, tight], tasks={1: running}, rules=Rules(incoming_per_destination=1))
    view = replace(view, san={small.name: on_san(small)})
    round_ = decide(view, shortlist([big, small]))
    assert [(copy.file, copy.destination) for copy in round_.copies] == [(small, DISK_C)]
    assert (round_.ask_ahead, round_.ask_san) == ([big], [])
    assert round_.counts == {("copy", "no_destination"): 1}


def test_no_file_is_asked_about_where_all_that_is_worth_less_would_not_do() -> None:
    big = replace(NEW, size_bytes=400)
    full = server(DISK_A, {HELD.name}, used_bytes=880)
    view = world([full, server(DISK_B, used_bytes=900)], san={f.name: on_san(f) for f in (big, HELD)})
    round_ = decide(view, shortlist([big], evictable={DISK_A: (HELD,)}))
    assert round_.counts == {("copy", "no_room"): 1}


def test_a_server_that_lets_nothing_go_for_one_file_is_not_asked_for_the_next() -> None:
    wanted = [replace(NEW, name=f"NEW{rank}.mpg", rank=rank) for rank in range(1, 4)]
    full = server(DISK_A, {HELD.name}, used_bytes=880)
    view = world([full, server(DISK_B, used_bytes=900)], metadata_age_ms=10**9)
    view = replace(view, san={f.name: on_san(f) for f in (*wanted, HELD)})
    round_ = decide(view, shortlist(wanted, evictable={DISK_A: (HELD,)}))
    assert round_.counts == {("copy", "no_room"): 3, ("delete", "metadata_old"): 1}


# ── a destination that cost much time ───────────────────────────────────────────────────────────────────


def _one_spared(free_on_a_bytes: int) -> tuple[ClusterView, Shortlist]:
    """Copies to B hung, and it has the most room.  A is full of worse files.  There is one source."""
    servers = server(DISK_A, {HELD.name}, used_bytes=900 - free_on_a_bytes), server(DISK_B, used_bytes=10)
    pause = Pause(2, NOW.mono_ms - 1, NOW.mono_ms + 1, NOW.mono_ms - SICK_AFTER_MS, "it hangs")
    view = world(servers, pauses={Side(destination=DISK_B): pause})
    view = with_server(view, SOURCE_2, up=False)
    return view, shortlist([NEW], evictable={DISK_A: (HELD,)})


def test_room_is_made_elsewhere_before_a_trial_takes_the_source() -> None:
    round_ = decide(*_one_spared(free_on_a_bytes=0))
    assert not round_.copies
    assert [(delete.server, delete.file) for delete in round_.deletes] == [(DISK_A, HELD)]


def test_what_no_room_can_be_made_for_is_a_trial() -> None:
    view, lists = _one_spared(free_on_a_bytes=0)
    round_ = decide(view, replace(lists, evictable={}))
    assert [(copy.file, copy.destination) for copy in round_.copies] == [(NEW, DISK_B)]


def test_a_trial_waits_while_a_healthy_destination_takes_the_file() -> None:
    view, lists = _one_spared(free_on_a_bytes=200)
    round_ = decide(view, lists)
    assert [(copy.file, copy.destination) for copy in round_.copies] == [(NEW, DISK_A)]
    busy = replace(view, tasks={1: task(replace(HELD, size_bytes=1), destination=DISK_A)})
    assert not decide(replace(busy, rules=Rules(incoming_per_destination=1)), lists).booked


def test_a_trial_waits_for_the_answers_that_better_files_wait_for() -> None:
    view, lists = _one_spared(free_on_a_bytes=0)
    round_ = decide(replace(view, san={NEW.name: on_san(NEW)}), lists)
    assert (round_.booked, round_.ask_san) == ([], [HELD])


def test_for_one_trial_the_san_is_asked_for_one_file() -> None:
    view, lists = _one_spared(free_on_a_bytes=0)
    wanted = [replace(NEW, name=f"NEW{rank}.mpg", rank=rank) for rank in range(1, 9)]
    round_ = decide(replace(view, san={}), replace(lists, wanted=tuple(wanted), evictable={}))
    assert (round_.booked, round_.ask_san) == ([], [wanted[3]]), "the first three are passed over"


# ── which file is a trial ───────────────────────────────────────────────────────────────────────────────


def _trial(number: int, failed: Mapping[str, Collection[Way]] | None = None) -> str:
    """Which of twenty files is the trial of this number at the only source."""
    library = [File(f"F{rank:02}.mpg", rank, 10) for rank in range(20)]
    pause = Pause(number, NOW.mono_ms - 1, NOW.mono_ms - 1, NOW.mono_ms - SICK_AFTER_MS, "404")
    retries = {name: Retry(1, NOW.mono_ms - 1, frozenset(ways)) for name, ways in (failed or {}).items()}
    view = with_server(world(pauses={Side(source=SOURCE): pause}, retries=retries), SOURCE_2, up=False)
    view = replace(view, san={file.name: on_san(file) for file in library})
    (copy,) = decide(view, shortlist(library)).copies
    return copy.file.name


def test_each_trial_begins_at_another_place_of_the_list() -> None:
    """Files of the best ranks that nobody can read would be all trials of a good source."""
    assert [_trial(number) for number in range(1, 4)] == ["F00.mpg", "F03.mpg", "F15.mpg"]
    assert len({_trial(number) for number in range(1, 12)}) >= 8


def test_a_file_that_has_not_failed_yet_is_a_trial_first() -> None:
    """One that failed from another source only is a trial before one that failed from this source."""
    elsewhere, here = (SOURCE_2, DISK_B), [(SOURCE, DISK_A), (SOURCE, DISK_B)]
    others = [f"F{rank:02}.mpg" for rank in range(20) if rank not in (7, 12)]
    assert _trial(1, dict.fromkeys(others, here) | {"F07.mpg": [elsewhere]}) == "F12.mpg"
    assert _trial(1, dict.fromkeys((*others, "F12.mpg"), here) | {"F07.mpg": [elsewhere]}) == "F07.mpg"


def test_a_file_that_fails_goes_to_an_old_worker_last() -> None:
    """It takes a task late, and keeps a source waiting."""
    old = server(DISK_B, used_bytes=10, features=OLD_WORKER)
    view = world([server(DISK_A, used_bytes=500), old, server(DISK_C, used_bytes=500)])

    def first(*, failures: int, avoid: Collection[Addr]) -> Addr:
        ways = frozenset((source, to) for source in (SOURCE, SOURCE_2) for to in avoid)
        retry = Retry(failures, not_before_ms=NOW.mono_ms, avoid=ways)
        (copy,) = decide(replace(view, retries={NEW.name: retry}), shortlist([NEW])).copies
        return copy.destination

    (healthy,) = decide(view, shortlist([NEW])).copies
    assert healthy.destination == DISK_B, "it has the most room"
    assert first(failures=1, avoid=[DISK_A]) == DISK_C
    assert first(failures=1, avoid=[DISK_A, DISK_C]) == DISK_B, "perhaps it works there"
    assert first(failures=2, avoid=[DISK_A, DISK_C]) == DISK_A, "it fails wherever it is copied to"


# ── surplus copies go first ─────────────────────────────────────────────────────────────────────────────


def test_surplus_copies_make_room_before_a_unique_file_goes() -> None:
    full = server(DISK_A, {HELD.name, TWICE.name}, used_bytes=880)
    view = world([full, server(DISK_B, {TWICE.name}, used_bytes=900)])
    round_ = decide(view, shortlist([NEW], [TWICE], {DISK_A: (HELD,)}))
    ((delete, room_for),) = round_.deletes_for()
    assert (delete.file, delete.kind, delete.server) == (TWICE, "surplus", DISK_A)
    assert (delete.keeper, room_for) == (DISK_B, NEW)


def test_a_unique_file_goes_only_for_what_surplus_copies_do_not_make() -> None:
    big = replace(NEW, size_bytes=200)
    full = server(DISK_A, {HELD.name, TWICE.name}, used_bytes=880)
    view = world([full, server(DISK_B, {TWICE.name}, used_bytes=900)])
    view = replace(view, san={**view.san, big.name: on_san(big)})
    deletes = decide(view, shortlist([big], [TWICE], {DISK_A: (HELD,)})).deletes
    assert [(delete.file, delete.kind) for delete in deletes] == [(TWICE, "surplus"), (HELD, "space")]


def test_a_surplus_copy_goes_where_the_disk_is_over_its_limit_though_the_other_is_fuller() -> None:
    over = server(DISK_A, {HELD.name, TWICE.name}, used_bytes=920, limit_percent=85)
    view = world([over, server(DISK_B, {TWICE.name}, used_bytes=940, limit_percent=95)])
    (delete,) = decide(view, shortlist(surplus=[TWICE], evictable={DISK_A: (HELD,)})).deletes
    assert (delete.file, delete.server, delete.kind) == (TWICE, DISK_A, "surplus")


def test_of_two_disks_over_their_limits_the_one_with_fewer_surplus_copies_gets_its_trim() -> None:
    """What only one of them could use is left to it, so that no unique file must go on the other."""
    once = replace(HELD, name="ONCE.mpg", rank=30)
    only_b = replace(TWICE, name="ONLYB.mpg", rank=60)
    view = world(
        [
            server(DISK_A, {once.name, TWICE.name}, used_bytes=950),
            server(DISK_B, {HELD.name, TWICE.name, only_b.name}, used_bytes=960),
            server(DISK_C, {only_b.name}, used_bytes=100),
        ]
    )
    view = replace(view, san={one.name: on_san(one) for one in (once, HELD, TWICE, only_b)})
    lists = shortlist(surplus=[TWICE, only_b], evictable={DISK_A: (once,), DISK_B: (HELD,)})
    deletes = decide(view, lists).deletes
    assert {(delete.file.name, delete.server) for delete in deletes} == {
        (TWICE.name, DISK_A),
        (only_b.name, DISK_B),
    }


@given(nodes())
def test_no_unique_file_goes_while_surplus_copies_there_would_do(
    node: tuple[ClusterView, Shortlist],
) -> None:
    view, lists = node
    round_ = decide(view, lists)
    going = {(delete.server, delete.file.name) for delete in round_.deletes}
    for delete in round_.deletes:
        others = view.holders[delete.file.name] - {delete.server}
        if delete.kind == "space" and not others:
            left = [
                file
                for file in lists.surplus
                if delete.server in view.holders[file.name]
                and not any((addr, file.name) in going for addr in view.holders[file.name])
            ]
            assert sum(file.size_bytes for file in left) < delete.file.size_bytes


@given(nodes())
def test_what_goes_for_a_file_is_worth_clearly_less(node: tuple[ClusterView, Shortlist]) -> None:
    view, lists = node
    going: dict[File, list[File]] = {}
    for delete, wanted in decide(view, lists).deletes_for():
        if wanted is not None and delete.kind == "space":
            going.setdefault(wanted, []).append(delete.file)
    for wanted, files in going.items():
        assert pays(view, wanted, files)


# ── no list is blocked by its head ──────────────────────────────────────────────────────────────────────


def test_files_that_no_disk_can_take_hold_up_no_small_ones_behind_them() -> None:
    """However many there are."""
    large = [File(f"BIG{rank:04}.mpg", rank, 2_000 + rank) for rank in range(1, 501)]
    small = File("SMALL.mpg", 501, 100)
    worst = replace(HELD, rank=5000)
    view = world([server(DISK_A, {worst.name}, used_bytes=880), server(DISK_B, used_bytes=900)])
    view = replace(view, san={file.name: on_san(file) for file in (*large, small, worst)})
    ((delete, wanted),) = decide(view, shortlist([*large, small], evictable={DISK_A: (worst,)})).deletes_for()
    assert (delete.file, wanted) == (worst, small)


def test_files_that_only_a_sick_destination_takes_hold_up_no_others() -> None:
    """Its room is there, so none is to be made for them; sixteen of them ended the search."""
    view, lists = _one_spared(free_on_a_bytes=0)
    large = [File(f"BIG{rank:04}.mpg", rank, 300) for rank in range(1, 21)]
    small = File("SMALL.mpg", 21, 100)
    view = replace(view, san={file.name: on_san(file) for file in (*large, small, HELD)})
    round_ = decide(view, replace(lists, wanted=(*large, small)))
    assert [(delete.file, wanted) for delete, wanted in round_.deletes_for()] == [(HELD, small)]


def test_a_file_that_is_not_needed_for_the_room_stays() -> None:
    """The small one is worse, and would not do; the large one does alone."""
    big = replace(NEW, size_bytes=150)
    little, large = File("LITTLE.mpg", 990, 40), replace(HELD, size_bytes=300)
    view = world([server(DISK_A, {little.name, large.name}, used_bytes=880), server(DISK_B, (), 900)])
    view = replace(view, san={file.name: on_san(file) for file in (big, little, large)})
    deletes = decide(view, shortlist([big], evictable={DISK_A: (little, large)})).deletes
    assert [delete.file for delete in deletes] == [large]


def test_two_files_stay_where_the_wanted_one_is_little_better() -> None:
    big = replace(NEW, size_bytes=200)
    near = [File("NEAR1.mpg", 7, 100), File("NEAR2.mpg", 6, 100)]
    view = world([server(DISK_A, {file.name for file in near}, used_bytes=900), server(DISK_B, (), 900)])
    view = replace(view, san={file.name: on_san(file) for file in (big, *near)})
    assert not decide(view, shortlist([big], evictable={DISK_A: tuple(near)})).deletes


def test_a_server_that_carries_out_no_deletes_holds_up_no_trims_elsewhere() -> None:
    twice = [File(f"T{rank:03}.mpg", rank, 1) for rank in range(1, 401)]
    stuck, other = {file.name for file in twice[:399]}, {twice[399].name}
    view = world(
        [
            server(DISK_A, stuck, 800, no_deletes_until_ms=NOW.mono_ms + 1),
            server(DISK_B, stuck | other, 300),
            server(DISK_C, other, 800),
        ]
    )
    (delete,) = decide(view, shortlist(surplus=twice)).deletes
    assert (delete.server, delete.file) == (DISK_C, twice[399])


def test_no_room_is_made_while_every_source_is_busy() -> None:
    full = server(DISK_A, {HELD.name}, used_bytes=880)
    view = world([full, server(DISK_B, used_bytes=900)])
    lists = shortlist([NEW], evictable={DISK_A: (HELD,)})
    assert decide(view, lists).booked
    busy = with_server(with_server(view, SOURCE, up=False), SOURCE_2, up=False)
    assert not decide(busy, lists).booked


def test_the_copy_that_stays_is_under_its_limit_with_least_use() -> None:
    names = {TWICE.name}
    disks = [server(DISK_A, names, 950), server(DISK_B, names, 300), server(DISK_C, names, 200)]
    (delete,) = decide(world(disks), shortlist(surplus=[TWICE])).deletes
    assert delete.keeper == DISK_C
    assert delete.server == DISK_A


def test_few_files_are_wished_for_until_each_destination_was_looked_at() -> None:
    files = [File(f"F{rank}.mpg", rank, 1) for rank in range(1, 1001)]
    round_ = decide(replace(world(), first_look=True), shortlist(files))
    assert round_.times("copy", refusals.HOLDER_UNKNOWN) == len(round_.refused) == 8


def test_without_sources_the_reason_is_told() -> None:
    view = with_server(with_server(world(), SOURCE, up=False), SOURCE_2, up=False)
    round_ = decide(view, shortlist([NEW]))
    assert [refused.refusal for refused in round_.refused] == [refusals.NO_SOURCE]


def _first(view: ClusterView) -> Copy:
    return decide(view, shortlist([NEW])).copies[0]


# ── one disk under two addresses ────────────────────────────────────────────────────────────────────────


def double(used_bytes: int = 950, alias_bytes: int | None = None) -> ClusterView:
    """DISK_A, which is asked first, has a lower address as well; nothing else takes anything."""
    seen_bytes = used_bytes if alias_bytes is None else alias_bytes
    alias = server(DISK_A, {HELD.name}, seen_bytes, same_disk=frozenset({LOWER}))
    lower = server(LOWER, {HELD.name}, used_bytes, same_disk=frozenset({DISK_A}))
    return with_server(world([alias, lower]), DISK_B, up=False)


def test_a_disk_with_two_addresses_is_brought_back_to_its_limit_once() -> None:
    round_ = decide(double(), shortlist(evictable={DISK_A: (HELD,), LOWER: (HELD,)}))
    (delete,) = round_.deletes
    assert delete.server == LOWER
    assert (DISK_A, refusals.SAME_DISK_SUSPECTED) in round_.brakes


def test_a_disk_with_two_addresses_is_filled_through_one() -> None:
    round_ = decide(double(used_bytes=500), shortlist([NEW]))
    (copy,) = round_.copies
    assert copy.destination == LOWER


def test_what_would_fit_only_by_an_older_look_at_the_other_address_gets_room_made() -> None:
    round_ = decide(
        double(used_bytes=850, alias_bytes=100), shortlist([NEW], evictable={DISK_A: (HELD,), LOWER: (HELD,)})
    )
    ((delete, wanted),) = round_.deletes_for()
    assert (delete.server, wanted) == (LOWER, NEW)


def test_the_copy_at_the_address_that_is_used_stays() -> None:
    view = double(used_bytes=500, alias_bytes=100)
    outlook = Judge(view, KERNEL).outlook(shortlist())
    assert by_keeping(outlook, HELD, [DISK_A, LOWER]) == [LOWER, DISK_A]
