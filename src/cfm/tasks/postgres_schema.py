"""The tables of the state in PostgreSQL: those of `cfm.db` with the same columns, and the lease.

They are in a schema of their own, `cfm`; an operator reads them with `psql`.  A change of form is one more
entry in `MIGRATIONS`; entries that were released are never edited.  Every cfm that starts may bring the form
up to its own: one does it, and others wait for that.  A change adds columns and tables and takes none away,
because an older cfm may lead meanwhile.  Neighbours: `postgres_store` uses them, `rows` has the columns.
"""

from __future__ import annotations

import uuid
from typing import Final

from cfm.errors import StateError
from cfm.tasks.postgres_link import SCHEMA, Connection

_FIRST_FORM: Final = (
    "CREATE TABLE form (only_row integer PRIMARY KEY CHECK (only_row = 1), version integer NOT NULL)",
    "INSERT INTO form VALUES (1, 0)",
    """
    CREATE TABLE identity (
        only_row integer PRIMARY KEY CHECK (only_row = 1),
        controller_id text NOT NULL,
        last_id bigint NOT NULL
    )
    """,
    # `epoch` is a key, so that only who changes it waits for commits under way, and a renewal does not.
    """
    CREATE TABLE lease (
        only_row integer PRIMARY KEY CHECK (only_row = 1),
        epoch bigint NOT NULL UNIQUE,
        holder text NOT NULL,
        name text NOT NULL,
        address text NOT NULL,
        taken_at timestamptz NOT NULL,
        expires_at timestamptz NOT NULL
    )
    """,
    "INSERT INTO lease VALUES (1, 0, '', '', '', '-infinity', '-infinity')",
    """
    CREATE TABLE tasks (
        id bigint PRIMARY KEY,
        status text NOT NULL,
        created_at bigint NOT NULL,
        changed_at bigint NOT NULL,
        file text NOT NULL,
        rank bigint NOT NULL,
        size_bytes bigint NOT NULL,
        hits bigint NOT NULL,
        history_ips text NOT NULL,
        path text NOT NULL,
        source text NOT NULL,
        destination text NOT NULL,
        copy_speed_bps bigint NOT NULL,
        reason text NOT NULL,
        window_hits bigint NOT NULL,
        ended_why text NOT NULL,
        san_mtime bigint
    )
    """,
    """
    CREATE TABLE delete_orders (
        id bigint PRIMARY KEY,
        status text NOT NULL,
        created_at bigint NOT NULL,
        changed_at bigint NOT NULL,
        file text NOT NULL,
        rank bigint NOT NULL,
        size_bytes bigint NOT NULL,
        hits bigint NOT NULL,
        history_ips text NOT NULL,
        server text NOT NULL,
        kind text NOT NULL,
        reason text NOT NULL,
        keeper text,
        room_for text,
        window_hits bigint NOT NULL,
        ended_why text NOT NULL
    )
    """,
    """
    CREATE TABLE arrivals (
        file text NOT NULL,
        server text NOT NULL,
        arrived_at bigint NOT NULL,
        PRIMARY KEY (file, server)
    )
    """,
    """
    CREATE TABLE copies (
        file text NOT NULL,
        server text NOT NULL,
        size_bytes bigint NOT NULL,
        san_mtime bigint,
        PRIMARY KEY (file, server)
    )
    """,
    """
    CREATE TABLE metadata_in_force (
        only_row integer PRIMARY KEY CHECK (only_row = 1),
        graded_files bigint NOT NULL,
        history_files bigint NOT NULL,
        known_files bigint NOT NULL,
        accepted_at bigint NOT NULL
    )
    """,
    """
    CREATE TABLE pauses (
        file text NOT NULL,
        source text NOT NULL,
        destination text NOT NULL,
        failures bigint NOT NULL,
        until_at bigint NOT NULL,
        spared_until_at bigint NOT NULL,
        since_at bigint NOT NULL,
        why text NOT NULL,
        PRIMARY KEY (file, source, destination)
    )
    """,
    "CREATE INDEX tasks_by_file ON tasks (file, id)",
    "CREATE INDEX delete_orders_by_file ON delete_orders (file, id)",
    """
    CREATE VIEW story AS
    SELECT to_timestamp(changed_at) AS at, id, 'copy' AS what, status, file,
           source || ' -> ' || destination AS "where", reason, ended_why
    FROM tasks
    UNION ALL
    SELECT to_timestamp(changed_at), id, 'delete, ' || kind, status, file, server, reason, ended_why
    FROM delete_orders
    ORDER BY id DESC
    """,
)

