"""What every task store promises, held against each of them; and what only the one on disk can be asked.

The one on disk is broken for real: a limit on the size of files makes its writes fail half-way, and a
process that commits without pause is ended by SIGKILL.
"""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Protocol
from unittest.mock import Mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cfm.errors import StateError, StoreFullError
from cfm.model import Addr, DeleteKind, DeleteOrder, File, Measure, OrderStatus, Side, Status, Task, Version
from cfm.tasks.postgres_store import PostgresStore
from cfm.tasks.sqlite_store import LOG_KEPT_BYTES, SqliteStore
from cfm.tasks.store import (
    Change,
    DropArrival,
    DropCopy,
    DropPause,
    DropRelease,
    DropTask,
    PutArrival,
    PutCopy,
    PutEvent,
    PutMeasure,
    PutOrder,
    PutPause,
    PutRelease,
    PutTask,
    Recovered,
    SupersededError,
    TaskStore,
    event_bytes,
)
from cfm_lab.fakes.memory_store import MemoryStore
from postgres_bench import empty_server, read_only

NOW_S = 1_800_000_000
DAY_S = 24 * 60 * 60
SERVER = Addr("127.0.2.1:18888")


def task(number: int, status: Status = Status.READY, *, changed_s: int = NOW_S, name: str = "a.mpg") -> Task:
    return Task(
        id=NOW_S * 10**9 + number,
        status=status,
        created_s=changed_s - 1,
        changed_s=changed_s,
        file=File(name, 7, 920_664, 3, ("125.144.97.70", "125.159.40.3")),
        path=f"/san/{name}",
        source=Addr("127.0.1.1:18888"),
        destination=SERVER,
        copy_speed_bps=10_000_000,
        reason="rank 7, on no server",
        window_hits=2,
    )


def order(
    number: int, status: OrderStatus = OrderStatus.ORDERED, *, changed_s: int = NOW_S, name: str = "a.mpg"
) -> DeleteOrder:
    return DeleteOrder(
        id=NOW_S * 10**9 + number,
        status=status,
        created_s=changed_s - 1,
        changed_s=changed_s,
        file=File(name, 9, 5),
        server=SERVER,
        kind=DeleteKind.SURPLUS,
        reason="a second copy",
        keeper=Addr("127.0.2.2:18888"),
    )


class Bench(Protocol):
    """One state, and ways to lay hands on it."""

    def handle(self) -> TaskStore:
        """A new handle on the state, not yet open."""

    def broken(self) -> AbstractContextManager[None]:
        """Nothing can be written meanwhile."""


class MemoryBench:
    def __init__(self) -> None:
        self._stores = [MemoryStore(wall_s=lambda: NOW_S)]

    def handle(self) -> TaskStore:
        self._stores.append(MemoryStore(self._stores[0].state, wall_s=lambda: NOW_S))
        return self._stores[-1]

    @contextmanager
    def broken(self) -> Iterator[None]:
        for store in self._stores:
            store.trouble = "no space left on device"
        yield
        for store in self._stores:
            store.trouble = None


class SqliteBench:
    def __init__(self, folder: Path) -> None:
        self.path = folder / "cfm.db"

    def handle(self) -> SqliteStore:
        return SqliteStore(self.path, wall_s=lambda: NOW_S)

    @contextmanager
    def broken(self) -> Iterator[None]:
        """No file can be written past its first 4 KiB: a page of the log is cut in the middle."""
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


class PostgresBench:
    def __init__(self) -> None:
        self.server = empty_server()

    def handle(self) -> PostgresStore:
        return PostgresStore(self.server.url(), "127.0.0.1:8080", wall_s=lambda: NOW_S)

    def broken(self) -> AbstractContextManager[None]:
        return read_only(self.server)


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Bench:
    match request.param:
        case "memory":
            return MemoryBench()
        case "sqlite":
            return SqliteBench(tmp_path)
        case _:
            return PostgresBench()


@pytest.fixture
def store(bench: Bench) -> Iterator[TaskStore]:
    handle = bench.handle()
    handle.open()
    yield handle
    handle.close()


def reopened(bench: Bench, store: TaskStore) -> Recovered:
    store.close()
    again = bench.handle()
    found = again.open()
    again.close()
    return found


# What every store promises.


