#!/usr/bin/env python3
"""Compile what `cfm simulate` runs, so that it plays more hours in the same time.

    .venv/bin/python tools/compile_simulator.py FOLDER

Copies both packages into FOLDER and compiles there, with mypyc, what the simulator imports.  mypyc is part of
mypy; it needs a C compiler and Python's headers.  The compiled code must decide nothing differently.  So at
its end the tool plays worlds of each sort in both, a sick one of each kind among them, and compares their
trace hashes.  The package that is installed stays plain Python.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src"
PACKAGES = ("cfm", "cfm_lab")
PLAIN = frozenset((
    "cfm.inputs.snapshot",
    "cfm.name_column",
    "cfm_lab.sim.results",
    "cfm_lab.sim.run",
    "cfm_lab.sim.violations",
    "cfm_lab.sim.environment.parts",
    "cfm_lab.sim.environment.profile",
))  # fmt: skip
"""The simulator has no frame to put into a snapshot, and no column of names.  Values of the others are sent
to other processes, which values of compiled classes cannot be."""
IMPORTED = """
import sys
import cfm_lab.sim.run
for name, module in sorted(sys.modules.items()):
    values = list(vars(module).values())
    classes = [value for value in values if isinstance(value, type) and value.__module__ == name]
    if not any(issubclass(one, OSError) for one in classes):  # mypyc cannot compile those
        print(name)
"""
WORLDS = """
from cfm_lab.sim.environment.sickness import SICKNESSES
from cfm_lab.sim.run import run_seeds
if __name__ == "__main__":
    plain = run_seeds(5, 1, 2, jobs=2)
    several = [run_seeds(5, 1, 1, controllers=number) for number in (2, 3)]
    sick = run_seeds(0, 1, len(SICKNESSES), sick=(), jobs=2)
    print(*(report.to_json()["trace_hash"] for report in (plain, *several, sick)))
"""
BUILD = """
import sys
from mypyc.build import mypycify
from setuptools import setup
modules = mypycify(sys.argv[1:], opt_level="2", debug_level="0", multi_file=True)
setup(name="native", packages=[], ext_modules=modules, script_args=["-q", "build_ext", "--inplace"])
"""


def python(code: str, *words: str, cwd: Path) -> str:
    """What `code` prints when it is run in the folder `cwd`, with the packages that are there."""
    env = {**os.environ, "PYTHONPATH": str(cwd)}
    command = [sys.executable, "-c", code, *words]
    told = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    if told.returncode:
        sys.exit(f"{told.stdout[-2000:]}{told.stderr[-2000:]}")
    return told.stdout.strip()


def modules() -> list[str]:
    """The files below `SOURCE` that the simulator imports, except the packages' own and the plain ones."""
    names = [name for name in python(IMPORTED, cwd=SOURCE).split() if name.partition(".")[0] in PACKAGES]
    paths = [f"{name.replace('.', '/')}.py" for name in names if name not in PLAIN]
    return [path for path in paths if (SOURCE / path).exists()]


def main() -> int:
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    folder, paths = Path(sys.argv[1]).resolve(), modules()
    shutil.rmtree(folder, ignore_errors=True)
    for package in PACKAGES:
        shutil.copytree(SOURCE / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    print(f"compiling {len(paths)} modules: a few minutes", flush=True)
    python(BUILD, *paths, cwd=folder)
    shutil.rmtree(folder / "build")
    plain, compiled = python(WORLDS, cwd=SOURCE), python(WORLDS, cwd=folder)
    if plain != compiled:
        sys.exit(f"the compiled simulator gives the trace hashes {compiled}, plain Python gives {plain}")
    print(f"compiled; both give the trace hashes {plain}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
