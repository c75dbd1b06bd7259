"""How fast metadata becomes a snapshot, and an event log a window; on made-up files.

    PYTHONPATH=src python bench/bench_inputs.py [FILES] [ROUNDS]

10,000,000 files make two files of 2 GB in a temporary folder, and take minutes.
"""

from __future__ import annotations

import random
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from cfm.inputs.file_system import RealFileSystem
from cfm.inputs.grade_file import read_grade_file
from cfm.inputs.hit_history import read_hit_history
from cfm.inputs.log_follower import replay
from cfm.inputs.watching import read_pair
from cfm.model import Now
from cfm.threads import LifeSign

T0 = 1_527_951_600
IP = "125.159.40.3"


def main(files: int = 100_000, rounds: int = 5) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        grade, history, log = folder / "grade", folder / "history", folder / "EventLog[20180602].log"
        write(grade, grade_lines(files))
        write(history, history_lines(files))
        write(log, log_lines(files))
        print(f"{files:,} files; grade {mb(grade)} MB, history {mb(history)} MB, log {mb(log)} MB")
        if files <= 1_000_000:
            held = grade.read_bytes(), history.read_bytes()
            measure("parse grade file", rounds, lambda: read_grade_file([held[0]]))
            measure("parse history", rounds, lambda: read_hit_history([held[1]]))
        paths = str(grade), str(history)
        measure(
            "read, parse and join the pair", rounds, lambda: read_pair(paths, RealFileSystem(), LifeSign())
        )
        candidate, _ = read_pair(paths, RealFileSystem(), LifeSign())
        snapshot = candidate.snapshot
        measure("one file by name", rounds, lambda: snapshot.file(title(files // 2)))
        measure("1,000 files by name", rounds, lambda: snapshot.files(title(n) for n in range(1000)))
        now = Now(0, (T0 + files // 100) * 1000)
        measure("replay ten minutes of log", rounds, lambda: replay(folder, IP, term_s=600, base=5, now=now))
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024:,} MB")


def measure(label: str, rounds: int, work: Callable[[], object]) -> None:
    times_ms = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        times_ms.append((time.perf_counter() - start) * 1000)
    print(f"{label:32} median {statistics.median(times_ms):10.1f} ms   best {min(times_ms):10.1f} ms")


def write(path: Path, lines: Iterable[str]) -> None:
    with path.open("w") as file:
        file.writelines(lines)


def mb(path: Path) -> int:
    return path.stat().st_size // 1_000_000


def title(number: int) -> str:
    return f"M{number:09d}SGL0800014_K20180215211748.mpg"


def grade_lines(files: int) -> Iterable[str]:
    yield "filename\tweightcount\tbitrate\tgrade\tsumHitCount\thistoryCount\tTargetCopyCount\n"
    for number in range(files):
        yield f"{title(number)}\t{files - number}\t10518227\t1\t2000\t24\t2\n"


def history_lines(files: int) -> Iterable[str]:
    chance = random.Random(1)
    hits = [" ".join(str(chance.randrange(10)) for _ in range(24)) for _ in range(997)]
    ips = ["", *(f"127.0.2.{number}" for number in range(1, 250))]
    yield f"historyheader:{T0}\n"
    for number in range(files):
        size_bytes, ip = chance.randrange(10**8, 2 * 10**10), ips[chance.randrange(250)]
        yield f"{title(number)},1500000000,6399785,{size_bytes},{ip},2,0,0,1={hits[number % 997]}\n"


def log_lines(files: int) -> Iterable[str]:
    """A hundred lines a second."""
    chance = random.Random(2)
    for number in range(files):
        name, ip = title(int(chance.paretovariate(0.5)) % files), IP if number % 3 else "125.159.40.39"
        yield (
            f"0x40ffff,1,{T0 + number // 100},Server {ip} Selected for Client StreamID : "
            f"609d8714-096a-475e-994c-{number:012x}, ClientID : 0, "
            f"GLB IP : 125.159.40.5's file({name}) Request\n"
        )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:3]))
