"""What a worker must not forget: its disk's id, its controller, its tasks, and reports without an answer.

`WorkerState` is the interface, and `SqliteState` keeps the state in `cfw.db`.  (The simulator has a twin in
memory; one conformance test holds both to the interface.)  When a method that changes something returns, the
change is durable.  `fencing` keeps the binding here, the shelf its disk id, and the download agent its tasks.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

from cfm import wire
from cfm.errors import StateError, StoreFullError
from cfm.file_lock import FileLock
from cfm.model import Addr, Status
from cfm.threads import HungError, ThreadPool
from cfm.wire import TaskOffer, TaskReport
from cfm.worker.decide.fencing import Binding
from cfm.worker.decide.offers import HeldTask

R = TypeVar("R")

CLOSING_S: Final = 1.0
"""How long the end of the program waits for the disk."""
PATIENCE_S: Final = 10.0
"""How long a change may take.  A disk that hangs is then like one that is full: the worker says so."""

MOST_WAITING: Final = 1_000
"""So many changes may wait for the disk; it has a few for each task."""
SCHEMA_VERSION: Final = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS held (task_id INTEGER PRIMARY KEY, offer TEXT NOT NULL, final TEXT) STRICT;
"""


@dataclass(frozen=True, slots=True)
class Memory:
    """All that a worker remembers when it starts."""

    disk_id: str | None = None
    binding: Binding | None = None
    held: tuple[HeldTask, ...] = ()


class WorkerState(Protocol):
    """Each change is durable when the call returns.

    `StoreFullError` where that is not possible.  Where the disk hangs, the change may become durable later.
    """

    async def recall(self) -> Memory: ...

    async def keep_disk_id(self, disk_id: str) -> None: ...

    async def bind(self, binding: Binding | None) -> None:
        """Obey this controller from now on; None forgets it (`cfw release`)."""

    async def hold(self, offer: TaskOffer) -> None:
        """Write down that the worker holds the task.  This comes before any work on it."""

    async def conclude(self, offer: TaskOffer, final: TaskReport) -> None:
        """Write down how the task ended.  It is reported until cfm answers."""

    async def forget(self, task_id: int) -> None:
        """Keep nothing of the task any more.  An unknown id is fine.

        This is durable some time later.  A power cut may bring the task back; its report is then repeated.
        """

    async def close(self) -> None: ...


class SqliteState:
    """`cfw.db`: SQLite in WAL mode with full synchronisation, used by a thread of its own.

    Opening it raises `StateError` where another worker has it open, where it lies on a network file system
    (whose locks cannot be trusted), and where it is damaged.
    """

    def __init__(self, database: _Database, threads: ThreadPool, patience_s: float) -> None:
        self._database = database
        self._threads = threads
        self._patience_s = patience_s

    @classmethod
    async def open(cls, path: Path, *, patience_s: float = PATIENCE_S) -> SqliteState:
        # Its thread does not keep the program from ending when the disk hangs.
        threads = ThreadPool(f"the disk of {path}", 1, waiting_each=MOST_WAITING)
        return cls(await threads.run(None, lambda: _Database(path)), threads, patience_s)

    async def recall(self) -> Memory:
        return await self._in_thread(self._database.recall)

    async def keep_disk_id(self, disk_id: str) -> None:
        await self._in_thread(lambda: self._database.put_fact("disk_id", disk_id))

    async def bind(self, binding: Binding | None) -> None:
        value = None if binding is None else asdict(binding)
        await self._in_thread(lambda: self._database.put_fact("binding", value))

    async def hold(self, offer: TaskOffer) -> None:
        await self._in_thread(lambda: self._database.put_held(offer, None))

    async def conclude(self, offer: TaskOffer, final: TaskReport) -> None:
        await self._in_thread(lambda: self._database.put_held(offer, final))

    async def forget(self, task_id: int) -> None:
        await self._in_thread(lambda: self._database.drop_held(task_id))

    async def close(self) -> None:
        with suppress(HungError):
            await self._threads.run(CLOSING_S, self._database.close)
        self._threads.close()

    async def _in_thread(self, call: Callable[[], R]) -> R:
        try:
            return await self._threads.run(self._patience_s, call)
        except HungError as error:
            raise StoreFullError(str(error)) from error


