"""The parts of a running controller: what it reads, and what runs beside serving.

Neighbours: `program` puts one cfm together from these, `several` one of several cfm.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import structlog
from aiohttp.typedefs import Middleware

from cfm.config import CfmSettings
from cfm.controller.act.condition_watch import ConditionWatch
from cfm.controller.act.loop import Controller, clock
from cfm.controller.act.own_settings import OwnSettings
from cfm.controller.act.sampling import Sampling
from cfm.controller.act.state_care import Kept, forget_old, watch_log, watch_lost_lines
from cfm.controller.decide import events as ev
from cfm.controller.decide.own_troubles import OwnTroubleKind
from cfm.controller.serve.api import ACCESS_POLICY, ControllerApi
from cfm.inputs.log_follower import LogFollower
from cfm.inputs.san import SanIndex
from cfm.inputs.snapshot import Snapshot
from cfm.inputs.watching import MetadataWatch
from cfm.jobs import Job, supervise
from cfm.logs import lost_lines
from cfm.model import Hits, LogState, Measure, Names, Observed, SnapshotFacts
from cfm.reloading import Reloader
from cfm.security import ControllerCredentials, without_credentials
from cfm.signals import obey
from cfm.tasks.store import TaskStore
from cfm.threads import ThreadPool
from cfm.web import WebServer

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Inputs:
    """Whatever is read of files, and brought to the controller."""

    late: Late
    san: SanIndex
    watch: MetadataWatch
    follower: LogFollower | None

    def serve(self, controller: Controller) -> None:
        """From now on this controller hears of what is read."""
        self.late.controller = controller
        controller.metadata = self.watch

    def jobs(self) -> list[Job]:
        jobs = [Job("metadata", self.watch.run), Job("source folders", self.san.run)]
        return jobs if self.follower is None else [*jobs, Job("event log", self.follower.run)]


def inputs_of(settings: CfmSettings, last_good: Measure | None) -> Inputs:
    """What the settings name.  `last_good` is the measure of the metadata that was in force last."""
    late = Late()
    san = SanIndex(settings.source_dirs, clock=clock, on_change=late.on_san)
    watch = MetadataWatch(
        settings.grade_info_file,
        settings.hitcount_history_file,
        clock=clock,
        on_snapshot=late.on_snapshot,
        on_rejected=late.on_rejected,
        last_good=last_good,
        reread_s=settings.watcher.event_timeout_sec,
    )
    return Inputs(late, san, watch, _follower(settings, late))


class Late:
    """Inputs are made before the controller that they call back."""

    controller: Controller

    def on_san(self, names: Observed[Names]) -> None:
        self.controller.on_san(names)

    def on_snapshot(self, snapshot: Snapshot) -> None:
        self.controller.on_snapshot(snapshot)

    def on_rejected(self, facts: SnapshotFacts) -> None:
        self.controller.on_rejected(facts)

    def on_hits(self, hits: Hits) -> None:
        self.controller.on_hits(hits)

    def on_log(self, state: LogState) -> None:
        self.controller.on_log(state)


def _follower(settings: CfmSettings, late: Late) -> LogFollower | None:
    """None where the settings name no log: then nothing rises."""
    if settings.watch_dir is None or settings.watch_ip_string is None:
        log.warning("no event log is followed: set watch_dir and watch_ip_string", file=str(settings.file))
        return None
    return LogFollower(
        settings.watch_dir,
        settings.watch_ip_string,
        term_s=60 * settings.watch_term_min,
        base=settings.watch_hit_base,
        clock=clock,
        on_hits=late.on_hits,
        on_state=late.on_log,
    )


def jobs_of(controller: Controller, inputs: Inputs, own: OwnSettings) -> list[Job]:
    """All that runs beside serving, whoever leads.  Only the controller itself may not fail."""
    return [
        Job("controller", controller.run, is_core=True),
        *inputs.jobs(),
        Job("settings", own.reloader.run),
        Job("conditions", ConditionWatch(controller).run),
        Job("pictures", Sampling(controller, inputs.follower).run),
        Job(
            "lost lines",
            partial(watch_lost_lines, lost_lines, partial(tell, controller, OwnTroubleKind.LINES_LOST, "")),
        ),
    ]


def care_of(settings: CfmSettings, controller: Controller, store: TaskStore) -> list[Job]:
    """What whoever leads does for the state."""
    # One of them may hang for long, and so may the other; a job that is started again finds the same threads.
    threads = ThreadPool("the state", 2)
    kept = Kept(86_400 * settings.state.history_days, settings.state.history_bytes)
    return [
        Job(
            "forgetting old tasks",
            partial(forget_old, store, threads, controller.writer, lambda: clock().wall_s, kept),
        ),
        Job(
            "log of the state",
            partial(watch_log, store, threads, partial(tell, controller, OwnTroubleKind.STATE_LOG_LARGE, "")),
        ),
    ]


async def keep(jobs: Sequence[Job], controller: Controller, told_to_end: asyncio.Event) -> None:
    """Run the jobs until told to end.  The controller hears of each that fails, and that it is well again."""
    await supervise(jobs, told_to_end, on_change=partial(tell, controller, OwnTroubleKind.JOB_FAILING))


def tell(controller: Controller, kind: OwnTroubleKind, subject: str, why: str) -> None:
    controller.feed(ev.OwnTrouble(kind, subject, why))


def server_of(
    settings: CfmSettings,
    credentials: ControllerCredentials,
    api: ControllerApi,
    middlewares: Sequence[Middleware] = (),
) -> WebServer:
    app = api.application()
    app.middlewares.extend(middlewares)
    return WebServer(
        app,
        settings.listen_addr,
        names=settings.servers.hosts,
        admission=credentials.admission,
        access_policy=ACCESS_POLICY,
    )


async def until_told(
    ended: asyncio.Event,
    settings: CfmSettings,
    controller: Controller,
    server: WebServer,
    reloader: Reloader[CfmSettings],
    jobs: Sequence[Job],
) -> None:
    """Run until a signal sets `ended`, or the controller breaks, which does not set it."""
    over = asyncio.Event()
    obey(ended, reloader.ask)
    told = asyncio.create_task(ended.wait())
    told.add_done_callback(lambda _: over.set())
    for note in settings.notes:
        log.warning(note)
    if (said := without_credentials(settings.security, server.addr)) is not None:
        log.warning(said)
    print(f"listening on {server.addr}", flush=True)
    try:
        await keep(jobs, controller, over)
    finally:
        told.cancel()
