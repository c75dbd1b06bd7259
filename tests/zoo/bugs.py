"""Bugs made by hand: those of the earlier program, and for each rule one that breaks just it.

Nothing of it is in the product: a bug is a `Parts` whose pieces are subclasses of the real ones, or take what
they hear for something else.  Neighbours: `making` has the mechanical ones, `hunting` the table of all.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import fields, replace
from typing import Any

from cfm.controller.decide import events as ev
from cfm.controller.decide import overdue
from cfm.controller.decide.absences import AbsenceBook
from cfm.controller.decide.core import Core
from cfm.controller.decide.san_silence import SilenceBook
from cfm.controller.decide.state import NodeConfig
from cfm.controller.decide.step import Step
from cfm.fleet.likeness import Likeness
from cfm.fleet.source_disks import SourceDisks
from cfm.inputs.event_log import Hit, parse_line
from cfm.inputs.reference import PlainReading, read_hit_history
from cfm.model import (
    NOBODY,
    Addr,
    DeleteKind,
    Failure,
    File,
    KnownStock,
    Listing,
    LogCondition,
    Names,
    Now,
    OnSan,
    SanAnswer,
    SanCheck,
    Status,
    Task,
    Way,
)
from cfm.names import is_file_name
from cfm.plan import refusals
from cfm.plan.case import Case
from cfm.plan.guards.copies import at_rest_on_san, is_on_san, surely_on_san
from cfm.plan.guards.deletes import holders_listed, keeper_confirmed
from cfm.plan.kernel import KERNEL
from cfm.plan.ledger import Ledger
from cfm.plan.outlook import Outlook
from cfm.plan.policies import POLICIES
from cfm.plan.policies.copies import copies
from cfm.plan.policies.room import Disks, make_room, room
from cfm.plan.policies.trials import trials
from cfm.plan.refusals import Refusal
from cfm.plan.view import Silence
from cfm.plan.wishes import Delete, Wish, Wishes
from cfm.tasks.book import TaskBook
from cfm.tasks.failures import FailureBook, Vanished
from cfm.tasks.rates import RateBook
from cfm.tasks.store import PutOrder, PutTask, Recovered
from cfm.wire import TaskOffer, TaskReport
from cfm.worker.act.base_dir import MARKER
from cfm.worker.act.fencing import Authority
from cfm.worker.act.shelf import Shelf
from cfm.worker.decide.download_events import (
    BookEvent,
    Hold,
    Instruction,
    SendReport,
    TaskOffered,
    TransferEnded,
)
from cfm.worker.decide.downloads import DownloadBook
from cfm.worker.decide.fencing import Issuer
from cfm.worker.decide.shelf_rules import DeletionOutcome, Receipt, temp_name
from cfm.worker.serve.streams import Stream, Streams
from cfm_lab.fakes.memory_base_dir import Inode
from cfm_lab.fakes.memory_store import MemoryStore
from cfm_lab.sim.environment.disks import SimDisk
from cfm_lab.sim.environment.parts import PARTS, Parts
from zoo.making import with_kernel
from zoo.steps import altered, with_more

# ── what cfm hears ──────────────────────────────────────────────────────────────────────────────────────


def hearing(change: Callable[[ev.Event], ev.Event]) -> Parts:
    """A core that takes what it hears for something else."""

    class Hearing(Core):
        def handle(self, event: ev.Event, now: Now) -> Step:
            return super().handle(change(event), now)

    return replace(PARTS, core=Hearing)


def error_is_empty(event: ev.Event) -> ev.Event:
    if isinstance(event, ev.ListAnswer) and isinstance(event.answer, Failure):
        return replace(event, answer=Listing(frozenset()))
    return event


def lost_log_is_empty(event: ev.Event) -> ev.Event:
    """A log that cannot be read is one in which nobody watches."""
    if isinstance(event, ev.LogChanged):
        return replace(event, state=replace(event.state, condition=LogCondition.FOLLOWING))
    return event


def not_found_is_success(event: ev.Event) -> ev.Event:
    return replace(event, answer=200) if isinstance(event, ev.DeleteAnswer) and event.answer == 404 else event


def silence_is_success(event: ev.Event) -> ev.Event:
    if isinstance(event, ev.DeleteAnswer) and isinstance(event.answer, Failure):
        return replace(event, answer=200)
    return event


def disk_ids_are_not_heard(event: ev.Event) -> ev.Event:
    """No answer says of which disk it is."""
    match event:
        case ev.HeartbeatAnswer() | ev.ListAnswer() | ev.DiskAnswer() | ev.CopyAnswer():
            if isinstance(event.answer, Failure):
                return event
            return replace(event, answer=replace(event.answer, disk_id=""))  # type: ignore[arg-type]  # each has one
        case _:
            return event


class _Unlike(dict[tuple[Addr, Addr], Likeness]):
    """Lists that are the same raise no suspicion."""

    def __setitem__(self, _pair: tuple[Addr, Addr], _likeness: Likeness) -> None:
        return None


class EachIsADisk(Core):
    """Each address is taken for a disk of its own: by no id, and by no likeness, are two of them one."""

    def __init__(self, config: NodeConfig, recovered: Recovered, now: Now) -> None:
        super().__init__(config, recovered, now)
        self.state.fleet.sharing._likenesses = _Unlike()

    def handle(self, event: ev.Event, now: Now) -> Step:
        return super().handle(disk_ids_are_not_heard(event), now)


class _EachAtAnyTime(dict[str, int]):
    """Every source folder was just ruled out, whichever is asked for."""

    def get(self, _folder: str, _default: object = None) -> int:
        return 2**62


class _NoneIsTheSan(SourceDisks):
    """Nobody asks whose disk it is: the earlier program did not, and ours did not at first."""

    def check(self, _addr: Addr) -> SanCheck:
        return SanCheck(ruled_out=_EachAtAnyTime())

    def has_originals(self, _addr: Addr) -> bool:
        return False


class TheSanIsADisk(Core):
    """A server's disk is never taken for a source folder."""

    def __init__(self, config: NodeConfig, recovered: Recovered, now: Now) -> None:
        super().__init__(config, recovered, now)
        self.state.fleet.source_disks = _NoneIsTheSan(config.destinations, self.state.revision)


