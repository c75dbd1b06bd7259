"""The built-in transfer: what it says to a source, and what it takes from one."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from xxhash import xxh3_128_digest

from cfm import wire
from cfm.model import Addr
from cfm.security import NO_KEYS
from cfm.wire import TaskOffer
from cfm.worker.act.base_dir import TempFile
from cfm.worker.act.real_base_dir import RealBaseDir, RealTempFile
from cfm.worker.act.transfers.builtin import BuiltinSettings, BuiltinTransfer
from cfm.worker.act.transfers.contract import Received, TransferError
from cfm.worker.act.transfers.http_download import CATCH_UP_S, Speed
from cfm.worker.act.transfers.response import (
    Head,
    InterruptionError,
    Restart,
    judge_content,
    judge_digest,
)
from cfm.worker.act.transfers.source_request import SourceRequests
from cfm_lab.testing.faulty_source import FaultySource, SourceFault
from cfm_lab.testing.waiting_cfm import usual_offer

CONTENT = bytes(range(256)) * 8_000
NAME = "a b%23#?.mpg"
SETTINGS = BuiltinSettings(loopback_ok=True, stall_s=1.0, pauses_s=(0.01,))
ETAG = '"tag"'


@dataclass
class Place:
    disk: RealBaseDir
    path: str = ""
    room: bool = True
    asked_bytes: list[int] = field(default_factory=list)

    def create(self) -> TempFile:
        with self.disk.open() as folder:
            return folder.open_temp("x.1", new=True)

    def reopen(self) -> TempFile:
        raise AssertionError("only external downloads are opened again")

    def has_room_for(self, size_bytes: int) -> bool:
        self.asked_bytes.append(size_bytes)
        return self.room


class FullPlace(Place):
    """/dev/full: every write fails as on a disk that is full."""

    def create(self) -> TempFile:
        return RealTempFile(os.open("/dev/full", os.O_RDWR))


@pytest.fixture
async def source() -> AsyncIterator[FaultySource]:
    async with FaultySource(CONTENT) as source:
        yield source


@pytest.fixture
async def place(tmp_path: Path) -> Place:
    return Place(RealBaseDir(tmp_path))


def offer(source: FaultySource) -> TaskOffer:
    return usual_offer(
        id="77",
        file_name=NAME,
        src_addr=source.addr,
        dst_addr="127.0.0.1:8888",
        size_bytes=len(source.content),
    )


async def fetch(offer: TaskOffer, place: Place, settings: BuiltinSettings = SETTINGS) -> Received:
    transfer = BuiltinTransfer(settings)
    try:
        return await transfer.fetch(offer, place, Nobody())
    finally:
        await transfer.close()


class Nobody:
    def moved(self, total_bytes: int) -> None: ...

    def received(self) -> None: ...


async def test_asks_for_exactly_that_file_in_the_task_s_name(source: FaultySource, place: Place) -> None:
    received = await fetch(offer(source), place)
    assert received == Received(len(CONTENT), xxh3_128_digest(CONTENT))
    get, head = source.requests
    assert (get.method, get.target) == ("GET", "/content/a%20b%2523%23%3F.mpg")
    assert get.fields["cfm-task"] == "77"
    assert get.fields["accept-encoding"] == "identity"
    assert "range" not in get.fields
    assert (head.method, head.target) == ("HEAD", get.target)
    assert head.fields["want-repr-digest"] == "xxh3-128=1"
    assert "cfm-task" not in head.fields  # the source is free by then


async def test_goes_on_where_it_broke_off(source: FaultySource, place: Place) -> None:
    source.fault = SourceFault.RESET_ONCE
    received = await fetch(offer(source), place)
    assert received.digest == xxh3_128_digest(CONTENT)
    again = source.requests[1]
    assert again.fields["if-range"] == source.etag
    first = int(again.fields["range"].removeprefix("bytes=").removesuffix("-"))
    assert 0 < first <= len(CONTENT) // 2
    assert Path(place.disk.temp_path("x.1")).read_bytes() == CONTENT


async def test_begins_anew_where_the_file_changed(source: FaultySource, place: Place) -> None:
    source.fault = SourceFault.CHANGES
    received = await fetch(offer(source), place)
    assert received.digest == xxh3_128_digest(CONTENT[::-1])
    assert Path(place.disk.temp_path("x.1")).read_bytes() == CONTENT[::-1]


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        (SourceFault.SHORT_FILE, "bytes instead of"),
        (SourceFault.LONG_FILE, "bytes instead of"),
        (SourceFault.CORRUPT, "checksum is not the source's"),
        (SourceFault.NO_DIGEST, "gives no checksum"),
        (SourceFault.WRONG_RANGE, "another part"),
        (SourceFault.TRICKLE, "stalled"),
        (SourceFault.REDIRECT, "answered 302"),
        (SourceFault.GZIP, "an encoding"),
        (SourceFault.CHUNKS, "does not say how many"),
        (SourceFault.NO_LENGTH, "does not say how many"),
        (SourceFault.MISSING, "does not serve the file"),
    ],
)
async def test_refuses_what_is_not_the_file(
    source: FaultySource, place: Place, fault: SourceFault, why: str
) -> None:
    source.fault = fault
    with pytest.raises(TransferError, match=why):
        await fetch(offer(source), place)
    assert all(request.target.startswith("/content/") for request in source.requests)
    assert Path(place.disk.temp_path("x.1")).stat().st_size <= len(CONTENT)


async def test_endless_chunks_leave_nothing(source: FaultySource, place: Place) -> None:
    source.fault = SourceFault.CHUNKS
    with pytest.raises(TransferError):
        await fetch(offer(source), place)
    assert Path(place.disk.temp_path("x.1")).stat().st_size == 0


async def test_more_than_was_stated_is_not_read(source: FaultySource, place: Place) -> None:
    source.fault = SourceFault.EXTRA_BYTES
    await fetch(offer(source), place)
    assert Path(place.disk.temp_path("x.1")).read_bytes() == CONTENT


async def test_says_busy_and_for_how_long(source: FaultySource, place: Place) -> None:
    source.fault = SourceFault.BUSY
    with pytest.raises(TransferError) as failed:
        await fetch(offer(source), place)
    assert (failed.value.error, failed.value.retry_after_s) == ("busy", 7)
    assert len(source.requests) == 1


async def test_tells_that_the_source_is_free_before_it_verifies(source: FaultySource, place: Place) -> None:
    order: list[str] = []

    class Order(Nobody):
        def received(self) -> None:
            order.append(f"received after {source.count('GET')} GET")

    transfer = BuiltinTransfer(SETTINGS)
    await transfer.fetch(offer(source), place, Order())
    await transfer.close()
    assert order == ["received after 1 GET"]


async def test_asks_for_room_when_the_source_says_the_size(source: FaultySource, place: Place) -> None:
    await fetch(replace(offer(source), size_bytes=None), place)
    assert place.asked_bytes == [len(CONTENT)]
    Path(place.disk.temp_path("x.1")).unlink()
    place.room = False
    with pytest.raises(TransferError, match="no room"):
        await fetch(replace(offer(source), size_bytes=None), place)


async def test_a_full_disk_is_called_so(source: FaultySource, tmp_path: Path) -> None:
    with pytest.raises(TransferError, match="No space left"):
        await fetch(offer(source), FullPlace(RealBaseDir(tmp_path)))


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_looks_at_the_address_that_it_really_connects_to(
    source: FaultySource, place: Place, host: str
) -> None:
    port = source.addr.rpartition(":")[2]
    elsewhere = replace(offer(source), source=Addr(f"{host}:{port}"))
    with pytest.raises(TransferError, match="loopback"):
        await fetch(elsewhere, place, replace(SETTINGS, loopback_ok=False))
    assert source.requests == []


async def test_uses_no_proxy_of_the_environment(
    source: FaultySource, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert (await fetch(offer(source), place)).size_bytes == len(CONTENT)


async def test_keeps_to_the_task_s_speed(source: FaultySource, place: Place) -> None:
    before_s = asyncio.get_running_loop().time()
    await fetch(replace(offer(source), copy_speed_bps=8 * 4_000_000), place)
    assert asyncio.get_running_loop().time() - before_s > 0.25  # 0.5 s, but for what one read may bring


async def test_gives_up_where_nobody_listens(source: FaultySource, place: Place) -> None:
    gone = offer(source)
    await source.__aexit__(None, None, None)
    with pytest.raises(TransferError):
        await fetch(gone, place)


# --- heads that are none


@contextlib.asynccontextmanager
async def says(*pieces: bytes, every_s: float = 0) -> AsyncIterator[TaskOffer]:
    """A source that says this to whatever it is asked, piece by piece."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(every_s)
        writer.transport.abort()
        ended.set()

    ended = asyncio.Event()
    async with await asyncio.start_server(talk, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        yield usual_offer(
            file_name=NAME, src_addr=f"127.0.0.1:{port}", dst_addr="127.0.0.1:8888", size_bytes=5
        )
        await ended.wait()


@pytest.mark.parametrize(
    ("pieces", "why"),
    [
        ([b"HTTP/1.1 200 OK\r\n", b"X: y\r\n" * 20_000], "too many headers"),
        ([b"garbage\r\n\r\n"], "answered 0"),
        ([b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 302 Found\r\n\r\n"], "answered 302"),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n"], "no answer"),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc"], "before all bytes had come"),
    ],
    ids=["endless", "garbage", "a hint before it", "cut", "cut behind it"],
)
async def test_an_answer_that_is_none_is_told(place: Place, pieces: list[bytes], why: str) -> None:
    async with says(*pieces) as offer:
        with pytest.raises(TransferError, match=why):
            await fetch(offer, place)


async def test_a_head_that_drips_is_waited_for_no_longer_than_a_silent_one(place: Place) -> None:
    async with says(*[b"x"] * 1_000, every_s=0.01) as offer:
        with pytest.raises(TransferError, match="too slow, or silent"):
            await fetch(offer, place, replace(SETTINGS, stall_s=0.05))


async def test_a_stop_that_came_before_the_connection_ends_it(source: FaultySource) -> None:
    source.fault = SourceFault.SILENT
    requests = SourceRequests(offer(source), keys=NO_KEYS, connect_timeout_s=5, loopback_ok=True)
    requests.stop()

    def ask() -> None:
        with requests.ask("GET", {}, 10.0):
            pass

    async with asyncio.timeout(5):
        with pytest.raises(TransferError, match="stopped"):
            await asyncio.to_thread(ask)
    assert source.requests == []


# --- the speed


@given(
    bytes_per_s=st.integers(1_000, 10**9),
    waits_s=st.lists(st.floats(0, 1.0), max_size=50),
)
def test_the_speed_is_kept_and_lost_time_is_not_made_up_for(bytes_per_s: int, waits_s: list[float]) -> None:
    """However the source's bytes come: in no stretch of time do more come than are allowed in it."""
    now_s, speed = 100.0, Speed(bytes_per_s, 100.0)
    for wait_s in [*waits_s, *[0.0] * 200]:
        began_s, sent_bytes = now_s, 0
        now_s += wait_s
        for _ in range(3):
            now_s += speed.pause_s(speed.piece_bytes, now_s)
            sent_bytes += speed.piece_bytes
        allowed_s = now_s - began_s + CATCH_UP_S
        assert sent_bytes <= bytes_per_s * allowed_s * 1.0001


def test_a_source_that_is_fast_enough_is_read_at_just_that_speed() -> None:
    now_s, speed = 0.0, Speed(12_500_000, 0.0)
    received_bytes = 0
    while now_s < 10:
        received_bytes += speed.piece_bytes
        now_s += 0.001 + speed.pause_s(speed.piece_bytes, now_s)
    assert received_bytes / now_s == pytest.approx(12_500_000, rel=0.03)


# --- the judgement of answers


def head(status: int, **fields: str) -> Head:
    return Head(status, {name.replace("_", "-"): value for name, value in fields.items()})


@given(st.lists(st.text(max_size=80), max_size=8))
def test_no_header_lines_can_break_the_reader(lines: list[str]) -> None:
    answer = Head.read(lines)
    assert answer.status == 0 or 100 <= answer.status <= 999
    assert answer.length is None or answer.length >= 0


@given(
    have=st.integers(1, 1000),
    first=st.integers(0, 1000),
    last=st.integers(0, 1000),
    total=st.integers(0, 1000),
    length=st.integers(0, 1000),
)
def test_a_part_is_taken_only_where_it_is_exactly_the_rest(
    have: int, first: int, last: int, total: int, length: int
) -> None:
    answer = head(206, content_range=f"bytes {first}-{last}/{total}", content_length=str(length), etag=ETAG)
    right = first == have and last == total - 1 and total == 1000 and length == total - have
    if right:
        assert judge_content(answer, have=have, etag=ETAG, size_bytes=1000) is Restart.NOT_NEEDED
    else:
        with pytest.raises(TransferError):
            judge_content(answer, have=have, etag=ETAG, size_bytes=1000)


def test_a_part_that_was_not_asked_for_is_refused() -> None:
    answer = head(206, content_range="bytes 0-9/10", content_length="10", etag=ETAG)
    with pytest.raises(TransferError):
        judge_content(answer, have=0, etag="", size_bytes=10)


def test_a_busy_source_is_waited_for_once_it_had_begun() -> None:
    with pytest.raises(InterruptionError):
        judge_content(head(503), have=5, etag=ETAG, size_bytes=10)


def test_lengths_are_plain_digits() -> None:
    for text in ("", "-1", "+5", "٣", "1e3", "5, 5", "9" * 19):
        assert head(200, content_length=text).length is None
    assert Head.read(["HTTP/1.1 200 OK", "Content-Length: 5", "Content-Length: 5"]).length is None


def test_a_source_says_why_it_cannot_send() -> None:
    """So that cfm asks: is the SAN mounted?"""
    reason = wire.reason_to_header("the source folder /san is empty: is the SAN mounted?")[wire.REASON]
    with pytest.raises(
        TransferError, match=r"^the source answered 500: .*/san is empty: is the SAN mounted\?$"
    ):
        judge_content(head(500, cfm_reason=reason), have=0, etag="", size_bytes=9)


def test_the_digest_is_read_as_rfc_9530_writes_it() -> None:
    digest = xxh3_128_digest(b"x")
    text = base64.b64encode(digest).decode()
    for field_text in (f"xxh3-128=:{text}:", f"sha-256=:AAAA:, xxh3-128=:{text}:"):
        answer = head(200, content_length="1", etag=ETAG, repr_digest=field_text)
        assert judge_digest(answer, ETAG, 1) == digest
    for field_text in ("", f"xxh3-128={text}", "xxh3-128=:AAAA:", "xxh3-128=:=:"):
        with pytest.raises(TransferError, match="no checksum"):
            judge_digest(head(200, content_length="1", etag=ETAG, repr_digest=field_text), ETAG, 1)


def test_the_digest_must_be_that_of_the_same_file() -> None:
    text = base64.b64encode(xxh3_128_digest(b"x")).decode()
    answer = head(200, content_length="1", etag=ETAG, repr_digest=f"xxh3-128=:{text}:")
    for etag, size_bytes in (('"other"', 1), (ETAG, 2)):
        with pytest.raises(TransferError, match="changed"):
            judge_digest(answer, etag, size_bytes)
