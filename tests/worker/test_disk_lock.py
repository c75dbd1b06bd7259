"""Two workers on one disk, and a disk that is its own source."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cfm.worker.act.disk_lock import SocketDiskLocks, overlap


@pytest.fixture
def disk_id() -> str:
    return os.urandom(16).hex()


def test_one_holds_a_disk_and_others_do_not(disk_id: str) -> None:
    one, other = SocketDiskLocks(), SocketDiskLocks()
    assert one.hold(disk_id)
    assert one.hold(disk_id)
    assert not other.hold(disk_id)
    assert (one.is_held(disk_id), other.is_held(disk_id)) == (False, True)
    one.close()
    assert not other.is_held(disk_id)
    assert other.hold(disk_id)
    other.close()


def test_folders_that_lie_in_each_other_overlap(tmp_path: Path) -> None:
    base, source = tmp_path / "base", tmp_path / "source"
    for folder in (base / "in", source / "in"):
        folder.mkdir(parents=True)
    (tmp_path / "link").symlink_to(base)
    assert overlap(base, [source]) is None
    assert overlap(base, [source, base]) == base
    assert overlap(base, [base / "in"]) == base / "in"
    assert overlap(base / "in", [base]) == base
    assert overlap(base, [tmp_path / "link"]) == tmp_path / "link"
    assert overlap(tmp_path / "link" / "in", [base]) == base
    assert overlap(base, [Path("/")]) == Path("/")


def test_what_is_not_there_overlaps_with_nothing(tmp_path: Path) -> None:
    assert overlap(tmp_path / "gone", [tmp_path]) is None
    assert overlap(tmp_path, [tmp_path / "gone"]) is None