class EmptyWillDo(Core):
    """A file of 0 bytes, or of any other size, on the SAN is taken for the file."""

    def handle(self, event: ev.Event, now: Now) -> Step:
        if isinstance(event, ev.SanAnswers):
            answers = {name: self._as_wanted(name, answer) for name, answer in event.answers.items()}
            event = replace(event, answers=answers)
        return super().handle(event, now)

    def _as_wanted(self, name: str, answer: object) -> Any:
        lists = self.backlog()
        known = (f for held in (lists.wanted, lists.surplus, *lists.evictable.values()) for f in held)
        size_bytes = next((file.size_bytes for file in known if file.name == name), 0)
        return OnSan(answer.path, size_bytes) if isinstance(answer, OnSan) and size_bytes else answer


# ── what a worker does ──────────────────────────────────────────────────────────────────────────────────


class UnsyncedFile(SimDisk):
    """fsync of a file is left out."""

    def node_sync(self, _node: Inode) -> None:
        return None


class UnsyncedFolder(SimDisk):
    """fsync of a folder is left out."""

    def sync_names(self) -> None:
        if MARKER not in self._synced[0]:
            super().sync_names()


class AnyController(Authority):
    """Epoch and controller are not looked at."""

    async def delete_order(self, _claim: Issuer | None, _number: int | None) -> str | None:
        return None

    def still(self, _claim: Issuer | None, _number: int | None) -> bool:
        return True


class NoFence(Authority):
    async def fence(self, _claim: Issuer | None, _fence: int) -> str | None:
        return None


class AllMayRead(Streams):
    """The source serves whoever comes."""

    def admit(self, task: str | None) -> Stream:
        slots, self.slots = self.slots, 1_000
        try:
            return super().admit(task)
        finally:
            self.slots = slots


class DoneForFailed(DownloadBook):
    """`done` is reported for what failed."""

    def handle(self, event: BookEvent, now_ms: int) -> list[Instruction]:
        return [_called_done(instruction) for instruction in super().handle(event, now_ms)]


def _called_done(instruction: Instruction) -> Instruction:
    if isinstance(instruction, SendReport) and instruction.report.error:
        return replace(instruction, report=TaskReport(Status.DONE, verified=True))
    return instruction


class TakesAnyBytes(DownloadBook):
    """What was received with another size or checksum is published all the same."""

    def handle(self, event: BookEvent, now_ms: int) -> list[Instruction]:
        if isinstance(event, TransferEnded) and event.failed is not None and event.failed.error:
            wrong = "checksum" in event.failed.error
            event = TransferEnded(event.task_id, event.size_bytes, verified=True) if wrong else event
        return super().handle(event, now_ms)