class _Database:
    """The half that blocks.  Each method runs in the state's own thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = _lock(path)
        try:
            self._connection = _connect(path)
        except BaseException:
            self._lock.release()
            raise

    def recall(self) -> Memory:
        with self._readable():
            facts = dict(self._connection.execute("SELECT name, value FROM facts").fetchall())
            rows = self._connection.execute("SELECT offer, final FROM held ORDER BY task_id").fetchall()
            binding = _from_json(facts.get("binding", "null"))
            return Memory(
                disk_id=_from_json(facts.get("disk_id", "null")),
                binding=None if binding is None else Binding(**binding),
                held=tuple(HeldTask(_offer(offer), _report(final)) for offer, final in rows),
            )

    def put_fact(self, name: str, value: object) -> None:
        self._change("INSERT OR REPLACE INTO facts VALUES (?, ?)", name, _to_json(value))

    def put_held(self, offer: TaskOffer, final: TaskReport | None) -> None:
        said = None if final is None else _to_json(asdict(final))
        self._change("INSERT OR REPLACE INTO held VALUES (?, ?, ?)", offer.id, _to_json(asdict(offer)), said)

    def drop_held(self, task_id: int) -> None:
        # This need not survive a power cut, since a report that was answered may be repeated.  So the disk
        # is not kept busy at the moment when the next task comes.
        self._connection.execute("PRAGMA synchronous=NORMAL")
        try:
            self._change("DELETE FROM held WHERE task_id = ?", task_id)
        finally:
            self._connection.execute("PRAGMA synchronous=FULL")

    def close(self) -> None:
        self._connection.close()
        self._lock.release()

    def _change(self, statement: str, *values: object) -> None:
        try:
            self._connection.execute(statement, values)
        except sqlite3.OperationalError as error:
            raise StoreFullError(f"{self._path} cannot be written: {error}") from error

    @contextlib.contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, ValueError, TypeError, KeyError) as error:
            raise _damaged(self._path, error) from error


def _offer(stored: str) -> TaskOffer:
    told = _known_fields(TaskOffer, stored)
    return TaskOffer(
        status=Status(told.pop("status")),
        source=Addr(told.pop("source")),
        destination=Addr(told.pop("destination")),
        **told,
    )


def _report(stored: str | None) -> TaskReport | None:
    if stored is None:
        return None
    told = _known_fields(TaskReport, stored)
    return TaskReport(status=Status(told.pop("status")), **told)


def _known_fields(kind: type[TaskOffer | TaskReport], stored: str) -> dict[str, Any]:
    """The fields of `kind` in a stored row.  A row of an earlier version may have more."""
    told = _from_json(stored)
    return {field.name: told[field.name] for field in fields(kind) if field.name in told}


def _to_json(value: object) -> str:
    return wire.to_json(value).decode()


def _from_json(stored: str) -> Any:
    return wire.parse_json(stored.encode())


def _connect(path: Path) -> sqlite3.Connection:
    """Connect in autocommit mode: each statement is a transaction, and durable when `execute` returns."""
    connection = None
    try:
        connection = sqlite3.connect(path, isolation_level=None, timeout=1.0)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        _migrate(connection, path)
    except sqlite3.Error as error:
        if connection is not None:
            connection.close()
        raise _damaged(path, error) from error
    return connection


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > SCHEMA_VERSION:
        connection.close()
        raise StateError(f"{path} was written by a newer cfw (form {version}): use it, or move the file away")
    connection.executescript(_SCHEMA)
    connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")


def _damaged(path: Path, error: Exception) -> StateError:
    return StateError(
        f"{path} cannot be used as this worker's state ({error}): "
        "restore the file, or move it away to let the worker start anew"
    )


def _lock(path: Path) -> FileLock:
    """Take the lock on the state at `path`."""
    lock = FileLock(path, "cfw")
    try:
        lock.take()
    except (StateError, OSError) as error:
        raise StateError(f"cannot use the worker's state in {path}: {error}") from error
    return lock
