"""What `check` finds doubtful about the PostgreSQL database that holds the state.

A database that does not answer is no error of the settings: cfm waits for it, and says so.  Neighbour:
`tasks.postgres_check` looks.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from cfm.cli.check_world import doubt
from cfm.config.problems import SettingsProblem
from cfm.errors import StateError
from cfm.tasks.opening import EXTRA

KEY: Final = "state.url"
OLDEST: Final = 140_000
CLOCK_S: Final = 60
SLOW_MS: Final = 200


def database_doubts(url: str) -> Iterator[SettingsProblem]:
    """Try the database, its clock and our rights."""
    try:
        from cfm.tasks.postgres_check import look_at
    except ImportError:
        yield doubt(KEY, "it names PostgreSQL, which needs psycopg", EXTRA)
        return
    try:
        found = look_at(url)
    except StateError as error:
        yield doubt(KEY, str(error), "see whether the database runs and lets this user in")
        return
    if found.version < OLDEST:
        yield doubt(KEY, f"{found.name} is PostgreSQL {found.version // 10_000}", "use version 14 or later")
    if found.read_only:
        text = f"{found.name} takes no writes, as a replica does"
        yield doubt(KEY, text, "name the primary, or all hosts: postgresql://user@host1,host2/cfm")
    elif not found.may_write:
        text = f"our user may not make or write the tables in {found.name}"
        yield doubt(KEY, text, "make this user the owner of the database")
    if found.synchronous_commit == "off":
        text = "synchronous_commit is off, so a crash would lose what was told; cfm will not start"
        yield doubt(KEY, text, "set it to on for this database")
    if not found.fsync:
        yield doubt(KEY, "fsync is off, so a power cut loses the state", "set it to on")
    if abs(found.clock_ahead_s) > CLOCK_S:
        way = "ahead of" if found.clock_ahead_s > 0 else "behind"
        text = f"the clock of {found.name} is {abs(found.clock_ahead_s):.0f} s {way} ours"
        yield doubt(KEY, text, "set both by NTP; a jump of the database's clock may end a lease early")
    if found.answered_ms > SLOW_MS:
        text = f"{found.name} took {found.answered_ms:.0f} ms for a small question"
        yield doubt(KEY, text, "each copy waits for some commits: use a database that is near")
