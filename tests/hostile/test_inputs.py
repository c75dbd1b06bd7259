"""Inputs that must bounce, against both real servers, over raw sockets.

`ROWS` is the list of what must bounce, and where each is tried; a test here holds it to the tests that there
are.  What a room already tries at its own server is not repeated: tests of this module are those that need
the whole program (its log, its pages), or that nobody else makes.
"""

from __future__ import annotations

import ast
import asyncio
import itertools
import json
import logging
import os
import socket
import stat
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import pytest
import structlog

from cfm.logs import setup_logging, stop_logging
from cfm.model import Status
from cfm.web import Limits
from cfm_lab.testing.controller_rig import DESTINATIONS, ControllerRig, a_task, controller_rig
from cfm_lab.testing.raw_http import connect, hang_up, read_all, request, say, status_of
from cfm_lab.testing.worker_rig import WorkerRig, parse, worker_rig

ROOT = Path(__file__).parents[1]
ROWS: Final[Mapping[str, tuple[str, ...]]] = {
    "names that lead elsewhere: dots, encoded dots, backslashes, empty, hidden": (
        "worker/test_api.py test_of_what_is_no_name_bounces",
        "worker/test_content.py test_names_that_must_bounce",
        "hostile/test_inputs.py test_no_name_leads_out_of_a_folder",
        "web/test_paths.py test_whatever_is_read_is_a_file_name",
    ),
    "names with NUL, line ends, ESC, U+202E, of 256 bytes: 400, and one escaped log line": (
        "hostile/test_inputs.py test_a_hostile_name_is_one_escaped_line_in_the_log",
        "test_logs.py test_whatever_is_logged_is_one_printable_line",
    ),
    "names with #, ?, spaces, %, unicode: exactly that file; a query on a delete": (
        "worker/test_api.py test_of_exactly_that_file",
        "worker/test_content.py test_exactly_that_file",
        "web/test_paths.py test_names_are_decoded_once",
    ),
    "links, FIFOs, devices and folders in base_dir, also when put there meanwhile": (
        "worker/test_api.py test_nothing_but_a_file",
        "worker/test_content.py test_what_is_no_plain_file_bounces",
        "worker/test_shelf.py test_nothing_else",
        "worker/test_base_dir.py test_what_is_no_plain_file_is_never_opened_or_replaced",
        "hostile/test_inputs.py test_a_device_is_no_file",
        "hostile/test_inputs.py test_a_link_that_is_swapped_in_is_never_followed",
    ),
    "a task whose file name is no single component": (
        "hostile/test_programs.py test_a_name_that_is_no_single_component_is_a_failed_task",
        "worker/test_offers.py test_a_name_is_a_single_component",
        "worker/test_downloads.py test_what_must_not_begin_is_told_as_failed",
    ),
    "ranges: ten thousand parts, backwards, other scripts' digits, 10^30": (
        "worker/test_content.py test_no_such_part",
        "worker/test_content.py test_ten_thousand_parts_bounce",
        "worker/test_content.py test_digits_of_other_scripts_bounce",
        "worker/test_ranges.py test_of_a_file_of_a_hundred_bytes",
    ),
    "a task whose source is no peer; redirects; proxies of the environment": (
        "hostile/test_programs.py test_a_source_that_is_no_peer_is_refused_before_connecting",
        "worker/test_offers.py test_servers_may_be_addresses_or_names",
        "worker/test_downloads.py test_what_must_not_begin_is_told_as_failed",
        "worker/test_transfers_builtin.py test_looks_at_the_address_that_it_really_connects_to",
        "worker/test_transfers_builtin.py test_uses_no_proxy_of_the_environment",
        "worker/test_link.py test_a_redirect_is_not_followed",
    ),
    "a source that sends less, more, other bytes, a redirect, gzip, endless chunks": (
        "hostile/test_programs.py test_a_source_that_does_not_send_the_file_leaves_nothing",
        "conformance/test_transfers.py test_fails_where_the_file_cannot_be_had_whole",
        "worker/test_transfers_builtin.py test_refuses_what_is_not_the_file",
        "worker/test_transfers_builtin.py test_endless_chunks_leave_nothing",
        "worker/test_transfers_builtin.py test_more_than_was_stated_is_not_read",
    ),
    "no, wrong, empty, endless token: 401; another worker's task: 403; an old epoch: 409": (
        "security/test_roles.py test_cfm_answers_nothing_without_valid_credentials",
        "security/test_roles.py test_cfw_answers_nothing_without_valid_credentials",
        "security/test_roles.py test_a_token_of_a_megabyte_is_answered_at_once",
        "security/test_roles.py test_a_worker_touches_its_own_tasks_only",
        "security/test_tls.py test_without_our_certificate_there_is_no_connection",
        "worker/test_api.py test_a_bound_worker_obeys_its_controller_only",
    ),
    "reports with an unknown status, NaN, a key twice, deep nesting, ten megabytes": (
        "hostile/test_inputs.py test_a_report_that_is_none_changes_nothing",
        "hostile/test_inputs.py test_a_report_of_ten_megabytes_bounces_before_it_is_read",
        "test_wire.py test_what_is_no_report_is_refused",
    ),
    "half-open headers by the thousand, slow bodies, slow readers: heartbeats go on": (
        "hostile/test_inputs.py test_half_open_requests_by_the_thousand_hold_up_no_heartbeat",
        "web/test_server.py test_headers_that_never_end_are_cut",
        "web/test_server.py test_a_slow_body_is_cut",
        "web/test_server.py test_a_reader_who_does_not_read_is_cut",
        "worker/test_content.py test_a_reader_who_does_not_read_is_cut",
    ),
    "settings with a python tag, an alias bomb, keys twice or unknown, a limit of 0 or 101": (
        "hostile/test_programs.py test_settings_that_must_not_be_taken_end_the_start_of_cfm",
        "hostile/test_programs.py test_settings_that_must_not_be_taken_end_the_start_of_cfw",
        "config/test_load.py test_refusals_of_form",
        "config/test_load.py test_an_alias_bomb_costs_nothing",
        "config/test_load.py test_a_limit_is_a_decimal_percentage",
    ),
    "markup and terminal codes in a name: escaped everywhere; a strict policy on pages": (
        "hostile/test_inputs.py test_a_name_is_text_on_every_page",
        "web/test_server.py test_pages_come_with_a_strict_policy",
        "cli/test_render.py test_no_name_plays_with_the_terminal",
        "test_logs.py test_values_cannot_forge_anything",
    ),
    "changes asked for by another site's page: refused by their Origin; no cookies": (
        "hostile/test_inputs.py test_another_site_s_page_changes_nothing",
        "worker/test_api.py test_asked_for_by_another_sites_page_bounces",
        "web/test_server.py test_only_our_own_names_are_served",
    ),
}


