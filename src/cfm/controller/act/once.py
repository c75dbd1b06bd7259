"""`cfm plan`: looks at the world once and finds out what cfm would do.  Nothing is changed anywhere.

The look drives the same core as the daemon, by the same events: it asks the core's questions, by the same
table (`decide.questions`), and brings the answers back.  The core is a rehearsal, so it starts no copy and
orders no delete, and it has no store; a look works beside a running cfm.  Neighbours: `loop` does the same in
earnest, `explain.report` shapes the result.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import NamedTuple, TypeVar

import structlog

from cfm.config import CfmSettings
from cfm.controller.act.from_settings import node_of, worker_client
from cfm.controller.act.world import OutsideWorld
from cfm.controller.decide import events as ev
from cfm.controller.decide import questions
from cfm.controller.decide.core import Core
from cfm.controller.decide.state import NodeConfig
from cfm.controller.decide.step import CHANGE_NOTHING
from cfm.controller.explain import report
from cfm.controller.explain.parts import Json
from cfm.errors import StateError
from cfm.fleet.client import WorkerClient
from cfm.inputs.file_system import FileSystem, RealFileSystem
from cfm.inputs.log_follower import replay
from cfm.inputs.san import SanIndex
from cfm.inputs.snapshot import Snapshot
from cfm.inputs.watching import READ_PATIENCE_S, look_once, rejected
from cfm.model import (
    Failure,
    Hits,
    Known,
    LogCondition,
    LogState,
    Measure,
    Now,
    SnapshotFacts,
)
from cfm.security import controller_credentials
from cfm.tasks.opening import store_at
from cfm.tasks.store import Recovered
from cfm.threads import HungError, LifeSign, ThreadPool

log = structlog.get_logger(__name__)

R = TypeVar("R")

SAN_S = 20.0
"""How long a look asks the SAN for single files, all questions together."""


async def plan(settings: CfmSettings, wall_s: int | None = None, disk: InputDisk | None = None) -> Json:
    """The contract's plan object, as of now or of another wall clock."""
    now = Now(time.monotonic_ns() // 1_000_000, wall_s * 1000 if wall_s else time.time_ns() // 1_000_000)
    san = SanIndex(settings.source_dirs, clock=lambda: now, on_change=lambda _names: None)
    async with worker_client(settings, controller_credentials(settings), "", 0) as client:
        look = Look(settings, client, san, now, disk or InputDisk())
        await look.run()
        return report.plan_json(look.core, now)


class InputDisk(NamedTuple):
    """Where a look reads the metadata and the event log."""

    file_system: FileSystem = RealFileSystem()
    patience_s: float = READ_PATIENCE_S
    """For so long a disk may say nothing."""


class LookWorld(OutsideWorld):
    """Whom a look asks.  It asks the SAN for `SAN_S` from its first question on."""

    _san_ends_s: float | None = None

    def san_patience_s(self) -> float:
        if self._san_ends_s is None:
            self._san_ends_s = time.monotonic() + SAN_S
        return self._san_ends_s - time.monotonic()


class Look:
    """One look: a core, and the shell that asks its questions.  Time stands still meanwhile."""

    def __init__(
        self,
        settings: CfmSettings,
        client: WorkerClient,
        san: SanIndex,
        now: Now,
        disk: InputDisk,
    ) -> None:
        self.core = Core(_node_of(settings), Recovered("", 0, 0), now, rehearsal=True)
        self._settings = settings
        self._world = LookWorld(client, san, only_looks=True)
        self._san = san
        self._now = now
        self._disk = disk
        self._group: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        """Returns when every question is answered.

        The metadata comes last: the core makes its plan as soon as there is some, and only once.
        """
        with closing(self._world):
            await self._ask_all(self._settings, self._now)

    async def _ask_all(self, settings: CfmSettings, now: Now) -> None:
        async with asyncio.TaskGroup() as self._group:
            metadata = self._group.create_task(self._read_metadata(settings, now))
            log = self._group.create_task(self._read_log(settings, now))
            self._group.create_task(self._san.look())
            self._feed(ev.Tick())
        async with asyncio.TaskGroup() as self._group:
            self._feed(_san_event(self._san))
            self._tell_metadata(metadata.result(), self._tell_log(log.result()))

    async def _read_metadata(self, settings: CfmSettings, now: Now) -> Snapshot | SnapshotFacts:
        try:
            return await self._read("the metadata", partial(_metadata, settings, now, self._disk.file_system))
        except HungError as error:
            return rejected(str(error))

    async def _read_log(self, settings: CfmSettings, now: Now) -> tuple[Hits, LogState] | None:
        try:
            return await self._read(
                "the event log", partial(_event_log, settings, now, self._disk.file_system)
            )
        except HungError as error:
            return Hits(), LogState(LogCondition.UNREADABLE, now.mono_ms, str(error))

    async def _read(self, what: str, read: Callable[[LifeSign], R]) -> R:
        """From a thread of its own, for which the program does not wait at its end."""
        with closing(ThreadPool(f"the disk of {what}", 1)) as threads:
            return await threads.run_while_alive(self._disk.patience_s, read)

    def _tell_log(self, found: tuple[Hits, LogState] | None) -> Hits:
        """The hits in the event log, once the core knows what state it is in."""
        if found is None:
            return Hits()
        hits, state = found
        self._feed(ev.LogChanged(state))
        return hits

    def _tell_metadata(self, found: Snapshot | SnapshotFacts, hits: Hits) -> None:
        if isinstance(found, SnapshotFacts):
            self._feed(ev.HitsChanged(hits))
            self._feed(ev.SnapshotRejected(found))
            return
        self._world.snapshot = found
        rising = tuple(found.files(hits.rising).values()) if hits.rising else ()
        self._feed(ev.HitsChanged(hits, rising))
        age_ms = max(0, self._now.wall_ms - 1000 * found.facts.read_wall_s)
        self._feed(ev.SnapshotAccepted(found.facts, age_ms))

    def _feed(self, event: ev.Event) -> None:
        """Let the core decide, and ask what it wants to know.  All other effects are dropped: they would
        tell somebody something, or change something."""
        assert self._group is not None
        for effect in self.core.handle(event, self._now).at_once:
            if isinstance(effect, CHANGE_NOTHING) and not self._is_over(effect):
                self._group.create_task(self._ask(effect))

    def _is_over(self, effect: ev.Effect) -> bool:
        """Is it a question to the SAN, whose time is over?"""
        return isinstance(effect, ev.AskSan) and self._world.san_patience_s() <= 0

    async def _ask(self, effect: ev.Effect) -> None:
        answer = await questions.ask(self._world, effect, self._now)
        event = questions.understood(effect, answer, self._now, self._now)
        for _ in range(self._times(event)):
            self._feed(event)

    def _times(self, event: ev.Event) -> int:
        """A server that misses its heartbeat is down for this look: it is not asked again."""
        missed = isinstance(event, ev.HeartbeatAnswer) and isinstance(event.answer, Failure)
        return self.core.state.config.misses_to_down if missed else 1


def _node_of(settings: CfmSettings) -> NodeConfig:
    """One look cannot see whether a file is still being written: it takes each file as finished."""
    node = node_of(settings)
    return replace(node, rules=replace(node.rules, san_rest_ms=0))


def _san_event(san: SanIndex) -> ev.SanIndexed:
    names = san.names
    if isinstance(names, Known):
        return ev.SanIndexed(names.value, folders=san.folders)
    return ev.SanIndexed(None, names.why, san.folders)


def _metadata(
    settings: CfmSettings, now: Now, file_system: FileSystem, sign: LifeSign
) -> Snapshot | SnapshotFacts:
    """The metadata, or the facts about why they are rejected."""
    paths = settings.grade_info_file, settings.hitcount_history_file
    return look_once(*paths, now, file_system, last_good=_last_good(settings), sign=sign)


def _last_good(settings: CfmSettings) -> Measure | None:
    """How much the metadata contained that a cfm accepted last.  Where that cannot be read, nothing is known
    of it."""
    try:
        return store_at(settings.state.url).peek().measure
    except StateError as error:
        log.warning("cannot read what the last good metadata contained", why=str(error))
        return None


def _event_log(
    settings: CfmSettings, now: Now, file_system: FileSystem, sign: LifeSign
) -> tuple[Hits, LogState] | None:
    """The hits, and the state of the log that they are from; None where no log is configured."""
    if settings.watch_dir is None or settings.watch_ip_string is None:
        return None
    term_s, base = 60 * settings.watch_term_min, settings.watch_hit_base
    folder, our_ip = settings.watch_dir, settings.watch_ip_string
    hits, status = replay(
        folder, our_ip, term_s=term_s, base=base, now=now, file_system=file_system, sign=sign
    )
    return hits, status.state
