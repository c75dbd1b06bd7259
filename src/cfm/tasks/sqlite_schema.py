"""The tables of `cfm.db`, and how tasks and orders become rows and come back.

The tables are meant to be read by an operator with the `sqlite3` shell: plain columns, units as on the wire
(bytes, unix seconds), and a view `story` that shows the latest events in local time.  A change of form is one
more entry in `MIGRATIONS`; entries that were released are never edited.  Neighbour: `tasks.sqlite_store`.
"""

from __future__ import annotations

import sqlite3
from typing import Final, TypeAlias

from cfm.errors import StateError
from cfm.model import Addr, DeleteKind, DeleteOrder, File, OrderStatus, Side, Status, Task
from cfm.tasks.store import PutPause

Value: TypeAlias = str | int | None

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

MIGRATIONS: Final = (_FIRST_FORM, _WITH_THE_MEASURE, _PAUSES, _WITH_VERSIONS)
"""Statements that lead from each version of the form to the next; the last one is ours."""

VERSION: Final = len(MIGRATIONS)

TASK_COLUMNS: Final = (
    "id, status, created_at, changed_at, file, rank, size_bytes, hits, history_ips, "
    "path, source, destination, copy_speed_bps, reason, window_hits, ended_why, san_mtime"
)
ORDER_COLUMNS: Final = (
    "id, status, created_at, changed_at, file, rank, size_bytes, hits, history_ips, "
    "server, kind, reason, keeper, room_for, window_hits, ended_why"
)

PAUSE_COLUMNS: Final = "file, source, destination, failures, until_at, spared_until_at, since_at, why"

_LARGEST: Final = 2**63 - 1


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


def task_row(task: Task) -> tuple[Value, ...]:
    """In the order of `TASK_COLUMNS`."""
    return (
        task.id,
        task.status.value,
        task.created_s,
        task.changed_s,
        *_file_row(task.file),
        writable(task.path),
        task.source,
        task.destination,
        task.copy_speed_bps,
        writable(task.reason),
        task.window_hits,
        writable(task.ended_why),
        task.san_mtime_s,
    )


def order_row(order: DeleteOrder) -> tuple[Value, ...]:
    """In the order of `ORDER_COLUMNS`."""
    return (
        order.id,
        order.status.value,
        order.created_s,
        order.changed_s,
        *_file_row(order.file),
        order.server,
        order.kind.value,
        writable(order.reason),
        order.keeper,
        None if order.room_for is None else writable(order.room_for),
        order.window_hits,
        writable(order.ended_why),
    )


def task_of(row: sqlite3.Row) -> Task:
    return Task(
        id=row["id"],
        status=Status(row["status"]),
        created_s=row["created_at"],
        changed_s=row["changed_at"],
        file=_file_of(row),
        path=row["path"],
        source=Addr(row["source"]),
        destination=Addr(row["destination"]),
        copy_speed_bps=row["copy_speed_bps"],
        reason=row["reason"],
        window_hits=row["window_hits"],
        ended_why=row["ended_why"],
        san_mtime_s=row["san_mtime"],
    )


def order_of(row: sqlite3.Row) -> DeleteOrder:
    return DeleteOrder(
        id=row["id"],
        status=OrderStatus(row["status"]),
        created_s=row["created_at"],
        changed_s=row["changed_at"],
        file=_file_of(row),
        server=Addr(row["server"]),
        kind=DeleteKind(row["kind"]),
        reason=row["reason"],
        keeper=None if row["keeper"] is None else Addr(row["keeper"]),
        room_for=row["room_for"],
        window_hits=row["window_hits"],
        ended_why=row["ended_why"],
    )


def pause_row(pause: PutPause) -> tuple[Value, ...]:
    """In the order of `PAUSE_COLUMNS`."""
    return (
        writable(pause.file_name),
        *pause.side,
        pause.failures,
        pause.until_wall_s,
        pause.spared_wall_s,
        pause.since_wall_s,
        writable(pause.why),
    )


def pause_of(row: sqlite3.Row) -> PutPause:
    return PutPause(
        side=Side(Addr(row["source"]), Addr(row["destination"])),
        file_name=row["file"],
        failures=row["failures"],
        until_wall_s=row["until_at"],
        spared_wall_s=row["spared_until_at"],
        since_wall_s=row["since_at"],
        why=row["why"],
    )


def _file_row(file: File) -> tuple[Value, ...]:
    # Hit counts are sums of other people's numbers; one that SQLite cannot hold must not stop all writing.
    hits = min(file.hits, _LARGEST)
    return writable(file.name), file.rank, file.size_bytes, hits, " ".join(map(writable, file.history_ips))


def _file_of(row: sqlite3.Row) -> File:
    ips = tuple(row["history_ips"].split())
    return File(row["file"], row["rank"], row["size_bytes"], row["hits"], ips)


def writable(text: str) -> str:
    r"""Text that SQLite can hold: half a surrogate pair (`\ud800` in a worker's JSON) is spelled out."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
