#!/usr/bin/env python3
"""Compile what `cfm simulate` runs, so that a night holds a few times as many hours.

    .venv/bin/python tools/compile_simulator.py FOLDER

Makes FOLDER/cfm, a copy of the package in which the deciding code and the simulator are native: by mypyc,
which is part of mypy, and needs a C compiler and Python's headers.  Nothing is decided otherwise in it: the
same seed gives the same trace hash, and the tool ends by holding one against the other.  What is installed
stays plain Python.

With gcc it is compiled twice, to be laid out for the way that worlds take through it (`native_build.py`); all
in all it takes a few minutes.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from native_classes import rewritten

BUILD = Path(__file__).with_name("native_build.py")
SOURCE = Path(__file__).parents[1] / "src" / "cfm"
ROOMS = ("plan", "tasks", "controller", "sim", "sim/happenings", "sim/invariants")
SINGLE = (
    "model", "names", "errors", "wire", "inputs/event_log", "inputs/hit_window", "inputs/lines",
    "inputs/reference", "fleet/health", "fleet/observed", "worker/asking", "worker/download_events",
    "worker/downloads",
    "worker/memory_disk", "worker/obedience", "worker/offers", "worker/shelf", "worker/state",
    "worker/streams",
)  # fmt: skip
ACTING = (
    "plan/reduce", "tasks/queue", "tasks/sqlite_schema", "tasks/sqlite_store", "tasks/state_lock",
    "controller/api", "controller/html", "controller/loop", "controller/metrics", "controller/once",
    "controller/openapi", "controller/pages", "controller/program", "controller/report", "controller/rules",
    "controller/story", "controller/verdict", "controller/why",
)  # fmt: skip
"""They use libraries, threads or sockets; the simulator does without them."""
PLAIN = frozenset((*ACTING, "sim/run", "sim/parts", "sim/profile"))
"""Nor what goes to other processes."""
SEEDS = "from cfm_lab.sim.run import run_seeds; print(run_seeds(5, 1, 2).to_json()['trace_hash'])"
PRACTICE = "from cfm_lab.sim.run import run_seeds; run_seeds(101, 2, 24)"


def modules() -> list[str]:
    """Paths below the package, without their ending."""
    in_rooms = [
        f"{room}/{path.stem}"
        for room in ROOMS
        for path in sorted((SOURCE / room).glob("*.py"))
        if path.stem != "__init__"
    ]
    return [name for name in (*SINGLE, *in_rooms) if name not in PLAIN]


def copy_to(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(SOURCE, folder / "cfm", ignore=shutil.ignore_patterns("__pycache__"))
    for name in modules():
        path = folder / "cfm" / f"{name}.py"
        path.write_text(rewritten(path.read_text()))


def compile_in(folder: Path) -> None:
    names = [f"cfm/{name}.py" for name in modules()]
    command = [sys.executable, str(BUILD), PRACTICE, *names]
    told = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if told.returncode:
        sys.exit(f"mypyc: {told.stdout[-2000:]}{told.stderr[-2000:]}")
    shutil.rmtree(folder / "build")


def trace_hash(path: Path) -> str:
    """What two worlds come to with the package at `path`."""
    env = {**os.environ, "PYTHONPATH": str(path)}
    told = subprocess.run([sys.executable, "-c", SEEDS], env=env, capture_output=True, text=True, check=True)
    return told.stdout.strip()


def main() -> int:
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    folder = Path(sys.argv[1]).resolve()
    copy_to(folder)
    print(f"compiling {len(modules())} modules: a few minutes", flush=True)
    compile_in(folder)
    plain, compiled = trace_hash(SOURCE.parent), trace_hash(folder)
    if plain != compiled:
        sys.exit(f"the compiled simulator tells another story: {compiled}, not {plain}")
    print(f"compiled; both tell {plain}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
