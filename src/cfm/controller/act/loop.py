"""The controller's shell: it brings events to the core and carries out what comes back.

One event loop, one core, one writer.  Questions go out at once; what tells somebody something (answers,
orders, log lines) waits until the changes before it are committed.  Whatever can block runs elsewhere:
plans and commits in threads, the SAN in its own bounded ones.  Neighbours: `core` decides, `tasks.queue`
commits, `fleet.client` talks to workers, `inputs` follow the files, `program` puts all of it together.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import count
from typing import Any

import structlog

from cfm.controller.decide import events as ev
from cfm.controller.decide.core import Core
from cfm.controller.decide.step import Step
from cfm.fleet.client import WorkerClient
from cfm.inputs.san import SanIndex
from cfm.inputs.snapshot import Snapshot
from cfm.model import (
    CopySeen,
    Failure,
    File,
    Hits,
    Known,
    LogState,
    Now,
    Observed,
    SanAnswer,
    SnapshotFacts,
)
from cfm.plan.reduce import Reducer
from cfm.plan.shortlist import PlanInputs, Shortlist
from cfm.tasks.commits import OverloadedError
from cfm.tasks.queue import Writer
from cfm.tasks.store import TaskStore
from cfm.threads import ThreadPool

log = structlog.get_logger(__name__)

EVENTS_KEPT = 5_000
"""Decisions that are remembered in memory, for those who ask what happened lately."""
SAN_PATIENCE_S = 5.0
LISTENER_BACKLOG = 1_000


def clock() -> Now:
    return Now(time.monotonic_ns() // 1_000_000, time.time_ns() // 1_000_000)


class Controller:
    """Runs one core in real time."""

    def __init__(self, core: Core, store: TaskStore, client: WorkerClient, san: SanIndex) -> None:
        self.core = core
        self.snapshot: Snapshot | None = None
        self.recent: deque[Mapping[str, Any]] = deque(maxlen=EVENTS_KEPT)
        self.listeners: set[asyncio.Queue[Mapping[str, Any]]] = set()
        self.writer = Writer(
            store,
            on_trouble=lambda why: self.feed(ev.StoreTrouble(why)),
            on_recovered=lambda: self.feed(ev.StoreRecovered()),
        )
        self._client = client
        self._san = san
        self._planner = ThreadPool("plan", 1)
        self._reducer: tuple[Snapshot, Reducer] | None = None
        self._hits = Hits()
        self._requests = count(1)
        self._waiting: dict[int, asyncio.Future[ev.Reply]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._group: asyncio.TaskGroup | None = None
        self._carriers: Mapping[type, Callable[[Any], Awaitable[None]]] = {
            ev.SendHeartbeat: self._heartbeat,
            ev.AskList: self._list,
            ev.AskDisk: self._disk,
            ev.AskCopy: self._copy,
            ev.AskSan: self._ask_san,
            ev.SendDelete: self._delete,
            ev.CutStream: self._cut,
            ev.StartPlan: self._plan,
        }

    # ── running ─────────────────────────────────────────────────────────────────────────────────────────

    async def run(self) -> None:
        """Until cancelled, or until something breaks that must not be ignored."""
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                group.create_task(self.writer.supervise())
                self.feed(ev.Tick())
        finally:
            self._group = None
            if self._timer is not None:
                self._timer.cancel()
            self._planner.close()

    def feed(self, event: ev.Event) -> None:
        """Let the core decide about `event`, and see to what follows."""
        if self._group is None:
            return
        now = clock()
        step = self.core.handle(event, now)
        self._carry_out(step.at_once)
        if step.changes or step.after_commit:
            self._submit(step)
        self._wake_at(self.core.next_wakeup_ms(now))

    def _submit(self, step: Step) -> None:
        try:
            self.writer.submit(step.changes, lambda: self._carry_out(step.after_commit))
        except OverloadedError as error:
            # The core has decided what nobody can write: only a restart brings back what is durable.
            self.writer.fail(error)

    def _wake_at(self, mono_ms: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
        delay_s = max(0.0, (mono_ms - clock().mono_ms + 1) / 1000)
        self._timer = asyncio.get_running_loop().call_later(delay_s, self.feed, ev.Tick())

    def _carry_out(self, effects: Sequence[ev.Effect]) -> None:
        for effect in effects:
            if isinstance(effect, ev.Reply):
                waiting = self._waiting.pop(effect.request, None)
                if waiting is not None and not waiting.done():
                    waiting.set_result(effect)
            elif isinstance(effect, ev.Say):
                self._say(effect)
            else:
                self._start(effect)

    def _start(self, effect: ev.Effect) -> None:
        if self._group is not None:
            self._group.create_task(self._carry(effect))

    async def _carry(self, effect: ev.Effect) -> None:
        await self._carriers[type(effect)](effect)

    def _say(self, said: ev.Say) -> None:
        getattr(log, said.level)(said.event, **said.facts)
        happened = {"at": clock().wall_s, "event": said.event, "level": said.level, **said.facts}
        self.recent.append(happened)
        for listener in self.listeners:
            if not listener.full():
                listener.put_nowait(happened)

    # ── requests ────────────────────────────────────────────────────────────────────────────────────────

    async def ask(self, make: Callable[[int], ev.Event]) -> ev.Reply:
        """The core's reply to a request, once everything before it is durable."""
        request = next(self._requests)
        reply: asyncio.Future[ev.Reply] = asyncio.get_running_loop().create_future()
        self._waiting[request] = reply
        try:
            self.feed(make(request))
            return await reply
        except asyncio.CancelledError:
            self.feed(ev.RequestGone(request))
            raise
        finally:
            self._waiting.pop(request, None)

    async def read(self, make: Callable[[Core, Now], Any]) -> Any:
        """A value made from the state; it is shown once everything before it is durable.

        While nothing can be written it says so itself, and is shown at once: to wait would be to say nothing.
        """
        if not self.writer.trouble:
            value = make(self.core, clock())
            durable_or_hopeless = asyncio.Event()
            self.writer.submit((), durable_or_hopeless.set, patient=False)
            await durable_or_hopeless.wait()
            if not self.writer.trouble:
                return value
        return make(self.core, clock())

    # ── inputs ──────────────────────────────────────────────────────────────────────────────────────────

    def on_snapshot(self, snapshot: Snapshot) -> None:
        now = clock()
        self.snapshot = snapshot
        age_ms = max(0, now.wall_ms - 1000 * snapshot.facts.read_wall_s)
        self.feed(ev.SnapshotAccepted(snapshot.facts, age_ms))
        self.on_hits(self._hits)

    def on_rejected(self, facts: SnapshotFacts) -> None:
        self.feed(ev.SnapshotRejected(facts))

    def on_hits(self, hits: Hits) -> None:
        """The window moved: look the rising files up beside the loop, then decide."""
        self._hits = hits
        if not hits.rising or self.snapshot is None:
            self.feed(ev.HitsChanged(hits))
        elif self._group is not None:
            self._group.create_task(self._look_up(hits, self.snapshot))

    def on_log(self, state: LogState) -> None:
        self.feed(ev.LogChanged(state))

    async def _look_up(self, hits: Hits, snapshot: Snapshot) -> None:
        files = await asyncio.to_thread(snapshot.files, hits.rising)
        if hits is self._hits:
            self.feed(ev.HitsChanged(hits, tuple(files.values())))

    def on_san(self, names: Observed[frozenset[str]]) -> None:
        if isinstance(names, Known):
            self.feed(ev.SanIndexed(names.value))
        else:
            self.feed(ev.SanIndexed(None, names.why))

    async def stat_on_san(self, name: str, file: File | None) -> SanAnswer:
        """One look at the SAN for somebody who asks; it changes nothing."""
        sizes = {name: file.size_bytes} if file else {}
        answers = await self._san.stat_files([name], SAN_PATIENCE_S, sizes)
        return answers[name]

    # ── questions to the world ──────────────────────────────────────────────────────────────────────────

    async def _heartbeat(self, effect: ev.SendHeartbeat) -> None:
        self.feed(ev.HeartbeatAnswer(effect.addr, await self._client.heartbeat(effect.addr)))

    async def _list(self, effect: ev.AskList) -> None:
        asked_ms = clock().mono_ms
        answer = await self._client.list_files(effect.addr, effect.fence)
        self.feed(ev.ListAnswer(effect.addr, asked_ms, answer))

    async def _disk(self, effect: ev.AskDisk) -> None:
        asked_ms = clock().mono_ms
        self.feed(ev.DiskAnswer(effect.addr, asked_ms, await self._client.disk_usage(effect.addr)))

    async def _copy(self, effect: ev.AskCopy) -> None:
        asked_ms = clock().mono_ms
        answer: CopySeen | Failure = await self._client.see_copy(effect.addr, effect.name)
        self.feed(ev.CopyAnswer(effect.addr, effect.name, asked_ms, answer))

    async def _ask_san(self, effect: ev.AskSan) -> None:
        asked_ms = clock().mono_ms
        answers = await self._san.stat_files(effect.sizes, SAN_PATIENCE_S, effect.sizes)
        self.feed(ev.SanAnswers(asked_ms, answers))

    async def _delete(self, effect: ev.SendDelete) -> None:
        order, left_ms = effect.order, effect.before_ms - clock().mono_ms
        answer: int | Failure = ev.LATE
        if left_ms > 0:
            name, within_s = order.file.name, left_ms / 1000
            answer = await self._client.delete(order.server, order.id, name, within_s=within_s)
        self.feed(ev.DeleteAnswer(order.id, answer))

    async def _cut(self, effect: ev.CutStream) -> None:
        answer = await self._client.cut_stream(effect.source, effect.task_id)
        self.feed(ev.CutAnswer(effect.task_id, cut=answer is True))

    async def _plan(self, effect: ev.StartPlan) -> None:
        began_ms = clock().mono_ms
        shortlist = await self._planner.run(None, lambda: self._reduce(effect.inputs))
        self.feed(ev.PlanReady(shortlist, clock().mono_ms - began_ms))

    def _reduce(self, inputs: PlanInputs) -> Shortlist:
        """In the planner's thread; a new snapshot is prepared at its first plan."""
        snapshot = self.snapshot
        assert snapshot is not None
        if self._reducer is None or self._reducer[0] is not snapshot:
            self._reducer = (snapshot, Reducer(snapshot.frame))
        return self._reducer[1].shortlist(inputs)
