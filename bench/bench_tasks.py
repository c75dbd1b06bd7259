"""How many readings and reports of tasks one cfm answers, beside bare aiohttp that sends the same bytes.

    .venv/bin/python bench/bench_tasks.py [--tasks N] [--connections N] [--seconds S] [--json]

A real cfm starts with so many tasks in its state.  `GET /tasks` is asked for over so many connections at
once, and then the same of a program that is nothing but aiohttp.  Then each task is reported to be `working`
again and again, which extends its lease; the other program reads such a report, and answers.  At last each
task is ended, over one connection for each destination, as workers of ours do.  Each program has a process of
its own.  Printed are answers a second, and answers for a second of the server's own processor time: where
other programs run on the machine, the second figure is the one to compare.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from aiohttp import web

from cfm.model import Addr, File, Status, Task
from cfm.tasks.sqlite_store import SqliteStore
from cfm.tasks.store import PutTask
from cfm_lab.testing.measuring import cpu_s, running
from cfm_lab.testing.processes import free_port

PORT, BARE_PORT = free_port("127.0.0.1"), 18_082
DESTINATIONS = [Addr(f"127.9.0.{number}:18888") for number in range(1, 11)]
SOURCES = [Addr(f"127.9.0.{number}:18888") for number in range(11, 14)]
PLAYED = [str(Path(__file__).with_name("bench_scale.py")), "--play", str(len(DESTINATIONS)), "0", "0"]
"""`bench_scale` plays servers at these addresses."""


def write_state(folder: Path, tasks: int) -> list[int]:
    """A node with so many tasks that are ready; returns their ids."""
    now_s = int(time.time())
    made = [
        Task(
            id=now_s * 10**9 + number,
            status=Status.READY,
            created_s=now_s,
            changed_s=now_s,
            file=File(f"M{number:09d}SGL0800014_K20180215211748.mpg", number + 1, 10**12),
            path=f"/san/M{number:09d}SGL0800014_K20180215211748.mpg",
            source=SOURCES[number % len(SOURCES)],
            destination=DESTINATIONS[number % len(DESTINATIONS)],
            copy_speed_bps=10_000_000,
            reason="bench",
        )
        for number in range(tasks)
    ]
    store = SqliteStore(folder / "cfm.db")
    store.open()
    store.commit([PutTask(task) for task in made])
    store.close()
    (folder / "san").mkdir()
    (folder / "san" / "one.mpg").touch()
    for name, text in (("grade", "filename\tweightcount\none.mpg\t1\n"), ("history", "historyheader:1\n")):
        (folder / name).write_text(text)
        os.utime(folder / name, (1_527_951_000, 1_527_951_000))
    settings = {
        "listen_addr": f"127.0.0.1:{PORT}",
        "grade_info_file": "grade",
        "hitcount_history_file": "history",
        "source_dirs": [str(folder / "san")],
        "servers": {"sources": SOURCES, "destinations": DESTINATIONS},
    }
    (folder / "cfm.yml").write_text(json.dumps(settings))
    return [task.id for task in made]


class Asker(asyncio.Protocol):
    """Sends one request after the other on one connection."""

    def __init__(self, next_request: Callable[[], bytes | None], ended: asyncio.Future[None]) -> None:
        self._next, self._ended = next_request, ended
        self._left = -1
        self._head = b""
        self.answers = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._ask()

    def _ask(self) -> None:
        request = self._next()
        if request is None:
            self._transport.close()
            self._ended.set_result(None)
        else:
            self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        if self._left < 0:
            self._head += data
            head, found, rest = self._head.partition(b"\r\n\r\n")
            if not found:
                return
            length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
            self._left, self._head, data = int(length), b"", rest
            if not head.startswith(b"HTTP/1.1 200"):
                raise SystemExit(f"a request was refused: {head.decode()}")
        self._left -= len(data)
        if self._left <= 0:
            self._left = -1
            self.answers += 1
            self._ask()

    def connection_lost(self, error: Exception | None) -> None:
        if not self._ended.done():
            self._ended.set_exception(error or ConnectionError("the server closed the connection"))


async def load(port: int, connections: int, next_request: Callable[[], bytes | None]) -> tuple[int, float]:
    """Ask until there is nothing more to ask for.  Returns how many answers came, and in how many seconds."""
    loop = asyncio.get_running_loop()
    ends = [loop.create_future() for _ in range(connections)]
    began_s = time.perf_counter()
    made = [
        await loop.create_connection(lambda end=end: Asker(next_request, end), "127.0.0.1", port)  # type: ignore[misc]
        for end in ends
    ]
    await asyncio.gather(*ends)
    askers = [asker for _transport, asker in made]
    return sum(asker.answers for asker in askers), time.perf_counter() - began_s


def measure(
    label: str, pid: int, port: int, connections: int, next_request: Callable[[], bytes | None]
) -> dict[str, float]:
    before_s = cpu_s(pid)
    answers, took_s = asyncio.run(load(port, connections, next_request))
    used_s = cpu_s(pid) - before_s
    return {f"{label} a second": answers / took_s, f"{label} a processor second": answers / used_s}


def for_seconds(seconds: float, request: bytes) -> Callable[[], bytes | None]:
    until_s = time.perf_counter() + seconds
    return lambda: request if time.perf_counter() < until_s else None


def sent(requests: Iterator[bytes]) -> Callable[[], bytes | None]:
    return lambda: next(requests, None)


def reading(port: int) -> bytes:
    return f"GET /tasks HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUser-Agent: bench\r\n\r\n".encode()


def reporting(port: int, task_id: int, **report: object) -> bytes:
    body = json.dumps(report)
    return (
        f"PATCH /tasks/{task_id} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n{body}"
    ).encode()


def serve_bare(body: bytes) -> None:
    async def tasks(_request: web.Request) -> web.Response:
        return web.Response(body=body, content_type="application/json", charset="UTF-8")

    app = web.Application()

    async def report(request: web.Request) -> web.Response:
        await request.read()
        return web.Response()

    app.add_routes([web.get("/tasks", tasks), web.patch("/tasks/{id}", report)])
    web.run_app(app, host="127.0.0.1", port=BARE_PORT, access_log=None, print=lambda _text: None)


def wait_listening(port: int) -> bytes:
    """The list, as soon as somebody serves it."""
    import http.client

    until_s = time.monotonic() + 60
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        try:
            connection.request("GET", "/tasks")
            return connection.getresponse().read()
        except ConnectionError:
            if time.monotonic() > until_s:
                raise
            time.sleep(0.05)
        finally:
            connection.close()


def run(given: argparse.Namespace, folder: Path) -> dict[str, float]:
    ids = write_state(folder, given.tasks)
    cfm = [str(Path(sys.executable).with_name("cfm")), "run", "-c", str(folder / "cfm.yml")]
    figures: dict[str, float] = {}
    pipe = subprocess.PIPE
    with (
        (folder / "output.txt").open("w") as output,
        running([sys.executable, *PLAYED], stdin=pipe, stdout=pipe) as servers,
        running(cfm, stdout=output, stderr=output) as ours,
    ):
        assert servers.stdout is not None
        servers.stdout.readline()
        body = wait_listening(PORT)
        (folder / "body").write_bytes(body)
        bare = [sys.executable, __file__, "--serve", str(folder / "body")]
        with running(bare) as theirs:
            wait_listening(BARE_PORT)
            for _again in range(2):  # the second time, both are warm
                for label, pid, port in (("bare", theirs.pid, BARE_PORT), ("cfm", ours.pid, PORT)):
                    asked = for_seconds(given.seconds, reading(port))
                    figures |= measure(f"GET, {label}", pid, port, given.connections, asked)
            for label, pid, port in (("bare", theirs.pid, BARE_PORT), ("cfm", ours.pid, PORT)):
                reports = sent(reporting(port, task_id, status="working") for task_id in ids * given.reports)
                figures |= measure(f"PATCH working, {label}", pid, port, given.connections, reports)
        ends = sent(reporting(PORT, task_id, status="done", verified=True) for task_id in ids)
        figures |= measure("PATCH done, cfm", ours.pid, PORT, len(DESTINATIONS), ends)
    for kind in ("GET", "PATCH working"):
        ours_s, bare_s = (figures[f"{kind}, {label} a processor second"] for label in ("cfm", "bare"))
        figures[f"{kind}, cfm to bare aiohttp"] = ours_s / bare_s
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=100)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--reports", type=int, default=100, help="how often each task is reported")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        serve_bare(given.serve.read_bytes())
        return
    with tempfile.TemporaryDirectory() as folder:
        figures = run(given, Path(folder))
    if given.json:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        print(f"{name:36} {value:12,.2f}")


if __name__ == "__main__":
    main()
