"""What every transfer must do, whatever brings the bytes: the battery for each row of the table."""

from __future__ import annotations

import asyncio
import contextlib
import re
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from cfm.model import Transfer as Kind
from cfm.wire import TaskOffer
from cfm.worker.act.base_dir import TempFile
from cfm.worker.act.real_base_dir import RealBaseDir
from cfm.worker.act.transfers import TRANSFERS, TransferSettings
from cfm.worker.act.transfers.builtin import BuiltinSettings
from cfm.worker.act.transfers.contract import FileTransfer, TransferError
from cfm.worker.act.transfers.external import ExternalSettings
from cfm_lab.testing.faulty_source import FaultySource, SourceFault
from cfm_lab.testing.waiting_cfm import usual_offer

CONTENT = bytes(range(256)) * 2_000
NAME = "MXCI5B4LSGL1000051_K20180531174730.mpg"

DOWNLOADER = """#!{python} -IS
import http.client, sys
source, target, path, speed = sys.argv[1:]
name = path.rpartition("/")[2]
for attempt in range(3):
    connection = http.client.HTTPConnection(source, {port}, timeout=30)
    try:
        connection.request("GET", "/content/" + name)
        answer = connection.getresponse()
        if answer.status != 200:
            sys.exit("the source answered %d" % answer.status)
        with open(target, "wb") as file:
            while data := answer.read1(65536):
                file.write(data)
                file.flush()
        if answer.length:
            raise http.client.IncompleteRead(b"")
    except (OSError, http.client.HTTPException):
        continue
    print("Successfully received", file=sys.stderr)
    sys.exit(0)
sys.exit("gave up")
"""


@dataclass
class Place:
    """A landing in a folder of the test."""

    disk: RealBaseDir
    temp: str = f"{NAME}.1"

    @property
    def path(self) -> str:
        return self.disk.temp_path(self.temp)

    def create(self) -> TempFile:
        with self.disk.open() as folder:
            folder.remove_temp(self.temp)
            return folder.open_temp(self.temp, new=True)

    def reopen(self) -> TempFile:
        with self.disk.open() as folder:
            return folder.open_temp(self.temp, new=False)

    def has_room_for(self, size_bytes: int) -> bool:
        return size_bytes == len(CONTENT)

    @property
    def size_bytes(self) -> int:
        return Path(self.path).stat().st_size if Path(self.path).exists() else 0


@dataclass
class Seen:
    """A watch that remembers."""

    moves: list[int] = field(default_factory=list)
    all_here: int = 0

    def moved(self, total_bytes: int) -> None:
        self.moves.append(total_bytes)

    def received(self) -> None:
        self.all_here += 1


def builtin(_source: FaultySource, _folder: Path) -> TransferSettings:
    return TransferSettings(BuiltinSettings(loopback_ok=True, stall_s=1, pauses_s=(0.01, 0.02)))


def external(source: FaultySource, folder: Path) -> TransferSettings:
    program = folder / "downloader"
    port = source.addr.rpartition(":")[2]
    program.write_text(DOWNLOADER.format(python=sys.executable, port=port))
    program.chmod(0o755)
    settings = ExternalSettings(program, re.compile("Successfully"), stall_s=2.5)
    return TransferSettings(BuiltinSettings(), settings)


@dataclass
class Bench:
    source: FaultySource
    transfer: FileTransfer
    place: Place
    seen: Seen = field(default_factory=Seen)
    size_bytes: int | None = len(CONTENT)

    def offer(self) -> TaskOffer:
        return usual_offer(
            file_name=NAME,
            src_addr=self.source.addr,
            dst_addr="127.0.0.1:8888",
            size_bytes=self.size_bytes,
        )

    async def fetch(self) -> bytes | None:
        """What arrived; None where the transfer could not say that it is right."""
        received = await self.transfer.fetch(self.offer(), self.place, self.seen)
        content = Path(self.place.path).read_bytes()
        assert len(content) == received.size_bytes
        return content if received.digest is not None or content == CONTENT else None


@pytest.fixture(params=[Kind.BUILTIN, Kind.EXTERNAL])
async def bench(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Bench]:
    make: dict[Kind, Callable[[FaultySource, Path], TransferSettings]]
    make = {Kind.BUILTIN: builtin, Kind.EXTERNAL: external}
    base = tmp_path / "data"
    (base / "temp.downloaded").mkdir(parents=True)
    async with FaultySource(CONTENT) as source:
        transfer = TRANSFERS[request.param](make[request.param](source, tmp_path))
        yield Bench(source, transfer, Place(RealBaseDir(base)))
        await transfer.close()


def test_every_row_of_the_table_is_tried() -> None:
    assert set(TRANSFERS) == {Kind.BUILTIN, Kind.EXTERNAL}


async def test_brings_the_right_bytes(bench: Bench) -> None:
    assert await bench.fetch() == CONTENT
    assert bench.seen.all_here == 1
    assert bench.seen.moves[-1] == len(CONTENT)


async def test_takes_the_source_s_word_where_the_size_is_not_stated(bench: Bench) -> None:
    bench.size_bytes = None
    assert await bench.fetch() == CONTENT


@pytest.mark.parametrize(
    "fault",
    [
        SourceFault.SHORT_FILE,
        SourceFault.LONG_FILE,
        SourceFault.REDIRECT,
        SourceFault.MISSING,
        SourceFault.CUT_ALWAYS,
    ],
)
async def test_fails_where_the_file_cannot_be_had_whole(bench: Bench, fault: SourceFault) -> None:
    bench.source.fault = fault
    with pytest.raises(TransferError):
        await bench.fetch()
    assert bench.seen.all_here == 0


@pytest.mark.parametrize("fault", [SourceFault.CUT_ONCE, SourceFault.RESET_ONCE])
async def test_survives_an_interruption(bench: Bench, fault: SourceFault) -> None:
    bench.source.fault = fault
    assert await bench.fetch() == CONTENT


async def test_never_calls_wrong_bytes_right(bench: Bench) -> None:
    bench.source.fault = SourceFault.CORRUPT
    with contextlib.suppress(TransferError):
        assert await bench.fetch() is None


@pytest.mark.parametrize("fault", [SourceFault.STALL, SourceFault.SILENT])
async def test_gives_up_on_a_source_that_stalls(bench: Bench, fault: SourceFault) -> None:
    bench.source.fault = fault
    async with asyncio.timeout(15):
        with pytest.raises(TransferError):
            await bench.fetch()
    await bench.source.ended.wait()


@pytest.mark.parametrize("fault", [SourceFault.STALL, SourceFault.SILENT])
async def test_a_cancelled_transfer_is_over_at_once(bench: Bench, fault: SourceFault) -> None:
    bench.source.fault = fault
    fetching = asyncio.create_task(bench.fetch())
    await bench.source.streaming.wait()
    before_s = asyncio.get_running_loop().time()
    fetching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await fetching
    await bench.source.ended.wait()
    assert asyncio.get_running_loop().time() - before_s < 0.9
    assert not _open_by_us(bench.place.path)


async def test_several_at_a_time(bench: Bench) -> None:
    places = [Place(bench.place.disk, temp=f"{NAME}.{number}") for number in range(3)]
    jobs = [bench.transfer.fetch(bench.offer(), place, Seen()) for place in places]
    assert [received.size_bytes for received in await asyncio.gather(*jobs)] == [len(CONTENT)] * 3


def _open_by_us(path: str) -> bool:
    found = []
    for fd in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # the listing's own descriptor is gone by now
            found.append(str(fd.readlink()))
    return path in found
