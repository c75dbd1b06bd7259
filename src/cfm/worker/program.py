"""`cfw run`: the worker, put together from its parts.

`run` opens the state, looks whose disk `base_dir` is, serves, fetches, and ends cleanly.  A mistake in how
the worker is set up (the state is in use, the port is taken, another worker has `base_dir`) ends the start
with a `StateError`.  Trouble in the world (a disk that is not there) is logged, and waited for.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from contextlib import AsyncExitStack, closing
from functools import partial
from pathlib import Path
from typing import Final

import structlog

from cfm.config import CfwSettings, load_cfw
from cfm.config.changes import need_restart
from cfm.errors import StateError
from cfm.jobs import Job, supervise
from cfm.logs import lost_lines
from cfm.model import Addr, Transfer, host_of
from cfm.reloading import Reloader, SettingsReading
from cfm.security import WorkerCredentials, without_credentials, worker_credentials
from cfm.signals import obey
from cfm.threads import ThreadPool
from cfm.web import WebServer
from cfm.worker.act.agent import DownloadAgent
from cfm.worker.act.disk_lock import DiskLocks, SocketDiskLocks, overlap
from cfm.worker.act.download_files import DownloadFiles, disk_threads
from cfm.worker.act.download_settings import make_book, neighbourhood, transfer_settings
from cfm.worker.act.fencing import Authority
from cfm.worker.act.library import ContentLibrary
from cfm.worker.act.link import CfmLink
from cfm.worker.act.lists import Lists
from cfm.worker.act.real_base_dir import RealBaseDir
from cfm.worker.act.shelf import DeclinedError, SharedError, Shelf
from cfm.worker.act.source_watch import SourceWatch
from cfm.worker.act.state import Memory, SqliteState, WorkerState
from cfm.worker.act.transfers import make_transfer
from cfm.worker.decide.fencing import Binding
from cfm.worker.serve.api import ACCESS_POLICY, WorkerApi, WorkerFacts
from cfm.worker.serve.content import Content
from cfm.worker.serve.metrics import WorkerMetrics
from cfm.worker.serve.streams import Streams

log = structlog.get_logger(__name__)

LOOK_EVERY_S: Final = 5.0
"""How often the worker looks at its disk.  `/hb` and `/metrics` then need not ask the disk."""
START_S: Final = 10.0
REMEMBER_S: Final = 10.0
_DISK_THREADS: Final = 8


def say_listening(addr: Addr) -> None:
    print(f"listening on {addr}", flush=True)


async def run(settings: CfwSettings, ready: Callable[[Addr], None] = say_listening) -> None:
    """Serve and fetch until SIGTERM or SIGINT.  `ready` is called with the address once it is served.

    Raises:
        StateError: the worker cannot start.
    """
    credentials = await asyncio.to_thread(worker_credentials, settings)
    async with AsyncExitStack() as stack:
        state = await SqliteState.open(settings.state.path)
        stack.push_async_callback(state.close)
        disk_locks = stack.enter_context(closing(SocketDiskLocks()))
        disk = stack.enter_context(closing(ThreadPool("base_dir", 2 * settings.streams + _DISK_THREADS)))
        sources = {
            folder: stack.enter_context(closing(ThreadPool(str(folder), 2 * settings.streams + 4)))
            for folder in settings.source_dirs
        }
        memory = await state.recall()
        checks = (_refuse_overlap(settings.base_dir, folder, pool) for folder, pool in sources.items())
        answers = dict(zip(sources, await asyncio.gather(*checks), strict=True))
        shelf = await _shelf(settings, state, memory, disk, disk_locks)
        library = ContentLibrary(shelf, disk, sources)
        watch = SourceWatch(settings.base_dir, sources, shelf)
        watch.begin(answers)
        await _run_on(settings, credentials, state, memory.binding, library, watch, ready)


async def _run_on(
    settings: CfwSettings,
    credentials: WorkerCredentials,
    state: WorkerState,
    binding: Binding | None,
    library: ContentLibrary,
    watch: SourceWatch,
    ready: Callable[[Addr], None],
) -> None:
    """Put the parts together, and run them."""
    boot_id, authority, shelf = secrets.token_hex(8), Authority(state, binding), library.shelf
    async with CfmLink(neighbourhood(settings), authority, keys=credentials.to_cfm) as link:
        transfer = make_transfer(transfer_settings(settings, credentials.to_peers))
        files = DownloadFiles(shelf, disk_threads(settings.downloads))
        agent = DownloadAgent(make_book(settings), link, transfer, files, state)
        metrics, streams = WorkerMetrics(), Streams(settings.streams)
        metrics.count_fetched(agent.counts)
        api = WorkerApi(
            facts=_facts(settings, boot_id),
            shelf=shelf,
            lists=Lists(shelf),
            disk=library.disk,
            authority=authority,
            streams=streams,
            content=Content(library, streams, metrics),
            metrics=metrics,
            receiving=lambda: agent.book.under_way,
            cfm_spoke=agent.cfm_spoke,
            leads=link.turn_to,
        )
        server = WebServer(
            api.application(),
            settings.listen_addr,
            names=(*settings.hosts, host_of(settings.name)),
            program="cfw",
            admission=credentials.admission,
            access_policy=ACCESS_POLICY,
        )
        await _serve(settings, server, api, agent, watch, ready)


def _facts(settings: CfwSettings, boot_id: str) -> WorkerFacts:
    return WorkerFacts(
        name=settings.name,
        boot_id=boot_id,
        transfer=Transfer.BUILTIN if settings.downloader_bin is None else Transfer.EXTERNAL,
        serves=bool(settings.source_dirs),
        slots=settings.streams,
        downloads=settings.downloads,
    )


# --- whose disk it is


async def _shelf(
    settings: CfwSettings, state: WorkerState, memory: Memory, disk: ThreadPool, disk_locks: DiskLocks
) -> Shelf:
    """The shelf, after a first look at its disk.  `StateError` where another worker has that disk."""
    shelf = Shelf(
        RealBaseDir(settings.base_dir),
        disk_id=memory.disk_id,
        new_id=secrets.token_hex(16),
        remember=partial(_remember, asyncio.get_running_loop(), state),
        disk_locks=disk_locks,
        limit_percent=settings.storage_usage_limit_percent,
        quota_bytes=settings.quota_bytes,
    )
    try:
        await disk.run(START_S, shelf.check)
    except SharedError as error:
        raise StateError(f"{settings.base_dir}: {error}") from error
    except OSError as error:
        log.error("base_dir cannot be used", base_dir=str(settings.base_dir), why=str(error))  # noqa: TRY400
        return shelf
    try:
        await disk.run(START_S, shelf.try_out)
    except (DeclinedError, OSError) as error:
        log.error("downloads are refused", base_dir=str(settings.base_dir), why=str(error))  # noqa: TRY400
    return shelf


def _remember(loop: asyncio.AbstractEventLoop, state: WorkerState, disk_id: str) -> None:
    """Called from a thread.  The id is durable when this returns."""
    keeping = asyncio.run_coroutine_threadsafe(state.keep_disk_id(disk_id), loop)
    try:
        keeping.result(REMEMBER_S)
    except StateError as error:
        raise OSError(f"cannot write down the disk's id: {error}") from error


async def _refuse_overlap(base_dir: Path, folder: Path, threads: ThreadPool) -> OSError | None:
    """None where the two are separate, or why that is not known yet."""
    try:
        found = await threads.run(START_S, partial(overlap, base_dir, (folder,)))
    except OSError as error:
        return error
    if found is not None:
        raise StateError(
            f"base_dir {base_dir} and the source folder {folder} are the same, or one lies in the other: "
            f"a delete in base_dir would delete the file on the SAN; name two separate folders"
        )
    return None


# --- from the start to the end


async def _serve(
    settings: CfwSettings,
    server: WebServer,
    api: WorkerApi,
    agent: DownloadAgent,
    watch: SourceWatch,
    ready: Callable[[Addr], None],
) -> None:
    ended = asyncio.Event()
    reloader = _reloader(settings, api.shelf, api.metrics)
    obey(ended, reloader.ask)
    await server.start()
    for note in settings.notes:
        log.warning(note)
    if (said := without_credentials(settings.security, server.addr)) is not None:
        log.warning(said)
    ready(server.addr)
    jobs = [
        # The book of downloads is in doubt after an error: what is durable is read again at the next start.
        Job("downloads", agent.run, is_core=True),
        Job("disk", partial(_watch_disk, api, server)),
        Job("source folders", watch.run),
        Job("settings", reloader.run),
    ]
    stopping = asyncio.create_task(_stop_serving(ended, api, server))
    try:
        await supervise(jobs, ended, on_change=api.metrics.job_changed)
    finally:
        ended.set()
        await stopping


async def _stop_serving(ended: asyncio.Event, api: WorkerApi, server: WebServer) -> None:
    """Once the worker is told to end; its jobs end at the same time."""
    await ended.wait()
    api.streams.cut_all()
    await server.stop()


def _reloader(settings: CfwSettings, shelf: Shelf, metrics: WorkerMetrics) -> Reloader[CfwSettings]:
    """On SIGHUP: the limit may change while the worker runs."""

    def take(fresh: CfwSettings, _by: str) -> tuple[str, ...]:
        limit_percent = fresh.storage_usage_limit_percent
        log.info("read the disk limit again", was_percent=shelf.limit_percent, now_percent=limit_percent)
        shelf.limit_percent = limit_percent
        return need_restart(settings, fresh, lambda one: one.storage_usage_limit_percent)

    def tell(read: SettingsReading) -> None:
        metrics.settings_refused.set(bool(read.refused))
        metrics.restart_needed.set(bool(read.need_restart))
        metrics.settings_read_at.set(read.at_s)

    return Reloader(settings.file, load_cfw, take, tell)


async def _watch_disk(api: WorkerApi, server: WebServer) -> None:
    """Look at the disk now and then, and log when it disappears or comes back."""
    trouble = None if api.shelf.seen_disk_id else "not found at the start"
    while True:
        found = await _look_at_disk(api)
        if (found is None) != (trouble is None):
            if found is None:
                log.info("base_dir can be used again")
            else:
                log.error("base_dir cannot be used", why=found)
        trouble = found
        api.metrics.connections.set(server.connections)
        api.metrics.turned_away.set(server.turned_away)
        api.metrics.lost_lines.set(lost_lines())
        await asyncio.sleep(LOOK_EVERY_S)


async def _look_at_disk(api: WorkerApi) -> str | None:
    """What is wrong with the disk; None where nothing is wrong."""
    try:
        usage = await api.disk.run(START_S, api.shelf.usage)
    except OSError as error:
        api.metrics.disk_readable.set(0)
        return str(error)
    api.metrics.disk_readable.set(1)
    api.metrics.disk_used.set(usage.used_bytes)
    api.metrics.disk_avail.set(usage.avail_bytes)
    api.metrics.disk_arriving.set(usage.arriving_bytes)
    api.metrics.disk_limit.set(api.shelf.limit_percent / 100)
    return None
