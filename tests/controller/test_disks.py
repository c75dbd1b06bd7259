"""Disks whose `/df` is not the whole truth: nothing goes for it, nothing is filled by it, and it is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from cfm.controller.decide import events as ev
from cfm.controller.explain import report, verdict
from cfm.model import Addr, DiskReport, DiskUsage, File
from cfm.plan.view import Rules
from controller.node import OLD, Node, files

SECOND_MS = 1_000
MINUTE_MS = 60 * SECOND_MS
HOUR_MS = 60 * MINUTE_MS


@dataclass
class Lying(Node):
    """A node whose disks tell what they are told to tell."""

    shown: dict[Addr, DiskUsage] = field(default_factory=dict)
    once: dict[Addr, DiskUsage] = field(default_factory=dict)
    """What they tell the next time they are asked, and not again."""

    def __init__(self, *args: object, **more: object) -> None:
        super().__init__(*args, **more)  # type: ignore[arg-type]  # as Node takes them
        self.shown, self.once = {}, {}

    def answer(self, event: ev.Event, took_ms: int = 0) -> None:
        if isinstance(event, ev.DiskAnswer):
            usage = self.once.pop(event.addr, None) or self.shown.get(event.addr)
            if usage is not None:
                event = ev.DiskAnswer(event.addr, event.asked_ms, DiskReport(usage))
        super().answer(event, took_ms)


def told(node: Node) -> Mapping[str, str]:
    """The conditions by name, and their texts."""
    found = verdict.verdict(node.core, node.core.last_round, node.now)
    assert len(found.line) <= verdict.LINE_LENGTH
    return {one.name: one.text for one in found.conditions if one.name != "source_folders_unknown"}


def forty() -> Lying:
    """One destination with forty files of 20 bytes on 1000, at a limit of 90 %."""
    library = files(40, size_bytes=20)
    node = Lying(
        library, destinations=1, disk_bytes=1000, rules=Rules(minimum_stay_ms=0, breaker_percent=100)
    )
    node.put(node.destinations[0], *library)
    node.grade()
    node.run(10 * SECOND_MS)
    return node


# ── a total that dips ───────────────────────────────────────────────────────────────────────────────────


def test_one_df_whose_total_dips_deletes_nothing_and_is_told() -> None:
    node = forty()
    (only,) = node.destinations
    node.once[only] = DiskUsage(820, 800, 20)
    node.run(10 * MINUTE_MS)
    assert not node.once
    assert not node.deleted
    assert "disk_size_changes" in told(node)
    node.run(20 * MINUTE_MS)
    assert told(node) == {}


def test_a_total_that_dips_every_few_minutes_deletes_nothing_for_hours() -> None:
    node = forty()
    (only,) = node.destinations
    for _dip in range(40):
        node.once[only] = DiskUsage(820, 800, 20)
        node.run(6 * MINUTE_MS)
    assert not node.deleted
    assert node.asked["AskDisk"] < 3 * (40 * 6 + 40 * 3), "a few more questions for each dip"


def test_a_total_that_stays_smaller_is_a_need_within_a_minute() -> None:
    node = forty()
    (only,) = node.destinations
    node.workers[only].disk_bytes = 820
    node.run(75 * SECOND_MS)
    assert len(node.deleted) == 4, "62 bytes are too many"


# ── foreign files ───────────────────────────────────────────────────────────────────────────────────────


def test_where_other_data_fills_a_disk_nothing_goes_and_it_is_told() -> None:
    library = files(20, size_bytes=1)
    node = Node(library, destinations=1, disk_bytes=2000, rules=Rules(minimum_stay_ms=0, breaker_percent=100))
    (only,) = node.destinations
    node.put(only, *library)
    node.grade()
    node.run(10 * SECOND_MS)
    node.put(only, File("STRANGE.bin", 0, 1_900))
    node.run(6 * HOUR_MS)
    assert not node.deleted
    assert told(node) == {
        "limit_unreachable": "Disk over its limit at 127.0.2.1: of 1.9 kB used, 1.9 kB are other data; "
        "the 20 B that may go are not enough, so nothing is deleted"
    }
    status = report.status_json(node.core, node.now)
    assert status["health"] == "degraded" if "health" in status else True
    del node.workers[only].files["STRANGE.bin"]
    node.run(2 * MINUTE_MS)
    assert told(node) == {}


def test_the_breaker_weighs_the_known_files_too() -> None:
    library = files(20, size_bytes=10)
    node = Node(library, destinations=1, disk_bytes=2000, rules=Rules(minimum_stay_ms=0))
    (only,) = node.destinations
    node.put(only, *library, File("STRANGE.bin", 0, 1_700))
    node.grade()
    node.run(1 * HOUR_MS)
    assert not node.deleted, "100 of 200 known bytes are more than a quarter"
    assert "breaker" in told(node)


def test_a_disk_with_some_other_data_is_brought_back_to_its_limit() -> None:
    library = files(20, size_bytes=40)
    node = Node(library, destinations=1, disk_bytes=2000, rules=Rules(minimum_stay_ms=0))
    (only,) = node.destinations
    node.put(only, *library, File("STRANGE.bin", 0, 1_100))
    node.grade()
    node.run(1 * MINUTE_MS)
    assert [name for _, name in node.deleted] == ["F020.mpg", "F019.mpg", "F018.mpg"]


# ── room that comes back late ───────────────────────────────────────────────────────────────────────────


def test_deletes_of_open_files_are_told_and_not_made_up_for() -> None:
    library = files(40, size_bytes=20)
    node = Node(library, destinations=1, disk_bytes=800, rules=Rules(minimum_stay_ms=0, limit_percent=88))
    (only,) = node.destinations
    node.put(only, *library)
    node.frees = False
    node.grade()
    node.run(2 * MINUTE_MS)
    assert len(node.deleted) == 5
    assert told(node)["not_freed"] == "100 B were deleted and are not freed yet at 127.0.2.1: are files open?"
    node.run(2 * HOUR_MS)
    assert len(node.deleted) <= 5 + 4
    node.workers[only].open_bytes, node.frees = 0, True
    node.run(10 * MINUTE_MS)
    gone = len(node.deleted)
    assert told(node) == {}
    node.run(2 * HOUR_MS)
    assert len(node.deleted) == gone


# ── a `/df` that stands still ───────────────────────────────────────────────────────────────────────────


def standing_still() -> tuple[Lying, Addr]:
    """A node of one old worker, whose `/df` tells of an empty disk for ever; and its address."""
    library = files(40, size_bytes=20)
    rules = Rules(minimum_stay_ms=0, limit_percent=50)
    node = Lying(library, destinations=1, disk_bytes=800, rules=rules, features=OLD)
    (only,) = node.destinations
    node.shown[only] = DiskUsage(800, 0, 800)
    node.grade()
    return node, only


def test_an_old_worker_whose_df_stands_still_is_not_filled_beyond_its_limit() -> None:
    node, only = standing_still()
    node.run(2 * HOUR_MS)
    assert node.workers[only].used_bytes == 400
    assert told(node)["df_stands_still"] == "`/df` does not show 400 B that arrived at 127.0.2.1"


def test_nor_after_a_restart_of_cfm() -> None:
    node, only = standing_still()
    node.run(1 * HOUR_MS)
    node.restart()
    node.grade()
    node.run(3 * HOUR_MS)
    assert node.workers[only].used_bytes == 400
