"""State on a local disk, in one SQLite file: every commit is on the platter before it returns.

Write-ahead log with `synchronous=FULL`; a group of changes is one transaction with one fsync.  The file is
locked for as long as it is open, and each commit also checks that the epoch is still ours and that the file
is still the one at its path, so that neither a second cfm nor a tidy operator makes us write into a void.
Reading beside a running cfm (`peek`, `events`, the `sqlite3` shell) needs no lock and holds up no writer.
Neighbours: `tasks.store` says what is promised, `tasks.sqlite_schema` has the tables, `file_lock` the
lock.
"""

from __future__ import annotations

import os
import socket
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from cfm.errors import StateError, StoreFullError
from cfm.file_lock import FileLock
from cfm.tasks import rows
from cfm.tasks import sqlite_schema as schema
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
    Recovered,
    StateDump,
    SupersededError,
    highest_id,
)

BUSY_TIMEOUT_S = 5.0
"""How long a commit waits for an operator's own transaction before it counts as failed."""

LOG_KEPT_BYTES = 16_000_000
"""So much of the write-ahead log stays on the disk when it has been emptied."""

_FORGOTTEN_AT_A_TIME = 1_000
"""Events that go in one transaction: commits wait some hundredths of a second for it."""
_NO_EVENT = -1

_MAY_PASS = frozenset(
    {
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_NOMEM,
    }
)
"""Errors of the disk or of the moment: the next attempt may succeed.  All others are damage, or ours."""


def wall_clock_s() -> int:
    """Unix seconds now."""
    return int(time.time())


