"""Up after one answer, down after a set number of misses, and asked early whenever something looks wrong."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from cfm.fleet.health import RETRY_MS, HealthBook
from cfm.model import Addr

ONE, TWO = Addr("127.0.2.1:8888"), Addr("127.0.2.2:8888")
INTERVAL_MS = 30_000


def book(misses_to_down: int = 2) -> HealthBook:
    return HealthBook([ONE, TWO], interval_ms=INTERVAL_MS, misses_to_down=misses_to_down, now_ms=0)


def test_all_are_asked_at_the_start_and_each_once() -> None:
    health = book()
    assert health.take_due(0) == [ONE, TWO]
    assert health.take_due(10_000) == []
    assert health.next_due_ms() is None


def test_up_after_one_answer_and_down_after_the_last_miss() -> None:
    health = book()
    health.take_due(0)
    assert not health.is_up(ONE)
    assert health.answered(ONE, 1)
    assert health.is_up(ONE)
    health.take_due(INTERVAL_MS + 1)
    assert not health.missed(ONE, "refused", INTERVAL_MS + 2)
    assert health.is_up(ONE), "one miss may be a lost packet"
    assert health.take_due(INTERVAL_MS + 2 + RETRY_MS) == [ONE]
    assert health.missed(ONE, "refused", INTERVAL_MS + 3 + RETRY_MS)
    assert not health.is_up(ONE)
    assert health.pulse(ONE).why == "refused"
    health.take_due(3 * INTERVAL_MS)
    assert health.answered(ONE, 3 * INTERVAL_MS + 1)


def test_an_answer_between_two_misses_makes_them_single() -> None:
    health = book()
    for at_ms in range(0, 10 * INTERVAL_MS, INTERVAL_MS):
        health.take_due(at_ms)
        assert not health.missed(ONE, "lost", at_ms + 1)
        health.take_due(at_ms + 1 + RETRY_MS)
        health.answered(ONE, at_ms + 2 + RETRY_MS)
    assert health.is_up(ONE)


def test_an_alarm_while_it_is_being_asked_asks_once_more() -> None:
    health = book()
    health.take_due(0)
    health.hurry(ONE, 1)
    health.answered(ONE, 10)
    assert health.take_due(10) == []
    assert health.take_due(RETRY_MS) == [ONE]


def test_a_server_that_is_down_is_hurried_only_by_its_own_word() -> None:
    health = book(misses_to_down=1)
    health.take_due(0)
    assert health.missed(ONE, "refused", 1)
    health.hurry(ONE, 5_000)
    assert health.take_due(5_000) == []
    health.heard_of(ONE, 5_000)
    assert health.take_due(5_000) == [ONE]


class HealthMachine(RuleBasedStateMachine):
    """Whatever happens: the count of misses decides, nothing waits for more than an interval, and an alarm
    never delays a heartbeat."""

    def __init__(self) -> None:
        super().__init__()
        self.health = book()
        self.now_ms = 0
        self.misses = 0
        self.asked = False
        self.was_up: bool | None = None

    @rule(passed_ms=st.integers(0, 40_000))
    def time_passes(self, passed_ms: int) -> None:
        self.now_ms += passed_ms
        if ONE in self.health.take_due(self.now_ms):
            assert not self.asked
            self.asked = True

    @precondition(lambda self: self.asked)
    @rule()
    def it_answers(self) -> None:
        assert self.health.answered(ONE, self.now_ms) == (self.was_up is not True)
        self.asked, self.misses, self.was_up = False, 0, True

    @precondition(lambda self: self.asked)
    @rule()
    def it_misses(self) -> None:
        self.asked = False
        self.misses += 1
        goes_down = self.misses >= 2 and self.was_up is not False
        assert self.health.missed(ONE, "lost", self.now_ms) == goes_down
        if goes_down:
            self.was_up = False

    @rule(by_itself=st.booleans())
    def something_looks_wrong(self, by_itself: bool) -> None:
        before_ms = self.health.pulse(ONE).due_ms
        (self.health.heard_of if by_itself else self.health.hurry)(ONE, self.now_ms)
        assert self.health.pulse(ONE).due_ms <= before_ms

    @invariant()
    def only_answers_and_misses_decide(self) -> None:
        assert self.health.is_up(ONE) == (self.was_up is True)
        assert self.health.pulse(ONE).in_flight == self.asked
        if not self.asked:
            assert self.health.pulse(ONE).due_ms <= self.now_ms + INTERVAL_MS


TestHealthMachine = HealthMachine.TestCase
TestHealthMachine.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
