"""The order of commits and releases, without a store: driven by hand, and by any sequence of events."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from cfm.model import Addr
from cfm.tasks.commits import MAX_WAITING, CommitQueue, OverloadedError
from cfm.tasks.store import Change, PutArrival

SERVER = Addr("127.0.2.1:1")


def change(number: int) -> Change:
    return PutArrival(f"{number}.mpg", SERVER, number)


def test_without_changes_and_with_nothing_ahead_there_is_nothing_to_wait_for() -> None:
    queue: CommitQueue[str] = CommitQueue()
    assert not queue.put([], "told")
    assert queue.next_group() is None


def test_a_step_waits_for_its_changes_and_for_all_before_it() -> None:
    queue: CommitQueue[str] = CommitQueue()
    assert queue.put([change(1)], "first")
    assert queue.put([], "second")
    assert queue.next_group() == (change(1),)
    assert list(queue.released()) == []
    assert not queue.committed(), "there was no trouble"
    assert list(queue.released()) == ["first", "second"]


def test_what_comes_during_a_commit_is_the_next_group() -> None:
    queue: CommitQueue[str] = CommitQueue()
    queue.put([change(1)], "first")
    assert queue.next_group() == (change(1),)
    queue.put([change(2)], "second")
    assert queue.next_group() == (change(1),), "it is the same until it is durable"
    queue.committed()
    assert list(queue.released()) == ["first"]
    assert queue.next_group() == (change(2),)


def test_what_is_put_in_while_a_step_is_carried_out_stays_behind_it() -> None:
    queue: CommitQueue[str] = CommitQueue()
    queue.put([change(1)], "first")
    queue.next_group()
    queue.committed()
    for told in queue.released():
        assert told == "first"
        assert queue.put([], "from within")
    assert queue.next_group() == ()
    queue.committed()
    assert list(queue.released()) == ["from within"]


def test_a_trouble_begins_once_and_ends_with_the_same_group() -> None:
    queue: CommitQueue[str] = CommitQueue()
    queue.put([change(1)], "first")
    group = queue.next_group()
    assert queue.failed("no space left") == []
    assert queue.trouble == "no space left"
    assert queue.failed("no space left") is None, "that is no news"
    queue.put([change(2)], "second")
    assert queue.next_group() == group
    assert queue.committed(), "the trouble is over"
    assert _trouble(queue) is None
    assert list(queue.released()) == ["first"]


def _trouble(queue: CommitQueue[str]) -> str | None:
    return queue.trouble


def test_a_reader_waits_for_what_is_ahead_but_not_for_the_end_of_a_trouble() -> None:
    queue: CommitQueue[str] = CommitQueue()
    queue.put([change(1)], "first")
    assert queue.put([], "reader", patient=False)
    queue.next_group()
    assert queue.failed("no space left") == ["reader"]
    assert not queue.put([], "later reader", patient=False)
    assert queue.put([], "answer")
    queue.committed()
    assert list(queue.released()) == ["first"]


def test_the_queue_is_bounded_and_says_so() -> None:
    queue: CommitQueue[int] = CommitQueue()
    for number in range(MAX_WAITING):
        queue.put([change(0)] if number == 0 else [], number)
    with pytest.raises(OverloadedError, match="too slow"):
        queue.put([change(1)], MAX_WAITING)
    queue.next_group()
    queue.committed()
    assert list(queue.released()) == list(range(MAX_WAITING))


class AnyOrder(RuleBasedStateMachine):
    """Whatever happens, and in whichever order."""

    def __init__(self) -> None:
        super().__init__()
        self.queue: CommitQueue[int] = CommitQueue()
        self.put_in = 0
        self.told: list[int] = []
        self.impatient: set[int] = set()
        self.changes: dict[int, tuple[Change, ...]] = {}
        self.durable: set[Change] = set()

    @rule(changes=st.integers(0, 2), patient=st.booleans())
    def put(self, changes: int, patient: bool) -> None:
        number = self.put_in = self.put_in + 1
        made = tuple(change(100 * number + n) for n in range(changes))
        self.changes[number] = made
        patient = patient or bool(made)
        if not patient:
            self.impatient.add(number)
        if not self.queue.put(made, number, patient=patient):
            self.tell(number)

    @precondition(lambda self: self.queue.next_group() is not None)
    @rule(written=st.booleans())
    def commit(self, written: bool) -> None:
        group = self.queue.next_group()
        assert group is not None
        if not written and group:
            for number in self.queue.failed("no space left") or []:
                self.tell(number)
            return
        self.durable.update(group)
        self.queue.committed()
        for number in self.queue.released():
            self.tell(number)

    def tell(self, number: int) -> None:
        self.told.append(number)
        assert self.durable.issuperset(self.changes[number]), "it was told too early"
        if number not in self.impatient or self.queue.trouble is None:
            earlier = (made for one, made in self.changes.items() if one < number)
            assert all(self.durable.issuperset(made) for made in earlier), "it overtook another change"

    @invariant()
    def the_order_is_kept(self) -> None:
        patient = [number for number in self.told if number not in self.impatient]
        assert patient == sorted(patient)

    @invariant()
    def nothing_is_lost(self) -> None:
        assert len(self.told) + len(self.queue) == self.put_in
        assert len(set(self.told)) == len(self.told)


TestAnyOrder = AnyOrder.TestCase
