"""What only the store in PostgreSQL can be asked: the lease, the form, and who may write."""

from __future__ import annotations

import dataclasses
import threading
import time
from contextlib import ExitStack, closing
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cfm.demo.postgres import PostgresServer
from cfm.errors import StateError, StoreFullError
from cfm.tasks import postgres_schema, rows, sqlite_schema
from cfm.tasks.postgres_check import look_at
from cfm.tasks.postgres_link import DatabaseLink
from cfm.tasks.postgres_store import PostgresStore
from cfm.tasks.store import Change, PutTask
from cfm_lab.fakes.memory_store import MemoryStore
from conformance.test_stores import NOW_S, changes, task
from postgres_bench import admin, empty_server, read_only


@pytest.fixture
def server() -> PostgresServer:
    return empty_server()


def handle(server: PostgresServer, *, lease_s: float = 30.0, address: str = "") -> PostgresStore:
    return PostgresStore(server.url(), address, lease_s=lease_s, wall_s=lambda: NOW_S)


def let_it_end(server: PostgresServer) -> None:
    """The lease ends by the database's clock."""
    with admin(server) as db:
        db.execute("UPDATE cfm.lease SET expires_at = clock_timestamp() - interval '1 ms'")


def test_every_table_is_copied_and_has_a_key() -> None:
    """A table that is new in one store must be in the other, and in what `cfm state copy` takes."""
    made = " ".join(" ".join(form) for form in sqlite_schema.MIGRATIONS).split()
    tables = {made[at + 2] for at, word in enumerate(made) if word == "CREATE" and made[at + 1] == "TABLE"}
    assert set(rows.TABLES) == tables - {"lease"} == set(postgres_schema.KEYS)


def test_many_who_start_at_once_make_one_state_and_one_leads(server: PostgresServer) -> None:
    stores = [handle(server) for _ in range(6)]
    led: list[int] = []

    def start(store: PostgresStore) -> None:
        try:
            led.append(store.open().epoch)
        except StateError:
            led.append(0)

    threads = [threading.Thread(target=start, args=[store]) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(led) == [0, 0, 0, 0, 0, 1]
    for store in stores:
        store.close()


def test_who_stops_in_the_middle_of_a_commit_holds_nobody_up_for_long(server: PostgresServer) -> None:
    first, second = handle(server), handle(server)
    first.open()
    let_it_end(server)
    stopped = DatabaseLink(server.url())
    with ExitStack() as stack:
        db = stack.enter_context(stopped.transaction(statement_ms=50))
        first._require_ours(first._ask_whether_ours(db).fetchone())
        begun = time.monotonic()
        assert second.open().epoch == 2  # waits until the database has ended the other one
        assert time.monotonic() - begun < 1
        with pytest.raises(StateError):
            stack.close()  # it goes on, and writes nothing any more
    first.close()
    second.close()


def test_a_commit_is_two_messages_so_that_no_half_of_one_holds_the_lease(
    server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a pipeline, the server would begin with the first part, and wait for the rest without any bound."""
    store, second = handle(server), handle(server)
    store.open()
    sent: list[Any] = []
    plain = psycopg.Connection.execute

    def note(db: psycopg.Connection, query: Any, *more: Any) -> Any:
        sent.append(query)
        return plain(db, query, *more)

    monkeypatch.setattr(psycopg.Connection, "execute", note)
    store.commit([PutTask(task(1)), PutTask(task(2))])
    monkeypatch.undo()
    assert len(sent) == 2
    assert sent[1] == "COMMIT"
    let_it_end(server)
    with store._commits._one_at_a_time:  # as a program does that was stopped between the two
        db = store._commits._connected()
        db.execute(sent[0])
        assert second.open().epoch == 2
    store.close()
    second.close()


def test_a_renewal_does_not_wait_for_a_commit(server: PostgresServer) -> None:
    store = handle(server)
    store.open()
    link = DatabaseLink(server.url())
    with link.transaction() as db:
        store._require_ours(store._ask_whether_ours(db).fetchone())
        assert store.hold_lease().ours
    link.close()
    store.close()


def test_the_state_of_a_newer_cfm_is_refused(server: PostgresServer) -> None:
    with closing(handle(server)) as store:
        store.open()
    with admin(server) as db:
        db.execute("UPDATE cfm.form SET version = 99")
    with pytest.raises(StateError, match="newer cfm"):
        handle(server).open()


def test_a_schema_of_another_program_is_refused_and_left_alone(server: PostgresServer) -> None:
    with admin(server) as db:
        db.execute("CREATE SCHEMA cfm")
        db.execute("CREATE TABLE cfm.theirs (x integer)")
    with pytest.raises(StateError, match="another program"):
        handle(server).open()


def test_a_replica_is_not_taken_for_the_database(server: PostgresServer) -> None:
    store = handle(server)
    store.open()
    with read_only(server):
        with pytest.raises(StoreFullError, match="cannot write"):
            store.hold_lease()
        assert store.peek().epoch == 1
        assert look_at(server.url()).read_only
    assert store.hold_lease().ours
    store.close()


def test_who_loses_what_it_was_told_is_refused(server: PostgresServer) -> None:
    with admin(server) as db:
        db.execute("ALTER DATABASE cfm SET synchronous_commit = off")
    try:
        with pytest.raises(StateError, match="synchronous_commit"):
            handle(server).open()
    finally:
        with admin(server) as db:
            db.execute("ALTER DATABASE cfm RESET synchronous_commit")


def test_a_server_that_is_away_is_said_and_may_come_back(server: PostgresServer) -> None:
    store = handle(server)
    store.open()
    server.stop()
    with pytest.raises(StoreFullError):
        store.commit([PutTask(task(1))])
    with pytest.raises(StoreFullError):
        store.hold_lease()
    server.start()
    store.commit([PutTask(task(1))])
    assert store.peek().tasks == (task(1),)
    store.close()


def test_a_look_for_check_tells_the_facts(server: PostgresServer) -> None:
    found = look_at(server.url())
    assert found.may_write
    assert not found.read_only
    assert abs(found.clock_ahead_s) < 1
    assert found.version >= 140_000
    assert not found.fsync  # this server is for tests
    with admin(server) as db:
        db.execute("CREATE ROLE guest LOGIN")
        try:
            with closing(handle(server)) as store:
                store.open()
            assert not look_at(server.url().replace("cfm@", "guest@")).may_write
        finally:
            db.execute("DROP ROLE guest")


def _has_nul(change: Change) -> bool:
    return "\\x00" in repr(change)


@given(st.lists(st.lists(changes.filter(lambda change: not _has_nul(change)), max_size=8), max_size=3))
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_it_recovers_what_the_store_in_memory_does(
    server: PostgresServer, commits: list[list[Change]]
) -> None:
    empty_server()
    found = []
    for store in (MemoryStore(wall_s=lambda: NOW_S), handle(server)):
        store.open()
        for group in commits:
            store.commit(group)
        store.close()
        found.append(dataclasses.replace(store.open(), controller_id=""))
        store.close()
    assert found[0] == found[1]