def test_a_new_state_is_empty_and_begins_with_epoch_1(bench: Bench) -> None:
    store = bench.handle()
    found = store.open()
    store.close()
    assert (found.epoch, found.last_id) == (1, 0)
    assert len(found.controller_id) == 32
    assert (found.tasks, found.orders, found.arrivals) == ((), (), ())


def test_the_id_stays_and_the_epoch_grows_with_every_start(bench: Bench) -> None:
    starts = []
    for _ in range(3):
        store = bench.handle()
        starts.append(store.open())
        store.close()
    assert len({start.controller_id for start in starts}) == 1
    assert [start.epoch for start in starts] == [1, 2, 3]


def test_what_was_committed_is_recovered(bench: Bench, store: TaskStore) -> None:
    store.commit([PutTask(task(1)), PutOrder(order(2)), PutArrival("a.mpg", SERVER, NOW_S)])
    found = reopened(bench, store)
    assert found.tasks == (task(1),)
    assert found.orders == (order(2),)
    assert found.arrivals == (PutArrival("a.mpg", SERVER, NOW_S),)


def test_the_last_of_several_changes_counts(bench: Bench, store: TaskStore) -> None:
    store.commit([PutTask(task(1)), PutTask(task(1, Status.WORKING)), PutTask(task(2)), DropTask(task(2).id)])
    store.commit([PutArrival("a.mpg", SERVER, 1), PutArrival("a.mpg", SERVER, 2)])
    store.commit([PutArrival("b.mpg", SERVER, 1), DropArrival("b.mpg", SERVER)])
    found = reopened(bench, store)
    assert found.tasks == (task(1, Status.WORKING),)
    assert found.arrivals == (PutArrival("a.mpg", SERVER, 2),)


def test_of_several_pauses_of_one_side_or_file_the_last_one_counts(bench: Bench, store: TaskStore) -> None:
    source, pair = Side(source=SERVER), Side(SERVER, SERVER)
    store.commit([PutPause(source, "", 1, 5, 6, 7, "it fails"), PutPause(source, "", 2, 8, 9, 7, "it fails")])
    store.commit([PutPause(pair, "", 1, 5, 6, 7, ""), DropPause(pair, "")])
    store.commit([PutPause(Side(), "a.mpg", 3, 5, 5, 5, "")])
    found = reopened(bench, store)
    expected = (PutPause(source, "", 2, 8, 9, 7, "it fails"), PutPause(Side(), "a.mpg", 3, 5, 5, 5, ""))
    assert set(found.pauses) == set(expected)


def test_the_last_release_of_each_breaker_counts(bench: Bench, store: TaskStore) -> None:
    other = Addr("127.0.2.9:8888")
    store.commit([PutRelease(SERVER, 5, 90, NOW_S), PutRelease(SERVER, 7, 80, NOW_S)])
    store.commit([PutRelease(other, 5, 90, NOW_S), DropRelease(other)])
    assert reopened(bench, store).releases == (PutRelease(SERVER, 7, 80, NOW_S),)


def test_dropping_what_is_not_there_changes_nothing(bench: Bench, store: TaskStore) -> None:
    drops = DropTask(5), DropArrival("x.mpg", SERVER), DropPause(Side(SERVER), ""), DropRelease(SERVER)
    store.commit(drops)
    assert reopened(bench, store).tasks == ()


def test_a_commit_may_be_repeated(bench: Bench, store: TaskStore) -> None:
    changes: list[Change] = [PutTask(task(1)), DropTask(task(0).id), PutOrder(order(2))]
    store.commit(changes)
    store.commit(changes)
    found = reopened(bench, store)
    assert (found.tasks, found.orders) == ((task(1),), (order(2),))


@pytest.mark.parametrize(
    ("status", "age_s", "comes_back"),
    [
        (Status.READY, 30 * DAY_S, True),
        (Status.WORKING, 30 * DAY_S, True),
        (Status.DONE, 599, True),
        (Status.FAILED, 601, False),
        (Status.CANCELLED, -DAY_S, True),  # The wall clock went back: what seems to come is recent.
    ],
)
def test_unfinished_and_recent_tasks_come_back(
    bench: Bench, store: TaskStore, status: Status, age_s: int, comes_back: bool
) -> None:
    store.commit([PutTask(task(1, status, changed_s=NOW_S - age_s))])
    assert bool(reopened(bench, store).tasks) is comes_back


