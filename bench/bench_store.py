"""How fast the state is made durable: one change at a time, in groups, and through the one writer.

    .venv/bin/python bench/bench_store.py [--folder DIR] [--seconds S] [--postgres]

With --postgres, the same on a PostgreSQL server of its own, with its data in the same folder.

The folder decides the figures: name one on the disk that will hold `cfm.db`, not one in memory.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from cfm.demo.postgres import PostgresServer, find_postgres
from cfm.model import Addr, File, Status, Task
from cfm.tasks.postgres_store import PostgresStore
from cfm.tasks.queue import Writer
from cfm.tasks.sqlite_store import SqliteStore
from cfm.tasks.store import Change, PutTask, TaskStore

GROUPS = (1, 10, 100, 1000)
SUBMITTERS = 64


def changes() -> Iterator[Change]:
    """Tasks as they come in life: each once ready, once working, once done."""
    for number in itertools.count(1):
        file = File(
            f"MXCI5B4LSGL{number:07}_K20180531174730.mpg", number, 920_910_664, 12, ("125.144.97.70",)
        )
        for status in (Status.READY, Status.WORKING, Status.DONE):
            yield PutTask(
                Task(
                    number, status, 1_800_000_000, 1_800_000_001, file, f"/san/{file.name}",
                    Addr("127.0.1.1:18888"), Addr("127.0.2.1:18888"), 10_000_000, "wanted, on no server",
                )
            )  # fmt: skip


def groups_of(size: int) -> Iterator[Sequence[Change]]:
    stream = changes()
    while True:
        yield list(itertools.islice(stream, size))


def bench_commits(store: TaskStore, size: int, seconds: float) -> str:
    store.open()
    took_ms: list[float] = []
    end = time.perf_counter() + seconds
    for group in groups_of(size):
        begin = time.perf_counter()
        if begin >= end:
            break
        store.commit(group)
        took_ms.append(1000 * (time.perf_counter() - begin))
    store.close()
    return line(f"groups of {size}", len(took_ms) / seconds, size * len(took_ms) / seconds, took_ms)


async def bench_writer(store: TaskStore, seconds: float) -> str:
    """Many that each wait for their own change, as the tasks of a node do."""
    store.open()
    writer = Writer(store, on_trouble=print, on_recovered=lambda: None)
    stream = changes()
    took_ms: list[float] = []
    end = time.perf_counter() + seconds

    async def submitter() -> None:
        while (begin := time.perf_counter()) < end:
            released = asyncio.Event()
            writer.submit([next(stream)], released.set)
            await released.wait()
            took_ms.append(1000 * (time.perf_counter() - begin))

    await asyncio.gather(*(submitter() for _ in range(SUBMITTERS)))
    await writer.close()
    store.close()
    return line(f"writer, {SUBMITTERS} waiting", float("nan"), len(took_ms) / seconds, took_ms)


def line(what: str, commits_per_s: float, changes_per_s: float, took_ms: list[float]) -> str:
    cuts = statistics.quantiles(took_ms, n=100)
    return f"{what:<22}{commits_per_s:>12,.0f}{changes_per_s:>12,.0f}{cuts[49]:>10.3f}{cuts[98]:>10.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, default=Path())
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--postgres", action="store_true")
    args = parser.parse_args()
    print(f"{'':<22}{'commits/s':>12}{'changes/s':>12}{'p50 ms':>10}{'p99 ms':>10}")
    with tempfile.TemporaryDirectory(prefix="bench-store-", dir=args.folder) as folder:
        run(lambda name: SqliteStore(Path(folder) / f"{name}.db"), args.seconds)
    programs = find_postgres() if args.postgres else None
    if programs is not None:
        print("PostgreSQL")
        with PostgresServer(programs, durable=True, folder=args.folder) as server:
            run(lambda _name: PostgresStore(server.url(), lease_s=600), args.seconds)


def run(store: Callable[[str], TaskStore], seconds: float) -> None:
    for size in GROUPS:
        print(bench_commits(store(f"bench-{size}"), size, seconds))
    print(asyncio.run(bench_writer(store("bench-writer"), seconds)))


if __name__ == "__main__":
    main()
