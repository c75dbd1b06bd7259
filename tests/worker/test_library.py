"""Where a worker reads a file from: a source folder that hangs does not hide the others."""

from __future__ import annotations

import asyncio
import os
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from cfm.threads import HungError, ThreadPool
from cfm.worker.act.library import ContentLibrary, Reader, Where
from cfm.worker.act.plain_files import open_plain
from cfm.worker.act.real_base_dir import RealBaseDir
from cfm.worker.act.shelf import Shelf
from cfm_lab.fakes.memory_worker import NoOtherWorkers


def shelf_on(base: Path) -> Shelf:
    return Shelf(
        RealBaseDir(base),
        disk_id=None,
        new_id="0123456789abcdef",
        remember=lambda _: None,
        disk_locks=NoOtherWorkers(),
        limit_percent=90,
    )


async def test_a_source_folder_that_hangs_does_not_hold_up_the_others(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("base", "data2", "data3")]
    for folder in folders:
        folder.mkdir()
    base, hung, well = folders
    (well / "a.mpg").write_bytes(b"content")
    disk, go_on = ThreadPool("base_dir", 1), threading.Event()
    sources = {hung: ThreadPool("data2", 1), well: ThreadPool("data3", 1)}
    library = ContentLibrary(shelf_on(base), disk, sources)

    entered = threading.Event()

    def hang() -> None:
        entered.set()
        go_on.wait(10)

    waiting = asyncio.create_task(sources[hung].run(0.2, hang))
    await asyncio.to_thread(entered.wait)
    with pytest.raises(HungError):
        await waiting

    async with asyncio.timeout(5):
        found = await library.find("a.mpg")
        assert found is not None
        assert found.where is Where.SOURCE
        library.close(found)
        with pytest.raises(OSError, match="data2 does not answer"):  # not "no such file": it may be there
            await library.find("b.mpg")
    go_on.set()
    for pool in (disk, *sources.values()):
        pool.close()


def open_files(folder: Path) -> list[str]:
    """The files of a folder that this process has open."""
    links = []
    for fd in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # it was that of this look
            links.append(str(fd.readlink()))
    return [link for link in links if link.startswith(str(folder))]


async def test_files_that_were_open_while_the_disk_hung_are_closed(tmp_path: Path) -> None:
    """They leaked their descriptors, and kept the room of files that were deleted."""
    (tmp_path / "base").mkdir()
    (tmp_path / "data2").mkdir()
    (tmp_path / "data2" / "a.mpg").write_bytes(b"content")
    threads, go_on = ThreadPool("data2", 2), threading.Event()
    library = ContentLibrary(
        shelf_on(tmp_path / "base"), ThreadPool("base_dir", 1), {tmp_path / "data2": threads}
    )
    found = [await library.find("a.mpg") for _ in range(10)]
    hanging = [asyncio.create_task(threads.run(0.01, lambda: go_on.wait(10))) for _ in range(2)]
    await asyncio.gather(*hanging, return_exceptions=True)
    assert threads.hung == 2
    for one in found:
        assert one is not None
        library.close(one)
    assert len(open_files(tmp_path)) == 10
    go_on.set()
    async with asyncio.timeout(10):
        while open_files(tmp_path):
            await asyncio.to_thread(lambda: None)


async def test_a_read_that_hangs_keeps_nobody_who_closes_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.mpg").write_bytes(b"content")
    folder = os.open(tmp_path, os.O_RDONLY)
    reader = Reader(*open_plain(folder, "a.mpg"))
    os.close(folder)
    with reader.in_use():
        reader.close()  # it returns at once
        assert len(open_files(tmp_path)) == 1
    assert open_files(tmp_path) == []
