"""What each change of the state is in PostgreSQL: its statements, with their values.  Pure.

Neighbours: `tasks.store` has the changes, `rows` the columns, `postgres_schema` the keys; `postgres_store`
commits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, TypeAlias

from cfm.tasks import postgres_schema as schema
from cfm.tasks import rows
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
    RowChange,
)

Statement: TypeAlias = tuple[str, Sequence[rows.Value]]


def statements_of(change: Change) -> Iterator[Statement]:
    if isinstance(change, PutEvent):
        yield put("events", rows.event_row(change))
        for subject in change.about:
            yield put("events_about", (subject, change.id))
    else:
        yield _statement(change)


def _statement(change: RowChange) -> Statement:
    match change:
        case PutTask(task):
            return put("tasks", rows.task_row(task))
        case PutOrder(order):
            return put("delete_orders", rows.order_row(order))
        case PutPause():
            return put("pauses", rows.pause_row(change))
        case PutArrival(file_name, server, wall_s):
            return put("arrivals", (file_name, server, wall_s))
        case PutCopy(file_name, server, version):
            return put("copies", (file_name, server, *version))
        case PutMeasure(measure, wall_s):
            numbers = (measure.graded_files, measure.history_files, measure.known_files)
            return put("metadata_in_force", (1, *numbers, wall_s))
        case PutRelease():
            return put("releases", rows.release_row(change))
        case _:
            return _drop(change)


def _drop(change: DropTask | DropArrival | DropCopy | DropPause | DropRelease) -> Statement:
    match change:
        case DropTask(task_id):
            return "DELETE FROM tasks WHERE id = %s", (task_id,)
        case DropArrival(file_name, server):
            return "DELETE FROM arrivals WHERE file = %s AND server = %s", (writable(file_name), server)
        case DropCopy(file_name, server):
            return "DELETE FROM copies WHERE file = %s AND server = %s", (writable(file_name), server)
        case DropRelease(server):
            return "DELETE FROM releases WHERE server = %s", (server,)
        case DropPause(side, file_name):
            where = "file = %s AND source = %s AND destination = %s"
            return f"DELETE FROM pauses WHERE {where}", (writable(file_name), *side)  # noqa: S608 (names are ours)


def put(table: str, row: Sequence[rows.Value]) -> Statement:
    return _PUT[table], [writable(value) if isinstance(value, str) else value for value in row]


def _put_sql(table: str, columns: str) -> str:
    names, key = columns.split(", "), schema.KEYS[table]
    marks = ", ".join(["%s"] * len(names))
    new = ", ".join(f"{name} = excluded.{name}" for name in names if name not in key)
    then = f"UPDATE SET {new}" if new else "NOTHING"
    return f"INSERT INTO {table} ({columns}) VALUES ({marks}) ON CONFLICT ({', '.join(key)}) DO {then}"  # noqa: S608


_PUT: Final = {table: _put_sql(table, columns) for table, columns in rows.TABLES.items()}


def writable(text: str) -> str:
    r"""As `rows.writable`; PostgreSQL cannot hold a NUL either, so it is spelled out (`\x00`)."""
    return rows.writable(text).replace("\0", "\\x00")