def functions(path: Path) -> set[str]:
    found = ast.walk(ast.parse(path.read_text()))
    return {node.name for node in found if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


@pytest.mark.parametrize("row", ROWS)
def test_every_row_is_tried(row: str) -> None:
    for place in ROWS[row]:
        file, _, name = place.partition(" ")
        assert name in functions(ROOT / file), place


@pytest.fixture
async def cfw(tmp_path: Path) -> AsyncIterator[WorkerRig]:
    async with worker_rig(tmp_path) as rig:
        yield rig


@pytest.fixture
async def cfm(tmp_path: Path) -> AsyncIterator[ControllerRig]:
    async with controller_rig(tmp_path, [a_task(1, EVIL), a_task(2, "B.mpg", DESTINATIONS[1])]) as rig:
        yield rig


# ── names ───────────────────────────────────────────────────────────────────────────────────────────────

EVIL = '<script>alert("1")</script>&amp;\'-->.mpg'
LEADING_OUT = (
    "..%2f..%2fetc%2fpasswd",
    "../../etc/passwd",
    "%2e%2e/%2e%2e/etc/passwd",
    "%2e%2e%2foutside",
    "..\\outside",
    "..%5coutside",
    "%252e%252e%252foutside",
    "%c0%ae%c0%ae%c0%afoutside",
    "..%00/outside",
    "outside%00.mpg",
    "%2Foutside",
    ".",
    "..",
    "",
    ".cfw-id",
    "folder/inside",
    "//outside",
)


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/content/"), ("HEAD", "/content/"), ("DELETE", "/files/"), ("GET", "/files/")],
)
async def test_no_name_leads_out_of_a_folder(cfw: WorkerRig, method: str, path: str) -> None:
    secret = b"nobody's business"
    (cfw.base.parent / "outside").write_bytes(secret)
    for folder in (cfw.base, cfw.source):
        (folder / "folder").mkdir()
        (folder / "folder" / "inside").write_bytes(secret)
    for name in LEADING_OUT:
        answer = await say(cfw.addr, request(method, path + name))
        assert status_of(answer) in (400, 404, 405), name
        assert secret not in answer
    assert (cfw.base.parent / "outside").read_bytes() == secret
    assert (cfw.base / "folder" / "inside").exists()


