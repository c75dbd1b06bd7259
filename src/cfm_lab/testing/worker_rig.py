"""The serving half of a worker in this process, on folders of the test and a free loopback port.

Everything in it is real, except that it downloads nothing and keeps its state in memory.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from cfm.model import Addr, Transfer
from cfm.security import EVERYBODY, Admission
from cfm.threads import ThreadPool
from cfm.web import Limits, serve
from cfm.worker.act.base_dir import BaseDir
from cfm.worker.act.fencing import Authority
from cfm.worker.act.library import ContentLibrary
from cfm.worker.act.lists import Lists
from cfm.worker.act.real_base_dir import RealBaseDir
from cfm.worker.act.shelf import Shelf
from cfm.worker.serve.api import ACCESS_POLICY, WorkerApi, WorkerFacts
from cfm.worker.serve.content import Content
from cfm.worker.serve.metrics import WorkerMetrics
from cfm.worker.serve.streams import Streams
from cfm_lab.fakes.memory_worker import MemoryState, NoOtherWorkers
from cfm_lab.testing.raw_http import request, say

DISK_ID = "0123456789abcdef0123456789abcdef"
BOOT_ID = "b00tb00tb00tb00t"


@dataclass(frozen=True, slots=True)
class WorkerRig:
    addr: str
    base: Path
    source: Path
    api: WorkerApi
    state: MemoryState

    async def ask(self, method: str, path: str, **headers: str) -> RigAnswer:
        return parse(await say(self.addr, request(method, path, body=b"", **headers)))


@dataclass(frozen=True, slots=True)
class RigAnswer:
    status: int
    headers: dict[str, str]
    """Header names are in lower case."""
    body: bytes


def parse(data: bytes) -> RigAnswer:
    """One whole answer."""
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    pairs = (line.split(": ", 1) for line in lines)
    return RigAnswer(int(first.split(" ")[1]), {name.lower(): value for name, value in pairs}, body)


@asynccontextmanager
async def worker_rig(
    folder: Path,
    *,
    streams: int = 1,
    with_source: bool = True,
    quota_bytes: int | None = None,
    stall_s: float = 10.0,
    limits: Limits | None = None,
    disk_of: Callable[[Path], BaseDir] = RealBaseDir,
    admission: Admission = EVERYBODY,
    cfm_spoke: Callable[[], None] = lambda: None,
    leads: Callable[[Addr], None] = lambda _addr: None,
) -> AsyncIterator[WorkerRig]:
    """A worker whose disk is `folder/base`, and which serves `folder/source` to other workers."""
    base, source = folder / "base", folder / "source"
    base.mkdir(exist_ok=True)
    source.mkdir(exist_ok=True)
    state, metrics, book = MemoryState(), WorkerMetrics(), Streams(streams)
    disk, sources = ThreadPool("base_dir", 4), ThreadPool("the SAN", 4)
    shelf = Shelf(
        disk_of(base),
        disk_id=None,
        new_id=DISK_ID,
        remember=lambda _: None,
        disk_locks=NoOtherWorkers(),
        limit_percent=90,
        quota_bytes=quota_bytes,
    )
    await disk.run(10, shelf.check)
    library = ContentLibrary(shelf, disk, {source: sources} if with_source else {})
    api = WorkerApi(
        facts=WorkerFacts(Addr("10.0.0.1:8888"), BOOT_ID, Transfer.BUILTIN, with_source, streams, 1),
        shelf=shelf,
        lists=Lists(shelf),
        disk=disk,
        authority=Authority(state, None),
        streams=book,
        content=Content(library, book, metrics, stall_s=stall_s),
        metrics=metrics,
        receiving=lambda: 0,
        cfm_spoke=cfm_spoke,
        leads=leads,
    )
    async with serve(
        api.application(),
        "127.0.0.1:0",
        program="cfw",
        limits=limits,
        admission=admission,
        access_policy=ACCESS_POLICY,
    ) as server:
        yield WorkerRig(f"127.0.0.1:{server.port}", base, source, api, state)
    disk.close()
    sources.close()
