"""`/content` over raw sockets: what is sent, what is refused, and what ends a stream."""

from __future__ import annotations

import asyncio
import base64
import os
import socket
import struct
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import xxhash

from cfm_lab.testing.raw_http import hang_up, read_all, request, say
from cfm_lab.testing.worker_rig import WorkerRig, parse, worker_rig

MIB = 1 << 20
SMALL = b"0123456789" * 10
BIG = os.urandom(7 * MIB + 12_345)


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[WorkerRig]:
    async with worker_rig(tmp_path) as rig:
        (rig.source / "small.mpg").write_bytes(SMALL)
        (rig.source / "big.mpg").write_bytes(BIG)
        (rig.base / "held.mpg").write_bytes(b"held")
        yield rig


def digest_of(data: bytes) -> str:
    return f"xxh3-128=:{base64.b64encode(xxhash.xxh3_128_digest(data)).decode()}:"


class Reader:
    """A client that stops reading after the first bytes of the body."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def stuck(cls, rig: WorkerRig, path: str, **headers: str) -> Reader:
        host, _, port = rig.addr.rpartition(":")
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, (host, int(port)))
        reader, writer = await asyncio.open_connection(sock=sock, limit=1024)
        writer.write(request("GET", path, body=b"", **headers))
        stuck = cls(reader, writer)
        await reader.readuntil(b"\r\n\r\n")
        return stuck

    async def rest(self) -> bytes:
        return await read_all(self.reader)


class TestReading:
    @pytest.mark.parametrize(("name", "data"), [("small.mpg", SMALL), ("big.mpg", BIG)])
    async def test_the_whole(self, rig: WorkerRig, name: str, data: bytes) -> None:
        answer = await rig.ask("GET", f"/content/{name}")
        assert (answer.status, answer.body == data) == (200, True)
        assert answer.headers["accept-ranges"] == "bytes"
        assert answer.headers["content-length"] == str(len(data))
        assert answer.headers["cfw-where"] == "source"
        assert "content-encoding" not in answer.headers

    @pytest.mark.parametrize(
        ("start", "stop"),
        [
            (0, 1),
            (1, 70_000),
            (100, 3 * MIB),
            (2 * MIB + 1, len(BIG)),
            (len(BIG) - 1, len(BIG)),
            (0, len(BIG)),
        ],
    )
    async def test_a_part(self, rig: WorkerRig, start: int, stop: int) -> None:
        answer = await rig.ask("GET", "/content/big.mpg", Range=f"bytes={start}-{stop - 1}")
        assert (answer.status, answer.body == BIG[start:stop]) == (206, True)
        assert answer.headers["content-range"] == f"bytes {start}-{stop - 1}/{len(BIG)}"

    @pytest.mark.parametrize(
        "value", ["bytes=20-10", "bytes=" + "9" * 30 + "-", "bytes=0-1,5-6", "bytes=x", "bytes=-0"]
    )
    async def test_no_such_part(self, rig: WorkerRig, value: str) -> None:
        answer = await rig.ask("GET", "/content/big.mpg", Range=value)
        assert (answer.status, answer.headers["content-range"]) == (416, f"bytes */{len(BIG)}")
        assert answer.headers["content-type"] == "application/problem+json"

    async def test_ten_thousand_parts_bounce(self, rig: WorkerRig) -> None:
        value = "bytes=" + ",".join(f"{n}-{n}" for n in range(10_000))
        answer = await rig.ask("GET", "/content/small.mpg", Range=value)
        assert answer.status in (400, 416, 431)

    async def test_digits_of_other_scripts_bounce(self, rig: WorkerRig) -> None:
        data = request("GET", "/content/small.mpg", Range="bytes=٠-٩")
        assert parse(await say(rig.addr, data)).status == 416

    async def test_a_part_of_the_version_that_was_begun(self, rig: WorkerRig) -> None:
        etag = (await rig.ask("HEAD", "/content/big.mpg")).headers["etag"]
        assert etag.startswith('"')
        same = await rig.ask("GET", "/content/big.mpg", Range="bytes=5-", If_Range=etag)
        assert (same.status, len(same.body)) == (206, len(BIG) - 5)
        other = await rig.ask("GET", "/content/big.mpg", Range="bytes=5-", If_Range='"other"')
        assert (other.status, len(other.body)) == (200, len(BIG))

    async def test_an_empty_file(self, rig: WorkerRig) -> None:
        (rig.source / "empty.mpg").touch()
        answer = await rig.ask("GET", "/content/empty.mpg")
        assert (answer.status, answer.body, answer.headers["content-length"]) == (200, b"", "0")

    async def test_one_connection_serves_many(self, rig: WorkerRig) -> None:
        ask = f"GET /content/small.mpg HTTP/1.1\r\nHost: {rig.addr}\r\n".encode()
        data = await say(rig.addr, (ask + b"\r\n") * 2 + ask + b"Connection: close\r\n\r\n")
        assert data.count(SMALL) == 3

    async def test_head_tells_and_sends_nothing(self, rig: WorkerRig) -> None:
        answer = await rig.ask("HEAD", "/content/big.mpg", Range="bytes=5-")
        assert (answer.status, answer.body) == (200, b"")
        assert answer.headers["content-length"] == str(len(BIG))
        assert "repr-digest" not in answer.headers


class TestWhere:
    async def test_base_comes_after_the_source_folders(self, rig: WorkerRig) -> None:
        (rig.base / "small.mpg").write_bytes(b"another one")
        assert (await rig.ask("GET", "/content/small.mpg")).body == SMALL
        answer = await rig.ask("GET", "/content/small.mpg?in=base")
        assert (answer.body, answer.headers["cfw-where"]) == (b"another one", "base")
        assert (await rig.ask("GET", "/content/held.mpg")).headers["cfw-where"] == "base"
        seen = await rig.ask("HEAD", "/content/held.mpg?in=base")
        assert seen.headers["cfw-disk"] == (await rig.ask("GET", "/files")).headers["cfw-disk"] != ""
        assert "cfw-disk" not in (await rig.ask("HEAD", "/content/big.mpg")).headers, "it is on the SAN"
        assert (await rig.ask("HEAD", "/content/big.mpg?in=base")).status == 404

    @pytest.mark.parametrize("query", ["?in=source", "?", "?x=1", "?in=base&in=base"])
    async def test_other_queries_bounce(self, rig: WorkerRig, query: str) -> None:
        answer = await rig.ask("GET", f"/content/small.mpg{query}")
        assert answer.status == (200 if query == "?" else 400)

    async def test_not_found_is_not_said_where_a_source_is_gone(self, rig: WorkerRig) -> None:
        assert (await rig.ask("GET", "/content/none.mpg")).status == 404
        rig.source.rename(rig.source.parent / "away")
        assert (await rig.ask("GET", "/content/none.mpg")).status == 500
        assert (await rig.ask("GET", "/content/held.mpg")).status == 200
        rig.source.mkdir()
        assert (await rig.ask("GET", "/content/none.mpg")).status == 500

    async def test_nor_where_base_is_not_ours(self, rig: WorkerRig) -> None:
        (rig.base / ".cfw-id").unlink()
        for method in ("GET", "HEAD"):
            assert (await rig.ask(method, "/content/held.mpg?in=base")).status == 500

    @pytest.mark.parametrize(
        "path",
        [
            "..%2f..%2fetc%2fpasswd",
            "%2e%2e/secret",
            "../secret",
            "..\\secret",
            "%252e%252e%252fsecret",
            ".",
            "..",
            "",
            ".cfw-id",
            "a%00b",
            "a%0ab",
            "a%1b[31m",
            "%e2%80%ae",
            "%ff%fe",
            "x" * 256,
            "//etc/passwd",
            "sub/inside.mpg",
            "sub%2finside.mpg",
        ],
    )
    async def test_names_that_must_bounce(self, rig: WorkerRig, path: str) -> None:
        (rig.source.parent / "secret").write_bytes(b"secret")
        (rig.source / "sub").mkdir()
        (rig.source / "sub" / "inside.mpg").write_bytes(b"secret")
        for query in ("", "?in=base"):
            answer = await rig.ask("GET", f"/content/{path}{query}")
            assert answer.status in (400, 404)
            assert b"secret" not in answer.body

    async def test_what_is_no_plain_file_bounces(self, rig: WorkerRig) -> None:
        (rig.source.parent / "secret").write_bytes(b"secret")
        for folder in (rig.source, rig.base):
            (folder / "link.mpg").symlink_to(rig.source.parent / "secret")
            (folder / "folder.mpg").mkdir()
            os.mkfifo(folder / "fifo.mpg")
        for name in ("link.mpg", "folder.mpg", "fifo.mpg"):
            for query in ("", "?in=base"):
                assert (await rig.ask("GET", f"/content/{name}{query}")).status == 404

    @pytest.mark.parametrize(
        ("quoted", "name"),
        [
            ("a%23old", "a#old"),
            ("a%3Fold", "a?old"),
            ("a%20b", "a b"),
            ("100%25", "100%"),
            ("a%252e", "a%2e"),
            ("%E5%90%8D.mpg", "名.mpg"),
            ("a+b", "a+b"),
        ],
    )
    async def test_exactly_that_file(self, rig: WorkerRig, quoted: str, name: str) -> None:
        for sibling in ("a", "100", "a.", "a b", "ab"):
            (rig.source / sibling).write_bytes(b"sibling")
        (rig.source / name).write_bytes(b"it")
        assert (await rig.ask("GET", f"/content/{quoted}")).body == b"it"


class TestDigest:
    async def test_is_computed_where_nobody_read_the_file(self, rig: WorkerRig) -> None:
        answer = await rig.ask("HEAD", "/content/big.mpg", Want_Repr_Digest="xxh3-128=1")
        assert answer.headers["repr-digest"] == digest_of(BIG)

    async def test_comes_with_a_whole_stream(self, rig: WorkerRig) -> None:
        await rig.ask("GET", "/content/big.mpg")
        answer = await rig.ask("GET", "/content/big.mpg", Want_Repr_Digest="xxh3-128=1", Range="bytes=0-0")
        assert answer.headers["repr-digest"] == digest_of(BIG)

    async def test_goes_on_over_an_interruption(self, rig: WorkerRig) -> None:
        await rig.ask("GET", "/content/big.mpg", Range=f"bytes=0-{3 * MIB}")
        await rig.ask("GET", "/content/big.mpg", Range=f"bytes={3 * MIB - 7}-")
        answer = await rig.ask("GET", "/content/big.mpg", Want_Repr_Digest="xxh3-128=1", Range="bytes=0-0")
        assert answer.headers["repr-digest"] == digest_of(BIG)

    async def test_belongs_to_one_version(self, rig: WorkerRig) -> None:
        await rig.ask("GET", "/content/small.mpg")
        (rig.source / "small.mpg").write_bytes(SMALL[::-1])
        os.utime(rig.source / "small.mpg", ns=(1, 1))
        answer = await rig.ask("HEAD", "/content/small.mpg", Want_Repr_Digest="xxh3-128=1")
        assert answer.headers["repr-digest"] == digest_of(SMALL[::-1])


class TestStreams:
    async def test_a_second_controlled_stream_is_told_to_come_again(self, tmp_path: Path) -> None:
        async with huge(tmp_path) as rig:
            first = await Reader.stuck(rig, "/content/huge.mpg", Cfm_Task="1")
            busy = await rig.ask("GET", "/content/huge.mpg", Cfm_Task="2", Range="bytes=0-9")
            assert (busy.status, int(busy.headers["retry-after"]) > 0) == (503, True)
            assert (await rig.ask("HEAD", "/content/huge.mpg", Cfm_Task="2")).status == 200
            assert (await rig.ask("GET", "/content/huge.mpg", Range="bytes=0-9")).status == 206
            assert (await rig.ask("HEAD", "/hb")).status == 200
            await hang_up(first.writer)
            await ended(rig)
            assert (await rig.ask("GET", "/content/huge.mpg", Cfm_Task="2", Range="bytes=0-9")).status == 206

    async def test_a_newer_request_of_a_task_replaces_its_older(self, tmp_path: Path) -> None:
        async with huge(tmp_path) as rig:
            older = await Reader.stuck(rig, "/content/huge.mpg", Cfm_Task="1")
            newer = await rig.ask("GET", "/content/huge.mpg", Cfm_Task="1", Range="bytes=5-9")
            assert (newer.status, newer.body) == (206, bytes(5))
            assert len(await older.rest()) < HUGE
            await hang_up(older.writer)

    async def test_a_cut_ends_the_stream_before_it_is_answered(self, tmp_path: Path) -> None:
        async with huge(tmp_path) as rig:
            reader = await Reader.stuck(rig, "/content/huge.mpg", Cfm_Task="1")
            assert (await rig.ask("DELETE", "/streams/1")).status == 200
            assert rig.api.streams.controlled == 0
            assert len(await reader.rest()) < HUGE
            await hang_up(reader.writer)
            for method in ("GET", "HEAD"):
                assert (await rig.ask(method, "/content/huge.mpg", Cfm_Task="1")).status == 409
            other = await rig.ask("GET", "/content/huge.mpg", Cfm_Task="2", Range="bytes=0-9")
            assert other.status == 206

    async def test_a_reader_who_does_not_read_is_cut(self, tmp_path: Path) -> None:
        async with huge(tmp_path, stall_s=0.2) as rig:
            reader = await Reader.stuck(rig, "/content/huge.mpg", Cfm_Task="1")
            await ended(rig)
            assert len(await reader.rest()) < HUGE
            await hang_up(reader.writer)

    async def test_a_reader_who_is_gone_frees_its_place(self, tmp_path: Path) -> None:
        async with huge(tmp_path) as rig:
            reader = await Reader.stuck(rig, "/content/huge.mpg", Cfm_Task="1")
            sock = reader.writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            reader.writer.transport.abort()
            await ended(rig)

    async def test_a_file_that_shrinks_while_it_is_sent_is_not_sent_whole(self, tmp_path: Path) -> None:
        async with huge(tmp_path) as rig:
            reader = await Reader.stuck(rig, "/content/huge.mpg")
            os.truncate(rig.source / "huge.mpg", HUGE // 2)
            assert len(await reader.rest()) < HUGE
            await hang_up(reader.writer)

    async def test_a_file_that_changes_while_it_is_sent_is_not_sent_whole(self, tmp_path: Path) -> None:
        async with huge(tmp_path) as rig:
            reader = await Reader.stuck(rig, "/content/huge.mpg")
            with (rig.source / "huge.mpg").open("r+b") as file:
                file.seek(HUGE - 1)
                file.write(b"!")
            assert len(await reader.rest()) < HUGE
            await hang_up(reader.writer)
            answer = await rig.ask("HEAD", "/content/huge.mpg", Want_Repr_Digest="xxh3-128=1")
            assert answer.headers["repr-digest"] == digest_of(bytes(HUGE - 1) + b"!")

    async def test_a_file_that_is_deleted_while_it_is_sent_is_sent_whole(self, tmp_path: Path) -> None:
        async with huge(tmp_path) as rig:
            reader = await Reader.stuck(rig, "/content/huge.mpg")
            (rig.source / "huge.mpg").unlink()
            assert len(await reader.rest()) == HUGE
            await hang_up(reader.writer)

    @pytest.mark.parametrize("task", ["", "a b", "x" * 200])
    async def test_a_task_that_is_none_bounces(self, rig: WorkerRig, task: str) -> None:
        assert (await rig.ask("GET", "/content/small.mpg", Cfm_Task=task)).status == 400

    async def test_all_end_with_the_worker(self, tmp_path: Path) -> None:
        async with huge(tmp_path) as rig:
            reader = await Reader.stuck(rig, "/content/huge.mpg", Cfm_Task="1")
            rig.api.streams.cut_all()
            await ended(rig)
            await hang_up(reader.writer)


HUGE = 24 * MIB
"""More than what sockets on loopback hold by themselves."""


class huge:  # noqa: N801 - a function in its use
    """A rig whose source folder holds a file of zeros, larger than what sockets hold by themselves."""

    def __init__(self, folder: Path, *, stall_s: float = 10.0) -> None:
        self._rig = worker_rig(folder, stall_s=stall_s)

    async def __aenter__(self) -> WorkerRig:
        rig = await self._rig.__aenter__()
        (rig.source / "huge.mpg").touch()
        os.truncate(rig.source / "huge.mpg", HUGE)
        return rig

    async def __aexit__(self, *error: object) -> None:
        await self._rig.__aexit__(None, None, None)


async def ended(rig: WorkerRig) -> None:
    """Until no stream is open."""
    async with asyncio.timeout(5):
        while rig.api.streams.controlled or rig.api.streams.uncontrolled:  # noqa: ASYNC110 - the book has no event
            await asyncio.sleep(0)


async def test_what_was_sent_is_counted(rig: WorkerRig) -> None:
    await rig.ask("GET", "/content/big.mpg")
    page = (await rig.ask("GET", "/metrics")).body.decode()
    figures = dict(line.rsplit(" ", 1) for line in page.splitlines() if line[0] != "#")
    assert float(figures["cfw_content_bytes_total"]) == len(BIG)
    assert figures['cfw_streams_ended_total{outcome="sent"}'] == "1.0"
