"""A real cfm with a large library and many destinations: how soon it works, what it takes, when it is deaf.

    .venv/bin/python bench/bench_scale.py [--files N] [--servers N] [--each N] [--old] [--rest S] [--idle S]

One helper process plays all servers, on addresses of 127.0.0.0/8: each lists `--each` files (old workers do
so without an ETag), and takes no task.  Measured from the start of the process: until the first task is on
the list; the longest time for which `/healthz` gave no answer, at the start and in `--rest` seconds at rest;
memory at its peak and at rest; the share of a core while nobody asks, in `--idle` seconds, with a full look
at all servers among them.  The library is made in a temporary folder, or kept in `--folder` for the next run.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO, Any

from cfm.web.limits import allow_many_files
from cfm_lab.testing.measuring import as_installed, cpu_s, memory_mb, running
from cfm_lab.testing.processes import free_port

PORT = 18_888
SOURCES = 3
ON_SAN = 20_000
LONG_AGO_S = 1_527_951_000
MOST_WAIT_S = 600.0


def title(number: int) -> str:
    return f"M{number:09d}SGL0800014_K20180215211748.mpg"


def size_bytes(number: int) -> int:
    return 1_000_000_000 + 7919 * (number % 1000)


def host(server: int) -> str:
    return f"127.9.{server // 250}.{server % 250 + 1}"


def held_by(server: int, servers: int, each: int) -> range:
    """The files on one server: every so many, from the second thousand on.  The first thousand is missing."""
    return range(1000 + server, 1000 + servers * each, servers)


# ── the servers ─────────────────────────────────────────────────────────────────────────────────────────


class Worker(asyncio.Protocol):
    """One connection to one server.  Requests have no body, and come one at a time."""

    def __init__(self, listing: bytes, *, old: bool) -> None:
        self._old = old
        used = 37_000_000_000_000
        usage = {"total_size": 2 * used, "used_size": used, "avail_size": used, "free_size": used}
        told = {key: str(value) for key, value in usage.items()} | {"used_percent": 50}
        ours = "" if old else "Cfw-Version: 1\r\nCfw-Transfer: builtin\r\nCfw-Serves: true\r\n"
        self._usage = _answer(json.dumps(told).encode(), ours)
        self._alive = _answer(b"", ours)
        self._etag = f'"{hash(listing):x}"'
        self._listing = listing
        self._head = f"{ours}{'' if old else f'ETag: {self._etag}'}".strip()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if data.startswith(b"HEAD /hb"):
            self._transport.write(self._alive)
        elif data.startswith(b"GET /df"):
            self._transport.write(self._usage)
        elif data.startswith(b"GET /files"):
            if not self._old and self._etag.encode() in data:
                self._transport.write(f"HTTP/1.1 304 Not Modified\r\n{self._head}\r\n\r\n".encode())
            else:
                self._transport.write(_answer(self._listing, self._head and self._head + "\r\n"))
        else:
            self._transport.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")


def _answer(body: bytes, headers: str) -> bytes:
    return f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode() + body


async def play(servers: int, each: int, old: bool) -> None:
    """Serve until standard input ends."""
    allow_many_files()
    loop = asyncio.get_running_loop()
    for server in range(servers + SOURCES):
        numbers = held_by(server, servers, each) if server < servers else range(0)
        listing = "".join(f"{title(number)}\n" for number in numbers).encode()
        await loop.create_server(partial(Worker, listing, old=old), host(server), PORT)
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.read)


# ── the library ─────────────────────────────────────────────────────────────────────────────────────────


def write_library(folder: Path, files: int, servers: int, each: int) -> None:
    san = folder / "san"
    san.mkdir(parents=True)
    for number in range(min(files, ON_SAN)):
        with (san / title(number)).open("wb") as file:
            file.truncate(size_bytes(number))
        os.utime(san / title(number), (LONG_AGO_S, LONG_AGO_S))
    with (folder / "grade").open("w") as grade, (folder / "history").open("w") as history:
        grade.write("filename\tweightcount\tbitrate\tgrade\tsumHitCount\thistoryCount\tTargetCopyCount\n")
        history.write("historyheader:1527951607\n")
        hosts = [host(server) for server in range(servers)]
        for number in range(files):
            name, placed = title(number), 1000 <= number < 1000 + servers * each
            ip = hosts[(number - 1000) % servers] if placed else ""
            grade.write(f"{name}\t{files - number}\t10518227\t1\t2000\t24\t2\n")
            history.write(f"{name},1500000000,6399785,{size_bytes(number)},{ip},2,0,0,1=1 2 3\n")
    for name in ("grade", "history"):
        os.utime(folder / name, (time.time() - 3600,) * 2)


def write_settings(folder: Path, servers: int, port: int) -> None:
    addrs = [f"{host(server)}:{PORT}" for server in range(servers + SOURCES)]
    settings = {
        "listen_addr": f"127.0.0.1:{port}",
        "grade_info_file": "grade",
        "hitcount_history_file": "history",
        "source_dirs": [str(folder / "san")],
        "servers": {"sources": addrs[servers:], "destinations": addrs[:servers]},
    }
    (folder / "cfm.yml").write_text(json.dumps(settings))
    for state in folder.glob("cfm.db*"):
        state.unlink()


# ── what is measured ────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Prober(threading.Thread):
    """Asks `/healthz` again and again; remembers the longest time without an answer."""

    port: int
    longest_s: float = 0.0
    over: bool = False
    _last_s: float = field(default_factory=time.perf_counter)

    def __post_init__(self) -> None:
        super().__init__(daemon=True)

    __hash__ = threading.Thread.__hash__

    def run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=MOST_WAIT_S)
        while not self.over:
            try:
                connection.request("GET", "/healthz")
                connection.getresponse().read()
            except (http.client.HTTPException, ConnectionError):  # cfm was deaf for too long, and closed it
                connection.close()
                continue
            now_s = time.perf_counter()
            self.longest_s = max(self.longest_s, now_s - self._last_s)
            time.sleep(0.002)
            self._last_s = time.perf_counter()
        connection.close()

    def take(self) -> float:
        longest_s, self.longest_s = self.longest_s, 0.0
        return longest_s


def get(port: int, path: str) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=MOST_WAIT_S)
    try:
        connection.request("GET", path)
        return connection.getresponse().read()
    except (http.client.HTTPException, ConnectionError):
        return b""
    finally:
        connection.close()


def measure(given: argparse.Namespace, folder: Path) -> dict[str, float]:
    port = free_port("127.0.0.1")
    write_settings(folder, given.servers, port)
    played = [sys.executable, __file__, "--play", *map(str, (given.servers, given.each, int(given.old)))]
    daemon = [str(Path(sys.executable).with_name("cfm")), "run", "-c", str(folder / "cfm.yml")]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with running(played, **pipes) as servers, (folder / "output.txt").open("w") as output:
        _line_of(servers.stdout)
        began_s = time.perf_counter()
        pipes = {"stdout": subprocess.PIPE, "stderr": output, "env": as_installed()}
        with running(daemon, **pipes, cwd=folder) as cfm:
            _line_of(cfm.stdout)
            listening_s = time.perf_counter() - began_s
            prober = Prober(port)
            prober.start()
            while get(port, "/tasks") in (b"", b"[]"):
                if time.perf_counter() - began_s > MOST_WAIT_S:
                    raise SystemExit(f"no task within {MOST_WAIT_S:g} s; see {folder / 'output.txt'}")
                time.sleep(0.05)
            first_task_s = time.perf_counter() - began_s
            cpu_to_task_s = cpu_s(cfm.pid)
            time.sleep(given.settle)
            deaf_at_start_s = prober.take()
            time.sleep(given.rest)
            deaf_at_rest_s = prober.take()
            prober.over = True
            prober.join()
            peak_mb, rest_mb = memory_mb(cfm.pid, peak=True), memory_mb(cfm.pid)
            cpu_before_s, before_s = cpu_s(cfm.pid), time.perf_counter()
            time.sleep(given.idle)
            busy = (cpu_s(cfm.pid) - cpu_before_s) / (time.perf_counter() - before_s)
            figures = {
                "listening_s": listening_s,
                "first_task_s": first_task_s,
                "cpu_to_first_task_s": cpu_to_task_s,
                "deaf_at_start_s": deaf_at_start_s,
                "deaf_at_rest_s": deaf_at_rest_s,
                "peak_mb": peak_mb,
                "rest_mb": rest_mb,
                "core_at_rest_percent": 100 * busy,
                "longest_hold_below_s": _longest_hold(get(port, "/metrics").decode()),
            }
    return {name: round(value, 3) for name, value in figures.items()}


def _line_of(pipe: IO[str] | None) -> str:
    assert pipe is not None
    return pipe.readline()


def _longest_hold(metrics: str) -> float:
    """The upper bound of the longest hold of the loop by cfm's own histogram; 0 where it has none."""
    found = re.findall(r'cfm_loop_hold_seconds_bucket\{le="([^"]+)"\} (\S+)', metrics)
    return next((float(bound) for bound, count in found if float(count) == float(found[-1][1])), 0.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=1_000_000)
    parser.add_argument("--servers", type=int, default=300)
    parser.add_argument("--each", type=int, default=3_000)
    parser.add_argument("--old", action="store_true", help="the servers have old workers")
    parser.add_argument("--settle", type=float, default=15.0, help="seconds that still count as the start")
    parser.add_argument("--rest", type=float, default=75.0, help="seconds at rest")
    parser.add_argument("--idle", type=float, default=60.0, help="seconds at rest while nobody asks")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--play", type=int, nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.play:
        asyncio.run(play(given.play[0], given.play[1], bool(given.play[2])))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary) / "node"
        if not (folder / "history").exists():
            write_library(folder, given.files, given.servers, given.each)
        figures = measure(given, folder)
    if given.json:
        print(json.dumps(figures))
        return
    print(f"{given.files:,} files, {given.servers} servers of {given.each:,}")
    for name, value in figures.items():
        print(f"  {name:24} {value:10.3f}")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # whoever ends the bench ends what it started
    with suppress(KeyboardInterrupt):
        main()
