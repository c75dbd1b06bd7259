"""Memory that is free goes back to the kernel."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import sys
from cfm.memory import give_back_free_memory

if sys.argv[1] == "yes":
    give_back_free_memory()
def resident_mb():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 // 2**20
bytearray(2**24)  # from now on the C library would keep blocks that are as large
kept, large = [], []
for _ in range(32):
    large.append(bytearray(2**21))
    kept.append(bytearray(2000))  # it stands behind the large one, and stays
before = resident_mb()
large.clear()
print(before - resident_mb())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told")
@pytest.mark.parametrize(("told", "goes"), [("yes", True), ("no", False)])
def test_large_blocks_go_back_to_the_kernel(told: str, goes: bool) -> None:
    ran = subprocess.run([sys.executable, "-c", PROGRAM, told], capture_output=True, text=True, check=True)
    assert (int(ran.stdout) >= 60) is goes
