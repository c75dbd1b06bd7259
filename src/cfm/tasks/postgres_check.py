"""What `cfm check` wants to know of a PostgreSQL database, in one look that changes nothing.

Neighbours: `cli.check_database` says what is doubtful about it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from cfm.tasks import postgres_schema as schema
from cfm.tasks.postgres_link import SCHEMA, DatabaseLink


@dataclass(frozen=True, slots=True)
class DatabaseFacts:
    """A database as it answered."""

    name: str
    version: int
    """As `server_version_num`: 150004 is 15.4."""
    read_only: bool
    """A replica, or a database that takes no writes."""
    may_write: bool
    """Our user may make the tables, or they are there and may be written."""
    clock_ahead_s: float
    """How far its clock is ahead of ours."""
    synchronous_commit: str
    fsync: bool
    answered_ms: float
    """How long one transaction took."""


def look_at(url: str) -> DatabaseFacts:
    """Ask the database about itself.

    Raises:
        StateError: it does not answer, or holds what is not ours; the text says so.
    """
    link = DatabaseLink(url, writes=False)
    try:
        with link.transaction(reads=True):
            pass  # the first one connects as well
        begun_s, wall_s = time.monotonic(), time.time()
        with link.transaction(reads=True) as db:
            found = db.execute(_FACTS, (SCHEMA, SCHEMA)).fetchone()
            if found is not None and found["may_write"]:
                schema.check_form(db)
    finally:
        link.close()
    assert found is not None
    took_s = time.monotonic() - begun_s
    return DatabaseFacts(
        name=link.name,
        version=int(found["version"]),
        read_only=found["replica"] or found["read_only"] == "on",
        may_write=bool(found["may_write"]),
        clock_ahead_s=float(found["clock_s"]) - (wall_s + took_s / 2),
        synchronous_commit=found["synchronous_commit"],
        fsync=found["fsync"] == "on",
        answered_ms=1000 * took_s,
    )


_FACTS = """
    SELECT current_setting('server_version_num') AS version,
           pg_is_in_recovery() AS replica,
           current_setting('default_transaction_read_only') AS read_only,
           CASE WHEN to_regnamespace(%s) IS NULL THEN has_database_privilege(current_database(), 'CREATE')
                ELSE has_schema_privilege(%s, 'CREATE')
           END AS may_write,
           extract(epoch FROM clock_timestamp()) AS clock_s,
           current_setting('synchronous_commit') AS synchronous_commit,
           current_setting('fsync') AS fsync
"""