async def test_no_name_leads_cfm_anywhere(cfm: ControllerRig) -> None:
    """What was encoded twice is a name like another, which nobody knows."""
    for name in LEADING_OUT:
        answer = await cfm.ask("GET", f"/api/v1/files/{name}")
        assert answer.status in (400, 404) or json.loads(answer.body)["known"] is False, name


@pytest.fixture
def log_file(tmp_path: Path) -> Iterator[Path]:
    """The log as an operator reads it."""
    root = logging.getLogger()
    level = root.level
    setup_logging("debug", tmp_path / "log", "cfw")
    yield tmp_path / "log" / "cfw.log"
    stop_logging()
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.mark.parametrize(
    "name",
    [
        "a%00b.mpg",
        "a%0d%0aForged: line",
        "a%0a2026-11-23 deleted file file=everything",
        "%1b[2J%1b[31mred",
        "a%e2%80%aegpm.b",
        "%c2%85",
        "x" * 256,
    ],
)
async def test_a_hostile_name_is_one_escaped_line_in_the_log(
    log_file: Path, cfw: WorkerRig, name: str
) -> None:
    before = len(log_file.read_text().splitlines()) if log_file.exists() else 0
    assert (await cfw.ask("DELETE", f"/files/{name.replace(' ', '%20')}")).status == 400
    stop_logging()  # lines are written beside the loop; this waits for the last one
    lines = log_file.read_bytes().split(b"\n")[before:-1]
    assert len(lines) == 1
    assert lines[0].isascii()
    assert lines[0].decode().isprintable()


async def test_a_device_is_no_file(cfw: WorkerRig) -> None:
    """Reading this one would never end."""
    device = cfw.base / "ZERO.mpg"
    try:
        os.mknod(device, stat.S_IFCHR | 0o666, os.makedev(1, 5))
    except PermissionError:
        pytest.skip("only root may make a device here")
    for method, path in (("GET", "/content/ZERO.mpg?in=base"), ("HEAD", "/content/ZERO.mpg?in=base")):
        assert (await cfw.ask(method, path)).status == 404
    assert (await cfw.ask("DELETE", "/files/ZERO.mpg")).status == 406
    assert (await cfw.ask("GET", "/files")).body == b""
    assert device.is_char_device()


