"""A state has one user at a time, and the lock does not outlive its process."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from cfm.errors import StateError
from cfm.file_lock import FileLock

KILLED = """if True:
    import os, signal, sys
    from pathlib import Path
    from cfm.file_lock import FileLock
    FileLock(Path(sys.argv[1]), "cfw").take()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_second_user_is_told_who_the_first_one_is(tmp_path: Path) -> None:
    first, second = (FileLock(tmp_path / "cfw.db", "cfw") for _ in range(2))
    first.take()
    with pytest.raises(StateError, match=f"another cfw uses it .process {os.getpid()}.: stop that one first"):
        second.take()
    first.release()
    second.take()
    second.release()


def test_only_its_owner_may_read_the_lock_file(tmp_path: Path) -> None:
    lock = FileLock(tmp_path / "cfm.db", "cfm")
    lock.take()
    assert stat.S_IMODE((tmp_path / "cfm.db.lock").stat().st_mode) == 0o600
    lock.release()


def test_a_killed_process_leaves_the_lock_free(tmp_path: Path) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "cfw.db")], timeout=20, check=False)
    assert killed.returncode < 0
    lock = FileLock(tmp_path / "cfw.db", "cfw")
    lock.take()
    lock.release()


def test_a_link_in_the_place_of_the_lock_file_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").touch()
    (tmp_path / "cfm.db.lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        FileLock(tmp_path / "cfm.db", "cfm").take()