@pytest.mark.parametrize(
    ("status", "age_s", "comes_back"),
    [
        (OrderStatus.ORDERED, 30 * DAY_S, True),
        (OrderStatus.SENT, 30 * DAY_S, True),
        (OrderStatus.UNKNOWN, 30 * DAY_S, True),
        (OrderStatus.CONFIRMED, 2 * DAY_S - 1, True),
        (OrderStatus.CONFIRMED, 2 * DAY_S + 1, False),
        (OrderStatus.DROPPED, 59, True),  # the pace counts it
        (OrderStatus.DROPPED, 61, False),
    ],
)
def test_unfinished_and_recently_confirmed_orders_come_back(
    bench: Bench, store: TaskStore, status: OrderStatus, age_s: int, comes_back: bool
) -> None:
    store.commit([PutOrder(order(1, status, changed_s=NOW_S - age_s))])
    assert bool(reopened(bench, store).orders) is comes_back


def test_the_measure_of_the_metadata_in_force_comes_back(bench: Bench, store: TaskStore) -> None:
    store.commit([PutMeasure(Measure(100, 90, 80), NOW_S)])
    store.commit([PutMeasure(Measure(40, 30, 20), NOW_S)])
    found = reopened(bench, store)
    assert found.measure == Measure(40, 30, 20)


def test_the_versions_of_copies_come_back(bench: Bench, store: TaskStore) -> None:
    other = Addr("127.0.2.2:18888")
    store.commit(
        [
            PutCopy("b.mpg", SERVER, Version(5, NOW_S)),
            PutCopy("a.mpg", SERVER, Version(5, NOW_S)),
            PutCopy("a.mpg", other, Version(6, None)),
            PutCopy("a.mpg", SERVER, Version(7, NOW_S + 1)),
            DropCopy("b.mpg", SERVER),
            DropCopy("c.mpg", SERVER),
        ]
    )
    assert reopened(bench, store).copies == (
        PutCopy("a.mpg", SERVER, Version(7, NOW_S + 1)),
        PutCopy("a.mpg", other, Version(6, None)),
    )


def test_a_task_keeps_the_mtime_that_it_was_decided_by(bench: Bench, store: TaskStore) -> None:
    made = dataclasses.replace(task(1), san_mtime_s=NOW_S)
    store.commit([PutTask(made), PutTask(task(2))])
    assert [one.san_mtime_s for one in reopened(bench, store).tasks] == [NOW_S, None]


def test_a_new_state_has_no_measure(bench: Bench, store: TaskStore) -> None:
    assert reopened(bench, store).measure is None


def test_the_highest_id_survives_its_row(bench: Bench, store: TaskStore) -> None:
    store.commit([PutTask(task(7, Status.DONE, changed_s=1)), PutOrder(order(5))])
    store.commit([PutTask(task(6))])
    store.prune(NOW_S, 0)
    store.commit([DropTask(task(6).id)])
    assert reopened(bench, store).last_id == task(7).id


def test_pruning_takes_only_what_is_over(bench: Bench, store: TaskStore) -> None:
    old, new = NOW_S - 100, NOW_S - 10
    store.commit(
        [
            PutTask(task(1, Status.WORKING, changed_s=old)),
            PutTask(task(2, Status.DONE, changed_s=old)),
            PutTask(task(3, Status.DONE, changed_s=new)),
            PutOrder(order(4, OrderStatus.UNKNOWN, changed_s=old)),
            PutOrder(order(5, OrderStatus.CONFIRMED, changed_s=old)),
            PutOrder(order(6, OrderStatus.CONFIRMED, changed_s=new)),
            PutOrder(order(7, OrderStatus.DROPPED, changed_s=old)),
            PutArrival("old.mpg", SERVER, old),
            PutArrival("new.mpg", SERVER, new),
        ]
    )
    store.prune(NOW_S - 50, 0)
    found = reopened(bench, store)
    assert [t.id - task(0).id for t in found.tasks] == [1, 3]
    assert [o.id - order(0).id for o in found.orders] == [4, 6]
    assert [a.file_name for a in found.arrivals] == ["new.mpg"]