class CutsAtHash(Shelf):
    """`a.mpg#old` is asked for, and `a.mpg` deleted."""

    def delete(
        self, name: str, allowed: Callable[[], bool] = lambda: True, probe: str | None = None
    ) -> DeletionOutcome:
        return super().delete(name.partition("#")[0], allowed, probe)


class AnyOffer(DownloadBook):
    """A task's file name is not looked at before it is begun."""

    def _offered(self, offer: TaskOffer, now_ms: int) -> None:
        plain = replace(offer, file_name="PLAIN.mpg", path="/san/PLAIN.mpg")
        super()._offered(plain, now_ms)
        held = self._held.get(offer.id)
        if held is not None and held.offer is plain:
            held.offer = offer
        self._out = [Hold(offer) if isinstance(one, Hold) else one for one in self._out]


class AnyName(Shelf):
    """Nor is it where the place on the disk is made."""

    def begin(self, name: str, task_id: int, size_bytes: int | None) -> Receipt:
        if is_file_name(name):
            return super().begin(name, task_id, size_bytes)
        temp = temp_name(name, task_id)
        receipt = Receipt(name, task_id, size_bytes, temp, self._disk.temp_path(temp))
        self._reserve(receipt)
        return receipt


class TakesAllTasks(DownloadBook):
    """A task for somebody else is begun."""

    def handle(self, event: BookEvent, now_ms: int) -> list[Instruction]:
        if isinstance(event, TaskOffered):
            event = TaskOffered(replace(event.offer, destination=self.here.own))
        return super().handle(event, now_ms)


class OffersToOthers(Core):
    """The next ready task is offered, whoever asks."""

    def handle(self, event: ev.Event, now: Now) -> Step:
        step = super().handle(event, now)
        ready = [task for task in self.state.tasks.active.values() if task.status is Status.READY]
        return altered(step, lambda effect: self._any(effect, ready))

    def _any(self, effect: ev.Effect, ready: list[Task]) -> ev.Effect:
        if isinstance(effect, ev.Reply) and effect.status == 204 and ready:
            return replace(effect, status=200, body=ev.Offer(ready[0]))
        return effect


# ── what is written down ────────────────────────────────────────────────────────────────────────────────


class ForgetsOrders(MemoryStore):
    """A restart forgets unfinished deletes."""

    def open(self) -> Recovered:
        return replace(super().open(), orders=())


class ForgetsTasks(MemoryStore):
    def open(self) -> Recovered:
        return replace(super().open(), tasks=())


class ForgetsTheMeasure(MemoryStore):
    """What is read first after a restart is compared with nothing."""

    def open(self) -> Recovered:
        return replace(super().open(), measure=None)


class KeepsNoOrders(MemoryStore):
    """Orders are sent, and not written down."""

    def commit(self, changes: Any) -> None:
        super().commit([change for change in changes if not isinstance(change, PutOrder)])


class OpensTwice(MemoryStore):
    """A second cfm on one state wipes out the first."""

    def open(self) -> Recovered:
        self.state.held_by = None
        return super().open()


# ── what cfm remembers ──────────────────────────────────────────────────────────────────────────────────


class ByWall(Core):
    """The time-outs of tasks are measured with the wall clock."""

    ahead_ms: int | None = None

    def handle(self, event: ev.Event, now: Now) -> Step:
        step = super().handle(event, now)
        wall_ms = now.wall_ms - now.mono_ms
        self.ahead_ms = wall_ms if self.ahead_ms is None else self.ahead_ms
        by_wall = Now(now.mono_ms + wall_ms - self.ahead_ms, now.wall_ms)
        memory = self.state.failures  # its pauses are not measured with the wall clock
        self.state.failures = FailureBook(memory.sources, memory.destinations, memory.revision)
        overdue.end_overdue(self.state, lambda: False, by_wall)
        self.state.failures = memory
        return with_more(step, self.state.out.take(now.wall_s))


class Hoarding(Core):
    """The ledger never lets go of what has landed."""

    def handle(self, event: ev.Event, now: Now) -> Step:
        accounts = {addr: record.account for addr, record in self.state.fleet.records.items()}
        landed = {addr: list(account.landed) for addr, account in accounts.items()}
        result = super().handle(event, now)
        for addr, account in accounts.items():
            account.landed = [*landed[addr], *(b for b in account.landed if b not in landed[addr])]
        return result


