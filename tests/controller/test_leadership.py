"""Who leads: the table as the page shows it, and all that may come between several cfm and their database.

The state machine plays two or three cfm with the store in memory.  Questions are carried out late, or not at
all, or their answers are lost or late; programs stand still for as long as they like in the middle of
anything; each has a monotonic clock of its own.  At every moment at most one may act, and the commits of a
deposed one fail.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from cfm.controller.decide.leadership import (
    ENDED,
    LEADER_LIFE,
    LeaderEvent,
    Leadership,
    LeaderState,
    LeaseTerms,
)
from cfm.errors import StateError
from cfm.model import Addr
from cfm.tasks.lifecycle import IllegalChangeError
from cfm.tasks.store import LeaseSeen, PutTask, SupersededError
from cfm_lab.fakes.shared_store import SharedState, SharedStore
from conformance.test_stores import task
from life_pages import explained

PAGE = Path(__file__).parents[2] / "docs" / "several-cfm.md"
TERMS = LeaseTerms()


def seen(*, ours: bool, epoch: int = 1, left_ms: int = 3_000) -> LeaseSeen:
    return LeaseSeen(epoch, ours, "host process 1", Addr("127.0.0.1:1"), 0, left_ms)


def leading(asked_ms: int = 0, now_ms: int = 5) -> Leadership:
    found = Leadership(TERMS, asked_ms)
    found.asked(asked_ms)
    found.answered(asked_ms, seen(ours=True), now_ms)
    assert found.state is LeaderState.LEADING
    return found


# The table.


def changes() -> str:
    rows = (
        f"| {state} | {event} | {then} |"
        for state, row in LEADER_LIFE.items()
        for event, then in row.items()
        if then is not state
    )
    return "\n".join(("| state | event | next state |", "|---|---|---|", *rows))


@pytest.mark.parametrize(
    "part", [explained(LeaderState, "state"), explained(LeaderEvent, "event"), changes()]
)
def test_the_page_shows_the_table(part: str) -> None:
    assert part in PAGE.read_text("utf-8"), f"docs/several-cfm.md lacks:\n{part}"


def test_nothing_leads_back_from_an_end() -> None:
    assert all(set(LEADER_LIFE[state].values()) == {state} for state in ENDED)


def test_only_a_question_that_the_database_answered_makes_a_leader() -> None:
    ways = {(state, event) for state, row in LEADER_LIFE.items() for event, then in row.items()
            if then is LeaderState.LEADING}  # fmt: skip
    assert {event for _, event in ways} == {LeaderEvent.HELD}


# Each rule.


def test_the_lease_counts_from_before_the_question() -> None:
    found = leading(asked_ms=0, now_ms=900)
    assert found.may_act(2_499)
    assert not found.may_act(2_500)


def test_an_answer_that_comes_too_late_gives_nothing() -> None:
    found = Leadership(TERMS, 0)
    found.asked(0)
    found.answered(0, seen(ours=True), 2_600)
    assert found.state is LeaderState.LAPSED
    assert not found.may_act(2_600)
    assert found.next_ms <= 2_600  # and it is asked for again at once


def test_a_leader_that_hears_nothing_stops_and_may_go_on_when_nobody_took_it() -> None:
    found = leading()
    found.answered(1_000, "it does not answer", 2_000)
    assert found.may_act(2_400)
    found.look_at_clock(2_500)
    assert (found.state, found.epoch) == (LeaderState.LAPSED, 1)
    found.answered(9_000, seen(ours=True), 9_010)
    assert (found.state, found.may_act(9_010)) == (LeaderState.LEADING, True)


def test_who_stood_still_does_nothing_even_before_it_looked_at_its_clock() -> None:
    assert not leading().may_act(60_000)


def test_a_leader_whose_lease_another_one_has_is_deposed() -> None:
    found = leading()
    found.answered(1_000, seen(ours=False, epoch=2), 1_010)
    assert (found.state, found.may_act(1_010), found.has_ended) == (LeaderState.DEPOSED, False, True)
    found.answered(2_000, seen(ours=True, epoch=3), 2_010)
    assert not found.may_act(2_010)


def test_a_lease_of_a_new_epoch_is_not_the_one_that_we_led_in() -> None:
    """The state was restored from a backup, or taken by a question of ours that was long given up."""
    found = leading()
    found.answered(1_000, seen(ours=True, epoch=2), 1_010)
    assert found.state is LeaderState.DEPOSED


def test_who_resigns_does_nothing_from_then_on() -> None:
    found = leading()
    found.give_up(100)
    found.answered(90, seen(ours=True), 110)
    assert (found.state, found.may_act(110)) == (LeaderState.RESIGNED, False)


def test_a_follower_asks_often_and_a_leader_each_second() -> None:
    follower = Leadership(TERMS, 0)
    follower.asked(0)
    follower.answered(0, seen(ours=False), 10)
    assert follower.next_ms == 310
    follower.answered(310, seen(ours=False, left_ms=40), 320)
    assert follower.next_ms == 365  # when it has ended
    follower.answered(365, seen(ours=False, left_ms=0), 370)
    assert follower.next_ms == 375  # it ended while it was asked for: nobody has it yet
    assert leading(asked_ms=0, now_ms=5).next_ms == 1_000


def test_a_leader_is_awake_when_its_time_is_over() -> None:
    found = leading()
    found.asked(2_000)
    assert found.next_look_ms() == 2_500


def test_terms_under_which_one_failure_costs_the_lease_are_refused() -> None:
    with pytest.raises(ValueError, match="cost the lease"):
        LeaseTerms(lease_ms=2_000)


def test_an_event_that_a_state_does_not_know_is_a_mistake() -> None:
    with pytest.raises(IllegalChangeError):
        Leadership(TERMS, 0)._change(LeaderEvent.RAN_OUT, 0)


# All of it at once.


@dataclass
class Ask:
    asked_ms: int
    answer: LeaseSeen | str | None = None


@dataclass
class Node:
    """One cfm: its clock is off by `off_ms`, which is nobody's business."""

    store: SharedStore
    off_ms: int
    leader: Leadership
    asks: list[Ask] = field(default_factory=list)
    recovered: bool = False


