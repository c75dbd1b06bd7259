"""How fast one worker sends a large file, against plain servers that use sendfile as well.

    python bench/bench_content.py [--mib 1024] [--rounds 5] [--folder /dev/shm] [--json]

The plain servers are aiohttp's `FileResponse`, and nginx with one process where it is installed.  Server and
reader are processes on loopback.  The file lies in a memory file system, so that the disk is not what is
measured.  All take turns; printed are the medians, each rate as a part of the plain servers', and the
processor time that the worker takes for 2 GB.  At the first reading of a version ours reads each byte once
more, for the checksum.  That falls away when the checksum is known, and for a range behind bytes that nobody
has read.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
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
NGINX = """daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log;
events {{}}
http {{ access_log off; sendfile on; tcp_nopush on; client_body_temp_path {folder}; proxy_temp_path {folder};
  fastcgi_temp_path {folder}; uwsgi_temp_path {folder}; scgi_temp_path {folder};
  server {{ listen 127.0.0.1:{port}; root {root}; }} }}
"""


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


@dataclass(frozen=True)
class Worker:
    """A source in a process of its own."""

    port: int
    pid: int

    def cpu_s(self) -> float:
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def serving(folder: Path) -> Iterator[Worker]:
    """A source that serves the file."""
    ready, port_to = os.pipe()
    child = os.fork()
    if child == 0:
        asyncio.run(server(folder, port_to))
        os._exit(0)
    try:
        yield Worker(int(os.read(ready, 16)), child)
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)


@contextmanager
def nginx(root: Path) -> Iterator[int | None]:
    """The port of an nginx that serves the folder; None where there is no nginx here."""
    program = shutil.which("nginx")
    if program is None:
        yield None
        return
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        settings = Path(folder) / "nginx.conf"
        settings.write_text(NGINX.format(folder=folder, port=port, root=root))
        running = subprocess.Popen([program, "-p", folder, "-c", str(settings)], stderr=subprocess.DEVNULL)
        try:
            yield port
        finally:
            running.kill()
            running.wait()


def read_all(port: int, path: str, count: int, range_header: str = "") -> float:
    """Bytes a second of one body, taken by a reader that does nothing with it."""
    buffer = bytearray(MIB)
    lines = [f"GET {path} HTTP/1.1", "Host: 127.0.0.1", "Connection: close", range_header]
    with socket.create_connection(("127.0.0.1", port)) as sock:
        began = time.perf_counter()
        sock.sendall("\r\n".join([*filter(None, lines), "", ""]).encode())
        got = 0
        while more := sock.recv_into(buffer):
            got += more
        took = time.perf_counter() - began
    if got < count:
        sys.exit(f"{path}: {got} bytes instead of {count}")
    return count / took


def write_file(folder: Path, mib: int) -> None:
    chunk = os.urandom(MIB)
    with (folder / NAME).open("wb") as file:
        for _ in range(mib):
            file.write(chunk)
    folder.chmod(0o755)


def ways(folder: Path, worker: Worker, nginx_port: int | None, size: int) -> dict[str, Callable[[], float]]:
    """Name → one reading of the file, in bytes a second."""

    def new_version() -> None:
        os.utime(folder / NAME)

    def first() -> float:
        new_version()
        return read_all(worker.port, f"/content/{NAME}", size)

    def part() -> float:
        new_version()
        return read_all(worker.port, f"/content/{NAME}", size - MIB, f"Range: bytes={MIB}-")

    plain = {"FileResponse": lambda: read_all(worker.port, f"/plain/{NAME}", size)}
    if nginx_port is not None:
        plain["nginx"] = lambda: read_all(nginx_port, f"/{NAME}", size)
    return plain | {
        "/content, first reading": first,
        "/content, read before": lambda: read_all(worker.port, f"/content/{NAME}", size),
        "/content, a range": part,
    }


def measure(folder: Path, size: int, rounds: int) -> dict[str, float | str]:
    rates, cpu_s = defaultdict(list), defaultdict(list)
    with serving(folder) as worker, nginx(folder) as nginx_port:
        for _ in range(rounds):  # in turns, so that a busy machine is unfair to nobody
            for name, read in ways(folder, worker, nginx_port, size).items():
                before_s = worker.cpu_s()
                rates[name].append(read())
                cpu_s[name].append(worker.cpu_s() - before_s)
    medians = {name: statistics.median(found) for name, found in rates.items()}
    figures: dict[str, float | str] = {f"{name}, GB/s": rate / 1e9 for name, rate in medians.items()}
    for name in (name for name in medians if name.startswith("/")):
        for plain in (name for name in medians if not name.startswith("/")):
            figures[f"{name}, to {plain}"] = medians[name] / medians[plain]
        figures[f"{name}, processor seconds for 2 GB"] = statistics.mean(cpu_s[name]) * 2e9 / size
    return figures if nginx_port is not None else figures | {"nginx": "not installed here"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=Path("/dev/shm"))
    parser.add_argument("--json", action="store_true")
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=wanted.folder) as folder:
        write_file(Path(folder), wanted.mib)
        figures = measure(Path(folder), wanted.mib * MIB, wanted.rounds)
    if wanted.json:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        print(f"{name:52} {value if isinstance(value, str) else f'{value:6.2f}'}")


if __name__ == "__main__":
    main()
