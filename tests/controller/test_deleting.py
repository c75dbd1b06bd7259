"""Deletes: what goes and what never does, how an order ends, and what a restart makes of it."""

from __future__ import annotations

from dataclasses import replace

from cfm.controller.decide import events as ev
from cfm.controller.decide import observing
from cfm.controller.decide.deleting import PAUSE_MS
from cfm.model import CopySeen, DeleteOrder, Failure, File, Hits, Listing, OnSan, OrderStatus, Trouble
from cfm.plan.view import Rules
from controller.node import OLD, Node, files

SECOND_MS = 1000


def doubled(number: int = 4, **more: object) -> Node:
    """Two destinations with room, and every file on both; one has a file more."""
    library = files(number + 1)
    node = Node(library, disk_bytes=4000, **more)  # type: ignore[arg-type]  # by keyword
    for addr in node.destinations:
        node.put(addr, *library[:number])
    node.put(node.destinations[0], library[number])
    return node


def full(**rules: int | bool) -> Node:
    """One destination with nine files of 100 bytes on 1000, at its limit; F010 lies nowhere."""
    library = files(10)
    node = Node(library, destinations=1, disk_bytes=1000, rules=Rules(**rules))  # type: ignore[arg-type]
    node.put(node.destinations[0], *library[:9])
    return node


def look_at_all(node: Node) -> None:
    """cfm asks all servers for their lists and disks, and one minute goes by."""
    observing.full_look(node.core.state, node.now)
    node.run(60 * SECOND_MS)


def until(node: Node, event: str, most_s: int = 60) -> None:
    for _ in range(100 * most_s):
        if node.says(event):
            return
        node.run(10)
    raise AssertionError(f"nobody said: {event}")


def gone(node: Node) -> list[str]:
    return [name for _, name in node.deleted]


def until_ordered(node: Node) -> DeleteOrder:
    """Until the one order that there is waits for its confirmations."""
    for _ in range(1000):
        if waiting := node.core.state.orders.waiting():
            (made,) = waiting
            return made
        node.run(1)
    raise AssertionError("nothing was ordered")


def ordered() -> tuple[Node, DeleteOrder, ev.SanAnswers, ev.CopyAnswer]:
    """A node whose one order waits for its confirmations, and these."""
    node = doubled(1)
    node.grade()
    made = until_ordered(node)
    assert made.keeper is not None
    name, size_bytes, now_ms = made.file.name, made.file.size_bytes, node.now_ms
    on_san = ev.SanAnswers(now_ms, {name: OnSan(f"/san/{name}", size_bytes)})
    stays = ev.CopyAnswer(made.keeper, name, now_ms, CopySeen(present=True, size_bytes=size_bytes))
    return node, made, on_san, stays


# ── surplus copies ──────────────────────────────────────────────────────────────────────────────────────


def test_a_copy_of_the_wrong_size_is_not_the_one_that_stays() -> None:
    node = doubled(1)
    emptier = node.destinations[1]
    node.workers[emptier].files["F001.mpg"] = 7
    node.grade()
    node.run(2 * PAUSE_MS + 5 * SECOND_MS)
    assert node.deleted == [(emptier, "F001.mpg")]


def test_a_list_of_ours_that_comes_meanwhile_says_nothing_of_the_size() -> None:
    """Both copies are empty; the name is on the list of the one that should stay, and that is no copy."""
    node = doubled(1)
    for addr in node.destinations:
        node.workers[addr].files["F001.mpg"] = 0
    node.grade()
    made = until_ordered(node)
    assert made.keeper is not None
    node.send(ev.SanAnswers(node.now_ms, {"F001.mpg": OnSan("/san/F001.mpg", made.file.size_bytes)}))
    listing = Listing(frozenset(node.workers[made.keeper].files))
    node.send(ev.ListAnswer(made.keeper, node.now_ms, listing))
    node.run(2 * PAUSE_MS)
    assert not node.deleted


def test_an_answer_that_only_an_order_waits_for_asks_no_policy_anew() -> None:
    node, made, on_san, stays = ordered()
    before = node.core.last_round
    node.send(on_san)
    node.send(stays)
    assert node.core.state.orders.active[made.id].status is OrderStatus.SENT
    assert node.core.last_round is before
    node.run(1 * SECOND_MS)
    assert gone(node) == ["F001.mpg"]


