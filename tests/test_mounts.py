"""Which file system holds a path, by a mount table."""

from __future__ import annotations

from pathlib import Path

import pytest

from cfm.mounts import kind_of_mount, network_file_system

TABLE = """\
/dev/sda1 / ext4 rw 0 0
nas:/x /nowhere/data nfs4 rw 0 0
tmpfs /nowhere/data/local tmpfs rw 0 0
//nas/y /nowhere/with\\040space cifs rw 0 0
/dev/sdb1 /nowhere/twice ext4 rw 0 0
me@h:/ /nowhere/twice fuse.sshfs rw 0 0
torn
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/nowhere", "ext4"),
        ("/nowhere/data/cfm.db", "nfs4"),
        ("/nowhere/database/cfm.db", "ext4"),
        ("/nowhere/data/local/cfm.db", "tmpfs"),
        ("/nowhere/with space/cfm.db", "cifs"),
        ("/nowhere/twice/cfm.db", "fuse.sshfs"),
    ],
)
def test_the_innermost_and_last_mount_counts(path: str, kind: str) -> None:
    assert kind_of_mount(Path(path), TABLE) == kind


def test_links_are_followed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/nowhere/data")
    assert kind_of_mount(tmp_path / "link/cfm.db", TABLE) == "nfs4"


def test_an_empty_table_tells_nothing() -> None:
    assert kind_of_mount(Path("/nowhere"), "") == ""


def test_a_local_disk_is_not_a_network() -> None:
    assert network_file_system(Path("/dev/shm")) is None