class ForgetsWhatLanded(Core):
    """The next `/df` is taken to show all that landed."""

    def handle(self, event: ev.Event, now: Now) -> Step:
        if isinstance(event, ev.DiskAnswer):
            account = self.state.fleet.records[event.addr].account
            account.landed = [one for one in account.landed if one.at_ms > event.asked_ms]
            if event.addr in self.state.stock.stock:
                self.state.stock.stock[event.addr] = KnownStock(0, 0)
        return super().handle(event, now)


class OneReadingWillDo(Core):
    """One `/df` proves that something must go."""

    def __init__(self, config: NodeConfig, recovered: Recovered, now: Now) -> None:
        super().__init__(config, recovered, now)
        for record in self.state.fleet.records.values():
            record.account.apart_ms = 0


class _NeverForgets(TaskBook):
    def forget_old(self, now_ms: int) -> None:
        """Ended tasks stay on the list."""


class Remembering(Core):
    """A book grows as long as cfm runs."""

    def __init__(self, config: NodeConfig, recovered: Recovered, now: Now) -> None:
        super().__init__(config, recovered, now)
        book = self.state.tasks
        self.state.tasks = _NeverForgets(**{f.name: getattr(book, f.name) for f in fields(book)})


class _GivesUp(FailureBook):
    def failed(self, name: str, way: Way, now_ms: int, why: str = "", **more: Any) -> None:
        super().failed(name, way, now_ms, why, **more)
        if name in self.retries:
            self.retries[name] = self.retries[name]._replace(failures=2, not_before_ms=1 << 60)


class _BlamesFilesAlone(FailureBook):
    def failed(self, name: str, way: Way, now_ms: int, why: str = "", **_more: Any) -> None:  # noqa: ARG002 (as it is)
        self.revision.dispatch += 1
        self._avoid(name, way, now_ms, charge=1 + (name not in self.retries))


class _NeverGrows(FailureBook):
    def failed(self, name: str, way: Way, now_ms: int, why: str = "", **more: Any) -> None:
        super().failed(name, way, now_ms, why, **more)
        for side, pause in self.pauses.items():
            self.pauses[side] = pause._replace(failures=1, until_ms=now_ms + 10_000, spared_until_ms=now_ms)


class _SeesNothingVanish(FailureBook):
    def listed(self, _addr: Addr, _names: Names, _asked_ms: int, _now_ms: int) -> Vanished:
        return Vanished()


class _MissesWhatWeDelete(FailureBook):
    def ordered_away(self, _name: str, _addr: Addr) -> None:
        """What the next list is without has vanished."""


class _AnySpeedWillDo(RateBook):
    def is_too_slow(self, _rate_bps: int, _copy_speed_bps: int, _now_ms: int) -> bool:
        return False


def _with_failures(book: type[FailureBook]) -> type[Core]:
    class WithFailures(Core):
        def __init__(self, config: NodeConfig, recovered: Recovered, now: Now) -> None:
            super().__init__(config, recovered, now)
            old = self.state.failures
            self.state.failures = book(old.sources, old.destinations, old.revision)

    return WithFailures


BlamesFilesAlone = _with_failures(_BlamesFilesAlone)
PausesNeverGrow = _with_failures(_NeverGrows)
SeesNothingVanish = _with_failures(_SeesNothingVanish)
MissesWhatWeDelete = _with_failures(_MissesWhatWeDelete)


class _InAnyRole(NodeConfig):
    def has_way(self, source: Addr, destination: Addr) -> bool:
        servers = (*self.sources, *self.destinations)
        return source in servers and destination in servers


class RolesDoNotMatter(Core):
    """After a restart, a copy to a server that is only a source any more goes on."""

    def __init__(self, config: NodeConfig, recovered: Recovered, now: Now) -> None:
        settings = {one.name: getattr(config, one.name) for one in fields(config)}
        super().__init__(_InAnyRole(**settings), recovered, now)


class SlowGoesOn(Core):
    """A copy at 2 kB/s holds its places as long as it moves."""

    def __init__(self, config: NodeConfig, recovered: Recovered, now: Now) -> None:
        super().__init__(config, recovered, now)
        self.state.rates = _AnySpeedWillDo()


