"""A base_dir that turns out to be a source folder is not used, from then on."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from cfm.threads import ThreadPool
from cfm.worker.act.base_dir import UnreadableError
from cfm.worker.act.real_base_dir import RealBaseDir
from cfm.worker.act.shelf import Shelf
from cfm.worker.act.source_watch import SourceWatch
from cfm_lab.fakes.memory_worker import NoOtherWorkers


@pytest.fixture
def base(tmp_path: Path) -> Path:
    folder = tmp_path / "base"
    folder.mkdir()
    (folder / "a.mpg").write_bytes(b"content")
    return folder


@pytest.fixture
def shelf(base: Path) -> Shelf:
    return Shelf(
        RealBaseDir(base),
        disk_id=None,
        new_id="0123456789abcdef",
        remember=lambda _: None,
        disk_locks=NoOtherWorkers(),
        limit_percent=90,
    )


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return tmp_path / "san"


@pytest.fixture
def threads() -> Iterator[ThreadPool]:
    with closing(ThreadPool("the SAN", 2)) as pool:
        yield pool


async def test_a_source_folder_that_appears_later_is_compared(
    base: Path, shelf: Shelf, source: Path, threads: ThreadPool
) -> None:
    watch = SourceWatch(base, {source: threads}, shelf)
    await watch.look()
    assert shelf.inventory().names == ("a.mpg",), "it is not there yet"
    source.symlink_to(base)
    await watch.look()
    with pytest.raises(UnreadableError, match="name two separate folders"):
        shelf.inventory()
    with pytest.raises(UnreadableError):
        shelf.delete("a.mpg")
    assert (base / "a.mpg").exists()
    source.unlink()
    source.mkdir()
    await watch.look()
    assert shelf.inventory().names == ("a.mpg",)


async def test_what_has_not_answered_yet_is_not_ruled_out(
    base: Path, shelf: Shelf, source: Path, threads: ThreadPool
) -> None:
    watch = SourceWatch(base, {source: threads}, shelf)
    watch.begin({source: OSError(errno.EIO, "Input/output error")})
    with pytest.raises(UnreadableError, match="not known yet"):
        shelf.usage()
    source.mkdir()
    await watch.look()
    assert shelf.usage().total_bytes


async def test_a_folder_that_was_ruled_out_may_be_silent_for_a_while(
    base: Path, shelf: Shelf, source: Path, threads: ThreadPool
) -> None:
    source.mkdir()
    watch = SourceWatch(base, {source: threads}, shelf)
    await watch.look()
    source.rmdir()
    source.symlink_to(source)  # to look at it is an error
    await watch.look()
    assert shelf.inventory().names == ("a.mpg",)


def test_an_order_for_another_folder_is_refused(base: Path, shelf: Shelf) -> None:
    shelf.check()
    probe = shelf.seen_probe
    assert (base / probe).read_bytes() == b""
    (base / probe).unlink()  # this may be another folder now
    assert shelf.delete("a.mpg", probe=probe).name == "ELSEWHERE"
    assert (base / "a.mpg").exists()
    assert shelf.seen_probe != probe
    assert shelf.delete("a.mpg", probe="../../x").name == "ELSEWHERE"
    assert shelf.delete("a.mpg", probe=shelf.seen_probe).name == "DELETED"


def test_who_hears_that_its_disk_is_the_san_is_asked_again_by_another_name(base: Path, shelf: Shelf) -> None:
    """Somebody may have copied the disk to the SAN, with the probe file."""
    shelf.check()
    copied = shelf.seen_probe
    shelf.is_in_source_folder("/san")
    with pytest.raises(UnreadableError, match="/san"):
        shelf.inventory()
    renewed = shelf.seen_probe
    assert renewed not in ("", copied)
    shelf.is_in_source_folder("")
    assert shelf.inventory().names == ("a.mpg",)
    shelf.is_in_source_folder("/san")
    with pytest.raises(UnreadableError):
        shelf.usage()
    assert shelf.seen_probe == renewed, "once is enough"


def test_where_no_probe_file_can_be_made_the_worker_works_all_the_same(shelf: Shelf, base: Path) -> None:
    blocked = Shelf(
        RealBaseDir(base),
        disk_id=None,
        new_id="0123456789abcdef",
        remember=lambda _: None,
        disk_locks=NoOtherWorkers(),
        limit_percent=90,
        new_probe=lambda: "x/y",
    )
    assert blocked.inventory().names == ("a.mpg",)
    assert not blocked.seen_probe
    assert blocked.delete("a.mpg").name == "DELETED"