_WITH_EVENTS: Final = (
    """
    CREATE TABLE events (
        id bigint PRIMARY KEY,
        happened_at bigint NOT NULL,
        event text NOT NULL,
        level text NOT NULL,
        facts text NOT NULL,
        about text NOT NULL,
        size_bytes bigint NOT NULL
    )
    """,
    """
    CREATE TABLE events_about (
        subject text NOT NULL,
        id bigint NOT NULL,
        PRIMARY KEY (subject, id)
    )
    """,
)

_WITH_MEMBERS: Final = (
    """
    CREATE TABLE members (
        holder text PRIMARY KEY,
        name text NOT NULL,
        address text NOT NULL,
        metadata text NOT NULL,
        log_lag_s bigint,
        seen_at timestamptz NOT NULL
    )
    """,
)

_WITH_RELEASES: Final = (
    """
    CREATE TABLE releases (
        server text PRIMARY KEY,
        size_bytes bigint NOT NULL,
        limit_percent bigint NOT NULL,
        released_at bigint NOT NULL
    )
    """,
)

MIGRATIONS: Final = (_FIRST_FORM, _WITH_EVENTS, _WITH_MEMBERS, _WITH_RELEASES)
"""Statements that lead from each version of the form to the next; the last one is ours."""

VERSION: Final = len(MIGRATIONS)

KEYS: Final = {
    "tasks": ("id",),
    "delete_orders": ("id",),
    "arrivals": ("file", "server"),
    "copies": ("file", "server"),
    "metadata_in_force": ("only_row",),
    "pauses": ("file", "source", "destination"),
    "releases": ("server",),
    "events": ("id",),
    "events_about": ("subject", "id"),
}
"""What tells the rows of each table apart."""

_ONE_MIGRATES: Final = 0x63666D31
"""The advisory lock that a start takes until its transaction ends: one at a time changes tables."""


def check_form(db: Connection) -> int:
    """The version of the form that the database has; 0 where there is none yet.

    Raises:
        StateError: the schema `cfm` is not ours, or was made by a newer cfm.
    """
    found = db.execute(
        "SELECT to_regclass(%s) IS NOT NULL AS ours,"
        " (SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        "  WHERE n.nspname = %s AND c.relkind = 'r') AS tables",
        (f"{SCHEMA}.form", SCHEMA),
    ).fetchone()
    assert found is not None
    if not found["ours"]:
        if found["tables"]:
            raise StateError(
                f"the schema `{SCHEMA}` belongs to another program: name another database in state.url"
            )
        return 0
    form = db.execute("SELECT version FROM form").fetchone()
    version = int(form["version"]) if form else 0
    if version > VERSION:
        raise StateError(f"it has form {version}, this cfm knows {VERSION}: it needs a newer cfm")
    return version


def migrate(db: Connection) -> None:
    """Bring the form up to ours, in the caller's transaction.  Another cfm that does so is waited for."""
    db.execute("SELECT pg_advisory_xact_lock(%s)", (_ONE_MIGRATES,))
    version = check_form(db)
    if version == VERSION:
        return
    if version == 0:
        db.execute(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
    for statements in MIGRATIONS[version:]:
        for statement in statements:
            db.execute(statement)
    db.execute("UPDATE form SET version = %s", (VERSION,))
    db.execute("INSERT INTO identity VALUES (1, %s, 0) ON CONFLICT DO NOTHING", (uuid.uuid4().hex,))
