"""The controller's shell: it brings events to the core and carries out what comes back.

There is one event loop, one core and one writer.  The core says with each step what is carried out at once
and what waits for the commit; the shell obeys.  Neighbours: `core` decides, `tasks.queue` commits, `world`
answers the core's questions, `inputs` follow the files, `program` puts all of it together.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from itertools import count
from typing import Any

import structlog

from cfm.controller.act.in_turns import InTurns
from cfm.controller.act.patience import REPLY_S, Patience
from cfm.controller.act.rising import RisingFiles
from cfm.controller.act.world import SAN_PATIENCE_S, OutsideWorld
from cfm.controller.decide import events as ev
from cfm.controller.decide import questions
from cfm.controller.decide.core import Core
from cfm.controller.decide.step import Step
from cfm.controller.explain import progress
from cfm.controller.explain.progress import WorkProgress
from cfm.controller.explain.story import told
from cfm.controller.explain.trends import Trends
from cfm.fleet.client import WorkerClient
from cfm.inputs.san import SanIndex
from cfm.inputs.snapshot import Snapshot
from cfm.inputs.watching import MetadataWatch
from cfm.loop_holds import HOLDS
from cfm.model import (
    Failure,
    File,
    Hits,
    Known,
    LogState,
    Names,
    Now,
    Observed,
    SanAnswer,
    SnapshotFacts,
)
from cfm.reloading import SettingsReading
from cfm.tasks.commits import OverloadedError
from cfm.tasks.queue import Writer
from cfm.tasks.store import UNFINISHED_TASKS, TaskStore

log = structlog.get_logger(__name__)

EVENTS_KEPT = 5_000
"""Decisions that are remembered in memory, for those who ask what happened lately."""
LISTENER_BACKLOG = 1_000
LOOK_UP_TOLD_S = 1.0
"""A look-up of rising files that takes longer is told as work under way."""

_HEARD_TOGETHER = (
    ev.HeartbeatAnswer, ev.ListAnswer, ev.DiskAnswer, ev.CopyAnswer, ev.SanAnswers, ev.NamesSought,
    ev.TaskReported,
)  # fmt: skip
"""What comes by the hundred.  What is ready together is heard first, and decided about once.

