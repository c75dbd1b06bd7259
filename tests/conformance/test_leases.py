"""What a store promises that several cfm share: one holds the lease, and who was deposed writes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Protocol

import pytest

from cfm.errors import StateError, StoreFullError
from cfm.model import Addr
from cfm.tasks.postgres_store import PostgresStore
from cfm.tasks.store import LeasedStore, PutTask, SupersededError
from cfm_lab.fakes.shared_store import SharedState, SharedStore
from conformance.test_stores import NOW_S, task
from postgres_bench import admin, empty_server, read_only

LEASE_S = 30
HERE, THERE = Addr("127.0.0.1:1"), Addr("127.0.0.1:2")


class LeaseBench(Protocol):
    def handle(self, address: Addr = HERE) -> LeasedStore: ...

    def let_it_end(self) -> None:
        """The lease ends, by the clock of whoever keeps it."""


class MemoryLeases:
    def __init__(self) -> None:
        self.now_ms = 1000 * NOW_S
        self.shared = SharedState(lambda: self.now_ms)

    def handle(self, address: Addr = HERE) -> SharedStore:
        return SharedStore(self.shared, address, 1000 * LEASE_S, lambda: NOW_S)

    def let_it_end(self) -> None:
        self.now_ms += 1000 * LEASE_S + 1


class PostgresLeases:
    def __init__(self) -> None:
        self.server = empty_server()

    def handle(self, address: Addr = HERE) -> PostgresStore:
        return PostgresStore(self.server.url(), address, lease_s=LEASE_S, wall_s=lambda: NOW_S)

    def let_it_end(self) -> None:
        with admin(self.server) as db:
            db.execute("UPDATE cfm.lease SET expires_at = clock_timestamp() - interval '1 ms'")


@pytest.fixture(params=["memory", "postgres"])
def leases(request: pytest.FixtureRequest) -> LeaseBench:
    return MemoryLeases() if request.param == "memory" else PostgresLeases()


@pytest.fixture
def first(leases: LeaseBench) -> Iterator[LeasedStore]:
    with closing(leases.handle(HERE)) as store:
        yield store


@pytest.fixture
def second(leases: LeaseBench) -> Iterator[LeasedStore]:
    with closing(leases.handle(THERE)) as store:
        yield store


def test_who_asks_first_has_it_and_others_are_told_who(first: LeasedStore, second: LeasedStore) -> None:
    first.open()
    seen = second.hold_lease()
    assert (seen.ours, seen.epoch, seen.address) == (False, 1, HERE)
    assert 0 < seen.left_ms <= 1000 * LEASE_S
    again = first.hold_lease()
    assert (again.ours, again.epoch) == (True, 1)
    with pytest.raises(StateError, match="another cfm"):
        second.open()


def test_one_that_has_ended_is_taken_with_a_new_epoch(
    leases: LeaseBench, first: LeasedStore, second: LeasedStore
) -> None:
    first.open()
    first.commit([PutTask(task(1))])
    leases.let_it_end()
    found = second.open()
    assert (found.epoch, found.tasks) == (2, (task(1),))
    with pytest.raises(SupersededError):
        first.commit([PutTask(task(2))])
    with pytest.raises(SupersededError):
        first.prune(NOW_S, 0)
    seen = first.hold_lease()
    assert (seen.ours, seen.epoch) == (False, 2)
    second.commit([PutTask(task(3))])
    first.close()  # it gives nothing up that is not its own
    second.commit([PutTask(task(4))])
    second.close()
    assert first.open().tasks == (task(1), task(3), task(4))


def test_one_that_has_ended_and_that_nobody_took_goes_on(leases: LeaseBench, first: LeasedStore) -> None:
    assert first.open().epoch == 1
    leases.let_it_end()
    seen = first.hold_lease()
    assert (seen.ours, seen.epoch) == (True, 1)
    first.commit([PutTask(task(1))])


def test_who_was_deposed_does_not_take_it_again_with_what_it_knows(
    leases: LeaseBench, first: LeasedStore, second: LeasedStore
) -> None:
    first.open()
    leases.let_it_end()
    second.open()
    second.close()
    assert not first.hold_lease().ours
    with pytest.raises(SupersededError):
        first.commit([PutTask(task(1))])
    first.close()
    assert first.open().epoch == 3


def test_who_knows_nothing_yet_may_take_it_again(
    leases: LeaseBench, first: LeasedStore, second: LeasedStore
) -> None:
    """The answer to the first question was lost, and another cfm led meanwhile."""
    first.prepare()
    assert first.hold_lease().epoch == 1
    leases.let_it_end()
    second.open()
    with pytest.raises(SupersededError):
        first.recover()
    second.close()
    seen = first.hold_lease()
    assert (seen.ours, seen.epoch, first.recover().epoch) == (True, 3, 3)


def test_one_whose_taking_was_not_heard_of_is_ours(first: LeasedStore) -> None:
    first.prepare()
    assert first.hold_lease().epoch == 1
    seen = first.hold_lease()
    assert (seen.ours, seen.epoch) == (True, 1)


def test_who_gives_it_up_writes_no_more_and_the_next_one_has_it_at_once(
    first: LeasedStore, second: LeasedStore
) -> None:
    first.open()
    first.resign()
    with pytest.raises(SupersededError):
        first.commit([PutTask(task(1))])
    assert second.open().epoch == 2


def test_members_hear_of_one_another_until_one_leaves(first: LeasedStore, second: LeasedStore) -> None:
    first.open()
    assert first.meet("pair 1", 5) == []
    second.hold_lease()
    (met,) = second.meet("", None)
    assert (met.address, met.metadata, met.log_lag_s) == (HERE, "pair 1", 5)
    assert [member.address for member in first.meet("pair 2", 5)] == [THERE]
    assert [member.metadata for member in second.meet("", None)] == ["pair 2"]
    second.close()
    assert first.meet("pair 2", 5) == []


def test_nobody_commits_who_has_not_read_the_state(first: LeasedStore) -> None:
    first.prepare()
    first.hold_lease()
    with pytest.raises(StateError):
        first.commit([PutTask(task(1))])


def test_a_database_that_takes_no_writes_holds_no_lease() -> None:
    leases = PostgresLeases()
    with closing(leases.handle()) as store:
        store.open()
        with read_only(leases.server), pytest.raises(StoreFullError):
            store.hold_lease()
        assert store.hold_lease().ours
