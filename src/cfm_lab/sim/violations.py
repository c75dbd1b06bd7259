"""Which rules were broken, each with its seed, its step and its true time.

A world in which a rule was broken goes on, so that the first violation is seen together with what follows it.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from cfm_lab.sim.environment.schedule import Schedule
from cfm_lab.sim.environment.trace import Trace

MOST_VIOLATIONS: Final = 20
"""More of them are noted in the trace, but not kept."""


class Violation(NamedTuple):
    seed: int
    step: int
    at_ms: int
    invariant: str
    text: str


class Violations:
    """The violations of one world."""

    def __init__(self, seed: int, schedule: Schedule, trace: Trace) -> None:
        self.seed = seed
        self.found: list[Violation] = []
        self._schedule = schedule
        self._trace = trace

    def add(self, number: str, text: str) -> None:
        """The rule of that number was broken."""
        self._trace.note(f"VIOLATION of {number}", text)
        if len(self.found) < MOST_VIOLATIONS:
            schedule = self._schedule
            self.found.append(Violation(self.seed, schedule.steps, schedule.now_ms, number, text))
