"""What happens to the controller, and what it wants done: the two vocabularies of `controller.decide.core`.

Events come in one at a time; each yields effects.  Effects are values.  The shell (`controller.act.loop`, or
the simulator) carries them out, and brings what came of it back as the next event.  Which of them wait until
what was decided is durable, `step` says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from cfm.controller.decide.own_troubles import OwnTroubleKind
from cfm.controller.decide.told_conditions import ConditionSeen
from cfm.model import (
    Addr,
    CopySeen,
    DeleteOrder,
    DiskReport,
    Failure,
    File,
    Hits,
    Listing,
    LogState,
    Names,
    ProbeSight,
    SanAnswer,
    SnapshotFacts,
    Task,
    Trouble,
    WorkerFeatures,
)
from cfm.plan.shortlist import PlanInputs, Shortlist
from cfm.plan.view import Rules
from cfm.wire import TaskReport

# ── events: time and the world ──────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed; sent at `Core.next_wakeup_ms` at the latest."""


@dataclass(frozen=True, slots=True)
class SnapshotAccepted:
    """New metadata is in force.  The core knows only its facts; the shell keeps the columns."""

    facts: SnapshotFacts
    age_ms: int
    """How old its numbers were when it was read, by the wall clock; never negative."""


@dataclass(frozen=True, slots=True)
class SnapshotRejected:
    facts: SnapshotFacts


@dataclass(frozen=True, slots=True)
class HitsChanged:
    """The event log's window moved.  `rising_files`: the known ones among the rising."""

    hits: Hits
    rising_files: tuple[File, ...] = ()


@dataclass(frozen=True, slots=True)
class LogChanged:
    """The event log is in another state: it is followed, silent, gone, …"""

    state: LogState


@dataclass(frozen=True, slots=True)
class SanIndexed:
    """The background index of the source folders: all names, or None where they are unknown."""

    names: Names | None
    why: str = ""
    folders: Mapping[str, Names] = field(default_factory=dict)
    """The names in each folder that is known."""


@dataclass(frozen=True, slots=True)
class RulesChanged:
    """An operator changed the settings that may change while we run."""

    rules: Rules
    keys: tuple[str, ...] = ()
    """The settings that differ from those of the last reading, also such as wait for the next start."""
    by: str = ""
    """Who asked for it."""


@dataclass(frozen=True, slots=True)
class Noted:
    """Something outside the core happened that belongs into the history, such as what an operator did."""

    event: str
    facts: Mapping[str, object]
    level: str = "info"


@dataclass(frozen=True, slots=True)
class StoreTrouble:
    """Our own state cannot be written."""

    why: str


@dataclass(frozen=True, slots=True)
class StoreRecovered:
    """It can be written again."""


@dataclass(frozen=True, slots=True)
class OwnTrouble:
    """Something of cfm itself does not work, or works again (`why` is empty)."""

    kind: OwnTroubleKind
    subject: str
    why: str


@dataclass(frozen=True, slots=True)
class ConditionsSeen:
    """The conditions at one look, where they are not those of the last one."""

    found: tuple[ConditionSeen, ...]


# ── events: answers to our questions ────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class HeartbeatAnswer:
    addr: Addr
    answer: WorkerFeatures | Failure


@dataclass(frozen=True, slots=True)
class ListAnswer:
    """`fence`: that of the question; deletes with a lower order id are void."""

    addr: Addr
    asked_ms: int
    answer: Listing | Failure
    fence: int | None = None


@dataclass(frozen=True, slots=True)
class DiskAnswer:
    addr: Addr
    asked_ms: int
    answer: DiskReport | Failure


@dataclass(frozen=True, slots=True)
class CopyAnswer:
    """What a server said of one file that it should hold."""

    addr: Addr
    name: str
    asked_ms: int
    answer: CopySeen | Failure


@dataclass(frozen=True, slots=True)
class DeleteAnswer:
    """`answer`: the HTTP status, or how the request failed."""

    order_id: int
    answer: int | Failure


@dataclass(frozen=True, slots=True)
class CutAnswer:
    """`cut`: the source says that nothing of that task is being sent any more."""

    task_id: int
    cut: bool


@dataclass(frozen=True, slots=True)
class SanAnswers:
    asked_ms: int
    answers: Mapping[str, SanAnswer]


@dataclass(frozen=True, slots=True)
class NamesSought:
    """Names were looked for in, above and below each source folder, to find out whose disk it is."""

    names: frozenset[str]
    asked_ms: int
    sights: Mapping[str, ProbeSight]


@dataclass(frozen=True, slots=True)
class PlanReady:
    shortlist: Shortlist
    took_ms: int = 0


@dataclass(frozen=True, slots=True)
class PlanFailed:
    """The plan ended by an error, and made no lists."""

    why: str
    took_ms: int = 0


# ── events: requests ────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class TasksAsked:
    """`GET /tasks`."""

    request: int
    client: str = ""
    """The host that asks, if it may be an old worker."""


