"""Making room, and what a server brings back: once, at the right place, and at once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cfm.model import File
from cfm.plan.view import Reservation, Rules
from controller.node import Node, files

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