class SqliteStore:
    """A `TaskStore` in the file `path`; its folder must exist, the file is made."""

    def __init__(
        self,
        path: Path,
        wall_s: Callable[[], int] = wall_clock_s,
        busy_timeout_s: float = BUSY_TIMEOUT_S,
    ) -> None:
        self.path = path.resolve()
        self._wall_s = wall_s
        self._busy_timeout_s = busy_timeout_s
        self._lock = FileLock(self.path, "cfm")
        self._db: sqlite3.Connection | None = None
        self._file_id = (0, 0)
        self._epoch = 0
        self._one_at_a_time = threading.Lock()

    def open(self) -> Recovered:
        with self._said_as_state_error():
            self._lock.take()
            try:
                return self._open_locked()
            except BaseException:
                self.close()
                raise

    def _open_locked(self) -> Recovered:
        self._db = db = self._connect(f"{self.path.as_uri()}?mode=rwc")
        version = schema.check_form(db)
        _require_intact(db)
        _use_write_ahead_log(db)
        with _transaction(db):
            schema.migrate(db, version)
            self._epoch = self._next_epoch(db)
        _make_durable(self.path.parent)
        self._file_id = _file_id(self.path)
        return self._read(db)

    def commit(self, changes: Sequence[Change]) -> None:
        with self._writing() as db:
            self._keep_lease(db, highest_id(changes))
            for change in changes:
                _apply(db, change)

    def prune(self, before_wall_s: int, events_bytes: int) -> None:
        with self._writing() as db:
            self._keep_lease(db, 0)
            for table, unfinished in (
                ("tasks", rows.UNFINISHED_TASKS_SQL),
                ("delete_orders", rows.UNFINISHED_ORDERS_SQL),
            ):
                db.execute(
                    f"DELETE FROM {table} WHERE changed_at < ? AND status NOT IN ({unfinished})",  # noqa: S608 (names are ours)
                    (before_wall_s,),
                )
            db.execute("DELETE FROM arrivals WHERE arrived_at < ?", (before_wall_s,))
            db.execute("DELETE FROM pauses WHERE spared_until_at < ?", (before_wall_s,))
        last_id = self._last_event_to_go(before_wall_s, events_bytes)
        while self._forget_events(last_id):
            """In pieces, so that no commit waits for long."""

    def _last_event_to_go(self, before_wall_s: int, events_bytes: int) -> int:
        """Found beside the commits, because all events are read for it."""
        with self._reading() as db:
            if db is None:
                return _NO_EVENT
            too_much = """
                SELECT id FROM (SELECT id, sum(size_bytes) OVER (ORDER BY id DESC) AS with_newer FROM events)
                WHERE with_newer > ? ORDER BY id DESC LIMIT 1
            """
            found = [
                *db.execute(too_much, (events_bytes,)),
                *db.execute("SELECT max(id) FROM events WHERE happened_at < ?", (before_wall_s,)),
            ]
            return max((row[0] for row in found if row[0] is not None), default=_NO_EVENT)

    def _forget_events(self, last_id: int) -> bool:
        """Forget some of the events up to an id.  False where there are none any more."""
        oldest = "(SELECT id FROM events WHERE id <= :last ORDER BY id LIMIT :most)"
        values = {"last": last_id, "most": _FORGOTTEN_AT_A_TIME}
        with self._writing() as db:
            self._keep_lease(db, 0)
            db.execute(
                "DELETE FROM events_about WHERE (subject, id) IN "  # noqa: S608 (names are ours)
                f"(SELECT value, events.id FROM events, json_each(about) WHERE events.id IN {oldest})",
                values,
            )
            return db.execute(f"DELETE FROM events WHERE id IN {oldest}", values).rowcount > 0  # noqa: S608

    def events(self, about: str, before_id: int, limit: int) -> list[PutEvent]:
        with self._reading() as db:
            if db is None or schema.check_form(db) < schema.VERSION:
                return []
            narrowed = "JOIN events_about USING (id) WHERE subject = :about AND" if about else "WHERE"
            found = db.execute(
                f"SELECT events.* FROM events {narrowed} id < :before ORDER BY id DESC LIMIT :limit",  # noqa: S608 (names are ours)
                {"about": rows.writable(about), "before": before_id, "limit": max(0, limit)},
            )
            return [rows.event_of(row) for row in found]

    def peek(self) -> Recovered:
        with self._reading() as db:
            if db is None or schema.check_form(db) < schema.VERSION:
                return Recovered("", 0, 0)  # nothing is there that this program has written
            return self._read(db)

    def opened_s(self) -> int:
        with self._reading() as db:
            return 0 if db is None else int(db.execute("SELECT taken_at FROM lease").fetchone()["taken_at"])

    @property
    def name(self) -> str:
        return str(self.path)

    def dump(self) -> StateDump:
        with self._reading() as db:
            assert db is not None
            lease = db.execute("SELECT controller_id, epoch, last_id FROM lease").fetchone()
            tables = {
                table: [tuple(row) for row in db.execute(f"SELECT {columns} FROM {table}")]  # noqa: S608 (names are ours)
                for table, columns in rows.TABLES.items()
            }
        return StateDump(lease["controller_id"], lease["epoch"], lease["last_id"], tables)

    def fill(self, dump: StateDump) -> None:
        try:
            self.open()
            with self._writing() as db:
                if self._epoch > 1 or db.execute("SELECT 1 FROM tasks").fetchone():
                    raise StateError(f"there is a state in {self.path} already: move it away first")
                db.execute(
                    "UPDATE lease SET controller_id = ?, epoch = ?, last_id = ?",
                    (dump.controller_id, dump.epoch, dump.last_id),
                )
                for table, columns in rows.TABLES.items():
                    for row in dump.tables[table]:
                        _put(db, table, columns, row)
        finally:
            self.close()

    def set_aside(self, suffix: str) -> str:
        new = self.path.with_name(f"{self.path.name}.{suffix}")
        with self._said_as_state_error():
            assert self._db is not None
            busy = self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
            if busy:
                raise StateError("somebody reads it: end that, and try again")
            self._db.close()
            self._db = None
            self.path.rename(new)
            _make_durable(self.path.parent)
        self.close()
        return str(new)

    def log_bytes(self) -> int:
        try:
            return self.path.with_name(f"{self.path.name}-wal").stat().st_size
        except FileNotFoundError:
            return 0

    def close(self) -> None:
        with self._one_at_a_time:
            if self._db is not None:
                self._db.close()
                self._db = None
            self._lock.release()

    def _connect(self, uri: str) -> sqlite3.Connection:
        # Transactions are begun and ended here, by name: Python's own habit of doing so stays off.
        db = sqlite3.connect(
            uri, uri=True, timeout=self._busy_timeout_s, isolation_level=None, check_same_thread=False
        )
        db.row_factory = sqlite3.Row
        return db

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._one_at_a_time:
            if self._db is None:
                raise StateError(f"the state in {self.path} is not open")
            self._require_same_file()
            try:
                with _transaction(self._db):
                    yield self._db
            except sqlite3.DatabaseError as error:
                if _may_pass(error):
                    raise StoreFullError(f"cannot write the state in {self.path}: {error}") from error
                raise StateError(f"the state in {self.path} can no longer be written: {error}") from error

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection | None]:
        """A connection of its own, so that no reader sees half a commit or waits for one."""
        if not self.path.exists():
            yield None
            return
        with self._said_as_state_error(), closing(self._connect(f"{self.path.as_uri()}?mode=ro")) as db:
            if schema.check_form(db) == 0:
                yield None
                return
            db.execute("BEGIN")
            yield db

    @contextmanager
    def _said_as_state_error(self) -> Iterator[None]:
        """Whatever is wrong with the file becomes one sentence that names it."""
        try:
            yield
        except (StateError, sqlite3.Error, OSError, ValueError) as error:
            kind = StoreFullError if _may_pass(error) else StateError
            raise kind(f"cannot use the state in {self.path}: {error}") from error

    def _require_same_file(self) -> None:
        """Were the file removed, SQLite would go on writing into what nobody can find again."""
        try:
            same = _file_id(self.path) == self._file_id
        except (FileNotFoundError, NotADirectoryError):
            same = False
        except OSError as error:  # nobody knows what is there
            raise StoreFullError(f"cannot look at the state in {self.path}: {error}") from error
        if not same:
            raise StateError(f"the state in {self.path} was removed or replaced while in use")

    def _next_epoch(self, db: sqlite3.Connection) -> int:
        """Takes the lease for ourselves: the first time with a new id, every time with a higher epoch."""
        holder = f"{socket.gethostname()} process {os.getpid()}"
        db.execute(
            """
            INSERT INTO lease (only_row, controller_id, epoch, holder, taken_at, last_id)
            VALUES (1, ?, 1, ?, ?, 0)
            ON CONFLICT (only_row) DO UPDATE
                SET epoch = epoch + 1, holder = excluded.holder, taken_at = excluded.taken_at
            """,
            (uuid.uuid4().hex, holder, self._wall_s()),
        )
        epoch: int = db.execute("SELECT epoch FROM lease").fetchone()["epoch"]
        return epoch

    def _keep_lease(self, db: sqlite3.Connection, last_id: int) -> None:
        """Part of every transaction: notes the highest id, and fails where the epoch is not ours."""
        kept = db.execute(
            "UPDATE lease SET last_id = max(last_id, ?) WHERE epoch = ?", (last_id, self._epoch)
        )
        if kept.rowcount != 1:
            raise SupersededError(f"another cfm has taken over the state in {self.path}")

    def _read(self, db: sqlite3.Connection) -> Recovered:
        lease = db.execute("SELECT controller_id, epoch, last_id FROM lease").fetchone()
        return rows.recovered(db.execute, lease, self._wall_s())


