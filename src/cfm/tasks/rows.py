"""How tasks, orders, pauses and events become rows, and come back.

Both stores on disk keep the same tables with the same columns, so that a state can be copied from one to the
other row by row.  Columns are plain and have the units of the wire (bytes, unix seconds).  Neighbours:
`sqlite_schema` and `postgres_schema` have the tables, `moving` copies a state.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Protocol, TypeAlias

from cfm.model import Addr, DeleteKind, DeleteOrder, File, Measure, OrderStatus, Side, Status, Task, Version
from cfm.tasks.store import (
    CONFIRMED_ORDERS_RECOVERED_S,
    ENDED_TASKS_RECOVERED_S,
    PACED_ORDERS_RECOVERED_S,
    UNFINISHED_ORDERS,
    UNFINISHED_TASKS,
    PutArrival,
    PutCopy,
    PutEvent,
    PutPause,
    PutRelease,
    Recovered,
    event_bytes,
)

Value: TypeAlias = str | int | None


class Row(Protocol):
    """A row that is asked by the names of its columns."""

    def __getitem__(self, column: str, /) -> Any: ...


TASK_COLUMNS: Final = (
    "id, status, created_at, changed_at, file, rank, size_bytes, hits, history_ips, "
    "path, source, destination, copy_speed_bps, reason, window_hits, ended_why, san_mtime"
)
ORDER_COLUMNS: Final = (
    "id, status, created_at, changed_at, file, rank, size_bytes, hits, history_ips, "
    "server, kind, reason, keeper, room_for, window_hits, ended_why"
)

PAUSE_COLUMNS: Final = "file, source, destination, failures, until_at, spared_until_at, since_at, why"

EVENT_COLUMNS: Final = "id, happened_at, event, level, facts, about, size_bytes"

TABLES: Final[Mapping[str, str]] = {
    "tasks": TASK_COLUMNS,
    "delete_orders": ORDER_COLUMNS,
    "arrivals": "file, server, arrived_at",
    "copies": "file, server, size_bytes, san_mtime",
    "metadata_in_force": "only_row, graded_files, history_files, known_files, accepted_at",
    "pauses": PAUSE_COLUMNS,
    "releases": "server, size_bytes, limit_percent, released_at",
    "events": EVENT_COLUMNS,
    "events_about": "subject, id",
}
"""Every table, with its columns; all but the one that says whose the state is."""

UNFINISHED_TASKS_SQL: Final = ", ".join(f"'{status}'" for status in sorted(UNFINISHED_TASKS))
UNFINISHED_ORDERS_SQL: Final = ", ".join(f"'{status}'" for status in sorted(UNFINISHED_ORDERS))

_LARGEST: Final = 2**63 - 1


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


def task_of(row: Row) -> Task:
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


def order_of(row: Row) -> DeleteOrder:
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


def pause_of(row: Row) -> PutPause:
    return PutPause(
        side=Side(Addr(row["source"]), Addr(row["destination"])),
        file_name=row["file"],
        failures=row["failures"],
        until_wall_s=row["until_at"],
        spared_wall_s=row["spared_until_at"],
        since_wall_s=row["since_at"],
        why=row["why"],
    )


def release_row(release: PutRelease) -> tuple[Value, ...]:
    return release.server, release.size_bytes, release.limit_percent, release.wall_s


def release_of(row: Row) -> PutRelease:
    return PutRelease(Addr(row["server"]), row["size_bytes"], row["limit_percent"], row["released_at"])


def event_row(event: PutEvent) -> tuple[Value, ...]:
    """In the order of `EVENT_COLUMNS`.  Facts and subjects are JSON."""
    facts = writable(json.dumps(dict(event.facts), ensure_ascii=False, default=str))
    about = json.dumps([writable(one) for one in event.about], ensure_ascii=False)
    size_bytes = event_bytes(event, facts)
    return event.id, event.wall_s, writable(event.event), event.level, facts, about, size_bytes


def event_of(row: Row) -> PutEvent:
    return PutEvent(
        id=row["id"],
        wall_s=row["happened_at"],
        event=row["event"],
        level=row["level"],
        facts=json.loads(row["facts"]),
        about=tuple(json.loads(row["about"])),
    )


def _file_row(file: File) -> tuple[Value, ...]:
    # Hit counts are sums of other people's numbers; one that no database can hold must not stop all writing.
    hits = min(file.hits, _LARGEST)
    return writable(file.name), file.rank, file.size_bytes, hits, " ".join(map(writable, file.history_ips))


def _file_of(row: Row) -> File:
    ips = tuple(row["history_ips"].split())
    return File(row["file"], row["rank"], row["size_bytes"], row["hits"], ips)


def writable(text: str) -> str:
    r"""Text that a database can hold: half a surrogate pair (`\ud800` in a worker's JSON) is spelled out."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


Ask: TypeAlias = Callable[[str, Sequence[Value]], Iterable[Row]]
"""Run a query, in which `?` stands for each value."""


def recovered(ask: Ask, identity: Row, now_s: int, *, by_file: str = "file") -> Recovered:
    """What a cfm that starts takes over.

    `identity` has `controller_id`, `epoch` and `last_id`; `by_file` sorts names by their bytes.
    """

    def all_of(table: str, order: str) -> Iterable[Row]:
        return ask(f"SELECT {TABLES[table]} FROM {table} ORDER BY {by_file}, {order}", ())  # noqa: S608

    tasks = ask(
        f"SELECT {TASK_COLUMNS} FROM tasks "  # noqa: S608 (names are ours)
        f"WHERE status IN ({UNFINISHED_TASKS_SQL}) OR changed_at >= ? ORDER BY id",
        (now_s - ENDED_TASKS_RECOVERED_S,),
    )
    orders = ask(
        f"SELECT {ORDER_COLUMNS} FROM delete_orders "  # noqa: S608 (names are ours)
        f"WHERE status IN ({UNFINISHED_ORDERS_SQL}) OR (status = ? AND changed_at >= ?) "
        "OR created_at >= ? ORDER BY id",
        (OrderStatus.CONFIRMED.value, now_s - CONFIRMED_ORDERS_RECOVERED_S, now_s - PACED_ORDERS_RECOVERED_S),
    )
    measures = ask("SELECT graded_files, history_files, known_files FROM metadata_in_force", ())
    releases = ask(f"SELECT {TABLES['releases']} FROM releases ORDER BY server", ())  # noqa: S608
    return Recovered(
        identity["controller_id"],
        identity["epoch"],
        identity["last_id"],
        tasks=tuple(map(task_of, tasks)),
        orders=tuple(map(order_of, orders)),
        arrivals=tuple(
            PutArrival(r["file"], Addr(r["server"]), r["arrived_at"]) for r in all_of("arrivals", "server")
        ),
        copies=tuple(
            PutCopy(r["file"], Addr(r["server"]), Version(r["size_bytes"], r["san_mtime"]))
            for r in all_of("copies", "server")
        ),
        measure=next(
            (Measure(r["graded_files"], r["history_files"], r["known_files"]) for r in measures), None
        ),
        pauses=tuple(map(pause_of, all_of("pauses", "source, destination"))),
        releases=tuple(map(release_of, releases)),
    )
