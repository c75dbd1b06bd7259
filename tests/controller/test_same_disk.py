"""One disk under two addresses is used through one of them, and two disks that only look alike get apart."""

from __future__ import annotations

from dataclasses import replace

from cfm.controller.decide import events as ev
from cfm.controller.explain.report import status_json
from cfm.controller.explain.why import why_json
from cfm.model import CopySeen, File
from cfm.plan import refusals
from cfm.plan.view import Rules
from controller.node import OLD, Node, files

SECOND_MS = 1000
MINUTE_MS = 60_000


def share(node: Node) -> None:
    """The second destination's address leads to the first one's disk, as their workers know."""
    first, second = (node.workers[addr] for addr in node.destinations[:2])
    second.files = first.files
    second.features = replace(second.features, disk_id=first.features.disk_id)
    node.restart()  # nothing that was asked before counts


def shared(held: int, number: int = 20) -> Node:
    """One disk of 1000 bytes, to be filled up to 900, with two addresses; each file has 100."""
    library = files(number)
    node = Node(library, rules=Rules(minimum_stay_ms=0, breaker_percent=100))
    share(node)
    node.put(node.destinations[0], *library[-held:] if held else ())
    node.grade()
    return node


def test_a_disk_under_two_addresses_is_brought_back_to_its_limit_once() -> None:
    node = shared(held=10, number=10)
    node.run(10 * MINUTE_MS)
    assert node.deleted == [(node.destinations[0], "F010.mpg")]


def test_a_delete_through_one_address_voids_what_the_other_one_said() -> None:
    """Its word let the last copy elsewhere go as a surplus one."""
    node = shared(held=10, number=10)
    said = "F010.mpg", node.destinations[1]
    node.core.state.copies.put(*said, CopySeen(present=True, size_bytes=100), node.now.mono_ms)
    node.run(MINUTE_MS)
    assert node.deleted == [(node.destinations[0], "F010.mpg")]
    assert said not in node.core.state.copies.seen


def test_a_disk_under_two_addresses_is_filled_once_and_then_at_rest() -> None:
    node = shared(held=0)
    node.run(60 * MINUTE_MS)
    assert sorted(node.workers[node.destinations[0]].files) == [f"F{i:03}.mpg" for i in range(1, 10)]
    assert {addr for _ms, addr, _name in node.delivered} == {node.destinations[0]}
    assert len(node.delivered) == 9, "no file came twice"
    assert not node.deleted


def test_room_is_made_on_it_and_nothing_comes_and_goes() -> None:
    node = shared(held=9)
    node.run(60 * MINUTE_MS)
    assert sorted(node.workers[node.destinations[0]].files) == [f"F{i:03}.mpg" for i in range(1, 10)]
    assert len(node.delivered) == len(node.deleted) == 9
    assert {addr for addr, _name in node.deleted} == {node.destinations[0]}


def test_the_other_address_is_used_while_the_lower_one_is_down() -> None:
    node = shared(held=0)
    node.kill(node.destinations[0])
    node.run(5 * MINUTE_MS)
    assert {addr for _ms, addr, _name in node.delivered} == {node.destinations[1]}
    node.revive(node.destinations[0])
    node.run(60 * MINUTE_MS)
    assert len(node.delivered) == 9
    assert not node.deleted


def test_nothing_goes_from_an_address_that_turns_out_to_be_the_same_disk_while_the_san_is_asked() -> None:
    library = files(20)
    node = Node(library, rules=Rules(minimum_stay_ms=0, breaker_percent=100))
    node.put(node.destinations[0], *library[:9])
    node.put(node.destinations[1], *library[10:])
    node.run(6 * SECOND_MS)
    node.san_answers = False  # the deletes wait for it
    node.grade()
    node.run(3 * SECOND_MS)
    assert node.core.last_round is not None
    assert node.core.last_round.times("delete", refusals.SAN_UNKNOWN) == 1
    first, second = node.destinations
    node.workers[second].features = replace(node.workers[second].features, disk_id=first)
    node.send(ev.HeartbeatAnswer(second, node.workers[second].features))
    node.san_answers = True
    node.run(15 * SECOND_MS)
    assert not node.says("delete dropped")
    assert not node.deleted


def alike(number: int, held: int) -> Node:
    """Two old workers, whose two disks of one size hold the same files."""
    library = files(number)
    node = Node(library, features=OLD, rules=Rules(minimum_stay_ms=0, breaker_percent=100))
    for addr in node.destinations:
        node.put(addr, *library[-held:])
    node.grade()
    return node


def suspected(node: Node) -> bool:
    return any(view.look_alikes for view in node.core.state.view(node.now).servers.values())


def test_two_disks_that_look_alike_are_both_used_and_get_apart_by_the_first_copies() -> None:
    """A suspicion keeps a surplus copy; it does not keep a disk empty."""
    node = alike(number=18, held=3)
    node.run(2 * SECOND_MS)
    assert suspected(node)
    node.run(60 * MINUTE_MS)
    assert not suspected(node)
    assert {addr for _ms, addr, _name in node.delivered[:4]} == set(node.destinations)
    assert all(len(node.holders(file.name)) == 1 for file in node.library)


def test_two_full_disks_that_look_alike_get_apart_by_what_goes() -> None:
    node = alike(number=10, held=10)
    node.run(2 * SECOND_MS)
    assert suspected(node)
    node.run(60 * MINUTE_MS)
    assert not suspected(node)
    assert all(worker.used_bytes <= 900 for worker in node.workers.values())
    assert all(len(node.holders(file.name)) == 1 for file in node.library[:9])


def test_a_person_is_told_that_nothing_is_copied_to_the_other_address() -> None:
    node = shared(held=0)
    node.run(2 * SECOND_MS)
    second = node.destinations[1]
    brakes = status_json(node.core, node.now)["brakes"]
    assert [(brake["name"], brake["server"]) for brake in brakes] == [("same_disk_suspected", second)]
    node.run(60 * MINUTE_MS)
    file = File("NEXT.mpg", 5, 100)
    node.san[file.name] = 100
    told = why_json(node.core, file.name, file, 5, node.now, node._on_san(file.name))["copy"]
    assert told["reason"] == "no_room"
    assert f"not to {second} (same_disk_suspected: " in told["text"]


def test_a_copied_marker_is_told_apart_from_one_disk() -> None:
    """A cloned machine has the same disk id.  Its disk is another one, which its probe file shows."""
    for is_one_disk in (True, False):
        node = shared(held=0)
        if not is_one_disk:
            node.workers[node.destinations[1]].files = {}
        node.run(5 * MINUTE_MS)
        names = [condition["name"] for condition in status_json(node.core, node.now)["conditions"]]
        assert ("marker_copied" in names) == (not is_one_disk)


def test_lists_that_were_taken_at_different_moments_are_suspected() -> None:
    """Two old workers on one disk, on which something else adds a file all the time."""
    node = alike(number=18, held=10)
    first, second = (node.workers[addr] for addr in node.destinations)
    second.files = first.files
    for worker in (first, second):
        worker.disk_bytes = 10_000  # nothing has to go
    for moment in range(40):
        first.files[f"N{moment}.mpg"] = 0
        node.run(MINUTE_MS // 2 + 7 * SECOND_MS)
    assert suspected(node)
    assert not node.deleted


def test_links_are_counted() -> None:
    node = Node(files(3))
    node.workers[node.destinations[0]].links = 7
    node.grade()
    node.run(MINUTE_MS)
    told = {one["name"]: one for one in status_json(node.core, node.now)["conditions"]}
    assert told["links_not_served"]["files"] == 7