class WaitsForTheDeaf(Core):
    """A task that its worker does not take waits for the time limit of a task."""

    def handle(self, event: ev.Event, now: Now) -> Step:
        for task_id in self.state.tasks.ready:
            run = self.state.tasks.runs[task_id]
            run.offered_ms = now.mono_ms
            run.deadline_ms = (
                task_id // 1_000_000 - now.wall_ms + now.mono_ms + self.state.rules.task_timeout_ms
            )
        return super().handle(event, now)


class HungGoesOn(Core):
    """A copy that stands still holds its places for the time limit of a task."""

    def handle(self, event: ev.Event, now: Now) -> Step:
        for run in self.state.tasks.runs.values():
            run.window_ms = now.mono_ms
        return super().handle(event, now)


class NeverTriesAgain(Core):
    """What could not be copied once is not copied any more."""

    def __init__(self, config: NodeConfig, recovered: Recovered, now: Now) -> None:
        super().__init__(config, recovered, now)
        old = self.state.failures
        self.state.failures = _GivesUp(old.sources, old.destinations, old.revision)


class LateReportsCount(Core):
    """A report on a task that has ended changes it."""

    def handle(self, event: ev.Event, now: Now) -> Step:
        late = self.state.tasks.ended.get(event.task_id) if isinstance(event, ev.TaskReported) else None
        step = super().handle(event, now)
        if late is not None and isinstance(event, ev.TaskReported):
            return with_more(step, Step((), [PutTask(replace(late, status=event.report.status))]))
        return step


def counts_ips_twice(outlook: Outlook) -> Wishes:
    """A server that the history lists twice is two copies, of which one may go."""
    files = {file.name: file for held in outlook.lists.evictable.values() for file in held}
    for file in files.values():
        if len(file.history_ips) > len(set(file.history_ips)):
            for addr in sorted(outlook.view.holders.get(file.name, NOBODY)):
                answer = yield Delete(file, addr, DeleteKind.SURPLUS, "two copies", keeper=addr)
                if answer is None:
                    break


class CountsIpsTwice(Core):
    """A core with that policy."""

    def __init__(self, config: NodeConfig, recovered: Recovered, now: Now) -> None:
        super().__init__(config, recovered, now)
        self.state.policies = (*POLICIES, counts_ips_twice)


def believes_doubles(data: bytes) -> PlainReading:
    """The history's servers as they stand there."""
    reading = read_hit_history(data)
    doubled = dict(reading.history)
    for line in data.split(b"\n"):
        columns = line.decode(errors="replace").split(",")
        if len(columns) > 4 and columns[0] in doubled:
            ips = tuple(ip for ip in columns[4].split(" ") if ip)
            doubled[columns[0]] = replace(doubled[columns[0]], ips=ips)
    return replace(reading, history=doubled)


def _counting_doubles() -> Parts:
    """Nor is the copy that stays looked at: the count is believed."""
    listed = with_kernel(replace(KERNEL, surplus_guards=(holders_listed, keeper_confirmed)), CountsIpsTwice)
    return replace(listed, read_history=believes_doubles)


# ── what the kernel allows ──────────────────────────────────────────────────────────────────────────────


def once_on_san(case: Case[Wish]) -> Refusal | None:
    """However long ago."""
    asked = case.view.san.get(case.file.name)
    return None if asked is not None and is_on_san(asked.value, case.file) else refusals.SAN_UNKNOWN


def at_rest_by_the_clocks(case: Case[Wish]) -> Refusal | None:
    """The mtime is held against our clock: a file of the future is never at rest."""
    seen = case.view.sightings.get(case.file.name)
    if seen is None:
        return None
    age_ms = case.view.now.wall_ms - seen.found.mtime_ns // 1_000_000
    return refusals.STILL_BEING_WRITTEN if age_ms < case.view.rules.san_rest_ms else None


class Fickle:
    """A guard that says no to every other plan."""

    def __init__(self) -> None:
        self.ledger: Ledger | None = None
        self.no = False

    def __call__(self, case: Case[Wish]) -> Refusal | None:
        if case.ledger is not self.ledger:
            self.ledger, self.no = case.ledger, not self.no
        return refusals.NO_ROOM if self.no else None


