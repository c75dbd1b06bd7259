"""How soon another cfm goes on when the leader falls, and what becomes of the disks: needs PostgreSQL.

    .venv/bin/python bench/failover.py [--blows 200] [--ways kill,freeze,terminate,database] [--minutes N]

A node with two cfm is kept busy.  Its leader is killed, stopped and continued, or ended, or the database is
killed, again and again.  From time to time everything on the disks is held against the books.  Ends with 1
where something was wrong.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from cfm.demo.postgres import PostgresServer, find_postgres
from cfm_lab.testing.failovers import Failovers
from cfm_lab.testing.kills import spread


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--blows", type=int, default=200)
    parser.add_argument("--ways", default="kill,freeze,terminate,database")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--controllers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--full", action="store_true", help="full disks: each copy needs a delete before")
    arguments = parser.parse_args()
    programs = find_postgres()
    if programs is None:
        print("needs PostgreSQL (on Debian: apt install postgresql)", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as folder, PostgresServer(programs) as server:
        drill = Failovers(
            Path(folder), arguments.seed, server=server, controllers=arguments.controllers,
            disks_are_full=arguments.full,
            ways=tuple(arguments.ways.split(",")), tell=lambda line: print(line, flush=True),
        )  # fmt: skip
        drill.run(arguments.blows, 60 * arguments.minutes)
        found = {
            "blows": drill.kills,
            "next_copy_s": {way: spread(times) for way, times in sorted(drill.recovered_s.items())},
            "next_copy_taken_s": {way: spread(times) for way, times in sorted(drill.taken_s.items())},
            "audits_at_rest": drill.rests,
            "deeds": dict(drill.audit.counted()),
            "problems": drill.problems,
        }
    print(json.dumps(found, indent=1))
    return 1 if drill.problems else 0


if __name__ == "__main__":
    sys.exit(main())