def test_an_answer_that_an_order_waits_for_in_vain_lets_all_be_decided_anew() -> None:
    node, made, _on_san, stays = ordered()
    before = node.core.last_round
    node.send(replace(stays, answer=CopySeen(present=False)))
    assert made.id not in node.core.state.orders.active
    assert node.core.last_round is not before


def test_an_order_may_be_sent_for_as_long_as_what_confirmed_it_counts() -> None:
    """Its record may take long to become durable; the older of both answers counts."""
    node, _made, on_san, stays = ordered()
    asked_san_ms, asked_copy_ms = node.now_ms - 3_000, node.now_ms - 500
    node.core.handle(replace(on_san, asked_ms=asked_san_ms), node.now)
    step = node.core.handle(replace(stays, asked_ms=asked_copy_ms), node.now)
    (sent,) = (effect for effect in step.after_commit if isinstance(effect, ev.SendDelete))
    assert sent.before_ms == asked_san_ms + node.core.state.rules.confirmation_max_age_ms


def test_an_order_that_came_too_late_to_be_sent_is_settled_by_a_list() -> None:
    node, made, on_san, stays = ordered()
    node.core.handle(on_san, node.now)
    node.core.handle(stays, node.now)
    assert node.core.state.orders.active[made.id].status is OrderStatus.SENT
    node.send(ev.DeleteAnswer(made.id, ev.LATE))
    assert node.core.state.orders.active[made.id].status is OrderStatus.UNKNOWN
    node.run(1 * SECOND_MS)
    assert made.id not in node.core.state.orders.active
    assert not node.deleted


def test_a_list_whose_question_raised_no_fence_settles_no_order_of_ours() -> None:
    """The question waited for its turn behind those to other servers, and the delete failed meanwhile.
    Nothing has told the worker that the order is void: it may carry it out after it has read its folder."""
    node, made, on_san, stays = ordered()
    node.core.handle(on_san, node.now)
    node.core.handle(stays, node.now)
    node.core.handle(ev.DeleteAnswer(made.id, Failure(Trouble.TIMEOUT, "no answer")), node.now)
    listing = node.listing(made.server)
    node.core.handle(ev.ListAnswer(made.server, node.now_ms + 1, listing), node.now)
    assert node.core.state.orders.active[made.id].status is OrderStatus.UNKNOWN
    node.core.handle(ev.ListAnswer(made.server, node.now_ms + 1, listing, fence=made.id), node.now)
    assert node.core.state.orders.active[made.id].status is OrderStatus.UNKNOWN
    node.core.handle(ev.ListAnswer(made.server, node.now_ms + 1, listing, fence=made.id + 1), node.now)
    assert made.id not in node.core.state.orders.active


def test_what_a_delete_without_an_answer_removed_has_not_vanished() -> None:
    """cfm has brought these copies a moment ago; the lists that settle its orders are without them."""
    node = Node(files(6), disk_bytes=4000)
    node.grade()
    node.run(10 * SECOND_MS)
    node.put(node.destinations[0], File("STRANGE.mpg", 99, 3_400))  # it is over its limit: its copies go
    look_at_all(node)
    for addr in node.destinations:
        node.put(addr, *node.library)
        node.workers[addr].loses_delete_answers = True
    look_at_all(node)
    brought = {(addr, name) for _, addr, name in node.delivered}
    assert brought & set(node.deleted)
    assert not node.says("copies vanished")
    assert not node.core.state.failures.retries


def test_the_source_folders_are_asked_once_for_all_that_is_ordered_together() -> None:
    node = doubled(4)
    node.grade()
    node.run(10 * SECOND_MS)
    assert len(node.deleted) == 4
    assert node.asked["AskSan"] == 1


def test_of_two_bad_copies_the_one_that_was_repaired_is_soon_found() -> None:
    node = doubled(1)
    for addr in node.destinations:
        node.workers[addr].files["F001.mpg"] = 0
    node.grade()
    node.run(45 * SECOND_MS)
    repaired, other = node.destinations
    assert {said.facts["server"] for said in node.said if said.event == "delete dropped"} == {repaired, other}
    node.workers[repaired].files["F001.mpg"] = node.library[0].size_bytes
    node.run(4 * 60 * SECOND_MS)  # the pauses of a file whose order was dropped grow
    assert node.deleted == [(other, "F001.mpg")]


def test_nothing_goes_where_the_copy_that_should_stay_is_not_there() -> None:
    node = doubled(1)
    node.grade()
    node.run(1)
    node.workers[node.destinations[1]].files.pop("F001.mpg")
    node.run(60 * SECOND_MS)
    assert not node.deleted
    assert node.holders("F001.mpg") == [node.destinations[0]]


