"""A whole node in virtual time, without faults: the real core, workers that do what they are told.

Stories about the controller are told on it: "a file becomes popular", "a server dies".  Every effect is
carried out after a fixed latency; time jumps from one event to the next.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from itertools import count

from cfm import __version__
from cfm.controller.decide import events as ev
from cfm.controller.decide.core import Core
from cfm.controller.decide.state import NodeConfig
from cfm.controller.decide.step import Step
from cfm.model import (
    OLD_WORKER,
    Addr,
    CopySeen,
    DiskReport,
    DiskUsage,
    Failure,
    File,
    Hits,
    Listing,
    NotOnSan,
    Now,
    OnSan,
    ProbeSight,
    SnapshotFacts,
    Status,
    Task,
    Transfer,
    Trouble,
    Unknown,
    WorkerFeatures,
)
from cfm.plan import reference
from cfm.plan.view import Rules
from cfm.wire import TaskReport
from cfm_lab.fakes.memory_store import MemoryStore

DAY_S = 1_700_000_000
LATENCY_MS = 2
ASK_AGAIN_MS = 1_000
"""After so long a worker asks again that no settings name."""
UNKNOWN_HERE = 400
SAN = "/san"
OURS = WorkerFeatures(ours=True, version=__version__, transfer=Transfer.BUILTIN, serves=True, downloads=4)
GONE = Failure(Trouble.REFUSED, "connection refused")


@dataclass
class Worker:
    """One server as it really is: the ground truth."""

    addr: Addr
    features: WorkerFeatures
    disk_bytes: int
    files: dict[str, int] = field(default_factory=dict)
    open_bytes: int = 0
    """Deleted, and not freed yet."""
    up: bool = True
    failure: Failure = GONE
    """What it answers where it is not up, does not list or does not measure."""
    lists: bool = True
    measures: bool = True
    reports: bool = True
    """Its reports reach the controller."""
    loses_delete_answers: bool = False
    refuses_deletes: bool = False
    fails: set[str] = field(default_factory=set)
    empty: bool = False
    """A source whose mount is empty: it answers 404 for every file."""
    deaf: bool = False
    """It answers, and never asks for work."""
    hangs: bool = False
    """Its downloads show no progress and do not end, though it reports."""
    loses: bool = False
    """A second hand removes what arrives."""
    limit_percent: int | None = None
    links: int = 0
    receiving: dict[int, Task] = field(default_factory=dict)

    @property
    def used_bytes(self) -> int:
        return sum(self.files.values()) + self.open_bytes

    def lose(self, name: str) -> None:
        """Somebody else removes a file."""
        self.files.pop(name, None)

    def usage(self) -> DiskUsage:
        used = self.used_bytes
        return DiskUsage(self.disk_bytes, used, max(0, self.disk_bytes - used))


class Node:
    """The world around one core."""

    def __init__(
        self,
        library: Iterable[File],
        *,
        sources: int = 2,
        destinations: int = 2,
        disk_bytes: int = 1000,
        rules: Rules | None = None,
        features: WorkerFeatures = OURS,
        transfer_ms: int = 1000,
        both: bool = False,
    ) -> None:
        """`both`: the sources are the destinations as well."""
        self.library = sorted(library, key=lambda file: file.rank)
        self.san = {file.name: file.size_bytes for file in self.library}
        self.written_ms: dict[str, int] = {}
        """When a file on the SAN was written last (wall clock); the others were written long ago."""
        self.being_written: set[str] = set()
        """Files that somebody writes all the time."""
        if not features.ours:  # an old worker is told apart from the SAN by what its list lacks
            self.san.update(dict.fromkeys(("Y1.mpg", "Y2.mpg", "Y3.mpg"), 100))
        self.san_answers = True
        self.san_silent: frozenset[str] = frozenset()
        """Files in a source folder that does not answer; the other folder does."""
        self.looks: Counter[str] = Counter()
        """How often each file was looked for on the SAN."""
        self.on_san: set[Addr] = set()
        """Workers whose `base_dir` is the source folder."""
        self.confirms = True
        """Workers answer when they are asked about one file."""
        self.carries_out = True
        """Workers delete what they are told to, whatever they answer."""
        self.delete_answers: int | Failure | None = None
        """What they answer to it; None for the truth."""
        self.frees = True
        """A deleted file frees its bytes; no viewer has it open."""
        self.cuts = True
        """Sources say that a stream is cut."""
        self.stuck = False
        """Transfers go on for ever, and show no progress."""
        self.plan_fails = ""
        """Why full plans end by an error."""
        self.plan_ms = 0
        """How long a full plan takes, beside the latency."""
        self.plans = 0
        self.transfer_ms = transfer_ms
        self.now_ms = 0
        self.wall_shift_ms = 0
        src = tuple(Addr(f"127.0.1.{i + 1}:8888") for i in range(sources))
        dst = src if both else tuple(Addr(f"127.0.2.{i + 1}:8888") for i in range(destinations))
        self.workers = {addr: Worker(addr, _of_its_own(features, addr), disk_bytes) for addr in (*src, *dst)}
        self.sources, self.destinations = src, dst
        self.config = NodeConfig(src, dst, rules or Rules())
        self.store = MemoryStore()
        self.core = Core(self.config, self.store.open(), self.now)
        self.said: list[ev.Say] = []
        self.deleted: list[tuple[Addr, str]] = []
        self.delivered: list[tuple[int, Addr, str]] = []
        self.started: list[tuple[int, Addr, str]] = []
        """(virtual ms, source, file) of every transfer that began."""
        self.replies: dict[int, ev.Reply] = {}
        self.ticks = 0
        self.asked: Counter[str] = Counter()
        """How often each kind of effect was carried out."""
        self._life = 0
        self._wake_ms = 0
        self._requests = count(1)
        self._queue: list[tuple[int, int, Callable[[], None]]] = []
        self._order = count()
        self.polls: dict[int, Addr] = {}
        for addr in dst:
            self._poll(addr)

    @property
    def now(self) -> Now:
        return Now(self.now_ms, DAY_S * 1000 + self.now_ms + self.wall_shift_ms)

    # ── driving ─────────────────────────────────────────────────────────────────────────────────────────

    def send(self, event: ev.Event) -> None:
        self.obey(self.core.handle(event, self.now))
        self._wake_ms = self.core.next_wakeup_ms(self.now)

    def obey(self, step: Step) -> None:
        """Carry out a step; here nothing has to wait long for a commit."""
        for effect in step.at_once:
            self._carry_out(effect)
        if step.changes:
            self.store.commit(step.changes)
        for effect in step.after_commit:
            self._carry_out(effect)

    def run(self, duration_ms: int) -> None:
        """Let the world go on for `duration_ms`."""
        end_ms = self.now_ms + duration_ms
        while True:
            if self._queue and self._queue[0][0] <= min(self._wake_ms, end_ms):
                self.now_ms, _, action = heapq.heappop(self._queue)
                action()
            elif self._wake_ms <= end_ms:
                self.now_ms = max(self._wake_ms, self.now_ms + 1)
                self.ticks += 1
                self.send(ev.Tick())
            else:
                self.now_ms = end_ms
                return

    def after(self, delay_ms: int, action: Callable[[], None]) -> None:
        heapq.heappush(self._queue, (self.now_ms + delay_ms, next(self._order), action))

    def answer(self, event: ev.Event, took_ms: int = 0) -> None:
        """Bring an answer after the latency, to the process that asked."""
        life = self._life
        self.after(LATENCY_MS + took_ms, lambda: self.send(event) if life == self._life else None)

    def request(self) -> int:
        return next(self._requests)

    def restart(self, rules: Rules | None = None) -> None:
        """The controller is killed and started anew; what it was asked or waited for is lost."""
        self._life += 1
        self.polls.clear()
        self.store.close()
        self.config = replace(self.config, rules=rules or self.config.rules)
        self.core = Core(self.config, self.store.open(), self.now)
        for addr in self.destinations:
            self._poll(addr)

    # ── people and inputs ───────────────────────────────────────────────────────────────────────────────

    def grade(self, library: Iterable[File] | None = None, *, age_s: int = 60) -> None:
        """Metadata is accepted."""
        if library is not None:
            self.library = sorted(library, key=lambda file: file.rank)
        facts = SnapshotFacts(
            f"s{self.now_ms}", self.now.wall_s - age_s, len(self.library), len(self.library)
        )
        if any(not worker.features.probe for worker in self.workers.values()):
            self.index()  # somebody is told apart from the SAN by what its list lacks
        self.send(ev.SnapshotAccepted(facts, age_s * 1000))

    def index(self) -> None:
        """cfm lists the source folder."""
        names = frozenset(self.san)
        self.send(ev.SanIndexed(names, folders={SAN: names}))

    def watch(self, **rising: int) -> None:
        names = {name.replace("__", "."): hits for name, hits in rising.items()}
        files = tuple(file for file in self.library if file.name in names)
        self.send(ev.HitsChanged(Hits(names), files))

    def put(self, addr: Addr, *files: File) -> None:
        """Files lie on a disk from the start."""
        self.workers[addr].files.update({file.name: file.size_bytes for file in files})

    def kill(self, addr: Addr) -> None:
        worker = self.workers[addr]
        worker.up = False
        worker.receiving.clear()
        self.polls = {request: asker for request, asker in self.polls.items() if asker != addr}

    def deafen(self, addr: Addr) -> None:
        """The worker answers all that it is asked, and asks for nothing itself."""
        self.workers[addr].deaf = True
        self.polls = {request: asker for request, asker in self.polls.items() if asker != addr}

    def revive(self, addr: Addr) -> None:
        self.workers[addr].up = True
        if addr in self.destinations:
            self._poll(addr)

    # ── carrying out ────────────────────────────────────────────────────────────────────────────────────

    def _carry_out(self, effect: ev.Effect) -> None:
        self.asked[type(effect).__name__] += 1
        if isinstance(effect, ev.Say):
            self.said.append(effect)
        elif isinstance(effect, ev.Reply):
            self.replies[effect.request] = effect
            if effect.request in self.polls:
                addr = self.polls.pop(effect.request)
                self.after(LATENCY_MS, lambda: self._offered(addr, effect))
        elif isinstance(effect, ev.StartPlan):
            self.plans += 1
            if self.plan_fails:
                self.answer(ev.PlanFailed(self.plan_fails))
            else:
                lists = reference.shortlist(self.library, effect.inputs)
                self.answer(ev.PlanReady(lists, self.plan_ms), self.plan_ms)
        elif isinstance(effect, ev.AskSan):
            self.looks.update(effect.sizes.keys())
            self.answer(ev.SanAnswers(self.now_ms, {name: self._on_san(name) for name in effect.sizes}))
        else:
            self._ask_worker(effect)

    def _on_san(self, name: str) -> OnSan | NotOnSan | Unknown:
        if not self.san_answers or name in self.san_silent:
            return Unknown("the mount does not answer", self.now_ms)
        if name not in self.san:
            return NotOnSan()
        if name in self.being_written:
            self.written_ms[name] = self.now.wall_ms
        return OnSan(f"/san/{name}", self.san[name], 1_000_000 * self.written_ms.get(name, 0))

    def listing(self, addr: Addr) -> Listing:
        """What a worker lists now."""
        return self._listing(self.workers[addr])

    def _listing(self, worker: Worker) -> Listing:
        """Workers with one disk see each other's probe files."""
        there = [other.features.probe for other in self.workers.values() if other.files is worker.files]
        features = worker.features
        return Listing(
            frozenset(worker.files),
            features.disk_id,
            features.probe,
            links=worker.links,
            probes=frozenset(there) - {""},
        )

    def _seek(self, names: frozenset[str]) -> ProbeSight:
        if not self.san_answers:
            return Unknown("the mount does not answer", self.now_ms)
        there = {self.workers[addr].features.probe for addr in self.on_san} | self.san.keys()
        return {name: SAN for name in names if name in there}

    def _ask_worker(self, effect: ev.Effect) -> None:
        asked_ms = self.now_ms
        answer: ev.Event
        match effect:
            case ev.SendHeartbeat(addr):
                worker = self.workers[addr]
                answer = ev.HeartbeatAnswer(addr, worker.features if worker.up else worker.failure)
            case ev.SeekNames(names):
                answer = ev.NamesSought(names, asked_ms, {SAN: self._seek(names)})
            case ev.AskList(addr, fence):
                worker = self.workers[addr]
                listing = self._listing(worker) if worker.up and worker.lists else worker.failure
                answer = ev.ListAnswer(addr, asked_ms, listing, fence)
            case ev.AskDisk(addr):
                worker = self.workers[addr]
                report: DiskReport | Failure = DiskReport(worker.usage(), worker.limit_percent)
                report = report if worker.up and worker.measures else worker.failure
                answer = ev.DiskAnswer(addr, asked_ms, report)
            case ev.AskCopy(addr, name):
                worker = self.workers[addr]
                seen = (
                    CopySeen(name in worker.files, worker.files.get(name))
                    if worker.up and self.confirms
                    else GONE
                )
                answer = ev.CopyAnswer(addr, name, asked_ms, seen)
            case ev.SendDelete(order):
                answer = ev.DeleteAnswer(order.id, self._delete(order.server, order.file.name))
            case ev.CutStream(_source, task_id):
                answer = ev.CutAnswer(task_id, cut=self.cuts)
            case _:
                raise AssertionError(effect)
        self.answer(answer)

    def _delete(self, addr: Addr, name: str) -> int | Failure:
        worker = self.workers[addr]
        if not worker.up:
            return GONE
        if worker.refuses_deletes:
            return 409
        there = name in worker.files
        if there and self.carries_out:
            size_bytes = worker.files.pop(name)
            worker.open_bytes += 0 if self.frees else size_bytes
            self.deleted.append((addr, name))
        if worker.loses_delete_answers:
            return Failure(Trouble.TIMEOUT, "no answer within 5 s")
        return self.delete_answers or (200 if there else 404)

    # ── workers ─────────────────────────────────────────────────────────────────────────────────────────

    def _poll(self, addr: Addr) -> None:
        worker = self.workers[addr]
        if not worker.up or worker.deaf:
            return
        request = self.request()
        self.polls[request] = addr
        holding = frozenset(worker.receiving)
        self.send(ev.NextAsked(request, addr, self.now_ms + 25_000, holding))

    def _offered(self, addr: Addr, reply: ev.Reply) -> None:
        worker = self.workers[addr]
        if worker.up:
            if isinstance(reply.body, ev.Offer):
                self._take(worker, reply.body.task)
            if reply.status == UNKNOWN_HERE:
                self.after(ASK_AGAIN_MS, lambda: self._poll(addr))
            elif addr not in self.polls.values():  # else it has asked anew since, and waits for that
                self._poll(addr)

    def _take(self, worker: Worker, task: Task) -> None:
        request = self.request()
        worker.receiving[task.id] = task
        begun = 0 if worker.features.ours else None
        self.send(ev.TaskReported(request, task.id, TaskReport(Status.WORKING, begun)))
        if self.replies[request].status != 200:
            del worker.receiving[task.id]
            return
        self.started.append((self.now_ms, task.source, task.file.name))
        if self.workers[task.source].empty:
            self.after(LATENCY_MS, lambda: self._fail(worker, task, "the source answered 404"))
            return
        self.after(self.transfer_ms, lambda: self._finish(worker, task))
        self._progress(worker, task, 1)

    def _progress(self, worker: Worker, task: Task, moved: int) -> None:
        if worker.up and task.id in worker.receiving:
            request = self.request()
            if worker.features.ours and worker.reports:
                told = 0 if self.stuck or worker.hangs else moved
                self.send(ev.TaskReported(request, task.id, TaskReport(Status.WORKING, told)))
                if self.replies[request].status != 200:
                    del worker.receiving[task.id]
                    return
            self.after(1000, lambda: self._progress(worker, task, moved + 1))

    def _fail(self, worker: Worker, task: Task, error: str) -> None:
        if worker.receiving.pop(task.id, None) is not None and worker.up:
            self.send(ev.TaskReported(self.request(), task.id, TaskReport(Status.FAILED, error=error)))

    def _finish(self, worker: Worker, task: Task) -> None:
        if worker.hangs:
            return
        if worker.receiving.pop(task.id, None) is None or not worker.up:
            return
        ours = worker.features.ours
        if task.file.name in worker.fails:
            status, error = (Status.FAILED, "the source sent other bytes") if ours else (Status.DONE, "")
            self.send(ev.TaskReported(self.request(), task.id, TaskReport(status, error=error)))
            return
        worker.files[task.file.name] = task.file.size_bytes
        self.delivered.append((self.now_ms, worker.addr, task.file.name))
        if worker.loses:
            self.after(1000, lambda: worker.lose(task.file.name))
        done = TaskReport(Status.DONE, received=ours, verified=ours)
        self.send(ev.TaskReported(self.request(), task.id, done))

    # ── asking ──────────────────────────────────────────────────────────────────────────────────────────

    def holders(self, name: str) -> list[Addr]:
        return [addr for addr in self.destinations if name in self.workers[addr].files]

    def says(self, event: str) -> list[ev.Say]:
        return [said for said in self.said if said.event == event]


def _of_its_own(features: WorkerFeatures, addr: Addr) -> WorkerFeatures:
    return replace(features, disk_id=addr, probe=f".cfw-probe-{addr}") if features.ours else features


def files(number: int, size_bytes: int = 100, prefix: str = "F") -> list[File]:
    """A library of `number` files, `F001.mpg` the most wanted."""
    return [File(f"{prefix}{i:03}.mpg", i, size_bytes, hits=1000 - i) for i in range(1, number + 1)]


OLD = OLD_WORKER