@dataclass(frozen=True, slots=True)
class CredentialsRefused:
    """A request without valid credentials came from this server, as far as one can see."""

    addr: Addr


@dataclass(frozen=True, slots=True)
class NextAsked:
    """`GET /tasks/next`: held until there is a task, or until `until_ms`."""

    request: int
    destination: Addr
    until_ms: int
    holding: frozenset[int] = frozenset()
    claims: bool = False
    """The asker takes what it is offered: the task is `working` from the answer on."""


@dataclass(frozen=True, slots=True)
class RequestGone:
    """The asker of a held request went away."""

    request: int


@dataclass(frozen=True, slots=True)
class TaskReported:
    """`PATCH /tasks/{id}`: what a worker reports on a task."""

    request: int
    task_id: int
    report: TaskReport


@dataclass(frozen=True, slots=True)
class TaskDropped:
    """`DELETE /tasks/{id}`."""

    request: int
    task_id: int
    by: str = "an operator"
    """Who asked for it."""


@dataclass(frozen=True, slots=True)
class BreakerReleased:
    """An operator lets held breakers go once: of one server, or of all."""

    request: int
    server: Addr | None = None
    by: str = "an operator"


Event: TypeAlias = (
    Tick | SnapshotAccepted | SnapshotRejected | HitsChanged | LogChanged | SanIndexed | RulesChanged
    | Noted | StoreTrouble | StoreRecovered | OwnTrouble | ConditionsSeen
    | HeartbeatAnswer | ListAnswer | DiskAnswer
    | CopyAnswer | DeleteAnswer | CutAnswer | SanAnswers | NamesSought | PlanReady | PlanFailed
    | TasksAsked | NextAsked | RequestGone | CredentialsRefused | TaskReported | TaskDropped
    | BreakerReleased
)  # fmt: skip

# ── effects ─────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class SendHeartbeat:
    addr: Addr


@dataclass(frozen=True, slots=True)
class AskList:
    """`fence`: deletes with a lower order id are void from then on (workers of ours).

    `source_folder` tells the worker that its disk is this source folder.
    """

    addr: Addr
    fence: int | None = None
    source_folder: str = ""


@dataclass(frozen=True, slots=True)
class AskDisk:
    addr: Addr


@dataclass(frozen=True, slots=True)
class AskCopy:
    """Ask one server whether it holds one file, and of which size."""

    addr: Addr
    name: str


@dataclass(frozen=True, slots=True)
class AskSan:
    """Look files up on the SAN: name → the size that it should have."""

    sizes: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class SeekNames:
    """Look for these names in, above and below each source folder."""

    names: frozenset[str]


@dataclass(frozen=True, slots=True)
class SendDelete:
    """Tell a server to delete a file, if it can be told in time."""

    order: DeleteOrder
    before_ms: int
    """Monotonic: what confirmed it counts until then.  Where the record of the order is durable only later,
    as our disk was full, nothing is sent; `LATE` is its answer."""
    probe: str = ""
    """The probe file of the folder that it is for; empty for a worker that has none."""


@dataclass(frozen=True, slots=True)
class CutStream:
    """Tell a source of ours to stop sending on behalf of an ended task."""

    source: Addr
    task_id: int


@dataclass(frozen=True, slots=True)
class StartPlan:
    """Reduce the metadata to a shortlist, beside the loop."""

    inputs: PlanInputs


@dataclass(frozen=True, slots=True)
class TaskList:
    """All tasks that `GET /tasks` shows."""

    tasks: tuple[Task, ...]


@dataclass(frozen=True, slots=True)
class Offer:
    """The task that a worker gets on `GET /tasks/next`."""

    task: Task


@dataclass(frozen=True, slots=True)
class Released:
    """The breakers that an operator released, with the bytes that each of them now lets through."""

    up_to_bytes: Mapping[Addr, int]


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with the request, in words."""

    text: str


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to a request: its HTTP status, and a body where there is something to say."""

    request: int
    status: int
    body: TaskList | Offer | Released | Problem | None = None
    promises_nothing: bool = False
    """It says nothing that a restart could take back, such as: your lease goes on, or: there is no task.  So
    it need not wait for what was decided before it."""


@dataclass(frozen=True, slots=True)
class Say:
    """One line for the log and the history: an event, its level, and the facts."""

    event: str
    level: str = "info"
    facts: Mapping[str, object] = field(default_factory=dict)
    id: int = 0
    about: tuple[str, ...] = ()
    """Files and servers in whose history it belongs, beside those that the facts name."""


Effect: TypeAlias = (
    SendHeartbeat
    | AskList
    | AskDisk
    | AskCopy
    | AskSan
    | SeekNames
    | SendDelete
    | CutStream
    | StartPlan
    | Reply
    | Say
)
LATE = Failure(Trouble.TIMEOUT, "not sent: what confirmed it was too old when its record was durable")
