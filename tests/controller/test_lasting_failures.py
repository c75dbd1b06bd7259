"""What stays broken costs its own place, and no other: sources, destinations and pairs in pause."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cfm.controller.decide import events as ev
from cfm.controller.explain.verdict import verdict
from cfm.controller.explain.why import why_json
from cfm.model import Addr, Side, Status, host_of
from cfm.plan.view import Rules
from cfm.wire import TaskReport
from controller.node import OLD, Node, Worker, files

SECOND_MS, MINUTE_MS, HOUR_MS = 1_000, 60_000, 3_600_000
ENOUGH_BYTES = 1_000_000


def sick_node(
    *, sources: int = 1, destinations: int = 3, library: int = 400, copy_ms: int = MINUTE_MS
) -> Node:
    """A node with room for everything."""
    return Node(
        files(library),
        sources=sources,
        destinations=destinations,
        disk_bytes=ENOUGH_BYTES,
        transfer_ms=copy_ms,
    )


def share_of_healthy(node: Node, healthy: Node, duration_ms: int) -> float:
    """The copies that the node makes, as a share of those that the other one makes in the same time."""
    for one in (node, healthy):
        one.grade()
        one.run(duration_ms)
    return len(node.delivered) / len(healthy.delivered)


def conditions(node: Node) -> dict[str, tuple[Addr, ...]]:
    told = verdict(node.core, node.core.last_round, node.now)
    assert len(told.line) <= 200
    return {one.name: one.servers for one in told.conditions}


# ── a source ────────────────────────────────────────────────────────────────────────────────────────────


def test_a_source_without_its_mount_costs_nothing_but_its_own_place() -> None:
    node = sick_node(sources=2)
    sick = node.sources[0]
    node.workers[sick].empty = True
    assert share_of_healthy(node, sick_node(sources=1), 90 * MINUTE_MS) >= 0.98
    ranks = [int(name[1:4]) for _, _, name in node.delivered]
    assert max(ranks) <= len(ranks) + 2, "best first"
    assert len(node.says("copy failed")) <= 20
    assert conditions(node)["source_in_pause"] == (sick,)


def test_a_source_that_is_mended_sends_again_after_its_pause() -> None:
    node = sick_node(sources=2)
    sick = node.workers[node.sources[0]]
    sick.empty = True
    node.grade()
    node.run(30 * MINUTE_MS)
    sick.empty = False
    node.run(30 * MINUTE_MS)
    assert "source_in_pause" not in conditions(node)
    assert {source for _, source, _ in node.started[-4:]} == set(node.sources)


def test_bad_files_of_the_best_ranks_do_not_hold_the_only_source_in_pause() -> None:
    node, healthy = (sick_node(sources=1, library=500, copy_ms=10_000) for _ in range(2))
    bad = {file.name for file in node.library[:12]}
    for addr in node.destinations:
        node.workers[addr].fails |= bad
    assert share_of_healthy(node, healthy, HOUR_MS) >= 0.6, (
        "each bad file is tried some times, for as long as a copy takes"
    )
    assert not bad & {name for _, _, name in node.delivered}


# ── a destination ───────────────────────────────────────────────────────────────────────────────────────


def test_a_deaf_destination_does_not_hold_the_only_source() -> None:
    node = sick_node()
    deaf = node.destinations[0]
    node.deafen(deaf)
    assert share_of_healthy(node, sick_node(destinations=2), 2 * HOUR_MS) >= 0.95
    told = conditions(node)
    assert told.get("destination_in_pause", told.get("not_asking")) == (deaf,)
    assert len(node.says("copy failed")) <= 25


@pytest.mark.parametrize(("hanging", "hours"), [(1, 2), (3, 4)])
def test_destinations_that_hang_hold_no_more_than_their_own_places(hanging: int, hours: int) -> None:
    node, healthy = sick_node(destinations=6), sick_node(destinations=6 - hanging)
    for addr in node.destinations[:hanging]:
        node.workers[addr].hangs = True
    assert share_of_healthy(node, healthy, hours * HOUR_MS) >= 0.95
    assert conditions(node)["destination_in_pause"] == node.destinations[:hanging]


def test_a_worker_whose_own_disk_fails_is_believed_at_once() -> None:
    node = sick_node()
    node.grade()
    node.run(5 * SECOND_MS)
    (task,) = node.core.state.tasks.active.values()
    del node.workers[task.destination].receiving[task.id]
    told = TaskReport(Status.FAILED, error="the disk: No space left on device", own_disk=True)
    node.send(ev.TaskReported(node.request(), task.id, told))
    assert conditions(node)["destination_in_pause"] == (task.destination,)
    assert not node.core.state.failures.retries, "the file is not charged for it"
    node.run(5 * SECOND_MS)
    (again,) = node.core.state.tasks.active.values()
    assert again.file == task.file
    assert again.destination != task.destination


def test_a_destination_that_has_never_asked_for_work_is_chosen_last_and_told() -> None:
    node = sick_node()
    deaf = node.destinations[0]
    node.deafen(deaf)
    node.core.state.fleet.records[deaf].asked_work_ms = None
    node.grade()
    node.run(3 * MINUTE_MS)
    assert not node.says("copy failed")
    assert conditions(node)["not_asking"] == (deaf,)


def test_an_old_worker_that_asks_for_tasks_and_takes_none_is_seen_by_its_questions() -> None:
    node = Node(files(3), sources=1, destinations=2, features=OLD, transfer_ms=1_000)
    deaf = node.destinations[0]
    node.deafen(deaf)
    node.grade()
    for _ in range(8):
        node.send(ev.TasksAsked(node.request(), host_of(deaf)))
        node.run(5 * SECOND_MS)
    assert node.says("copy failed")[0].facts["because"] == "its worker does not take the task"
    assert len(node.delivered) == 3


def test_an_old_worker_that_has_stopped_asking_is_seen_after_some_minutes() -> None:
    node = Node(files(3), sources=1, destinations=2, features=OLD, transfer_ms=1_000)
    node.deafen(node.destinations[0])
    node.grade()
    node.run(6 * MINUTE_MS)
    assert len(node.delivered) == 3
    assert conditions(node)["destination_in_pause"] == (node.destinations[0],)


def test_a_task_that_nobody_can_have_heard_of_blames_no_worker() -> None:
    node = sick_node()
    node.deafen(node.destinations[0])
    node.grade()
    node.run(SECOND_MS)
    node.send(ev.StoreTrouble("the disk is full"))
    node.run(10 * MINUTE_MS)
    assert not node.core.state.failures.pauses


def full_node_that_fails(*, hangs: bool) -> tuple[Node, Worker]:
    """One disk, full again since a copy of the best file failed there; another server is down."""
    node = Node(files(20), sources=1, destinations=2, rules=Rules(minimum_stay_ms=MINUTE_MS))
    worker = node.workers[node.destinations[0]]
    node.kill(node.destinations[1])
    node.grade()
    node.run(5 * MINUTE_MS)
    worker.hangs = True
    best = replace(node.library[-1], rank=1, hits=10_000)
    node.grade([best, *(replace(file, rank=file.rank + 1) for file in node.library[:-1])])
    node.run(HOUR_MS)
    while node.core.state.tasks.active:
        node.run(10 * SECOND_MS)
    assert Side(destination=node.destinations[0]) in node.core.state.failures.pauses
    worker.files["foreign"] = best.size_bytes
    worker.hangs = hangs
    node.deleted.clear()
    node.run(HOUR_MS)
    return node, worker


def test_a_full_disk_is_tried_again_after_its_pause() -> None:
    node, worker = full_node_that_fails(hangs=False)
    assert "F020.mpg" in worker.files
    assert "destination_in_pause" not in conditions(node)


def test_a_full_disk_on_which_all_copies_fail_loses_the_room_for_one_file_alone() -> None:
    node, _worker = full_node_that_fails(hangs=True)
    assert len(node.deleted) == 1


# ── a second hand on the disk ───────────────────────────────────────────────────────────────────────────


def test_where_arrivals_vanish_copies_are_tried_less_and_less() -> None:
    node = sick_node(destinations=2, library=300)
    losing = node.destinations[0]
    node.workers[losing].loses = True
    node.grade()
    node.run(3 * HOUR_MS)
    there = [name for _, addr, name in node.delivered if addr == losing]
    assert len(there) == len(set(there)), "no file goes twice to the place from which it vanished"
    assert len(there) <= 20
    assert len(node.workers[node.destinations[1]].files) >= 140
    assert len(node.says("copies vanished")) <= 20
    assert conditions(node)["destination_in_pause"] == (losing,)


# ── told ────────────────────────────────────────────────────────────────────────────────────────────────


def test_why_tells_who_fails_and_how() -> None:
    node = sick_node(library=3)
    node.workers[node.sources[0]].empty = True
    node.grade()
    node.run(SECOND_MS)
    told = why_json(node.core, "F003.mpg", node.library[2], 3, node.now)["copy"]
    assert told["reason"] == "source_in_pause"
    assert f"from {node.sources[0]}: the source answered 404, again in" in told["text"]


def test_pauses_survive_a_restart() -> None:
    node = sick_node(sources=2)
    node.workers[node.sources[0]].empty = True
    node.grade()
    node.run(HOUR_MS)
    before = node.core.state.failures.pauses[Side(source=node.sources[0])]
    failed = len(node.says("copy failed"))
    node.restart()
    node.grade()
    node.run(MINUTE_MS)
    assert node.core.state.failures.pauses[Side(source=node.sources[0])].failures == before.failures
    assert len(node.says("copy failed")) == failed


def test_a_worker_that_dies_in_every_copy_is_left_alone_for_longer_and_longer() -> None:
    node = sick_node(destinations=2, library=500)
    dying = node.workers[node.destinations[0]]
    node.grade()
    for boot in range(120):
        node.run(MINUTE_MS // 2)
        if dying.receiving:
            dying.receiving.clear()
            dying.features = dying.features.__class__(
                **{
                    **{name: getattr(dying.features, name) for name in dying.features.__slots__},
                    "boot_id": str(boot + 1),
                }
            )
            node.polls = {request: asker for request, asker in node.polls.items() if asker != dying.addr}
            node._poll(dying.addr)
    assert len(node.says("copy ended")) <= 20
    assert conditions(node)["destination_in_pause"] == (dying.addr,)
