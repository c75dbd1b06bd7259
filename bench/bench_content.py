"""How fast one worker sends a large file, against aiohttp's own `FileResponse` in the same run.

    python bench/bench_content.py [--mib 1024] [--rounds 5] [--folder /dev/shm]

Server and reader are two processes on loopback; the file lies in a memory file system, so that the disk is
not what is measured.  Ours reads each byte once more than `FileResponse` does (for the checksum, and so that
the event loop never waits for a disk).  Prints both rates and their ratio, the best of the rounds.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from aiohttp import web

from cfm.threads import ThreadPool
from cfm.web import serve
from cfm.worker.act.library import ContentLibrary
from cfm.worker.act.real_base_dir import RealBaseDir
from cfm.worker.act.shelf import Shelf
from cfm.worker.serve.content import Content
from cfm.worker.serve.metrics import WorkerMetrics
from cfm.worker.serve.streams import Streams
from cfm_lab.fakes.memory_worker import NoOtherWorkers

MIB = 1 << 20
NAME = "file.bin"


def application(folder: Path) -> web.Application:
    shelf = Shelf(
        RealBaseDir(folder),
        disk_id=None,
        new_id="0123456789abcdef",
        remember=lambda _: None,
        disk_locks=NoOtherWorkers(),
        limit_percent=90,
    )
    pool = ThreadPool("bench", 4)
    content = Content(ContentLibrary(shelf, pool, {}), Streams(2), WorkerMetrics())

    async def plain(request: web.Request) -> web.StreamResponse:
        return web.FileResponse(folder / request.match_info["name"])

    app = web.Application()
    app.router.add_get("/content/{name}", content.handle)
    app.router.add_get("/plain/{name}", plain)
    return app


async def server(folder: Path, port_to: int) -> None:
    async with serve(application(folder), "127.0.0.1:0") as running:
        os.write(port_to, f"{running.port}\n".encode())
        await asyncio.Event().wait()


def read_all(port: int, path: str, count: int) -> float:
    """Seconds for one whole body, taken by a reader that does nothing with it."""
    buffer = bytearray(MIB)
    with socket.create_connection(("127.0.0.1", port)) as sock:
        began = time.perf_counter()
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
        got = 0
        while more := sock.recv_into(buffer):
            got += more
        took = time.perf_counter() - began
    if got < count:
        sys.exit(f"{path}: {got} bytes instead of {count}")
    return took


def measure(folder: Path, port: int, size: int, rounds: int) -> dict[str, float]:
    best: dict[str, float] = {}
    for _ in range(rounds):  # in turns, so that a busy machine is unfair to nobody
        for path in (f"/plain/{NAME}", f"/content/{NAME}"):
            os.utime(folder / NAME)  # a new version: nobody knows its checksum yet
            rate = size / read_all(port, path, size)
            best[path] = max(best.get(path, 0.0), rate)
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=Path("/dev/shm"))
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=wanted.folder) as folder:
        write_file(Path(folder), wanted.mib)
        report(Path(folder), wanted.mib * MIB, wanted.rounds)


def write_file(folder: Path, mib: int) -> None:
    chunk = os.urandom(MIB)
    with (folder / NAME).open("wb") as file:
        for _ in range(mib):
            file.write(chunk)


@contextmanager
def serving(folder: Path) -> Iterator[int]:
    """The port of a source that serves the file, in a process of its own."""
    ready, port_to = os.pipe()
    child = os.fork()
    if child == 0:
        asyncio.run(server(folder, port_to))
        os._exit(0)
    try:
        yield int(os.read(ready, 16))
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)


def report(folder: Path, size: int, rounds: int) -> None:
    with serving(folder) as port:
        plain, ours = measure(folder, port, size, rounds).values()
    print(f"FileResponse {plain / 1e9:.2f} GB/s, /content {ours / 1e9:.2f} GB/s, ratio {ours / plain:.2f}")


if __name__ == "__main__":
    main()
