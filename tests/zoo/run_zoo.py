"""The whole zoo, or those of its bugs whose names contain a word: which seed catches each, by which rule."""

from __future__ import annotations

import sys

from zoo.bugs import REDUNDANT, ZOO, hunt


def main() -> int:
    word = sys.argv[1] if len(sys.argv) > 1 else ""
    budget_s = int(sys.argv[2]) if len(sys.argv) > 2 else 60
    missed = 0
    for name, parts in ZOO.items():
        if word not in name:
            continue
        catch = hunt(parts, budget_s, first_seed=1)
        if catch is None:
            missed += name not in REDUNDANT
            print(
                f"{'redundant' if name in REDUNDANT else 'MISSED':<10} {name}  {REDUNDANT.get(name, '')}",
                flush=True,
            )
        else:
            told = catch.text[:70]
            print(f"{catch.cpu_s:8.1f} s  {name}: rule {catch.rule}, seed {catch.seed}: {told}", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