def test_no_answer_about_the_copy_that_should_stay_is_not_an_answer() -> None:
    node = doubled(2)
    node.confirms = False
    node.grade()
    node.run(60 * SECOND_MS)
    assert not node.deleted
    assert node.says("delete dropped")
    node.confirms = True
    node.run(60 * SECOND_MS)
    assert len(node.deleted) == 2


def test_a_dropped_order_is_decided_anew_when_its_pause_is_over_however_long_a_plan_takes() -> None:
    node = doubled(1)
    node.confirms = False
    node.grade()
    until(node, "delete dropped")
    node.core.plans.running = True  # a slow one, of which nothing is heard
    node.confirms = True
    node.run(PAUSE_MS + 2 * SECOND_MS)
    assert gone(node) == ["F001.mpg"]


def test_a_surplus_copy_of_an_old_worker_is_confirmed_by_one_list_for_all() -> None:
    node = doubled(20, features=OLD)
    others = {f"OTHER{number}.mpg": 1 for number in range(5)}
    node.workers[node.destinations[0]].files.update(others)  # so that nobody takes the two disks for one
    node.grade()
    node.run(1 * SECOND_MS)
    assert len(node.deleted) == 20
    assert node.asked["AskCopy"] == 0
    assert node.asked["AskList"] <= 8


def test_surplus_copies_go_though_they_rise_are_watched_or_young() -> None:
    node = doubled(2)
    node.send(ev.HitsChanged(Hits({"F001.mpg": 9}, frozenset({"F002.mpg"}))))
    for addr in node.destinations:
        node.core.state.arrivals.put("F001.mpg", addr, 0)
    node.grade()
    node.run(5 * SECOND_MS)
    assert sorted(gone(node)) == ["F001.mpg", "F002.mpg"]


def test_neither_an_ad_nor_a_file_that_is_not_on_the_san_is_trimmed() -> None:
    node = doubled(4, rules=Rules(ad_prefixes=("F001",)))
    del node.san["F002.mpg"]
    node.san["F003.mpg"] = 0
    node.grade()
    node.run(60 * SECOND_MS)
    assert gone(node) == ["F004.mpg"]


def test_a_404_is_followed_by_a_list() -> None:
    node = doubled(1)
    node.grade()
    lost = node.destinations[0]
    node.run(5)
    assert [made.status for made in node.core.state.orders.active.values()] in ([], [OrderStatus.ORDERED])
    node.delete_answers = 404
    until(node, "delete unclear")
    lists = node.asked["AskList"]
    until(node, "deleted file")
    assert node.asked["AskList"] >= lists
    assert node.deleted == [(lost, "F001.mpg")]
    assert len(node.holders("F001.mpg")) == 1


def test_an_order_that_was_not_carried_out_is_dropped_and_tried_again_later() -> None:
    node = doubled(1)
    node.delete_answers = Failure(Trouble.BROKEN, "the connection was dropped")
    node.carries_out = False
    node.grade()
    node.run(5 * SECOND_MS)
    assert len(node.says("delete unclear")) == 1
    assert len(node.says("delete dropped")) == 1
    assert len(node.holders("F001.mpg")) == 2
    node.delete_answers, node.carries_out = None, True
    node.run(PAUSE_MS + 2 * SECOND_MS)
    assert len(node.holders("F001.mpg")) == 1


def test_an_unclear_order_blocks_its_file_and_no_other() -> None:
    node = doubled(3, features=OLD)
    node.delete_answers, node.carries_out = Failure(Trouble.TIMEOUT, "no answer"), False
    node.grade()
    until(node, "delete unclear")
    node.delete_answers, node.carries_out = None, True
    node.run(9 * SECOND_MS)
    unknown = [made for made in node.core.state.orders.active.values() if made.status is OrderStatus.UNKNOWN]
    assert len(unknown) >= 1, "an old worker is left in quiet for ten seconds"
    assert all(len(node.holders(made.file.name)) == 2 for made in unknown)
    node.run(60 * SECOND_MS)
    assert all(len(node.holders(f"F{i:03}.mpg")) == 1 for i in (1, 2, 3))


# ── one disk under two addresses ────────────────────────────────────────────────────────────────────────


