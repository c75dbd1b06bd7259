"""The whole zoo, or those of its bugs whose names contain a word: which seed catches each, by which rule.

    PYTHONPATH=tests python tests/zoo/run_zoo.py [WORD] [--seconds 60] [--seed 1] [--jobs 2]

The bugs are hunted side by side, one process for each core; ends with 1 where one was missed.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys

from zoo.hunting import REDUNDANT, RULE_OF, SLOW, SLOW_TIMES, ZOO, Catch, hunt

Job = tuple[str, int, int]
Found = tuple[str, Catch | None]


def _hunt(job: Job) -> Found:
    name, budget_s, first_seed = job
    return name, hunt(name, budget_s * (SLOW_TIMES if name in SLOW else 1), first_seed)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("word", nargs="?", default="", help="only bugs whose names contain it")
    parser.add_argument("--seconds", type=int, default=60, help="CPU seconds for each bug; some have more")
    parser.add_argument("--seed", type=int, default=1, help="the first world of each hunt")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="hunts side by side")
    return parser.parse_args()


def _row(name: str, catch: Catch | None) -> str:
    rule = RULE_OF.get(name, "any")
    if catch is not None:
        return f"{name:<42} {rule:<10} {catch.rule:<10} {catch.seed:>6} {catch.cpu_s:>7.1f}  caught"
    if name in REDUNDANT:
        return f"{name:<42} {rule:<10} {'-':<10} {'-':>6} {'-':>7}  redundant: {REDUNDANT[name]}"
    return f"{name:<42} {rule:<10} {'-':<10} {'-':>6} {'-':>7}  MISSED"


def main() -> int:
    options = _arguments()
    names = [name for name in ZOO if options.word in name]
    jobs: list[Job] = [(name, options.seconds, options.seed) for name in names]
    found: dict[str, Catch | None] = {}
    with multiprocessing.get_context("spawn").Pool(options.jobs) as pool:
        for name, catch in pool.imap_unordered(_hunt, jobs):
            found[name] = catch
            print(f"{len(found)}/{len(names)} {_row(name, catch)}", file=sys.stderr, flush=True)
    print(f"{'bug':<42} {'meant for':<10} {'rule':<10} {'seed':>6} {'CPU s':>7}  outcome")
    for name in names:
        print(_row(name, found[name]))
    missed = [name for name in names if found[name] is None and name not in REDUNDANT]
    caught = sum(catch is not None for catch in found.values())
    print(f"{caught} caught, {len(missed)} missed, {len(names) - caught - len(missed)} redundant")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
