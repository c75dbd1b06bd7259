"""`cfm run`: the controller, put together from its parts.

What is wrong with us (the state in use, the port taken) ends the start with one clear sentence; what is
wrong with the world (a folder that is not there, a silent server) is said, and waited for.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine, Sequence
from typing import Any, TypeAlias

import structlog

from cfm import wire
from cfm.config import CfmSettings, SettingsFileError, load_cfm
from cfm.controller.act.from_settings import node_of, rules_of, worker_client
from cfm.controller.act.loop import Controller, clock
from cfm.controller.act.teller import Teller
from cfm.controller.decide import events as ev
from cfm.controller.decide.core import Core
from cfm.controller.serve.api import ACCESS_POLICY, ControllerApi
from cfm.controller.serve.metrics import ControllerMetrics
from cfm.inputs.log_follower import LogFollower
from cfm.inputs.san import SanIndex
from cfm.inputs.snapshot import Snapshot
from cfm.inputs.watching import MetadataWatch
from cfm.model import Hits, LogState, Observed, SnapshotFacts
from cfm.security import ControllerCredentials, controller_credentials, status_of, without_credentials
from cfm.tasks.sqlite_store import SqliteStore
from cfm.tasks.store import Recovered, TaskStore
from cfm.web import WebServer

log = structlog.get_logger(__name__)

HISTORY_KEPT_S = 30 * 86_400
PRUNE_EVERY_S = 3_600.0
Job: TypeAlias = Coroutine[Any, Any, None]


async def run(settings: CfmSettings) -> None:
    """Serve and decide until SIGTERM or SIGINT; `StateError` where that cannot begin."""
    credentials = await asyncio.to_thread(controller_credentials, settings)
    store = SqliteStore(settings.state.path)
    recovered = await asyncio.to_thread(store.open)
    try:
        await _run_on(settings, credentials, store, recovered)
    finally:
        await asyncio.to_thread(store.close)


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
        )
        follower = _follower(settings, late)
        metrics = ControllerMetrics(controller, follower)
        told = {wire.CONTROLLER: recovered.controller_id, wire.EPOCH: str(recovered.epoch)}
        said = status_of(settings.security, settings.listen_addr)
        api = ControllerApi(controller, metrics, Teller(controller, store), told, said)
        server = WebServer(
            api.application(),
            settings.listen_addr,
            names=settings.servers.hosts,
            admission=credentials.admission,
            access_policy=ACCESS_POLICY,
        )
        await server.start()
        try:
            jobs = [controller.run(), watch.run(), san.run(), _prune(store)]
            if follower is not None:
                jobs.append(follower.run())
            await _until_told(settings, controller, server, jobs)
        finally:
            await server.stop()
            await controller.writer.close()


class _Late:
    """Inputs are made before the controller that they call back."""

    controller: Controller

    def on_san(self, names: Observed[frozenset[str]]) -> None:
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


async def _until_told(
    settings: CfmSettings, controller: Controller, server: WebServer, jobs: Sequence[Job]
) -> None:
    """Run until a signal ends us, or one of the jobs breaks."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    loop.add_signal_handler(signal.SIGHUP, _read_rules_again, settings, controller)
    for note in settings.notes:
        log.warning(note)
    if (said := without_credentials(settings.security, server.addr)) is not None:
        log.warning(said)
    running = [asyncio.create_task(job) for job in jobs]
    for task in running:
        task.add_done_callback(lambda _task: ended.set())
    print(f"listening on {server.addr}", flush=True)
    await ended.wait()
    log.info("stopping")
    for task in running:
        task.cancel()
    for result in await asyncio.gather(*running, return_exceptions=True):
        if isinstance(result, Exception):
            raise result


def _read_rules_again(settings: CfmSettings, controller: Controller) -> None:
    """On SIGHUP: limits, brakes, prefixes and `deletes` may change while we run."""
    if settings.file is None:
        return
    try:
        fresh = load_cfm(settings.file)
    except SettingsFileError as error:
        log.error("the settings stay as they are", why=str(error))  # noqa: TRY400 - the text says it all
        return
    controller.feed(ev.RulesChanged(rules_of(fresh)))
    if fresh.servers.addresses != settings.servers.addresses:
        log.warning("other servers are taken in at the next start only")


async def _prune(store: TaskStore) -> None:
    """Forget what ended long ago."""
    while True:
        await asyncio.to_thread(store.prune, clock().wall_s - HISTORY_KEPT_S)
        await asyncio.sleep(PRUNE_EVERY_S)
