"""What a store for our state must do: the changes that it takes, and what it gives back after a restart.

A store keeps tasks, delete orders, arrivals and pauses, and a history of bounded size.  It also keeps the
identity of the controller: its id, which is made once, and its epoch, which grows with every start.  By the
epoch a worker knows an outdated order.  A store knows no rules; `tasks.lifecycle` has those.  Neighbours:
`tasks.sqlite_store` keeps state in a file, `tasks.postgres_store` in a database for several cfm,
`cfm_lab.fakes.memory_store` for tests and the simulator.  All pass `tests/conformance/test_stores.py`.
`tasks.queue` is the only one who commits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from cfm.errors import StateError
from cfm.model import Addr, DeleteOrder, Measure, OrderStatus, Side, Status, Task, Version
from cfm.tasks.lifecycle import ORDER_EDGES, TASK_EDGES, is_final

ENDED_TASKS_RECOVERED_S = 10 * 60
"""Ended tasks stay on the task list this long, so a restart must bring them back for as long."""

CONFIRMED_ORDERS_RECOVERED_S = 2 * 24 * 60 * 60
"""A file that was deleted is not copied back for a while, and a restart must not forget it."""

PACED_ORDERS_RECOVERED_S = 61
"""The pace counts the orders of the last minute, whatever became of them, and a restart is no way around
it."""

ROW_BYTES = 32
"""What a row of a database takes beside its texts, about."""

UNFINISHED_TASKS = frozenset(s for s in Status if not is_final(TASK_EDGES, s))
UNFINISHED_ORDERS = frozenset(s for s in OrderStatus if not is_final(ORDER_EDGES, s))


@dataclass(frozen=True, slots=True)
class PutTask:
    """Writes a task, new or changed."""

    task: Task


@dataclass(frozen=True, slots=True)
class DropTask:
    """Takes a task off the list and out of the history; its id is not used again."""

    id: int


@dataclass(frozen=True, slots=True)
class PutOrder:
    """Writes a delete order, new or changed."""

    order: DeleteOrder


@dataclass(frozen=True, slots=True)
class PutArrival:
    """A file appeared on a server at `wall_s` (unix seconds): it stays there a minimum time."""

    file_name: str
    server: Addr
    wall_s: int


@dataclass(frozen=True, slots=True)
class DropArrival:
    """The file is no longer on that server, or has stayed its minimum time."""

    file_name: str
    server: Addr


@dataclass(frozen=True, slots=True)
class PutMeasure:
    """The measure of the metadata that came into force at `wall_s` (unix seconds)."""

    measure: Measure
    wall_s: int


@dataclass(frozen=True, slots=True)
class PutPause:
    """A source, a destination, a pair or a file is left alone because copies failed.  Times are unix
    seconds."""

    side: Side
    file_name: str
    """Empty where `side` says who it is."""
    failures: int
    until_wall_s: int
    spared_wall_s: int
    since_wall_s: int
    why: str


@dataclass(frozen=True, slots=True)
class DropPause:
    """It is no longer to blame."""

    side: Side
    file_name: str


@dataclass(frozen=True, slots=True)
class PutCopy:
    """The copy of a file on a server is of this version."""

    file_name: str
    server: Addr
    version: Version


@dataclass(frozen=True, slots=True)
class DropCopy:
    """The server does not hold the file any more."""

    file_name: str
    server: Addr


@dataclass(frozen=True, slots=True)
class PutRelease:
    """An operator let the breaker of a server free so many bytes, while its limit was `limit_percent`."""

    server: Addr
    size_bytes: int
    limit_percent: int
    wall_s: int
    """Unix seconds."""


@dataclass(frozen=True, slots=True)
class DropRelease:
    """Nothing is left to free there, or the settings have changed."""

    server: Addr


@dataclass(frozen=True, slots=True)
class PutEvent:
    """Something was decided, or happened to the node.  It is told later, in the words of the log."""

    id: int
    """Unique and growing, from the same count as the ids of tasks and orders."""
    wall_s: int
    event: str
    level: str
    facts: Mapping[str, object]
    """Values that JSON has."""
    about: tuple[str, ...] = ()
    """The files and servers in whose history it belongs."""


RowChange: TypeAlias = (
    PutTask
    | DropTask
    | PutOrder
    | PutArrival
    | DropArrival
    | PutMeasure
    | PutPause
    | DropPause
    | PutCopy
    | DropCopy
    | PutRelease
    | DropRelease
)
"""What changes one row."""

Change: TypeAlias = RowChange | PutEvent


@dataclass(frozen=True, slots=True)
class Recovered:
    """What a start finds in the store: who we are, and everything that is not over yet.

    `tasks`: the unfinished, and those that ended within `ENDED_TASKS_RECOVERED_S`.
    `orders`: the unfinished, those confirmed within `CONFIRMED_ORDERS_RECOVERED_S`, and those made within
    `PACED_ORDERS_RECOVERED_S`.
    Both are sorted by id, `arrivals` and `pauses` by file and server.
    """

    controller_id: str
    epoch: int
    last_id: int
    """The highest id that was ever committed, of tasks and orders; 0 in a new state."""
    tasks: tuple[Task, ...] = ()
    orders: tuple[DeleteOrder, ...] = ()
    arrivals: tuple[PutArrival, ...] = ()
    copies: tuple[PutCopy, ...] = ()
    """The versions of all copies that are known, sorted by file and server."""
    measure: Measure | None = None
    """That of the metadata that was in force last; None before the first."""
    pauses: tuple[PutPause, ...] = ()
    releases: tuple[PutRelease, ...] = ()


@dataclass(frozen=True, slots=True)
class LeaseSeen:
    """The lease on a state that several cfm use, as its keeper sees it."""

    epoch: int
    ours: bool
    name: str
    """Host and process of whoever took it last."""
    address: Addr
    """Where that one is reached."""
    taken_s: int
    """Unix seconds, by the keeper's clock; 0 where nobody ever took it."""
    left_ms: int
    """How long it still lasts, by the keeper's clock; 0 where it has ended."""


