"""The built-in transfer of one large file, beside curl from the same source, and `cp` on the same disk.

    .venv/bin/python bench/bench_transfer.py [--mib 1024] [--rounds 5] [--folder /dev/shm] [--json]

The source is the serving half of a worker, in a process of its own on the loopback, which has not read the
file before: each copy is of a new version.  By default both files lie in a memory file system, so that no
disk is measured.  The built-in transfer verifies: it hashes what comes, compares with the source's own hash,
and makes the file durable.  curl and `cp` do none of that.  What is like the built-in transfer is each of
them with the same hash over the file and `fsync` afterwards: that stands beside it.  All take turns; printed
are the medians.  A peer that is not installed is left out, and named.  At last ten seconds at a speed limit.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from xxhash import xxh3_128

from bench_content import MIB, NAME, serving, write_file
from cfm.wire import TaskOffer
from cfm.worker.act.base_dir import TempFile
from cfm.worker.act.real_base_dir import RealBaseDir
from cfm.worker.act.transfers.builtin import BuiltinSettings, BuiltinTransfer
from cfm_lab.testing.waiting_cfm import usual_offer

SOURCE = "127.0.0.1"
OURS = "built-in, verified"
LIMITED_S = 10


@dataclass
class Place:
    """Where the built-in transfer writes."""

    disk: RealBaseDir
    path: str = ""

    def create(self) -> TempFile:
        with self.disk.open() as folder:
            return folder.open_temp("x.1", new=True)

    def reopen(self) -> TempFile:
        raise NotImplementedError

    def has_room_for(self, size_bytes: int) -> bool:  # noqa: ARG002
        return True


class Nobody:
    """Nobody wants to know how it gets on."""

    def moved(self, total_bytes: int) -> None: ...

    def received(self) -> None: ...


async def fetch(offer: TaskOffer, folder: Path) -> None:
    transfer = BuiltinTransfer(BuiltinSettings(loopback_ok=True))
    try:
        received = await transfer.fetch(offer, Place(RealBaseDir(folder)), Nobody())
        assert received.digest is not None, "the source confirms the checksum"
    finally:
        await transfer.close()


def hash_and_sync(path: Path) -> None:
    """What the built-in transfer does besides, done afterwards."""
    found, buffer = xxh3_128(), memoryview(bytearray(MIB))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            found.update(buffer[:count])
        os.fsync(file.fileno())


def peers(offer: TaskOffer, folder: Path) -> dict[str, Callable[[], object]]:
    """Name → one copy of the file into `folder / "new"`.  The first word is the program needed."""
    new, target = folder / "new", folder / "new" / NAME
    cp = ["cp", str(folder / NAME), str(target)]
    curl = ["curl", "--silent", "--fail", "--output", str(target), f"http://{offer.source}/content/{NAME}"]

    def and_verify(command: list[str]) -> None:
        subprocess.run(command, check=True)
        hash_and_sync(target)

    return {
        OURS: lambda: asyncio.run(fetch(offer, new)),
        "curl, not verified": lambda: subprocess.run(curl, check=True),
        "curl, then hash and fsync": lambda: and_verify(curl),
        "cp, not verified": lambda: subprocess.run(cp, check=True),
        "cp, then hash and fsync": lambda: and_verify(cp),
    }


def measure(given: argparse.Namespace, folder: Path) -> dict[str, float | str]:
    size = given.mib * MIB
    write_file(folder, given.mib)
    with serving(folder) as source:
        offer = usual_offer(
            file_name=NAME, src_addr=f"{SOURCE}:{source.port}", dst_addr="127.0.0.1:1", size_bytes=size
        )
        figures = rates(peers(offer, folder), folder, size, given.rounds)
        return figures | {"speed at a limit, to the limit": limited(offer, folder, size)}


def rates(
    ways: dict[str, Callable[[], object]], folder: Path, size: int, rounds: int
) -> dict[str, float | str]:
    missing = [name for name in ("curl", "cp") if shutil.which(name) is None]
    took_s: dict[str, list[float]] = defaultdict(list)
    for _ in range(rounds):  # in turns, so that a busy machine is unfair to nobody
        for name, copy in ways.items():
            if name.split(",")[0] not in missing:
                took_s[name].append(timed(copy, folder))
    medians = {name: statistics.median(times) for name, times in took_s.items()}
    figures: dict[str, float | str] = {f"{name}, GB/s": size / took / 1e9 for name, took in medians.items()}
    for name, took in medians.items():
        if name != OURS:
            figures[f"built-in to: {name}"] = took / medians[OURS]
    return figures | dict.fromkeys(missing, "not installed here")


def timed(copy: Callable[[], object], folder: Path) -> float:
    """Seconds of one copy of a file that the source did not read before."""
    new = folder / "new"
    new.mkdir()
    os.utime(folder / NAME)
    began_s = time.perf_counter()
    copy()
    took_s = time.perf_counter() - began_s
    shutil.rmtree(new)
    return took_s


def limited(offer: TaskOffer, folder: Path, size: int) -> float:
    """What came in a second, to what may come."""
    slowly = replace(offer, copy_speed_bps=8 * size // LIMITED_S)
    return LIMITED_S / timed(lambda: asyncio.run(fetch(slowly, folder / "new")), folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=Path("/dev/shm"))
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        figures = measure(given, Path(folder))
    if given.json:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        print(f"{name:40} {value if isinstance(value, str) else f'{value:10.2f}'}")


if __name__ == "__main__":
    main()
