"""A stand-in for the earlier cfw, as it was seen to behave, on a real folder and real sockets.

It polls `GET /tasks`, and takes the first ready task for its own address.  It reports `working`, and
downloads even if that was refused.  It reports `done` once, without a retry, even if the download failed.
It stops polling while its own disk is above its own limit.  A start removes what downloads left, and
forgets the task that was under way.  It throws a whole list away if it cannot read one element.  It knows
neither `/content` nor any header of ours.
`Mischief` makes it behave even worse.

It shares no code with `wire`, on purpose: if `wire` makes a mistake, this must not make the same one.

As a process: `python -m cfm_lab.testing.old_worker --listen HOST:PORT --cfm HOST:PORT --base DIR
[--downloader PROGRAM] [--poll SECONDS] [--capacity BYTES] [--limit PERCENT]`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import unquote

import aiohttp
from aiohttp import web

from cfm.model import Addr, host_of
from cfm_lab.testing.plain_server import OLD_IDLE_S, plain_server, run_process

_STRINGS: Final = (
    "id",
    "status",
    "src_ip",
    "dst_ip",
    "file_path",
    "file_name",
    "copy_speed",
    "src_addr",
    "dst_addr",
)
_NUMBERS: Final = ("ctime", "mtime", "grade")
_STATUSES: Final = frozenset({"ready", "working", "done", "timeout"})
_TEMPORARY: Final = "temp.downloaded"


@dataclass
class Mischief:
    """Switches for worse behaviour.  A test may change them while the worker runs."""

    fail_downloads: bool = False
    hang: set[str] = field(default_factory=set)
    """Endpoints (`/hb`, `/files`, `/df`, `DELETE`) that never answer."""
    df: bytes | None = None
    """The false answer of `/df`; None: the true one."""
    extra_names: list[str] = field(default_factory=list)
    """Names that `/files` lists although there are no such files."""
    lose_reports: bool = False
    """No report reaches cfm."""


class OldWorker:
    """`async with OldWorker(...)`: it serves and polls until the block ends."""

    def __init__(
        self,
        *,
        listen: str,
        cfm: str,
        base: Path,
        downloader: str = "",
        poll_s: float = 5.0,
        capacity_bytes: int | None = None,
        match: str = "Successfully",
        limit_percent: int = 100,
    ) -> None:
        """Without a `downloader`, files are copied from the path of the source on this machine.  With
        `capacity_bytes`, `/df` reports a disk of that size that holds only `base`."""
        self.addr = Addr(listen)
        self.cfm = Addr(cfm)
        self.base = base
        self.mischief = Mischief()
        self.ended: list[tuple[str, bool]] = []
        """(task id, whether the download really worked) of every task that has ended."""
        self._downloader = downloader
        self._poll_s = poll_s
        self._capacity_bytes = capacity_bytes
        self._match = match
        self._limit_percent = limit_percent
        self._poll_now = asyncio.Event()
        self._open = contextlib.AsyncExitStack()
        self._session: aiohttp.ClientSession

    async def __aenter__(self) -> Self:
        shutil.rmtree(self.base / _TEMPORARY, ignore_errors=True)
        # On a machine of its own, its questions come from the address that it listens on.
        own = (host_of(self.addr), 0)
        connector = aiohttp.TCPConnector(keepalive_timeout=OLD_IDLE_S, local_addr=own)
        self._session = await self._open.enter_async_context(
            aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=5))
        )
        self.addr = await self._open.enter_async_context(plain_server(self._app(), self.addr))
        polling = asyncio.create_task(self._poll_for_ever())
        self._open.push_async_callback(_end, polling)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._open.aclose()

    def poll_now(self) -> None:
        """Ask cfm at once, or as soon as the present task has ended."""
        self._poll_now.set()

    # ── server ──────────────────────────────────────────────────────────────────────────────────────────

    def _app(self) -> web.Application:
        app = web.Application()
        app.router.add_route("HEAD", "/hb", self._heartbeat)
        app.router.add_get("/files", self._files, allow_head=False)
        app.router.add_get("/df", self._df, allow_head=False)
        app.router.add_delete("/files/{name:.*}", self._delete)
        return app

    async def _maybe_hang(self, endpoint: str) -> None:
        if endpoint in self.mischief.hang:
            await asyncio.Event().wait()

    async def _heartbeat(self, _request: web.Request) -> web.Response:
        await self._maybe_hang("/hb")
        return web.Response()

    async def _files(self, _request: web.Request) -> web.Response:
        await self._maybe_hang("/files")
        try:
            names = [entry.name for entry in os.scandir(self.base) if entry.is_file()]
        except OSError:
            return web.Response(status=500)
        lines = sorted(os.fsencode(name) + b"\n" for name in [*names, *self.mischief.extra_names])
        return web.Response(body=b"".join(lines), headers={"Content-Type": "text/plain;charset=UTF-8"})

    async def _df(self, _request: web.Request) -> web.Response:
        await self._maybe_hang("/df")
        body = self.mischief.df
        if body is None:
            body = json.dumps(self._usage(), separators=(",", ":")).encode()
        return web.Response(body=body, headers={"Content-Type": "application/json;charset=UTF-8"})

    def _usage(self) -> dict[str, object]:
        total, free, avail = self._sizes()
        used = total - free
        return {
            "total_size": str(total),
            "used_size": str(used),
            "avail_size": str(avail),
            "used_percent": int(100 * used / max(1, used + avail) + 0.5),
            "free_size": str(free),
        }

    def _sizes(self) -> tuple[int, int, int]:
        if self._capacity_bytes is None:
            disk = os.statvfs(self.base)
            return disk.f_blocks * disk.f_frsize, disk.f_bfree * disk.f_frsize, disk.f_bavail * disk.f_frsize
        used = sum(path.stat().st_size for path in self.base.rglob("*") if path.is_file())
        free = max(0, self._capacity_bytes - used)
        return self._capacity_bytes, free, free

    async def _delete(self, request: web.Request) -> web.Response:
        await self._maybe_hang("DELETE")
        name = unquote(request.raw_path.partition("?")[0].removeprefix("/files/"))
        if not name or "/" in name:
            return web.Response(status=400)
        return web.Response(status=self._unlink(self.base / name))

    def _unlink(self, path: Path) -> int:
        if path.is_dir():
            return 406
        try:
            path.unlink()
        except FileNotFoundError:
            return 404
        except OSError:
            return 500
        return 200

    # ── tasks ───────────────────────────────────────────────────────────────────────────────────────────

    async def _poll_for_ever(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._poll_s):
                    await self._poll_now.wait()
            self._poll_now.clear()
            with contextlib.suppress(aiohttp.ClientError, OSError, ValueError, KeyError):
                await self.poll_once()

    async def poll_once(self) -> None:
        """One round: ask for the list, and carry out the first task for this worker."""
        if int(str(self._usage()["used_percent"])) > self._limit_percent:
            return
        async with self._session.get(f"http://{self.cfm}/tasks") as answer:
            tasks = read_list(await answer.read())
        for task in tasks:
            if task["status"] == "ready" and task["dst_addr"] == self.addr:
                await self._carry_out(task)
                return

    async def _carry_out(self, task: dict[str, Any]) -> None:
        await self._report(task["id"], "working")
        worked = await self._download(task)
        self.ended.append((task["id"], worked))
        await self._report(task["id"], "done")

    async def _report(self, task_id: str, status: str) -> None:
        if self.mischief.lose_reports:
            return
        with contextlib.suppress(aiohttp.ClientError, OSError):
            body = json.dumps({"status": status}).encode()
            async with self._session.patch(f"http://{self.cfm}/tasks/{task_id}", data=body) as answer:
                await answer.read()

    async def _download(self, task: dict[str, Any]) -> bool:
        target = self.base / _TEMPORARY / f"{task['file_name']}.{task['id']}"
        try:
            target.parent.mkdir(exist_ok=True)
            if self.mischief.fail_downloads or not await self._fetch(task, target):
                return False
            target.rename(self.base / task["file_name"])
        except OSError:
            return False
        return True

    async def _fetch(self, task: dict[str, Any], target: Path) -> bool:
        if not self._downloader:
            await asyncio.to_thread(shutil.copyfile, task["file_path"], target)
            return True
        arguments = (task["src_ip"], str(target), task["file_path"], task["copy_speed"])
        process = await asyncio.create_subprocess_exec(
            self._downloader,
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        try:
            _, told = await process.communicate()
        except asyncio.CancelledError:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # the downloader, and the programs that it started
            await process.wait()
            raise
        return process.returncode == 0 and self._match.encode() in told


def read_list(body: bytes) -> list[dict[str, Any]]:
    """The task list, read as strictly as the earlier worker does.  ValueError if any element is wrong."""
    tasks = json.loads(body)
    if not isinstance(tasks, list):
        raise ValueError("not a list")  # noqa: TRY004 - one kind of error for everything that cannot be read
    for task in tasks:
        right_types = all(isinstance(task[key], str) for key in _STRINGS) and all(
            type(task[key]) is int for key in _NUMBERS
        )
        if not right_types or task["status"] not in _STATUSES:
            raise ValueError("a task that cannot be read")
    return tasks


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])


def main() -> None:
    parser = argparse.ArgumentParser(description="stands in for an earlier cfw")
    parser.add_argument("--listen", required=True)
    parser.add_argument("--cfm", required=True)
    parser.add_argument("--base", required=True, type=Path)
    parser.add_argument("--downloader", default="")
    parser.add_argument("--poll", type=float, default=5.0)
    parser.add_argument("--capacity", type=int)
    parser.add_argument("--limit", type=int, default=100)
    parser.add_argument("--fail-downloads", action="store_true")
    given = parser.parse_args()

    async def serve() -> None:
        worker = OldWorker(
            listen=given.listen,
            cfm=given.cfm,
            base=given.base,
            downloader=given.downloader,
            poll_s=given.poll,
            capacity_bytes=given.capacity,
            limit_percent=given.limit,
        )
        worker.mischief.fail_downloads = given.fail_downloads
        async with worker:
            print(f"listening on {worker.addr}", flush=True)
            await asyncio.Event().wait()

    run_process(serve)


if __name__ == "__main__":
    main()
