"""How the node is, and what it does: two values, and what goes on in words.

Pure, and light to import: the command line shows them without the code that decides.  Neighbours: `activity`
and `verdict` find them.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from cfm.controller.explain.words import count_words


class Health(enum.StrEnum):
    """How the node is, in one word."""

    OK = "ok"
    """All that is wanted is done."""
    BUSY = "busy"
    """Something is being done, or is about to be, and nothing is wrong."""
    DEGRADED = "degraded"
    """Something that should be done is not: it is broken, or a brake holds it."""
    CRITICAL = "critical"
    """cfm can do nothing."""

    @property
    def is_good(self) -> bool:
        return self in (Health.OK, Health.BUSY)


class Doing(enum.StrEnum):
    """In one word, what goes on."""

    WORKING = "working"
    STARTING = "starting"
    """Something was chosen and nothing is under way yet, as in every `cfm plan` that finds work."""
    WAITING = "waiting"
    """Nothing is under way, and something could be if what it waits for came."""
    PLANNING = "planning"
    IDLE = "idle"
    STOPPED = "stopped"
    """cfm may give no orders at all."""


@dataclass(frozen=True, slots=True)
class Activity:
    """What goes on, in numbers."""

    doing: Doing
    copies: int
    """Copies under way, or about to start."""
    deletes: int
    waiting: int
    """Wanted files that are neither on a destination nor on their way to one."""


def activity_words(doing: Activity) -> str:
    """What goes on, as a clause; empty where a condition says why nothing does."""
    match doing.doing:
        case Doing.WORKING:
            return f"{_counted(doing)} running{_still_wanted(doing)}"
        case Doing.STARTING:
            return f"{_counted(doing)} to start{_still_wanted(doing)}"
        case Doing.PLANNING:
            return "Planning"
        case Doing.IDLE:
            return "Idle"
        case Doing.WAITING | Doing.STOPPED:
            return ""


def _counted(doing: Activity) -> str:
    """`2 copies and 1 delete`."""
    copies = [count_words(doing.copies, "copy", "copies")] if doing.copies else []
    deletes = [count_words(doing.deletes, "delete", "deletes")] if doing.deletes else []
    return " and ".join([*copies, *deletes])


def _still_wanted(doing: Activity) -> str:
    more = "more wanted" if doing.copies else "wanted"
    files = count_words(doing.waiting, f"{more} file is", f"{more} files are")
    return f"; {files} not placed" if doing.waiting else ""
