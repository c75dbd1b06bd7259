"""The tables of `cfm.db`.

The tables are meant to be read by an operator with the `sqlite3` shell: plain columns, units as on the wire
(bytes, unix seconds), and a view `story` that shows the latest events in local time.  A change of form is one
more entry in `MIGRATIONS`; entries that were released are never edited.  Neighbours: `sqlite_store` uses
them, `tasks.rows` has the columns.
"""

from __future__ import annotations

import sqlite3
from typing import Final

from cfm.errors import StateError

APPLICATION_ID: Final = 0x63666D31
"""`cfm1`, in the header of the file: tells our state from any other SQLite database."""

_FIRST_FORM: Final = (
    """
    CREATE TABLE lease (
        only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
        controller_id TEXT NOT NULL,
        epoch INTEGER NOT NULL,
        holder TEXT NOT NULL,
        taken_at INTEGER NOT NULL,
        last_id INTEGER NOT NULL
    )
    """,
    """
    CREATE TABLE tasks (
        id INTEGER PRIMARY KEY,
        status TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        changed_at INTEGER NOT NULL,
        file TEXT NOT NULL,
        rank INTEGER NOT NULL,
        size_bytes INTEGER NOT NULL,
        hits INTEGER NOT NULL,
        history_ips TEXT NOT NULL,
        path TEXT NOT NULL,
        source TEXT NOT NULL,
        destination TEXT NOT NULL,
        copy_speed_bps INTEGER NOT NULL,
        reason TEXT NOT NULL,
        window_hits INTEGER NOT NULL,
        ended_why TEXT NOT NULL
    )
    """,
    """
    CREATE TABLE delete_orders (
        id INTEGER PRIMARY KEY,
        status TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        changed_at INTEGER NOT NULL,
        file TEXT NOT NULL,
        rank INTEGER NOT NULL,
        size_bytes INTEGER NOT NULL,
        hits INTEGER NOT NULL,
        history_ips TEXT NOT NULL,
        server TEXT NOT NULL,
        kind TEXT NOT NULL,
        reason TEXT NOT NULL,
        keeper TEXT,
        room_for TEXT,
        window_hits INTEGER NOT NULL,
        ended_why TEXT NOT NULL
    )
    """,
    """
    CREATE TABLE arrivals (
        file TEXT NOT NULL,
        server TEXT NOT NULL,
        arrived_at INTEGER NOT NULL,
        PRIMARY KEY (file, server)
    ) WITHOUT ROWID
    """,
    "CREATE INDEX tasks_by_file ON tasks (file, id)",
    "CREATE INDEX delete_orders_by_file ON delete_orders (file, id)",
    """
    CREATE VIEW story AS
    SELECT datetime(changed_at, 'unixepoch', 'localtime') AS at, id, 'copy' AS what, status, file,
           source || ' -> ' || destination AS "where", reason, ended_why
    FROM tasks
    UNION ALL
    SELECT datetime(changed_at, 'unixepoch', 'localtime'), id, 'delete, ' || kind, status, file,
           server, reason, ended_why
    FROM delete_orders
    ORDER BY id DESC
    """,
)

_WITH_THE_MEASURE: Final = (
    """
    CREATE TABLE metadata_in_force (
        only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
        graded_files INTEGER NOT NULL,
        history_files INTEGER NOT NULL,
        known_files INTEGER NOT NULL,
        accepted_at INTEGER NOT NULL
    )
    """,
)

_PAUSES: Final = (
    """
    CREATE TABLE pauses (
        file TEXT NOT NULL,
        source TEXT NOT NULL,
        destination TEXT NOT NULL,
        failures INTEGER NOT NULL,
        until_at INTEGER NOT NULL,
        spared_until_at INTEGER NOT NULL,
        since_at INTEGER NOT NULL,
        why TEXT NOT NULL,
        PRIMARY KEY (file, source, destination)
    ) WITHOUT ROWID
    """,
)

_WITH_VERSIONS: Final = (
    "ALTER TABLE tasks ADD COLUMN san_mtime INTEGER",
    """
    CREATE TABLE copies (
        file TEXT NOT NULL,
        server TEXT NOT NULL,
        size_bytes INTEGER NOT NULL,
        san_mtime INTEGER,
        PRIMARY KEY (file, server)
    ) WITHOUT ROWID
    """,
)

_WITH_EVENTS: Final = (
    """
    CREATE TABLE events (
        id INTEGER PRIMARY KEY,
        happened_at INTEGER NOT NULL,
        event TEXT NOT NULL,
        level TEXT NOT NULL,
        facts TEXT NOT NULL,
        about TEXT NOT NULL,
        size_bytes INTEGER NOT NULL
    )
    """,
    """
    CREATE TABLE events_about (
        subject TEXT NOT NULL,
        id INTEGER NOT NULL,
        PRIMARY KEY (subject, id)
    ) WITHOUT ROWID
    """,
    "DROP INDEX tasks_by_file",
    "DROP INDEX delete_orders_by_file",
    "DROP VIEW story",
    """
    CREATE VIEW story AS
    SELECT datetime(happened_at, 'unixepoch', 'localtime') AS at, level, event, about, facts
    FROM events
    ORDER BY id DESC
    """,
)

_WITH_RELEASES: Final = (
    """
    CREATE TABLE releases (
        server TEXT PRIMARY KEY,
        size_bytes INTEGER NOT NULL,
        limit_percent INTEGER NOT NULL,
        released_at INTEGER NOT NULL
    ) WITHOUT ROWID
    """,
)

MIGRATIONS: Final = (
    _FIRST_FORM,
    _WITH_THE_MEASURE,
    _PAUSES,
    _WITH_VERSIONS,
    _WITH_EVENTS,
    _WITH_RELEASES,
)
"""Statements that lead from each version of the form to the next; the last one is ours."""

VERSION: Final = len(MIGRATIONS)


def check_form(db: sqlite3.Connection) -> int:
    """The version of the form that the database has; 0 for an empty one.

    Raises:
        StateError: it is not ours, or was made by a newer cfm.
    """
    application: int = db.execute("PRAGMA application_id").fetchone()[0]
    version: int = db.execute("PRAGMA user_version").fetchone()[0]
    tables: int = db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    if application == 0 and version == 0 and tables == 0:
        return 0
    if application != APPLICATION_ID:
        raise StateError("it is a database of another program: name another file in state.url")
    if version > VERSION:
        raise StateError(f"it has form {version}, this cfm knows {VERSION}: it needs a newer cfm")
    return version


def migrate(db: sqlite3.Connection, version: int) -> None:
    """Brings the form up to ours, inside the caller's transaction."""
    for statements in MIGRATIONS[version:]:
        for statement in statements:
            db.execute(statement)
    db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    db.execute(f"PRAGMA user_version = {VERSION}")
