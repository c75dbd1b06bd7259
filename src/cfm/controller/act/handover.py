"""`cfm handover`: a node goes from the earlier cfm to ours, or back.  cfm does not run meanwhile.

From the earlier cfm: the tasks on its list are written into our state, so that a copy that an old worker
still runs is taken over and not made twice.  To the earlier cfm: our unfinished tasks end, and our workers
are freed, because a worker that belongs to us obeys nobody else.  Once the earlier cfm runs again, the tasks
that it remembers from long ago are taken off its list: they would hold their servers until its time limit.

Each way may be gone again and again: what is done already is left as it is.  Neighbours: `cli.handover` shows
what was done; `program` runs cfm.
"""

from __future__ import annotations

import asyncio
import http.client
import stat
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from cfm import wire
from cfm.config import CfmSettings
from cfm.controller.act.from_settings import worker_client
from cfm.errors import CfmError
from cfm.fleet.client import WorkerClient
from cfm.model import Addr, Failure, File, Status, Task
from cfm.security import NO_KEYS, connect_here, controller_credentials
from cfm.tasks.opening import store_at
from cfm.tasks.store import UNFINISHED_TASKS, PutTask, Recovered, StateStore
from cfm.threads import ThreadPool
from cfm.wire import TaskOffer

ANSWER_S: Final = 5.0
SAN_S: Final = 20.0
"""How long the sizes of all files on the old list are looked up."""
SAN_THREADS: Final = 8
MOST_BYTES: Final = 16 << 20
_GONE_BACK: Final = "the node went back to the earlier cfm"
_TAKEN_OVER: Final = "taken over from the earlier cfm"


@dataclass(slots=True)
class WayBack:
    """What was done on the way to the earlier cfm."""

    freed: list[Addr] = field(default_factory=list)
    """Workers of ours that belong to no controller now."""
    old: list[Addr] = field(default_factory=list)
    """Servers with an old cfw: nothing is to be done there."""
    not_freed: dict[Addr, str] = field(default_factory=dict)
    """Servers that could not be asked or refused, and why."""
    ended_tasks: list[Task] = field(default_factory=list)
    """Tasks of ours that were not over."""
    old_cfm_runs: bool = False
    removed_tasks: list[int] = field(default_factory=list)
    """Tasks of long ago that were taken off the list of the earlier cfm."""


@dataclass(slots=True)
class WayHere:
    """What was done on the way from the earlier cfm."""

    taken_over: list[Task] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    """Files whose copies run and cannot be taken over, and why."""


# --- to the earlier cfm


async def to_old(settings: CfmSettings) -> WayBack:
    """Free our workers, and end our tasks.  If the earlier cfm runs already, clean its list.

    Raises:
        CfmError: our cfm runs, or its state cannot be used.
    """
    done = WayBack()
    store = store_at(settings.state.url)
    listed = await asyncio.to_thread(_listed, settings.listen_addr)
    if listed is None:
        recovered = await asyncio.to_thread(store.open)
    else:
        done.old_cfm_runs = True
        recovered = await asyncio.to_thread(store.peek)
        await asyncio.to_thread(_clean_list, settings.listen_addr, listed, store.opened_s(), done)
    try:
        identity = (recovered.controller_id, recovered.epoch)
        async with worker_client(settings, controller_credentials(settings), *identity) as client:
            await asyncio.gather(*(_free(client, addr, done) for addr in settings.servers.addresses))
        done.ended_tasks = _ended(recovered, int(time.time()))
        if done.ended_tasks:
            await asyncio.to_thread(_write_down, store, done.ended_tasks, is_open=listed is None)
    finally:
        await asyncio.to_thread(store.close)
    return done


def _listed(addr: Addr) -> tuple[TaskOffer, ...] | None:
    """The list of the earlier cfm; None where nobody listens yet."""
    try:
        return OldCfm(addr).tasks()
    except OSError:
        return None


def _clean_list(addr: Addr, listed: Iterable[TaskOffer], before_s: int, done: WayBack) -> None:
    """Take the tasks that are older than the last start of our cfm off the list of the earlier one."""
    for task in listed:
        is_stale = task.id < before_s * 10**9 and task.status is not Status.DONE
        if is_stale and OldCfm(addr).remove(task.id):
            done.removed_tasks.append(task.id)


def _write_down(store: StateStore, tasks: Iterable[Task], *, is_open: bool) -> None:
    if not is_open:
        store.open()
    store.commit([PutTask(task) for task in tasks])


async def _free(client: WorkerClient, addr: Addr, done: WayBack) -> None:
    features = await client.heartbeat(addr)
    if isinstance(features, Failure):
        done.not_freed[addr] = features.detail or str(features.trouble)
    elif not features.ours:
        done.old.append(addr)
    else:
        released = await client.release(addr)
        if released is True:
            done.freed.append(addr)
        else:
            why = "it belongs to another cfm" if released is False else released.detail
            done.not_freed[addr] = why


