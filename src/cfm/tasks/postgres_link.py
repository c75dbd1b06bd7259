"""One connection to PostgreSQL that waits for nothing longer than a second or two.

A transaction is bounded by the database itself: no statement takes longer than `STATEMENT_MS`, and a program
that stops in the middle of a transaction loses it after the same time, so that it holds up nobody else.  The
bounds are set in each transaction, because behind PgBouncer every transaction may run on another connection.
A broken connection is given up, and the next transaction makes a new one.  Neighbours: `postgres_store` and
`moving` use it.
"""

from __future__ import annotations

import select
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final, LiteralString, TypeAlias

import psycopg
from psycopg import errors as pg
from psycopg.conninfo import make_conninfo
from psycopg.rows import DictRow, dict_row

from cfm.errors import StateError, StoreFullError

Connection: TypeAlias = psycopg.Connection[DictRow]
Statement: TypeAlias = tuple[LiteralString, Sequence[str | int | None]]

SCHEMA: Final = "cfm"
"""The part of the database that holds our tables."""
STATEMENT_MS: Final = 1_000
PATIENT_MS: Final = 600_000
"""For what may take long and holds up nobody: forgetting old rows, copying a whole state, changing tables."""
_CONNECT_S: Final = 2
"""libpq knows no shorter one."""
_LINK: Final[dict[str, Any]] = {
    "connect_timeout": _CONNECT_S,
    "tcp_user_timeout": STATEMENT_MS,
    "keepalives_idle": 1,
    "keepalives_interval": 1,
    "keepalives_count": 2,
    "application_name": "cfm",
}
_MAY_PASS: Final = (psycopg.OperationalError, psycopg.InterfaceError, pg.ReadOnlySqlTransaction)
"""The server is away, overloaded, full, or a replica now: the next attempt may succeed."""
_BOUNDS: Final = (
    "SELECT set_config('search_path', %s, true), set_config('statement_timeout', %s, true),"
    " set_config('idle_in_transaction_session_timeout', %s, true)"
)
_IDLE_TOO_LONG: Final = "25P03"


class DatabaseLink:
    """A connection that is made when it is needed.  One thread at a time uses it; others wait."""

    def __init__(self, url: str, *, writes: bool = True) -> None:
        """A link that `writes` takes no replica for the database."""
        self.name = shown(url)
        """The URL as people may see it."""
        wanted = _LINK | ({"target_session_attrs": "read-write"} if writes else {})
        self._conninfo = make_conninfo(url, **{key: value for key, value in wanted.items() if key not in url})
        self._one_at_a_time = threading.Lock()
        self._db: Connection | None = None

    @contextmanager
    def transaction(self, *, statement_ms: int = STATEMENT_MS, reads: bool = False) -> Iterator[Connection]:
        """A transaction, committed at the end of the block.

        `reads`: one unchanging picture, and no writing.

        Raises:
            StoreFullError: the database cannot be reached or cannot write now.
            StateError: it refuses for good, such as for want of a right or of a table.
        """
        with self._one_at_a_time, self._said_as_state_error():
            db = self._connected()
            try:
                _begin(db, statement_ms, reads)
                yield db
                db.execute("COMMIT")
            except BaseException as error:
                self._undo(db, error)
                raise

    def commit(self, guard: Statement, statements: Iterable[Statement], refused: StateError) -> None:
        """One transaction in two messages: all statements, and the end.

        The first message is one for the server too: it begins only when all has come.  (Of a pipeline it
        would begin at once, and then a program that stops in the middle would hold its locks for ever,
        because the bounds do not count there.)

        Raises:
            StateError: `refused`, where `guard`, the first statement, finds no row; or as `transaction`.
        """
        with self._one_at_a_time, self._said_as_state_error():
            db = self._connected()
            try:
                texts = psycopg.ClientCursor(db)
                bounds = (_BOUNDS, (SCHEMA, str(STATEMENT_MS), str(STATEMENT_MS)))
                every = [texts.mogrify(*one) for one in (bounds, guard, *statements)]
                found = db.execute(f"BEGIN; {'; '.join(every)}".encode())
                found.nextset(), found.nextset()
                if found.fetchone() is None:
                    raise refused  # noqa: TRY301 - it ends the transaction, too
                db.execute("COMMIT")
            except BaseException as error:
                self._undo(db, error)
                raise

    def close(self) -> None:
        """Give the connection up.  Closing twice does no harm."""
        db, self._db = self._db, None
        if db is not None:
            with suppress(psycopg.Error):
                db.close()

    def _connected(self) -> Connection:
        if self._db is not None and _was_ended(self._db):
            self.close()
        if self._db is None:
            # Transactions are begun and ended by name, and nothing is prepared: PgBouncer could not follow.
            self._db = psycopg.connect(
                self._conninfo, autocommit=True, prepare_threshold=None, row_factory=dict_row
            )
        return self._db

    def _undo(self, db: Connection, error: BaseException) -> None:
        """After an error of ours the connection is still good; after any other nobody knows."""
        if isinstance(error, StateError):
            with suppress(psycopg.Error):
                db.execute("ROLLBACK")
                return
        self.close()

    @contextmanager
    def _said_as_state_error(self) -> Iterator[None]:
        try:
            yield
        except psycopg.Error as error:
            text = f"{self.name}: {' '.join(str(error).split()) or type(error).__name__}"
            if isinstance(error, _MAY_PASS) or error.sqlstate == _IDLE_TOO_LONG:
                raise StoreFullError(f"cannot write the state in {text}") from error
            raise StateError(f"cannot use the state in {text}") from error


def _begin(db: Connection, statement_ms: int, reads: bool) -> None:
    db.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY" if reads else "BEGIN")
    db.execute(_BOUNDS, (SCHEMA, str(statement_ms), str(statement_ms)))


def _was_ended(db: Connection) -> bool:
    """Did the server end this idle connection, such as by a restart?  It says nothing else unasked."""
    if db.closed:
        return True
    heard = select.poll()  # and not `select`, which knows no descriptors above 1,023
    heard.register(db.fileno(), select.POLLIN)
    return bool(heard.poll(0))


def shown(url: str) -> str:
    """A URL without what only libpq needs to know."""
    return url.partition("?")[0]