def test_what_is_full_cannot_be_pruned_now_and_can_be_later(bench: Bench, store: TaskStore) -> None:
    store.commit([PutTask(task(number, Status.DONE, changed_s=1)) for number in range(200)])
    with bench.broken(), pytest.raises(StoreFullError):
        store.prune(NOW_S, 0)
    store.prune(NOW_S, 0)
    assert reopened(bench, store).tasks == ()


def event(number: int, *about: str, at_s: int = NOW_S, text: str = "because") -> PutEvent:
    facts = {"file": "a.mpg", "because": text, "size_bytes": 2**40, "servers": ["x"], "why": None}
    return PutEvent(number, at_s, "copied file", "info", facts, about)


def events(store: TaskStore, about: str = "", before_id: int = 2**63 - 1, limit: int = 100) -> list[int]:
    return [one.id for one in store.events(about, before_id, limit)]


def test_an_event_comes_back_as_it_was(bench: Bench, store: TaskStore) -> None:
    told = event(7, "a.mpg", SERVER, 'Ä \u2028 "x" %_.mpg')
    store.commit([told])
    assert store.events("a.mpg", 8, 5) == [told]
    store.close()
    again = bench.handle()
    again.open()
    assert again.events("", 8, 5) == [told]
    again.close()


def test_the_history_of_a_file_or_a_server_is_its_own_newest_first_and_cut(store: TaskStore) -> None:
    store.commit([event(1, "a.mpg", SERVER), event(2, "b.mpg", SERVER), event(3, "a.mpg"), event(4)])
    assert events(store, "a.mpg") == [3, 1]
    assert events(store, SERVER) == [2, 1]
    assert events(store) == [4, 3, 2, 1]
    assert events(store, limit=2) == [4, 3]
    assert events(store, before_id=3) == [2, 1]
    assert events(store, "a.mpg", before_id=3) == [1]
    assert events(store, limit=0) == events(store, "c.mpg") == events(store, "a.mp_") == []


def test_an_event_that_is_committed_twice_happened_once(store: TaskStore) -> None:
    for _ in range(2):
        store.commit([event(1, "a.mpg")])
    assert events(store, "a.mpg") == events(store) == [1]


def test_an_events_id_is_not_used_again(bench: Bench, store: TaskStore) -> None:
    store.commit([event(9)])
    store.prune(NOW_S + 1, 0)
    assert events(store) == []
    assert reopened(bench, store).last_id == 9


def test_old_events_are_forgotten(store: TaskStore) -> None:
    store.commit([event(number, "a.mpg", at_s=NOW_S + number) for number in range(5)])
    store.prune(NOW_S + 3, 10**9)
    assert events(store) == events(store, "a.mpg") == [4, 3]


def test_the_oldest_events_are_forgotten_where_there_are_too_many(store: TaskStore) -> None:
    told = [event(number, "a.mpg", text="x" * (number % 100)) for number in range(8_000)]
    sizes = [event_bytes(one, json.dumps(dict(one.facts))) for one in told]
    store.commit(told)
    for most_bytes in (10**9, 1_000_000, 40_000, 100):
        store.prune(0, most_bytes)
        kept = store.events("", 8_000, 8_000)
        first = len(told) - len(kept)
        assert kept == told[first:][::-1]
        assert sum(sizes[first:]) <= most_bytes
        assert first == 0 or most_bytes < sum(sizes[first - 1 :])
        assert store.events("a.mpg", 8_000, 8_000) == kept


def test_a_state_has_one_owner(bench: Bench, store: TaskStore) -> None:
    second = bench.handle()
    with pytest.raises(StateError, match="another cfm"):
        second.open()
    second.close()
    store.commit([PutTask(task(1))])
    assert reopened(bench, store).epoch == 2


def test_a_closed_store_writes_nothing(bench: Bench, store: TaskStore) -> None:
    store.close()
    store.close()
    with pytest.raises(StateError):
        store.commit([PutTask(task(1))])
    assert reopened(bench, store).tasks == ()


def test_a_failed_commit_leaves_no_trace_and_may_succeed_later(bench: Bench, store: TaskStore) -> None:
    store.commit([PutTask(task(1))])
    changes: list[Change] = [
        PutTask(task(1, Status.DONE)),
        *(PutTask(task(n)) for n in range(2, 200)),
        event(1),
    ]
    with bench.broken():
        for _ in range(2):
            with pytest.raises(StoreFullError):
                store.commit(changes)
        assert events(store) == []
    store.commit(changes)
    found = reopened(bench, store).tasks
    assert len(found) == 199
    assert found[0].status is Status.DONE


