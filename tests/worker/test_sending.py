"""A thread that sends a file: what it sends, how it is ended, and what a disk that hangs leaves behind."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from xxhash import xxh3_128_digest

from cfm.threads import HungError, ThreadPool
from cfm.worker.act.digests import Digest
from cfm.worker.act.library import ChangedError, Outlet, Reader
from cfm.worker.act.plain_files import open_plain
from cfm.worker.serve.sending import Source

CONTENT = os.urandom(3_000_000)


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    (tmp_path / "a.mpg").write_bytes(CONTENT)
    folder = os.open(tmp_path, os.O_RDONLY)
    with closing(Reader(*open_plain(folder, "a.mpg"))) as reader:
        yield reader
    os.close(folder)


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Our end of a connection, and that of a client who reads nothing by itself."""
    here, there = socket.socketpair()
    here.setblocking(False)
    with here, there:
        yield here, there


def taken(there: socket.socket) -> bytearray:
    """All that comes until the connection ends."""
    found = bytearray()
    while data := there.recv(1 << 20):
        found += data
    return found


async def test_what_is_sent_is_in_the_checksum(
    reader: Reader, ends: tuple[socket.socket, socket.socket]
) -> None:
    here, there = ends
    digest, pool = Digest(len(CONTENT)), ThreadPool("the disk", 1)
    source = Source(reader, pool, digest, 10.0)
    taking = asyncio.create_task(asyncio.to_thread(taken, there))
    with closing(Outlet(here.fileno())) as outlet:
        sent = 0
        while sent < len(CONTENT):
            sent += await source.send(outlet, sent, len(CONTENT))
    here.close()
    assert await taking == CONTENT
    assert digest.known == xxh3_128_digest(CONTENT)
    pool.close()


def test_a_turn_ends_although_nobody_takes_the_bytes(
    reader: Reader, ends: tuple[socket.socket, socket.socket]
) -> None:
    digest = Digest(len(CONTENT))
    with closing(Outlet(ends[0].fileno())) as outlet:
        sent = reader.send(outlet, 0, len(CONTENT), digest)
        assert 0 < sent < len(CONTENT)
        assert reader.send(outlet, sent, len(CONTENT), digest) == 0
    assert digest.position == sent


def test_a_file_that_changed_is_told_in_the_same_turn(
    reader: Reader, ends: tuple[socket.socket, socket.socket], tmp_path: Path
) -> None:
    os.utime(tmp_path / "a.mpg", ns=(1, 1))
    with closing(Outlet(ends[0].fileno())) as outlet, pytest.raises(ChangedError):
        reader.send(outlet, 0, 1000, Digest(len(CONTENT)))


async def test_a_stream_that_is_cancelled_stops_its_thread_before_it_is_over(
    reader: Reader, ends: tuple[socket.socket, socket.socket]
) -> None:
    here, there = ends
    pool = ThreadPool("the disk", 1)
    source, outlet = Source(reader, pool, Digest(len(CONTENT)), 10.0), Outlet(here.fileno())
    reader.send(outlet, 0, len(CONTENT), Digest(0))  # it fills what the kernel holds
    sending = asyncio.create_task(source.send(outlet, 0, len(CONTENT)))
    await asyncio.sleep(0)
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    fd = outlet.fileno()
    outlet.close()
    assert outlet.fileno() == -1, "no thread uses it any more"
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)
    assert len(taken(there)) < 2 * len(CONTENT), "the other side sees the end"
    pool.close()


async def test_a_disk_that_hangs_keeps_neither_the_stream_nor_its_connection(
    reader: Reader, ends: tuple[socket.socket, socket.socket]
) -> None:
    here, there = ends
    pool, go_on, hangs = ThreadPool("the disk", 1), threading.Event(), threading.Event()

    def hang() -> None:
        with reader.in_use():
            hangs.set()
            go_on.wait(10)

    thread = threading.Thread(target=hang)
    thread.start()
    hangs.wait()
    outlet = Outlet(here.fileno())
    with pytest.raises(HungError):
        await Source(reader, pool, Digest(len(CONTENT)), 0.05).send(outlet, 0, len(CONTENT))
    outlet.close()
    assert taken(there) == b"", "the other side sees the end at once"
    assert outlet.fileno() >= 0, "its number is not another file's while the thread may come back to it"
    go_on.set()
    await asyncio.to_thread(thread.join)
    async with asyncio.timeout(5):
        while outlet.fileno() >= 0:
            await asyncio.to_thread(lambda: None)
    pool.close()