class AskingAgain(SilenceBook):
    """What was not answered for may be asked for again in a moment."""

    @property
    def now(self) -> Silence | None:
        return None

    @property
    def names(self) -> Collection[str]:
        return ()

    def admit(self, files: Iterable[File], _now_ms: int) -> list[File]:
        return list(files)


class Impatient(Core):
    """It keeps no memory of a SAN that does not answer."""

    def __init__(self, config: NodeConfig, recovered: Recovered, now: Now) -> None:
        super().__init__(config, recovered, now)
        self.state.san.silence = AskingAgain()


class HoweverLate(Core):
    """An order is sent whenever its record is durable at last."""

    def handle(self, event: ev.Event, now: Now) -> Step:
        return altered(
            super().handle(event, now),
            lambda effect: (
                replace(effect, before_ms=1 << 60) if isinstance(effect, ev.SendDelete) else effect
            ),
        )


class SeesNoNewVersion(Core):
    """A copy is a copy, whatever the SAN has by now."""

    def handle(self, event: ev.Event, now: Now) -> Step:
        step = super().handle(event, now)
        self.state.versions.stale.clear()
        return step


class ForgetsThePace(Core):
    """A restart begins a new minute."""

    def __init__(self, config: NodeConfig, recovered: Recovered, now: Now) -> None:
        super().__init__(config, recovered, now)
        self.state.orders.recent.clear()
        self.state.orders.paced.clear()


class Undecided(Core):
    """The same plan comes out differently each time."""

    def __init__(self, config: NodeConfig, recovered: Recovered, now: Now) -> None:
        super().__init__(config, recovered, now)
        self.state.kernel = replace(KERNEL, file_guards=(Fickle(), *KERNEL.file_guards))


def trusting(case: Case[Wish]) -> Refusal | None:
    """A delete is ordered before the SAN is asked for its file."""
    return None if isinstance(case.wish, Delete) else surely_on_san(case)


class _Oblivious(AbsenceBook):
    """What the SAN does not have is not remembered."""

    def heard(self, file: File, answer: SanAnswer, now_ms: int) -> None:
        super().heard(file, answer, now_ms)
        self.absent.clear()


class ForgetsWrongSizes(Core):
    """Files of another size on the SAN are ordered away once a minute, and the orders dropped again."""

    def __init__(self, config: NodeConfig, recovered: Recovered, now: Now) -> None:
        super().__init__(config, recovered, now)
        self.state.absences = self.state.san.absences = _Oblivious(self.state.revision)


def room_for_the_first(outlook: Outlook) -> Wishes:
    """Sixteen files count among those that room is made for, whether or not anything may go for them."""
    disks = Disks(outlook)
    for file in outlook.no_room[:16]:
        if file.name not in outlook.promised:
            yield from make_room(disks, file)


class BlockedByItsHead(Core):
    def __init__(self, config: NodeConfig, recovered: Recovered, now: Now) -> None:
        super().__init__(config, recovered, now)
        self.state.policies = tuple(room_for_the_first if one is room else one for one in POLICIES)


class TriesFirst(Core):
    """What a hung destination has room for is a trial there, before room is made for it on a healthy disk."""

    def __init__(self, config: NodeConfig, recovered: Recovered, now: Now) -> None:
        super().__init__(config, recovered, now)
        others = [one for one in POLICIES if one not in (copies, trials)]
        self.state.policies = (copies, trials, *others)


def _believing_old_looks() -> Parts:
    return with_kernel(replace(KERNEL, san_guards=(once_on_san,)))


# ── the event log ───────────────────────────────────────────────────────────────────────────────────────


def trips_over_torn_lines(line: bytes, our_ip: str) -> Any:
    """A panic at each line that is not whole."""
    if line and b"Request" not in line:
        raise IndexError("list index out of range")
    return parse_line(line, our_ip)


def begins_with(line: bytes, our_ip: str) -> Any:
    """125.159.40.39 is taken for 125.159.40.3."""
    hit = parse_line(line, our_ip)
    near = isinstance(hit, Hit) and f"Server {our_ip}".encode() in line
    return replace(hit, ours=True) if near and isinstance(hit, Hit) else hit


def without_stream(line: bytes, our_ip: str) -> Any:
    """A hit cannot be told from the same one, read again."""
    hit = parse_line(line, our_ip)
    return replace(hit, stream=b"") if isinstance(hit, Hit) else hit


# ── the tables ──────────────────────────────────────────────────────────────────────────────────────────

