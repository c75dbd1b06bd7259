"""What every `FileSystem` promises: the real one and the one in memory alike."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from unittest.mock import Mock

import pytest

from cfm.inputs.file_system import FileSystem, RealFileSystem, pieces_of
from cfm_lab.fakes.fake_file_system import FakeFileSystem

Put = Callable[[str, bytes], None]


class RealFiles:
    """The few deeds of the fake that the checks need, on a real disk."""

    def __init__(self, root: Path) -> None:
        self.file_system = RealFileSystem()
        self.root = str(root)

    def put(self, path: str, data: bytes) -> None:
        Path(path).parent.mkdir(exist_ok=True)
        Path(path).write_bytes(data)

    def replace(self, path: str, data: bytes) -> None:
        Path(path + ".new").write_bytes(data)
        Path(path + ".new").replace(path)

    def remove(self, path: str) -> None:
        Path(path).unlink()

    def make_folder(self, folder: str) -> None:
        Path(folder).mkdir()


class FakeFiles:
    def __init__(self) -> None:
        self.file_system = FakeFileSystem()
        self.root = "/fake"
        self.put, self.replace, self.remove = (
            self.file_system.put,
            self.file_system.replace,
            self.file_system.remove,
        )

    def make_folder(self, folder: str) -> None:
        self.file_system.make_folder(folder)


Files = RealFiles | FakeFiles


@pytest.fixture(params=["real", "fake"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> Files:
    return RealFiles(tmp_path) if request.param == "real" else FakeFiles()


def test_a_version_changes_with_the_file(files: Files) -> None:
    path, file_system = f"{files.root}/a", files.file_system
    files.put(path, b"1")
    first = file_system.version(path)
    assert first is not None
    assert (first.size_bytes, file_system.version(path)) == (1, first)
    files.put(path, b"22")
    second = file_system.version(path)
    assert second is not None
    assert (second.identity, second.size_bytes) == (first.identity, 2)
    files.replace(path, b"33")
    third = file_system.version(path)
    assert third is not None
    assert third.identity != second.identity


def test_what_is_not_there_is_none_or_an_error(files: Files) -> None:
    file_system, gone = files.file_system, f"{files.root}/gone"
    assert file_system.version(gone) is None
    assert file_system.plain_version(gone) is None
    for ask in (
        file_system.open,
        file_system.folder_mtime_ns,
        file_system.is_occupied,
        lambda path: list(file_system.plain_names(path)),
    ):
        with pytest.raises(FileNotFoundError):
            ask(gone)


def plain_size(file_system: FileSystem, path: str) -> int | None:
    seen = file_system.plain_version(path)
    return None if seen is None else seen.size_bytes


def test_a_plain_version_is_that_of_the_file(files: Files) -> None:
    path = f"{files.root}/a"
    files.put(path, b"1")
    assert files.file_system.plain_version(path) == files.file_system.version(path)


def test_a_folder_is_no_file(files: Files) -> None:
    files.make_folder(f"{files.root}/d")
    assert files.file_system.plain_version(f"{files.root}/d") is None
    with pytest.raises(OSError, match="not a plain file"):
        files.file_system.version(f"{files.root}/d")


def test_an_open_file_stays_the_one_it_was(files: Files) -> None:
    path = f"{files.root}/a"
    files.put(path, b"0123456789")
    with files.file_system.open(path) as file:
        files.replace(path, b"other")
        assert b"".join(pieces_of(file, 4)) == b"0123456789"
        assert file.read_at(8, 5) == b"89"
        assert file.read_at(99, 5) == b""
        assert file.version() != files.file_system.version(path)


def test_folders(files: Files) -> None:
    folder = f"{files.root}/d"
    files.make_folder(folder)
    assert not files.file_system.is_occupied(folder)
    before = files.file_system.folder_mtime_ns(folder)
    files.put(f"{folder}/a", b"1")
    files.put(f"{folder}/b", b"")
    assert files.file_system.is_occupied(folder)
    assert files.file_system.folder_mtime_ns(folder) != before
    assert sorted(files.file_system.plain_names(folder)) == ["a", "b"]
    assert [plain_size(files.file_system, f"{folder}/{name}") for name in ("a", "b")] == [1, 0]
    files.remove(f"{folder}/a")
    assert files.file_system.plain_version(f"{folder}/a") is None


def test_only_plain_files_count(tmp_path: Path) -> None:
    """A link to the folder is fine; a link, a FIFO and a folder in it are no files."""
    file_system: FileSystem = RealFileSystem()
    real = tmp_path / "real"
    real.mkdir()
    (real / "plain").write_bytes(b"1")
    (real / "link").symlink_to(real / "plain")
    (real / "folder").mkdir()
    os.mkfifo(real / "fifo")
    (tmp_path / "link").symlink_to(real)
    folder = str(tmp_path / "link")
    assert list(file_system.plain_names(folder)) == ["plain"]
    names = ("plain", "link", "folder", "fifo")
    assert [plain_size(file_system, f"{folder}/{name}") for name in names] == [1, None, None, None]
    with pytest.raises(OSError, match="not a plain file"):
        file_system.open(f"{folder}/fifo")


@pytest.mark.parametrize(("kind", "found"), [("ext4", []), ("cifs", ["below"]), ("fuse.sshfs", ["below"])])
def test_two_links_say_that_there_are_no_folders_only_where_folders_are_counted(
    kind: str, found: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A `base_dir` that lies in a source folder on CIFS was not seen there, and counted as another disk."""
    (tmp_path / "below").mkdir()
    monkeypatch.setattr(Path, "stat", lambda _path: Mock(st_nlink=2))
    monkeypatch.setattr("cfm.inputs.file_system.file_system_of", lambda _path: kind, raising=False)
    assert list(RealFileSystem().folders_in(str(tmp_path))) == found