def test_one_disk_of_two_old_workers_is_never_trimmed_while_copies_arrive() -> None:
    library = files(12)
    node = Node(library, sources=1, destinations=2, disk_bytes=4000, features=OLD, transfer_ms=7_000)
    one, two = node.destinations
    node.put(one, *library[:6])
    node.workers[two].files = node.workers[one].files
    node.grade()
    node.run(180 * SECOND_MS)
    assert len(node.started) >= 6
    assert not node.deleted
    assert len(node.workers[one].files) == 12


# ── for room ────────────────────────────────────────────────────────────────────────────────────────────


def test_rising_and_watched_files_do_not_go_for_room() -> None:
    node = full(limit_percent=70)
    node.send(ev.HitsChanged(Hits({"F009.mpg": 9}, frozenset({"F008.mpg"}))))
    node.grade()
    node.run(30 * SECOND_MS)
    assert gone(node) == ["F007.mpg", "F006.mpg"]


def test_what_went_for_room_is_not_copied_back_for_a_day_unless_it_moved() -> None:
    node = full(limit_percent=80)
    node.grade()
    node.run(10 * SECOND_MS)
    assert gone(node) == ["F009.mpg"]
    node.send(ev.RulesChanged(Rules(limit_percent=90)))
    node.run(90 * SECOND_MS)
    assert [name for _, _, name in node.started] == ["F010.mpg"], "the next in rank that did not go"
    node.workers[node.destinations[0]].files.pop("F010.mpg")
    node.library = [f for f in node.library if f.name != "F010.mpg"]
    moved = [replace(file, rank=1 if file.name == "F009.mpg" else file.rank + 1) for file in node.library]
    node.grade(moved)
    node.run(90 * SECOND_MS)
    assert node.holders("F009.mpg")


def test_what_went_is_remembered_over_a_restart() -> None:
    node = full(limit_percent=80)
    node.grade()
    node.run(10 * SECOND_MS)
    assert gone(node) == ["F009.mpg"]
    node.restart(Rules(limit_percent=90))
    node.grade(node.library[:9])
    node.run(90 * SECOND_MS)
    assert not node.started


def over_its_limit_with_a_pace() -> Node:
    """Ten of ninety files have to go, four in a minute."""
    library = files(90, size_bytes=10)
    rules = Rules(limit_percent=80, space_deletes_per_minute=4)
    node = Node(library, destinations=1, disk_bytes=1000, rules=rules)
    node.put(node.destinations[0], *library)
    node.grade()
    return node


def test_the_pace_is_kept() -> None:
    node = over_its_limit_with_a_pace()
    node.run(59 * SECOND_MS)
    assert len(node.deleted) == 4
    node.run(60 * SECOND_MS)
    assert len(node.deleted) == 8
    node.run(60 * SECOND_MS)
    assert len(node.deleted) == 10


def test_a_restart_is_no_way_around_the_pace() -> None:
    node = over_its_limit_with_a_pace()
    for _ in range(5):
        node.run(11 * SECOND_MS)
        node.restart()
        node.grade()
    assert len(node.deleted) == 4
    node.run(60 * SECOND_MS)
    assert len(node.deleted) == 8


def test_a_wall_clock_that_went_back_over_a_restart_holds_the_pace_for_a_minute_at_most() -> None:
    node = over_its_limit_with_a_pace()
    node.run(10 * SECOND_MS)
    node.wall_shift_ms = -86_400 * SECOND_MS
    node.restart()
    node.grade()
    node.run(59 * SECOND_MS)
    assert len(node.deleted) == 4
    node.run(10 * SECOND_MS)
    assert len(node.deleted) == 8


def test_a_file_open_for_a_viewer_frees_nothing_and_no_second_one_goes_for_it() -> None:
    node = full(limit_percent=80)
    node.frees = False
    node.grade()
    node.run(9 * 60 * SECOND_MS)
    assert gone(node) == ["F009.mpg"]
    node.run(3 * 60 * SECOND_MS)
    assert gone(node) == ["F009.mpg", "F008.mpg"], "for ever it is not waited for"
    node.run(18 * 60 * SECOND_MS)
    assert len(gone(node)) == 2, "it is waited for longer each time"
    node.run(6 * 60 * 60 * SECOND_MS)
    assert len(gone(node)) <= 6


def test_deletes_that_free_their_bytes_late_are_not_made_up_for() -> None:
    """Five of ten files have to go, and viewers have them open for three hours."""
    node = full(limit_percent=45)
    node.send(ev.RulesChanged(Rules(limit_percent=45, breaker_percent=100)))
    node.frees = False
    node.grade()
    node.run(3 * 3_600 * SECOND_MS)
    freed_late = len(gone(node))
    assert 5 <= freed_late <= 5 + 4, "one at a time, after growing pauses"
    node.workers[node.destinations[0]].open_bytes, node.frees = 0, True
    node.run(3_600 * SECOND_MS)
    assert len(gone(node)) == freed_late


