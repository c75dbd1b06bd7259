"""What the kernel says of a running process, for benches."""

from __future__ import annotations

import compileall
import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cfm

_MEGA = 1024


def as_installed() -> dict[str, str]:
    """The environment for a program that is measured: it finds its bytecode, as an installed one does.

    A machine of developers may keep none, and then each start compiles the program anew.
    """
    compileall.compile_dir(Path(cfm.__file__).parent, quiet=1)
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


@contextmanager
def running(command: Sequence[str], **how: Any) -> Iterator[subprocess.Popen[str]]:
    """A program that is ended at the end, by its id."""
    process = subprocess.Popen(command, text=True, **how)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def cpu_s(pid: int) -> float:
    """The processor time of a process and its threads so far, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_mb(pid: int, *, peak: bool = False) -> int:
    """The memory that a process has now, or has had at most."""
    which = "VmHWM" if peak else "VmRSS"
    found = re.search(rf"{which}:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) // _MEGA
