"""A whole planning cycle: inputs gathered, metadata reduced, everything decided that may start now.

What an operator waits for when the metadata changes, and what the loop is kept from doing meanwhile.
Two cases: 100,000 files on 6 servers, and on 300.  `first` is the first plan on a new snapshot, `next` one
after a list has changed; `loop` is the part that runs on the event loop.  `history` is what it costs to
remember one copy begun and one ended at every source: processor time of loop and disk thread together, and it
must stay below 5 % of a cycle.  Medians in milliseconds.

    .venv/bin/python bench/bench_cycle.py [--json] [--files N]
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import polars as pl

from cfm.controller.decide import events as ev
from cfm.controller.decide.core import Core
from cfm.controller.decide.state import NodeConfig
from cfm.controller.decide.step import Outbox
from cfm.model import Addr, DiskReport, DiskUsage, Listing, Now, SnapshotFacts, Transfer, WorkerFeatures
from cfm.plan.reduce import Reducer
from cfm.plan.view import Rules
from cfm.tasks.sqlite_store import SqliteStore
from cfm.tasks.store import Recovered

OURS = WorkerFeatures(ours=True, transfer=Transfer.BUILTIN, serves=True, downloads=4)
ROUNDS = 7


def library(files: int) -> pl.DataFrame:
    """Made-up metadata, as `inputs.snapshot` hands it on."""
    columns = {
        "rank": range(1, files + 1),
        "name": [f"MXCI{i:07}SGL1000051_K20180531174730.mpg" for i in range(files)],
        "size_bytes": [1_000_000_000 + 7919 * (i % 1000) for i in range(files)],
        "hits": [files - i for i in range(files)],
        "history_ips": [[]] * files,
    }
    kinds = {"rank": pl.UInt32, "name": pl.String, "size_bytes": pl.Int64, "hits": pl.Int64}
    return pl.DataFrame(columns, schema={**kinds, "history_ips": pl.List(pl.String)})


def node(frame: pl.DataFrame, sources: int, destinations: int, placed: int) -> Core:
    """A core that has just been told everything about its node; `placed` files lie on its disks."""
    now = clock()
    src = tuple(Addr(f"127.0.1.{i}:8888") for i in range(sources))
    dst = tuple(Addr(f"127.{i // 250}.2.{i % 250}:8888") for i in range(destinations))
    core = Core(NodeConfig(src, dst, Rules()), Recovered("", 1, 0), now)
    each = placed // destinations
    for place, addr in enumerate((*src, *dst)):
        core.handle(ev.HeartbeatAnswer(addr, replace(OURS, disk_id=addr)), now)
        lot = range((place - sources) * each, (place - sources + 1) * each) if addr in dst else range(0)
        names = frozenset(frame["name"].gather(list(lot))) if lot else frozenset[str]()
        used = each * 1_004_000_000 if lot else 0
        core.handle(ev.ListAnswer(addr, now.mono_ms, Listing(names)), now)
        usage = DiskUsage(20 * used + 1, used, 19 * used + 1)
        core.handle(ev.DiskAnswer(addr, now.mono_ms, DiskReport(usage)), now)
    core.handle(ev.SnapshotAccepted(SnapshotFacts("s", now.wall_s, 1, 1), 0), now)
    return core


def clock() -> Now:
    return Now(time.monotonic_ns() // 1_000_000, time.time_ns() // 1_000_000)


def cycle(core: Core, reducer: Reducer) -> tuple[float, float]:
    """Milliseconds of one cycle, and of its part on the event loop."""
    began = time.perf_counter()
    inputs = core.plan_inputs(clock())
    gathered = time.perf_counter()
    shortlist = reducer.shortlist(inputs)
    reduced = time.perf_counter()
    core.handle(ev.PlanReady(shortlist), clock())
    ended = time.perf_counter()
    return 1000 * (ended - began), 1000 * (ended - began - (reduced - gathered))


def history(core: Core, folder: Path) -> float:
    """Milliseconds of processor time to remember what happened at every source in a cycle."""
    destinations = core.state.config.destinations
    said = [
        ev.Say(
            event,
            facts={
                "file": f"MXCI{number:07}SGL1000051_K20180531174730.mpg",
                "server": destinations[number % len(destinations)],
                "source": source,
                "rank": number,
                "size_bytes": 1_000_000_000,
                "hits": 12,
                "reason": f"wanted: rank {number}, on no destination",
                "task": str(number),
            },
            id=2 * number + is_end,
        )
        for number, source in enumerate(core.state.config.sources, 1)
        for is_end, event in enumerate(("copy starts", "copied file"))
    ]
    store = SqliteStore(folder / f"{len(said)}-{time.monotonic_ns()}.db")
    store.open()
    began = time.process_time()
    store.commit(Outbox([], list(said)).take(1_800_000_000).changes)
    ended = time.process_time()
    store.close()
    return 1000 * (ended - began)


def measure(files: int, sources: int, destinations: int, placed: int) -> dict[str, float]:
    frame = library(files)
    firsts, nexts, loops, histories = [], [], [], []
    for _round in range(ROUNDS):
        core = node(frame, sources, destinations, placed)
        reducer = Reducer(frame)
        firsts.append(cycle(core, reducer)[0])
        addr = core.state.config.destinations[0]
        names = core.state.fleet.records[addr].last_list or frozenset()
        now = clock()
        core.handle(ev.ListAnswer(addr, now.mono_ms, Listing(frozenset(list(names)[1:]))), now)
        whole, on_loop = cycle(core, reducer)
        nexts.append(whole)
        loops.append(on_loop)
        with tempfile.TemporaryDirectory() as folder:
            histories.append(history(core, Path(folder)))
    figures = {"first_ms": firsts, "next_ms": nexts, "loop_ms": loops, "history_ms": histories}
    return {name: round(statistics.median(values), 1) for name, values in figures.items()}


MOST_OF_A_CYCLE = 0.05
"""So much of a cycle the history may take."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--files", type=int, default=100_000)
    options = parser.parse_args()
    results = {
        f"{options.files} files, {sources + destinations} servers": measure(
            options.files, sources, destinations, placed
        )
        for sources, destinations, placed in ((3, 3, 3000), (100, 200, 60_000))
    }
    if options.json:
        print(json.dumps(results))
    else:
        for name, figures in results.items():
            print(f"{name:>28}: " + "  ".join(f"{key} {value:7.1f}" for key, value in figures.items()))
    if any(one["history_ms"] > MOST_OF_A_CYCLE * one["next_ms"] for one in results.values()):
        raise SystemExit("the history takes more than its share")


if __name__ == "__main__":
    main()
