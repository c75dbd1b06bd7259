"""`cfm run`: the controller, put together from its parts.

What is wrong with us (the state in use, the port taken) ends the start with one clear sentence; what is
wrong with the world (a folder that is not there, a silent server) is said, and waited for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from functools import partial

import structlog

from cfm import wire
from cfm.config import CfmSettings
from cfm.controller.act.condition_watch import watch_conditions
from cfm.controller.act.from_settings import node_of, worker_client
from cfm.controller.act.loop import Controller, clock
from cfm.controller.act.own_settings import OwnSettings
from cfm.controller.act.sampling import Sampling
from cfm.controller.act.state_care import Kept, forget_old, watch_log, watch_lost_lines
from cfm.controller.act.teller import Teller
from cfm.controller.decide import events as ev
from cfm.controller.decide.core import Core
from cfm.controller.decide.own_troubles import OwnTroubleKind
from cfm.controller.serve.api import ACCESS_POLICY, ControllerApi
from cfm.controller.serve.metrics import ControllerMetrics
from cfm.errors import StateError
from cfm.inputs.log_follower import LogFollower
from cfm.inputs.san import SanIndex
from cfm.inputs.snapshot import Snapshot
from cfm.inputs.watching import MetadataWatch
from cfm.jobs import Job, supervise
from cfm.logs import lost_lines
from cfm.model import Hits, LogState, Names, Observed, SnapshotFacts
from cfm.reloading import Reloader
from cfm.security import ControllerCredentials, controller_credentials, status_of, without_credentials
from cfm.signals import obey
from cfm.tasks.sqlite_store import SqliteStore
from cfm.tasks.store import Recovered, TaskStore
from cfm.threads import HungError, ThreadPool
from cfm.web import WebServer

log = structlog.get_logger(__name__)

CLOSING_S = 1.0


async def run(settings: CfmSettings) -> None:
    """Serve and decide until SIGTERM or SIGINT; `StateError` where that cannot begin."""
    if settings.state.is_shared:
        raise StateError("cfm does not run on PostgreSQL yet: name an SQLite file in state.url")
    credentials = await asyncio.to_thread(controller_credentials, settings)
    store = SqliteStore(settings.state.path)
    recovered = await asyncio.to_thread(store.open)
    try:
        await _run_on(settings, credentials, store, recovered)
    finally:
        # A commit may hang on its disk, and holds the store.  The end of the process gives it up as well.
        with suppress(HungError):
            await ThreadPool("the state", 1).run(CLOSING_S, store.close)


async def _run_on(
    settings: CfmSettings, credentials: ControllerCredentials, store: TaskStore, recovered: Recovered
) -> None:
    late = _Late()
    san = SanIndex(settings.source_dirs, clock=clock, on_change=late.on_san)
    identity = (recovered.controller_id, recovered.epoch)
    async with worker_client(settings, credentials, *identity) as client:
        controller = Controller(Core(node_of(settings), recovered, clock()), store, client, san)
        late.controller = controller
        watch = MetadataWatch(
            settings.grade_info_file,
            settings.hitcount_history_file,
            clock=clock,
            on_snapshot=late.on_snapshot,
            on_rejected=late.on_rejected,
            last_good=recovered.measure,
            reread_s=settings.watcher.event_timeout_sec,
        )
        controller.metadata = watch
        follower = _follower(settings, late)
        metrics = ControllerMetrics(controller, follower)
        told = {wire.CONTROLLER: recovered.controller_id, wire.EPOCH: str(recovered.epoch)}
        said = status_of(settings.security, settings.listen_addr)
        own = OwnSettings(settings, controller)
        api = ControllerApi(controller, metrics, Teller(controller, store), own, told, said)
        server = WebServer(
            api.application(),
            settings.listen_addr,
            names=settings.servers.hosts,
            admission=credentials.admission,
            access_policy=ACCESS_POLICY,
        )
        await server.start()
        try:
            kept = Kept(86_400 * settings.state.history_days, settings.state.history_bytes)
            jobs = _jobs(controller, store, watch, san, follower, own.reloader, kept)
            await _until_told(settings, controller, server, own.reloader, jobs)
        finally:
            await server.stop()
            await controller.writer.close()


class _Late:
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


def _follower(settings: CfmSettings, late: _Late) -> LogFollower | None:
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


def _jobs(
    controller: Controller,
    store: TaskStore,
    watch: MetadataWatch,
    san: SanIndex,
    follower: LogFollower | None,
    reloader: Reloader[CfmSettings],
    kept: Kept,
) -> list[Job]:
    """All that runs beside serving.  Only the controller itself may not fail."""
    tell = partial(_tell, controller)
    # One of them may hang for long, and so may the other; a job that is started again finds the same threads.
    threads = ThreadPool("the state", 2)
    jobs = [
        Job("controller", controller.run, is_core=True),
        Job("metadata", watch.run),
        Job("source folders", san.run),
        Job("settings", reloader.run),
        Job("conditions", partial(watch_conditions, controller)),
        Job("pictures", Sampling(controller, follower).run),
        Job(
            "forgetting old tasks",
            partial(forget_old, store, threads, controller.writer, lambda: clock().wall_s, kept),
        ),
        Job(
            "lost lines", partial(watch_lost_lines, lost_lines, partial(tell, OwnTroubleKind.LINES_LOST, ""))
        ),
        Job(
            "log of the state",
            partial(watch_log, store, threads, partial(tell, OwnTroubleKind.STATE_LOG_LARGE, "")),
        ),
    ]
    return jobs if follower is None else [*jobs, Job("event log", follower.run)]


def _tell(controller: Controller, kind: OwnTroubleKind, subject: str, why: str) -> None:
    controller.feed(ev.OwnTrouble(kind, subject, why))


async def _until_told(
    settings: CfmSettings,
    controller: Controller,
    server: WebServer,
    reloader: Reloader[CfmSettings],
    jobs: Sequence[Job],
) -> None:
    """Run until a signal ends us, or the controller breaks."""
    ended = asyncio.Event()
    obey(ended, reloader.ask)
    for note in settings.notes:
        log.warning(note)
    if (said := without_credentials(settings.security, server.addr)) is not None:
        log.warning(said)
    print(f"listening on {server.addr}", flush=True)
    await supervise(jobs, ended, on_change=partial(_tell, controller, OwnTroubleKind.JOB_FAILING))