async def test_a_link_that_is_swapped_in_is_never_followed(cfw: WorkerRig, tmp_path: Path) -> None:
    """While requests go on, the name is now a file, now a link to somebody else's."""
    secret, own = tmp_path / "secret", cfw.base / "A.mpg"
    secret.write_bytes(b"nobody's business")
    over = threading.Event()

    def swap() -> None:
        for number in itertools.count():
            beside = cfw.base / ".beside"
            if number % 2:
                beside.symlink_to(secret)
            else:
                beside.write_bytes(b"plain")
            beside.rename(own)
            if over.is_set():
                return

    swapping = threading.Thread(target=swap)
    swapping.start()
    try:
        for _ in range(60):
            got = await cfw.ask("GET", "/content/A.mpg?in=base")
            assert got.status in (200, 404, 500)
            assert secret.read_bytes() not in got.body
            assert (await cfw.ask("DELETE", "/files/A.mpg")).status in (200, 404, 406, 500)
    finally:
        over.set()
        await asyncio.to_thread(swapping.join)
    assert secret.read_bytes() == b"nobody's business"


# ── reports ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"null",
        b'"working"',
        b'[{"status":"done"}]',
        b'{"status":"deleted"}',
        b'{"status":"ready "}',
        b'{"status":"WORKING"}',
        b'{"status":["working"]}',
        b'{"status":"working","bytes":NaN}',
        b'{"status":"working","bytes":-1}',
        b'{"status":"working","bytes":1e400}',
        b'{"status":"working","bytes":' + b"9" * 5000 + b"}",
        b'{"status":"done","status":"working"}',
        b'{"status":"working"}{"status":"done"}',
        b'{"status":"work\xffing"}',
        '{"status":"working"}'.encode("utf-16"),
        b'{"status":' + b"[" * 30_000 + b"]" * 30_000 + b"}",
        b"[" * 60_000,
        b'{"a":' * 12_000,
    ],
)
async def test_a_report_that_is_none_changes_nothing(cfm: ControllerRig, body: bytes) -> None:
    assert (await cfm.ask("PATCH", "/tasks/1", body)).status == 400
    assert cfm.status_of(1) is Status.READY


@pytest.mark.parametrize("depth", [10**5, 10**6])
async def test_a_report_too_deep_to_be_taken_bounces(cfm: ControllerRig, depth: int) -> None:
    answer = await say(cfm.addr, request("PATCH", "/tasks/1", body=b"[" * depth))
    assert status_of(answer) == 413
    assert cfm.status_of(1) is Status.READY


@pytest.mark.parametrize("stated", [True, False], ids=["of stated length", "in chunks"])
async def test_a_report_of_ten_megabytes_bounces_before_it_is_read(cfm: ControllerRig, stated: bool) -> None:
    megabyte = b" " * 2**20
    how = f"Content-Length: {10 * 2**20}" if stated else "Transfer-Encoding: chunked"
    reader, writer = await connect(cfm.addr)
    writer.write(f"PATCH /tasks/1 HTTP/1.1\r\nHost: 127.0.0.1\r\n{how}\r\n\r\n".encode())
    writer.write(megabyte if stated else b"100000\r\n" + megabyte + b"\r\n")
    assert b" 413 " in await reader.readline()
    await hang_up(writer)
    assert cfm.status_of(1) is Status.READY


@pytest.mark.parametrize("task", ["1.0", "-1", "0x1", "1e0", "%31%00", "9" * 30, "１", "1;drop", "..", ""])
async def test_a_report_on_no_task_bounces(cfm: ControllerRig, task: str) -> None:
    quoted = task if task.isascii() else "%EF%BC%91"
    assert (await cfm.ask("PATCH", f"/tasks/{quoted}", b'{"status":"done"}')).status in (400, 404)
    assert cfm.status_of(1) is Status.READY


@pytest.mark.parametrize(
    "query",
    [
        "",
        "dst_addr=",
        "dst_addr=169.254.169.254:80",
        f"dst_addr={DESTINATIONS[0]}&wait_s=NaN",
        f"dst_addr={DESTINATIONS[0]}&wait_s=inf",
        f"dst_addr={DESTINATIONS[0]}&wait_s=-1",
        f"dst_addr={DESTINATIONS[0]}&wait_s=1e9",
    ],
)
async def test_a_question_that_is_none_is_not_held(cfm: ControllerRig, query: str) -> None:
    assert (await cfm.ask("GET", f"/tasks/next?{query}")).status == 400


