"""A simulated cfm: the product's core and store in a process that can be killed, stopped and superseded.

It does what the product's loop does.  It handles one event at a time; questions go out at once; answers and
orders go out after the commit of everything before them.  Its witness sees all that comes in and goes out.
Neighbours: the network carries requests to and from the workers; `metadata_watch` reads the metadata.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from typing import Final, Protocol

from cfm import wire
from cfm.controller.decide import events as ev
from cfm.controller.decide import questions
from cfm.controller.decide.core import Core
from cfm.controller.decide.leadership import Leadership
from cfm.controller.decide.state import NS_PER_MS, NodeConfig
from cfm.controller.decide.step import Step
from cfm.errors import StateError, StoreFullError
from cfm.model import (
    Addr,
    DeleteOrder,
    File,
    Hits,
    LogState,
    Measure,
    Now,
    SnapshotFacts,
    Task,
    host_of,
)
from cfm.tasks.commits import CommitQueue
from cfm.tasks.store import Change, Recovered, SupersededError
from cfm.wire import TaskOffer, TaskReport
from cfm.worker.decide.fencing import Issuer
from cfm_lab.fakes.memory_store import CommittedState, MemoryStore
from cfm_lab.fakes.shared_store import SharedStore
from cfm_lab.sim.environment.network import Process, Reply
from cfm_lab.sim.environment.schedule import Clock
from cfm_lab.sim.environment.services import CfmService, WorkerService
from cfm_lab.sim.environment.shared import Environment
from cfm_lab.sim.processes.answering import SimAnswerer
from cfm_lab.sim.processes.evidence import Evidence
from cfm_lab.sim.processes.metadata_watch import Pair, SimMetadataWatch

RETRY_MS: Final = 1_000


class CfmWitness(Protocol):
    """Who is told what a cfm does."""

    def decided(self, cfm: SimCfm, event: ev.Event, changes: Sequence[Change], now: Now) -> None: ...

    def order_sent(self, cfm: SimCfm, order: DeleteOrder) -> None: ...

    def committed(self, cfm: SimCfm, changes: Sequence[Change]) -> None: ...

    def said(self, cfm: SimCfm) -> None:
        """It wrote a line into its log."""

    def recovered(self, cfm: SimCfm, found: Recovered) -> None: ...

    def metadata_accepted(self, cfm: SimCfm, pair: Pair, good: Measure | None) -> None: ...

    def report_arrives(
        self, cfm: SimCfm, worker: WorkerService, task_id: int, report: TaskReport
    ) -> None: ...


@dataclass(frozen=True, slots=True)
class Leased:
    """The lease of one of several cfm, and its handle on the state."""

    store: SharedStore
    leadership: Leadership
    now_ms: Callable[[], int]
    """The time by which the leadership counts."""

    @property
    def left_ms(self) -> int:
        """For how long it may act."""
        return self.leadership.left_ms(self.now_ms())


class SimCfm(CfmService):
    """One cfm, over all its restarts on one state."""

    def __init__(
        self, env: Environment, name: str, state: CommittedState, clock: Clock, config: NodeConfig,
        witness: CfmWitness,
    ) -> None:  # fmt: skip
        self.env = env
        self.witness = witness
        self.process = Process(name, env.schedule, up=False)
        self.state = state
        self.clock = clock
        self.config = config
        self.rng = env.rng.fork(name)
        self.store_full = False
        self.leased: Leased | None = None
        """Where this is one of several cfm: what it has of the state that they share."""
        self.is_managed = False
        """Hosts start it when they lead, and nobody else does."""
        self.no_descriptors = False
        self.core: Core | None = None
        self.evidence = Evidence()
        self.watch: SimMetadataWatch | None = None
        self.pair: Pair | None = None
        self.issuer = Issuer("", 0)
        self._requests = count(1)
        self._told_tasks: tuple[tuple[Task, ...], tuple[TaskOffer, ...]] = (), ()
        """The tasks that old workers were last told, and what they read in that list."""

    @property
    def running(self) -> bool:
        return self.process.up

    # ── the process ─────────────────────────────────────────────────────────────────────────────────────

    def start(self) -> bool:
        """Open the state and begin.  False where another cfm holds the state."""
        if self.is_managed and self.leased is None:
            return False
        env = self.env
        leased = self.leased
        try:
            if leased is None:
                store: MemoryStore = env.parts.store(self.state, wall_s=lambda: self.clock.wall_ms() // 1000)
                recovered = store.open()
            else:
                store, recovered = leased.store, leased.store.recover()
        except StateError as error:
            env.note("cfm does not start", self.process.name, error)
            return False
        self.process.up = True
        self.store = store
        self.issuer = Issuer(recovered.controller_id, recovered.epoch)
        self.pair = None
        self._queue: CommitQueue[Sequence[ev.Effect]] = CommitQueue()
        self._committing = False
        self._wake_at_ms: int | None = None
        self._due_ms = 0
        self._waiting: dict[int, Callable[[ev.Reply], None]] = {}
        self._hits = Hits()
        now = self.clock.now()
        self.evidence = Evidence(self.config, now)
        self.evidence.confirmed = bool(recovered.releases)
        salt = self.rng.fork(f"ids of start {self.incarnation}").below(NS_PER_MS)
        self.core = env.parts.core(replace(self.config, id_salt=salt), recovered, now)
        env.note("cfm starts", self.process.name, f"epoch {recovered.epoch}")
        self.witness.recovered(self, recovered)
        self.watch = SimMetadataWatch(
            env,
            self.rng,
            partial(self.process.runs_since, self.incarnation),
            self.on_pair,
            self.on_rejected,
            recovered.measure,
        )
        self.feed(ev.Tick())
        self.watch.changed()
        if env.log.hits_known:
            self.on_hits(env.hits)
        self.on_log(env.log)
        self.on_san_index(env.san.index())
        return True

    @property
    def acts_until_ms(self) -> int:
        """Until when it may act, by its own clock."""
        return questions.FOREVER_MS if self.leased is None else self.clock.mono_ms() + self.leased.left_ms

    @property
    def incarnation(self) -> int:
        return self.process.incarnation

    def kill(self) -> None:
        if not self.process.up:
            return
        self.env.note("cfm dies", self.process.name)
        self.process.end()
        self.store.crash()

    # ── the loop ────────────────────────────────────────────────────────────────────────────────────────

    def feed(self, event: ev.Event) -> None:
        """Let the core decide about an event, and carry out what follows."""
        core = self.core
        assert core is not None
        now = self.clock.now()
        self.evidence.note(event, now)
        step = core.handle(event, now)
        self.witness.decided(self, event, step.changes, now)
        incarnation = self.incarnation
        self._carry_out(step.at_once)
        if step.changes or step.after_commit:
            self._submit(step)
        if self.process.runs_since(incarnation):
            self._due_ms = core.next_wakeup_ms(now)
            self._plan_wake(self._due_ms)

    def _plan_wake(self, wake_ms: int) -> None:
        if self._wake_at_ms is not None and self._wake_at_ms <= wake_ms:
            return
        self._wake_at_ms = wake_ms
        self.env.schedule.after(max(1, self.clock.until(wake_ms)), self._wake, wake_ms, self.incarnation)

    def _wake(self, wake_ms: int, incarnation: int) -> None:
        if self.process.runs_since(incarnation) and self._wake_at_ms == wake_ms:
            self._wake_at_ms = None
            self.process.do(self._tick)

    def _tick(self) -> None:
        if self._due_ms > self.clock.mono_ms():
            self._plan_wake(self._due_ms)
        else:
            self.feed(ev.Tick())

    def later(self, delay_ms: int, call: Callable[[], None]) -> None:
        """Do something after a while, if this very process still runs then."""
        self.process.later(delay_ms, call)

    # ── the writer ──────────────────────────────────────────────────────────────────────────────────────

    def _submit(self, step: Step) -> None:
        if not self._queue.put(step.changes, step.after_commit):
            self._carry_out(step.after_commit)
        elif not self._committing:
            self._begin_commit()

    def _begin_commit(self) -> None:
        """Commit all that waits as one group, which takes a while."""
        group = self._queue.next_group()
        self._committing = group is not None
        if group is not None:
            slow = group and self.env.swarm.strikes("commit_slow")
            delay_ms = self.rng.between(2_000, 15_000) if slow else 2
            self.later(delay_ms, lambda: self._commit(group))

    def _commit(self, group: Sequence[Change]) -> None:
        if self.leased is None:
            self.store.trouble = "no space left" if self.store_full else None
        try:
            if group:
                self.store.commit(group)
        except StoreFullError as error:
            if self._queue.failed(str(error)) is not None:
                self.feed(ev.StoreTrouble(str(error)))
            self.later(RETRY_MS, lambda: self._commit(group))
            return
        except SupersededError:
            self.kill()
            return
        if self.leased is None:  # else its host tells, even where this process never hears of it
            self.witness.committed(self, group)
        self.process.do(self._durable)

    def _durable(self) -> None:
        """The group is committed."""
        if self._queue.committed():
            self.feed(ev.StoreRecovered())
        for effects in self._queue.released():
            self._carry_out(effects)
        self._begin_commit()

    def _carry_out(self, effects: Sequence[ev.Effect]) -> None:
        for effect in effects:
            if isinstance(effect, ev.Reply):
                waiting = self._waiting.pop(effect.request, None)
                if waiting is not None and self.clock.mono_ms() < self.acts_until_ms:
                    waiting(effect)
            elif isinstance(effect, ev.Say):
                self._say(effect)
            else:
                self._start(effect)

    def _say(self, said: ev.Say) -> None:
        facts = " ".join(f"{key}={value}" for key, value in said.facts.items() if key != "hits")
        self.env.note(f"{self.process.name}: {said.event}", facts)
        self.witness.said(self)

    # ── questions and orders ────────────────────────────────────────────────────────────────────────────

    def _start(self, effect: ev.Effect) -> None:
        asked = self.clock.now()
        event = questions.too_late(effect, asked, self.acts_until_ms)
        if event is not None:
            self.later(0, partial(self.feed, event))
            return
        effect = questions.in_time(effect, self.acts_until_ms)
        if isinstance(effect, ev.SendDelete):
            self.witness.order_sent(self, effect.order)
        questions.ask(SimAnswerer(self), effect, asked)(
            lambda answer: self.feed(questions.understood(effect, answer, asked, self.clock.now()))
        )

    # ── inputs ──────────────────────────────────────────────────────────────────────────────────────────

    def on_pair(self, pair: Pair, before: Measure | None) -> None:
        self.process.do(lambda: self._take_pair(pair, before))

    def _take_pair(self, pair: Pair, before: Measure | None) -> None:
        self.pair = pair
        age_ms = max(0, self.clock.wall_ms() - 1000 * pair.facts.read_wall_s)
        self.witness.metadata_accepted(self, pair, before)
        self.feed(ev.SnapshotAccepted(pair.facts, age_ms))
        self._take_hits(self._hits)

    def on_rejected(self, facts: SnapshotFacts) -> None:
        self.process.do(lambda: self.feed(ev.SnapshotRejected(facts)))

    def on_hits(self, hits: Hits) -> None:
        if self.process.up:
            self.process.do(lambda: self._take_hits(hits))

    def _take_hits(self, hits: Hits) -> None:
        self._hits = hits
        rising: tuple[File, ...] = ()
        if hits.rising and self.pair is not None:
            rising = tuple(file for file in self.pair.files if file.name in hits.rising)
        self.feed(ev.HitsChanged(hits, rising))

    def on_log(self, log: LogState) -> None:
        if self.process.up:
            state = replace(log, since_ms=self.clock.mono_ms())
            self.process.do(lambda: self.feed(ev.LogChanged(state)))

    def on_san_index(self, names: frozenset[str] | None) -> None:
        if self.process.up:
            why = "" if names is not None else "the source folder is empty or gone"
            event = ev.SanIndexed(names, why, self.env.san.folders())
            self.process.do(lambda: self.feed(event))

    # ── requests ────────────────────────────────────────────────────────────────────────────────────────

    def _request(self, make: Callable[[int], ev.Event], then: Callable[[ev.Reply], None]) -> int:
        request = next(self._requests)
        self._waiting[request] = then
        self.feed(make(request))
        return request

    def serve_next(
        self, addr: Addr, holding: frozenset[int], wait_s: int, claims: bool, reply: Reply
    ) -> None:
        """A worker of ours asks for work, and waits for it."""
        until_ms = self.clock.mono_ms() + 1000 * wait_s

        def answered(effect: ev.Reply) -> None:
            if isinstance(effect.body, ev.Offer):
                reply((self.issuer, self._offer(effect.body.task)))
            else:
                reply((self.issuer, None if effect.status == 204 else effect.status))

        self._request(lambda request: ev.NextAsked(request, addr, until_ms, holding, claims), answered)

    def serve_tasks(self, addr: Addr, reply: Reply) -> None:
        """An old worker asks for the list of tasks."""

        def answered(effect: ev.Reply) -> None:
            assert isinstance(effect.body, ev.TaskList)
            tasks = effect.body.tasks
            if tasks != self._told_tasks[0]:
                body = wire.to_json([wire.task_to_old_json(task) for task in tasks])
                self._told_tasks = tasks, wire.parse_task_list(body)[0]
            reply((self.issuer, self._told_tasks[1]))

        self._request(lambda request: ev.TasksAsked(request, host_of(addr)), answered)

    def serve_report(self, worker: WorkerService, task_id: int, report: TaskReport, reply: Reply) -> None:
        self.witness.report_arrives(self, worker, task_id, report)
        self._request(
            lambda request: ev.TaskReported(request, task_id, report),
            lambda effect: reply((self.issuer, effect.status)),
        )

    def _offer(self, task: Task) -> TaskOffer:
        """The offer that a worker reads.  Some pass through the product's JSON; both ways give the same."""
        assert self.core is not None
        lease_s = self.core.state.rules.lease_ms // 1000
        if task.id // NS_PER_MS % 16 == 0:
            message = wire.offer_to_json(task, lease_s=lease_s)
            return wire.parse_offer(wire.parse_json(wire.to_json(message)))
        return TaskOffer(
            id=task.id,
            status=task.status,
            file_name=task.file.name,
            path=task.path,
            source=task.source,
            destination=task.destination,
            copy_speed_bps=task.copy_speed_bps,
            rank=task.file.rank,
            size_bytes=task.file.size_bytes,
            lease_s=lease_s,
        )

    # ── people ──────────────────────────────────────────────────────────────────────────────────────────

    def confirm(self, server: Addr | None = None) -> None:
        """An operator releases the breakers."""
        if self.process.up and not self.process.stopped:
            self.evidence.confirmed = True
            self._request(
                lambda request: ev.BreakerReleased(request, server),
                self._confirmed,
            )

    def _confirmed(self, reply: ev.Reply) -> None:
        released = reply.body.up_to_bytes if isinstance(reply.body, ev.Released) else {}
        told = ", ".join(f"{addr} {size}" for addr, size in sorted(released.items()))
        self.env.note("operator confirms", self.process.name, reply.status, told)

    def cancel(self, task_id: int) -> None:
        if self.process.up and not self.process.stopped:
            self._request(lambda request: ev.TaskDropped(request, task_id), lambda _effect: None)
