"""The client against servers that do what servers do at their worst, on real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest

from cfm.fleet.client import TimeOuts, WorkerClient
from cfm.model import (
    OLD_WORKER,
    Addr,
    CopySeen,
    DiskReport,
    DiskUsage,
    Failure,
    Listing,
    Trouble,
    WorkerFeatures,
)
from cfm_lab.testing.raw_http import ScriptedServer, always, never, scripted

QUICK = TimeOuts(heartbeat_s=0.3, list_s=0.3, disk_s=0.3, copy_s=0.3, delete_s=0.3, cut_s=0.3)
DISK = b'{"total_size":"100","used_size":"40","avail_size":"60"}'
Question = Callable[[WorkerClient, Addr], Awaitable[object]]
EMPTY_OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


@pytest.fixture
async def client() -> AsyncIterator[WorkerClient]:
    async with WorkerClient("controller-1", 7) as opened:
        yield opened


@pytest.fixture
async def hasty() -> AsyncIterator[WorkerClient]:
    async with WorkerClient("controller-1", 7, QUICK) as opened:
        yield opened


def ok(body: bytes, *headers: str) -> bytes:
    lines = "".join(header + "\r\n" for header in headers)
    return f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n{lines}\r\n".encode() + body


def trouble_of(answer: object) -> Trouble:
    assert isinstance(answer, Failure)
    return answer.trouble


async def all_questions(client: WorkerClient, addr: Addr) -> list[object]:
    """What every method gives for one server."""
    return list(
        await asyncio.gather(
            client.heartbeat(addr),
            client.disk_usage(addr),
            client.list_files(addr),
            client.see_copy(addr, "a.mpg"),
            client.delete(addr, 1, "a.mpg"),
            client.cut_stream(addr, 1),
        )
    )


async def test_a_heartbeat_of_an_old_worker(client: WorkerClient) -> None:
    async with scripted(always(EMPTY_OK)) as server:
        assert await client.heartbeat(server.addr) == OLD_WORKER
    assert server.heads[0].startswith(b"HEAD /hb HTTP/1.1\r\n")
    assert b"\r\nCfm-Controller: controller-1\r\nCfm-Epoch: 7\r\n" in server.heads[0]


async def test_who_leads_says_where_workers_reach_it() -> None:
    async with (
        WorkerClient("controller-1", 7, leader=Addr("10.0.0.1:80")) as client,
        scripted(always(EMPTY_OK)) as server,
    ):
        await client.disk_usage(server.addr)
    assert b"\r\nCfm-Leader: 10.0.0.1:80\r\n" in server.heads[0]


async def test_a_heartbeat_of_one_of_ours(client: WorkerClient) -> None:
    async with scripted(always(ok(b"", "Cfw-Version: 1", "Cfw-Boot: b"))) as server:
        assert await client.heartbeat(server.addr) == WorkerFeatures(ours=True, version="1", boot_id="b")


async def test_a_worker_may_have_heard_a_higher_epoch(client: WorkerClient) -> None:
    async with scripted(always(ok(b"", "Cfm-Epoch: nine"))) as server:
        await client.heartbeat(server.addr)
    assert client.higher_epoch == 0
    async with scripted(always(ok(b"", "Cfm-Epoch: 9"))) as server:
        await client.heartbeat(server.addr)
    assert client.higher_epoch == 9


@pytest.mark.parametrize("status", [204, 301, 404, 500, 503])
async def test_other_statuses_are_failures(client: WorkerClient, status: int) -> None:
    answer = b"HTTP/1.1 %d X\r\nContent-Length: 0\r\nLocation: /hb\r\n\r\n" % status
    async with scripted(always(answer)) as server:
        for asked in (client.heartbeat, client.list_files, client.disk_usage):
            told = await asked(server.addr)
            assert isinstance(told, Failure)
            assert (told.trouble, told.status) == (Trouble.STATUS, status)
        assert await client.delete(server.addr, 1, "a.mpg") == status
    assert len(server.heads) == 4


async def test_connections_are_kept_and_there_are_two_at_most(client: WorkerClient) -> None:
    async with scripted(always(EMPTY_OK)) as server:
        for _ in range(5):
            await all_questions(client, server.addr)
        assert len(server.heads) == 30
        assert server.connections == 2


async def test_bytes_that_follow_an_answer_are_not_taken_for_the_next_one(client: WorkerClient) -> None:
    smuggled = EMPTY_OK + ok(b"") + b"HTTP/1.1 200 OK\r\n"
    async with scripted(always(smuggled)) as server:
        assert await client.cut_stream(server.addr, 1) is True
        assert await client.cut_stream(server.addr, 2) is True
        assert (server.connections, len(server.heads)) == (2, 2)


async def test_a_heartbeat_does_not_wait_behind_a_list() -> None:
    async def slow_list(head: bytes, writer: asyncio.StreamWriter) -> bool:
        if head.startswith(b"GET /files"):
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\na.mpg\n")
            listing_begun.set()
            return await never(head, writer)
        return await always(EMPTY_OK)(head, writer)

    listing_begun = asyncio.Event()
    async with scripted(slow_list) as server, WorkerClient("c", 1, TimeOuts(heartbeat_s=1)) as client:
        listing = asyncio.create_task(client.list_files(server.addr))
        await listing_begun.wait()
        assert await client.heartbeat(server.addr) == OLD_WORKER
        assert not listing.done()
        listing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await listing


async def test_a_list_is_read_once_while_its_etag_holds(client: WorkerClient) -> None:
    async def script(head: bytes, writer: asyncio.StreamWriter) -> bool:
        if b'If-None-Match: "e1"' in head:
            writer.write(b'HTTP/1.1 304 Not Modified\r\nETag: "e1"\r\n\r\n')
        else:
            writer.write(ok(b"a.mpg\nb.mpg\n", 'ETag: "e1"', "Cfw-Disk: d1"))
        return True

    async with scripted(script) as server:
        first = await client.list_files(server.addr)
        second = await client.list_files(server.addr, fence=12)
    assert first == Listing(frozenset({"a.mpg", "b.mpg"}), "d1")
    assert second is first
    assert b"\r\nCfm-Fence: 12\r\n" in server.heads[1]


@pytest.mark.parametrize("wrong", ["", "Cfw-Files: 3", 'Delta-Base: "e0"', "-x.mpg"])
async def test_a_list_by_difference(client: WorkerClient, wrong: str) -> None:
    """One that does not fit is not used: the whole list is asked for at once."""

    async def script(head: bytes, writer: asyncio.StreamWriter) -> bool:
        if b"\r\nA-IM: cfm-names\r\n" not in head:
            writer.write(ok(b"".join(name + b"\n" for name in disk), f'ETag: "e{len(disk)}"', "Cfw-Disk: d1"))
            return True
        assert b'\r\nIf-None-Match: "e2"\r\n' in head
        body = b"-x.mpg\n" if wrong == "-x.mpg" else b"+c.mpg\n"
        fields = {"ETag": '"e3"', "IM": "cfm-names", "Delta-Base": '"e2"', "Cfw-Files": "3", "Cfw-Disk": "d2"}
        if wrong:
            name, _, value = wrong.partition(": ")
            fields[name] = "9" if name == "Cfw-Files" else value
        said = "".join(f"{name}: {value}\r\n" for name, value in fields.items() if value)
        writer.write(f"HTTP/1.1 226 IM Used\r\n{said}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        return True

    disk = [b"a.mpg", b"b.mpg"]
    async with scripted(script) as server:
        await client.list_files(server.addr)
        disk.append(b"c.mpg")
        found = await client.list_files(server.addr)
    assert found == Listing(frozenset({"a.mpg", "b.mpg", "c.mpg"}), "d1" if wrong else "d2")
    assert len(server.heads) == (3 if wrong else 2)


async def test_a_difference_that_nobody_asked_for_is_no_list(client: WorkerClient) -> None:
    async with scripted(always(b"HTTP/1.1 226 IM Used\r\nContent-Length: 0\r\n\r\n")) as server:
        assert trouble_of(await client.list_files(server.addr)) is Trouble.STATUS


async def test_a_304_that_nobody_asked_for_is_no_list(client: WorkerClient) -> None:
    async with scripted(always(b"HTTP/1.1 304 Not Modified\r\n\r\n")) as server:
        assert trouble_of(await client.list_files(server.addr)) is Trouble.STATUS


async def test_a_long_list(client: WorkerClient) -> None:
    names = [f"FILE{number:07}_K2018.mpg" for number in range(100_000)]
    async with scripted(always(ok("".join(name + "\n" for name in names).encode()))) as server:
        assert await client.list_files(server.addr) == Listing(frozenset(names))


HALF_ANSWERS = {
    "short length": b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\na.mpg\n",
    "half a line": ok(b"a.mpg\nb.m"),
    "chunks without an end": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\na.mpg\n\r\n",
    "no stated end": b"HTTP/1.1 200 OK\r\n\r\na.mpg\n",
    "empty, no stated end": b"HTTP/1.1 200 OK\r\n\r\n",
    "nothing": b"",
    "half a head": b"HTTP/1.1 200 OK\r\nContent-Le",
}


@pytest.mark.parametrize("what", HALF_ANSWERS)
async def test_half_a_list_is_no_list(client: WorkerClient, what: str) -> None:
    async with scripted(always(HALF_ANSWERS[what], keep=False)) as server:
        assert trouble_of(await client.list_files(server.addr)) is Trouble.BROKEN
    assert len(server.heads) == 1


async def test_nothing_is_decompressed(client: WorkerClient) -> None:
    body = gzip.compress(b"a.mpg\n")
    async with scripted(always(ok(body, "Content-Encoding: gzip"))) as server:
        assert trouble_of(await client.list_files(server.addr)) is Trouble.MALFORMED


async def test_endless_answers_are_cut_off(client: WorkerClient) -> None:
    async def endless(_head: bytes, writer: asyncio.StreamWriter) -> bool:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            writer.write(b"1000\r\n" + b"x" * 0x1000 + b"\r\n")
            await writer.drain()

    async with scripted(endless) as server:
        assert trouble_of(await client.disk_usage(server.addr)) is Trouble.MALFORMED


@pytest.mark.parametrize("answer", [b"SSH-2.0-OpenSSH\r\n\r\n", b"HTTP/1.1 banana\r\n\r\n", b"\0" * 100])
async def test_what_is_no_http_is_malformed(client: WorkerClient, answer: bytes) -> None:
    async with scripted(always(answer)) as server:
        assert trouble_of(await client.heartbeat(server.addr)) is Trouble.MALFORMED


async def test_a_disk_and_an_absurd_disk(client: WorkerClient) -> None:
    good = b'{"total_size":"10","used_size":"4","avail_size":"5","used_percent":44,"free_size":"6"}'
    async with scripted(always(ok(good))) as server:
        assert await client.disk_usage(server.addr) == DiskReport(DiskUsage(10, 4, 5))
    async with scripted(always(ok(good.replace(b'"10"', b'"0"')))) as server:
        assert trouble_of(await client.disk_usage(server.addr)) is Trouble.ABSURD


async def test_a_copy_is_looked_for_under_its_exact_name(client: WorkerClient) -> None:
    there = b"HTTP/1.1 200 OK\r\nContent-Length: 123456789\r\nCfw-Version: 1\r\nCfw-Where: base\r\n\r\n"
    async with scripted(always(there)) as server:
        assert await client.see_copy(server.addr, "a b#c?d%2F영.mpg") == CopySeen(True, 123456789)
        assert await client.see_copy(server.addr, "a.mpg") == CopySeen(True, 123456789)
    assert server.heads[0].startswith(b"HEAD /content/a%20b%23c%3Fd%252F%EC%98%81.mpg?in=base HTTP/1.1\r\n")


@pytest.mark.parametrize(("status", "cut"), [(200, True), (409, False)])
async def test_a_stream_is_cut_or_not(client: WorkerClient, status: int, cut: bool) -> None:
    async with scripted(always(b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n" % status)) as server:
        assert await client.cut_stream(server.addr, 99) is cut
    assert server.heads[0].startswith(b"DELETE /streams/99 HTTP/1.1\r\n")


async def test_an_order_carries_its_id(client: WorkerClient) -> None:
    async with scripted(always(EMPTY_OK)) as server:
        assert await client.delete(server.addr, 42, "100%#.mpg") == 200
    assert server.heads[0].startswith(b"DELETE /files/100%25%23.mpg HTTP/1.1\r\n")
    assert b"\r\nCfm-Order: 42\r\n" in server.heads[0]


async def drop(_head: bytes, _writer: asyncio.StreamWriter) -> bool:
    return False


async def test_an_order_is_never_repeated_on_a_fresh_connection(client: WorkerClient) -> None:
    async with scripted(drop) as server:
        assert trouble_of(await client.delete(server.addr, 1, "a.mpg")) is Trouble.BROKEN
    assert len(server.heads) == 1


async def test_an_order_is_never_repeated_when_a_kept_connection_drops(client: WorkerClient) -> None:
    async def keep_then_drop(head: bytes, writer: asyncio.StreamWriter) -> bool:
        return await (drop if head.startswith(b"DELETE") else always(ok(b"a.mpg\n")))(head, writer)

    async with scripted(keep_then_drop) as server:
        assert isinstance(await client.list_files(server.addr), Listing)
        assert trouble_of(await client.delete(server.addr, 1, "a.mpg")) is Trouble.BROKEN
        assert server.connections == 1
        assert [head[:6] for head in server.heads] == [b"GET /f", b"DELETE"]


@pytest.mark.parametrize(
    ("says", "connections"),
    [
        pytest.param("Cfw-Version: 1", 2, id="ours: from the second heartbeat on, one is kept"),
        pytest.param("Server: Mongrel", 3, id="an old one closes it before the next heartbeat"),
    ],
)
async def test_the_connection_for_heartbeats_is_kept_where_the_worker_keeps_it(
    says: str, connections: int
) -> None:
    async with scripted(always(ok(b"", says))) as server, WorkerClient("id", 7, keep_idle_s=0) as client:
        for _heartbeat in range(3):
            assert isinstance(await client.heartbeat(server.addr), WorkerFeatures)
        assert server.connections == connections


QUESTIONS: dict[str, tuple[Question, bytes]] = {
    "heartbeat": (lambda client, addr: client.heartbeat(addr), EMPTY_OK),
    "list": (lambda client, addr: client.list_files(addr), ok(b"a.mpg\n")),
    "list with a fence": (lambda client, addr: client.list_files(addr, 7), ok(b"a.mpg\n")),
    "disk": (lambda client, addr: client.disk_usage(addr), ok(DISK)),
    "copy": (lambda client, addr: client.see_copy(addr, "a.mpg"), ok(b"", "Cfw-Version: 1")),
}
ORDERS: dict[str, tuple[Question, bytes]] = {
    "delete": (lambda client, addr: client.delete(addr, 1, "a.mpg"), EMPTY_OK),
    "cut": (lambda client, addr: client.cut_stream(addr, 1), EMPTY_OK),
}


@contextlib.asynccontextmanager
async def closing_silently(answer: bytes) -> AsyncIterator[ScriptedServer]:
    """A server that answers once on each connection, and closes it only when the next request comes."""
    answered = set[asyncio.StreamWriter]()

    async def script(head: bytes, writer: asyncio.StreamWriter) -> bool:
        if writer in answered:
            return False
        answered.add(writer)
        return await always(answer)(head, writer)

    async with scripted(script) as server:
        yield server


@pytest.mark.parametrize("question", QUESTIONS)
async def test_a_question_is_asked_once_more_where_a_kept_connection_was_closed_silently(
    client: WorkerClient, question: str
) -> None:
    ask, answer = QUESTIONS[question]
    async with closing_silently(answer) as server:
        first = await ask(client, server.addr)
        assert not isinstance(first, Failure)
        assert await ask(client, server.addr) == first
        assert (len(server.heads), server.connections) == (3, 2)


@pytest.mark.parametrize("order", ORDERS)
async def test_an_order_is_sent_once_where_a_kept_connection_was_closed_silently(
    client: WorkerClient, order: str
) -> None:
    ask, answer = ORDERS[order]
    async with closing_silently(answer) as server:
        assert not isinstance(await ask(client, server.addr), Failure)
        assert trouble_of(await ask(client, server.addr)) is Trouble.BROKEN
        assert len(server.heads) == 2


async def test_a_question_is_asked_once_more_and_not_for_ever(client: WorkerClient) -> None:
    asked = iter([always(ok(b"a.mpg\n")), drop, drop, drop])

    async def script(head: bytes, writer: asyncio.StreamWriter) -> bool:
        return await next(asked)(head, writer)

    async with scripted(script) as server:
        assert isinstance(await client.list_files(server.addr), Listing)
        assert trouble_of(await client.list_files(server.addr)) is Trouble.BROKEN
        assert len(server.heads) == 3


async def test_no_question_is_repeated_that_a_fresh_connection_dropped(client: WorkerClient) -> None:
    async with scripted(drop) as server:
        troubles = {trouble_of(told) for told in await all_questions(client, server.addr)}
        assert troubles == {Trouble.BROKEN}
        assert len(server.heads) == 6


async def test_a_dropped_kept_connection_costs_no_later_question(client: WorkerClient) -> None:
    async with scripted(always(ok(b"a.mpg\n"))) as server:
        assert isinstance(await client.list_files(server.addr), Listing)
        await server.drop_all()
        answers = [await client.list_files(server.addr) for _ in range(2)]
        assert isinstance(answers[-1], Listing)


async def test_an_answer_after_the_time_out_is_a_time_out_and_the_order_was_sent(
    hasty: WorkerClient,
) -> None:
    async with scripted(never) as server:
        begun = time.monotonic()
        troubles = {trouble_of(told) for told in await all_questions(hasty, server.addr)}
        assert time.monotonic() - begun < 5 * QUICK.delete_s
        # the order waited behind other questions and never went out: that is known, and said
        assert troubles == {Trouble.TIMEOUT, Trouble.REFUSED}
        assert not any(head.startswith(b"DELETE /files") for head in server.heads)
    async with scripted(never) as server:
        assert trouble_of(await hasty.delete(server.addr, 1, "a.mpg")) is Trouble.TIMEOUT
        assert len(server.heads) == 1


async def test_an_order_whose_turn_comes_too_late_is_not_sent(client: WorkerClient) -> None:
    """What confirmed it may have been true when it began to wait."""
    first, released = asyncio.Event(), asyncio.Event()

    async def hang(head: bytes, writer: asyncio.StreamWriter) -> bool:
        first.set()
        await released.wait()
        return await always(EMPTY_OK)(head, writer)

    async with scripted(hang) as server:
        hanging = asyncio.create_task(client.delete(server.addr, 1, "a.mpg", within_s=30))
        await first.wait()
        told = await client.delete(server.addr, 2, "b.mpg", within_s=0.2)
        assert trouble_of(told) is Trouble.REFUSED
        assert isinstance(told, Failure)
        assert told.detail == "never sent: no connection was free within 0.2 s"
        released.set()
        assert await hanging == 200, "a turn that came in time is not limited any more"
        assert len(server.heads) == 1


async def test_refused_connections(client: WorkerClient) -> None:
    async with scripted(never) as server:
        addr = server.addr
    told = await all_questions(client, addr)
    assert {trouble_of(answer) for answer in told} == {Trouble.REFUSED}
    assert isinstance(told[0], Failure)
    assert told[0].detail == "Connection refused"


@pytest.mark.parametrize(
    "addr", ["", ":1", "host name:1", "127.0.0.1:99999", "[::1:8", "no.such.host.invalid:1"]
)
async def test_impossible_addresses_are_failures(client: WorkerClient, addr: str) -> None:
    for told in await all_questions(client, Addr(addr)):
        assert isinstance(told, Failure)


async def test_impossible_names_are_no_exceptions(client: WorkerClient) -> None:
    async with scripted(always(EMPTY_OK)) as server:
        assert isinstance(await client.see_copy(server.addr, "\ud800"), Failure)
        assert await client.delete(server.addr, 1, "\udcff\0\n") == 200
    assert server.heads[1].startswith(b"DELETE /files/%ED%B3%BF%00%0A HTTP/1.1\r\n")


async def test_a_closed_client_fails_softly() -> None:
    client = WorkerClient("c", 1)
    assert trouble_of(await client.heartbeat(Addr("127.0.0.1:1"))) is Trouble.REFUSED
    async with client:
        pass
    assert trouble_of(await client.heartbeat(Addr("127.0.0.1:1"))) is Trouble.REFUSED


async def test_no_proxy_is_taken_from_the_environment() -> None:
    async with scripted(always(ok(b""))) as proxy, scripted(always(EMPTY_OK)) as server:
        os.environ["HTTP_PROXY"] = os.environ["http_proxy"] = f"http://{proxy.addr}"
        try:
            async with WorkerClient("c", 1) as client:
                assert await client.heartbeat(server.addr) == OLD_WORKER
        finally:
            del os.environ["HTTP_PROXY"], os.environ["http_proxy"]
        assert not proxy.heads


async def test_those_who_hang_cost_the_others_nothing() -> None:
    # Long enough for forty answers on a busy machine: what is measured is that the hanging wait side by side.
    time_outs = replace(QUICK, list_s=3.0)
    async with AsyncExitStack() as stack, WorkerClient("controller-1", 7, time_outs) as client:

        async def start(number: int) -> ScriptedServer:
            script = never if number % 3 == 0 else always(ok(b"a.mpg\n"))
            return await stack.enter_async_context(scripted(script, f"127.0.2.{number + 1}"))

        servers = [await start(number) for number in range(60)]
        begun = time.monotonic()
        told = await asyncio.gather(*(client.list_files(server.addr) for server in servers))
        assert time.monotonic() - begun < 3 * time_outs.list_s  # one after the other: 20 times
    assert sum(isinstance(answer, Listing) for answer in told) == 40
