"""What the pages cost: one page, a search, and fifty open pages.

A node of 300 servers with a million graded files, on which something changes all the time: disks, copies and
hits.  Printed: how long the overview, the pages of a server and of a file and a search take, and which share
of a core fifty open overviews cost.  The listeners are in another process.

    .venv/bin/python bench/bench_pages.py [--json] [--files N] [--pages N] [--seconds S]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import aiohttp
import polars as pl
import structlog

from bench_cycle import library
from cfm.config import load_cfm
from cfm.controller.act.from_settings import node_of
from cfm.controller.act.loop import Controller, clock
from cfm.controller.act.own_settings import OwnSettings
from cfm.controller.act.sampling import Sampling
from cfm.controller.act.teller import Teller
from cfm.controller.decide import events as ev
from cfm.controller.decide.core import Core
from cfm.controller.serve.api import ControllerApi
from cfm.controller.serve.metrics import ControllerMetrics
from cfm.fleet.client import WorkerClient
from cfm.inputs.san import SanIndex
from cfm.inputs.snapshot import Snapshot
from cfm.model import (
    Addr,
    DiskReport,
    DiskUsage,
    Failure,
    File,
    Hits,
    Listing,
    SnapshotFacts,
    Status,
    Task,
    Transfer,
    Trouble,
    WorkerFeatures,
)
from cfm.tasks.store import Recovered
from cfm.web import WebServer
from cfm.wire import TaskReport
from cfm_lab.fakes.memory_store import MemoryStore

OURS = WorkerFeatures(ours=True, transfer=Transfer.BUILTIN, serves=True, downloads=4)
SOURCES, DESTINATIONS, COPIES = 20, 280, 20
EACH = 500
"""Files on each destination."""
DISK_BYTES = 900_000_000_000
PAGE_MS, SHARE_PERCENT = 100.0, 5.0
"""What is to be held."""


class Workers:
    """Servers that answer at once, and whose disks fill and empty a little."""

    def __init__(self, frame: pl.DataFrame, destinations: tuple[Addr, ...]) -> None:
        names = frame["name"].head(EACH * len(destinations)).to_list()
        self._lists = {
            addr: frozenset(names[place * EACH : (place + 1) * EACH])
            for place, addr in enumerate(destinations)
        }
        self.second = 0

    async def heartbeat(self, addr: Addr) -> WorkerFeatures:
        return replace(OURS, disk_id=addr)

    async def list_files(self, addr: Addr, _fence: int | None, _folder: str) -> Listing:
        return Listing(self._lists.get(addr, frozenset()), disk_id=addr)

    async def disk_usage(self, addr: Addr) -> DiskReport:
        return self.report(addr)

    def report(self, addr: Addr) -> DiskReport:
        used = 500_000_000_000 + (hash(addr) + 7_919_000_000 * self.second) % 200_000_000_000
        return DiskReport(DiskUsage(DISK_BYTES, used, DISK_BYTES - used), disk_id=addr)

    async def cut_stream(self, _addr: Addr, _task_id: int) -> bool:
        return True

    async def see_copy(self, _addr: Addr, _name: str) -> Failure:
        return Failure(Trouble.REFUSED, "a bench")


def settings_file(folder: Path) -> Path:
    sources = "".join(f"    - 127.0.1.{place + 1}:8888\n" for place in range(SOURCES))
    destinations = "".join(
        f"    - 127.{place // 250}.2.{place % 250 + 1}:8888\n" for place in range(DESTINATIONS)
    )
    path = folder / "cfm.yml"
    path.write_text(
        f"servers:\n  heartbeat_interval_sec: 3600\n  sources:\n{sources}  destinations:\n{destinations}"
    )
    return path


@contextlib.asynccontextmanager
async def served(files: int) -> AsyncIterator[tuple[Controller, WebServer, Workers]]:
    """The real endpoints over a node that has been told everything."""
    frame = library(files)
    with tempfile.TemporaryDirectory() as folder:
        settings = load_cfm(settings_file(Path(folder)))
    node, now = node_of(settings), clock()
    tasks = [
        Task(
            place + 1,
            Status.WORKING,
            now.wall_s,
            now.wall_s,
            File(f"COPY{place}.mpg", place + 1, 4_000_000_000),
            f"/san/COPY{place}.mpg",
            node.sources[place],
            node.destinations[7 * place],
            10_000_000,
            "wanted: rank 7, on no destination",
        )
        for place in range(COPIES)
    ]
    workers = Workers(frame, node.destinations)
    store = MemoryStore()
    store.open()
    san = SanIndex((), clock=clock, on_change=lambda _names: None)
    core = Core(node, Recovered("bench", 1, COPIES, tasks=tuple(tasks)), now)
    controller = Controller(core, store, cast("WorkerClient", workers), san)
    api = ControllerApi(
        controller,
        ControllerMetrics(controller, None),
        Teller(controller, store),
        OwnSettings(settings, controller),
        {},
    )
    server = WebServer(api.application(), "127.0.0.1:0")
    await server.start()
    running = asyncio.create_task(controller.run())
    facts = SnapshotFacts("bench", now.wall_s, files, files)
    controller.on_snapshot(Snapshot(frame, facts, frame.head(0).select("rank", "name")))
    try:
        async with asyncio.timeout(60):
            records, looked = core.state.fleet.records, False
            while not looked:
                await asyncio.sleep(0.1)
                looked = all(records[addr].last_list is not None for addr in node.destinations)
        yield controller, server, workers
    finally:
        await server.stop()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await controller.writer.close()


async def changes(controller: Controller, workers: Workers) -> None:
    """Five disks a second, every copy's progress, and the hits."""
    sampling, second, requests = Sampling(controller, None), 0, 10_000
    while True:
        second += 1
        workers.second = second
        now = clock()
        for place in range(5):
            addr = controller.core.state.config.destinations[(5 * second + place) % DESTINATIONS]
            controller.feed(ev.DiskAnswer(addr, now.mono_ms, workers.report(addr)))
        for task_id in list(controller.core.state.tasks.active):
            requests += 1
            report = TaskReport(Status.WORKING, done_bytes=1_250_000 * second)
            controller.feed(ev.TaskReported(requests, task_id, report))
        controller.feed(
            ev.HitsChanged(Hits({"COPY1.mpg": second % 50}), (File("COPY1.mpg", 2, 4_000_000_000),))
        )
        sampling.sample(now)
        await asyncio.sleep(1)