@contextmanager
def _transaction(db: sqlite3.Connection) -> Iterator[None]:
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:  # After a disk error SQLite has often rolled back by itself.
            db.execute("ROLLBACK")
        raise


def _apply(db: sqlite3.Connection, change: Change) -> None:
    match change:
        case PutTask(task):
            _put(db, "tasks", rows.TASK_COLUMNS, rows.task_row(task))
        case DropTask(task_id):
            db.execute("DELETE FROM tasks WHERE id = ?", (task_id,))
        case PutOrder(order):
            _put(db, "delete_orders", rows.ORDER_COLUMNS, rows.order_row(order))
        case PutEvent():
            _put_event(db, change)
        case PutMeasure(measure, wall_s):
            numbers = (measure.graded_files, measure.history_files, measure.known_files)
            columns = "only_row, graded_files, history_files, known_files, accepted_at"
            _put(db, "metadata_in_force", columns, (1, *numbers, wall_s))
        case PutPause():
            _put(db, "pauses", rows.PAUSE_COLUMNS, rows.pause_row(change))
        case DropPause(side, file_name):
            db.execute(
                "DELETE FROM pauses WHERE file = ? AND source = ? AND destination = ?",
                (rows.writable(file_name), *side),
            )
        case PutRelease():
            _put(db, "releases", rows.TABLES["releases"], rows.release_row(change))
        case DropRelease(server):
            db.execute("DELETE FROM releases WHERE server = ?", (server,))
        case _:
            _apply_to_copy(db, change)


def _apply_to_copy(db: sqlite3.Connection, change: PutArrival | DropArrival | PutCopy | DropCopy) -> None:
    """What is known of one file on one server."""
    copy = rows.writable(change.file_name), change.server
    match change:
        case PutArrival():
            _put(db, "arrivals", "file, server, arrived_at", (*copy, change.wall_s))
        case PutCopy():
            _put(db, "copies", "file, server, size_bytes, san_mtime", (*copy, *change.version))
        case DropArrival():
            db.execute("DELETE FROM arrivals WHERE file = ? AND server = ?", copy)
        case DropCopy():
            db.execute("DELETE FROM copies WHERE file = ? AND server = ?", copy)


def _put_event(db: sqlite3.Connection, event: PutEvent) -> None:
    _put(db, "events", rows.EVENT_COLUMNS, rows.event_row(event))
    for subject in event.about:
        _put(db, "events_about", rows.TABLES["events_about"], (rows.writable(subject), event.id))


def _put(db: sqlite3.Connection, table: str, columns: str, row: Sequence[rows.Value]) -> None:
    marks = ", ".join("?" * len(row))
    db.execute(f"INSERT OR REPLACE INTO {table} ({columns}) VALUES ({marks})", row)  # noqa: S608 (names are ours)


def _require_intact(db: sqlite3.Connection) -> None:
    found: str = db.execute("PRAGMA quick_check(1)").fetchone()[0]
    if found != "ok":
        raise StateError(
            f"it is damaged ({' '.join(found.split())}): restore it, or move it away to begin anew"
        )


def _use_write_ahead_log(db: sqlite3.Connection) -> None:
    mode = db.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    if mode != "wal":
        raise StateError("its file system cannot keep a write-ahead log: put it on a local disk")
    db.execute("PRAGMA synchronous = FULL")
    # After a long reader the log is as long as it ever was; once it is emptied, it is also cut.
    db.execute(f"PRAGMA journal_size_limit = {LOG_KEPT_BYTES}")


def _may_pass(error: Exception) -> bool:
    # The low byte is the primary result code; the rest says more of it (sqlite.org/rescode.html).
    code: int = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    return code & 0xFF in _MAY_PASS


def _make_durable(folder: Path) -> None:
    """The names of new files are safe only when their folder is."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _file_id(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino
