"""A stand-in for the earlier cfm, as a worker sees it: its task list, and its requests.

It serves `GET /tasks` and `PATCH /tasks/{id}` (and lets `timeout` become `done`).  It answers 404 to the
waiting request.  It asks workers as the earlier cfm does: `HEAD /hb`, `GET /files`, `GET /df`, and `DELETE`
with the raw name, cut at `#`.  The test decides what is copied and deleted.

It shares no code with `wire`, on purpose: if `wire` makes a mistake, this must not make the same one.

As a process: `python -m cfm_lab.testing.old_controller --listen HOST:PORT`.  It then takes JSON lines on
its standard input and answers each with one: `{"do":"task","file":…,"path":…,"src":…,"dst":…}`,
`{"do":"tasks"}`, `{"do":"look","addr":…}`, `{"do":"delete","addr":…,"name":…}`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from aiohttp import web

from cfm.model import Addr
from cfm_lab.testing.plain_server import plain_server, run_process
from cfm_lab.testing.raw_http import request, say, status_of

_OLD_EDGES: Final[Mapping[str, frozenset[str]]] = {
    "ready": frozenset({"working", "done", "timeout"}),
    "working": frozenset({"working", "done", "timeout"}),
    "done": frozenset({"done"}),
    "timeout": frozenset({"timeout", "done"}),
}


@dataclass(frozen=True, slots=True)
class Looked:
    """What the earlier cfm learns about a worker in one round."""

    alive: bool
    names: tuple[str, ...]
    df: dict[str, Any]


class OldController:
    """`async with OldController(...)`: it serves until the block ends."""

    def __init__(self, listen: str = "127.0.0.1:0") -> None:
        self.addr = Addr(listen)
        self.tasks: dict[int, dict[str, Any]] = {}
        self.reports: list[tuple[int, dict[str, Any], int]] = []
        """(task id, body, status that was answered) of every report."""
        self.polls = 0
        self._changed = asyncio.Condition()
        self._open = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        self.addr = await self._open.enter_async_context(plain_server(self._app(), self.addr))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._open.aclose()

    def add_task(
        self, file: str, path: str, src: str, dst: str, *, speed_bps: int = 10_000_000, rank: int = 1
    ) -> int:
        """Put a ready task on the list.  Returns its id."""
        task = self.task_of(file, path, src, dst, speed_bps=speed_bps, rank=rank)
        self.tasks[int(task["id"])] = task
        return int(task["id"])

    def task_of(
        self, file: str, path: str, src: str, dst: str, *, speed_bps: int = 10_000_000, rank: int = 1
    ) -> dict[str, Any]:
        """A ready task as it would stand on the list."""
        task_id = max(time.time_ns(), max(self.tasks, default=0) + 1)
        now_s = task_id // 10**9
        return {
            "id": str(task_id),
            "ctime": now_s,
            "mtime": now_s,
            "status": "ready",
            "src_ip": src.rpartition(":")[0],
            "dst_ip": dst.rpartition(":")[0],
            "file_path": path,
            "file_name": file,
            "grade": rank,
            "copy_speed": str(speed_bps),
            "src_addr": src,
            "dst_addr": dst,
        }

    def clean(self, timeout_s: int = 3600) -> None:
        """What the earlier cfm does before it makes new tasks.

        It takes off the tasks that are done, and those that nobody has changed for its time limit.  A task
        that is `timeout` is none of the first.
        """
        long_ago_s = int(time.time()) - timeout_s
        kept = {
            task_id: task
            for task_id, task in self.tasks.items()
            if task["status"] != "done" and task["mtime"] >= long_ago_s
        }
        self.tasks = kept

    def occupied(self) -> set[str]:
        """The servers for which it makes no new task: both ends of every task that is on its list."""
        return {task[end] for task in self.tasks.values() for end in ("src_addr", "dst_addr")}

    async def reached(self, task_id: int, status: str, within_s: float = 10.0) -> None:
        """Wait until a task has this status."""
        async with asyncio.timeout(within_s), self._changed:
            await self._changed.wait_for(lambda: self.tasks[task_id]["status"] == status)

    # ── server ──────────────────────────────────────────────────────────────────────────────────────────

    def _app(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/tasks", self._list, allow_head=False)
        app.router.add_patch("/tasks/{id}", self._patch)
        app.router.add_delete("/tasks/{id}", self._remove)
        # the earlier cfm has no such path, and answers 404 to every method
        app.router.add_route("GET", "/tasks/{other}", _not_found)
        return app

    async def _list(self, _request: web.Request) -> web.Response:
        self.polls += 1
        tasks = [self.tasks[task_id] for task_id in sorted(self.tasks)]
        body = json.dumps(tasks, separators=(",", ":")).encode()
        return web.Response(body=body, headers={"Content-Type": "application/json;charset=UTF-8"})

    async def _patch(self, request: web.Request) -> web.Response:
        raw_id, body = request.match_info["id"], await request.read()
        status = self._report(raw_id, body)
        if raw_id.isdigit():
            self.reports.append((int(raw_id), _json(body), status))
        async with self._changed:
            self._changed.notify_all()
        return web.Response(status=status)

    def _report(self, raw_id: str, body: bytes) -> int:
        wanted = _json(body).get("status")
        if not raw_id.isdigit() or wanted not in _OLD_EDGES:
            return 400
        task = self.tasks.get(int(raw_id))
        if task is None:
            return 404
        if wanted not in _OLD_EDGES[task["status"]]:
            return 409
        task.update(status=wanted, mtime=int(time.time()))
        return 200

    async def _remove(self, request: web.Request) -> web.Response:
        raw_id = request.match_info["id"]
        if not raw_id.isdigit():
            return web.Response(status=400)
        return web.Response(status=404 if self.tasks.pop(int(raw_id), None) is None else 200)

    # ── requests ────────────────────────────────────────────────────────────────────────────────────────

    async def look(self, addr: str) -> Looked:
        """Ask a worker for its heartbeat, list and disk.

        Raises:
            OSError: the connection failed.
        """
        alive = status_of(await say(addr, request("HEAD", "/hb", host=addr))) == 200
        names = _body(await say(addr, request("GET", "/files", host=addr))).decode().splitlines()
        df = _body(await say(addr, request("GET", "/df", host=addr)))
        return Looked(alive, tuple(names), _json(df))

    async def delete(self, addr: str, name: str) -> int:
        """The status that a worker answers; 0 if it does not answer."""
        return status_of(await say(addr, request("DELETE", "/files/" + name.partition("#")[0], host=addr)))


async def _not_found(_request: web.Request) -> web.Response:
    return web.Response(status=404)


def _body(answer: bytes) -> bytes:
    return answer.partition(b"\r\n\r\n")[2]


def _json(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


async def _obey(controller: OldController, order: Mapping[str, Any]) -> object:
    match order.get("do"):
        case "task":
            return controller.add_task(order["file"], order["path"], order["src"], order["dst"])
        case "tasks":
            return list(controller.tasks.values())
        case "look":
            looked = await controller.look(order["addr"])
            return {"alive": looked.alive, "names": looked.names, "df": looked.df}
        case "delete":
            return await controller.delete(order["addr"], order["name"])
        case _:
            return {"error": "do what?"}


async def _converse(controller: OldController) -> None:
    print(f"listening on {controller.addr}", flush=True)
    orders = await _standard_input()
    while line := await orders.readline():
        try:
            told = await _obey(controller, _json(line))
        except (OSError, KeyError, TimeoutError) as error:
            told = {"error": repr(error)}
        print(json.dumps(told), flush=True)
    await asyncio.Event().wait()


async def _standard_input() -> asyncio.StreamReader:
    """Reads standard input in the event loop.  Nothing could end a `readline` in a thread."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    try:
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    except OSError:  # standard input is /dev/null, which cannot be waited for: there are no orders
        reader.feed_eof()
    return reader


def main() -> None:
    parser = argparse.ArgumentParser(description="stands in for an earlier cfm")
    parser.add_argument("--listen", required=True)
    given = parser.parse_args()

    async def serve() -> None:
        async with OldController(given.listen) as controller:
            await _converse(controller)

    run_process(serve)


if __name__ == "__main__":
    main()