@pytest.mark.parametrize("holding", ["9" * 4400, "²", "1," * 500, "-1", "1e5", "x"])
async def test_what_a_worker_says_to_hold_is_taken_calmly(cfm: ControllerRig, holding: str) -> None:
    quoted = holding if holding.isascii() else "%C2%B2"
    path = f"/tasks/next?dst_addr={DESTINATIONS[0]}&wait_s=0&holding={quoted}"
    assert (await cfm.ask("GET", path)).status in (200, 204, 400)


# ── floods ──────────────────────────────────────────────────────────────────────────────────────────────


async def test_half_open_requests_by_the_thousand_hold_up_no_heartbeat(tmp_path: Path) -> None:
    """Ten times as many as the server keeps."""
    limits = Limits(connections=200, connections_per_address=200, head_s=5)
    async with worker_rig(tmp_path, limits=limits) as rig, AsyncExitStack() as stack:
        host, _, port = rig.addr.rpartition(":")
        for number in range(2_000):
            half_open = stack.enter_context(socket.socket())
            half_open.setblocking(False)
            await asyncio.get_running_loop().sock_connect(half_open, (host, int(port)))
            half_open.send(b"GET /files HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: " + b"x" * (number % 100))
            if number % 500 == 499:
                async with asyncio.timeout(2):
                    assert (await rig.ask("HEAD", "/hb")).status == 200


# ── people ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("path", ["/", "/servers", "/history", "/dashboard", "/dashboard/filemetas"])
async def test_a_name_is_text_on_every_page(cfm: ControllerRig, path: str) -> None:
    answer = await cfm.ask("GET", path)
    assert answer.status == 200
    assert answer.body.lower().count(b"<script") == answer.body.count(b'<script src="/static/live.js"') == 1
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_a_name_is_data_in_what_programs_read(cfm: ControllerRig) -> None:
    for path in ("/tasks", "/api/v1/tasks"):
        answer = await cfm.ask("GET", path)
        assert EVIL in json.dumps(json.loads(answer.body)).encode().decode("unicode_escape")
        assert "html" not in answer.headers["content-type"]


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://127.0.0.1.evil.example", "file://"]
)
async def test_another_site_s_page_changes_nothing(cfm: ControllerRig, origin: str) -> None:
    for method, path in (("PATCH", "/tasks/1"), ("DELETE", "/tasks/1"), ("POST", "/api/v1/confirm")):
        answer = await cfm.ask(method, path, b'{"status":"done"}', Origin=origin)
        assert answer.status == 403
    assert cfm.status_of(1) is Status.READY


@pytest.mark.parametrize(
    ("header", "value"),
    [("origin", "http://evil.example"), ("sec-fetch-site", "cross-site"), ("accept-language", "ko")],
)
async def test_a_page_takes_no_task(cfm: ControllerRig, header: str, value: str) -> None:
    """The one `GET` that changes something: a picture's address must not do."""
    path = f"/tasks/next?dst_addr={DESTINATIONS[0]}&wait_s=0&claim=1"
    answer = await cfm.ask("GET", path, **{header: value})
    assert answer.status == 403
    assert cfm.status_of(1) is Status.READY


async def test_a_page_of_another_name_for_this_address_is_not_served(cfm: ControllerRig) -> None:
    """DNS rebinding: the browser believes that it speaks to evil.example."""
    answer = parse(await say(cfm.addr, request("GET", "/dashboard", host="evil.example")))
    assert answer.status == 400


