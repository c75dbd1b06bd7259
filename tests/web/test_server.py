"""The server over raw sockets: what no client of ours would send, and what no peer may bring about."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web

from cfm import wire
from cfm.errors import StateError
from cfm.web import (
    STOPPING,
    Limits,
    RefusedError,
    WebServer,
    empty,
    html_page,
    json_answer,
    old_json,
    serve,
)
from cfm_lab.testing.raw_http import connect, hang_up, read_all, request, say, status_of

LIMITS = Limits(head_s=5, body_s=5, idle_s=5, stall_s=5, stop_s=2)


class Deeds:
    """A small application, and what it was brought to do."""

    def __init__(self) -> None:
        self.reports: list[object] = []
        self.begun = asyncio.Event()
        self.go_on = asyncio.Event()
        self.dropped = asyncio.Event()
        self.finished = asyncio.Event()
        self.path = Path()

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_route("HEAD", "/hb", self.heartbeat)
        app.router.add_get("/tasks", self.tasks, allow_head=False)
        app.router.add_patch("/tasks/{id}", self.report)
        app.router.add_get("/page", self.page)
        app.router.add_get("/held", self.held)
        app.router.add_get("/big", self.big)
        app.router.add_get("/stream", self.stream)
        app.router.add_get("/file", self.file)
        app.router.add_get("/broken", self.broken)
        app.router.add_get("/broken-midway", self.broken_midway)
        app.router.add_delete("/slow", self.slow_change)
        app.router.add_get("/api/v1/files/{name}", self.no_such_file)
        return app

    async def heartbeat(self, _request: web.Request) -> web.Response:
        return empty()

    async def tasks(self, _request: web.Request) -> web.Response:
        return old_json([])

    async def report(self, request: web.Request) -> web.Response:
        try:
            self.reports.append(wire.parse_json_object(await request.read()))
        except wire.WireError as error:
            raise RefusedError(400, str(error)) from None
        return empty()

    async def page(self, _request: web.Request) -> web.Response:
        return html_page("<p>hello</p>")

    async def held(self, request: web.Request) -> web.Response:
        self.begun.set()
        try:
            await request.app[STOPPING].wait()
        except asyncio.CancelledError:
            self.dropped.set()
            raise
        return json_answer({"stopped": True})

    async def big(self, _request: web.Request) -> web.Response:
        return web.Response(body=b"x" * 50_000_000)

    async def stream(self, request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        try:
            while True:
                await answer.write(b"x" * 65536)
        finally:
            self.dropped.set()

    async def file(self, request: web.Request) -> web.StreamResponse:
        answer = web.FileResponse(self.path)
        try:
            await answer.prepare(request)  # sends it all
        finally:
            self.dropped.set()
        return answer

    async def broken_midway(self, request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        answer.content_length = 100
        await answer.prepare(request)
        await answer.write(b"half")
        raise RuntimeError("secret detail")

    async def broken(self, _request: web.Request) -> web.Response:
        raise RuntimeError("secret detail")

    async def slow_change(self, _request: web.Request) -> web.Response:
        self.begun.set()
        await self.go_on.wait()
        self.finished.set()
        return empty()

    async def no_such_file(self, _request: web.Request) -> web.Response:
        raise RefusedError(404, "no such file")


@pytest.fixture
def deeds() -> Deeds:
    return Deeds()


@pytest.fixture
async def server(deeds: Deeds) -> AsyncIterator[WebServer]:
    async with serve(deeds.app(), "127.0.0.1:0", names=["cfm.example"], limits=LIMITS) as running:
        yield running


async def test_an_old_endpoint_answers_in_its_exact_form(server: WebServer) -> None:
    answer = await say(server.addr, request("GET", "/tasks"))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert status_of(answer) == 200
    assert b"\r\nContent-Type: application/json;charset=UTF-8\r\n" in head
    assert body == b"[]"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("GET", "/tasks/next", 405),
        ("POST", "/tasks", 405),
        ("HEAD", "/tasks", 405),
        ("GET", "/hb", 405),
        ("HEAD", "/hb", 200),
        ("TRACE", "/tasks", 405),
        ("GET", "/api/v1/files/x", 404),
    ],
)
async def test_paths_and_methods(server: WebServer, method: str, path: str, status: int) -> None:
    assert status_of(await say(server.addr, request(method, path))) == status


async def test_refusals_are_problems_on_new_endpoints_and_empty_on_old_ones(server: WebServer) -> None:
    new = await say(server.addr, request("GET", "/api/v1/files/x"))
    assert b"Content-Type: application/problem+json\r\n" in new
    assert new.endswith(b'{"type":"about:blank","title":"Not Found","status":404,"detail":"no such file"}')
    assert b"\r\nCfm-Reason: no such file\r\n" in new
    old = await say(server.addr, request("PUT", "/tasks"))
    assert b"\r\nCfm-Reason: Method Not Allowed\r\n" in old
    assert b"\r\nAllow: GET\r\n" in old
    assert old.endswith(b"\r\n\r\n")


MALFORMED = {
    "length and chunks": b"PATCH /tasks/1 HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 4\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": b"PATCH /tasks/1 HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 2\r\n"
    b"Content-Length: 3\r\n\r\n{}}",
    "chunked, not last": b"PATCH /tasks/1 HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    "bare line feeds": b"GET /tasks HTTP/1.1\nHost: 127.0.0.1\n\n",
    "folded header": b"GET /tasks HTTP/1.1\r\nHost: 127.0.0.1\r\nX-A: b\r\n c\r\n\r\n",
    "no host": b"GET /tasks HTTP/1.1\r\nConnection: close\r\n\r\n",
    "no host, old http": b"GET /tasks HTTP/1.0\r\n\r\n",
    "two hosts": b"GET /tasks HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: cfm.example\r\nConnection: close\r\n\r\n",
    "space before colon": b"GET /tasks HTTP/1.1\r\nHost : 127.0.0.1\r\n\r\n",
    "NUL in a header": b"GET /tasks HTTP/1.1\r\nHost: 127.0.0.1\r\nX-A: \0\r\n\r\n",
    "control in the path": b"GET /ta\x1bsks HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "bad chunk size": b"PATCH /tasks/1 HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
    "absolute path of another": b"GET http://evil.example/tasks HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "no http": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "huge header": b"GET /tasks HTTP/1.1\r\nHost: 127.0.0.1\r\nX-A: " + b"a" * 20_000 + b"\r\n\r\n",
    "many headers": b"GET /tasks HTTP/1.1\r\nHost: 127.0.0.1\r\n" + b"X-A: a\r\n" * 1000 + b"\r\n",
    "long path": b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
}


@pytest.mark.parametrize("what", MALFORMED)
async def test_malformed_requests_get_400_and_the_connection_ends(
    server: WebServer, deeds: Deeds, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    answer = await say(server.addr, MALFORMED[what])
    assert status_of(answer) == 400
    assert answer.count(b"HTTP/1.") == 1
    assert answer.endswith((b'"detail":"not a well-formed request"}', b"\r\n\r\n"))
    assert not deeds.reports
    assert "Traceback" not in caplog.text
    assert status_of(await say(server.addr, request("GET", "/tasks"))) == 200


@pytest.mark.parametrize(
    "body",
    [
        b"not json",
        b'{"bytes":NaN}',
        b'{"status":"done","status":"done"}',
        b'{"a":' + b"[" * 30_000 + b"]" * 30_000 + b"}",
        b"[" * 60_000,
    ],
)
async def test_bad_json_gets_400(server: WebServer, deeds: Deeds, body: bytes) -> None:
    assert status_of(await say(server.addr, request("PATCH", "/tasks/1", body=body))) == 400
    assert not deeds.reports


async def test_a_body_may_be_64_kib(server: WebServer, deeds: Deeds) -> None:
    body = b'{"a":"' + b"x" * (64 * 1024 - 8) + b'"}'
    assert status_of(await say(server.addr, request("PATCH", "/tasks/1", body=body))) == 200
    assert len(deeds.reports) == 1


@pytest.mark.parametrize("size", [64 * 1024 + 1, 10_000_000])
async def test_larger_bodies_get_413(server: WebServer, deeds: Deeds, size: int) -> None:
    assert status_of(await say(server.addr, request("PATCH", "/tasks/1", body=b"x" * size))) == 413
    chunked = request("PATCH", "/tasks/1", Transfer_Encoding="chunked") + b"%x\r\n" % size + b"x" * size
    assert status_of(await say(server.addr, chunked + b"\r\n0\r\n\r\n")) == 413
    assert not deeds.reports


async def test_bodies_are_not_decompressed(server: WebServer, deeds: Deeds) -> None:
    asked = request("PATCH", "/tasks/1", body=b"\x1f\x8b...", Content_Encoding="gzip")
    assert status_of(await say(server.addr, asked)) == 415
    assert not deeds.reports


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8080", 200),
        ("10.1.2.3", 200),
        ("[::1]:8080", 200),
        ("localhost:1", 200),
        ("CFM.example.:80", 200),
        (socket.gethostname(), 200),
        ("evil.example", 400),
        ("cfm.example.evil.example", 400),
        ("127.0.0.1.evil.example", 400),
        ("127.0.0.1@evil.example", 400),
        ("", 400),
    ],
)
async def test_only_our_own_names_are_served(server: WebServer, host: str, status: int) -> None:
    assert status_of(await say(server.addr, request("GET", "/tasks", host=host))) == status


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://127.0.0.1:80", 200),
        ("http://127.0.0.1:81", 403),
        ("http://evil.example", 403),
        ("null", 403),
        ("http://[bad", 403),
    ],
)
async def test_changes_from_another_sites_page_are_refused(
    server: WebServer, deeds: Deeds, origin: str, status: int
) -> None:
    asked = request("PATCH", "/tasks/1", host="127.0.0.1:80", body=b"{}", Origin=origin)
    assert status_of(await say(server.addr, asked)) == status
    assert len(deeds.reports) == (status == 200)
    reading = request("GET", "/tasks", host="127.0.0.1:80", Origin=origin)
    assert status_of(await say(server.addr, reading)) == 200


async def test_pages_come_with_a_strict_policy(server: WebServer) -> None:
    page = await say(server.addr, request("GET", "/page"))
    assert b"Content-Security-Policy: default-src 'none';" in page
    assert b"X-Content-Type-Options: nosniff" in page
    assert b"Server: cfm\r\n" in page


async def test_an_error_of_ours_tells_nothing_of_itself(server: WebServer) -> None:
    answer = await say(server.addr, request("GET", "/broken"))
    assert status_of(answer) == 500
    assert b"secret" not in answer


async def test_an_answer_that_fails_midway_is_cut_not_continued(server: WebServer) -> None:
    answer = await say(server.addr, request("GET", "/broken-midway"))
    assert answer.endswith(b"\r\n\r\nhalf")


@asynccontextmanager
async def served(deeds: Deeds, **changed: float) -> AsyncIterator[WebServer]:
    limits = replace(LIMITS, **changed)  # type: ignore[arg-type]  # names of fields, given by the tests below
    async with serve(deeds.app(), "127.0.0.1:0", limits=limits) as running:
        yield running


async def drip(addr: str, beginning: bytes, more: bytes) -> bytes:
    """Send `more`, byte after byte, without an end, until the server has had enough."""
    reader, writer = await connect(addr)
    writer.write(beginning)

    async def on_and_on() -> None:
        while True:
            writer.write(more)
            await asyncio.sleep(0.02)  # the slowness is what is being tested

    dripping = asyncio.create_task(on_and_on())
    try:
        return await read_all(reader)
    finally:
        dripping.cancel()
        await hang_up(writer)


async def test_headers_that_never_end_are_cut(deeds: Deeds) -> None:
    async with served(deeds, head_s=0.2) as server:
        assert await drip(server.addr, b"GET /tasks HTTP/1.1\r\nX-A: ", b"a") == b""
        kept = b"GET /tasks HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
        assert (
            status_of(await drip(server.addr, kept + b"GET /", b"a")) == 200
        )  # then cut in its second request
        assert server.turned_away == 2


async def test_a_connection_without_a_request_is_cut(deeds: Deeds) -> None:
    async with served(deeds, head_s=0.1) as server:
        assert await say(server.addr, b"") == b""
        assert server.connections == 0


async def test_a_kept_connection_without_requests_is_closed(deeds: Deeds) -> None:
    async with served(deeds, idle_s=0.1) as server:
        kept = b"GET /tasks HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
        assert status_of(await say(server.addr, kept)) == 200
        assert server.turned_away == 0


async def test_a_slow_body_is_cut(deeds: Deeds) -> None:
    async with served(deeds, body_s=0.2) as server:
        head = b"PATCH /tasks/1 HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n\r\n"
        assert status_of(await drip(server.addr, head, b"x")) == 408
        assert not deeds.reports


async def test_a_reader_who_does_not_read_is_cut(deeds: Deeds) -> None:
    async with served(deeds, stall_s=0.1) as server:
        reader, writer = await connect(server.addr)
        writer.write(request("GET", "/stream"))
        assert await reader.readexactly(15) == b"HTTP/1.1 200 OK"
        async with asyncio.timeout(5):
            await deeds.dropped.wait()
        assert server.connections == 0
        await hang_up(writer)


async def test_a_reader_of_a_file_who_does_not_read_is_cut_by_the_kernel(
    deeds: Deeds, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    deeds.path = tmp_path / "file"
    with deeds.path.open("wb") as file:
        file.truncate(50_000_000)
    async with served(deeds, dead_peer_s=0.2) as server:
        reader, writer = await connect(server.addr)
        writer.write(request("GET", "/file"))
        assert await reader.readexactly(15) == b"HTTP/1.1 200 OK"
        async with asyncio.timeout(20):
            await deeds.dropped.wait()
        await hang_up(writer)
    assert "request failed" not in capsys.readouterr().out


async def test_a_reader_who_reads_gets_all(deeds: Deeds) -> None:
    async with served(deeds, stall_s=0.5) as server:
        assert len(await say(server.addr, request("GET", "/big"))) > 50_000_000


async def half_open(addr: str, stack: AsyncExitStack, count: int) -> None:
    for _ in range(count):
        _, writer = await connect(addr)
        writer.write(b"GET /tasks HTTP/1.1\r\nX-A: ")
        stack.push_async_callback(hang_up, writer)


async def test_hundreds_of_half_open_requests_do_not_disturb_a_heartbeat(deeds: Deeds) -> None:
    async with served(deeds, connections_per_address=50) as server, AsyncExitStack() as stack:
        slowest_s = 0.0
        for _ in range(8):
            await half_open(server.addr, stack, 50)
            begun = time.monotonic()
            assert status_of(await say(server.addr, request("HEAD", "/hb"))) == 200
            slowest_s = max(slowest_s, time.monotonic() - begun)
        assert server.connections <= 50
        assert server.turned_away >= 350
        assert slowest_s < 3


async def test_connections_in_all_are_bounded(deeds: Deeds) -> None:
    async with served(deeds, connections=20) as server, AsyncExitStack() as stack:
        await half_open(server.addr, stack, 40)
        assert status_of(await say(server.addr, request("HEAD", "/hb"))) == 200
        assert server.connections <= 20


async def test_busy_connections_do_not_give_way(deeds: Deeds) -> None:
    async with served(deeds, connections_per_address=1) as server:
        held_reader, held_writer = await connect(server.addr)
        held_writer.write(request("GET", "/held"))
        await deeds.begun.wait()
        assert await say(server.addr, request("HEAD", "/hb")) == b""
        server._app[STOPPING].set()
        assert status_of(await read_all(held_reader)) == 200
        await hang_up(held_writer)


async def test_a_held_request_ends_with_its_client(server: WebServer, deeds: Deeds) -> None:
    _, writer = await connect(server.addr)
    writer.write(request("GET", "/held"))
    await deeds.begun.wait()
    await hang_up(writer)
    async with asyncio.timeout(5):
        await deeds.dropped.wait()


async def test_a_change_ends_well_without_its_client(server: WebServer, deeds: Deeds) -> None:
    _, writer = await connect(server.addr)
    writer.write(request("DELETE", "/slow"))
    await deeds.begun.wait()
    await hang_up(writer)
    assert status_of(await say(server.addr, request("HEAD", "/hb"))) == 200
    deeds.go_on.set()
    async with asyncio.timeout(5):
        await deeds.finished.wait()


async def test_stopping_answers_held_requests(deeds: Deeds) -> None:
    async with serve(deeds.app(), "127.0.0.1:0", limits=LIMITS) as server:
        reader, writer = await connect(server.addr)
        writer.write(request("GET", "/held"))
        await deeds.begun.wait()
    assert b'{"stopped":true}' in await read_all(reader)
    await hang_up(writer)


async def test_stopping_does_not_wait_for_those_who_never_end(deeds: Deeds) -> None:
    limits = replace(LIMITS, stop_s=0.4)
    begun = 0.0
    async with serve(deeds.app(), "127.0.0.1:0", limits=limits) as server:
        _, idle = await connect(server.addr)
        _, slow = await connect(server.addr)
        slow.write(request("DELETE", "/slow"))
        await deeds.begun.wait()
        begun = time.monotonic()
    assert time.monotonic() - begun < 2
    for writer in (idle, slow):
        await hang_up(writer)


async def test_a_taken_port_is_one_clear_sentence(server: WebServer) -> None:
    with pytest.raises(StateError, match=r"cannot listen on 127\.0\.0\.1:\d+: the port is in use"):
        await WebServer(web.Application(), server.addr).start()


@pytest.mark.parametrize(
    "addr", ["192.0.2.1:0", "no-such-host.invalid:0", "127.0.0.1", "127.0.0.1:x", ":99999"]
)
async def test_addresses_that_cannot_be_are_one_clear_sentence(addr: str) -> None:
    with pytest.raises(StateError):
        await WebServer(web.Application(), addr).start()


async def test_a_port_alone_means_all_addresses(deeds: Deeds) -> None:
    async with serve(deeds.app(), ":0", limits=LIMITS) as server:
        assert server.addr == f":{server.port}"
        for host in ("127.0.0.1", "127.0.0.9"):
            assert status_of(await say(f"{host}:{server.port}", request("GET", "/tasks"))) == 200


def test_there_is_no_serving_without_the_c_parser() -> None:
    program = "from cfm.web.server import check_parser; check_parser()"
    ended = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "AIOHTTP_NO_EXTENSIONS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "StateError: aiohttp is installed without its C parser" in ended.stderr
