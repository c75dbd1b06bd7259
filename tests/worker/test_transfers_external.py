"""The external downloader: run as it always was, believed only as far as can be seen."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from cfm.wire import TaskOffer
from cfm.worker.act.base_dir import TempFile
from cfm.worker.act.real_base_dir import RealBaseDir
from cfm.worker.act.transfers.contract import Received, TransferError
from cfm.worker.act.transfers.external import ExternalSettings, ExternalTransfer
from cfm_lab.testing.waiting_cfm import usual_offer

OFFER = usual_offer(
    id="5", src_addr="10.0.0.1:8888", dst_addr="10.0.2.1:8888", size_bytes=6, copy_speed="10000000"
)
GOOD = 'printf "%s" 123456 > "$2"; echo "...Successfully done" >&2'


@dataclass
class Place:
    disk: RealBaseDir

    @property
    def path(self) -> str:
        return self.disk.temp_path("A.mpg.5")

    def create(self) -> TempFile:
        raise AssertionError("the downloader creates its target")

    def reopen(self) -> TempFile:
        with self.disk.open() as folder:
            return folder.open_temp("A.mpg.5", new=False)

    def has_room_for(self, size_bytes: int) -> bool:
        raise AssertionError(size_bytes)


@dataclass
class Seen:
    moves: list[int] = field(default_factory=list)
    grown: asyncio.Event = field(default_factory=asyncio.Event)

    def moved(self, total_bytes: int) -> None:
        self.moves.append(total_bytes)
        self.grown.set()

    def received(self) -> None: ...


@dataclass
class Bench:
    folder: Path
    place: Place
    seen: Seen
    transfers: list[ExternalTransfer]

    def transfer(self, script: str, **settings: float) -> ExternalTransfer:
        program = self.folder / "downloader.sh"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        made = ExternalSettings(program, re.compile("Successfully"))
        transfer = ExternalTransfer(replace(made, **settings))  # type: ignore[arg-type]  # fields by name
        self.transfers.append(transfer)
        return transfer

    async def run(self, script: str, offer: TaskOffer = OFFER, **settings: float) -> Received:
        return await self.transfer(script, **settings).fetch(offer, self.place, self.seen)


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    base = tmp_path / "data"
    (base / "temp.downloaded").mkdir(parents=True)
    bench = Bench(tmp_path, Place(RealBaseDir(base)), Seen(), [])
    yield bench
    for transfer in bench.transfers:
        await transfer.close()


async def test_is_called_as_it_always_was(bench: Bench) -> None:
    received = await bench.run(f'echo "$# $1 $2 $3 $4" > {bench.folder}/said; {GOOD}')
    said = (bench.folder / "said").read_text()
    assert said == f"4 10.0.0.1 {bench.folder}/data/temp.downloaded/A.mpg.5 /data2/A.mpg 10000000\n"
    assert received == Received(6, None)
    assert bench.seen.moves[-1] == 6


@pytest.mark.parametrize(
    ("script", "why"),
    [
        (f"{GOOD}; exit 3", "ended with 3"),
        (f"{GOOD}; kill -9 $$", "ended with 137"),
        ("printf 123456 > $2; echo successfully >&2", "did not say 'Successfully'"),
        ("printf 123456 > $2; echo Successfully", "did not say"),  # on stdout
        ("echo Successfully >&2", "left no file"),
        ("printf 12345 > $2; echo Successfully >&2", "left 5 bytes instead of 6"),
        ("printf 1234567 > $2; echo Successfully >&2", "left 7 bytes instead of 6"),
        ("ln -s /etc/passwd $2; echo Successfully >&2", "the disk"),
        ("mkfifo $2; echo Successfully >&2", "the disk"),
        ("mkdir $2; echo Successfully >&2", "the disk"),
    ],
)
async def test_success_is_believed_only_as_far_as_it_can_be_seen(bench: Bench, script: str, why: str) -> None:
    with pytest.raises(TransferError, match=re.escape(why)):
        await bench.run(script)


async def test_an_empty_file_is_none_even_where_no_size_was_stated(bench: Bench) -> None:
    unknown = replace(OFFER, size_bytes=None)
    assert await bench.run(GOOD, unknown) == Received(6, None)
    with pytest.raises(TransferError, match="left 0 bytes instead of some"):
        await bench.run(": > $2; echo Successfully >&2", unknown)


async def test_a_missing_program_is_called_so(bench: Bench) -> None:
    settings = ExternalSettings(bench.folder / "nothing", re.compile("x"))
    transfer = ExternalTransfer(settings)
    bench.transfers.append(transfer)
    with pytest.raises(TransferError, match=r"ended with 127.*No such file"):
        await transfer.fetch(OFFER, bench.place, bench.seen)


async def test_ends_what_takes_too_long(bench: Bench) -> None:
    slow = replace(OFFER, size_bytes=1, copy_speed_bps=1_000_000)
    with pytest.raises(TransferError, match="did not end in time"):
        await bench.run("echo begun >&2; sleep 1000", slow, least_timeout_s=0.3)


async def test_a_large_file_has_its_time(bench: Bench) -> None:
    hours = replace(OFFER, size_bytes=20 * 10**9, copy_speed_bps=10_000_000)
    with pytest.raises(TransferError, match="left 6 bytes"):
        await bench.run(GOOD, hours, least_timeout_s=0.01)


async def test_ends_what_is_stuck(bench: Bench) -> None:
    with pytest.raises(TransferError, match="stuck; it said 'waiting'"):
        await bench.run("echo waiting >&2; sleep 1000", stall_s=0.4)


async def test_tells_how_the_target_grows(bench: Bench) -> None:
    fifo = bench.folder / "go"
    os.mkfifo(fifo)
    running = asyncio.create_task(bench.run(f'printf 123 > "$2"; read x < {fifo}; {GOOD}', stall_s=20))
    await bench.seen.grown.wait()
    assert bench.seen.moves == [3]
    await asyncio.to_thread(fifo.write_text, "go\n")
    assert (await running).size_bytes == 6


async def test_endless_output_is_read_and_not_kept(bench: Bench) -> None:
    script = f"head -c 3000000 /dev/zero | tr '\\0' 'x' >&2; {GOOD}"
    assert await bench.run(script) == Received(6, None)


async def test_success_may_be_said_first(bench: Bench) -> None:
    script = f"{GOOD}; head -c 3000000 /dev/zero | tr '\\0' 'x' >&2"
    assert await bench.run(script) == Received(6, None)


async def test_what_it_says_is_shown_on_one_line(bench: Bench) -> None:
    with pytest.raises(TransferError) as failed:
        await bench.run("printf 'no\\n\\033[31mway\\377' >&2; exit 1")
    assert failed.value.error.isprintable()


async def test_nothing_of_it_is_left_when_cancelled(bench: Bench) -> None:
    fifo = bench.folder / "alive"
    os.mkfifo(fifo)
    transfer = bench.transfer(f"exec 3> {fifo}; sleep 1000 & sleep 1000")
    running = asyncio.create_task(transfer.fetch(OFFER, bench.place, bench.seen))
    reading = await asyncio.to_thread(os.open, fifo, os.O_RDONLY)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert os.read(reading, 1) == b""  # nobody holds it any more
    os.close(reading)


async def test_a_supervisor_that_was_killed_while_it_waited_is_replaced(bench: Bench) -> None:
    transfer = bench.transfer(GOOD)
    transfer.prepare()
    (spare,) = transfer.spares
    supervisor = await spare
    supervisor.kill()
    await supervisor.wait()
    assert await transfer.fetch(OFFER, bench.place, bench.seen) == Received(6, None)


async def test_a_killed_supervisor_fails_the_transfer_and_leaves_nothing(bench: Bench) -> None:
    fifo = bench.folder / "alive"
    os.mkfifo(fifo)
    transfer = bench.transfer(
        f"supervisor=$PPID; exec 3> {fifo}; (sleep 1000)& (kill -9 $supervisor; sleep 1000)"
    )
    running = asyncio.create_task(transfer.fetch(OFFER, bench.place, bench.seen))
    reading = await asyncio.to_thread(os.open, fifo, os.O_RDONLY)
    with pytest.raises(TransferError, match=r"was killed|ended with -9"):
        await running
    assert await asyncio.to_thread(os.read, reading, 1) == b""
    os.close(reading)


async def test_many_one_after_another_leak_nothing(bench: Bench) -> None:
    transfer = bench.transfer(GOOD)
    await transfer.fetch(OFFER, bench.place, bench.seen)
    before = open_descriptors()
    for _ in range(5):
        await transfer.fetch(OFFER, bench.place, bench.seen)
    assert open_descriptors() <= before + 1


def open_descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())
