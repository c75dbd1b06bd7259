"""The real disk and the one in memory, held to the same behaviour; and what only a real one can meet."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from cfm.cli import check_world
from cfm.worker.act.base_dir import MARKER, TEMP_FOLDER, TRIAL, BaseDir, NotPlainError
from cfm.worker.act.real_base_dir import RealBaseDir
from cfm.worker.decide.disk_entries import EntryKind
from cfm_lab.fakes.memory_base_dir import MemoryBaseDir
from faults.machine import Mounts

GIB = 1 << 30


class Bench:
    """One kind of disk, and how other software changes it."""

    def __init__(
        self, disk: BaseDir, put: Callable[[str, bytes], None], folder: Callable[[str], None]
    ) -> None:
        self.disk = disk
        self.put = put
        self.folder = folder

    def names(self) -> dict[str, EntryKind]:
        with self.disk.open() as folder:
            return dict(folder.kinds())

    def temp(self, name: str, data: bytes) -> None:
        with self.disk.open() as folder:
            file = folder.open_temp(name, new=True)
            file.write(data)
            file.close()

    def content(self, name: str) -> int | None:
        with self.disk.open() as folder:
            entry = folder.look(name)
            return None if entry is None else entry.size_bytes


def real(path: Path) -> Bench:
    def put(name: str, data: bytes) -> None:
        (path / name).write_bytes(data)

    return Bench(RealBaseDir(path), put, lambda name: (path / name).mkdir())


def memory(_: Path) -> Bench:
    disk = MemoryBaseDir(10 * GIB)

    def put(name: str, data: bytes) -> None:
        node = disk.put(name, len(data))
        node.data[:] = data

    def folder(name: str) -> None:
        disk.put(name, 0, EntryKind.FOLDER)

    return Bench(disk, put, folder)


@pytest.fixture(params=[real, memory], ids=["real", "memory"])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Bench:
    made: Bench = request.param(tmp_path)
    return made


class TestConformance:
    def test_lists_what_is_there_with_its_kind(self, bench: Bench) -> None:
        bench.put("a.mpg", b"12")
        bench.folder("sub")
        assert bench.names() == {"a.mpg": EntryKind.FILE, "sub": EntryKind.FOLDER}

    def test_looks_at_one_name(self, bench: Bench) -> None:
        bench.put("a.mpg", b"123")
        with bench.disk.open() as folder:
            entry = folder.look("a.mpg")
            assert entry is not None
            assert (entry.kind, entry.size_bytes) == (EntryKind.FILE, 3)
            assert folder.look("b.mpg") is None

    def test_the_marker_is_made_once_and_read(self, bench: Bench) -> None:
        with bench.disk.open() as folder:
            assert folder.marker() == ""
            folder.make_marker("0123456789abcdef")
        with bench.disk.open() as folder:
            assert folder.marker() == "0123456789abcdef"
            with pytest.raises(FileExistsError):
                folder.make_marker("fedcba9876543210")
            assert folder.marker() == "0123456789abcdef"
        assert bench.names() == {MARKER: EntryKind.FILE}

    def test_removes_a_file(self, bench: Bench) -> None:
        bench.put("a.mpg", b"1")
        with bench.disk.open() as folder:
            folder.remove("a.mpg")
            folder.sync()
            with pytest.raises(FileNotFoundError):
                folder.remove("a.mpg")
        assert bench.names() == {}

    def test_does_not_remove_a_folder(self, bench: Bench) -> None:
        bench.folder("sub")
        with bench.disk.open() as folder, pytest.raises(IsADirectoryError):
            folder.remove("sub")

    def test_a_temporary_file_is_written_read_and_cut(self, bench: Bench) -> None:
        with bench.disk.open() as folder:
            file = folder.open_temp("a.mpg.1", new=True)
            file.write(b"hello ")
            file.write(b"world")
            assert (file.size(), file.read(6, 100)) == (11, b"world")
            file.truncate(5)
            file.write(b"!")
            file.sync()
            assert file.read(0, 100) == b"hello!"
            file.close()

    def test_a_temporary_file_is_opened_again_at_its_end(self, bench: Bench) -> None:
        bench.temp("a.mpg.1", b"hello")
        with bench.disk.open() as folder:
            file = folder.open_temp("a.mpg.1", new=False)
            file.write(b" again")
            assert file.read(0, 100) == b"hello again"
            file.close()
            with pytest.raises(FileExistsError):
                folder.open_temp("a.mpg.1", new=True)
            with pytest.raises(FileNotFoundError):
                folder.open_temp("b.mpg.1", new=False)

    def test_temporary_files_are_listed_and_removed(self, bench: Bench) -> None:
        with bench.disk.open() as folder:
            assert folder.temps() == []
        bench.temp("a.mpg.1", b"12345")
        with bench.disk.open() as folder:
            assert [(entry.name, entry.size_bytes) for entry in folder.temps()] == [("a.mpg.1", 5)]
            folder.remove_temp("a.mpg.1")
            folder.remove_temp("a.mpg.1")
            assert folder.temps() == []

    def test_temporary_files_are_not_among_the_files(self, bench: Bench) -> None:
        bench.temp("a.mpg.1", b"1")
        assert bench.names() == {TEMP_FOLDER: EntryKind.FOLDER}

    def test_rehearses_an_arrival_and_leaves_nothing(self, bench: Bench) -> None:
        bench.put("a.mpg", b"abc")
        with bench.disk.open() as folder:
            folder.rehearse_arrival()
            folder.rehearse_arrival()
            assert folder.temps() == []
        assert bench.names().keys() - {TEMP_FOLDER} == {"a.mpg"}

    def test_publishes(self, bench: Bench) -> None:
        bench.temp("a.mpg.1", b"12345")
        with bench.disk.open() as folder:
            folder.publish("a.mpg.1", "a.mpg", replace=False)
            folder.sync()
            assert folder.temps() == []
        assert bench.content("a.mpg") == 5

    @pytest.mark.parametrize("replace", [True, False])
    def test_replaces_a_plain_file_only_where_told(self, bench: Bench, replace: bool) -> None:
        bench.put("a.mpg", b"old")
        bench.temp("a.mpg.1", b"newer")
        with bench.disk.open() as folder:
            if replace:
                folder.publish("a.mpg.1", "a.mpg", replace=True)
            else:
                with pytest.raises(FileExistsError):
                    folder.publish("a.mpg.1", "a.mpg", replace=False)
            assert len(folder.temps()) == (0 if replace else 1)
        assert bench.content("a.mpg") == (5 if replace else 3)

    @pytest.mark.parametrize("replace", [True, False])
    def test_never_replaces_a_folder(self, bench: Bench, replace: bool) -> None:
        bench.folder("a.mpg")
        bench.temp("a.mpg.1", b"newer")
        with bench.disk.open() as folder, pytest.raises(NotPlainError):
            folder.publish("a.mpg.1", "a.mpg", replace=replace)
        assert bench.names()["a.mpg"] is EntryKind.FOLDER

    def test_does_not_publish_what_is_not_there(self, bench: Bench) -> None:
        bench.temp("b.mpg.1", b"1")
        with bench.disk.open() as folder, pytest.raises(FileNotFoundError):
            folder.publish("a.mpg.1", "a.mpg", replace=True)

    def test_space_is_told(self, bench: Bench) -> None:
        with bench.disk.open() as folder:
            space = folder.space()
        assert 0 <= space.avail_bytes <= space.free_bytes <= space.total_bytes


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    """A folder with one of each that is no plain file."""
    (tmp_path / "target").write_bytes(b"secret")
    base = tmp_path / "base"
    base.mkdir()
    (base / "link").symlink_to(tmp_path / "target")
    os.mkfifo(base / "fifo")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(base / "socket"))
    return base


@pytest.mark.parametrize("name", ["link", "fifo", "socket"])
def test_what_is_no_plain_file_is_never_opened_or_replaced(odd: Path, name: str) -> None:
    with RealBaseDir(odd).open() as folder:
        assert dict(folder.kinds())[name] is EntryKind.OTHER
        with pytest.raises(NotPlainError):
            folder.open_read(name)
        file = folder.open_temp("x.1", new=True)
        file.close()
        for replace in (True, False):
            with pytest.raises(NotPlainError):
                folder.publish("x.1", name, replace=replace)
        assert [entry.name for entry in folder.temps()] == ["x.1"]
    assert (odd.parent / "target").read_bytes() == b"secret"


def test_a_temporary_file_that_is_a_link_is_not_followed(odd: Path) -> None:
    (odd / TEMP_FOLDER).mkdir()
    (odd / TEMP_FOLDER / "x.1").symlink_to(odd.parent / "target")
    with RealBaseDir(odd).open() as folder:
        with pytest.raises(NotPlainError):
            folder.open_temp("x.1", new=False)
        with pytest.raises(FileExistsError):
            folder.open_temp("x.1", new=True)


def test_a_temporary_folder_that_is_a_link_is_not_entered(odd: Path) -> None:
    elsewhere = odd.parent / "elsewhere"
    elsewhere.mkdir()
    (odd / TEMP_FOLDER).symlink_to(elsewhere)
    with RealBaseDir(odd).open() as folder, pytest.raises(OSError) as caught:  # noqa: PT011 - the errno is looked at
        folder.open_temp("x.1", new=True)
    assert caught.value.errno in (errno.ELOOP, errno.ENOTDIR)
    assert list(elsewhere.iterdir()) == []


def test_what_a_power_cut_left_of_a_rehearsal_is_removed_by_the_next_one(tmp_path: Path) -> None:
    (tmp_path / TEMP_FOLDER).mkdir()
    for left in (tmp_path / TRIAL, tmp_path / TEMP_FOLDER / TRIAL):
        left.touch()
    with RealBaseDir(tmp_path).open() as folder:
        folder.rehearse_arrival()
    assert [*tmp_path.rglob(TRIAL)] == []


@pytest.mark.e2e
def test_a_temporary_folder_on_another_file_system_fails_the_rehearsal(tmp_path: Path) -> None:
    (tmp_path / TEMP_FOLDER).mkdir()
    mounts = Mounts()
    try:
        mounts.tmpfs(tmp_path / TEMP_FOLDER, 100_000)
        with RealBaseDir(tmp_path).open() as folder, pytest.raises(OSError, match="link") as raised:
            folder.rehearse_arrival()
        assert raised.value.errno == errno.EXDEV
        assert [found.key for found in check_world.arrivals("base_dir", tmp_path)] == ["base_dir"]
        assert [*tmp_path.rglob(TRIAL)] == []
    finally:
        mounts.close()


def test_a_marker_that_is_a_link_is_no_marker(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("0123456789abcdef\n")
    base = tmp_path / "base"
    base.mkdir()
    (base / MARKER).symlink_to(tmp_path / "elsewhere")
    with RealBaseDir(base).open() as folder:
        assert folder.marker() == ""


def test_an_open_folder_stays_itself_when_another_takes_its_place(tmp_path: Path) -> None:
    base = tmp_path / "base"
    base.mkdir()
    (base / "a.mpg").touch()
    with RealBaseDir(base).open() as folder:
        base.rename(tmp_path / "away")
        base.mkdir()
        folder.remove("a.mpg")
    assert not (tmp_path / "away" / "a.mpg").exists()


class TestPowerCut:
    def test_takes_what_was_not_synced(self) -> None:
        disk = MemoryBaseDir(GIB)
        disk.put("old.mpg", 7)
        with disk.open() as folder:
            file = folder.open_temp("a.mpg.1", new=True)
            file.write(b"12345")
            folder.publish("a.mpg.1", "a.mpg", replace=False)
            folder.remove("old.mpg")
        disk.crash()
        assert set(disk.names) == {"old.mpg"}

    def test_leaves_an_empty_file_where_only_the_name_was_synced(self) -> None:
        disk = MemoryBaseDir(GIB)
        with disk.open() as folder:
            folder.open_temp("a.mpg.1", new=True).write(b"12345")
            folder.publish("a.mpg.1", "a.mpg", replace=False)
            folder.sync()
        disk.crash()
        assert disk.names["a.mpg"].size_bytes == 0

    def test_leaves_what_was_synced(self) -> None:
        disk = MemoryBaseDir(GIB)
        with disk.open() as folder:
            file = folder.open_temp("a.mpg.1", new=True)
            file.write(b"12345")
            file.sync()
            folder.publish("a.mpg.1", "a.mpg", replace=False)
            folder.sync()
        disk.crash()
        assert bytes(disk.names["a.mpg"].data) == b"12345"