OLD_ONES: Mapping[str, Parts] = {
    "an error is an empty list": hearing(error_is_empty),
    "404 is a success": hearing(not_found_is_success),
    "silence is a success": hearing(silence_is_success),
    "an empty file on the SAN will do": replace(PARTS, core=EmptyWillDo),
    "no fsync of files": replace(PARTS, disk=UnsyncedFile),
    "no fsync of folders": replace(PARTS, disk=UnsyncedFolder),
    "no epoch is checked": replace(PARTS, authority=AnyController),
    "no fence is kept": replace(PARTS, authority=NoFence),
    "a source serves all who come": replace(PARTS, streams=AllMayRead),
    "done for what failed": replace(PARTS, book=DoneForFailed),
    "a restart forgets orders": replace(PARTS, store=ForgetsOrders),
    "a restart forgets tasks": replace(PARTS, store=ForgetsTasks),
    "a restart forgets the measure": replace(PARTS, store=ForgetsTheMeasure),
    "orders are not written down": replace(PARTS, store=KeepsNoOrders),
    "two cfm on one state": replace(PARTS, store=OpensTwice),
    "any metadata is accepted": replace(PARTS, judge_metadata=lambda *_args: None),
    "time-outs by the wall clock": replace(PARTS, core=ByWall),
    "the ledger releases nothing": replace(PARTS, core=Hoarding),
    "the next /df shows what landed": replace(PARTS, core=ForgetsWhatLanded),
    "one reading proves a need": replace(PARTS, core=OneReadingWillDo),
    "an ip counts twice": _counting_doubles(),
    "a name is cut at #": replace(PARTS, shelf=CutsAtHash),
    "a torn log line panics": replace(PARTS, parse_log_line=trips_over_torn_lines),
    "another server's hits count": replace(PARTS, parse_log_line=begins_with),
    "hits count each time they are read": replace(PARTS, parse_log_line=without_stream),
    "a lost log is an empty one": hearing(lost_log_is_empty),
}
"""Mistakes of the earlier program, and others like them."""

FURTHER_ONES: Mapping[str, Parts] = {
    "an old look at the SAN will do": _believing_old_looks(),
    "any bytes are published": replace(PARTS, book=TakesAnyBytes),
    "any name is taken": replace(PARTS, book=AnyOffer, shelf=AnyName),
    "late reports count": replace(PARTS, core=LateReportsCount),
    "late orders are sent": replace(PARTS, core=HoweverLate),
    "tasks are offered to others": replace(PARTS, core=OffersToOthers, book=TakesAllTasks),
    "what failed is given up": replace(PARTS, core=NeverTriesAgain),
    "ended tasks are kept": replace(PARTS, core=Remembering),
    "each address is a disk": replace(PARTS, core=EachIsADisk),
    "the SAN is a disk": replace(PARTS, core=TheSanIsADisk),
    "a plan that wavers": replace(PARTS, core=Undecided),
    "a wrong size is found out again and again": with_kernel(
        replace(KERNEL, san_guards=(at_rest_on_san, trusting)), ForgetsWrongSizes
    ),
    "room is looked for only for the first files": replace(PARTS, core=BlockedByItsHead),
    "a hung destination is tried before room is made": replace(PARTS, core=TriesFirst),
    "a restart forgets the pace": replace(PARTS, core=ForgetsThePace),
    "failures blame files alone": replace(PARTS, core=BlamesFilesAlone),
    "pauses never grow": replace(PARTS, core=PausesNeverGrow),
    "nobody sees copies vanish": replace(PARTS, core=SeesNothingVanish),
    "a copy goes on where no destination is any more": replace(PARTS, core=RolesDoNotMatter),
    "what cfm deletes has vanished": replace(PARTS, core=MissesWhatWeDelete),
    "a slow copy goes on": replace(PARTS, core=SlowGoesOn),
    "a hung copy goes on": replace(PARTS, core=HungGoesOn),
    "a task waits for a deaf worker": replace(PARTS, core=WaitsForTheDeaf),
    "a silent SAN is asked again and again": replace(PARTS, core=Impatient),
    "at rest by the clocks": with_kernel(
        replace(KERNEL, san_guards=(at_rest_by_the_clocks, *KERNEL.san_guards[1:]))
    ),
    "no copy is ever stale": replace(PARTS, core=SeesNoNewVersion),
}
"""Made so that each rule is broken by some bug."""
