"""`cfm plan` as a command, beside a straightforward Python program that reads the same files.

    .venv/bin/python bench/bench_plan_command.py [--files N] [--each N] [--rounds N] [--folder F] [--json]

Ten destinations, which another process plays, list so many files each.  The Python program reads the grade
file and the history line by line, joins them, takes the servers' lists and finds the first thousand files
that no server has.  Both run in turn.  Printed are the best times by the clock and the processor time of all
threads, and how the two programs compare.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from cfm_lab.testing.measuring import as_installed, running

SCALE = Path(__file__).with_name("bench_scale.py")
DESTINATIONS = 10
PLAIN = """
import json, sys, urllib.request
grade, history, *servers = sys.argv[1:]
rank = {}
with open(grade, encoding="utf-8", errors="replace") as file:
    next(file)
    for number, line in enumerate(file, 1):
        rank.setdefault(line.split("\\t", 1)[0], number)
known = []
with open(history, encoding="utf-8", errors="replace") as file:
    next(file)
    for line in file:
        columns = line.rstrip("\\n").split(",")
        if len(columns) >= 5 and columns[0] in rank:
            hits = sum(map(int, columns[8].partition("=")[2].split())) if len(columns) > 8 else 0
            known.append((rank[columns[0]], columns[0], int(columns[3]), hits, columns[4].split()))
known.sort()
placed = {}
for server in servers:
    names = urllib.request.urlopen(f"http://{server}/files").read().decode().splitlines()
    for name in names:
        placed.setdefault(name, []).append(server)
wanted = [file for file in known if file[1] not in placed][:1000]
print(json.dumps(wanted[:10]))
"""


def timed(command: list[str]) -> tuple[float, float]:
    """Seconds by the clock, and of the processors."""
    before, began_s = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(
        command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=as_installed()
    )
    took_s, after = time.perf_counter() - began_s, resource.getrusage(resource.RUSAGE_CHILDREN)
    return took_s, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(given: argparse.Namespace, folder: Path) -> dict[str, float]:
    library = (folder, given.files, DESTINATIONS, given.each)
    made = (
        "import sys, bench_scale as b; from pathlib import Path;"
        "folder, numbers = Path(sys.argv[1]), [*map(int, sys.argv[2:])];"
        "(folder / 'history').exists() or b.write_library(folder, *numbers);"
        "b.write_settings(folder, numbers[1], 1)"
    )
    paths = {**os.environ, "PYTHONPATH": str(SCALE.parent)}
    subprocess.run([sys.executable, "-c", made, *map(str, library)], check=True, env=paths)
    settings = folder / "cfm.yml"
    servers = json.loads(settings.read_text())["servers"]["destinations"]
    cfm = [str(Path(sys.executable).with_name("cfm")), "plan", "-c", str(settings), "--json"]
    plain = [sys.executable, "-c", PLAIN, str(folder / "grade"), str(folder / "history"), *servers]
    played = [sys.executable, str(SCALE), "--play", str(DESTINATIONS), str(given.each), "0"]
    with running(played, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as workers:
        assert workers.stdout is not None
        workers.stdout.readline()
        rounds = [(timed(cfm), timed(plain)) for _ in range(given.rounds)]
    ours, theirs = zip(*rounds, strict=True)
    figures = {
        "cfm plan, seconds": min(one[0] for one in ours),
        "cfm plan, processor seconds": min(one[1] for one in ours),
        "plain Python, seconds": min(one[0] for one in theirs),
        "plain Python, processor seconds": min(one[1] for one in theirs),
    }
    figures["ratio of seconds"] = figures["cfm plan, seconds"] / figures["plain Python, seconds"]
    figures["ratio of processor seconds"] = (
        figures["cfm plan, processor seconds"] / figures["plain Python, processor seconds"]
    )
    return {name: round(value, 3) for name, value in figures.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=1_000_000)
    parser.add_argument("--each", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        figures = measure(given, given.folder or Path(temporary) / "node")
    if given.json:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        print(f"{name:36} {value:10.3f}")


if __name__ == "__main__":
    main()