FROM_BROWSERS: Final = (
    {"Accept_Language": "ko-KR,ko;q=0.9"},
    {"Origin": "http://evil.example"},
    {"Referer": "http://evil.example/"},
    {"Sec_Fetch_Site": "same-origin"},
)


@pytest.mark.parametrize("headers", FROM_BROWSERS, ids=str)
async def test_a_browser_is_not_served_by_a_foreign_name_what_programs_are(
    cfm: ControllerRig, cfw: WorkerRig, headers: dict[str, str]
) -> None:
    """Once a page's name leads here, its browser takes us for the page's own server."""
    (cfw.base / "A.mpg").write_bytes(b"x")
    for addr, method, path, body in (
        (cfm.addr, "GET", "/tasks", b""),
        (cfm.addr, "GET", f"/tasks/next?dst_addr={DESTINATIONS[0]}&wait_s=0&claim=1", b""),
        (cfm.addr, "PATCH", "/tasks/1", b'{"status":"done"}'),
        (cfw.addr, "GET", "/files", b""),
        (cfw.addr, "GET", "/content/A.mpg", b""),
        (cfw.addr, "DELETE", "/files/A.mpg", b""),
        (cfw.addr, "POST", "/release", b""),
    ):
        asked = request(method, path, host="evil.example", body=body, **headers)
        assert parse(await say(addr, asked)).status == 400, (method, path)
    assert cfm.status_of(1) is Status.READY
    assert (cfw.base / "A.mpg").exists()


async def test_programs_of_the_node_may_use_any_name(cfm: ControllerRig, cfw: WorkerRig) -> None:
    """An old cfw whose `cfm_addr` is a host name sends that name, and knows no other."""
    (cfw.base / "A.mpg").write_bytes(b"x")
    for addr, method, path, body in (
        (cfm.addr, "GET", "/tasks", b""),
        (cfm.addr, "PATCH", "/tasks/1", b'{"status":"working"}'),
        (cfw.addr, "HEAD", "/hb", b""),
        (cfw.addr, "GET", "/files", b""),
        (cfw.addr, "GET", "/df", b""),
        (cfw.addr, "DELETE", "/files/A.mpg", b""),
    ):
        asked = request(method, path, host="vod-center:8080", body=body, User_Agent="Go-http-client/1.1")
        assert parse(await say(addr, asked)).status == 200, (method, path)


async def test_nobody_gets_a_cookie(cfm: ControllerRig, cfw: WorkerRig) -> None:
    for path in ("/", "/tasks", "/healthz", "/no/such"):
        assert "set-cookie" not in (await cfm.ask("GET", path)).headers
    assert "set-cookie" not in (await cfw.ask("GET", "/files")).headers


# ── what is not even a request ──────────────────────────────────────────────────────────────────────────

GARBAGE: Final = (
    b"\r\n" * 1000,
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + os.urandom(500),
    b"GET\r\n\r\n",
    b"GET / HTTP/9.9\r\nHost: 127.0.0.1\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"GET /tasks HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
    b"GET /tasks HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -1\r\n\r\n",
    b"GET /tasks HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: " + b"9" * 100 + b"\r\n\r\n",
    b"PATCH /tasks/1 HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n"  # noqa: ISC004 - one request
    b"Content-Length: 4\r\n\r\n0\r\n\r\n",
    b"GET /tasks HTTP/1.1\r\nHost: 127.0.0.1\r\n" + b"A: b\r\n" * 200 + b"\r\n",
    b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
)


@pytest.mark.parametrize("number", range(len(GARBAGE)))
async def test_garbage_ends_the_connection_and_nothing_else(cfm: ControllerRig, number: int) -> None:
    reader, writer = await connect(cfm.addr)
    writer.write(GARBAGE[number])
    writer.write_eof()
    assert status_of(await read_all(reader)) in (0, 400)
    await hang_up(writer)
    assert (await cfm.ask("GET", "/healthz")).status == 200
    assert cfm.status_of(1) is Status.READY
