"""PostgreSQL for tests: one server for all tests of a process, emptied for each of them.

Where it is not installed, such tests are skipped with a word; CI does not need it.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import psycopg
import pytest

from cfm.demo.postgres import PostgresServer, find_postgres
from cfm.tasks.postgres_link import SCHEMA

_open = ExitStack()


@functools.cache
def _server() -> PostgresServer:
    programs = find_postgres()
    assert programs is not None
    return _open.enter_context(PostgresServer(programs))


def stop_server() -> None:
    """At the end of all tests of this process."""
    _open.close()
    _server.cache_clear()


def empty_server() -> PostgresServer:
    """The server, without any state of ours.  Skips the test where PostgreSQL is missing."""
    if find_postgres() is None:
        pytest.skip("needs PostgreSQL (on Debian: apt install postgresql)")
    server = _server()
    with admin(server) as db:
        db.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")
    return server


@contextmanager
def admin(server: PostgresServer) -> Iterator[psycopg.Connection]:
    """A connection that may do everything."""
    with psycopg.connect(server.url(), autocommit=True) as db:
        yield db


@contextmanager
def read_only(server: PostgresServer) -> Iterator[None]:
    """The server takes no writes meanwhile, as a replica does."""
    with admin(server) as db:
        try:
            db.execute("SET default_transaction_read_only = off")
            db.execute("ALTER DATABASE cfm SET default_transaction_read_only = on")
            db.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE pid <> pg_backend_pid() AND datname = 'cfm'"
            )
            yield
        finally:
            db.execute("ALTER DATABASE cfm RESET default_transaction_read_only")
