"""The built-in transfer of one large file, beside curl from the same source, and `cp` on the same disk.

    .venv/bin/python bench/bench_transfer.py [--mib 1024] [--rounds 5] [--folder /dev/shm] [--json]

The source is the serving half of a worker, in a process of its own on the loopback.  Both files lie in a
memory file system, so that no disk is measured.  The built-in transfer verifies: it hashes what comes,
compares with the source's own hash, and makes the file durable.  curl and `cp` do none of that.  All take
turns; printed are the best of the rounds.  A peer that is not installed is left out, and named.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench_content import MIB, NAME, serving, write_file
from cfm.wire import TaskOffer
from cfm.worker.act.base_dir import TempFile
from cfm.worker.act.real_base_dir import RealBaseDir
from cfm.worker.act.transfers.builtin import BuiltinSettings, BuiltinTransfer
from cfm_lab.testing.waiting_cfm import usual_offer

SOURCE = "127.0.0.1"


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


def peers(folder: Path, port: int, size: int) -> dict[str, Callable[[], object]]:
    """Name → one copy of the file into `folder / "new"`."""
    new = folder / "new"
    offer = usual_offer(file_name=NAME, src_addr=f"{SOURCE}:{port}", dst_addr="127.0.0.1:1", size_bytes=size)

    def program(*command: str) -> Callable[[], object]:
        return lambda: subprocess.run(command, check=True)

    url, target = f"http://{SOURCE}:{port}/content/{NAME}", str(new / NAME)
    return {
        "built-in, verified": lambda: asyncio.run(fetch(offer, new)),
        "curl, not verified": program("curl", "--silent", "--fail", "--output", target, url),
        "cp": program("cp", str(folder / NAME), target),
    }


def measure(given: argparse.Namespace, folder: Path) -> dict[str, float | str]:
    size = given.mib * MIB
    write_file(folder, given.mib)
    with serving(folder) as port:
        return rates(peers(folder, port, size), folder / "new", size, given.rounds)


def rates(ways: dict[str, Callable[[], object]], new: Path, size: int, rounds: int) -> dict[str, float | str]:
    missing = [name for name in ("curl", "cp") if shutil.which(name) is None]
    best: dict[str, float] = {}
    for _ in range(rounds):  # in turns, so that a busy machine is unfair to nobody
        for name, copy in ways.items():
            if name.split(",")[0] in missing:
                continue
            new.mkdir()
            began_s = time.perf_counter()
            copy()
            best[name] = max(best.get(name, 0.0), size / (time.perf_counter() - began_s) / 1e9)
            shutil.rmtree(new)
    ours = best["built-in, verified"]
    figures: dict[str, float | str] = {f"{name}, GB/s": rate for name, rate in best.items()}
    for name, rate in best.items():
        if rate != ours:
            figures[f"built-in to {name.split(',')[0]}"] = ours / rate
    return figures | dict.fromkeys(missing, "not installed here")


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
        print(f"{name:28} {value if isinstance(value, str) else f'{value:10.2f}'}")


if __name__ == "__main__":
    main()