names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
numbers = st.integers(min_value=0, max_value=2**63 - 1)
addrs = st.builds(lambda n: Addr(f"127.0.2.{n}:18888"), st.integers(min_value=1, max_value=3))
files = st.builds(
    File, names, numbers, numbers, numbers, st.lists(st.ip_addresses(v=4).map(str), max_size=3).map(tuple)
)
tasks = st.builds(
    Task, numbers, st.sampled_from(Status), numbers, numbers, files, names, addrs, addrs, numbers, names
)
orders = st.builds(
    DeleteOrder,
    numbers,
    st.sampled_from(OrderStatus),
    numbers,
    numbers,
    files,
    addrs,
    st.sampled_from(DeleteKind),
    names,
)
sides = st.builds(Side, addrs, addrs)
changes = st.one_of(
    tasks.map(PutTask),
    orders.map(PutOrder),
    st.builds(DropTask, numbers),
    st.builds(PutArrival, names, addrs, numbers),
    st.builds(DropArrival, names, addrs),
    st.builds(PutPause, sides, names, numbers, numbers, numbers, numbers, names),
    st.builds(DropPause, sides, names),
    st.builds(PutRelease, addrs, numbers, numbers, numbers),
    st.builds(DropRelease, addrs),
    st.builds(
        PutEvent, numbers, numbers, names, names, st.dictionaries(names, numbers | names), st.tuples(names)
    ),
)


@given(st.lists(st.lists(changes, max_size=8), max_size=4))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_both_stores_recover_the_same(tmp_path: Path, commits: list[list[Change]]) -> None:
    path = tmp_path / "same.db"
    for old in tmp_path.glob("same.db*"):
        old.unlink()
    found = []
    for store in (MemoryStore(wall_s=lambda: NOW_S), SqliteStore(path, wall_s=lambda: NOW_S)):
        store.open()
        for group in commits:
            store.commit(group)
        store.close()
        found.append((dataclasses.replace(store.open(), controller_id=""), store.events("", 2**63 - 1, 99)))
        store.close()
    assert found[0] == found[1]


def test_a_crash_in_memory_frees_the_state_and_keeps_what_was_committed() -> None:
    store = MemoryStore(wall_s=lambda: NOW_S)
    store.open()
    store.commit([PutTask(task(1))])
    store.crash()
    with pytest.raises(StateError):
        store.commit([PutTask(task(2))])
    assert store.open().tasks == (task(1),)


# What only a file can be asked.


@pytest.fixture
def on_disk(tmp_path: Path) -> SqliteBench:
    return SqliteBench(tmp_path)


def ended(bench: SqliteBench) -> None:
    """A state that was used once and closed."""
    store = bench.handle()
    store.open()
    store.commit([PutTask(task(1))])
    store.close()


def refusal(bench: SqliteBench) -> str:
    store = bench.handle()
    with pytest.raises(StateError) as refused:
        store.open()
    text = str(refused.value)
    assert str(bench.path) in text
    assert "\n" not in text
    return text


def test_a_second_cfm_is_told_who_has_the_state(on_disk: SqliteBench) -> None:
    store = on_disk.handle()
    store.open()
    assert f"process {os.getpid()}" in refusal(on_disk)
    store.close()


def test_a_file_of_another_kind_is_refused_and_left_alone(on_disk: SqliteBench) -> None:
    on_disk.path.write_bytes(b"not a database" * 1000)
    assert "not a database" in refusal(on_disk)
    assert on_disk.path.read_bytes() == b"not a database" * 1000


def test_a_database_of_another_program_is_refused_and_left_alone(on_disk: SqliteBench) -> None:
    with sqlite3.connect(on_disk.path) as db:
        db.execute("CREATE TABLE theirs (x)")
    db.close()
    before = on_disk.path.read_bytes()
    assert "another program" in refusal(on_disk)
    assert on_disk.path.read_bytes() == before