A decision looks at all servers and tasks.  To decide at each answer of 300 servers held the loop for 58 s at
the start, because all of them were ready in one turn of the loop.  A report is answered when it is heard and
durable; what it makes possible is decided within some milliseconds.  Where a source has become free, that is
decided at once, and becomes durable together with the report, unless the last decision was made just before.
"""

_ASKED_OF_ALL = (ev.SendHeartbeat, ev.AskList, ev.AskDisk)
"""Questions to all servers at the same time.  They begin one after the other, and are answered like that."""
_HEARS_FOR_MS = 10
"""How long, at least, answers are only heard between two decisions about them."""
_HEARS_AT_FIRST_MS = 250
"""The same while a destination was never looked at: until then nothing may be copied, and a start goes faster
where it decides less.  The answer that ends this is decided about at once."""
_RESTS = 3
"""Before a free source is decided about, answers are only heard for so many times as long as the last
decision took."""


_PUTS_OFF = (ev.HeartbeatAnswer, ev.ListAnswer, ev.DiskAnswer, ev.TaskReported)
_PUT_OFF_MS = 250
"""A good answer that makes nothing possible only moves what is due, and nothing that it begins is due sooner
than this.  To look at all deadlines within 10 ms of each report of progress took a twentieth of the time of a
report, with a hundred tasks.
"""


def clock() -> Now:
    return Now(time.monotonic_ns() // 1_000_000, time.time_ns() // 1_000_000)


def _is_failure(event: ev.Event) -> bool:
    return isinstance(getattr(event, "answer", None), Failure)


def _frees_a_source(event: ev.Event) -> bool:
    """All bytes are there, or the task has ended."""
    report = event.report if isinstance(event, ev.TaskReported) else None
    return report is not None and (report.received or report.status not in UNFINISHED_TASKS)


class NotLeadingError(Exception):
    """Another cfm leads, or nobody knows; what was decided here is not told."""


class Controller:
    """Runs one core in real time."""

    def __init__(
        self,
        core: Core,
        store: TaskStore,
        client: WorkerClient,
        san: SanIndex,
        acts_until_ms: Callable[[], int] = lambda: questions.FOREVER_MS,
    ) -> None:
        """`acts_until_ms`: until when this cfm may act if nothing else is heard (see `decide.leadership`).
        Where that is over from the beginning, it only looks."""
        self.core = core
        self._acts_until_ms = acts_until_ms
        self.snapshot: Snapshot | None = None
        self.metadata: MetadataWatch | None = None
        """Whoever reads the metadata, and holds what a person may accept."""
        self.recent: deque[Mapping[str, Any]] = deque(maxlen=EVENTS_KEPT)
        self.listeners: set[asyncio.Queue[Mapping[str, Any]]] = set()
        self.trends = Trends(clock())
        self.writer = self._writer_on(store)
        self.deciding_s = 0.0
        """Time spent in deciding about events since the start."""
        self.settings_read = SettingsReading(clock().wall_s)
        """The last reading of the settings: at first that of the start."""
        self._world = OutsideWorld(client, san, only_looks=not self.acts)
        self._san = san
        self.rising = RisingFiles(lambda hits, files: self.feed(ev.HitsChanged(hits, files)), self._do_beside)
        self._log: LogState | None = None
        self._rejected: SnapshotFacts | None = None
        """Why the metadata was not accepted, where the last pair was not."""
        self.patience = Patience(REPLY_S)
        """For those who ask, and cannot wait for ever."""
        self._requests = count(1)
        self._waiting: dict[int, asyncio.Future[ev.Reply]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._wakes_at_ms = 0
        self._answers: InTurns[ev.Event] = InTurns(self._take)
        self._questions: InTurns[ev.Effect] = InTurns(self._ask_now, turn_s=0)
        """One in a turn: to send it takes longer than to begin."""
        self._decided_ms = self._deciding_ms = 0
        """When the last decision was made, and how long it took."""
        self._is_broken = False
        """The core failed: only a restart brings back what is certain."""
        self._group: asyncio.TaskGroup | None = None

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
            self._world.close()
            self.rising.close()

    @property
    def acts(self) -> bool:
        """May this cfm do now what only a leader may do?"""
        return clock().mono_ms < self._acts_until_ms()

    async def take_over(self, core: Core, store: TaskStore, client: WorkerClient) -> None:
        """A follower leads now, with a new core, which learns at once what the files and the SAN say.

        It begins with the lists of the follower's last plan: its own first one may take some seconds.
        """
        before = self.writer
        core.plans.take(self.core.shortlist)
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(NotLeadingError())
        self.core, self.writer = core, self._writer_on(store)
        self._world.act_by(client)
        assert self._group is not None
        self._group.create_task(self.writer.supervise())
        self.feed(ev.Tick())
        if self._log is not None:
            self.on_log(self._log)
        self.on_san(self._san.names)
        if self._rejected is not None:
            self.on_rejected(self._rejected)
        if self.snapshot is not None:
            self.on_snapshot(self.snapshot)
        await before.close()

    def _writer_on(self, store: TaskStore) -> Writer:
        return Writer(
            store,
            on_trouble=lambda why: self.feed(ev.StoreTrouble(why)),
            on_recovered=lambda: self.feed(ev.StoreRecovered()),
        )

    def feed(self, event: ev.Event) -> None:
        """Let the core decide about `event`, and see to what follows."""
        if isinstance(event, _HEARD_TOGETHER):
            self._answers.put(event)
        else:
            self._take(event)

    def _take(self, event: ev.Event) -> None:
        if self._group is None or self._is_broken:
            return
        try:
            began_s = time.perf_counter()
            if isinstance(event, _HEARD_TOGETHER):
                self._hear(event)
            else:
                self._decide(event)
            took_s = time.perf_counter() - began_s
            self.deciding_s += took_s
            HOLDS.note(type(event).__name__, took_s)
        except Exception as error:
            # Whoever brought the event, a timer or a job, would go on, with books that are in doubt.
            self._is_broken = True
            self.writer.fail(error)
            raise

    def _decide(self, event: ev.Event) -> None:
        now = clock()
        self._follow(self.core.handle(event, now))
        self._decided_ms = clock().mono_ms
        self._deciding_ms = self._decided_ms - now.mono_ms
        self._wake_at(self.core.next_wakeup_ms(now))

    def _hear(self, event: ev.Event) -> None:
        now = clock()
        self._follow(self.core.hear(event, now))
        due_ms = self._decide_after_ms(event, now)
        if due_ms <= now.mono_ms and _frees_a_source(event):
            self._decide(ev.Tick())
        elif due_ms < self._wakes_at_ms:
            self._wake_at(due_ms)

    def _decide_after_ms(self, event: ev.Event, now: Now) -> int:
        """When to decide about what was heard, at the latest."""
        if self.core.is_settled and isinstance(event, _PUTS_OFF) and not _is_failure(event):
            return now.mono_ms + _PUT_OFF_MS
        rest_ms = max(_HEARS_FOR_MS, self._deciding_ms)  # at least half of the time is for others
        if self.core.looks_first:
            return self._decided_ms + max(rest_ms, _HEARS_AT_FIRST_MS)
        if _frees_a_source(event):
            rest_ms = min(rest_ms, _RESTS * self._deciding_ms)
        return self._decided_ms + rest_ms

    def _follow(self, step: Step) -> None:
        self._carry_out(step.at_once)
        if step.changes or step.after_commit:
            self._submit(step)

    def _submit(self, step: Step) -> None:
        try:
            self.writer.submit(step.changes, lambda: self._carry_out(step.after_commit))
        except OverloadedError as error:
            # The core has decided what nobody can write: only a restart brings back what is durable.
            self.writer.fail(error)

    def _wake_at(self, mono_ms: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._wakes_at_ms = mono_ms
        wait_ms = mono_ms - clock().mono_ms
        delay_s = (wait_ms + 1) / 1000 if wait_ms > 0 else 0.0
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
        if isinstance(effect, _ASKED_OF_ALL):
            self._questions.put(effect)
        else:
            self._ask_now(effect)

    def _ask_now(self, effect: ev.Effect) -> None:
        self._do_beside(self._ask(effect, self.core))

    def _do_beside(self, work: Coroutine[Any, Any, None]) -> bool:
        """Begin something that the loop does not wait for.  Nothing is begun while cfm is ending."""
        try:
            if self._group is not None:
                self._group.create_task(work)
                return True
        except RuntimeError:  # the group is ending
            pass
        work.close()
        return False

    def _say(self, said: ev.Say) -> None:
        getattr(log, said.level)(said.event, **said.facts)
        happened = told(said.id, clock().wall_s, said.event, said.level, said.facts)
        self.recent.append(happened)
        for listener in self.listeners:
            if not listener.full():
                listener.put_nowait(happened)

    # ── requests ────────────────────────────────────────────────────────────────────────────────────────

    async def ask(self, make: Callable[[int], ev.Event], patience: Patience | None = None) -> ev.Reply:
        """The core's reply to a request, once everything before it is durable.

        Raises:
            NotLeadingError: this cfm may not promise anything now.
            TimeoutError: the reply took longer than this `patience`.
        """
        request = next(self._requests)
        reply: asyncio.Future[ev.Reply] = asyncio.get_running_loop().create_future()
        self._waiting[request] = reply
        try:
            self.feed(make(request))
            answer: ev.Reply = await (reply if patience is None else patience.wait(reply))
        except (asyncio.CancelledError, TimeoutError):
            self.feed(ev.RequestGone(request))
            raise
        finally:
            self._waiting.pop(request, None)
        if not self.acts:
            raise NotLeadingError
        return answer

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
        self._rejected = None
        self.snapshot = self._world.snapshot = snapshot
        age_ms = max(0, now.wall_ms - 1000 * snapshot.facts.read_wall_s)
        self.feed(ev.SnapshotAccepted(snapshot.facts, age_ms))
        self.rising.metadata_changed(snapshot)

    def on_rejected(self, facts: SnapshotFacts) -> None:
        self._rejected = facts
        self.feed(ev.SnapshotRejected(facts))

    def on_hits(self, hits: Hits) -> None:
        """The window moved."""
        self.rising.hits_changed(hits)

    def on_log(self, state: LogState) -> None:
        self._log = state
        self.feed(ev.LogChanged(state))

    def on_san(self, names: Observed[Names]) -> None:
        if isinstance(names, Known):
            self.feed(ev.SanIndexed(names.value, folders=self._san.folders))
        else:
            self.feed(ev.SanIndexed(None, names.why, self._san.folders))

    async def stat_on_san(self, name: str, file: File | None) -> SanAnswer:
        """One look at the SAN for somebody who asks; it changes nothing."""
        sizes = {name: file.size_bytes} if file else {}
        answers = await self._san.stat_files([name], SAN_PATIENCE_S, sizes)
        return answers[name]

    def progress(self) -> Iterator[WorkProgress]:
        """The long work that is under way, and how far it is."""
        if self.metadata is not None and (read := self.metadata.reading) is not None:
            yield progress.reading_metadata(read.done, read.total)
        for folder, done, before in self._san.listing:
            yield progress.listing_source_folder(folder, done, before)
        yield from progress.in_core(self.core)
        if self.rising.behind_s >= LOOK_UP_TOLD_S:
            yield progress.looking_up_rising(len(self.rising.missing), self.rising.behind_s)

    # ── questions to the world ──────────────────────────────────────────────────────────────────────────

    async def _ask(self, effect: ev.Effect, core: Core) -> None:
        """Bring a question or an order to whom it is for, and what comes back to the core that asked."""
        asked, acts_until_ms = clock(), self._acts_until_ms()
        event = questions.too_late(effect, asked, acts_until_ms)
        event = event or await self._heard(questions.in_time(effect, acts_until_ms), asked)
        for part in questions.parts(event):
            if core is not self.core:
                return
            self.feed(part)
            await asyncio.sleep(0)

    async def _heard(self, effect: ev.Effect, asked: Now) -> ev.Event:
        """The answer as an event.  An error of ours on the way there ends neither cfm nor the waiting."""
        try:
            answer = await questions.ask(self._world, effect, asked)
            return questions.understood(effect, answer, asked, clock())
        except Exception as error:
            log.exception("a question of cfm failed", question=type(effect).__name__)
            return questions.broken(effect, f"{type(error).__name__}: {error}", asked, clock())
