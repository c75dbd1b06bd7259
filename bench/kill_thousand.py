"""kill -9 of cfm and of workers, a thousand times in a row, under load: real processes, real files.

    .venv/bin/python bench/kill_thousand.py [--kills N] [--minutes M] [--seed S] [--json]

Two sources, three destinations; one kill after another, of one program, of two or of all, at random moments.
Nothing acknowledged may be lost, every source has to send again within 5 s, and at rest (every 50 kills)
nothing may lie twice, half, or unexplained.  Exit 3 where something of this does not hold.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from functools import partial
from pathlib import Path

from cfm_lab.testing.kills import BUSY_WITHIN_S, Kills


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--kills", type=int, default=1_000)
    parser.add_argument(
        "--minutes", type=float, default=180.0, help="at most; a rest and an audit at its end"
    )
    parser.add_argument("--seed", type=int, default=None, help="of victims and moments")
    parser.add_argument("--json", action="store_true")
    wanted = parser.parse_args()
    seed = random.randrange(10**6) if wanted.seed is None else wanted.seed
    with tempfile.TemporaryDirectory(prefix="cfm-kills-") as folder:
        kills = Kills(Path(folder), seed, tell=partial(print, file=sys.stderr, flush=True))
        kills.run(wanted.kills, 60 * wanted.minutes)
        figures = kills.figures()
        for number, story in enumerate(kills.late):
            print(f"late, {number + 1} of {len(kills.late)}: {story}\n", file=sys.stderr)
    print(json.dumps(figures) if wanted.json else _table(figures))
    return 3 if figures["problems"] or figures["late"] else 0


def _table(figures: dict[str, object]) -> str:
    lines = [f"{name.replace('_', ' '):16} {value}" for name, value in figures.items()]
    return "\n".join([*lines, f"(sources have to send again within {BUSY_WITHIN_S:g} s)"])


if __name__ == "__main__":
    sys.exit(main())
