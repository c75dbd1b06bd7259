"""A disk that is a source folder is not used: its files are the originals."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cfm.controller.decide import events as ev
from cfm.controller.decide.san_silence import TRIALS
from cfm.controller.explain import report
from cfm.controller.explain.why import why_json
from cfm.model import NOBODY, OLD_WORKER, Addr, Known
from cfm.plan.view import Rules
from controller.node import OURS, SAN, Node, files

SECOND_MS = 1000
MINUTE_MS = 60_000
LIBRARY = files(10)


def node_on_the_san(*, ours: bool, others: int = 0) -> tuple[Node, Addr]:
    """The first destination's `base_dir` is the source folder, which is over its limit."""
    rules = Rules(minimum_stay_ms=0, breaker_percent=100)
    node = Node(
        LIBRARY, destinations=1 + others, rules=rules, features=OURS if ours else OLD_WORKER, disk_bytes=1000
    )
    addr = node.destinations[0]
    mount_the_san(node, addr)
    return node, addr


def mount_the_san(node: Node, addr: Addr) -> None:
    node.workers[addr].files = node.san  # one and the same: what goes from the one, goes from the other
    node.on_san.add(addr)


@pytest.mark.parametrize("ours", [True, False])
def test_nothing_is_deleted_or_copied_on_the_san(ours: bool) -> None:
    node, addr = node_on_the_san(ours=ours)
    originals = dict(node.san)
    node.grade()
    node.run(60 * MINUTE_MS)
    assert node.san == originals
    assert not node.deleted
    assert not node.delivered
    (said,) = [said for said in node.said if said.level == "error"]
    assert (said.facts["server"], said.facts["folder"]) == (addr, SAN)


@pytest.mark.parametrize("ours", [True, False])
def test_status_and_verdict_say_so(ours: bool) -> None:
    node, addr = node_on_the_san(ours=ours)
    node.grade()
    node.run(MINUTE_MS)
    status = report.status_json(node.core, node.now)
    (condition,) = [c for c in status["conditions"] if c["name"] == "source_disk"]
    assert condition["level"] == ("critical" if ours else "degraded")
    assert condition["servers"] == [addr]
    assert SAN in status["verdict"]
    (told,) = [server for server in status["servers"] if server["addr"] == addr]
    assert SAN in told["why"]
    name = LIBRARY[0].name
    copy = why_json(node.core, name, LIBRARY[0], 1, node.now, node._on_san(name))["copy"]
    assert copy["reason"] == ("no_destination" if ours else "already_placed")
    assert not ours or f"not to {addr} (source_disk: " in copy["text"]


def test_the_others_get_the_files_whose_originals_it_lists() -> None:
    node, addr = node_on_the_san(ours=True, others=1)
    node.grade()
    node.run(60 * MINUTE_MS)
    other = node.destinations[1]
    assert {to for _ms, to, _name in node.delivered} == {other}
    assert len(node.workers[other].files) == 9
    assert not node.deleted
    assert not any(addr in node.core.state.fleet.holders.get(file.name, NOBODY) for file in LIBRARY)


def test_a_copy_elsewhere_is_not_surplus_beside_an_original() -> None:
    for ours in (True, False):
        node, _addr = node_on_the_san(ours=ours, others=1)
        node.put(node.destinations[1], *LIBRARY[:5])
        node.grade()
        node.run(60 * MINUTE_MS)
        assert not node.deleted
        assert {file.name for file in LIBRARY[:5]} <= node.workers[node.destinations[1]].files.keys()


def test_the_san_comes_to_lie_in_a_base_dir_later() -> None:
    """The worker's probe file was not on the SAN before, and is there when the order is to be sent."""
    rules = Rules(minimum_stay_ms=0, breaker_percent=100, limit_percent=100)
    node = Node(LIBRARY, destinations=1, rules=rules)
    (addr,) = node.destinations
    node.put(addr, *LIBRARY)
    node.grade()
    node.run(90 * SECOND_MS)
    assert node.core.state.fleet.source_disks.check(addr).ruled_out
    mount_the_san(node, addr)
    originals = dict(node.san)
    node.send(ev.RulesChanged(replace(rules, limit_percent=80)))
    node.run(60 * MINUTE_MS)
    assert node.san == originals
    assert not node.deleted


