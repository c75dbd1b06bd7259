#!/usr/bin/env python3
"""Compile modules of the package below the current folder in place, by mypyc.

    python native_build.py PRACTICE MODULE...

With gcc they are compiled twice.  The first counts the way that `PRACTICE`, a piece of Python, takes through
it; the second is laid out for that way, and has functions of one module built into another's.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import sysconfig
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from mypyc.build import mypycify
from setuptools import setup
from setuptools.command.build_ext import build_ext

JOBS = len(os.sched_getaffinity(0))
OWN = ["-flto=auto", "-fno-semantic-interposition", "-fvisibility=hidden"]
"""No other library takes a function's place."""
COUNTING = [*OWN, "-fprofile-generate"]
COUNTED = [*OWN, "-fprofile-use", "-Wno-missing-profile"]


class SideBySide(build_ext):
    """mypyc makes one large library of many files; setuptools would compile them one after the other."""

    def build_extensions(self) -> None:
        compile_files = self.compiler.compile

        def compile_all(sources: Iterable[str], **options: Any) -> list[str]:
            made = pool.map(lambda source: compile_files([source], **options), sources)
            return [path for paths in made for path in paths]

        with ThreadPoolExecutor(JOBS) as pool:
            self.compiler.compile = compile_all
            super().build_extensions()


def is_gcc() -> bool:
    compiler = shlex.split(sysconfig.get_config_var("CC") or "cc")
    told = subprocess.run([*compiler, "--version"], capture_output=True, text=True, check=False)
    return "Free Software Foundation" in told.stdout


def build(modules: list[Any], flags: list[str]) -> None:
    for module in modules:
        module.extra_compile_args = [*module.extra_compile_args, *flags]
        module.extra_link_args = flags
    command = ["-q", "build_ext", "--inplace", "--force", f"--parallel={JOBS}"]
    setup(
        name="native",
        packages=[],
        ext_modules=modules,
        script_args=command,
        cmdclass={"build_ext": SideBySide},
    )


def main() -> None:
    practice, *paths = sys.argv[1:]
    modules = mypycify(paths, opt_level="2", debug_level="0", multi_file=True)
    if not is_gcc():
        build(modules, [])
        return
    own = [module.extra_compile_args for module in modules]
    build(modules, COUNTING)
    subprocess.run([sys.executable, "-c", practice], check=True)
    for module, was in zip(modules, own, strict=True):
        module.extra_compile_args = was
    build(modules, COUNTED)


if __name__ == "__main__":
    main()
