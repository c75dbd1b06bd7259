"""Making room, and what a server brings back: once, at the right place, and at once."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from cfm.controller.decide import events as ev
from cfm.controller.decide.departures import SURE_MS
from cfm.controller.explain.verdict import verdict
from cfm.model import File
from cfm.plan.view import Departure, Reservation, Rules
from controller.node import Node, Worker, files

LARGE = File("BIG.mpg", 1, 150, hits=5)


def full_node(destinations: int) -> Node:
    """Every disk is at its limit, with files of a lower rank than a large one that lies nowhere."""
    small = [replace(file, rank=file.rank + 1) for file in files(9 * destinations)]
    node = Node([LARGE, *small], sources=3, destinations=destinations, rules=Rules(minimum_stay_ms=0))
    for i, addr in enumerate(node.destinations):
        node.put(addr, *small[i::destinations])
    node.grade()
    return node


def test_room_is_made_once_and_on_one_disk() -> None:
    node = full_node(destinations=3)
    node.run(20_000)
    (holder,) = node.holders(LARGE.name)
    assert {addr for addr, _ in node.deleted} == {holder}
    assert len(node.deleted) == 2  # of 100 bytes each, for 150
    assert not node.says("delete dropped")  # none was planned elsewhere before `/df` showed the room


def test_room_is_there_for_the_file_it_was_made_for_and_then_for_others() -> None:
    node = full_node(destinations=2)
    node.run(20_000)
    assert not node.core.state.reservations.reserved
    before = len(node.delivered)
    node.san["NEXT.mpg"] = 90
    node.grade([*node.library, File("NEXT.mpg", 1, 90, hits=9)])
    node.run(20_000)
    assert len(node.delivered) == before + 1


def test_room_that_was_kept_in_vain_is_anybodys_when_its_time_is_over() -> None:
    node = Node(files(1), sources=1, destinations=1, disk_bytes=200, rules=Rules(limit_percent=60))
    hold_ms = node.core.state.rules.room_hold_ms
    kept_for = File("NEVER.mpg", 1, 100, hits=5)
    reservation = Reservation(kept_for, node.now_ms + hold_ms)
    node.core.state.reservations.reserve(node.destinations[0], reservation)
    node.grade()
    node.run(hold_ms - 1_000)
    assert not node.delivered
    node.run(15_000)
    assert len(node.delivered) == 1


def test_a_server_that_returns_with_the_list_it_had_is_trimmed_at_once() -> None:
    rules = Rules(minimum_stay_ms=0, unknown_grace_ms=5_000)
    node = Node(files(4), destinations=2, rules=rules)
    node.grade()
    node.run(20_000)
    dead = node.destinations[0]
    lost = set(node.workers[dead].files)
    assert lost
    node.kill(dead)
    node.run(200_000)
    assert lost <= set(node.workers[node.destinations[1]].files)
    node.revive(dead)
    node.run(30_000 + 2_000)  # a heartbeat, and two seconds
    assert not [name for name in lost if len(node.holders(name)) > 1]


# ── a full node does not freeze ─────────────────────────────────────────────────────────────────────────


def full_of_worse(files_there: int) -> Node:
    """One full disk, and as many better files that lie nowhere."""
    library = files(2 * files_there)
    rules = Rules(minimum_stay_ms=0, breaker_percent=100, space_deletes_per_minute=1_000)
    node = Node(library, destinations=1, disk_bytes=files_there * 1000 // 9, rules=rules, transfer_ms=100)
    node.put(node.destinations[0], *(replace(file, size_bytes=100) for file in library[files_there:]))
    node.grade()
    return node


@pytest.mark.parametrize("files_there", [9, 90])
def test_better_files_come_one_after_another_until_none_is_worth_the_room(files_there: int) -> None:
    """Every victim of the last plan may be gone: the next one is looked for at once, not a minute later."""
    node = full_of_worse(files_there)
    before_a_full_look_ms = 55_000
    node.run(before_a_full_look_ms)
    worst = max(int(name[1:4]) for name in node.workers[node.destinations[0]].files)
    left = [file.rank for file in node.library if not node.holders(file.name)]
    assert len(node.delivered) > files_there // 2
    assert 100 * worst <= 110 * min(left)


# ── no list is blocked by its head ──────────────────────────────────────────────────────────────────────


def blocked(large: int) -> Node:
    """One full disk; many files that are too large for all that may go there, and ten small ones behind."""
    held = [File(f"H{i:02}.mpg", 5_000 + i, 100, hits=1) for i in range(9)]
    too_large = [File(f"L{i:04}.mpg", i, 880, hits=9_000 - i) for i in range(1, large + 1)]
    small = [File(f"S{i:02}.mpg", large + i, 40, hits=50) for i in range(1, 11)]
    rules = Rules(minimum_stay_ms=0, breaker_percent=100, space_deletes_per_minute=1_000)
    node = Node([*held, *too_large, *small], sources=2, destinations=1, rules=rules, transfer_ms=100)
    node.put(node.destinations[0], *held, File("STRANGE.mpg", 1, 30))
    node.grade()
    return node


@pytest.mark.parametrize("large", [20, 3_000])
def test_ten_small_files_are_placed_behind_many_for_which_no_disk_can_make_room(large: int) -> None:
    node = blocked(large)
    node.run(30_000)
    assert sum(bool(node.holders(f"S{i:02}.mpg")) for i in range(1, 11)) == 10
    assert not any(name.startswith("L") for _ms, _addr, name in node.delivered)


def test_a_list_whose_files_all_stopped_fitting_is_planned_anew_at_once() -> None:
    """More files of 100 bytes than a list holds, and small ones behind them that would still fit."""
    large = files(4_200)
    small = [File(f"S{i}.mpg", 5_000 + i, 10) for i in range(1, 4)]
    node = Node([*large, *small], destinations=1, disk_bytes=400, transfer_ms=100)
    node.grade()
    node.run(5_000)
    assert [name for _ms, _addr, name in node.delivered][:3] == ["F001.mpg", "F002.mpg", "F003.mpg"]
    assert len(node.delivered) == 6, "one after another, and no look at all servers in between"
    plans = node.asked["StartPlan"]
    node.run(600_000)
    assert node.asked["StartPlan"] <= plans + 2


def test_files_that_were_just_deleted_hide_no_others() -> None:
    node = Node(files(4_200), destinations=1, disk_bytes=1_000, transfer_ms=100)
    now_ms = node.now.mono_ms
    for file in node.library[:4_190]:
        node.core.state.departures.put(file.name, Departure(now_ms, file), (node.destinations[0], ""))
    node.grade()
    node.run(10_000)
    assert [int(name[1:5].rstrip(".")) for _ms, _addr, name in node.delivered] == list(range(4191, 4200))


def test_what_may_not_come_back_yet_is_told_where_a_disk_has_much_room() -> None:
    """Other data came and left: the node is idle, and nearly half of its disk is free."""
    rules = Rules(minimum_stay_ms=0, breaker_percent=100, space_deletes_per_minute=1_000)
    node = Node(files(9), destinations=1, disk_bytes=1_000, rules=rules, transfer_ms=100)
    (addr,) = node.destinations
    strange = File("STRANGE.mpg", 1, 400)
    node.grade()
    node.run(60_000)
    node.put(addr, strange)
    node.run(120_000)
    del node.workers[addr].files[strange.name]
    node.run(120_000)
    assert len(node.workers[addr].files) == 5
    told = {one.name: one for one in verdict(node.core, node.core.last_round, node.now).conditions}
    assert told["just_deleted"].files == 4
    assert told["just_deleted"].text.endswith("a disk has 400 B free")
    node.send(ev.RulesChanged(replace(rules, limit_percent=91)))
    node.run(60_000)
    assert len(node.workers[addr].files) == 9
    assert "just_deleted" not in {
        one.name for one in verdict(node.core, node.core.last_round, node.now).conditions
    }


def test_a_limit_that_was_mistyped_and_corrected_leaves_the_best_files_in_place() -> None:
    """What went for the lower limit comes back at once.  Worse files would fill its room for a day.

    The last list may still be used up first, so the least wanted place may go to a file of nearly that rank.
    """
    rules = Rules(minimum_stay_ms=0, breaker_percent=100, space_deletes_per_minute=1_000)
    node = Node(files(30), destinations=1, disk_bytes=2_000, rules=rules, transfer_ms=100)
    node.grade()
    node.run(60_000)
    best = set(node.workers[node.destinations[0]].files)
    node.send(ev.RulesChanged(replace(rules, limit_percent=40)))
    node.run(60_000)
    assert len(node.workers[node.destinations[0]].files) < len(best)
    node.send(ev.RulesChanged(rules))
    node.run(60_000)
    wanted = sorted(best)[:-1]
    assert sorted(node.workers[node.destinations[0]].files)[: len(wanted)] == wanted


# ── files that went come back when other data has left ──────────────────────────────────────────────────

STRANGE = File("STRANGE.mpg", 1, 400)
SURELY_MS = SURE_MS + 240_000
"""By then a few full looks have passed, too."""


def squeezed(library: list[File], strange: File = STRANGE) -> tuple[Node, Worker]:
    """One disk that is full of wanted files; then other data comes, and some of them go."""
    rules = Rules(minimum_stay_ms=0, breaker_percent=100, space_deletes_per_minute=1_000)
    node = Node(library, destinations=1, disk_bytes=1_000, rules=rules, transfer_ms=100)
    node.grade()
    node.run(60_000)
    worker = node.workers[node.destinations[0]]
    assert len(worker.files) == len(library)
    worker.files[strange.name] = strange.size_bytes
    node.run(120_000)
    return node, worker


def test_files_come_back_when_the_data_for_which_they_went_has_left() -> None:
    node, worker = squeezed(files(9))
    assert len(worker.files) == 1 + 5
    del worker.files[STRANGE.name]
    node.run(SURE_MS - 60_000)
    assert len(worker.files) == 5, "it may come again at once"
    node.run(300_000)
    assert len(worker.files) == 9
    (told,) = node.says("deleted files may come back")
    assert told.facts["files"] == 4


def test_so_many_files_come_back_as_the_other_data_gave_up() -> None:
    node, worker = squeezed(files(9))
    worker.files[STRANGE.name] = 180
    node.run(SURELY_MS)
    assert sorted(worker.files)[:7] == [f"F{i:03}.mpg" for i in range(1, 8)]
    assert len(worker.files) == 1 + 7


def test_a_file_does_not_come_back_into_room_that_our_deletes_made() -> None:
    """Two files of 100 bytes go for one of 150.  The small one that went before would fit again."""
    node, worker = squeezed([*files(8), File("SMALL.mpg", 9, 30, hits=1)], File(STRANGE.name, 1, 90))
    assert "SMALL.mpg" not in worker.files
    node.san[LARGE.name] = LARGE.size_bytes
    node.grade([LARGE, *(replace(file, rank=file.rank + 1) for file in node.library)])
    node.run(SURELY_MS)
    assert LARGE.name in worker.files
    assert worker.used_bytes + 30 <= 900
    assert "SMALL.mpg" not in worker.files


@pytest.mark.parametrize("open_ms", [SURELY_MS, 3 * SURELY_MS])
def test_a_file_does_not_come_back_into_room_that_a_player_gave_up_late(open_ms: int) -> None:
    node, worker = squeezed(files(9), File(STRANGE.name, 1, 50))
    assert len(worker.files) == 1 + 8
    node.frees = False
    worker.files[STRANGE.name] = 250
    node.run(open_ms)
    gone = 9 + 1 - len(worker.files)
    assert gone > 2
    worker.open_bytes = 0
    node.run(3 * SURELY_MS)
    assert len(worker.files) == 9 + 1 - gone


def test_other_data_that_comes_and_goes_brings_files_to_and_fro_once_in_their_time() -> None:
    node, worker = squeezed(files(9))
    for period_ms in (60_000, 240_000, SURELY_MS, SURELY_MS, SURELY_MS, SURELY_MS):
        worker.files.pop(STRANGE.name)
        node.run(period_ms)
        worker.files[STRANGE.name] = STRANGE.size_bytes
        node.run(period_ms)
    came = Counter(name for _ms, _addr, name in node.delivered)
    assert set(came.values()) == {1, 2}


def test_a_file_that_went_before_a_restart_stays_away_for_its_whole_time() -> None:
    node, worker = squeezed(files(9))
    node.restart()
    node.grade()
    node.run(60_000)
    del worker.files[STRANGE.name]
    node.run(SURELY_MS)
    assert len(worker.files) == 5
