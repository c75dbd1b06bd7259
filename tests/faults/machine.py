"""What this machine must lend for some faults: mounts of our own, `strace`, `libfaketime`.

Each says by a skip, in words, where the machine does not.  Mounts live in a name space of this process, so
that they vanish with it, however it ends.
"""

from __future__ import annotations

import ctypes
import functools
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from cfm_lab.testing.processes import Daemon, wait_for

_CLONE_NEWNS: Final = 0x00020000


@functools.cache
def _mounting() -> str:
    """Why nobody may mount here; empty where one may.  From then on our mounts are nobody else's."""
    if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNS) != 0:
        return f"no mount name space of our own: {os.strerror(ctypes.get_errno())}"
    return _said(subprocess.run(["mount", "--make-rprivate", "/"], capture_output=True, check=False))


def _said(ended: subprocess.CompletedProcess[bytes]) -> str:
    return ended.stderr.decode(errors="replace").strip() if ended.returncode else ""


class Mounts:
    """Mounts that are gone at the end."""

    def __init__(self) -> None:
        if why := _mounting():
            pytest.skip(f"this machine does not let us mount ({why})")
        self._mounted: list[Path] = []

    def mount(self, path: Path, *arguments: str) -> None:
        path.mkdir(exist_ok=True)
        if why := _said(subprocess.run(["mount", *arguments, str(path)], capture_output=True, check=False)):
            pytest.skip(f"this machine does not mount {' '.join(arguments)} ({why})")
        self._mounted.append(path)

    def tmpfs(self, path: Path, size_bytes: int) -> None:
        self.mount(path, "-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs")

    def bind(self, path: Path, onto: Path) -> None:
        self.mount(onto, "--bind", str(path))

    def remount(self, path: Path, options: str) -> bool:
        """False where it is busy just now."""
        ended = subprocess.run(
            ["mount", "-o", f"remount,{options}", str(path)], capture_output=True, check=False
        )
        return ended.returncode == 0

    def unmount(self, path: Path) -> None:
        """Also where it is in use, as a cable is pulled."""
        subprocess.run(["umount", "-l", str(path)], check=True)
        self._mounted.remove(path)

    def close(self) -> None:
        for path in reversed(self._mounted):
            subprocess.run(["umount", "-l", str(path)], check=False)


@contextmanager
def failing(daemon: Daemon, error: str, log: Path, calls: str = "fsync,fdatasync") -> Iterator[Path]:
    """System calls of a running daemon fail, by `strace`, for as long as the block lasts; yields its log."""
    if shutil.which("strace") is None:
        pytest.skip("this machine has no strace")
    arguments = ["-f", "-qq", "-e", f"trace={calls}", "-e", f"inject={calls}:error={error}"]
    tracer = subprocess.Popen(
        ["strace", *arguments, "-o", str(log), "-p", str(daemon.pid)], stderr=subprocess.PIPE
    )
    try:
        wait_for(lambda: _traced(daemon) or tracer.poll() is not None, "strace to hold the daemon", [daemon])
        if tracer.poll() is not None:
            assert tracer.stderr is not None
            pytest.skip(f"this machine does not let us trace ({tracer.stderr.read().decode().strip()})")
        yield log
    finally:
        if tracer.poll() is None:
            tracer.send_signal(signal.SIGINT)  # it lets go of the daemon, which goes on
            tracer.wait(20)
        if tracer.stderr is not None:
            tracer.stderr.close()


def _traced(daemon: Daemon) -> bool:
    status = Path(f"/proc/{daemon.pid}/status").read_text()
    return re.search(r"^TracerPid:\s+[1-9]", status, re.MULTILINE) is not None


def injected(log: Path) -> int:
    """How many calls were made to fail so far."""
    return log.read_text().count("(INJECTED)") if log.exists() else 0


@contextmanager
def another_clock(daemon: Daemon, folder: Path) -> Iterator[Path]:
    """A daemon that is started later has the wall clock of a file, such as `+1d`; monotonic time stays."""
    library = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
    if library is None:
        pytest.skip("this machine has no libfaketime (apt-get install faketime)")
    offset = folder / "clock"
    offset.write_text("+0\n")
    daemon.wrapper = (
        "/usr/bin/env",
        f"LD_PRELOAD={library}",
        f"FAKETIME_TIMESTAMP_FILE={offset}",
        "FAKETIME_CACHE_DURATION=1",
        "FAKETIME_DONT_FAKE_MONOTONIC=1",
        "FAKETIME_FORCE_MONOTONIC_FIX=0",  # with it, threads that wait for each other spin
    )
    yield offset