@dataclass(frozen=True, slots=True)
class Member:
    """One of several cfm, as it told of itself last."""

    name: str
    """Host and process."""
    address: Addr
    metadata: str
    """The id of the metadata that it has in force; empty where there is none."""
    log_lag_s: int | None
    """How far it is behind the event log."""
    seen_ms: int = 0
    """How long ago it told so, by the keeper's clock."""


class SupersededError(StateError):
    """Another cfm has taken over this state; ours may write nothing more."""


class TaskStore(Protocol):
    """Durable state that has one owner at a time.

    All calls may wait for a disk, and may be made from any thread.
    """

    def open(self) -> Recovered:
        """Makes us the owner of the state, and starts a new epoch durably.

        Raises:
            StateError: another cfm holds it, or it cannot be used; the text is one sentence.
        """

    def commit(self, changes: Sequence[Change]) -> None:
        """Writes all changes or none, in their order.  They are durable when it returns.

        A commit that failed may be repeated as it is, because a repeated change has no further effect.

        Raises:
            StoreFullError: it cannot be written now; the next attempt may succeed.
            StateError: it can never be written again (taken over, damaged, closed).
        """

    def events(self, about: str, before_id: int, limit: int) -> list[PutEvent]:
        """The last `limit` events before an id, the newest first.

        `about`: only those that are about this file or server; empty for all.
        """

    def prune(self, before_wall_s: int, events_bytes: int) -> None:
        """Forgets what ended, arrived or happened before a time (unix seconds), but nothing that is
        unfinished; and the oldest events, until the others take at most so many bytes (see `event_bytes`).

        It raises what `commit` raises.
        """

    def log_bytes(self) -> int:
        """How much room its write-ahead log takes; 0 where there is none."""

    def close(self) -> None:
        """Gives the state up, so that another cfm may open it.  Closing twice does no harm."""


class LeasedStore(TaskStore, Protocol):
    """A store that several cfm use, of which one holds the lease and may commit.

    `open` takes the lease, or fails; who waits for it calls `prepare` once, `hold_lease` again and again, and
    `recover` when it is ours.  `close` gives it up.
    """

    def prepare(self) -> None:
        """Make the tables, or bring them up to our form; it may take long.

        Raises:
            StoreFullError: the database cannot be reached now.
            StateError: it cannot be used.
        """

    def hold_lease(self) -> LeaseSeen:
        """Renew the lease if it is ours; take it, with a new epoch, if it has ended; and tell who has it.

        It may be asked again after an answer was lost: what was taken by then is ours.  Who has led once and
        was deposed never takes it again: what it knows is of its own epoch.  It is opened anew for that.
        It raises what `prepare` raises.
        """

    def recover(self) -> Recovered:
        """What is not over yet, once the lease is ours.

        Raises:
            SupersededError: the lease is somebody else's by now.
        """

    def resign(self) -> None:
        """Give the lease up at once; whoever waits for it finds that by asking.

        It raises what `prepare` raises.
        """

    def meet(self, metadata: str, log_lag_s: int | None) -> list[Member]:
        """Tell of ourselves, and hear of all other cfm that told of themselves lately.

        It raises what `prepare` raises.
        """


class StateStore(TaskStore, Protocol):
    """A store outside of this process, which others may read and copy."""

    @property
    def name(self) -> str:
        """Where it is, for people."""

    def peek(self) -> Recovered:
        """What is committed now, read beside whoever has the state; epoch 0 where there is none yet.

        Raises:
            StateError: it cannot be read.
        """

    def opened_s(self) -> int:
        """When a cfm took this state last (unix seconds); 0 where none ever did.

        Raises:
            StateError: it cannot be read.
        """

    def dump(self) -> StateDump:
        """All that it holds, once it is open."""

    def fill(self, dump: StateDump) -> None:
        """Write all of another state into this one, which nobody has used yet and which is not open.

        Raises:
            StateError: there is a state already, or it cannot be written.
        """

    def set_aside(self, suffix: str) -> str:
        """Rename the state, so that no cfm finds it, and close it.  Returns its new name, for people."""


class SharedStateStore(LeasedStore, StateStore, Protocol):
    """A store outside of this process that several cfm use."""


@dataclass(frozen=True, slots=True)
class StateDump:
    """A whole state, as rows (see `tasks.rows`)."""

    controller_id: str
    epoch: int
    last_id: int
    tables: Mapping[str, Sequence[Sequence[str | int | None]]]


def event_bytes(event: PutEvent, facts: str) -> int:
    """How much room an event takes, about; `facts` are its facts as JSON."""
    texts = (event.event, facts, *event.about, *event.about)
    return ROW_BYTES * (1 + len(event.about)) + sum(map(len, texts))


def highest_id(changes: Sequence[Change]) -> int:
    """The highest id that the changes bring, 0 where they bring none."""
    ids = (_id_of(change) for change in changes)
    return max(ids, default=0)


def _id_of(change: Change) -> int:
    match change:
        case PutTask(task):
            return task.id
        case PutOrder(order):
            return order.id
        case PutEvent():
            return change.id
        case DropTask() | PutArrival() | DropArrival() | PutMeasure():
            return 0
        case PutPause() | DropPause() | PutCopy() | DropCopy() | PutRelease() | DropRelease():
            return 0
