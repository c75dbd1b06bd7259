"""State in PostgreSQL, for several cfm of which one leads: whoever holds the lease.

The lease is a row: who holds it, since when, until when, and the epoch, which grows each time that it is
taken.  All its times are the database's own, so no clock of ours is compared with another.  Each commit asks
in its own transaction whether the epoch is still ours: who was deposed writes nothing.  Who holds the lease
asks for it again long before it ends (`hold_lease`), and stops acting by its own clock; that rule is in
`controller.decide.leadership`.

Neighbours: `tasks.store` says what is promised, `postgres_schema` has the tables, `rows` the columns,
`postgres_statements` how a change is written, and `postgres_link` the connections.
"""

from __future__ import annotations

import os
import socket
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final

from cfm.errors import StateError
from cfm.model import Addr
from cfm.tasks import postgres_schema as schema
from cfm.tasks import rows
from cfm.tasks.postgres_link import PATIENT_MS, SCHEMA, Connection, DatabaseLink
from cfm.tasks.postgres_statements import put, statements_of, writable
from cfm.tasks.store import (
    Change,
    LeaseSeen,
    Member,
    PutEvent,
    Recovered,
    StateDump,
    SupersededError,
    highest_id,
)

LEASE_S: Final = 3.0
MEMBER_S: Final = 6.0
"""Who told nothing of itself for so long is no member now."""
COPYING_S: Final = 600.0
"""So long nobody else may take the lease while a whole state is copied."""


def wall_clock_s() -> int:
    """Unix seconds now."""
    return int(time.time())


