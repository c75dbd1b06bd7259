"""Writing in a thread of its own: the order, and what becomes of an error."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from cfm.worker.act.base_dir import TempFile
from cfm.worker.act.real_base_dir import RealBaseDir
from cfm.worker.act.transfers.write_behind import BUFFERS, WriteBehind, writing_behind
from cfm_lab.fakes.memory_base_dir import Inode, MemoryTempFile


class BrokenFile(MemoryTempFile):
    """A disk that fails from the second write on."""

    def __init__(self) -> None:
        super().__init__(Inode())
        self.writes = 0

    def write(self, data: bytes | memoryview) -> None:  # noqa: ARG002
        self.writes += 1
        if self.writes > 1:
            raise OSError(errno.EIO, "broken")


def put(writer: WriteBehind, data: bytes) -> None:
    buffer = writer.buffer()
    buffer[: len(data)] = data
    writer.write(buffer, len(data))


def put_and_break_off(file: TempFile, data: bytes) -> None:
    with writing_behind(file) as writer:
        put(writer, data)
        raise ConnectionError


def put_for_ever(file: TempFile) -> None:
    with writing_behind(file) as writer:
        while True:
            put(writer, b"x")


def real(folder: Path) -> TempFile:
    with RealBaseDir(folder).open() as opened:
        return opened.open_temp("x.1", new=True)


@pytest.mark.parametrize("make", [real, lambda _: MemoryTempFile(Inode())], ids=["real", "memory"])
def test_everything_is_written_in_its_order(tmp_path: Path, make: Callable[[Path], TempFile]) -> None:
    pieces = [bytes([n]) * (n + 1) for n in range(10 * BUFFERS)]
    file = make(tmp_path)
    with writing_behind(file) as writer:
        for piece in pieces:
            put(writer, piece)
    assert file.read(0, 100_000) == b"".join(pieces)
    file.close()


def test_what_was_handed_over_is_written_even_if_the_network_breaks() -> None:
    """The next attempt goes on behind it."""
    file = MemoryTempFile(Inode())
    with pytest.raises(ConnectionError):
        put_and_break_off(file, b"received")
    assert file.read(0, 100) == b"received"


def test_a_broken_disk_is_told_by_the_next_buffer() -> None:
    file = BrokenFile()
    with pytest.raises(OSError, match="broken"):
        put_for_ever(file)
    assert file.writes == 2, "nothing is written behind a gap"


def test_a_disk_that_breaks_at_the_end_is_told() -> None:
    writer = WriteBehind(BrokenFile())
    put(writer, b"x")
    put(writer, b"y")
    with pytest.raises(OSError, match="broken"):
        writer.finish()
