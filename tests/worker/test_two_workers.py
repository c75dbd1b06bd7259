"""One worker's `/content` and another's built-in transfer: the two halves of a copy, together."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import xxhash

from cfm.worker.act.base_dir import TempFile
from cfm.worker.act.shelf import Shelf
from cfm.worker.act.transfers.builtin import BuiltinSettings, BuiltinTransfer
from cfm.worker.act.transfers.contract import Received, TransferError
from cfm.worker.decide.shelf_rules import Receipt
from cfm_lab.testing.waiting_cfm import usual_offer
from cfm_lab.testing.worker_rig import WorkerRig, worker_rig

DATA = os.urandom((5 << 20) + 123)


@dataclass(frozen=True, slots=True)
class Place:
    """A receipt of a shelf as a transfer sees it."""

    shelf: Shelf
    receipt: Receipt

    @property
    def path(self) -> str:
        return self.receipt.path

    def create(self) -> TempFile:
        return self.shelf.create(self.receipt)

    def reopen(self) -> TempFile:
        return self.shelf.reopen(self.receipt)

    def has_room_for(self, size_bytes: int) -> bool:
        return self.shelf.room_for(size_bytes)


@dataclass
class Watch:
    moving: asyncio.Event = field(default_factory=asyncio.Event)

    def moved(self, total_bytes: int) -> None:
        if total_bytes:
            self.moving.set()

    def received(self) -> None:
        return None


@dataclass
class Pair:
    source: WorkerRig
    destination: WorkerRig
    transfer: BuiltinTransfer
    watch: Watch = field(default_factory=Watch)

    async def copy(self, task_id: int = 1, speed_bps: int = 0) -> Received:
        shelf = self.destination.api.shelf
        receipt = await asyncio.to_thread(shelf.begin, "a.mpg", task_id, len(DATA))
        offer = usual_offer(
            id=str(task_id),
            file_name="a.mpg",
            src_addr=self.source.addr,
            dst_addr="127.0.0.1:8888",
            size_bytes=len(DATA),
            copy_speed=str(speed_bps),
        )
        try:
            received = await self.transfer.fetch(offer, Place(shelf, receipt), self.watch)
        except TransferError:
            await asyncio.to_thread(shelf.abandon, receipt)
            raise
        await asyncio.to_thread(lambda: shelf.publish(receipt, verified=received.digest is not None))
        return received


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    for name in ("source", "destination"):
        (tmp_path / name).mkdir()
    transfer = BuiltinTransfer(BuiltinSettings(loopback_ok=True, pauses_s=(0.01, 0.01)))
    async with (
        worker_rig(tmp_path / "source") as source,
        worker_rig(tmp_path / "destination", with_source=False, quota_bytes=1 << 30) as destination,
    ):
        (source.source / "a.mpg").write_bytes(DATA)
        yield Pair(source, destination, transfer)
        await transfer.close()


async def test_a_copy_is_verified_and_visible(pair: Pair) -> None:
    received = await pair.copy()
    assert (received.size_bytes, received.digest) == (len(DATA), xxhash.xxh3_128_digest(DATA))
    assert (pair.destination.base / "a.mpg").read_bytes() == DATA
    answer = await pair.destination.ask("HEAD", "/content/a.mpg?in=base")
    assert (answer.status, answer.headers["content-length"]) == (200, str(len(DATA)))


async def test_a_busy_source_says_when_to_come_again(pair: Pair) -> None:
    await pair.source.api.streams.open("another task")
    with pytest.raises(TransferError) as caught:
        await pair.copy()
    assert (caught.value.error, caught.value.retry_after_s) == ("busy", 1)
    assert not (pair.destination.base / "a.mpg").exists()


async def test_an_ended_task_is_not_copied_on(pair: Pair) -> None:
    copying = asyncio.create_task(pair.copy(speed_bps=8_000_000))
    await pair.watch.moving.wait()
    assert (await pair.source.ask("DELETE", "/streams/1")).status == 200
    with pytest.raises(TransferError):
        await copying
    assert pair.source.api.streams.controlled == 0
    assert (await pair.destination.ask("GET", "/files")).body == b""
    assert pair.destination.api.shelf.usage().arriving_bytes == 0


async def test_a_connection_that_breaks_is_taken_up_again(pair: Pair) -> None:
    copying = asyncio.create_task(pair.copy(speed_bps=16_000_000))
    await pair.watch.moving.wait()
    pair.source.api.streams.cut_all()
    received = await copying
    assert received.digest == xxhash.xxh3_128_digest(DATA)
    assert (pair.destination.base / "a.mpg").read_bytes() == DATA


async def test_of_a_file_that_is_written_while_it_is_copied_no_half_is_kept(pair: Pair) -> None:
    copying = asyncio.create_task(pair.copy(speed_bps=16_000_000))
    await pair.watch.moving.wait()
    path = pair.source.source / "a.mpg"
    with path.open("r+b") as out:  # its size stays
        out.write(DATA[::-1][: len(DATA) // 2])
    received = await copying
    assert (pair.destination.base / "a.mpg").read_bytes() == path.read_bytes()
    assert received.digest == xxhash.xxh3_128_digest(path.read_bytes())


async def test_of_a_file_that_is_replaced_while_it_is_copied_the_older_copy_stays(pair: Pair) -> None:
    older = bytes(len(DATA))
    (pair.destination.base / "a.mpg").write_bytes(older)
    copying = asyncio.create_task(pair.copy(speed_bps=16_000_000))
    await pair.watch.moving.wait()
    (pair.source.source / "a.new").write_bytes(DATA[::-1])
    (pair.source.source / "a.new").rename(pair.source.source / "a.mpg")
    with pytest.raises(TransferError, match="changed during the transfer"):
        await copying
    assert (pair.destination.base / "a.mpg").read_bytes() == older
    await pair.copy(task_id=2)
    assert (pair.destination.base / "a.mpg").read_bytes() == DATA[::-1], "in its place, in one step"
