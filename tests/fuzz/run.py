"""`make fuzz SECONDS=60 [NAMES='patch df']`: looks for inputs that break a parser, and lets the corpus grow.

Each target runs in a process of its own, led by coverage (atheris, which is libFuzzer for Python).  What it
found to be of interest is merged into `corpus/NAME/`, the fewest inputs that reach as much; look at them, and
commit them with your change.  An input that breaks something is kept as `broken/NAME-…`, and the exit code
is 3.  Where atheris cannot be installed, Hypothesis changes the corpus at random instead.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shlex
import subprocess
import sys
import tempfile
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).parent
SOURCES = HERE.parents[1] / "src"
BROKEN = HERE / "broken"
MOST_BYTES = 4096
VIOLATION = 3


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--seconds", type=int, default=60, help="of fuzzing, for all targets together")
    arguments.add_argument("names", nargs="*", help="targets; else all")
    wanted = arguments.parse_args()
    sys.path[:0] = [str(SOURCES), str(HERE.parent)]
    from fuzz.targets import CORPUS, TARGETS

    names = wanted.names or list(TARGETS)
    unknown = sorted(set(names) - set(TARGETS))
    if unknown:
        arguments.error(f"no target {', '.join(unknown)}; there are {', '.join(TARGETS)}")
    BROKEN.mkdir(exist_ok=True)
    guided = importlib.util.find_spec("atheris") is not None
    print(f"fuzzing {len(names)} parsers, {'led by coverage' if guided else 'at random'}")
    each_s = max(1, wanted.seconds // len(names))
    fuzz = _by_coverage if guided else _at_random
    at_once = (os.cpu_count() or 1) if guided else 1
    with ThreadPoolExecutor(at_once) as workers:
        fine = list(workers.map(lambda name: fuzz(name, CORPUS / name, each_s * at_once), names))
    broken = [name for name, well in zip(names, fine, strict=True) if not well]
    print(f"broken: {', '.join(broken)}; see {BROKEN}" if broken else "nothing broke")
    return VIOLATION if broken else 0


def _by_coverage(name: str, corpus: Path, seconds: int) -> bool:
    """Fuzz, then keep the fewest inputs that reach as much.  True where nothing broke."""
    before = len(list(corpus.iterdir()))
    with tempfile.TemporaryDirectory() as scratch:
        found = Path(scratch) / "found"
        found.mkdir()
        words = Path(scratch) / "words"
        words.write_text(_dictionary(name))
        again = Path(scratch) / "again"
        again.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {HERE / "guided.py"} "$@"\n')
        again.chmod(0o755)
        limits = (f"-max_total_time={seconds}", f"-max_len={MOST_BYTES}", "-timeout=20", "-rss_limit_mb=2048")
        ended = _worker(
            again, name, found, corpus, f"-dict={words}", f"-artifact_prefix={BROKEN}/{name}-", *limits
        )
        _worker(again, name, "-merge=1", corpus, found)
    runs = next((line for line in ended.stderr.splitlines() if line.startswith("Done ")), "stopped")
    print(f"{name}: {runs}; corpus {before} → {len(list(corpus.iterdir()))}")
    if ended.returncode != 0:
        _, begin, told = (ended.stdout + ended.stderr).partition("=== Uncaught Python exception")
        print(begin + (told or ended.stderr)[:4000])
    return ended.returncode == 0


def _worker(again: Path, name: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    env = {"PYTHONPATH": os.pathsep.join(sys.path), "FUZZ_TARGET": name, "FUZZ_AGAIN": str(again)}
    command = [again, *arguments]
    return subprocess.run(command, env=os.environ | env, capture_output=True, text=True, check=False)


def _dictionary(name: str) -> str:
    from fuzz.targets import TARGETS

    quoted = ("".join(f"\\x{octet:02x}" for octet in word) for word in TARGETS[name].words)
    return "".join(f'"{word}"\n' for word in quoted)


def _at_random(name: str, corpus: Path, seconds: int) -> bool:
    """Change what is in the corpus, with seeds that were never used."""
    import hypothesis

    from fuzz.changed import changed
    from fuzz.targets import TARGETS

    target, until, last = TARGETS[name], time.monotonic() + seconds, [b""]

    @hypothesis.settings(max_examples=500, deadline=None, database=None)
    @hypothesis.given(changed(corpus, target.words))
    def once(data: bytes) -> None:
        last[0] = data
        target.run(data)

    rounds = 0
    while time.monotonic() < until:
        try:
            once()
        except Exception:  # noqa: BLE001 - whatever a parser raises is what we look for
            (BROKEN / f"{name}-{rounds}").write_bytes(last[0])
            traceback.print_exc(limit=-3)
            return False
        rounds += 1
    print(f"{name}: {500 * rounds} runs")
    return True


if __name__ == "__main__":
    sys.exit(main())