def test_while_the_san_is_silent_deletes_wait() -> None:
    node = Node(LIBRARY, destinations=1, rules=Rules(minimum_stay_ms=0, breaker_percent=100))
    node.put(node.destinations[0], *LIBRARY)
    node.san_answers = False
    node.grade()
    node.run(10 * MINUTE_MS)
    assert not node.deleted
    node.san_answers = True
    node.run(TRIALS.longest_ms + MINUTE_MS)  # nothing is ordered before the SAN's answer: a trial brings it
    assert len(node.deleted) == 1


def test_a_worker_that_starts_anew_is_asked_about_anew() -> None:
    """Nothing that was known by its old probe file counts for the new one."""
    node = Node(LIBRARY, destinations=1)
    (addr,) = node.destinations
    node.grade()
    node.run(SECOND_MS)
    disks = node.core.state.fleet.source_disks
    assert disks.check(addr).ruled_out
    node.san_answers = False
    worker = node.workers[addr]
    worker.features = replace(worker.features, probe=".cfw-probe-new")
    node.send(ev.HeartbeatAnswer(addr, worker.features))
    assert not disks.check(addr).ruled_out
    node.san_answers = True
    node.run(2 * MINUTE_MS)
    assert disks.check(addr).ruled_out


def test_an_order_names_the_probe_file_of_the_disk_that_it_is_for() -> None:
    node = Node(LIBRARY, destinations=1, rules=Rules(minimum_stay_ms=0, breaker_percent=100))
    (addr,) = node.destinations
    node.put(addr, *LIBRARY)
    sent: list[ev.SendDelete] = []
    carry_out = node._carry_out

    def note(effect: ev.Effect) -> None:
        sent.extend([effect] if isinstance(effect, ev.SendDelete) else [])
        carry_out(effect)

    node._carry_out = note  # type: ignore[method-assign]  # the harness lets us look at what goes out
    node.grade()
    node.run(MINUTE_MS)
    assert {order.probe for order in sent} == {node.workers[addr].features.probe}


def test_an_old_worker_that_has_all_but_a_few_files_is_told_apart_after_a_while() -> None:
    """An old list may come from a cache of a network file system: a few names have to be missing for long."""
    node = Node(
        LIBRARY, destinations=1, features=OLD_WORKER, rules=Rules(minimum_stay_ms=0, breaker_percent=100)
    )
    (addr,) = node.destinations
    node.put(addr, *LIBRARY)
    node.workers[addr].files.update({"Y1.mpg": 100, "Y2.mpg": 100})  # it lacks one of 13 files
    node.workers[addr].disk_bytes = 1300
    node.grade()
    node.run(80 * SECOND_MS)
    assert not node.deleted
    node.run(3 * MINUTE_MS)
    assert len(node.deleted) == 1


def test_a_file_that_left_the_san_is_no_proof() -> None:
    """The index still has three files that were deleted on the SAN, and so in the old worker's list."""
    node, _addr = node_on_the_san(ours=False)
    node.grade()
    listed = node.core.state.fleet.source_disks._folders[SAN]
    for name in ("Y1.mpg", "Y2.mpg", "Y3.mpg"):
        del node.san[name]
    originals = dict(node.san)
    assert listed > originals.keys()
    node.run(60 * MINUTE_MS)
    assert not node.deleted
    assert node.san == originals


def test_a_list_known_before_the_source_folder_is_compared_when_that_is_known() -> None:
    node = Node(LIBRARY, destinations=1, features=OLD_WORKER)
    node.run(SECOND_MS)
    (addr,) = node.destinations
    assert isinstance(node.core.state.fleet.records[addr].files, Known)
    node.index()
    node.run(SECOND_MS)
    assert node.core.state.fleet.source_disks.check(addr).ruled_out
