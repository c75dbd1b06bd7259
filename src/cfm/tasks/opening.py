"""The store that a `state.url` names.

Whoever keeps its state in PostgreSQL needs psycopg, which others need not install.  Neighbours:
`sqlite_store` and `postgres_store`.
"""

from __future__ import annotations

from typing import Final

from cfm.config.fields import is_postgres, path_of_state
from cfm.errors import StateError
from cfm.model import Addr
from cfm.tasks.sqlite_store import SqliteStore
from cfm.tasks.store import SharedStateStore, StateStore

NOWHERE: Final = Addr("")
EXTRA: Final = "pip install 'cfm[postgresql]'"


def store_at(url: str) -> StateStore:
    """The store at a valid `state.url`, not yet open, for whoever is not reached anywhere.

    Raises:
        StateError: it is in PostgreSQL, and psycopg is not installed.
    """
    if not is_postgres(url):
        return SqliteStore(path_of_state(url))
    return shared_store_at(url, NOWHERE)


def shared_store_at(url: str, address: Addr, lease_s: float = 3.0) -> SharedStateStore:
    """The same for one of several cfm, which is reached at `address`.

    Raises:
        StateError: psycopg is not installed.
    """
    try:
        from cfm.tasks.postgres_store import PostgresStore
    except ImportError as error:
        raise StateError(f"state.url names PostgreSQL, which needs psycopg: {EXTRA} ({error})") from None
    return PostgresStore(url, address, lease_s=lease_s)