class PostgresStore:
    """A `StateStore` in the database that `url` names."""

    def __init__(
        self,
        url: str,
        address: str = "",
        *,
        lease_s: float = LEASE_S,
        wall_s: Callable[[], int] = wall_clock_s,
    ) -> None:
        """`address` is where we are reached; others show it, and send workers there."""
        self._url = url
        self._address = address
        self._lease_s = lease_s
        self._wall_s = wall_s
        self._commits, self._lease = DatabaseLink(url), DatabaseLink(url)
        self._me = ""
        """What the lease calls us; a new name for each time that we are open."""
        self._epoch = 0
        """The one that `recover` read the state at; 0 until then."""
        self._last_id = 0

    @property
    def name(self) -> str:
        return self._commits.name

    # ── the lease ───────────────────────────────────────────────────────────────────────────────────────

    def prepare(self) -> None:
        with self._named(), self._lease.transaction(statement_ms=PATIENT_MS) as db:
            schema.migrate(db)
            _require_durable_commits(db)

    def hold_lease(self) -> LeaseSeen:
        self._me = self._me or uuid.uuid4().hex
        with self._named(), self._lease.transaction() as db:
            row = self._renewed(db) or (None if self._epoch else self._taken(db)) or _lease_row(db)
        return self._seen(row)

    def resign(self) -> None:
        with self._lease.transaction() as db:
            db.execute(
                "UPDATE lease SET holder = '', expires_at = '-infinity' WHERE holder = %s", (self._me,)
            )
            db.execute("DELETE FROM members WHERE holder = %s", (self._me,))

    def meet(self, metadata: str, log_lag_s: int | None) -> list[Member]:
        with self._named(), self._lease.transaction() as db:
            db.execute("DELETE FROM members WHERE seen_at < clock_timestamp() - interval '1 minute'")
            db.execute(_MEET, (self._me, _own_name(), self._address, writable(metadata), log_lag_s))
            found = db.execute(_MET, (self._me, MEMBER_S)).fetchall()
        return [
            Member(row["name"], Addr(row["address"]), row["metadata"], row["log_lag_s"], int(row["seen_ms"]))
            for row in found
        ]

    def _renewed(self, db: Connection) -> Mapping[str, Any] | None:
        """The epoch stays as it is, so this waits for no commit."""
        return db.execute(_RENEW, (self._lease_s, self._me, self._epoch, self._epoch)).fetchone()

    def _taken(self, db: Connection) -> Mapping[str, Any] | None:
        return db.execute(_TAKE, (self._me, _own_name(), self._address, self._lease_s)).fetchone()

    def _seen(self, row: Mapping[str, Any]) -> LeaseSeen:
        ours = row["holder"] == self._me and self._epoch in (0, row["epoch"])
        left_ms = max(0, int(row["left_ms"] or 0))
        return LeaseSeen(row["epoch"], ours, row["name"], Addr(row["address"]), row["taken_s"] or 0, left_ms)

    # ── a TaskStore ─────────────────────────────────────────────────────────────────────────────────────

    def open(self) -> Recovered:
        try:
            self.prepare()
            self._require_lease()
            return self.recover()
        except BaseException:
            self.close()
            raise

    def _require_lease(self) -> None:
        seen = self.hold_lease()
        if not seen.ours:
            where = f" at {seen.address}" if seen.address else ""
            raise StateError(f"another cfm ({seen.name}{where}) has the state in {self.name}")

    def recover(self) -> Recovered:
        with self._reading() as db:
            ours = db.execute("SELECT 1 FROM lease WHERE holder = %s", (self._me,)).fetchone()
            found = self._read(db)
        self._require_ours(ours)
        self._epoch, self._last_id = found.epoch, found.last_id
        return found

    def commit(self, changes: Sequence[Change]) -> None:
        self._require_open()
        last_id = max(self._last_id, highest_id(changes))
        statements = [statement for change in changes for statement in statements_of(change)]
        if last_id > self._last_id:
            statements.append(("UPDATE identity SET last_id = greatest(last_id, %s)", (last_id,)))
        # Once the guard has found the row, nobody can take the lease from us until the transaction ends.
        guard = (f"{_OURS} FOR KEY SHARE", (self._epoch, self._me))
        self._commits.commit(guard, statements, self._superseded())
        self._last_id = last_id

    def prune(self, before_wall_s: int, events_bytes: int) -> None:
        self._require_open()
        last_id = self._last_event_to_go(before_wall_s, events_bytes)
        over = {table: (condition, before_wall_s) for table, condition in _OVER.items()}
        over |= {table: (condition, last_id) for table, condition in _EVENTS_OVER.items()}
        link = DatabaseLink(self._url)
        try:
            for table, (condition, least) in over.items():
                # This may take long, and nobody who wants the lease may wait for it: so it does not hold the
                # lease.  What is over is over for everybody.
                with link.transaction(statement_ms=PATIENT_MS) as db:
                    self._require_ours(db.execute(_OURS, (self._epoch, self._me)).fetchone())
                    db.execute(f"DELETE FROM {table} {condition}", (least,))  # noqa: S608 (names are ours)
        finally:
            link.close()

    def _last_event_to_go(self, before_wall_s: int, events_bytes: int) -> int:
        with self._reading() as db:
            row = db.execute(_LAST_EVENT_TO_GO, (events_bytes, before_wall_s)).fetchone()
        return -1 if row is None or row["id"] is None else int(row["id"])

    def events(self, about: str, before_id: int, limit: int) -> list[PutEvent]:
        narrowed = "JOIN events_about USING (id) WHERE subject = %(about)s AND" if about else "WHERE"
        with self._reading() as db:
            if schema.check_form(db) < schema.VERSION:
                return []
            found = db.execute(
                f"SELECT events.* FROM events {narrowed} id < %(before)s ORDER BY id DESC LIMIT %(limit)s",  # noqa: S608
                {"about": writable(about), "before": before_id, "limit": max(0, limit)},
            )
            return [rows.event_of(row) for row in found]

    def peek(self) -> Recovered:
        with self._reading() as db:
            if schema.check_form(db) < schema.VERSION:
                return Recovered("", 0, 0)
            return self._read(db)

    def opened_s(self) -> int:
        with self._reading() as db:
            return 0 if schema.check_form(db) == 0 else int(_lease_row(db)["taken_s"] or 0)

    def log_bytes(self) -> int:
        return 0

    def dump(self) -> StateDump:
        self._require_open()
        with self._lease.transaction() as db:
            db.execute(_RENEW, (COPYING_S, self._me, self._epoch, self._epoch))
        with self._reading() as db:
            identity = _identity(db)
            tables = {
                table: [tuple(row.values()) for row in db.execute(f"SELECT {columns} FROM {table}")]  # noqa: S608 (names are ours)
                for table, columns in rows.TABLES.items()
            }
        return StateDump(identity["controller_id"], identity["epoch"], identity["last_id"], tables)

    def fill(self, dump: StateDump) -> None:
        try:
            self.prepare()
            with self._named(), self._lease.transaction(statement_ms=PATIENT_MS) as db:
                self._fill(db, dump)
        finally:
            self.close()

    def set_aside(self, suffix: str) -> str:
        new = f"{SCHEMA}_{suffix.replace('-', '_')}"
        with self._named(), self._lease.transaction(statement_ms=PATIENT_MS) as db:
            self._require_ours(self._ask_whether_ours(db).fetchone())
            db.execute(f"ALTER SCHEMA {SCHEMA} RENAME TO {new}")
        self._me = ""  # the lease went with the rest
        self.close()
        return f"the schema {new} of {self.name}"

    def close(self) -> None:
        if self._me:
            with suppress(StateError):  # then the lease ends by itself
                self.resign()
        self._me, self._epoch = "", 0
        self._commits.close()
        self._lease.close()

    def _fill(self, db: Connection, dump: StateDump) -> None:
        filled = db.execute("UPDATE lease SET epoch = %s WHERE epoch = 0 RETURNING 1", (dump.epoch,))
        db.execute("UPDATE identity SET controller_id = %s, last_id = %s", (dump.controller_id, dump.last_id))
        for table in rows.TABLES:
            for row in dump.tables[table]:
                db.execute(*put(table, row))
        if filled.fetchone() is None:
            raise StateError(f"there is a state already: ALTER SCHEMA {SCHEMA} RENAME puts it aside")

    # ── what these are made of ──────────────────────────────────────────────────────────────────────────

    def _require_open(self) -> None:
        if not self._me:
            raise StateError(f"the state in {self.name} is not open")

    def _ask_whether_ours(self, db: Connection) -> Any:
        """From here to the end of the transaction nobody can take the lease from us."""
        return db.execute(f"{_OURS} FOR KEY SHARE", (self._epoch, self._me))

    def _require_ours(self, found: object) -> None:
        if found is None:
            raise self._superseded()

    def _superseded(self) -> SupersededError:
        return SupersededError(f"another cfm has taken over the state in {self.name}")

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        """A connection of its own, so that no reader waits for a commit."""
        link = DatabaseLink(self._url, writes=False)
        try:
            with self._named(), link.transaction(reads=True, statement_ms=PATIENT_MS) as db:
                yield db
        finally:
            link.close()

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Whatever is wrong with what the state says becomes a sentence that names it."""
        try:
            yield
        except StateError as error:
            if self.name in str(error):
                raise
            raise StateError(f"cannot use the state in {self.name}: {error}") from error
        except ValueError as error:
            raise StateError(f"cannot use the state in {self.name}: {error}") from error

    def _read(self, db: Connection) -> Recovered:
        def ask(query: str, values: Sequence[rows.Value]) -> Iterable[rows.Row]:
            return db.execute(query.replace("?", "%s"), values)

        return rows.recovered(ask, _identity(db), self._wall_s(), by_file='file COLLATE "C"')


_LEASE_COLUMNS: Final = (
    "epoch, holder, name, address, "
    "CASE WHEN isfinite(taken_at) THEN extract(epoch FROM taken_at)::bigint END AS taken_s, "
    "CASE WHEN isfinite(expires_at) THEN 1000 * extract(epoch FROM expires_at - clock_timestamp()) END "
    "AS left_ms"
)

_MEET: Final = (
    "INSERT INTO members VALUES (%s, %s, %s, %s, %s, clock_timestamp()) ON CONFLICT (holder) DO UPDATE SET "
    "metadata = excluded.metadata, log_lag_s = excluded.log_lag_s, seen_at = excluded.seen_at"
)
_MET: Final = (
    "SELECT name, address, metadata, log_lag_s, "
    "1000 * extract(epoch FROM clock_timestamp() - seen_at) AS seen_ms FROM members "
    "WHERE holder <> %s AND seen_at > clock_timestamp() - %s * interval '1 second' ORDER BY name"
)
_OURS: Final = "SELECT 1 FROM lease WHERE epoch = %s AND holder = %s"
_FOR_A_WHILE: Final = "clock_timestamp() + %s * interval '1 second'"
_RENEW: Final = (
    f"UPDATE lease SET expires_at = {_FOR_A_WHILE} "  # noqa: S608 (names are ours)
    f"WHERE holder = %s AND (epoch = %s OR %s = 0) RETURNING {_LEASE_COLUMNS}"
)
_TAKE: Final = (
    "UPDATE lease SET epoch = epoch + 1, holder = %s, name = %s, address = %s, "  # noqa: S608 (names are ours)
    f"taken_at = clock_timestamp(), expires_at = {_FOR_A_WHILE} "
    f"WHERE expires_at < clock_timestamp() RETURNING {_LEASE_COLUMNS}"
)

_OVER: Final = {
    "tasks": f"WHERE changed_at < %s AND status NOT IN ({rows.UNFINISHED_TASKS_SQL})",
    "delete_orders": f"WHERE changed_at < %s AND status NOT IN ({rows.UNFINISHED_ORDERS_SQL})",
    "arrivals": "WHERE arrived_at < %s",
    "pauses": "WHERE spared_until_at < %s",
}
"""Which rows of each table are over before a time."""
_EVENTS_OVER: Final = {
    "events_about": (
        "USING events, json_array_elements_text(about::json) AS named "
        "WHERE events.id <= %s AND events_about.id = events.id AND subject = named.value"
    ),
    "events": "WHERE id <= %s",
}
_LAST_EVENT_TO_GO: Final = """
    SELECT max(id) AS id
    FROM (SELECT id, happened_at, sum(size_bytes) OVER (ORDER BY id DESC) AS with_newer FROM events) AS summed
    WHERE with_newer > %s OR happened_at < %s
"""


def _own_name() -> str:
    return f"{socket.gethostname()} process {os.getpid()}"


def _lease_row(db: Connection) -> Mapping[str, Any]:
    found = db.execute(f"SELECT {_LEASE_COLUMNS} FROM lease").fetchone()  # noqa: S608 (names are ours)
    if found is None:
        raise StateError("its lease is missing: restore the state, or drop the schema to begin anew")
    return found


def _identity(db: Connection) -> Mapping[str, Any]:
    found = db.execute("SELECT controller_id, last_id, epoch FROM identity, lease").fetchone()
    if found is None:
        raise StateError("it does not say whose it is: restore it, or drop the schema to begin anew")
    return found


def _require_durable_commits(db: Connection) -> None:
    found = db.execute("SHOW synchronous_commit").fetchone()
    if found is not None and found["synchronous_commit"] == "off":
        raise StateError("synchronous_commit is off, so a crash would lose what was told: set it to on")
