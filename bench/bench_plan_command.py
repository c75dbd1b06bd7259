"""`cfm plan` as a command, beside straightforward programs for the same files: plain Python, bare Polars.

    .venv/bin/python bench/bench_plan_command.py [--files N] [--each N] [--rounds N] [--folder F] [--json]

Ten destinations, which another process plays, list so many files each.  The two programs read the grade file
and the history, join them, take the servers' lists and find the first thousand files that no server has; they
do nothing about bad lines, and nothing else that cfm decides.  All run in turn.  Printed are the best times
by the clock and the processor time of all threads, and how cfm compares.
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
from importlib.util import find_spec
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

POLARS = """
import json, sys, urllib.request
import polars as pl
grade, history, *servers = sys.argv[1:]
text = dict(quote_char=None, encoding="utf8-lossy", truncate_ragged_lines=True)
ranked = pl.read_csv(grade, separator="\\t", columns=[0], **text).rename({"filename": "name"})
ranked = ranked.with_row_index("rank", 1)
columns = ["name", "registered", "bitrate", "size", "ips", "base", "shared", "virtual", "hits"]
known = pl.read_csv(history, has_header=False, skip_rows=1, new_columns=columns, **text)
hits = pl.col("hits").str.split("=").list.last().str.split(" ").cast(pl.List(pl.Int64), strict=False)
known = known.select("name", "size", hits.list.sum(), pl.col("ips").str.split(" "))
placed = pl.concat(
    pl.Series("name", urllib.request.urlopen(f"http://{server}/files").read().decode().splitlines()).to_frame()
    for server in servers
)
wanted = ranked.join(known, on="name", how="inner", maintain_order="left").join(placed, on="name", how="anti")
print(json.dumps(wanted.head(1000).head(10).rows()))
"""


def timed(command: list[str]) -> tuple[float, float]:
    """Seconds by the clock, and of the processors."""
    before, began_s = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(
        command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=as_installed()
    )
    took_s, after = time.perf_counter() - began_s, resource.getrusage(resource.RUSAGE_CHILDREN)
    return took_s, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(given: argparse.Namespace, folder: Path) -> dict[str, float | str]:
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
    files = str(folder / "grade"), str(folder / "history"), *servers
    programs = {"cfm plan": cfm, "plain Python": [sys.executable, "-c", PLAIN, *files]}
    if find_spec("polars") is not None:
        programs["bare Polars"] = [sys.executable, "-c", POLARS, *files]
    played = [sys.executable, str(SCALE), "--play", str(DESTINATIONS), str(given.each), "0"]
    with running(played, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as workers:
        assert workers.stdout is not None
        workers.stdout.readline()
        rounds = [{name: timed(command) for name, command in programs.items()} for _ in range(given.rounds)]
    return compared(rounds)


def compared(rounds: list[dict[str, tuple[float, float]]]) -> dict[str, float | str]:
    figures: dict[str, float | str] = {}
    best = {
        name: [min(took) for took in zip(*(one[name] for one in rounds), strict=True)] for name in rounds[0]
    }
    for name, (took_s, used_s) in best.items():
        figures |= {f"{name}, seconds": round(took_s, 3), f"{name}, processor seconds": round(used_s, 3)}
    ours_s, ours_cpu_s = best.pop("cfm plan")
    for name, (took_s, used_s) in best.items():
        figures[f"cfm plan to {name}, seconds"] = round(ours_s / took_s, 3)
        figures[f"cfm plan to {name}, processor seconds"] = round(ours_cpu_s / used_s, 3)
    return figures if "bare Polars" in best else figures | {"bare Polars": "not installed here"}


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
        print(f"{name:46} {value if isinstance(value, str) else f'{value:10.3f}'}")


if __name__ == "__main__":
    main()
