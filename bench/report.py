"""Writes `docs/performance.md`: what cfm takes, beside what one could use instead, all in one run.

    .venv/bin/python bench/report.py [--large]

`make bench` ends with this, and `make bench-large` adds the row of ten million files, which takes some
minutes.  Each row comes from a bench that can be run by itself; the command stands beside it.  Where other
programs run on the machine, the ratios still hold: both sides of a ratio are measured in one run.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeAlias

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "performance.md"
Figures: TypeAlias = Mapping[str, float]

SCALE_ROWS = (
    ("first_task_s", "from start to the first task, s"),
    ("cpu_to_first_task_s", "the same, processor time, s"),
    ("deaf_at_start_s", "longest time without an answer, start, s"),
    ("deaf_at_rest_s", "longest time without an answer, at rest, s"),
    ("peak_mb", "memory at its peak, MB"),
    ("rest_mb", "memory at rest, MB"),
    ("core_at_rest_percent", "of a core at rest while nobody asks, %"),
)
INTRODUCTION = """# What cfm takes, and what limits it

Made by `make bench` ({when}), on {machine}. `make bench-large` adds ten million files. The load of the
machine was {load}: {remark}

"""
LIMITS = """
## What limits it now

- **Start.** A third of the processor time goes to reading the metadata. The rest goes to starting
  Python with its libraries, to three requests to each server, and to decisions meanwhile, which are
  few until each destination was looked at once.
  The history's hit lists and server lists are split for all files, though few are ever shown.
- **Time without an answer.** The loop's own work in a long hold was at most 43 ms of processor time
  (`cpu_ms` in the log line). The rest of such a hold is other programs, and threads that hold the
  interpreter while lists and metadata are read. A decision looks at all servers: about 10 ms with
  300 of them.
- **At rest.** 300 servers are asked for heartbeat, list and disk, some 0.6 ms each in the HTTP
  client. The conditions are looked at once a second, for 5 ms. Garbage takes 0.3 s in the first
  minute; a full collection takes 30 ms, and came once.
- **`GET /tasks`.** The bytes are made when tasks change. What is left is the hardening of the
  server: the check of the host, the deadlines of each connection, and the common headers.
- **`PATCH`.** Reports that come together are decided about once, and committed in groups. Most of
  what is left is the web server's share.
- **`cfm plan`.** A quarter of its processor time is the start of Python with its libraries, and half is
  reading the metadata.
"""


def run(script: str, *options: str) -> tuple[str, Figures]:
    """The command of a bench, and its figures."""
    command = ["bench/" + script, *options]
    print("==", " ".join(command), flush=True)
    asked = subprocess.run(
        [sys.executable, *command, "--json"], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True
    )
    figures: Figures = json.loads(asked.stdout)
    return " ".join(command), figures


def table(titles: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    titles = list(titles)
    lines = [titles, ["---"] * len(titles), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def scale(sizes: Iterable[tuple[int, int]]) -> str:
    """One column for each size of the library: files, and how many of them are on each of 300 servers."""
    runs = []
    for files, each in sizes:
        options = ("--files", str(files), "--each", str(each), "--settle", "10", "--rest", "20")
        runs.append((files, run("bench_scale.py", *options)))
    rows = [
        [title, *(f"{found[key]:,.2f}" for _files, (_command, found) in runs)] for key, title in SCALE_ROWS
    ]
    commands = "".join(f"- `{command}`\n" for _files, (command, _found) in runs)
    titles = ["300 servers", *(f"{files:,} files" for files, _run in runs)]
    return f"## A large library\n\n{table(titles, rows)}\n{commands}\n"


def plain(title: str, script: str) -> str:
    command, figures = run(script)
    rows = [[name, f"{value:,.2f}"] for name, value in figures.items()]
    return f"## {title}\n\n{table(['what', 'figure'], rows)}\n- `{command}`\n\n"


def machine() -> str:
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} cores, {memory_gb:.0f} GB, Python {platform.python_version()}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--large", action="store_true", help="with ten million files")
    given = parser.parse_args()
    load = os.getloadavg()[0]
    quiet = load < 0.5
    remark = (
        "nothing else ran."
        if quiet
        else "other programs ran too, so compare ratios and processor times only."
    )
    sizes = [(10_000, 30), (100_000, 300), (1_000_000, 3_000)]
    parts = [
        scale([*sizes, (10_000_000, 30_000)] if given.large else sizes),
        plain("Readings and reports of tasks", "bench_tasks.py"),
        plain("`cfm plan`, 1,000,000 files", "bench_plan_command.py"),
    ]
    head = INTRODUCTION.format(
        when=time.strftime("%Y-%m-%d"), machine=machine(), load=f"{load:.1f}", remark=remark
    )
    PAGE.write_text(head + "".join(parts).rstrip("\n") + "\n" + LIMITS)
    print(f"wrote {PAGE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