def test_room_is_made_by_that_servers_own_answer_before_the_copy_starts() -> None:
    node = full()
    node.workers[node.destinations[0]].features = OLD
    node.san.update(dict.fromkeys(("Y1.mpg", "Y2.mpg"), 100))  # it lacks these: its disk is not the SAN
    node.run(40 * SECOND_MS)
    node.delete_answers = Failure(Trouble.TIMEOUT, "no answer")
    node.watch(F010__mpg=9)
    node.grade()
    until(node, "delete unclear")
    unclear_ms = node.now_ms
    until(node, "deleted file")
    assert node.now_ms - unclear_ms >= 10 * SECOND_MS
    assert not node.started
    node.run(5 * SECOND_MS)
    assert node.holders("F010.mpg")


def test_deletes_that_are_switched_off_stop_what_was_not_sent() -> None:
    node = doubled(3)
    node.confirms = False
    node.grade()
    node.run(5)
    node.send(ev.RulesChanged(Rules(deletes_on=False)))
    node.confirms = True
    node.run(60 * SECOND_MS)
    assert not node.deleted
    node.send(ev.RulesChanged(Rules()))
    node.run(5 * SECOND_MS)
    assert len(node.deleted) == 3, "and at once when they are on again"


def test_metadata_that_grows_old_while_we_run_deletes_nothing() -> None:
    node = full(metadata_max_age_ms=120_000)
    node.grade(age_s=60)
    node.run(70 * SECOND_MS)
    node.send(ev.RulesChanged(Rules(metadata_max_age_ms=120_000, limit_percent=70)))
    node.run(60 * SECOND_MS)
    assert not node.deleted
    node.grade(age_s=1)
    node.run(10 * SECOND_MS)
    assert gone(node) == ["F009.mpg", "F008.mpg"]


# ── restarts ────────────────────────────────────────────────────────────────────────────────────────────


def test_after_a_restart_what_was_sent_is_unknown_until_its_server_was_listed() -> None:
    node = doubled(1)
    node.grade()
    for _ in range(1000):
        node.run(1)
        if any(made.status is OrderStatus.SENT for made in node.core.state.orders.active.values()):
            break
    node.restart()
    (made,) = node.core.state.orders.active.values()
    assert made.status is OrderStatus.UNKNOWN
    node.grade()
    until(node, "deleted file")
    assert node.says("deleted file")[0].facts["order"] == str(made.id)
    assert len(node.holders("F001.mpg")) == 1
    assert len(node.deleted) == 1


def test_after_a_restart_what_was_not_sent_is_decided_anew() -> None:
    node = doubled(1)
    node.confirms = False
    node.grade()
    for _ in range(1000):
        node.run(1)
        if node.core.state.orders.active:
            break
    (order_id,) = node.core.state.orders.active
    node.restart()
    assert not node.core.state.orders.active
    node.confirms = True
    node.grade()
    node.run(10 * SECOND_MS)
    assert len(node.deleted) == 1
    assert node.says("deleted file")[0].facts["order"] != str(order_id)


def test_nothing_is_trimmed_before_every_server_that_may_hold_it_was_listed() -> None:
    library = [replace(file, history_ips=("127.0.2.3",)) for file in files(2)]
    node = Node(library, destinations=3, disk_bytes=4000)
    for addr in node.destinations:
        node.put(addr, *library)
    node.workers[node.destinations[2]].lists = False
    node.grade()
    node.run(60 * SECOND_MS)
    assert not node.deleted
    node.workers[node.destinations[2]].lists = True
    node.run(30 * SECOND_MS)
    assert len(node.deleted) == 4


def test_each_delete_is_logged_once_with_its_facts() -> None:
    node = full(limit_percent=80)
    node.grade()
    node.run(10 * SECOND_MS)
    (said,) = node.says("deleted file")
    assert said.facts == {
        "file": "F009.mpg",
        "server": node.destinations[0],
        "kind": "space",
        "rank": 9,
        "size_bytes": 100,
        "hits": 991,
        "reason": "space: the disk is 100 B over its limit of 80 %, rank 9 is the least wanted there",
        "order": said.facts["order"],
    }
    assert File("F009.mpg", 9, 100).name == said.facts["file"]