async def took_ms(session: aiohttp.ClientSession, url: str) -> tuple[float, float]:
    """The best of some requests, by the clock and by the work of all threads, with that of the client.

    What else the machine does is not ours, and neither is what the node does meanwhile.  A search that finds
    one file alone leads to its page, which is measured by itself.
    """
    times, works = [], []
    for _again in range(6):
        began, worked = time.perf_counter(), time.process_time()
        async with session.get(url, allow_redirects=False) as answer:
            await answer.read()
            assert answer.status in (200, 303), url
        times.append(1000 * (time.perf_counter() - began))
        works.append(1000 * (time.process_time() - worked))
    return round(min(times), 1), round(min(works), 1)


async def share_percent(seconds: float, url: str = "", pages: int = 0) -> tuple[float, int]:
    """The share of a core that this process uses with so many open pages; and the bytes that they got."""
    helper = None
    if pages:
        helper = await asyncio.create_subprocess_exec(
            *(sys.executable, __file__, "--listen", url, str(pages)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert helper.stdout is not None
        await helper.stdout.readline()
    began, worked = time.perf_counter(), time.process_time()
    await asyncio.sleep(seconds)
    share = 100 * (time.process_time() - worked) / (time.perf_counter() - began)
    got = 0
    if helper is not None:
        told, _ = await helper.communicate(b"\n")
        got = int(told)
    return round(share, 2), got


async def listen(url: str, pages: int) -> None:
    """Follow a page so many times, until somebody says that it is enough; tell how many bytes came."""
    got = 0

    async def follow(session: aiohttp.ClientSession) -> None:
        nonlocal got
        async with session.get(f"{url}?live=x", timeout=aiohttp.ClientTimeout(total=None)) as answer:
            async for piece in answer.content.iter_any():
                got += len(piece)

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        following = [asyncio.create_task(follow(session)) for _ in range(pages)]
        await asyncio.sleep(2)
        got = 0
        print("listening", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        for one in following:
            one.cancel()
        await asyncio.gather(*following, return_exceptions=True)
    print(got)


async def measure(files: int, pages: int, seconds: float) -> AsyncIterator[tuple[str, float]]:
    async with served(files) as (controller, server, workers), aiohttp.ClientSession() as session:
        url = f"http://127.0.0.1:{server.port}"
        changing = asyncio.create_task(changes(controller, workers))
        destination = controller.core.state.config.destinations[3]
        for name, path in (
            ("overview_ms", "/dashboard"),
            ("servers_ms", "/servers"),
            ("server_ms", f"/server/{destination}"),
            ("file_ms", "/file/MXCI0000007SGL1000051_K20180531174730.mpg"),
            ("file_last_ms", f"/file/MXCI{files - 2:07}SGL1000051_K20180531174730.mpg"),
            ("search_last_ms", f"/search?q=ci{files - 2:07}sgl"),
            ("search_none_ms", "/search?q=zzzz"),
            ("search_common_ms", "/search?q=k2018"),
        ):
            by_clock, by_work = await took_ms(session, f"{url}{path}")
            yield name, by_clock
            yield f"{name}_of_work", by_work
        quiet, _ = await share_percent(seconds)
        busy, got = await share_percent(seconds, f"{url}/", pages)
        assert not changing.done(), changing.exception()
        changing.cancel()
    yield "share_without_percent", quiet
    yield "share_with_percent", busy
    yield "share_percent", round(busy - quiet, 2)
    yield "bytes_per_page_and_s", round(got / pages / seconds)


async def tell(files: int, pages: int, seconds: float, *, as_json: bool) -> int:
    """Print the figures; how many of them miss their target."""
    found: dict[str, float] = {}
    async for name, value in measure(files, pages, seconds):
        found[name] = value
        if not as_json:
            print(f"{name:24} {value:>12,}", flush=True)
    if as_json:
        print(json.dumps(found))
    slow = [name for name, ms in found.items() if name.endswith("_ms") and ms > PAGE_MS]
    dear = [name for name in ("share_percent",) if found[name] > SHARE_PERCENT]
    if slow or dear:
        print(f"missed: {', '.join([*slow, *dear])}", file=sys.stderr)
    return len(slow) + len(dear)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--files", type=int, default=1_000_000)
    parser.add_argument("--pages", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--listen", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.listen:
        asyncio.run(listen(given.listen[0], int(given.listen[1])))
        return
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    missed = asyncio.run(tell(given.files, given.pages, given.seconds, as_json=given.json))
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
