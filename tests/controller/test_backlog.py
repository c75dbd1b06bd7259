"""What is still to be copied, and why each file is not yet."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from cfm.controller.decide.planning import PLACED_IN_BETWEEN, NotPlaced
from cfm.controller.explain.backlog import backlog_json
from cfm.controller.explain.report import status_json
from cfm.model import Addr, File, OnSan, Version
from cfm.plan.shortlist import NOTHING_LISTED
from controller.node import Node, files


def node_with(seconds: float) -> Node:
    """40 files of 100 bytes, and room for 18 of them."""
    node = Node(files(40), disk_bytes=1000)
    node.grade()
    node.run(int(1000 * seconds))
    return node


def pending(node: Node) -> dict[str, int | None]:
    found: dict[str, int | None] = status_json(node.core, node.now)["backlog"]["pending"]
    return found


def test_what_fits_is_pending_and_the_rest_has_no_space() -> None:
    node = node_with(1.5)
    found = pending(node)
    running = len(node.core.state.tasks.active)
    placed = sum(len(node.workers[addr].files) for addr in node.destinations)
    assert running
    assert (found["files"], found["no_space_files"]) == (18 - placed, 22)
    assert found["bytes"] is not None
    assert found["bytes"] <= 100 * (18 - placed)


def test_at_rest_nothing_is_pending() -> None:
    node = node_with(60)
    assert pending(node) == {"files": 0, "bytes": 0, "no_space_files": 22, "rate_bps": 0, "left_s": None}


def test_each_row_says_why_and_no_more_rows_come_than_were_asked_for() -> None:
    node = node_with(1.5)
    found = backlog_json(node.core, node.now, 0, 10)
    whys = {row["reason"]: row["why"] for row in found["rows"]}
    assert len(found["rows"]) == 10
    assert "it is being copied to 127.0.2." in whys["in_task"]
    assert found["total"] == found["listed"] > 10
    rested = backlog_json(node_with(60).core, node.now, 20, 10)
    assert [row["rank"] for row in rested["rows"]] == [39, 40]
    assert {row["why"] for row in rested["rows"]} == {"it needs 100 B; the largest room is 0 B"}


def conditions(node: Node) -> dict[str, tuple[int, str]]:
    told = status_json(node.core, node.now)["conditions"]
    return {one["name"]: (one["files"], one["text"]) for one in told}


def without(which: str) -> Node:
    """60 files of 100 bytes, and room for 27.  The only source is down after its first copy, or the only
    destination from the start."""
    node = Node(files(60), sources=1, destinations=1, disk_bytes=3000)
    addr: Addr = node.sources[0] if which == "no_source" else node.destinations[0]
    node.kill(addr)
    node.grade()
    node.run(300_000)
    return node


@pytest.mark.parametrize(
    ("reason", "waiting", "no_space"), [("no_source", 26, 33), ("no_destination", 60, 0)]
)
def test_what_waits_is_counted_once_and_for_all(reason: str, waiting: int, no_space: int) -> None:
    """A round that sees that all have to wait looks at the first few files only."""
    node = without(reason)
    files_told, text = conditions(node)[reason]
    assert (files_told, text.split(":")[0]) == (waiting, f"{waiting} copies wait")
    assert pending(node)["no_space_files"] == no_space
    found = backlog_json(node.core, node.now)
    assert found["total"] == waiting + no_space == status_json(node.core, node.now)["backlog"]["wanted"]
    assert {row["reason"] for row in found["rows"]} == {reason}
    assert "no_room" not in conditions(node), "nobody has seen yet what fits"


def test_files_without_space_are_counted_beyond_the_list_of_the_plan() -> None:
    node = Node(files(500), destinations=1, disk_bytes=1000)
    node.grade()
    node.run(120_000)
    found = backlog_json(node.core, node.now)
    assert found["listed"] < found["total"] == 491
    assert pending(node)["no_space_files"] == 491
    assert conditions(node)["no_room"] == (
        491,
        "Disks are full of better-ranked files; 491 files have no space",
    )


def test_where_no_disk_is_known_no_file_is_without_space() -> None:
    node = Node(files(40), disk_bytes=1000)
    for addr in node.destinations:
        node.kill(addr)
    node.grade()
    node.run(120_000)
    found = pending(node)
    assert (found["files"], found["no_space_files"]) == (0, 0)


def test_files_that_failed_are_told_as_long_as_that_keeps_them_away() -> None:
    """When their pause is over there is no space for them, so nothing is left undone because they failed."""
    bad = File("BAD.mpg", 9, 100, hits=1)
    node = Node([*files(8), bad], disk_bytes=600)
    for addr in node.destinations:
        node.workers[addr].fails.add(bad.name)
    node.grade()
    node.run(30_000)
    assert conditions(node)["retry_later"][0] == 1
    for addr in node.destinations:
        node.put(addr, File("STRANGE.mpg", 1, 540 - node.workers[addr].used_bytes))
    node.run(600_000)
    assert bad.name in node.core.state.failures.retries
    assert "retry_later" not in conditions(node)
    for addr in node.destinations:
        node.workers[addr].lose("STRANGE.mpg")
    node.run(300_000)
    assert conditions(node)["retry_later"][0] == 1, "it is tried again, and fails"


LIBRARY = files(PLACED_IN_BETWEEN + 8)
A_SERVER, A_FILE = st.integers(0, 2), st.sampled_from(LIBRARY)


class LeavingOutWhatIsPlaced(RuleBasedStateMachine):
    """However files come and go, each wanted file that is not placed is on the list, in its place."""

    @initialize()
    def begin(self) -> None:
        self.state = Node(LIBRARY).core.state
        self.addrs = [Addr(f"10.0.0.{number}:80") for number in range(3)]
        self.there: dict[Addr, frozenset[str]] = dict.fromkeys(self.addrs, frozenset())
        self.lists, self.not_placed = replace(NOTHING_LISTED, wanted=tuple(LIBRARY)), NotPlaced()

    @rule(server=A_SERVER, some=st.frozensets(A_FILE))
    def a_list_comes(self, server: int, some: frozenset[File]) -> None:
        addr = self.addrs[server]
        self.there[addr] = frozenset(file.name for file in some)
        self.state.fleet.holders.hold(addr, self.there[addr])

    @rule(server=A_SERVER, few=st.booleans())
    def many_files_come(self, server: int, few: bool) -> None:
        addr = self.addrs[server]
        for file in LIBRARY[:: 3 if few else 1]:
            self.there[addr] |= {file.name}
            self.state.fleet.holders.came(addr, file.name, self.there[addr])

    @rule(server=A_SERVER, file=A_FILE)
    def a_file_goes(self, server: int, file: File) -> None:
        addr = self.addrs[server]
        self.there[addr] -= {file.name}
        self.state.fleet.holders.went(addr, file.name, self.there[addr])

    @rule(asked=st.frozensets(A_FILE), server=A_SERVER, file=A_FILE)
    def a_plan_ends(self, asked: frozenset[File], server: int, file: File) -> None:
        """And a file goes before anybody asks."""
        held = {f.name: frozenset(a for a in self.addrs if f.name in self.there[a]) for f in asked}
        self.state.fleet.holders.learn(held, dict(self.there))
        self.a_file_goes(server, file)

    @rule(server=A_SERVER, file=A_FILE, size_bytes=st.integers(1, 2))
    def a_copy_is_of_that_version(self, server: int, file: File, size_bytes: int) -> None:
        self.state.versions.learnt(file.name, self.addrs[server], Version(size_bytes))
        self.state.versions.seen(file.name, OnSan("/san/" + file.name, 1))

    @invariant()
    def nothing_is_missing(self) -> None:
        shown = self.not_placed.of(self.lists, self.state).wanted
        wanted = [file for file in LIBRARY if not self.state.is_placed(file.name)]
        assert [file for file in shown if not self.state.is_placed(file.name)] == wanted
        assert len(shown) <= len(wanted) + PLACED_IN_BETWEEN + 1


TestLeavingOut = LeavingOutWhatIsPlaced.TestCase