numbers = st.integers(0, 5)
waits = st.one_of(st.integers(0, 50), st.sampled_from([300, 1_000, 2_000, 2_600, 3_001, 20_000]))


class SeveralCfm(RuleBasedStateMachine):
    """Rules are what the world may do at any moment; `now_ms` is the true time."""

    nodes: list[Node]

    def __init__(self) -> None:
        super().__init__()
        self.now_ms = 10_000_000
        self.shared = SharedState(lambda: self.now_ms + self.database_off_ms)
        self.database_off_ms = 0
        self.nodes = []
        self.commits: list[int] = []

    @initialize(
        offs=st.lists(st.integers(-5_000_000, 5_000_000), min_size=2, max_size=3),
        database=st.integers(-5_000_000, 5_000_000),
    )
    def begin(self, offs: list[int], database: int) -> None:
        self.database_off_ms = database
        self.nodes = [self._node(number, off) for number, off in enumerate(offs)]

    def _node(self, number: int, off_ms: int) -> Node:
        store = SharedStore(self.shared, Addr(f"127.0.0.{number + 1}:1"), TERMS.lease_ms)
        return Node(store, off_ms, Leadership(TERMS, self.now_ms + off_ms))

    def _clock(self, node: Node) -> int:
        return self.now_ms + node.off_ms

    @rule(ms=waits)
    def time_passes(self, ms: int) -> None:
        self.now_ms += ms

    @rule(number=numbers, way=waits, back=waits)
    def ask_and_hear(self, number: int, way: int, back: int) -> None:
        """A question and its answer, which take as long as they like."""
        node = self.nodes[number % len(self.nodes)]
        if node.leader.has_ended:
            return
        asked_ms = self._clock(node)
        node.leader.asked(asked_ms)
        self.now_ms += way
        heard = node.store.hold_lease()
        self.now_ms += back
        node.leader.answered(asked_ms, heard, self._clock(node))
        self._begin_to_lead(node)

    @rule(number=numbers)
    def ask(self, number: int) -> None:
        """A question is sent, and is under way."""
        node = self.nodes[number % len(self.nodes)]
        if not node.leader.has_ended:
            node.leader.asked(self._clock(node))
            node.asks.append(Ask(self._clock(node)))

    @rule(number=numbers, which=numbers, reachable=st.sampled_from([True, True, True, False]))
    def database_answers(self, number: int, which: int, reachable: bool) -> None:
        """Any question that is under way is carried out now, in whatever order."""
        node = self.nodes[number % len(self.nodes)]
        waiting = [ask for ask in node.asks if ask.answer is None]
        if waiting:
            ask = waiting[which % len(waiting)]
            ask.answer = node.store.hold_lease() if reachable else "it does not answer"

    @rule(number=numbers, which=numbers)
    def answer_arrives(self, number: int, which: int) -> None:
        """The program hears an answer now, however old it is, or gives up waiting for it."""
        node = self.nodes[number % len(self.nodes)]
        if node.asks:
            ask = node.asks.pop(which % len(node.asks))
            node.leader.answered(ask.asked_ms, ask.answer or "no answer in time", self._clock(node))
            self._begin_to_lead(node)

    def _begin_to_lead(self, node: Node) -> None:
        """A new leader reads the state before it does anything."""
        if node.leader.state is LeaderState.LEADING and not node.recovered:
            try:
                node.recovered = node.store.recover().epoch == node.leader.epoch
            except SupersededError:
                return

    @rule(number=numbers)
    def commit(self, number: int) -> None:
        """Whoever has led may try, however long ago that was: a commit may have been under way."""
        node = self.nodes[number % len(self.nodes)]
        if not node.recovered:
            return
        try:
            node.store.commit([PutTask(task(len(self.commits)))])
        except StateError:
            assert self.shared.committed.epoch > node.leader.epoch or node.leader.has_ended
            return
        assert node.leader.epoch == self.shared.committed.epoch
        self.commits.append(node.leader.epoch)

    @rule(number=numbers)
    def resign(self, number: int) -> None:
        """First nothing is done any more, then the lease is given up."""
        node = self.nodes[number % len(self.nodes)]
        if node.recovered and not node.leader.has_ended:
            node.leader.give_up(self._clock(node))
            node.store.resign()

    @rule(number=numbers)
    def begin_anew(self, number: int) -> None:
        """After SIGKILL, or because it was deposed, it is started again at once."""
        at = number % len(self.nodes)
        self.nodes[at].store.crash()
        self.nodes[at] = self._node(at, self.nodes[at].off_ms)

    @precondition(lambda self: self.nodes)
    @invariant()
    def at_most_one_acts(self) -> None:
        """Who stands still counts too: it may go on at any moment."""
        acting = [node for node in self.nodes if node.leader.may_act(self._clock(node))]
        assert len(acting) <= 1
        for node in acting:
            assert node.leader.epoch == self.shared.committed.epoch

    @invariant()
    def epochs_of_commits_only_grow(self) -> None:
        assert self.commits == sorted(self.commits)


TestSeveralCfm = SeveralCfm.TestCase
TestSeveralCfm.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
