"""A whole state goes from one store to another; nothing of it is lost, and the old one is put aside."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from cfm.errors import StateError
from cfm.model import Measure, Side, Version
from cfm.tasks.moving import EPOCHS_APART, move
from cfm.tasks.postgres_store import PostgresStore
from cfm.tasks.sqlite_store import SqliteStore
from cfm.tasks.store import (
    PutArrival,
    PutCopy,
    PutMeasure,
    PutOrder,
    PutPause,
    PutRelease,
    PutTask,
    StateStore,
)
from conformance.test_stores import NOW_S, SERVER, event, order, task
from postgres_bench import empty_server


def a_full_state(path: Path) -> SqliteStore:
    store = SqliteStore(path, wall_s=lambda: NOW_S)
    store.open()
    store.commit(
        [
            PutTask(task(1)),
            PutOrder(order(2)),
            PutArrival("a.mpg", SERVER, NOW_S),
            PutCopy("a.mpg", SERVER, Version(5, NOW_S)),
            PutMeasure(Measure(3, 2, 1), NOW_S),
            PutRelease(SERVER, 5, 90, NOW_S),
            PutPause(Side(SERVER), "", 1, NOW_S, NOW_S, NOW_S, "it fails"),
            event(3, SERVER),
        ]
    )
    store.close()
    return store


def went(old: StateStore, new: StateStore) -> None:
    """Move it, and see that it is all there."""
    before, story = old.peek(), old.events(SERVER, 4, 1)
    done = move(old, new, "moved")
    after = new.peek()
    assert done.epoch == after.epoch > before.epoch + EPOCHS_APART - 1
    assert dataclasses.replace(after, epoch=0) == dataclasses.replace(before, epoch=0)
    assert set(done.rows.values()) == {1}
    assert new.events(SERVER, 4, 1) == story == [event(3, SERVER)]
    assert old.peek().epoch == 0  # nothing is left under the old name
    assert new.open().epoch == after.epoch + 1
    new.close()


def test_from_file_to_file(tmp_path: Path) -> None:
    went(a_full_state(tmp_path / "a.db"), SqliteStore(tmp_path / "b.db", wall_s=lambda: NOW_S))
    assert (tmp_path / "a.db.moved").exists()


def test_from_sqlite_to_postgresql_and_back(tmp_path: Path) -> None:
    server = empty_server()
    new = PostgresStore(server.url(), wall_s=lambda: NOW_S)
    went(a_full_state(tmp_path / "a.db"), new)
    went(new, SqliteStore(tmp_path / "b.db", wall_s=lambda: NOW_S))


def test_a_state_in_use_stays_where_it_is(tmp_path: Path) -> None:
    old = a_full_state(tmp_path / "a.db")
    old.open()
    with pytest.raises(StateError, match="another cfm"):
        move(SqliteStore(tmp_path / "a.db"), SqliteStore(tmp_path / "b.db"), "moved")
    old.close()


def test_no_state_is_written_over(tmp_path: Path) -> None:
    old, there = a_full_state(tmp_path / "a.db"), a_full_state(tmp_path / "b.db")
    before = old.peek(), there.peek()
    with pytest.raises(StateError, match="already"):
        move(old, SqliteStore(tmp_path / "b.db"), "moved")
    assert old.peek().tasks == before[0].tasks
    assert there.peek().tasks == before[1].tasks


def test_no_state_in_postgresql_is_written_over(tmp_path: Path) -> None:
    server = empty_server()
    there = PostgresStore(server.url(), wall_s=lambda: NOW_S)
    there.open()
    there.commit([PutTask(task(7))])
    there.close()
    with pytest.raises(StateError, match="already"):
        move(a_full_state(tmp_path / "a.db"), PostgresStore(server.url()), "moved")
    assert there.peek().tasks == (task(7),)
