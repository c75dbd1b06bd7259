"""The controller's behaviour as stories in virtual time, each told from the rule that it keeps."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from cfm.config.load import load_cfm
from cfm.controller.act.from_settings import node_of
from cfm.controller.decide import events as ev
from cfm.controller.decide.state import NS_PER_MS, NodeConfig, NodeState
from cfm.model import File, Now, OnSan, bytes_over
from cfm.plan.view import Rules
from controller.node import LATENCY_MS, OLD, Node, files


def over_limit(node: Node, limit_percent: int = 90) -> list[str]:
    usages = {addr: node.workers[addr].usage() for addr in node.destinations}
    return [a for a, u in usages.items() if bytes_over(u.used_bytes, u.avail_bytes, limit_percent)]


def test_the_most_wanted_are_copied_until_the_disks_are_at_their_limit() -> None:
    node = Node(files(30))
    node.grade()
    node.run(60_000)
    placed = {name for addr in node.destinations for name in node.workers[addr].files}
    assert placed == {f"F{i:03}.mpg" for i in range(1, 19)}
    assert not over_limit(node)
    assert not node.deleted
    assert all(len(node.holders(name)) == 1 for name in placed)


def test_a_source_that_becomes_free_gets_its_next_task_at_once() -> None:
    node = Node(files(18), sources=2)
    node.grade()
    node.run(30_000)
    for source in node.sources:
        starts = [ms for ms, addr, _ in node.started if addr == source]
        gaps = [b - a - node.transfer_ms for a, b in pairwise(starts)]
        assert gaps
        assert max(gaps) <= 50
        assert min(gaps) >= 0


def test_rising_files_come_before_ranks() -> None:
    node = Node(files(30), transfer_ms=5000)
    node.grade()
    node.run(3000)
    node.watch(F025__mpg=7, F020__mpg=9)
    node.run(12_000)
    order = [name for _, _, name in node.started]
    assert order[2:4] == ["F020.mpg", "F025.mpg"]


def test_a_full_node_makes_room_for_a_file_that_becomes_popular() -> None:
    node = Node(files(30))
    node.grade()
    node.run(60_000)
    node.run(3_600_000)  # what was just copied is young
    node.watch(F030__mpg=10)
    node.run(20_000)
    assert node.holders("F030.mpg")
    assert [name for _, name in node.deleted] == ["F018.mpg"]
    assert not over_limit(node)


def test_young_files_do_not_go_for_room() -> None:
    node = Node(files(30))
    node.grade()
    node.run(60_000)
    node.watch(F030__mpg=10)
    node.run(20_000)
    assert not node.deleted


def test_three_copies_are_brought_to_one() -> None:
    library = files(20)
    node = Node(library, destinations=3, disk_bytes=4000)
    for addr in node.destinations:
        node.put(addr, *library)
    node.grade()
    node.run(60_000)
    assert all(len(node.holders(file.name)) == 1 for file in library)
    assert len(node.deleted) == 40
    assert len(node.says("deleted file")) == 40


def test_old_workers_are_trimmed_by_their_lists() -> None:
    library = files(20)
    node = Node(library, destinations=2, disk_bytes=4000, features=OLD)
    node.put(node.destinations[0], *library)
    node.put(node.destinations[1], *library[:10])
    node.grade()
    node.run(60_000)
    assert all(len(node.holders(file.name)) == 1 for file in library)


def test_a_lost_answer_leaves_the_order_unknown_until_the_server_was_listed() -> None:
    library = files(6)
    node = Node(library, disk_bytes=4000)
    for addr in node.destinations:
        node.put(addr, *library)
        node.workers[addr].loses_delete_answers = True
    node.grade()
    node.run(120_000)
    assert all(len(node.holders(file.name)) == 1 for file in library)
    assert len(node.says("delete unclear")) == 6


def test_a_server_that_refuses_deletes_is_not_asked_for_one_file_after_the_other() -> None:
    library = files(12)
    node = Node(library, destinations=1, disk_bytes=1200)
    node.put(node.destinations[0], *library)
    node.carries_out, node.delete_answers = False, 409
    node.grade()
    node.run(60_000)
    assert len(node.says("delete unclear")) <= 6  # two at a time, after pauses that grow
    assert node.workers[node.destinations[0]].files.keys() == {file.name for file in library}
    node.carries_out, node.delete_answers = True, None
    node.run(120_000)
    assert [name for _, name in node.deleted] == ["F012.mpg", "F011.mpg"]


def test_a_destination_over_its_limit_is_brought_back_and_no_further() -> None:
    library = files(10)
    node = Node(library, destinations=1, disk_bytes=1000)
    node.put(node.destinations[0], *library)
    node.grade()
    node.run(30_000)
    assert [name for _, name in node.deleted] == ["F010.mpg"]


def test_the_breaker_holds_until_an_operator_confirms() -> None:
    library = files(10)
    node = Node(library, destinations=1, disk_bytes=1000, rules=Rules(limit_percent=50))
    node.put(node.destinations[0], *library)
    node.grade()
    node.run(30_000)
    assert not node.deleted
    request = node.request()
    node.send(ev.BreakerReleased(request))
    assert node.replies[request].status == 200
    node.run(90_000)
    assert len(node.deleted) == 5
    assert not over_limit(node, 50)


def test_a_dead_servers_tasks_end_and_its_files_are_not_copied_elsewhere_for_an_hour() -> None:
    node = Node(files(8), disk_bytes=2000)
    node.grade()
    node.run(20_000)
    dead = node.destinations[0]
    held = set(node.workers[dead].files)
    node.kill(dead)
    node.run(3_000_000)
    assert not held & set(node.workers[node.destinations[1]].files)
    node.run(900_000)
    assert held <= set(node.workers[node.destinations[1]].files)
    node.revive(dead)
    node.run(60_000)
    assert all(len(node.holders(f"F{i:03}.mpg")) == 1 for i in range(1, 9))


def test_a_killed_worker_is_noticed_within_three_seconds() -> None:
    node = Node(files(8), transfer_ms=20_000)
    node.grade()
    node.run(5_000)
    victim = node.destinations[0]
    node.kill(victim)
    killed_ms = node.now_ms
    while not node.says("server is down"):
        node.run(50)
    assert node.now_ms - killed_ms <= 3000


def test_an_old_worker_that_calls_a_failure_done_is_not_believed() -> None:
    node = Node(files(3), destinations=1, features=OLD)
    node.workers[node.destinations[0]].fails.add("F001.mpg")
    node.grade()
    node.run(30_000)
    assert not node.holders("F001.mpg")
    assert node.holders("F002.mpg")
    assert node.holders("F003.mpg")
    assert node.says("copy failed")
    node.workers[node.destinations[0]].fails.clear()
    node.run(300_000)
    assert node.holders("F001.mpg")


def test_nothing_is_deleted_without_the_san() -> None:
    library = files(10)
    node = Node(library, destinations=1, disk_bytes=1000)
    node.put(node.destinations[0], *library)
    node.san_answers = False
    node.grade()
    node.run(120_000)
    assert not node.deleted


def test_nothing_is_deleted_on_old_metadata() -> None:
    library = files(10)
    node = Node(library, destinations=1, disk_bytes=1000)
    node.put(node.destinations[0], *library)
    node.grade(age_s=3 * 86_400)
    node.run(60_000)
    assert not node.deleted


def test_a_restart_repeats_nothing_that_is_still_running() -> None:
    from cfm.controller.decide.core import Core

    node = Node(files(4), sources=1, destinations=1, transfer_ms=10_000)
    node.grade()
    node.run(5_000)
    assert len(node.started) == 1
    node.store.close()
    node.core = Core(node.config, node.store.open(), node.now)
    node.grade()
    node.run(20_000)
    assert len([1 for _, _, name in node.started if name == "F001.mpg"]) == 1
    assert node.holders("F001.mpg")


def test_a_quiet_world_comes_to_rest() -> None:
    node = Node(files(40))
    node.grade()
    node.run(120_000)
    started = len(node.started)
    node.run(7_200_000)
    assert len(node.started) == started
    assert not node.deleted


def test_ads_are_neither_copied_nor_deleted() -> None:
    ad = File("M64AD.mpg", 1, 100)
    library = [ad, *(replace(file, rank=file.rank + 1) for file in files(3))]
    node = Node(library, disk_bytes=400, rules=Rules(ad_prefixes=("M64",)))
    node.put(node.destinations[0], ad)
    node.put(node.destinations[1], ad)
    node.grade()
    node.run(60_000)
    assert len(node.holders("M64AD.mpg")) == 2


def test_latency_is_part_of_this_world() -> None:
    assert LATENCY_MS > 0


def test_the_answer_to_a_look_ahead_starts_no_round_unless_something_came_to_wait_for_it() -> None:
    node = Node(files(30), sources=1, transfer_ms=600_000)
    node.san_answers = False
    node.grade()
    node.run(1_000)
    state, (file, *_rest) = node.core.state, node.core.shortlist.wanted
    for ahead in (True, False):
        state.san.answers.clear()
        state.san.asked_ms.clear()
        state.san.silence.end()
        state.ask_san([file], node.now, ahead=True)
        state.ask_san([file] if not ahead else [], node.now)
        before = node.core.last_round
        node.send(ev.SanAnswers(node.now_ms, {file.name: OnSan(f"/san/{file.name}", file.size_bytes)}))
        assert (node.core.last_round is before) is ahead
        assert isinstance(state.san.answers[file.name].value, OnSan)


# ── full plans ──────────────────────────────────────────────────────────────────────────────────────────


def test_a_node_at_rest_makes_no_plan_and_a_change_makes_one() -> None:
    node = Node(files(30))
    node.grade()
    node.run(3_600_000 + 120_000)  # what was copied is not young any more either
    before = node.asked["StartPlan"]
    node.run(1_800_000)
    assert node.asked["StartPlan"] == before
    node.watch(F030__mpg=10)
    node.run(20_000)
    assert node.asked["StartPlan"] > before
    assert node.holders("F030.mpg")


def test_a_source_folder_that_is_gone_for_a_moment_makes_a_plan_though_nothing_else_changed() -> None:
    node = Node(files(30))
    index = frozenset(node.san)
    node.send(ev.SanIndexed(index))
    node.grade()
    node.run(3_600_000 + 120_000)
    evictable = node.core.shortlist.evictable
    assert any(evictable.values())
    node.send(ev.SanIndexed(None, "gone"))
    node.send(ev.SanIndexed(index))
    assert not node.core.shortlist.evictable, "it lacks what was left alone"
    node.run(2_000)
    assert node.core.shortlist.evictable == evictable


def test_ids_of_another_start_do_not_come_again_where_the_state_and_the_clock_were_put_back() -> None:
    """A worker may still report on a task of before, which would count for a new one with its id."""

    def start(salt: int, last_id: int, wall_ms: int) -> list[int]:
        config = NodeConfig((), (), Rules(), id_salt=salt)
        state = NodeState(config, last_id, Now(0, wall_ms))
        return [state.next_id(Now(0, wall_ms + ms)) for ms in (0, 0, 0, 1, 2, 2)]

    before, again = start(4_000, 7, 1_000), start(900_000, 7, 1_000)
    assert before == sorted(set(before))
    assert [number // NS_PER_MS for number in again] == [1_000, 1_000, 1_000, 1_001, 1_002, 1_002]
    assert not set(before) & set(again)


def test_each_start_has_digits_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "cfm.yml"
    path.write_text("servers:\n  sources: [127.0.1.1:8888]\n  destinations: [127.0.2.1:8888]\n")
    settings = load_cfm(path)
    salts = {node_of(settings).id_salt for _ in range(5)}
    assert len(salts) > 1
    assert all(0 <= salt < NS_PER_MS for salt in salts)
