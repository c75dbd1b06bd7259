"""Where a worker reads a file from: a source folder that hangs does not hide the others."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from cfm.threads import HungError, ThreadPool
from cfm.worker.act.library import ContentLibrary, Where
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
        await library.close(found)
        with pytest.raises(OSError, match="data2 does not answer"):  # not "no such file": it may be there
            await library.find("b.mpg")
    go_on.set()
    for pool in (disk, *sources.values()):
        pool.close()
