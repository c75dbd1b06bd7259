"""Copies: in which order, where to, what happens when they fail, and what a restart leaves of them."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from cfm.controller.decide import events as ev
from cfm.controller.decide.copying import CUT_AGAIN_MS, LEASE_MARGIN_MS
from cfm.model import DiskReport, DiskUsage, File, Hits, Status, Task
from cfm.plan.view import Rules
from cfm.wire import TaskReport
from controller.node import OLD, OURS, Node, files

SECOND_MS = 1000


def patch(node: Node, task_id: int, status: Status, **more: object) -> int:
    """Report on a task, and get the HTTP status of the answer."""
    request = node.request()
    node.send(ev.TaskReported(request, task_id, TaskReport(status, **more)))  # type: ignore[arg-type]  # by keyword
    return node.replies[request].status


# ── order and room ──────────────────────────────────────────────────────────────────────────────────────


def test_small_files_do_not_keep_a_rising_one_waiting_that_needs_room() -> None:
    library = [*files(8), *(File(f"S{i}.mpg", 10 + i, 10) for i in range(10)), File("BIG.mpg", 100, 150)]
    node = Node(library, sources=1, destinations=1, disk_bytes=1000, rules=Rules(minimum_stay_ms=0))
    node.put(node.destinations[0], *library[:8])
    node.run(6 * SECOND_MS)  # a second reading of the disk proves the first
    node.watch(BIG__mpg=9)
    node.grade()
    node.run(8 * SECOND_MS)
    assert node.holders("BIG.mpg")
    assert [name for _, name in node.deleted] == ["F008.mpg"]


def test_a_file_that_is_not_known_is_not_copied_though_it_rises() -> None:
    node = Node(files(2))
    node.grade()
    node.send(ev.HitsChanged(Hits({"STRANGER.mpg": 50})))
    node.run(10 * SECOND_MS)
    assert {name for _, _, name in node.started} == {"F001.mpg", "F002.mpg"}


def test_a_file_that_left_the_grade_file_is_left_alone() -> None:
    library = files(10)
    node = Node(library, destinations=1, disk_bytes=1000)
    node.put(node.destinations[0], *library)
    node.grade(library[:9])
    node.run(30 * SECOND_MS)
    assert [name for _, name in node.deleted] == ["F009.mpg"]


def test_hits_that_change_while_a_plan_is_made_count_at_once() -> None:
    node = Node(files(20), sources=1)
    node.grade()
    node.run(1)
    assert node.core.shortlist.snapshot_id == "", "the plan is still being made"
    node.watch(F020__mpg=9)
    node.run(3 * SECOND_MS)
    assert node.started[0][2] == "F020.mpg"


def test_an_address_that_is_source_and_destination_copies_from_another_where_it_can() -> None:
    node = Node(files(6), sources=2, destinations=2, both=True)
    node.grade()
    node.run(20 * SECOND_MS)
    assert len(node.started) == 6
    assert all(source != to for (_, source, name) in node.started for to in node.holders(name))


def test_an_address_that_is_source_and_destination_alone_copies_from_itself() -> None:
    node = Node(files(2), sources=1, destinations=1, both=True)
    node.grade()
    node.run(10 * SECOND_MS)
    assert len(node.delivered) == 2


def test_what_df_contains_of_running_copies_is_not_still_to_come() -> None:
    """No more of it than the worker says to be unfinished: a transfer may have begun anew meanwhile."""
    node = Node(files(1), sources=1, destinations=1, transfer_ms=60_000)
    node.grade()
    node.run(1 * SECOND_MS)
    (task_id,) = node.core.state.tasks.active
    (only,) = node.destinations
    for told, arriving, contained in ((60, 60, 60), (60, 10, 10), (5, 60, 5), (60, 0, 0)):
        assert patch(node, task_id, Status.WORKING, done_bytes=told) == 200
        usage = DiskUsage(1000, arriving, 1000 - arriving)
        node.send(ev.DiskAnswer(only, node.now_ms, DiskReport(usage, arriving_bytes=arriving)))
        assert node.core.state.view(node.now).arrived_bytes.get(task_id, 0) == contained
    node.send(ev.DiskAnswer(only, node.now_ms - 500, DiskReport(usage, arriving_bytes=60)))
    assert not node.core.state.view(node.now).arrived_bytes, "asked for before the report"


# ── failures ────────────────────────────────────────────────────────────────────────────────────────────


def test_what_failed_is_tried_elsewhere_with_growing_pauses() -> None:
    node = Node(files(1), sources=1, destinations=2, features=OLD)
    first = node.destinations[0]
    node.workers[first].fails.add("F001.mpg")
    node.grade()
    node.run(60 * SECOND_MS)
    assert node.holders("F001.mpg") == [node.destinations[1]]
    assert len(node.started) == 2


def test_the_pauses_grow_and_the_next_try_comes_when_they_end() -> None:
    node = Node(files(1), sources=1, destinations=1)
    node.workers[node.destinations[0]].fails.add("F001.mpg")
    node.grade()
    node.run(320 * SECOND_MS)
    starts = [at_ms for at_ms, _, _ in node.started]
    gaps_s = [(b - a) // SECOND_MS for a, b in pairwise(starts)]
    assert gaps_s == [11, 21, 41, 81, 161][: len(gaps_s)]
    assert len(gaps_s) >= 4


def test_a_task_whose_worker_started_anew_is_copied_again_at_once() -> None:
    before = replace(OURS, boot_id="first")
    node = Node(files(2), sources=1, destinations=1, transfer_ms=20_000, features=before)
    (only,) = node.destinations
    node.grade()
    node.run(5 * SECOND_MS)
    node.workers[only].receiving.clear()
    node.workers[only].features = replace(OURS, boot_id="second", disk_id=only)
    node.run(31 * SECOND_MS)
    assert [name for _, _, name in node.started][:2] == ["F001.mpg", "F001.mpg"]
    assert node.says("copy ended")[0].facts["because"] == "its worker was restarted"


def test_a_busy_source_is_left_alone_as_long_as_it_asked() -> None:
    node = Node(files(1), sources=1, destinations=1, transfer_ms=60_000)
    node.grade()
    node.run(1 * SECOND_MS)
    (task_id,) = node.core.state.tasks.active
    node.workers[node.destinations[0]].receiving.clear()
    assert patch(node, task_id, Status.FAILED, error="busy", retry_after_s=7) == 200
    node.run(6 * SECOND_MS)
    assert len(node.started) == 1
    node.run(2 * SECOND_MS)
    assert len(node.started) == 2
    assert not node.says("copy failed"), "a busy source is no failure of the file"


def test_received_frees_the_source_and_the_destination_for_one_more() -> None:
    node = Node(
        files(3), sources=1, destinations=1, transfer_ms=60_000, rules=Rules(incoming_per_destination=1)
    )
    node.grade()
    node.run(1 * SECOND_MS)
    (task_id,) = node.core.state.tasks.active
    assert patch(node, task_id, Status.WORKING, done_bytes=100, received=True) == 200
    node.run(1 * SECOND_MS)
    assert len(node.started) == 2
    second = max(node.core.state.tasks.active)
    assert patch(node, second, Status.WORKING, done_bytes=100, received=True) == 200
    node.run(1 * SECOND_MS)
    assert len(node.started) == 2, "what is only made durable does not pile up"
    node.send(ev.RulesChanged(Rules(incoming_per_destination=2)))
    node.run(1 * SECOND_MS)
    assert len(node.started) == 3


def test_a_dead_destination_frees_its_source_when_the_stream_is_cut() -> None:
    node = Node(files(4), sources=1, destinations=2, transfer_ms=20_000)
    node.cuts = False
    node.grade()
    node.run(5 * SECOND_MS)
    ((_, task),) = node.core.state.tasks.active.items()
    node.kill(task.destination)
    node.run(10 * SECOND_MS)
    assert len(node.started) == 1, "its stream may still be read"
    node.cuts = True
    node.run(CUT_AGAIN_MS + 500)
    assert len(node.started) == 2


def test_a_stream_that_no_source_says_to_be_cut_ends_with_its_lease() -> None:
    """The worker stops by itself then, and the source serves no more than it may."""
    node = Node(files(4), sources=1, destinations=2, transfer_ms=20_000)
    node.cuts = False
    node.grade()
    node.run(5 * SECOND_MS)
    ((_, task),) = node.core.state.tasks.active.items()
    node.kill(task.destination)
    node.run(node.config.rules.lease_ms + LEASE_MARGIN_MS + 10 * SECOND_MS)
    assert len(node.started) >= 2
    assert task.id not in node.core.state.tasks.uncut


def test_a_cancelled_task_that_is_taken_off_the_list_still_keeps_its_source() -> None:
    """Who cancels a task twice takes it off the list.  Its stream is cut all the same."""
    node = Node(files(4), sources=1, destinations=2, transfer_ms=200_000)
    node.cuts = False
    node.grade()
    node.run(node.config.rules.lease_ms + LEASE_MARGIN_MS + 10 * SECOND_MS)
    ((task_id, _task),) = node.core.state.tasks.active.items()
    for _again in range(2):
        node.send(ev.TaskDropped(node.request(), task_id))
    asked = node.asked["CutStream"]
    node.run(10 * SECOND_MS)
    assert node.asked["CutStream"] > asked
    assert len(node.started) == 1, "its stream may still be read"


def test_a_task_without_progress_is_ended_and_logged() -> None:
    node = Node(
        files(1), sources=1, destinations=1, transfer_ms=3_600_000, rules=Rules(task_timeout_ms=60_000)
    )
    node.grade()
    node.run(1 * SECOND_MS)
    (task_id,) = node.core.state.tasks.active
    node.stuck = True
    node.run(70 * SECOND_MS)
    (said,) = node.says("copy failed")
    assert said.level == "info"
    assert said.facts["because"] == "no progress for too long"
    assert said.facts["task"] == str(task_id)


def test_where_copies_hang_a_trial_has_half_a_minute() -> None:
    """A hung destination must not hold the only source for two minutes at each trial."""
    node = Node(files(5), sources=1, destinations=1, transfer_ms=3_600_000)
    node.grade()
    node.run(1 * SECOND_MS)
    node.stuck = True
    node.run(600 * SECOND_MS)
    because = [said.facts["because"] for said in node.says("copy failed")]
    assert because[:2] == ["no progress for 120 s"] * 2
    assert because[2:]
    assert set(because[2:]) == {"no progress for 30 s"}


def test_an_old_worker_has_half_again_the_time_that_its_speed_needs() -> None:
    library = [File("F001.mpg", 1, 1_000_000)]
    rules = Rules(task_timeout_ms=10_000, copy_speed_bps=100_000)
    node = Node(library, sources=1, destinations=1, features=OLD, disk_bytes=2_000_000, rules=rules,
                transfer_ms=118_000)  # fmt: skip
    node.grade()
    node.run(119 * SECOND_MS)
    assert node.delivered, "80 s at full speed, 120 s allowed"
    assert not node.says("copy failed")


# ── old workers ─────────────────────────────────────────────────────────────────────────────────────────


def test_done_after_a_time_out_is_refused_and_the_file_believed_by_its_list() -> None:
    rules = Rules(task_timeout_ms=5_000, copy_speed_bps=10**9)
    node = Node(files(1), sources=1, destinations=1, features=OLD, transfer_ms=12_000, rules=rules)
    node.grade()
    node.run(6 * SECOND_MS)
    assert node.says("copy failed")
    task_id = node.core.state.tasks.shown()[0].id
    node.put(node.destinations[0], *node.library)
    assert patch(node, task_id, Status.DONE) == 409
    assert patch(node, task_id, Status.TIMED_OUT) == 200
    node.run(90 * SECOND_MS)
    assert len(node.started) <= 2
    assert node.core.state.fleet.holders["F001.mpg"]


def test_a_done_that_no_list_proves_counts_as_failed_after_two_minutes() -> None:
    node = Node(files(1), sources=1, destinations=1, features=OLD)
    (only,) = node.destinations
    node.grade()
    node.run(500)
    node.workers[only].lists = False
    node.run(100 * SECOND_MS)
    assert not node.says("copy failed")
    assert len(node.started) == 1, "it may be there: it is not copied again"
    node.run(40 * SECOND_MS)
    assert (
        node.says("copy failed")[0].facts["because"] == "its worker called it done, and was not listed since"
    )


def test_reports_are_answered_as_on_the_old_wire() -> None:
    node = Node(files(1), sources=1, destinations=1, transfer_ms=60_000)
    node.grade()
    node.run(1 * SECOND_MS)
    (task_id,) = node.core.state.tasks.active
    assert patch(node, 17, Status.WORKING) == 404
    assert patch(node, task_id, Status.READY) == 409
    assert patch(node, task_id, Status.WORKING) == 200
    assert patch(node, task_id, Status.TIMED_OUT) == 200
    assert patch(node, task_id, Status.TIMED_OUT) == 200
    assert patch(node, task_id, Status.FAILED) == 200, "the same end, as the old wire sees it"
    assert patch(node, task_id, Status.DONE) == 409
    assert patch(node, task_id, Status.WORKING) == 409


def test_a_person_cancels_a_task_and_takes_an_ended_one_off_the_list() -> None:
    node = Node(files(1), sources=1, destinations=1, transfer_ms=60_000)
    node.grade()
    node.run(1 * SECOND_MS)
    (task_id,) = node.core.state.tasks.active
    for expected in (200, 200, 404):
        request = node.request()
        node.send(ev.TaskDropped(request, task_id))
        assert node.replies[request].status == expected
    assert not node.core.state.tasks.shown()
    node.run(5 * SECOND_MS)
    assert len(node.started) == 1, "it is not begun again at once"


# ── the waiting request ─────────────────────────────────────────────────────────────────────────────────


def test_the_waiting_request_is_answered_when_it_ends_and_for_servers_of_ours_only() -> None:
    node = Node([], sources=1, destinations=1)
    node.run(1 * SECOND_MS)
    stranger, ours, newer = node.request(), node.request(), node.request()
    node.send(ev.NextAsked(stranger, node.sources[0].__class__("10.0.0.1:1"), node.now_ms + 5_000))
    assert node.replies[stranger].status == 400
    node.send(ev.NextAsked(ours, node.destinations[0], node.now_ms + 5_000))
    node.send(ev.NextAsked(newer, node.destinations[0], node.now_ms + 2_000))
    assert node.replies[ours].status == 204, "a newer question of the same worker overtakes it"
    node.run(2 * SECOND_MS)
    assert node.replies[newer].status == 204


def asking_takes(node: Node, holding: frozenset[int] = frozenset()) -> int:
    """The one destination asks a question that takes what it is offered."""
    node.polls.clear()  # it asks no other
    request = node.request()
    until_ms = node.now_ms + 25_000
    node.send(ev.NextAsked(request, node.destinations[0], until_ms, holding, claims=True))
    return request


def offered_by(reply: ev.Reply) -> Task:
    assert isinstance(reply.body, ev.Offer)
    return reply.body.task


def test_a_question_that_takes_makes_its_task_a_running_one() -> None:
    node = Node(files(1), sources=1, destinations=1)
    node.run(1 * SECOND_MS)
    request = asking_takes(node)
    node.grade()
    node.run(1 * SECOND_MS)
    offered = offered_by(node.replies[request])
    (task,) = node.core.state.tasks.active.values()
    assert offered == task
    assert task.status is Status.WORKING
    assert node.core.state.tasks.runs[task.id].started_ms is not None


def test_a_question_that_was_held_for_long_takes_nothing() -> None:
    """Its lease would be over soon, or already, when the answer comes."""
    node = Node(files(1), sources=1, destinations=1, rules=Rules(lease_ms=10_000))
    node.run(1 * SECOND_MS)
    request = asking_takes(node)
    node.run(6 * SECOND_MS)
    node.grade()
    node.run(1 * SECOND_MS)
    offered = offered_by(node.replies[request])
    assert offered.status is Status.READY


def test_an_offer_that_did_not_reach_its_worker_is_made_again() -> None:
    node = Node(files(2), sources=1, destinations=1)
    node.run(1 * SECOND_MS)
    request = asking_takes(node)
    node.grade()
    node.run(1 * SECOND_MS)
    offered = offered_by(node.replies[request])
    again = asking_takes(node)
    assert offered_by(node.replies[again]) == offered
    held = asking_takes(node, frozenset({offered.id}))
    assert held not in node.replies, "it holds it now: there is nothing else for it"


def test_an_offer_that_nobody_answers_for_ends_with_its_lease() -> None:
    node = Node(files(1), sources=1, destinations=1)
    node.run(1 * SECOND_MS)
    asking_takes(node)
    node.grade()
    node.run(1 * SECOND_MS)
    node.run(60 * SECOND_MS)
    assert node.core.state.tasks.active
    node.run(10 * SECOND_MS)
    assert node.says("copy failed")


# ── restarts ────────────────────────────────────────────────────────────────────────────────────────────


def test_a_restart_gives_what_runs_the_time_to_be_reported() -> None:
    node = Node(files(2), sources=1, destinations=1, transfer_ms=40_000)
    node.grade()
    node.run(5 * SECOND_MS)
    node.restart()
    node.grade()
    node.run(90 * SECOND_MS)
    assert [name for _, _, name in node.started] == ["F001.mpg", "F002.mpg"]
    assert len(node.delivered) == 2


def test_a_restart_ends_what_nobody_speaks_for_when_its_lease_is_over() -> None:
    node = Node(files(1), sources=1, destinations=1, transfer_ms=40_000)
    node.grade()
    node.run(5 * SECOND_MS)
    node.workers[node.destinations[0]].receiving.clear()
    node.restart()
    node.grade()
    node.run(60 * SECOND_MS)
    assert len(node.started) == 1
    node.run(60 * SECOND_MS)
    assert len(node.started) == 2


def test_a_restart_leaves_an_old_worker_its_time() -> None:
    node = Node(files(2), sources=1, destinations=1, features=OLD, transfer_ms=40_000)
    node.grade()
    node.run(5 * SECOND_MS)
    node.restart()
    node.grade()
    node.run(100 * SECOND_MS)
    assert [name for _, _, name in node.started] == ["F001.mpg", "F002.mpg"]


def test_a_task_of_a_server_that_is_not_configured_any_more_is_cancelled() -> None:
    node = Node(files(2), sources=1, destinations=2, transfer_ms=40_000)
    node.grade()
    node.run(5 * SECOND_MS)
    ((task_id, task),) = node.core.state.tasks.active.items()
    node.config = replace(
        node.config, destinations=tuple(a for a in node.destinations if a != task.destination)
    )
    node.destinations = node.config.destinations
    node.restart()
    ended = node.core.state.tasks.get(task_id)
    assert ended is not None
    assert ended.status is Status.CANCELLED
    node.grade()
    node.run(60 * SECOND_MS)
    assert node.holders(task.file.name)
