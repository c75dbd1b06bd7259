"""300 workers of which 100 hang: how long a full observation takes, and what heartbeats notice of it.

`python bench/bench_fleet.py [--workers N] [--hang N] [--files N] [--time-out S]`.  The workers are real
sockets on 127.x addresses in one helper process; those that hang take every connection and request and
never answer.  Printed: the time of one observation of all (disk and list of each), and the latency of
the heartbeats that went to the living meanwhile.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import statistics
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from cfm.fleet.client import TimeOuts, WorkerClient
from cfm.model import Addr, Failure
from cfm_lab.testing.raw_http import Script, never, scripted

USAGE = b'{"total_size":"1000","used_size":"500","avail_size":"400","used_percent":56,"free_size":"500"}'


def raise_file_limit() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


# --- the helper process -----------------------------------------------------------------------------


def living(files: int) -> Script:
    names = b"".join(b"MXCI5B4LSGL1%06d_K20180531174730.mpg\n" % number for number in range(files))
    bodies = {b"HEAD": b"", b"GET /df": USAGE, b"GET /files": names}
    replies = {
        asked: b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        for asked, body in bodies.items()
    }

    async def script(head: bytes, writer: asyncio.StreamWriter) -> bool:
        writer.write(next(reply for asked, reply in replies.items() if head.startswith(asked)))
        await writer.drain()
        return True

    return script


async def play_workers(workers: int, hang: int, files: int) -> None:
    """Serve until standard input ends; the first line of output names all addresses."""
    script = living(files)
    async with AsyncExitStack() as stack:
        hosts = [f"127.9.{number // 250}.{number % 250 + 1}" for number in range(workers)]
        servers = [
            await stack.enter_async_context(scripted(never if number < hang else script, host))
            for number, host in enumerate(hosts)
        ]
        print(json.dumps([server.addr for server in servers]), flush=True)
        await asyncio.to_thread(sys.stdin.read)


@asynccontextmanager
async def workers_of_another_process(given: argparse.Namespace) -> AsyncIterator[list[Addr]]:
    counts = [str(given.workers), str(given.hang), str(given.files)]
    helper = await asyncio.create_subprocess_exec(
        *(sys.executable, __file__, "--play", *counts),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=2**20,
    )
    assert helper.stdin is not None
    assert helper.stdout is not None
    try:
        yield [Addr(addr) for addr in json.loads(await helper.stdout.readline())]
    finally:
        helper.stdin.close()
        await helper.wait()


# --- the measurement --------------------------------------------------------------------------------


async def observe(client: WorkerClient, addrs: list[Addr]) -> tuple[float, int]:
    """Seconds until every server was asked for disk and list, and how many answered both."""
    begun = time.perf_counter()
    told = await asyncio.gather(
        *(asyncio.gather(client.disk_usage(addr), client.list_files(addr)) for addr in addrs)
    )
    seconds = time.perf_counter() - begun
    return seconds, sum(not any(isinstance(answer, Failure) for answer in pair) for pair in told)


async def beat(client: WorkerClient, addrs: list[Addr], latencies_s: list[float]) -> None:
    """Heartbeats to all of `addrs`, again and again, until cancelled."""

    async def one(addr: Addr) -> None:
        begun = time.perf_counter()
        if isinstance(await client.heartbeat(addr), Failure):
            raise SystemExit(f"{addr} lives and gave no heartbeat")
        latencies_s.append(time.perf_counter() - begun)

    while True:
        await asyncio.gather(*(one(addr) for addr in addrs))
        await asyncio.sleep(0.25)


def figures(latencies_s: list[float]) -> str:
    marks = statistics.quantiles(latencies_s, n=100)
    return (
        f"{len(latencies_s)} heartbeats: median {marks[49] * 1000:.1f} ms, "
        f"p99 {marks[98] * 1000:.1f} ms, worst {max(latencies_s) * 1000:.1f} ms"
    )


async def heartbeats_for(client: WorkerClient, addrs: list[Addr], work: float) -> str:
    latencies_s: list[float] = []
    beating = asyncio.create_task(beat(client, addrs, latencies_s))
    await asyncio.sleep(work)
    beating.cancel()
    await asyncio.wait([beating])
    return figures(latencies_s)


async def measure(given: argparse.Namespace) -> None:
    raise_file_limit()
    time_outs = TimeOuts(heartbeat_s=5, list_s=given.time_out, disk_s=given.time_out)
    async with workers_of_another_process(given) as addrs, WorkerClient("bench", 1, time_outs) as client:
        alive = addrs[given.hang :]
        quiet = await heartbeats_for(client, alive, 2)
        latencies_s: list[float] = []
        beating = asyncio.create_task(beat(client, alive, latencies_s))
        hanging = asyncio.gather(*(client.heartbeat(addr) for addr in addrs[: given.hang]))
        seconds, answered = await observe(client, addrs)
        beating.cancel()
        await asyncio.wait([beating])
        await hanging
        alone_s, _ = await observe(client, alive)
    print(f"{given.workers} workers, {given.hang} hang, {given.files} files each")
    print(f"observation of all: {seconds:.2f} s (time-out {given.time_out:g} s), {answered} answered")
    print(f"observation of the living alone: {alone_s:.2f} s")
    print(f"quiet:                  {quiet}")
    print(f"during the observation: {figures(latencies_s)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=300)
    parser.add_argument("--hang", type=int, default=100)
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--time-out", type=float, default=5.0)
    parser.add_argument("--play", type=int, nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.play:
        raise_file_limit()
        asyncio.run(play_workers(*given.play))
    else:
        asyncio.run(measure(given))


if __name__ == "__main__":
    main()
