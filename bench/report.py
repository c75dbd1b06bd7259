"""Writes `docs/performance.md`: what cfm takes, beside what one could use instead, all in one run.

    .venv/bin/python bench/report.py [--large]

`make bench` ends with this, and `make bench-large` adds the column of ten million files, which takes some
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

from growth import exponent, picture

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "performance.md"
PICTURE = PAGE.with_name("growth.svg")
Figures: TypeAlias = Mapping[str, float | str]
"""Name → value, or why there is none: a peer may not be installed."""

SCALE_ROWS = (
    ("first_task_s", "from start to the first task, s"),
    ("cpu_to_first_task_s", "the same, processor time, s"),
    ("deaf_at_start_s", "longest time without an answer, start, s"),
    ("deaf_at_rest_s", "longest time without an answer, at rest, s"),
    ("peak_mb", "memory at its peak, MB"),
    ("rest_mb", "memory at rest, MB"),
    ("core_at_rest_percent", "of a core at rest while nobody asks, %"),
)
DRAWN = ("cpu_to_first_task_s", "peak_mb", "deaf_at_start_s")
"""Of these there is a picture of how they grow."""
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
- **Time without an answer.** The loop's own work in a long hold stands in its log line (`cpu_ms`). A
  decision looks at all servers: about 10 ms with 300 of them. The rest of a long hold is other
  programs, and threads that hold the interpreter while lists and metadata are read.
- **Memory at its peak.** The frames of the metadata while they are joined: 2.5 GB with 10,000,000 files.
  What is free goes back to the kernel at once (`cfm.memory`).
- **At rest.** 300 servers are asked for heartbeat, list and disk, some 0.6 ms each in the HTTP
  client; list and disk share a connection, which is a new one each minute. The conditions are looked
  at every five seconds, for 5 ms.
- **`GET /tasks`.** The bytes are made when tasks change. What is left is the hardening of the
  server: the check of the host, the deadlines of each connection, and the common headers.
- **`PATCH` working.** Reports that come together are decided about once, and have no task and no timers
  of their own. Half of what is left is aiohttp's server: a program that only reads such a report, and
  answers with nothing, gives some 7,000 answers for a second of its processor time. The rest is the
  checks of the request, the strict reading of its JSON, and the change of the task.
- **`PATCH` done.** Each end is committed, logged, and asks the destination for its disk, and an old
  worker's for its list: a line of the log takes 0.1 ms, a question 0.6 ms, and a decision about the free
  source some ms, once for all that came together.
- **`cfm plan`.** A quarter of its processor time is the start of Python with its libraries, and half is
  reading the metadata.
- **A file.** Of the destination's processor time, half is the kernel's for writing to the page cache, a third
  the kernel's for receiving, and a fourteenth the checksum's; Python has the rest. curl receives and writes
  in pieces of 16 KiB, which costs it what the checksum costs us. `cp` receives nothing: its whole work is
  what writing alone is for us, and no source takes the other core meanwhile. On a real disk curl and `cp`
  leave the file in memory; we wait until it is durable.
- **What a source sends.** At the first reading of a file, more than half of the processor time goes to
  reading each byte once more, and to its checksum. (A second thread that did this beside the sending sent
  1.3 times as much a second, and took an eighth more processor time. It was left out.) What is left for
  later readings and ranges is the kernel's.
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
        [title, *(written(found[key]) for _files, (_command, found) in runs)] for key, title in SCALE_ROWS
    ]
    commands = "".join(f"- `{command}`\n" for _files, (command, _found) in runs)
    titles = ["300 servers", *(f"{files:,} files" for files, _run in runs)]
    told = growth({files: found for files, (_command, found) in runs})
    return f"## A large library\n\n{table(titles, rows)}\n{told}\n{commands}\n"


def growth(runs: Mapping[int, Figures]) -> str:
    """Draw how the figures grow, and say it in a sentence."""
    titles = dict(SCALE_ROWS) | {"cpu_to_first_task_s": "processor time to the first task, s"}
    curves = {titles[key]: [max(0.001, float(found[key])) for found in runs.values()] for key in DRAWN}
    PICTURE.write_text(picture(list(runs), curves))
    powers = ", ".join(f"{title}: {exponent(list(runs), curve):.2f}" for title, curve in curves.items())
    return (
        f"![How the figures grow with the library]({PICTURE.name})\n\n"
        f"Each grows with the files to a power (1 is as the files do): {powers}.\n"
    )


def written(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:,.2f}"


def plain(title: str, script: str) -> str:
    command, figures = run(script)
    rows = [[name, written(value)] for name, value in figures.items()]
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
        plain("A file of 1 GiB, received", "bench_transfer.py"),
        plain("A file of 1 GiB, sent", "bench_content.py"),
    ]
    head = INTRODUCTION.format(
        when=time.strftime("%Y-%m-%d"), machine=machine(), load=f"{load:.1f}", remark=remark
    )
    PAGE.write_text(head + "".join(parts).rstrip("\n") + "\n" + LIMITS)
    print(f"wrote {PAGE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
