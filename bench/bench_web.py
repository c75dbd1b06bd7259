"""Ten thousand half-open requests, and what heartbeats notice of them.

`python bench/bench_web.py [--connections N]`.  A helper process opens connections to one server, sends
half a request on each and holds on, as fast as it can, from 100 addresses; meanwhile heartbeats arrive
from another.  Printed: their latency before and during the flood, and what the server turned away.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import socket
import statistics
import sys
import time

from aiohttp import web

from cfm.fleet.client import WorkerClient
from cfm.model import Addr, Failure
from cfm.web import serve
from cfm.web.limits import allow_many_files


def flood(port: int, connections: int) -> None:
    """Open so many connections with half a request each; keep the newest thousands open."""
    allow_many_files()
    held: list[socket.socket] = []
    for number in range(connections):
        sock = socket.socket()
        sock.bind((f"127.8.0.{number % 100 + 1}", 0))
        with contextlib.suppress(OSError):
            sock.connect(("127.0.0.1", port))
            sock.sendall(b"GET /hb HTTP/1.1\r\nX-A: ")
        held.append(sock)
        if len(held) > 4000:
            held.pop(0).close()
    print(len(held), flush=True)
    sys.stdin.read()


async def beat(client: WorkerClient, addr: Addr, stop: asyncio.Event) -> list[float]:
    latencies_s = []
    while not stop.is_set():
        begun = time.perf_counter()
        if isinstance(await client.heartbeat(addr), Failure):
            raise SystemExit("a heartbeat failed")
        latencies_s.append(time.perf_counter() - begun)
        await asyncio.sleep(0.005)
    return latencies_s


def figures(latencies_s: list[float]) -> str:
    marks = [1000 * mark_s for mark_s in statistics.quantiles(latencies_s, n=100)]
    return f"median {marks[49]:.1f} ms, p99 {marks[98]:.1f} ms, worst {1000 * max(latencies_s):.1f} ms"


async def alive(_request: web.Request) -> web.Response:
    return web.Response()


async def measure(connections: int) -> None:
    app = web.Application()
    app.router.add_route("HEAD", "/hb", alive)
    async with serve(app, "127.0.0.1:0") as server, WorkerClient("bench", 1) as client:
        stop = asyncio.Event()
        asyncio.get_running_loop().call_later(1, stop.set)
        quiet = await beat(client, server.addr, stop)
        stop.clear()
        beating = asyncio.create_task(beat(client, server.addr, stop))
        begun = time.perf_counter()
        helper = await asyncio.create_subprocess_exec(
            *(sys.executable, __file__, "--flood", str(server.port), str(connections)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert helper.stdout is not None
        assert helper.stdin is not None
        await helper.stdout.readline()
        seconds = time.perf_counter() - begun
        stop.set()
        flooded = await beating
        print(
            f"{connections} half-open requests in {seconds:.1f} s; open {server.connections}, "
            f"turned away {server.turned_away}"
        )
        print(f"heartbeats before: {figures(quiet)}")
        print(f"heartbeats during: {figures(flooded)}")
        helper.stdin.close()
        await helper.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--connections", type=int, default=10_000)
    parser.add_argument("--flood", type=int, nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.flood:
        flood(*given.flood)
    else:
        asyncio.run(measure(given.connections))


if __name__ == "__main__":
    main()