def test_the_state_of_a_newer_cfm_is_refused(on_disk: SqliteBench) -> None:
    ended(on_disk)
    with sqlite3.connect(on_disk.path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    assert "newer cfm" in refusal(on_disk)


def test_a_damaged_state_is_refused(on_disk: SqliteBench) -> None:
    ended(on_disk)
    page = 4096
    with on_disk.path.open("r+b") as file:
        file.seek(page)
        file.write(os.urandom(on_disk.path.stat().st_size - page))
    refusal(on_disk)


def test_a_row_that_makes_no_sense_is_refused(on_disk: SqliteBench) -> None:
    ended(on_disk)
    with sqlite3.connect(on_disk.path) as db:
        db.execute("UPDATE tasks SET status = 'ready', changed_at = 9e9")
        db.execute("UPDATE tasks SET status = 'perhaps'")
    db.close()
    assert "perhaps" in refusal(on_disk)


def test_a_folder_that_is_missing_is_said(on_disk: SqliteBench) -> None:
    on_disk.path = on_disk.path.parent / "nowhere" / "cfm.db"
    assert "No such file" in refusal(on_disk)


def test_a_refused_start_leaves_the_lock_free(on_disk: SqliteBench) -> None:
    on_disk.path.write_bytes(b"not a database" * 1000)
    refusal(on_disk)
    on_disk.path.unlink()
    ended(on_disk)


def test_a_writer_that_was_overtaken_writes_nothing(on_disk: SqliteBench) -> None:
    """The lock file was removed by hand and a second cfm started: the first one's epoch is over."""
    first, second = on_disk.handle(), on_disk.handle()
    first.open()
    on_disk.path.with_name("cfm.db.lock").unlink()
    second.open()
    with pytest.raises(SupersededError):
        first.commit([PutTask(task(1))])
    second.commit([PutTask(task(2))])
    first.close()
    assert reopened(on_disk, second).tasks == (task(2),)


def test_a_state_that_was_removed_takes_no_commits(on_disk: SqliteBench) -> None:
    store = on_disk.handle()
    store.open()
    on_disk.path.rename(on_disk.path.with_name("elsewhere.db"))
    with pytest.raises(StateError, match="removed or replaced"):
        store.commit([PutTask(task(1))])
    store.close()


def test_a_disk_that_cannot_be_looked_at_delays_a_commit_only(
    on_disk: SqliteBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was taken for a state that had been removed, and that ended cfm."""
    store = on_disk.handle()
    store.open()
    with monkeypatch.context() as patched:
        patched.setattr(Path, "stat", Mock(side_effect=OSError(errno.EIO, os.strerror(errno.EIO))))
        with pytest.raises(StoreFullError, match="Input/output error"):
            store.commit([PutTask(task(1))])
    store.commit([PutTask(task(1))])
    store.close()


def test_a_lack_of_descriptors_delays_the_forgetting_only(on_disk: SqliteBench) -> None:
    """What is to be forgotten is found over a connection of its own.  Where that failed, cfm ended."""
    store = on_disk.handle()
    store.open()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        with pytest.raises(StoreFullError, match="unable to open"):
            store.prune(NOW_S, 0)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    store.prune(NOW_S, 0)
    store.close()


def test_an_operators_open_transaction_delays_a_commit_only(on_disk: SqliteBench) -> None:
    store = SqliteStore(on_disk.path, wall_s=lambda: NOW_S, busy_timeout_s=0.01)
    store.open()
    other = sqlite3.connect(on_disk.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreFullError, match="locked"):
        store.commit([PutTask(task(1))])
    other.execute("ROLLBACK")
    other.close()
    store.commit([PutTask(task(1))])
    store.close()


def test_peeking_needs_no_lock_and_changes_nothing(on_disk: SqliteBench) -> None:
    assert on_disk.handle().peek().epoch == 0
    assert not on_disk.path.exists()
    store = on_disk.handle()
    owner = store.open()
    store.commit([PutTask(task(1)), event(1)])
    seen = on_disk.handle().peek()
    assert (seen.controller_id, seen.epoch, seen.tasks) == (owner.controller_id, 1, (task(1),))
    assert on_disk.handle().events("", 2, 5) == [event(1)]
    store.close()


def test_text_that_is_no_unicode_stops_no_commit(on_disk: SqliteBench) -> None:
    store = on_disk.handle()
    store.open()
    store.commit(
        [PutTask(dataclasses.replace(task(1), ended_why="a\ud800b\0c", file=File("a.mpg", 1, 1, 2**64)))]
    )
    (found,) = reopened(on_disk, store).tasks
    assert found.ended_why == "a\\ud800b\0c"
    assert found.file.hits == 2**63 - 1


def test_an_operator_can_read_the_story(on_disk: SqliteBench) -> None:
    store = on_disk.handle()
    store.open()
    store.commit([event(1, "a.mpg", SERVER)])
    with sqlite3.connect(on_disk.path) as db:
        [(told, about)] = db.execute("SELECT event, about FROM story").fetchall()
    db.close()
    store.close()
    assert (told, about) == ("copied file", f'["a.mpg", "{SERVER}"]')


WRITER = """
    import sys
    from pathlib import Path
    from cfm.errors import StoreFullError
    from cfm.model import Addr, File, Status, Task
    from cfm.tasks.sqlite_store import SqliteStore
    from cfm.tasks.store import PutTask

    store = SqliteStore(Path(sys.argv[1]))
    found = store.open()
    number, a = found.last_id, Addr("127.0.0.1:1")
    while True:
        file = File("a.mpg", 1, 1)
        ids = range(number + 1, number + 8)
        group = [Task(n, Status.READY, 1, 1, file, "/a", a, a, 1, "x" * 500) for n in ids]
        number += 7
        try:
            store.commit([PutTask(task) for task in group])
        except StoreFullError:
            break
        print(number, flush=True)
"""


def test_every_acknowledged_commit_survives_kill_9(on_disk: SqliteBench) -> None:
    """Each commit is a group of seven: none is lost, and none is there in part."""
    acknowledged = 0
    for round_number in range(4):
        writer = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(WRITER), str(on_disk.path)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert writer.stdout is not None
        for _ in range(3 + 5 * round_number):
            acknowledged = int(writer.stdout.readline())
        writer.send_signal(signal.SIGKILL)
        said = writer.stdout.read().split("\n")[:-1]  # The last line may be cut.
        writer.wait()
        writer.stdout.close()
        acknowledged = int(said[-1]) if said else acknowledged

        store = on_disk.handle()
        found = store.open()
        store.close()
        ids = [t.id for t in found.tasks]
        assert ids == list(range(1, len(ids) + 1))
        assert len(ids) >= acknowledged
        assert len(ids) % 7 == 0
        assert found.epoch == 2 * round_number + 2


STRACE = shutil.which("strace")


def test_no_commit_is_acknowledged_whose_sync_failed(on_disk: SqliteBench) -> None:
    """From some fsync on the disk answers EIO: commits fail, and what succeeded before is whole."""
    if STRACE is None:
        pytest.skip("needs strace to let fsync fail")
    inject = "inject=fsync,fdatasync:error=EIO:when=12+"
    traced = [STRACE, "-f", "-qq", "-o", os.devnull, "-e", "trace=fsync,fdatasync", "-e", inject]
    script = [sys.executable, "-c", textwrap.dedent(WRITER), str(on_disk.path)]
    writer = subprocess.run([*traced, *script], capture_output=True, text=True, check=False)
    if "ptrace" in writer.stderr:
        pytest.skip("strace may not trace here")
    assert writer.returncode == 0, writer.stderr
    acknowledged = [int(line) for line in writer.stdout.split()]
    assert acknowledged, "it failed before the first commit"
    found = on_disk.handle().peek()
    assert [t.id for t in found.tasks[: acknowledged[-1]]] == list(range(1, acknowledged[-1] + 1))
    assert len(found.tasks) % 7 == 0


def test_the_log_of_a_store_that_is_read_for_long_grows_and_is_cut_afterwards(tmp_path: Path) -> None:
    """A forgotten shell or a backup reads on; nothing of ours may end that."""
    store = SqliteStore(tmp_path / "cfm.db", wall_s=lambda: NOW_S)
    store.open()
    many = [PutArrival(f"{number:0200}.mpg", SERVER, NOW_S) for number in range(10_000)]
    with closing(sqlite3.connect(tmp_path / "cfm.db", isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM arrivals").fetchall()
        while store.log_bytes() < 2 * LOG_KEPT_BYTES:
            store.commit(many)
    for _ in range(3):
        store.commit(many[:1])
    assert 0 < store.log_bytes() <= LOG_KEPT_BYTES
    store.close()