def _ended(recovered: Recovered, now_s: int) -> list[Task]:
    return [
        replace(task, status=Status.CANCELLED, changed_s=now_s, ended_why=_GONE_BACK)
        for task in recovered.tasks
        if task.status in UNFINISHED_TASKS
    ]


# --- from the earlier cfm


async def from_old(settings: CfmSettings) -> WayHere:
    """Write the tasks of the earlier cfm, which runs, into our state.

    Raises:
        CfmError: no earlier cfm answers at `listen_addr`, or our state cannot be used.
    """
    try:
        listed = await asyncio.to_thread(OldCfm(settings.listen_addr).tasks)
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise CfmError(f"no earlier cfm answers at {settings.listen_addr} ({why}): is it running?") from error
    done = WayHere()
    wanted = list(_to_take_over(settings, listed, done))
    sizes = await _sizes([Path(offer.path) for offer in wanted])
    store = store_at(settings.state.url)
    recovered = await asyncio.to_thread(store.open)
    try:
        known = {task.id for task in recovered.tasks}
        for offer in wanted:
            size_bytes = sizes.get(Path(offer.path))
            if size_bytes is None:
                done.left_out[offer.file_name] = f"{offer.path} cannot be seen here"
            elif offer.id not in known:
                done.taken_over.append(_task(offer, size_bytes, int(time.time())))
        await asyncio.to_thread(store.commit, [PutTask(task) for task in done.taken_over])
    finally:
        await asyncio.to_thread(store.close)
    return done


def _to_take_over(settings: CfmSettings, listed: Sequence[TaskOffer], done: WayHere) -> Iterator[TaskOffer]:
    seen: set[str] = set()
    for offer in listed:
        if offer.status not in UNFINISHED_TASKS or offer.file_name in seen:
            continue
        seen.add(offer.file_name)
        servers = settings.servers
        if offer.source in servers.sources and offer.destination in servers.destinations:
            yield offer
        else:
            done.left_out[offer.file_name] = "cfm.yml does not name both of its servers"


async def _sizes(paths: Sequence[Path]) -> dict[Path, int]:
    """The sizes of these files.  A file that does not answer in time has none."""
    pool = ThreadPool("the SAN", SAN_THREADS, waiting_each=len(paths))
    try:
        sizes = await asyncio.gather(*(_size_of(pool, path) for path in paths))
    finally:
        pool.close()
    return {path: size for path, size in zip(paths, sizes, strict=True) if size}


async def _size_of(pool: ThreadPool, path: Path) -> int | None:
    try:
        found = await pool.run(SAN_S, path.stat)
    except OSError:
        return None
    return found.st_size if stat.S_ISREG(found.st_mode) else None


def _task(offer: TaskOffer, size_bytes: int, now_s: int) -> Task:
    return Task(
        id=offer.id,
        status=offer.status,
        created_s=offer.id // 10**9,
        changed_s=now_s,
        file=File(offer.file_name, offer.rank, size_bytes),
        path=offer.path,
        source=offer.source,
        destination=offer.destination,
        copy_speed_bps=offer.copy_speed_bps,
        reason=_TAKEN_OVER,
    )


# --- the earlier cfm on the wire


class OldCfm:
    """The earlier cfm at an address of this machine.  Each call is one request."""

    def __init__(self, addr: Addr) -> None:
        self._addr = addr

    def tasks(self) -> tuple[TaskOffer, ...]:
        """Its task list.

        Raises:
            OSError: nobody answers.
            CfmError: somebody else answers.
        """
        status, headers, body = self._ask("GET", "/tasks")
        if wire.CONTROLLER in headers:
            raise CfmError(f"our own cfm runs at {self._addr}: stop it first")
        if status != http.client.OK:
            raise CfmError(f"{self._addr} answered {status}, which the earlier cfm does not")
        try:
            return wire.parse_task_list(body)[0]
        except wire.WireError as error:
            raise CfmError(f"{self._addr} does not answer as the earlier cfm does: {error}") from error

    def remove(self, task_id: int) -> bool:
        """Take a task off its list."""
        try:
            return self._ask("DELETE", f"/tasks/{task_id}")[0] == http.client.OK
        except OSError:
            return False

    def _ask(self, method: str, path: str) -> tuple[int, frozenset[str], bytes]:
        connection = connect_here(self._addr, NO_KEYS, ANSWER_S)
        try:
            connection.request(method, path)
            answer = connection.getresponse()
            return answer.status, frozenset(answer.headers.keys()), answer.read(MOST_BYTES)
        except http.client.HTTPException as error:
            raise CfmError(f"{self._addr} does not answer as a cfm does ({error!r})") from error
        finally:
            connection.close()
